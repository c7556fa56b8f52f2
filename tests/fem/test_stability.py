"""The verdict on steadiness: rates against known ones, and the same from a half mesh as from the whole."""

import importlib
from pathlib import Path

import gmsh
import meshio
import numpy as np
import pytest
from flow_cases import solved
from mpi4py import MPI
from ufl import SpatialCoordinate

from twin.campaign import flow_mesh, stability_worker
from twin.campaign.run import Event
from twin.campaign.stability import onset, run_flow_stability, verdict_on, warning_of
from twin.case import Results, load
from twin.cli import stability as cli_stability
from twin.cli.console import Reporter
from twin.cli.main import main
from twin.errors import NotConverged
from twin.fem import storage
from twin.fem.domain import read_domain
from twin.files import folder, read_json, write_json
from twin.flow import Boundaries, SteadySolver, stability
from twin.junction import groups
from twin.verification import steadiness
from twin.verification.flow import small_connector, small_domain, streams

pytestmark = pytest.mark.field
CASES = Path(__file__).parents[2] / "cases"


@pytest.fixture(scope="module")
def halves():
    """The leading modes of a small junction at Re 60: of both kinds on its half, and of the whole."""
    found = {}
    for symmetric in (True, False):
        connector = small_connector(2).model_copy(update={"symmetric_half": symmetric})
        solver = SteadySolver(small_domain(connector, 0.3, 0.3, MPI.COMM_SELF))
        solver.solve(60.0, streams(solver.domain, 0.3))
        found[symmetric] = stability.verdict(solver, 1)
    return found


def test_a_slow_flow_is_steady(halves):
    assert {verdict.word for verdict in halves.values()} == {"steady"}


def test_both_kinds_of_modes_of_the_half_are_those_of_the_whole(halves):
    half, whole = halves[True].modes, halves[False].modes
    assert {mode.kind for mode in half} == {"symmetric", "antisymmetric"}
    assert [mode.kind for mode in whole] == ["any"]
    assert half[0].growth == pytest.approx(whole[0].growth, rel=0.1)  # on two unlike, very coarse meshes


def test_fluid_at_rest_comes_to_rest_as_stokes_says():
    """In a tube at rest the slowest mode is axial flow over the whole length: λ = −ν(j₀/a)², Bessel's first zero."""
    connector = small_connector(3)
    domain = small_domain(connector, 0.3, 0.3, MPI.COMM_SELF)
    solver = SteadySolver(
        domain, Boundaries({}, dict.fromkeys(("antisolvent", "precursor", "outlet"), 0.0), mirrors=("symmetry",))
    )
    solver.solve(10.0, {})
    (mode,) = stability.leading_modes(solver, "symmetric", 1)
    assert mode.growth == pytest.approx(-((2 * 2.404826) ** 2) / 10, rel=0.05)  # the bores meet: not one straight tube
    assert mode.frequency == 0


def test_a_wake_begins_to_shed_where_others_found_it():
    for check in steadiness.checks():
        assert check.holds, check


@pytest.mark.slow
def test_the_square_t_loses_its_symmetry_where_others_found_it():
    for check in steadiness.heavy_checks():
        assert check.holds, check


