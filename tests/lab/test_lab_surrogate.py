"""The surrogate: what it learns from, how well it knows its errors, what it refuses, and its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from twin.errors import BadInput, Missing
from twin.files import digest
from twin.operating import OperatingPoint
from twin.surrogate import TARGETS, Hull, Surrogate, fit, load_surrogate, read_campaign, save_surrogate
from twin.surrogate.gp import Inputs, inflation, learn, leave_one_out
from twin.units import from_ml_per_h


def inputs(campaigns: Any) -> np.ndarray:
    flows = np.array(campaigns.flows) / 3.6e9
    return Inputs.of(flows[:, 0], flows[:, 1]).scale(flows[:, 0], flows[:, 1])


# --- the campaign table


def test_usable_points_are_read(campaigns: Any, campaign_file: Path) -> None:
    dataset = read_campaign(campaign_file)
    assert len(dataset.names) == 10 and dataset.left_out == {}
    i = dataset.names.index("a5000-p0060")
    assert dataset.time[i, 0] == pytest.approx(campaigns.mixing_time(5000, 60))
    assert np.all(dataset.time[:, 1] < dataset.time[:, 0]) and np.all(dataset.time[:, 0] < dataset.time[:, 2])
    assert dataset.pressure_drop[i] == pytest.approx(100.0)
    assert dataset.campaign == digest(campaign_file.read_bytes())
    assert dataset.points[i] == OperatingPoint.from_ml_h(5000, 60)


def test_failed_and_broken_points_are_left_out_and_listed(campaigns: Any, tmp_path: Path) -> None:
    table = campaigns()
    failed, cut, unmixed, dead = table["points"][1:5]
    failed.update(status="failed", reason="the mesh is too coarse")
    del failed["flow"], failed["mixing"]
    del cut["mixing"]["time"]
    unmixed["mixing"]["index_outlet"].update(value=0.0, low=0.0)
    dead["mixing"]["time"].update(low=0.0)
    table["points"][5]["flow"]["pressure_drop_pa"] = 98.0
    dataset = read_campaign(campaigns.write(tmp_path, table))
    assert len(dataset.names) == 6
    assert dataset.left_out[failed["name"]] == "failed: the mesh is too coarse"
    assert "incomplete" in dataset.left_out[cut["name"]]
    assert "index" in dataset.left_out[unmixed["name"]]
    assert "mixing time" in dataset.left_out[dead["name"]]
    assert 98.0 in dataset.pressure_drop


def test_too_few_points_are_refused_with_the_reasons(campaigns: Any, tmp_path: Path) -> None:
    table = campaigns()
    for row in table["points"][3:]:
        row.update(status="failed", reason="no memory")
    with pytest.raises(BadInput, match="3 usable points") as caught:
        read_campaign(campaigns.write(tmp_path, table))
    assert "no memory" in caught.value.message and "twin sweep" in caught.value.remedy


def test_other_mistakes_are_refused(campaigns: Any, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="there is no"):
        read_campaign(tmp_path / "campaign.json")
    with pytest.raises(BadInput, match="not a campaign table"):
        read_campaign(campaigns.write(tmp_path, {"schema": 1}))
    table = campaigns()
    table["points"].append(table["points"][0])
    with pytest.raises(BadInput, match="a1000-p0060 twice"):
        read_campaign(campaigns.write(tmp_path, table))
    table = campaigns()
    table["points"][0]["temperature_k"] = 303.15
    with pytest.raises(BadInput, match="mixes temperatures"):
        read_campaign(campaigns.write(tmp_path, table))
    table = campaigns()
    table["points"][0]["antisolvent_m3_s"] = 5000.0
    with pytest.raises(BadInput, match="m³/s"):
        read_campaign(campaigns.write(tmp_path, table))


# --- the processes and their errors


def test_a_smooth_law_is_reproduced(campaigns: Any, surrogate: Surrogate) -> None:
    for flows in ((1500, 60), (2500, 58), (4500, 55), (5000, 15), (4700, 40)):
        predicted = surrogate.predict(OperatingPoint.from_ml_h(*flows))["mixing_time_s"]
        assert predicted.value == pytest.approx(campaigns.mixing_time(*flows), rel=0.02)
        assert predicted.low < predicted.value < predicted.high and predicted.label == "bounded"
    assert surrogate.loo["mixing_time_s"].rms < 0.02


def test_the_band_holds_the_bracket_of_the_campaign(surrogate: Surrogate) -> None:
    dataset = surrogate.dataset
    for i, point in enumerate(dataset.points):
        predicted = surrogate.predict(point)
        for target, column in (("mixing_time_s", dataset.time[i]), ("mixing_index", dataset.index[i])):
            one = predicted[target]  # type: ignore[index]
            assert one.value == pytest.approx(column[0], rel=0.01)
            assert one.low <= column[1] * 1.03 and one.high >= column[2] * 0.97
            assert one.low >= column[1] * 0.8 and one.high <= min(column[2] * 1.2, 1.0 if column[2] < 1 else np.inf)


def test_no_left_out_point_is_seen(campaigns: Any) -> None:
    x = inputs(campaigns)
    y = np.sin(2 * x[:, 0]) + 0.5 * x[:, 1]
    before, _ = leave_one_out(x, y)
    y[3] += 5.0
    after, _ = leave_one_out(x, y)
    assert after[3] == pytest.approx(before[3], abs=1e-9)
    assert np.max(np.abs(np.delete(after - before, 3))) > 0.01


def test_the_calibrated_band_covers_what_was_not_seen(campaigns: Any) -> None:
    """On laws with noise, at points between the training points: 90 % bands hold about that share, and not by width."""
    x, rng = inputs(campaigns), np.random.default_rng(5)
    between = 0.5 * (x[:-1] + x[1:])
    inside, quarter, widths = [], [], []
    for _ in range(8):
        slope, bend, noise = rng.normal(size=2), rng.normal(scale=0.3), 0.05

        def law(z: np.ndarray, slope: np.ndarray = slope, bend: float = bend) -> np.ndarray:
            return z @ slope + bend * np.sin(3 * z[:, 0])

        y = law(x) + rng.normal(scale=noise, size=len(x))
        process = learn(x, y, restarts=1)
        predicted, deviation = leave_one_out(x, y)
        value, spread = process.predict(between)
        half = 1.645 * spread * inflation(predicted - y, deviation)
        truth = law(between) + rng.normal(scale=noise, size=len(between))
        inside.append(np.abs(value - truth) <= half)
        quarter.append(np.abs(value - truth) <= 0.25 * half)
        widths.append(np.median(half) / np.std(y))
    assert np.mean(inside) > 0.85
    assert np.mean(quarter) < 0.85
    assert np.median(widths) < 0.4


def test_inflation_is_the_conformal_quantile() -> None:
    ones = np.ones(10)
    assert inflation(np.full(10, 0.1), ones) == 1.0
    assert inflation(np.array([0.1] * 9 + [3.29]), ones) == pytest.approx(2.0, rel=1e-3)
    assert inflation(np.array([0.1] * 28 + [9.0]), np.ones(29)) == 1.0


def test_draws_agree_with_the_band(surrogate: Surrogate) -> None:
    point = OperatingPoint.from_ml_h(3000, 60)
    zero, edge = np.zeros(3), np.array([-1.645, 0.0, 1.645])
    draws = surrogate.sample("mixing_time_s", [point], zero, edge)[0]
    band = surrogate.predict(point)["mixing_time_s"]
    assert draws[1] == pytest.approx(band.value)
    assert draws[0] == pytest.approx(band.low, rel=0.02) and draws[2] == pytest.approx(band.high, rel=0.02)


def test_the_table_of_errors_has_every_point(surrogate: Surrogate) -> None:
    rows = surrogate.loo_table()
    assert len(rows) == len(TARGETS) * 11
    assert {row["point"] for row in rows} == {*surrogate.dataset.names, "RMS"}


# --- the hull


def test_extrapolation_is_refused_with_the_allowed_range(surrogate: Surrogate) -> None:
    with pytest.raises(BadInput) as caught:
        surrogate.predict(OperatingPoint.from_ml_h(3000, 20))
    assert "at antisolvent 3000 mL/h, precursor 35 to 60 mL/h" in caught.value.message
    assert "at precursor 20 mL/h, antisolvent 4200 to 5000 mL/h" in caught.value.message
    with pytest.raises(BadInput, match="not covered at all"):
        surrogate.predict(OperatingPoint.from_ml_h(6000, 60))
    with pytest.raises(BadInput, match=r"293.15 K, not at 300 K"):
        surrogate.predict(OperatingPoint.from_ml_h(3000, 50, temperature_k=300.0))


flows = st.tuples(st.floats(100, 6000), st.floats(1, 100))


@given(st.lists(flows, min_size=3, max_size=9), st.lists(st.floats(0, 1), min_size=9, max_size=9))
def test_the_hull_holds_every_mixture_of_its_points_and_nothing_beyond(
    points: list[tuple[float, float]], weights: list[float]
) -> None:
    array = np.array(points)
    assume(np.all(np.ptp(array, axis=0) > 1e-3 * np.max(array, axis=0)) and sum(weights[: len(points)]) > 0.1)
    hull = Hull.around([(a / 3.6e9, p / 3.6e9) for a, p in points])
    share = np.array(weights[: len(points)])
    antisolvent, precursor = share @ array / share.sum() / 3.6e9
    low, high = hull.precursor_range(antisolvent)  # type: ignore[misc]
    assert low - 1e-7 * high <= precursor <= high * (1 + 1e-7)
    assert not hull.contains(antisolvent, high * 1.01) and not hull.contains(antisolvent, low * 0.99)
    assert not hull.contains(1.01 * np.max(array[:, 0]) / 3.6e9, precursor)


def test_a_single_sweep_is_a_segment(campaigns: Any, tmp_path: Path) -> None:
    sweep = [pair for pair in campaigns.flows if pair[1] == 60.0]
    surrogate = fit(read_campaign(campaigns.write(tmp_path, campaigns(sweep))))
    assert len(surrogate.hull.vertices) == 2
    predicted = surrogate.predict(OperatingPoint.from_ml_h(2500, 60))["mixing_time_s"]
    assert predicted.value == pytest.approx(campaigns.mixing_time(2500, 60), rel=0.03)
    for outside in ((2500, 59), (2500, 61), (900, 60), (5100, 60)):
        with pytest.raises(BadInput, match="outside the campaign"):
            surrogate.predict(OperatingPoint.from_ml_h(*outside))


def test_a_diagonal_segment() -> None:
    hull = Hull.around([(1.0, 10.0), (2.0, 20.0), (3.0, 30.0), (1.5, 15.0)])
    assert hull.vertices == ((1.0, 10.0), (3.0, 30.0))
    assert hull.contains(2.2, 22.0) and not hull.contains(2.2, 22.1) and not hull.contains(3.1, 31.0)
    assert hull.antisolvent_range(25.0) == pytest.approx((2.5, 2.5))


def test_one_point_is_no_hull() -> None:
    with pytest.raises(BadInput, match="single operating point"):
        Hull.around([(1.0, 2.0), (1.0, 2.0)])


def test_a_cut_hull() -> None:
    hull = Hull.around([(1.0, 6.0), (5.0, 6.0), (5.0, 1.0)])
    part = hull.cut((1.0, 0.0), 3.0)
    assert part is not None and max(a for a, _ in part.vertices) == pytest.approx(3.0)
    assert part.contains(2.9, 5.9) and not part.contains(3.1, 5.9)
    assert hull.cut((1.0, 0.0), 0.5) is None
    assert hull.cut((1.0, 0.0), 9.0) == hull
    point = hull.cut((1.0, 0.0), 1.0)
    assert point is not None and point.vertices == ((1.0, 6.0),)


# --- the file


def test_the_artifact_gives_the_same_predictions(surrogate: Surrogate, campaign_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "surrogate.json"
    save_surrogate(surrogate, path)
    again = load_surrogate(path, campaign_file)
    z = np.linspace(-2, 2, 7)
    for antisolvent, precursor in ((1000, 60), (5000, 60), (5000, 10), (3333, 44), (4900, 12.5)):
        point = OperatingPoint.from_ml_h(antisolvent, precursor)
        one, other = surrogate.predict(point), again.predict(point)
        for target in TARGETS:
            assert one[target].label == other[target].label
            for key in ("value", "low", "high"):
                assert getattr(other[target], key) == pytest.approx(getattr(one[target], key), rel=1e-10)
            drawn = surrogate.sample(target, [point], z, z)
            np.testing.assert_allclose(again.sample(target, [point], z, z), drawn, rtol=1e-10)
    assert again.fingerprint == surrogate.fingerprint
    assert again.hull == surrogate.hull
    for row, other_row in zip(surrogate.loo_table(), again.loo_table(), strict=True):
        assert other_row["error_percent"] == pytest.approx(row["error_percent"], abs=1e-9)
    data = json.loads(path.read_text())
    assert data["campaign"] == digest(campaign_file.read_bytes()) and data["provenance"]["versions"]["scikit-learn"]


def test_fitting_twice_gives_the_same(surrogate: Surrogate, campaign_file: Path) -> None:
    assert fit(read_campaign(campaign_file)).fingerprint == surrogate.fingerprint


def test_a_changed_old_or_damaged_artifact_is_refused(
    surrogate: Surrogate, campaigns: Any, campaign_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "surrogate.json"
    with pytest.raises(Missing, match="twin fit"):
        load_surrogate(path)
    save_surrogate(surrogate, path)
    data = json.loads(path.read_text())
    data["dataset"]["time"][0][0] *= 1.1
    path.write_text(json.dumps(data))
    with pytest.raises(BadInput, match="was changed"):
        load_surrogate(path)
    del data["targets"]
    data["checksum"] = digest({key: value for key, value in data.items() if key != "checksum"})
    path.write_text(json.dumps(data))
    with pytest.raises(BadInput, match="damaged"):
        load_surrogate(path)
    save_surrogate(surrogate, path)
    newer = campaigns()
    newer["points"][0]["mixing"]["time"]["value"] *= 1.01
    with pytest.raises(BadInput, match=r"older campaign.json"):
        load_surrogate(path, campaigns.write(tmp_path, newer))
    assert load_surrogate(path, campaign_file).predict(OperatingPoint(from_ml_per_h(5000), from_ml_per_h(60)))


def test_a_pressure_drop_carries_the_error_of_its_mesh(surrogate):
    """The map is smooth to a fraction of a per cent; the mesh behind it is not that good, and the band says so."""
    drop = surrogate.predict(surrogate.dataset.points[0])["pressure_drop_pa"]
    assert drop.high / drop.value >= 1.03 and drop.value / drop.low >= 1.03
