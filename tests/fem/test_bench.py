"""Times to an error, and the study of the pressure drop: what is computed from runs, without making them but once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twin.case.schema import Level
from twin.errors import TwinError
from twin.verification import bench, convergence, openfoam
from twin.verification.bench import Measured, time_at
from twin.verification.bench_ladder import Rung, climbed
from twin.verification.convergence import MeshRun, Study


def run(size: float, drop: float, seconds: float = 10.0, velocity: float = 1.0) -> MeshRun:
    level = Level(wall_size=size, core_size=size)
    return MeshRun(level, 1000, 5000, drop, [[0.0, 0.0, velocity]] * 3, 1.0, seconds, 0.8 * seconds, 3)


def test_a_time_is_interpolated_on_logarithms():
    # Error 1/time: 0.005 at 200.
    assert time_at(0.005, [10, 100, 1000], [0.1, 0.01, 0.001]) == (pytest.approx(200), "")


def test_the_last_crossing_counts():
    found, note = time_at(0.005, [1, 10, 100, 1000], [0.001, 0.02, 0.01, 0.001])  # the first is good by chance
    assert 100 < found < 1000
    assert note == ""


def test_beyond_the_runs_it_says_so():
    assert time_at(0.001, [10, 100], [0.1, 0.01]) == (pytest.approx(1000), "extrapolated")
    assert time_at(0.5, [10, 100], [0.1, 0.01]) == (pytest.approx(2), "extrapolated")
    assert time_at(0.001, [10, 100], [0.01, 0.02]) == (100, "at least: no error falls")
    assert time_at(0.5, [10, 100], [0.01, 0.02]) == (10, "at most: no error falls")
    with pytest.raises(TwinError, match="two meshes"):
        time_at(0.1, [1.0], [0.1])


def test_both_errors_must_be_reached():
    runs = [
        Measured("", t, t, t, 1.0, {"pressure_drop": p, "outlet_velocity": u})
        for t, p, u in ((10, 0.1, 0.02), (100, 0.01, 0.01), (1000, 0.001, 0.0025))
    ]
    seconds, note = bench.time_to_all(runs, lambda one: one.seconds, bench.ERRORS)
    assert (seconds, note) == (pytest.approx(100 * np.sqrt(10)), "")  # that of the velocity
    slower = [replace(one, seconds=3 * one.seconds) for one in runs]
    first = bench.times_compared("Re 348", runs, slower, bench.ERRORS)[0]
    assert first["ratio"] == pytest.approx(3)


def test_what_came_before_is_in_the_time_of_a_run():
    study = Study(348.0, 0.06, 2, 2.0, 1.5, run(0.3, 1.5, 5.0), [run(0.2, 1.6, 10.0), run(0.1, 1.64, 40.0)])
    assert study.seconds(study.runs[1], meshing=False) == pytest.approx(2 + 5 + 10 + 40)
    assert study.seconds(study.runs[0], meshing=True) == pytest.approx(2 + 5 + 10 + 2)
    assert study.cpu_seconds(study.runs[0]) == pytest.approx(1.5 + 4 + 8)
    ours = bench.of_study(study, openfoam.Reference(1.64, np.full((3, 3), [0.0, 0.0, 1.01])))
    assert ours[1].errors == pytest.approx({"pressure_drop": 0.0, "outlet_velocity": 0.01})


def test_openfoam_may_be_missing(monkeypatch):
    study = Study(348.0, 0.06, 2, 2.0, 1.5, run(0.3, 1.5), [run(0.2, 1.6), run(0.1, 1.64)])
    study = replace(study, runs=[replace(one, outlet_velocity=[[0.0, 0.0, 1.0]] * 144) for one in study.runs])
    monkeypatch.setattr(bench, "run_levels", lambda *_: study)

    def missing():
        raise TwinError("there is no OpenFOAM here")

    monkeypatch.setattr(bench, "environment", missing)
    said = []
    rows = bench.codes_compared(bench.SHORT, said.append)
    assert len(rows) == 1 + 2 * len(bench.SHORT.levels)  # the stand-in gives two runs for each
    assert all(row["ratio"] is None for row in rows)
    assert "no OpenFOAM" in said[-1]


def test_the_error_of_the_pressure_drop(monkeypatch):
    """Of first order, as the crotch is an edge: 1 % at the finest of three meshes, with a safety of 2."""
    runs = [run(size, 1.65 + 0.165 * size) for size in (0.2, 0.1, 0.05)]
    monkeypatch.setattr(convergence, "run_levels", lambda *_: Study(348.0, 0.06, 2, 0.0, 0.0, run(0.3, 1.5), runs))
    (check,) = convergence.heavy_checks()
    assert check.computed == pytest.approx(0.01, rel=0.01) and not check.holds
    assert "Δp = 1.6583 ρU²" in check.name
    flows = [openfoam.Reference(drop, np.zeros((1, 3))) for drop in (0.54, 0.52, 0.51)]
    rungs = [Rung("", 8**step, 1.0, 1.0, 1.0, flow) for step, flow in enumerate(flows)]
    assert bench.error_of_production(rungs) == pytest.approx((0.02 + 0.01) / 0.52)


def test_what_fails_on_the_ranks_is_told():
    with pytest.raises(TwinError, match="failed on 1 ranks"):
        convergence.on_ranks("twin.verification.no_such_module", {}, 1, 60)


def test_the_answers_folder_goes(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(convergence.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(TwinError):
        convergence.on_ranks("twin.verification.no_such_module", {}, 1, 60)
    assert not list(tmp_path.iterdir())


@pytest.mark.field
def test_the_levels_of_a_case_are_gone_up(tiny, tmp_path: Path):
    """From nothing: what a level took holds what those below took, and what is sampled is the flow."""
    case, *_, point = tiny
    levels = dict(case.levels)
    levels = {"coarse": levels["coarse"], "medium": levels["coarse"].refined(1.2)}
    across = np.array([[0.0, 0.0, 2.5], [0.3, 0.0, 2.5]])
    coarse, medium = climbed(case.model_copy(update={"levels": levels}), point, list(levels), 1, tmp_path, across)
    assert 0 < coarse.seconds_solve < coarse.seconds < medium.seconds_solve
    assert 0 < coarse.cpu_seconds < medium.cpu_seconds
    assert coarse.cells < medium.cells
    assert coarse.flow.outlet_velocity[:, 2] == pytest.approx(medium.flow.outlet_velocity[:, 2], abs=0.1)
    assert 0.5 < medium.flow.outlet_velocity[1, 2] < medium.flow.outlet_velocity[0, 2] < 2.2
    assert coarse.flow.pressure_drop == pytest.approx(medium.flow.pressure_drop, rel=0.2)
