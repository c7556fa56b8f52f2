"""The walkers' benchmark: its pilot, its rows, and OpenFOAM's answers, also where they fail."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from twin import verification
from twin.case.schema import Level
from twin.errors import TwinError
from twin.mixing import PlaneMixing, Segregation
from twin.transport import Alone, Tetrahedra
from twin.verification import bench_mixing, bench_walks, openfoam_scalar
from twin.verification.bench_mixing import Walked
from twin.verification.bench_walks import FlowRun, WalkJob, chosen, measured
from twin.verification.blocks import box
from twin.verification.openfoam_scalar import Point, ScalarPeer

pytestmark = pytest.mark.field

POINT = Point(348.0, 0.25, 1000.0)
PLACES = (1.0, 2.0, 9.0)


@pytest.fixture(scope="module")
def channel() -> Tetrahedra:
    """Two streams in plug flow, a quarter of it precursor."""
    openings = {
        "precursor": lambda x: (x[:, 0] < 1e-9) & (x[:, 1] < 0.25),
        "antisolvent": lambda x: (x[:, 0] < 1e-9) & (x[:, 1] > 0.25),
        "outlet": lambda x: x[:, 0] > 10 - 1e-9,
    }
    return box((10.0, 1.0, 0.5), (20, 8, 4), lambda x: np.tile([1.0, 0, 0], (len(x), 1)), openings)


@pytest.fixture(scope="module")
def walked(channel) -> Walked:
    run = measured(channel, POINT.peclet, POINT.precursor_share, PLACES, 500)
    job = WalkJob(1, len(channel.cells), 2.0, 1.9, None, run, (40.0, 10.0))
    half = replace(run, seconds=run.seconds / 1.9, cpu_seconds=run.cpu_seconds / 1.95)
    pilot = measured(channel, POINT.peclet, POINT.precursor_share, PLACES, 100, seed=2)
    flow = FlowRun(1000, 5000, 3.0, 7.0, 6.5)
    return Walked(flow, replace(job, ranks=2, run=half, pilot=pilot), job)


def peer(**changes: Any) -> ScalarPeer:
    planes = [PlaneMixing(bores, 0.5, 0.3, 0.6, 0.0, 4.0, 4.0) for bores in (1.0, 9.0)]
    whole = ScalarPeer("upwind", 1000.0, 4000, 10.0, 9.0, 5.0, 4.0, 0.1, 100, 1e-9, "", planes, 0.0, 1.0)
    return replace(whole, **changes)


# -- the walkers -------------------------------------------------------------------------------------------------------


def test_the_pilot_chooses_for_its_worst_plane():
    planes = [Segregation(1.0, 0.81, 0.018), Segregation(10.0, 0.25, 0.02)]  # M to 0.01 and 0.02
    assert planes[1].index_error == pytest.approx(0.02)
    found = chosen(planes, 1000, 0.005)
    assert 16_000 <= found <= 1.15 * 16_000
    assert chosen(planes, 1000, 1.0) > 0
    assert chosen(planes[:1], 1000, 0.005) < found / 3


def test_so_many_walkers_meet_the_error(channel):
    pilot = measured(channel, POINT.peclet, POINT.precursor_share, PLACES, 200, seed=2)
    count = chosen(pilot.planes, 200, 0.012)
    assert count > 200
    run = measured(channel, POINT.peclet, POINT.precursor_share, PLACES, count)
    assert run.worst.index_error <= 0.012
    assert [plane.bores for plane in run.planes] == list(PLACES)


def test_what_a_run_counts(channel):
    run = measured(channel, POINT.peclet, POINT.precursor_share, PLACES, 100)
    assert run.returned > 100 * len(PLACES) * 0.9  # a crossing at each plane, but for the walkers near its rim
    assert run.steps > run.returned * 5
    assert run.ns_step == pytest.approx(1e9 * run.cpu_seconds / run.steps)
    assert 10 < run.ns_step < 1e5


def test_waiting_for_others_is_no_work():
    class Slow(Alone):
        def allgather(self, sendobj: object) -> list:
            until = time.process_time() + 0.2
            while time.process_time() < until:
                pass
            return [sendobj]

    clock = bench_walks._Busy(Slow())
    clock.start()
    assert clock.allgather(3) == [3]
    seconds, busy = clock.stop()
    assert seconds >= 0.2
    assert sum(busy) < 0.1


def test_an_answer_survives_its_file(walked):
    assert bench_walks.read_walk(json.loads(json.dumps(asdict(walked.two)))) == walked.two
    assert bench_walks.read_walk(json.loads(json.dumps(asdict(walked.one)))) == walked.one


def test_the_rows_of_the_walkers(walked):
    rows = bench_mixing.walker_rows(POINT, walked, 0.05)
    flow, mesh, pilot, one, two = rows
    assert flow["seconds"] == 10.0
    assert flow["cpu_seconds"] == 6.5
    assert mesh["seconds"] == 2.0
    assert "100 walkers" in pilot["what"]
    assert one["ratio"] == 1.0
    assert two["ratio"] == pytest.approx(1.9)
    assert "1.95 by processor time" in two["note"]
    assert "NOT" not in two["note"]
    assert 0 < two["index_first"] < two["index"] < 1
    assert two["index_error"] == walked.two.run.planes[-1].index_error
    assert "GFlop/s" in one["note"]
    json.dumps(rows, allow_nan=False)


def test_ranks_that_differ_are_told(walked):
    other = replace(walked.two.run, planes=[replace(plane, segregation=0.5) for plane in walked.two.run.planes])
    rows = bench_mixing.walker_rows(POINT, replace(walked, two=replace(walked.two, run=other)))
    assert "NOT the numbers of one rank" in rows[-1]["note"]


def test_a_coarse_junction_from_nothing(monkeypatch):
    on_ranks = bench_mixing.on_ranks

    def cheaply(module: str, job: dict[str, Any], ranks: int, patience_s: float) -> Any:
        return on_ranks(module, job, 1 if job["task"] == "flow" else ranks, patience_s)

    monkeypatch.setattr(bench_mixing, "on_ranks", cheaply)
    plan = replace(
        bench_mixing.SHORT, level=Level(wall_size=0.3, core_size=0.4), planes=(1.0, 10.0), error=0.05, pilot=200
    )
    said: list[str] = []
    found = bench_mixing.walked_at(Point(20.0, 1 / 17.667, 1e4), plan, said.append)
    assert found.two.ranks == 2
    assert found.one.ranks == 1
    assert found.two.run.planes == found.one.run.planes
    assert found.two.run.worst.index_error <= 0.05
    assert found.two.pilot is not None
    assert found.one.pilot is None
    assert len(said) == 3


def test_what_fails_on_a_rank_is_told(tmp_path):
    job = {"task": "walk", "folder": str(tmp_path), "mesh": str(tmp_path / "none.msh"), "velocity": ""}
    with pytest.raises(TwinError, match="failed on 2 ranks") as failed:
        bench_mixing._on_ranks(job, 2)
    assert "none.msh" in failed.value.remedy


# -- OpenFOAM ----------------------------------------------------------------------------------------------------------


def test_a_peer_beside_the_walkers(walked):
    row = bench_mixing.peer_row("OpenFOAM", peer(), walked.two.run)
    assert (row["seconds"], row["cpu_seconds"]) == (15.0, 13.0)
    assert (row["index"], row["index_first"], row["numerical"]) == (0.3, 0.3, 4.0)
    assert "not quotable" in row["note"]
    assert f"{0.3 - walked.two.run.planes[-1].index:+.3f} from the walkers'" in row["note"]
    good = peer(planes=[replace(plane, numerical_diffusion=0.1, numerical_before=0.1) for plane in peer().planes])
    assert bench_mixing.peer_row("", good, walked.two.run)["note"].startswith("quotable")


def test_a_failed_peer_has_no_number(walked):
    row = bench_mixing.peer_row(
        "OpenFOAM", peer(failure="residual 1e-3 after 500 iterations", planes=[]), walked.one.run
    )
    assert {key for key, value in row.items() if value is not None} == {"what", "note"}
    assert row["note"] == "failed: residual 1e-3 after 500 iterations"


def test_a_mesh_that_fails_costs_its_own_row(walked, monkeypatch):
    def some(plan, watch):
        if plan.cells_across == (24,):
            raise TwinError("OpenFOAM's simpleFoam failed", "a long log")
        yield plan.points[0], plan.cells_across[0], peer()

    monkeypatch.setattr(bench_mixing, "peers", some)
    monkeypatch.setattr(bench_mixing, "environment", dict)
    rows = bench_mixing.peer_rows(POINT, bench_mixing.SHORT, walked.two.run)
    assert [row.get("index") for row in rows] == [0.3, None, 0.3]
    assert rows[1]["note"] == "failed: OpenFOAM's simpleFoam failed"


def test_openfoam_may_be_missing(walked, monkeypatch, tmp_path):
    monkeypatch.delenv("TWIN_OPENFOAM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    (row,) = bench_mixing.peer_rows(POINT, bench_mixing.SHORT, walked.two.run)
    assert "left out" in row["note"]
    assert "install it" in row["note"]


@pytest.mark.parametrize("everything", [False, True])
def test_the_benchmark_by_name(walked, monkeypatch, everything):
    def some(plan, watch):
        for scheme in plan.schemes:
            yield plan.points[0], plan.cells_across[0], peer(scheme=scheme)

    monkeypatch.setattr(bench_mixing, "walked_at", lambda *_: walked)
    monkeypatch.setattr(bench_mixing, "peers", some)
    monkeypatch.setattr(bench_mixing, "environment", dict)
    rows = verification.run_bench("mixing", everything)
    plan = openfoam_scalar.FULL if everything else openfoam_scalar.SHORT
    assert len(rows) == len(plan.points) * (5 + len(plan.cells_across) * len(plan.schemes))
    assert any(row["what"].startswith("Re 1662") for row in rows) == everything