def widening(path, size, length):
    """A plane channel that widens threefold at once, in inlet heights; 3 and `length` long."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    occ, model = gmsh.model.occ, gmsh.model
    occ.fuse([(2, occ.addRectangle(-3, -0.5, 0, 4, 1))], [(2, occ.addRectangle(0, -1.5, 0, length, 3))])
    occ.synchronize()
    names = {}
    for _, tag in model.getEntities(1):
        x = round(occ.getCenterOfMass(1, tag)[0], 6)
        names.setdefault({-3: "inlet", length: "outlet"}.get(x, "wall"), []).append(tag)
    for name, tags in names.items():
        model.addPhysicalGroup(1, tags, name=name)
    model.addPhysicalGroup(2, [tag for _, tag in model.getEntities(2)], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", size)
    model.mesh.generate(2)
    model.mesh.setOrder(2)
    gmsh.write(str(path))
    gmsh.finalize()


@pytest.fixture(scope="module")
def expansion(tmp_path_factory):
    path = tmp_path_factory.mktemp("expansion") / "expansion.msh"
    widening(path, 0.25, 20)
    return path


def test_a_flow_is_followed_to_the_state_that_it_goes_over_to(expansion):
    """The jet behind a symmetric expansion leans to one wall above Re 81, on the inlet's height and largest speed."""
    solver = SteadySolver(
        read_domain(expansion, MPI.COMM_SELF),
        Boundaries({"inlet": lambda x: 1 - 4 * x[1] ** 2}, {"outlet": 0.0}, {"wall": ()}),
    )

    def at(reynolds):
        solver.solve(reynolds, {"inlet": 2 / 3})
        return stability.verdict(solver)

    def lean():
        height = SpatialCoordinate(solver.domain.mesh)[1]
        return abs(solver.domain.integral(solver.state.sub(0).sub(0) * height * solver.domain.dx()))

    assert at(60.0).word == "steady"
    solver.forget()  # from a state that leans a little, as on any mesh, Newton would go along with the stable branch
    before = at(90.0)
    assert before.word == "unstable" and lean() < 0.05
    stability.follow(solver, before.modes[0])
    assert stability.verdict(solver).word == "steady" and lean() > 0.5
    assert at(100.0).word == "steady"


def test_a_state_that_is_left_is_no_step_of_the_progress(tmp_path, monkeypatch, capsys):
    """Of two Reynolds numbers, with two states left at the second one."""
    words = iter(("steady", "unstable", "unstable", "steady"))
    monkeypatch.setattr(stability_worker, "verdict", lambda solver: stability.Verdict(next(words), [None]))
    monkeypatch.setattr(stability.Verdict, "as_dict", lambda self: {"verdict": self.word})
    monkeypatch.setattr(stability_worker, "follow", lambda solver, mode: None)
    with Reporter().progress("modes", 2) as bar:
        watch = cli_stability._watch(bar, 2)
        asked = {"name": "flow", "hash": "", "reynolds": [100.0, 230.0 - 3e-14], "follow": True}
        tell = lambda kind, text="", **more: watch(Event(kind, "flow", text))  # noqa: E731
        job = {"results": str(tmp_path), "mesh_hash": ""}
        told = (lambda path, solver, reynolds: None), tell
        stability_worker._series(asked, lambda reynolds: (None, reynolds), *told, job, MPI.COMM_SELF)
    assert capsys.readouterr().err.splitlines() == [
        "modes …",
        "modes 1/2: flow at Re 100: steady",
        "modes 1/2: flow at Re 230: unstable",
        "modes 1/2: flow at Re 230: unstable",
        "modes 2/2: flow at Re 230: steady",
    ]
    assert [row["left"] for row in read_json(Results(tmp_path).stability("flow"))["rows"]] == [0, 0, 1, 2]


JET = """
name = "jet"
title = "A jet that leans to a wall"
[junction]
mesh = "expansion.msh"
bore = "1 m"
[fluid]
density = "1 kg/m^3"
kinematic_viscosity = "0.00833333333333 m^2/s"
[boundaries]
walls = ["wall"]
[boundaries.inlets.inlet]
flow = "0.66666666667 m^2/s"
[boundaries.outlets.outlet]
[flow]
reference_length = "1 m"
reference_velocity = "1 m/s"
"""


@pytest.fixture
def jet(tmp_path, case_of, monkeypatch):
    """The symmetric jet at Re 120, solved as a flow case, and what gives the verdicts of a series from there on."""
    widening(tmp_path / "expansion.msh", 0.4, 10)
    case = case_of(JET)
    (record,) = solved(case)
    results, runs = Results.of(case, "expansion"), []
    mesh = flow_mesh(case, "expansion", results.mesh)

    def start(module, results, job, ranks, watch):
        runs.append(job)
        stability_worker.run(job, MPI.COMM_SELF)

    monkeypatch.setattr("twin.campaign.stability.start_workers", start)

    def follow(*series):
        how = list(series), 1, lambda event: None
        rows = run_flow_stability(case, "expansion", results, mesh, *how, follow=True)["rows"]
        return rows, [(round(row["reynolds"]), row["left"], row["verdict"]) for row in rows]

    return case, results, record, follow, runs


