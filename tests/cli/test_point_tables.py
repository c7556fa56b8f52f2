"""What `twin solve` and `twin sweep` print of solved points, from fabricated records: within 100 columns, in words."""

import math
from pathlib import Path

import pytest

from twin.case import load
from twin.cli.console import Reporter
from twin.cli.field import show_mixing, show_points

PAPER = Path(__file__).parents[2] / "cases" / "liang2023"
HEAD = {
    "name": "a1000-p0060",
    "antisolvent_m3_s": 1000e-6 / 3600,
    "precursor_m3_s": 60e-6 / 3600,
    "groups": {"reynolds": 1662.0},
}


def plane(bores, **more):
    segregation = math.exp(-0.06 * bores)
    index = {"segregation": segregation, "error": 0.005, "index": 1 - math.sqrt(segregation), "index_error": 0.003}
    return {"bores": bores, **index, **more}


def grid_plane(bores, ratio):
    return {
        "bores": bores,
        "segregation": 0.5,
        "index": 0.293,
        "segregation_physical": 0.9,
        "flux_error": -2e-5,
        "numerical_diffusion": ratio,
        "quotable": ratio <= 0.2,
    }


@pytest.fixture
def mixing():
    planes = [plane(1.0), plane(2.0), plane(3.0)]
    solvent = {
        "peclet": 96390.4,
        "planes": planes,
        "striations": [{"bores": 1.5, "thickness": 0.02, "error": 0.002}],
        "length_bores": 33.3,
        "time_s": 0.33,
        "log_error": 0.02,
    }
    polymer = {"peclet": 7.87e6, "planes": planes, "striations": []}
    times = {"mean": 0.7, "mean_error": 0.007, "deviation": 0.5, "skewness": 3.0}
    return {
        "walkers": 5000,
        "species": {"solvent": solvent, "polymer": polymer},
        "planes": planes,
        "time": {"value": 0.326, "low": 0.21, "high": 0.507, "unit": "s", "label": "bounded"},
        "index_outlet": {"value": 0.268, "low": 0.167, "high": 0.368, "unit": "", "label": "bounded"},
        "fit_error": 0.02,
        "mesh_error": 0.1,
        "residence": {"precursor": {**times, "quantiles": [0.39, 0.43, 0.53, 0.76, 1.65]}},
        "exposure": {
            "elements": 100,
            "times": [
                {"antisolvent": 0.1, "reached": 0.99, "quantiles": [0.001, 0.003, 0.009, 0.024, 0.089]},
                {"antisolvent": 0.9, "reached": 0.24, "quantiles": [0.03, None, None, None, None]},
            ],
        },
        "grid": {"planes": [grid_plane(1.0, 21.8), grid_plane(2.0, 0.15), grid_plane(3.0, 3.75)]},
    }


def cells(text, first):
    """The cells of the row that begins with `first`."""
    [line] = [line for line in text.splitlines() if line.startswith(f"│ {first}")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_table_of_points_has_values_bands_and_the_reasons_below(mixing, capsys):
    drop = {"pressure_drop_pa": {"antisolvent": 31.49, "precursor": 28.8}}
    solved = {**HEAD, "status": "marched", "reason": "", "mixing": mixing, "flow": drop}
    reason = "Newton's method does not converge at Re 1662, after marching in pseudo-time for a very long while"
    show_points("a title", [solved, {**HEAD, "name": "a5000-p0060", "status": "failed", "reason": reason}], Reporter())
    text = capsys.readouterr().out
    assert cells(text, "a1000-p0060")[1:] == [
        "1000 / 60", "1662", "marched", "31.5", "326 (210…507)", "0.27 (0.17…0.37)", "3.8, 2e-05",
    ]  # fmt: skip
    assert cells(text, "a5000-p0060")[3:] == ["failed", "", "", "", ""]
    assert f"a5000-p0060 failed: {reason}" in text
    assert max(map(len, text.splitlines()[:-1])) <= 100


def test_the_tables_of_a_point_tell_walkers_grid_species_and_exposure(mixing, capsys):
    show_mixing(load(PAPER), mixing, Reporter())
    text = capsys.readouterr().out
    assert cells(text, "1 ") == ["1", "0.030 ± 0.003", "0.942", "", "0.293", "22", "no"]
    assert cells(text, "2 ") == ["2", "0.058 ± 0.003", "0.887", "31.8 ± 3.2", "0.293", "0.15", "yes"]
    assert cells(text, "solvent: mixing length")[1] == "33.3 ± 0.67 bores, 52.9 ± 1.1 mm"
    assert cells(text, "polymer: mixing length")[1] == "too long to measure"
    assert cells(text, "residence of the precursor")[1] == "700 ± 7 ms; 390 … 1650 ms"
    assert cells(text, "precursor until it meets 10 %")[1] == "9 ms; 99 %"
    assert cells(text, "precursor until it meets 90 %")[1] == "half do not get there; 24 %"
    assert "5000 random walkers" in text and "± 0.1" in text and "0.2 or less" in text
    assert max(map(len, text.splitlines())) <= 100


def test_json_has_no_tables(mixing, capsys):
    show_mixing(load(PAPER), mixing, Reporter(as_json=True))
    assert capsys.readouterr().out == ""
