"""The same numbers on one, two and three ranks, through the program that users run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twin.campaign import point_state, run_points, write_table
from twin.campaign.stability import run_stability
from twin.case import Results, load
from twin.errors import BadInput
from twin.files import read_json
from twin.meshing import build_mesh
from twin.operating import OperatingPoint

pytestmark = pytest.mark.field
CASES = Path(__file__).parents[2] / "cases"


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases") / "tiny"
    folder.mkdir()
    text = (CASES / "liang2023" / "case.toml").read_text()
    text = text.replace("wall_size = 0.10", "wall_size = 0.3").replace("core_size = 0.16", "core_size = 0.35")
    (folder / "case.toml").write_text(text.replace('"ptfe-y-60"', '"short"'))
    (folder / "short.toml").write_text(
        'bore = "1.5875 mm"\nangle = "60 deg"\narm_bores = 1.5\noutlet_bores = 2\nsource = "made for tests"\n'
    )
    return load(folder)


@pytest.fixture(scope="module")
def runs(case, tmp_path_factory):
    """The records of two points on 1, 2 and 3 ranks."""
    points = [OperatingPoint.from_ml_h(300, 60, 293.15), OperatingPoint.from_ml_h(400, 40, 293.15)]
    found = {}
    for ranks in (1, 2, 3):
        results = Results.of(case, "coarse", tmp_path_factory.mktemp(f"ranks{ranks}"))
        mesh = build_mesh(case, "coarse", results.mesh)
        events = []
        run_points(case, "coarse", results, mesh, points, ranks, events.append)
        assert [event.kind for event in events if event.kind != "step"] == ["start", "done"] * 2
        found[ranks] = results, mesh, [read_json(results.point(point.name) / "record.json") for point in points]
    return points, found


@pytest.mark.parametrize("ranks", [2, 3])
def test_numbers_agree_across_ranks(runs, ranks):
    _, found = runs
    for one, other in zip(found[1][2], found[ranks][2], strict=True):
        assert one["status"] == other["status"] == "steady"
        assert other["provenance"]["ranks"] == ranks
        assert other["flow"]["pressure_drop_pa"] == pytest.approx(one["flow"]["pressure_drop_pa"], rel=1e-8)
        for here, there in zip(one["mixing"]["grid"]["planes"], other["mixing"]["grid"]["planes"], strict=True):
            assert there == pytest.approx(here, rel=1e-6, abs=1e-7)
        # Walkers are the same to the last bit in the same flow (test_walkers); these flows agree to Newton's tolerance,
        # which decides a few walkers in thousands.
        for here, there in zip(one["mixing"]["planes"], other["mixing"]["planes"], strict=True):
            assert there["segregation"] == pytest.approx(here["segregation"], abs=here["error"])
        assert other["mixing"]["time"]["value"] == pytest.approx(one["mixing"]["time"]["value"], rel=0.05)


def test_finished_points_are_reused_and_outdated_ones_are_not(case, runs):
    points, found = runs
    results, mesh, _ = found[2]
    events = []
    run_points(case, "coarse", results, mesh, points, 2, events.append)
    assert [event.kind for event in events] == ["reused", "reused"]
    assert point_state(case, "coarse", results, points[0], mesh.hash) == "steady"
    assert point_state(case, "coarse", results, points[0], "another mesh") == "outdated"
    assert point_state(case, "coarse", results, case.points[0], mesh.hash) == "open"
    assert write_table(case, "coarse", results, mesh.hash) == 2


def test_turbulent_rates_and_no_ranks_are_refused_before_anything_runs(case, runs):
    results, mesh, _ = runs[1][1]
    with pytest.raises(BadInput, match="turbulent"):
        run_points(case, "coarse", results, mesh, [OperatingPoint.from_ml_h(9000, 60, 293.15)], 2)
    with pytest.raises(BadInput, match="0 ranks"):
        run_points(case, "coarse", results, mesh, case.points, 0)


def test_the_verdict_is_the_same_on_any_number_of_ranks(case, tmp_path):
    """Of every point that is asked for; what is known is not computed again."""
    points, found = [OperatingPoint.from_ml_h(300, 60), OperatingPoint.from_ml_h(400, 40)], {}
    for ranks in (1, 3):
        results = Results.of(case, "coarse", tmp_path / str(ranks))
        mesh, events = build_mesh(case, "coarse", results.mesh), []
        found[ranks] = run_stability(case, "coarse", results, mesh, points, [], ranks, events.append)
        assert [event.kind for event in events if event.kind != "step"] == ["start", "verdict", "done"] * 2
        run_stability(case, "coarse", results, mesh, points, [], ranks, events.append)
        assert [event.kind for event in events[-2:]] == ["reused"] * 2
    for one, other in zip(found[1], found[3], strict=True):
        assert other["name"] == one["name"] and other["complete"]
        for here, there in zip(one["rows"][0]["modes"], other["rows"][0]["modes"], strict=True):
            assert there["kind"] == here["kind"]
            assert there["growth"] == pytest.approx(here["growth"], abs=2 * here["error"] + 1e-6)


def test_an_interrupt_ends_the_ranks_and_keeps_what_was_finished(case, runs, tmp_path):
    """Ctrl-C in the middle of a sweep: exit 130, no rank left, records whole."""
    program = [sys.executable, "-m", "twin", "sweep", str(case.folder), "--output", str(tmp_path), "--ranks", "2"]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    log = tmp_path / "liang2023" / "coarse" / "logs" / "solver.log"
    for _ in range(600):
        if log.exists() and "Newton" in log.read_text():
            break
        try:
            process.wait(0.1)
            pytest.fail(process.communicate()[1])
        except subprocess.TimeoutExpired:
            continue
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted" in errors
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout
    assert left == ""
    for record in (tmp_path / "liang2023" / "coarse" / "points").glob("*/*"):
        assert not record.name.startswith(".")


def test_garbage_is_collected_in_step():
    """No rank may collect by itself: it would destroy PETSc objects, and their communicator, alone."""
    import gc

    from twin.fem.parallel import collect_in_step

    try:
        collect_in_step()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_finer_level_starts_from_the_coarser_one(case, tmp_path):
    """Newton then needs fewer steps than from rest, and the numbers are those of the finer mesh alone."""
    from twin.cli.console import Reporter
    from twin.cli.field import run_campaign

    sizes = "wall_size = 0.08\ncore_size = 0.13", "wall_size = 0.25\ncore_size = 0.29"
    (tmp_path / "tiny").mkdir()
    for source in case.folder.glob("*.toml"):
        (tmp_path / "tiny" / source.name).write_text(source.read_text().replace(*sizes))
    finer = load(tmp_path / "tiny")
    point = OperatingPoint.from_ml_h(300, 60, 293.15)
    results = Results.of(finer, "medium", tmp_path / "warm")
    (warm,) = run_campaign(finer, "medium", results, [point], 1, Reporter(as_json=True))
    coarse = results.beside("coarse")
    start = coarse.point(point.name) / "start.json"  # its flow alone: nobody asked for its mixing
    rough = read_json(start)
    assert rough["status"] == "steady" and rough["flow"]["residual"] < 1e-5 and "mixing" not in rough
    assert coarse.flow(point.name) == start.with_name("fields.vtu")
    assert not start.with_name("record.json").exists()
    cold_results = Results.of(finer, "medium", tmp_path / "cold")
    mesh = build_mesh(finer, "medium", cold_results.mesh)
    run_points(finer, "medium", cold_results, mesh, [point], 1)
    cold = read_json(cold_results.point(point.name) / "record.json")
    assert warm["flow"]["iterations"] < cold["flow"]["iterations"]
    assert warm["flow"]["pressure_drop_pa"] == pytest.approx(cold["flow"]["pressure_drop_pa"], rel=1e-7)
    # A point next to it starts from it, on the same mesh: nothing of it is solved on the coarser one.
    beside = OperatingPoint.from_ml_h(303, 60, 293.15)
    (near,) = run_campaign(finer, "medium", results, [beside], 1, Reporter(as_json=True))
    assert coarse.flow(beside.name) is None and near["flow"]["iterations"] <= warm["flow"]["iterations"]
    assert f"starting from {point.name}" in (results.folder / "logs" / "solver.log").read_text()


def test_a_level_that_follows_a_flow_has_it_solved_first(case, tmp_path):
    """One command from nothing; the second finds the flow, and the mesh that followed it."""
    from twin.cli.console import Reporter
    from twin.cli.field import run_campaign

    (tmp_path / "tiny").mkdir()
    for source in case.folder.glob("*.toml"):
        (tmp_path / "tiny" / source.name).write_text(source.read_text())
    with (tmp_path / "tiny" / "case.toml").open("a") as file:
        file.write(
            "\n[levels.sharp]\nwall_size = 0.25\ncore_size = 0.29\n"
            'follows = { level = "coarse", point = "a1000-p0060", cells = 4000 }\n'
        )
    follower = load(tmp_path / "tiny")
    results = Results.of(follower, "sharp", tmp_path / "results")
    point = OperatingPoint.from_ml_h(300, 60, 293.15)
    (record,) = run_campaign(follower, "sharp", results, [point], 1, Reporter(as_json=True))
    coarse = results.beside("coarse")
    assert record["status"] == "steady" and coarse.flow("a1000-p0060") and coarse.flow(point.name)
    changed = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("results/**/fields.vtu"))]
    run_campaign(follower, "sharp", results, [point], 1, Reporter(as_json=True))
    assert changed == [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("results/**/fields.vtu"))]