def leaning(path):
    """How far off the axis the middle of the fluid that moves along is."""
    speed, height = storage.read_fields(path)["velocity"][:, 0], meshio.read(path).points[:, 1]
    return abs(np.sum(speed * height) / np.sum(speed))


def test_a_series_stays_with_the_flow_that_it_went_over_to(jet, tmp_path, capsys):
    """Also where the symmetric flow is on disk. What it went over to can be looked at; the other is told to be left."""
    case, results, record, follow, runs = jet
    rows, seen = follow(120, 130)
    assert seen == [(120, 0, "unstable"), (120, 1, "steady"), (130, 1, "steady")] and onset(rows) is None
    assert leaning(results.point("flow") / "fields.vtu") < 0.02
    fields = [results.stability("flow").parent / row["fields"] for row in rows[1:]]
    assert "fields" not in rows[0] and min(map(leaning, fields)) > 0.1
    follow(120, 130)
    assert len(runs) == 1
    fields[0].unlink()
    follow(120, 130)
    assert len(runs) == 2 and fields[0].exists()
    assert record["status"] == "steady" and verdict_on(case, results, record) == "unstable"
    assert "a real one leaves it" in warning_of(case, results, record)
    assert verdict_on(case, results, {**record, "provenance": {"point_hash": "another"}}) == ""
    assert verdict_on(case, results, {**record, "status": "unsteady"}) == ""  # a run that leaves it already
    assert main(["status", str(tmp_path)]) == 0
    assert "unstable" in capsys.readouterr().out
    follow(60)
    assert results.all_followed("flow") == []
    assert verdict_on(case, results, record) == warning_of(case, results, record) == ""


def test_a_flow_that_can_not_be_followed_is_still_the_one_that_is_left(jet, monkeypatch):
    def fails(solver):
        raise NotConverged("Newton fails")

    monkeypatch.setattr(SteadySolver, "polish", fails)
    _, seen = jet[3](120, 130)
    assert seen == [(120, 0, "unstable"), (120, 1, "unknown"), (130, 0, "unstable"), (130, 1, "unknown")]


def test_after_a_failure_a_series_begins_anew(jet, monkeypatch):
    """From rest, where no flow has been left yet."""
    solve = SteadySolver.solve

    def fails_once(solver, reynolds, flows):
        if round(reynolds) == 125:
            raise NotConverged("no steady flow")
        return solve(solver, reynolds, flows)

    monkeypatch.setattr(SteadySolver, "solve", fails_once)
    _, seen = jet[3](120, 125, 130)
    assert seen[:2] == [(120, 0, "unstable"), (120, 1, "steady")]
    assert seen[2:] == [(125, 1, "unknown"), (130, 0, "unstable"), (130, 1, "steady")]


LEVELS = """
[levels.coarse]
wall_size = 0.35
core_size = 0.35

[levels.adapted]
wall_size = 0.3
core_size = 0.3
core_bores = 1.5
follows = { level = "coarse", point = "a1000-p0060", cells = 1000 }

"""


def test_the_verdict_on_a_level_climbs_to_it(tmp_path, monkeypatch, capsys):
    """Through the flow that the mesh follows, and that where a series begins, and not again where all is known."""
    text = (CASES / "liang2023" / "case.toml").read_text().replace('"ptfe-y-60"', '"short"')
    before, after = text.split("[levels.coarse]")[0], text.split("[setpoint]")[1]
    (tmp_path / "case.toml").write_text(f"{before}{LEVELS}[setpoint]{after}")
    short = 'bore = "1.5875 mm"\nangle = "60 deg"\narm_bores = 1.5\noutlet_bores = 2\nsource = "made for tests"\n'
    (tmp_path / "short.toml").write_text(short)
    jobs = []

    def start(module, results, job, ranks, watch):
        jobs.append((job["level"], module.rpartition(".")[2]))
        importlib.import_module(module).run(job, MPI.COMM_SELF)

    for module in ("run", "stability"):
        monkeypatch.setattr(f"twin.campaign.{module}.start_workers", start)
    steady = stability.Verdict("steady", [stability.Mode("symmetric", -1.0, 0.0, 1e-9)])
    monkeypatch.setattr(stability_worker, "verdict", lambda solver: steady)
    words = ["stability", str(tmp_path), "--level", "adapted", "--antisolvent", "1000 mL/h", "--precursor", "60 mL/h"]
    assert main(words) == 0 and jobs == [("coarse", "worker"), ("adapted", "stability_worker")]
    assert "starting from the level coarse" in capsys.readouterr().out
    assert main([*words, "--reynolds", "30", "40"]) == 0
    assert jobs[2:] == [("coarse", "worker"), ("adapted", "stability_worker")]
    assert (tmp_path / "results" / "coarse" / "points" / "a0086.196-p0005.172").exists()
    assert "starting from the level coarse" in capsys.readouterr().out
    assert main([*words, "--reynolds", "30", "40"]) == 0 and len(jobs) == 4


def test_a_verdict_on_a_point_is_that_of_its_passive_flow_whatever_else_the_case_asks(tmp_path):
    case = load(CASES / "liang2023")
    (point, *_), results, mesh = case.points, Results(tmp_path), "a mesh"
    group = groups(case, point).as_dict()
    record = {"name": point.name, "status": "steady", "groups": group}
    record["provenance"] = {"mesh_hash": mesh, "point_hash": "of five thousand walkers"}
    rows = [{"reynolds": group["reynolds"], "left": 0, "verdict": "unsteady", "modes": [{"growth": 0.1}]}]
    found = {"precursor_fraction": group["precursor_fraction"], "rows": rows, "provenance": {"mesh_hash": mesh}}
    folder(results.stability(point.name).parent)
    write_json(results.stability(point.name), found)
    assert verdict_on(case, results, record) == "unsteady"
    assert verdict_on(case.model_copy(update={"coupling": "buoyant"}), results, record) == ""
    for other in ({"groups": {**group, "precursor_fraction": 0.5}}, {"provenance": {"mesh_hash": "another"}}):
        assert verdict_on(case, results, {**record, **other}) == ""


def test_modes_that_do_not_converge_are_an_error_in_words(halves, monkeypatch):
    monkeypatch.setattr(stability, "MOST_VECTORS", 40)
    monkeypatch.setattr(stability, "TOLERANCE", 1e-14)
    solver = SteadySolver(small_domain(small_connector(1), 0.35, 0.35, MPI.COMM_SELF))
    solver.solve(30.0, streams(solver.domain, 0.3))
    with pytest.raises(NotConverged, match="eigenvalues did not converge"):
        stability.leading_modes(solver, "symmetric", 1)


def test_the_onset_lies_where_the_growth_rate_changes_sign():
    known = {100: -0.2, 200: -0.1, 300: 0.1}
    rows = [{"reynolds": re, "left": 0, "modes": [{"growth": growth}]} for re, growth in known.items()]
    rows.insert(1, {"reynolds": 150, "left": 0, "verdict": "unknown", "reason": "did not converge"})
    assert onset(rows) == (pytest.approx(250), 200, 300)
    assert onset(rows[:2]) is None
    rows[-1]["left"] = 1  # another state
    assert onset(rows) is None


@pytest.mark.parametrize(
    ("kind", "growth", "frequency", "word"),
    [
        ("symmetric", -0.1, 0.2, "steady"),
        ("symmetric", 0.1, 0.2, "unsteady"),
        ("antisymmetric", 0.1, 0.2, "unsteady"),
        ("antisymmetric", 0.1, 0.0, "asymmetric"),
        ("symmetric", 0.1, 0.0, "unstable"),
        ("symmetric", 1e-4, 0.0, "marginal"),
    ],
)
def test_the_verdict_says_what_becomes_of_the_flow(monkeypatch, kind, growth, frequency, word):
    class Solver:
        boundaries = Boundaries({}, mirrors=("symmetry",))

    def modes(_, asked, count):
        return [stability.Mode(asked, growth if asked == kind else -1.0, frequency, 1e-3)]

    monkeypatch.setattr(stability, "leading_modes", modes)
    assert stability.verdict(Solver()).word == word
