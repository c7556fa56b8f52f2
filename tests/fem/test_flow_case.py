"""Flow cases inside one process: exact solutions, profiles, probes, the march, the error from several meshes."""

import csv
import json
import math
import xml.etree.ElementTree as ElementTree

import gmsh
import meshio
import numpy as np
import pytest
from mpi4py import MPI

from twin.campaign import flow_worker
from twin.campaign.flow_case import estimate_error, flow_mesh, quantities, run_flow, unit_m
from twin.campaign.flow_march import statistics
from twin.campaign.flow_problem import FlowProblem
from twin.campaign.refinement import refine
from twin.campaign.run import check_laminar
from twin.case import Results, load_any
from twin.errors import BadInput, NotConverged
from twin.fem.domain import read_domain
from twin.flow import Boundaries, SteadySolver, steady
from twin.flow.inlets import hydraulic_diameter, table_profile
from twin.flow.probes import Probes
from twin.flow.transient import TransientSolver

pytestmark = pytest.mark.field

CHANNEL = """
name = "channel"
title = "Poiseuille"
[junction]
mesh = "channel.msh"
bore = "1 mm"
[fluid]
density = "1000 kg/m^3"
viscosity = "1 mPa*s"
[boundaries]
walls = ["bottom", "top"]
[boundaries.inlets.in]
mean_velocity = "10 mm/s"
[boundaries.outlets.out]
pressure = "5 Pa"
[flow]
[output]
forces = ["bottom"]
shear = ["bottom"]
[output.probes]
middle = ["1 mm", "0.5 mm"]
[output.lines.across]
from = ["1.5 mm", "0 mm"]
to = ["1.5 mm", "1 mm"]
points = 5
"""


def rectangles(path, boxes, name_of, size):
    """A mesh of joined rectangles (x, y, width, height) with boundaries named by `name_of(x, y)` of their middle."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    occ = gmsh.model.occ
    parts = [(2, occ.addRectangle(x, y, 0, width, height)) for x, y, width, height in boxes]
    if len(parts) > 1:
        parts, _ = occ.fuse(parts[:1], parts[1:])
    occ.synchronize()
    names = {}
    for _, tag in gmsh.model.getEntities(1):
        x, y, _ = occ.getCenterOfMass(1, tag)
        names.setdefault(name_of(round(x, 6), round(y, 6)), []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(1, tags, name=name)
    gmsh.model.addPhysicalGroup(2, [tag for _, tag in gmsh.model.getEntities(2)], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", size)
    gmsh.option.setNumber("Mesh.MeshSizeMin", size)
    gmsh.model.mesh.generate(2)
    gmsh.write(str(path))
    gmsh.finalize()


def channel(path, size=0.34):
    rectangles(path, [(0, 0, 2, 1)], lambda x, y: {0: "in", 2: "out"}.get(x, "bottom" if y < 0.5 else "top"), size)


@pytest.fixture
def case_of(tmp_path):
    """Writes a case folder with the channel's mesh and loads it."""

    def make(text=CHANNEL, *changes):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "case.toml").write_text(text)
        if "channel.msh" in text and not (tmp_path / "channel.msh").exists():
            channel(tmp_path / "channel.msh")
        return load_any(tmp_path)

    return make


def problem_of(case):
    level = case.level_names[0]
    mesh = flow_mesh(case, level, case.folder / "results" / level / "mesh")
    return FlowProblem(case, read_domain(mesh.msh, MPI.COMM_SELF), unit_m(case, level))


def solved(case, scales=(1.0,), level=None):
    """The records of a case on one of its meshes, the first by default, on one rank."""
    level = level or case.level_names[0]
    results = Results.of(case, level)
    mesh = flow_mesh(case, level, results.mesh)
    job = {
        "case": str(case.folder),
        "level": level,
        "results": str(results.folder),
        "mesh_hash": mesh.hash,
        "unit_m": unit_m(case, level),
        "scales": list(scales),
        "allow_high_reynolds": False,
    }
    flow_worker.run(job, MPI.COMM_SELF)
    return [json.loads((results.point(case.point_name(scale)) / "record.json").read_text()) for scale in scales]


def test_a_channel_has_poiseuille_s_pressure_drop(case_of):
    slow, record = solved(case_of(), (0.5, 1.0))
    drop = 12 * 1e-3 * 1e-2 * 2e-3 / 1e-3**2  # 12 µ U L/H²
    inlet = record["boundaries"]["in"]
    assert record["status"] == "steady" and record["reynolds"] == pytest.approx(20)  # on the hydraulic diameter
    assert inlet["pressure_drop_pa"] == pytest.approx(drop, rel=1e-6)
    assert slow["boundaries"]["in"]["pressure_drop_pa"] == pytest.approx(drop / 2, rel=1e-6)
    assert inlet["pressure_pa"] == pytest.approx(5 + drop, rel=1e-6)
    assert inlet["flow"] == pytest.approx(-1e-5) and abs(record["balance"]["relative"]) < 1e-12
    assert record["units"] == {"measure": "m^2", "area": "m", "flow": "m^2/s", "force": "N/m"}
    shear, push = record["forces"]["bottom"]["force"]
    assert shear == pytest.approx(6 * 1e-3 * 1e-2 / 1e-3 * 2e-3, rel=1e-6)
    assert push == pytest.approx(-(5 + drop / 2) * 2e-3, rel=1e-6)
    assert record["probes"]["middle"]["velocity_m_s"] == pytest.approx([0.015, 0], abs=1e-9)
    assert record["probes"]["middle"]["pressure_pa"] == pytest.approx(5 + drop / 2, rel=1e-6)
    line = np.array(record["lines"]["across"]["velocity_m_s"])[:, 0]
    assert line == pytest.approx(0.06 * np.array([0, 0.1875, 0.25, 0.1875, 0]), abs=1e-9)
    assert inlet["peak_m_s"] == pytest.approx(0.015, rel=1e-9) and "peak_m_s" not in record["boundaries"]["out"]


def test_a_channel_has_poiseuille_s_shear_on_its_walls(case_of):
    both = ('shear = ["bottom"]', 'shear = ["bottom", "top"]')
    case = case_of(CHANNEL, both)
    steady_one, march = solved(case)[0], solved(case_of(UNSTEADY + 'start = "steady"\n', both))[0]
    shear = 6 * 1e-3 * 1e-2 / 1e-3  # 6 µ U/H
    for record in (steady_one, march):
        for wall in ("bottom", "top"):
            one = record["shear"][wall]
            assert [one["largest_pa"], one["mean_pa"]] == pytest.approx([shear, shear], rel=1e-5) and one["turns"] == []
    header, table = table_of(case, "shear-top.csv")
    assert header == ["x m", "y m", "shear x Pa", "shear y Pa"]
    assert np.all(np.diff(table[:, 0]) > 0) and table[:, 1] == pytest.approx(1e-3)
    assert table[:, 2] == pytest.approx(shear, rel=1e-5) and table[:, 3] == pytest.approx(0, abs=1e-12)


STEP = (
    CHANNEL.split("[boundaries]")[0].replace("channel.msh", "step.msh")
    + """
[boundaries]
walls = ["bottom", "top", "step"]
[boundaries.inlets.in]
mean_velocity = "0.1 m/s"
[boundaries.outlets.out]
[flow]
[output]
shear = ["bottom", "step"]
"""
)


def step(path, size):
    """A channel that is 1 mm high before its step and 2 mm behind it."""

    def name_of(x, y):
        return {-1: "in", 8: "out"}.get(x) or ("top" if y == 2 else "bottom" if y == 0 else "step")

    rectangles(path, [(-1, 1, 1, 1), (0, 0, 8, 2)], name_of, size)


def test_the_flow_behind_a_step_attaches_where_finer_meshes_say(tmp_path, case_of):
    """On one and three ranks at the same place; it has an error band."""
    step(tmp_path / "step.msh", 0.3)
    step(tmp_path / "fine.msh", 0.15)
    case = case_of(STEP.replace('"step.msh"', '["step.msh", "fine.msh"]'))
    found, tables = [], []
    for ranks in (1, 3):
        results = Results.of(case, "step", tmp_path / str(ranks))
        mesh = flow_mesh(case, "step", results.mesh)
        found += run_flow(case, "step", results, mesh, [1.0], ranks)
        tables.append((results.point("flow") / "shear-bottom.csv").read_text().splitlines())
    coarse, on_three = found
    for wall in ("bottom", "step"):
        assert on_three["shear"][wall]["mean_pa"] == pytest.approx(coarse["shear"][wall]["mean_pa"], rel=1e-7)
    here, there = (np.array([line.split(",") for line in table[1:]], dtype=float) for table in tables)
    assert here == pytest.approx(there, rel=1e-6, abs=1e-9)
    ((kind, place),) = ((one["kind"], one["at_m"]) for one in coarse["shear"]["bottom"]["turns"])
    fine = Results.of(case, "fine", tmp_path / "1")
    (record,) = run_flow(case, "fine", fine, flow_mesh(case, "fine", fine.mesh), [1.0], 1)
    levels = [("step", Results.of(case, "step", tmp_path / "1")), ("fine", fine)]
    band = estimate_error(case, levels, 1.0)["quantities"]["attachment 1 of 1 bottom x"]
    assert kind == "attachment" and band["unit"] == "m" and band["values"][0] == place[0]
    assert band["values"] == pytest.approx([band["values"][1]] * 2, rel=0.03) and place[1] == 0
    assert record["shear"]["bottom"]["turns"][0]["at_m"][0] == band["values"][1]


def test_three_inlets_share_one_outlet_and_one_is_a_plug(tmp_path, case_of):
    def name_of(x, y):
        return {(-1.5, 0): "left", (1.5, 0): "right", (0, 1.5): "top", (0, -3): "out"}.get((x, y), "wall")

    rectangles(tmp_path / "cross.msh", [(-1.5, -0.5, 3, 1), (-0.5, -3, 1, 4.5)], name_of, 0.3)
    case = case_of(
        CHANNEL.split("[boundaries]")[0].replace("channel.msh", "cross.msh")
        + """
[boundaries]
walls = ["wall"]
[boundaries.inlets]
left = { flow = "20 mm^2/s" }
right = { flow = "10 mm^2/s" }
top = { mean_velocity = "5 mm/s", profile = "plug" }
[boundaries.outlets.out]
[flow]
reference_length = "1 mm"
[output.lines.top]
from = ["-0.4 mm", "1.5 mm"]
to = ["0.4 mm", "1.5 mm"]
points = 3
[output.lines.left]
from = ["-1.5 mm", "-0.25 mm"]
to = ["-1.5 mm", "0.25 mm"]
points = 3
"""
    )
    (record,) = solved(case)
    flows = {name: one["flow"] for name, one in record["boundaries"].items()}
    assert flows == pytest.approx({"left": -2e-5, "right": -1e-5, "top": -5e-6, "out": 3.5e-5, "wall": 0}, abs=1e-15)
    assert record["reynolds"] == pytest.approx(35)
    peaks = {name: record["boundaries"][name]["peak_m_s"] for name in ("left", "top")}
    assert peaks["left"] == pytest.approx(0.03, rel=1e-6) and 5e-3 < peaks["top"] < 6e-3  # zero at the rim
    plug = np.array(record["lines"]["top"]["velocity_m_s"])
    assert np.ptp(plug[:, 1]) < 0.2 * abs(plug[1, 1]) and plug[1, 1] == pytest.approx(-5e-3, rel=0.15)
    parabola = np.array(record["lines"]["left"]["velocity_m_s"])[:, 0]
    assert parabola == pytest.approx([0.0225, 0.03, 0.0225], rel=1e-6)


def test_a_formula_and_a_table_in_m_s_give_the_rate(tmp_path, case_of):
    rate = 'mean_velocity = "10 mm/s"'
    formula = problem_of(case_of(CHANNEL, (rate, 'formula = "0.06*y*(1 - y)"\nscale = false')))
    assert formula.rates["in"] == pytest.approx(1e-5, rel=1e-9)
    y = np.linspace(0, 1, 21)
    rows = "\n".join(f"0,{height},{0.06 * height * (1 - height)}" for height in y)
    (tmp_path / "measured.csv").write_text(f"x, y, speed\n{rows}\n")
    table = problem_of(case_of(CHANNEL, (rate, 'profile = "measured.csv"\nscale = false')))
    assert table.rates["in"] == pytest.approx(1e-5, rel=1e-3)


def test_a_table_in_a_plane_is_smooth_between_its_points():
    grid = np.linspace(0, 1, 9)
    y, z = (part.ravel() for part in np.meshgrid(grid, grid))
    speed = table_profile(np.column_stack([np.full_like(y, 2), y, z]), y * (1 - y) * z * (1 - z))
    at = np.array([[2, 0.3, 0.55], [2, 0.81, 0.2], [2, 1.0001, 0.5]]).T
    assert speed(at) == pytest.approx(at[1] * (1 - at[1]) * at[2] * (1 - at[2]), abs=1e-3)


def test_the_hydraulic_diameter_counts_walls_only(case_of):
    whole = problem_of(case_of())
    assert whole.outlet_diameters_m["out"] == pytest.approx(2e-3)
    half = problem_of(case_of(CHANNEL, ('walls = ["bottom", "top"]', 'walls = ["bottom"]\nmirrors = ["top"]')))
    assert half.outlet_diameters_m["out"] == pytest.approx(4e-3)
    assert hydraulic_diameter(half.domain, half.shapes, "out") == pytest.approx(1.0)  # in reference lengths now


def test_a_pipe_s_hydraulic_diameter_is_its_bore(small):
    domain, _ = small
    assert hydraulic_diameter(domain, Boundaries.of_junction(domain), "outlet") == pytest.approx(1, rel=2e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("inlets.in]", "inlets.inflow]")], "no boundary inflow"),
        ([('"bottom", "top"', '"bottom"')], "does not say what the boundary top is"),
        ([('mean_velocity = "10 mm/s"', 'flow = "5 mL/h"')], "wrong unit for a 2-D mesh"),
        ([('"1 mm", "0.5 mm"', '"1 mm", "1.5 mm"')], r"the point middle at \(0.001, 0.0015\) m is not in the fluid"),
        ([('"1 mm", "0.5 mm"', '"1 mm", "0.5 mm", "0 mm"')], "the mesh is 2-D, and the probe middle is not"),
        ([('mean_velocity = "10 mm/s"', 'mean_velocity = "10 mm/s"\nformula = "1/(y - y)"')], "is not finite"),
        (
            [('mean_velocity = "10 mm/s"', 'mean_velocity = "10 mm/s"\nformula = "y - 0.5"')],
            "lets nothing in on the whole",
        ),
        ([('"10 mm/s"', '"1.1 m/s"')], "has Re 2200"),
        ([('"10 mm/s"', '"1.1 m/s"'), ("[flow]", '[flow]\nreference_length = "0.1 mm"')], 'outlet "out" of channel'),
    ],
)
def test_what_does_not_fit_the_mesh_is_refused_before_anything_is_solved(case_of, changes, message):
    case = case_of(CHANNEL, *changes)
    with pytest.raises(BadInput, match=message) as caught:
        solved(case)
    assert caught.value.remedy
    assert not (case.folder / "results" / "channel" / "points").exists()


def test_a_reynolds_number_of_a_mesh_in_the_wrong_unit_is_explained(case_of):
    problem = problem_of(case_of(CHANNEL, ('bore = "1 mm"', 'bore = "1 m"')))
    with pytest.raises(BadInput, match="has Re 20000") as caught:
        problem.check_laminar(problem.scales(1.0), 1.0, allowed=False)
    assert "correct the bore" in caught.value.remedy and "the mesh measures 2 × 1 m" in caught.value.remedy


def test_high_reynolds_numbers_need_permission():
    with pytest.raises(BadInput, match="Re 2500") as caught:
        check_laminar(2500, "it")
    assert "--allow-high-reynolds" in caught.value.remedy
    check_laminar(2500, "it", allowed=True)


def test_a_flow_that_fails_is_recorded_with_its_history(case_of, monkeypatch):
    def fail(self, reynolds, flows):
        self._watch("Re 20: Newton 0, residual 3.1e+02")
        raise NotConverged("no steady flow was found", "use a finer level")

    monkeypatch.setattr(SteadySolver, "solve", fail)
    (record,) = solved(case_of())
    assert record["status"] == "failed" and record["reason"] == "no steady flow was found"
    assert record["remedy"] == "use a finer level" and record["history"] == ["Re 20: Newton 0, residual 3.1e+02"]
    assert "forces" not in record


UNSTEADY = CHANNEL + '[time]\nend = "0.2 s"\nstep = "0.02 s"\nsave = "0.1 s"\n'


def table_of(case, name):
    with (Results.of(case, "channel").point("flow") / name).open() as file:
        header, *rows = list(csv.reader(file))
    return header, np.array(rows, dtype=float)


def rows_of(case):
    return table_of(case, "series.csv")


def interrupt(monkeypatch, after):
    """Marches stop when they have passed a time, in seconds, of a case whose L/U is 0.2 s."""
    advance = TransientSolver.advance

    def interrupted(self, reynolds, flows, until, **more):
        if until * 0.2 > after:
            raise KeyboardInterrupt
        return advance(self, reynolds, flows, until, **more)

    monkeypatch.setattr(TransientSolver, "advance", interrupted)
    return advance


def test_an_unsteady_run_goes_on_where_it_was_interrupted(tmp_path, case_of, monkeypatch):
    (tmp_path / "pulse.csv").write_text("t,factor\n0,1\n0.1,2\n0.2,2\n")
    history = ('"10 mm/s"', '"10 mm/s"\nhistory = "pulse.csv"')
    (record,) = solved(case_of(UNSTEADY, history))
    assert record["status"] == "unsteady" and record["time"]["rows"] == 10
    assert -record["boundaries"]["in"]["flow"] == pytest.approx(2e-5)
    header, straight = rows_of(load_any(tmp_path))
    factor = np.minimum(1 + 10 * straight[:, 0], 2)
    for name, sign in (("in", -1), ("out", 1)):
        assert straight[:, header.index(f"flow {name} m^2/s")] == pytest.approx(sign * 1e-5 * factor, rel=1e-9)

    for path in Results.of(load_any(tmp_path), "channel").point("flow").iterdir():
        path.unlink()
    advance = interrupt(monkeypatch, 0.11)
    with pytest.raises(KeyboardInterrupt):
        solved(load_any(tmp_path))
    assert len(rows_of(load_any(tmp_path))[1]) == 5
    monkeypatch.setattr(TransientSolver, "advance", advance)
    (again,) = solved(load_any(tmp_path))
    assert "going on from t = 0.1 s" in again["history"]
    resumed = rows_of(load_any(tmp_path))
    assert resumed[0] == header and resumed[1] == pytest.approx(straight, rel=1e-4, abs=1e-7)


def frames_of(case):
    """The times of the frames, and what they hold."""
    folder = Results.of(case, "channel").point("flow")
    listed = ElementTree.parse(folder / "fields.pvd").getroot().findall("Collection/DataSet")
    assert sorted(path.name for path in folder.glob("fields-*.vtu")) == [one.get("file") for one in listed]
    return [float(one.get("timestep")) for one in listed], [meshio.read(folder / one.get("file")) for one in listed]


def test_fields_of_times_between_have_neither_gaps_nor_duplicates(case_of, monkeypatch):
    text = UNSTEADY.replace("[output]", '[output]\nfields_every = "0.06 s"')
    case = case_of(text)
    solved(case)
    times, straight = frames_of(case)
    assert times == pytest.approx([0.06, 0.12, 0.18])
    middle = np.linalg.norm(straight[0].points[:, :2] - [1, 0.5], axis=1).argmin()
    _, series = rows_of(case)
    assert series[2, 0] == pytest.approx(0.06) and np.ptp([one.point_data["velocity"][middle, 0] for one in straight])

    folder = Results.of(case, "channel").point("flow")
    (folder / "record.json").unlink()
    for path in folder.glob("restart-*.npz"):
        path.unlink()
    (folder / "fields-0009.vtu").touch()  # of another run
    advance = interrupt(monkeypatch, 0.15)
    with pytest.raises(KeyboardInterrupt):
        solved(case)
    assert frames_of(case)[0] == pytest.approx([0.06, 0.12])
    monkeypatch.setattr(TransientSolver, "advance", advance)
    (record,) = solved(case)
    assert "going on from t = 0.1 s" in record["history"]
    times, again = frames_of(case)
    assert times == pytest.approx([0.06, 0.12, 0.18])
    for one, other in zip(again, straight, strict=True):
        assert one.point_data["velocity"] == pytest.approx(other.point_data["velocity"], rel=1e-4, abs=1e-8)

    solved(case_of(text, ('fields_every = "0.06 s"\n', "")))
    assert not list(folder.glob("fields-*.vtu")) and not (folder / "fields.pvd").exists()


def test_a_step_that_divides_the_run_is_kept_exactly(case_of):
    """A tenth of the run is not a whole number of its steps."""
    case = case_of(CHANNEL + '[time]\nend = "0.25 s"\nstep = "0.01 s"\n')
    solved(case)
    header, rows = rows_of(case)
    assert len(rows) == 25 and rows[:, header.index("step s")] == pytest.approx(0.01, rel=1e-7)


def test_statistics_are_of_whole_periods():
    moments = np.linspace(0, 3.7, 371)
    found = statistics(moments, 5 + np.sin(2 * np.pi * moments))
    assert found["frequency_hz"] == pytest.approx(1, rel=1e-3) and found["note"] == ""
    assert found["mean"] == pytest.approx(5, abs=1e-3) and found["highest"] == pytest.approx(6, abs=1e-3)
    assert found["to_s"] - found["from_s"] == pytest.approx(3, rel=1e-3)
    short = statistics(moments, 5 + np.sin(2 * moments))
    assert short["frequency_hz"] is None and short["note"] == "fewer than 2 periods"
    assert (short["from_s"], short["to_s"]) == pytest.approx((0, 3.7))
    assert statistics(moments, np.sin(2 * np.pi * moments**3))["note"] == "irregular"
    longer = np.linspace(0, 10, 1001)
    assert statistics(longer, np.sin(2 * np.pi * longer) + longer / 2)["note"] == "irregular"  # it drifts
    assert statistics(moments, 5 + 1e-14 * np.sin(2 * np.pi * moments))["note"] == "constant"
    assert statistics(moments[:1], moments[:1])["mean"] == 0


def test_an_unsteady_run_from_the_steady_state_stays_there(case_of):
    (record,) = solved(case_of(UNSTEADY + 'start = "steady"\nsample = "0.1 s"\naverage_from = "0.1 s"\n'))
    drop = record["time"]["statistics"]["pressure drop in Pa"]
    assert record["time"]["rows"] == 2 and drop["mean"] == pytest.approx(0.24, rel=1e-6)
    assert drop["lowest"] == pytest.approx(drop["highest"], rel=1e-6)
    assert record["forces"]["bottom"]["force"][0] == pytest.approx(1.2e-4, rel=1e-6)


def test_probes_reach_the_curved_wall(tmp_path):
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    gmsh.model.occ.addDisk(0, 0, 0, 1, 1)
    gmsh.model.occ.synchronize()
    gmsh.model.addPhysicalGroup(1, [1], name="wall")
    gmsh.model.addPhysicalGroup(2, [1], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", 0.5)
    gmsh.model.mesh.generate(2)
    gmsh.model.mesh.setOrder(2)
    gmsh.write(str(tmp_path / "disc.msh"))
    gmsh.finalize()
    domain = read_domain(tmp_path / "disc.msh", MPI.COMM_SELF)
    from dolfinx import fem

    field = fem.Function(fem.functionspace(domain.mesh, ("Lagrange", 2)))
    field.interpolate(lambda x: x[0] + 2 * x[1])
    turn = np.linspace(0, 2 * np.pi, 40)
    points = np.column_stack([np.cos(turn), np.sin(turn)])
    points = np.vstack([points, 0.6 * points])
    assert Probes(domain, points).sample(field) == pytest.approx(points @ [1, 2], abs=5e-3)
    with pytest.raises(BadInput, match=r"the point far at \(0\.0024, 0\) m is not in the fluid"):
        Probes(domain, np.array([[1.2, 0.0]]), ["far"], unit_m=2e-3)


# -- closed flows -----------------------------------------------------------------------------------------------------

CAVITY = """
name = "cavity"
title = "Lid-driven cavity"
[junction]
mesh = "cavity.msh"
bore = "1 m"
[fluid]
density = "2 kg/m^3"
kinematic_viscosity = "1e-3 m^2/s"
[boundaries.walls]
lid = { velocity = ["0.1 m/s", "0 m/s"] }
rest = {}
[flow]
reference_length = "1 m"
[output.probes]
middle = ["0.5 m", "0.5 m"]
[output.lines.upright]
from = ["0.5 m", "0 m"]
to = ["0.5 m", "1 m"]
points = 201
[output.lines.level]
from = ["0 m", "0.5 m"]
to = ["1 m", "0.5 m"]
points = 201
"""
LID = 'lid = { velocity = ["0.1 m/s", "0 m/s"] }\n'
LID_LAST = (LID + "rest = {}\n", "rest = {}\n" + LID)


def cavity(folder, size, step=False):
    """A square; with a step in its floor, the cells at its two sides are of unequal length."""
    boxes = [(0, 0, 1, 1), (0.5, -0.05, 0.5, 1.05)] if step else [(0, 0, 1, 1)]
    rectangles(folder / "cavity.msh", boxes, lambda x, y: "lid" if y == 1 else "rest", size)


def extremes(record):
    """Of u on the upright line and of v on the level one, in speeds of the lid."""
    speeds = {name: np.array(line["velocity_m_s"]) / 0.1 for name, line in record["lines"].items()}
    return [speeds["upright"][:, 0].min(), speeds["level"][:, 1].max(), speeds["level"][:, 1].min()]


def test_a_sliding_lid_moves_a_closed_flow(tmp_path, case_of):
    """The extremes at Re 100 are those of Botella & Peyret, Comput. Fluids 27 (1998) 421."""
    cavity(tmp_path, 0.06)
    (record,) = solved(case_of(CAVITY))
    assert record["status"] == "steady" and record["reynolds"] == pytest.approx(100)
    assert extremes(record) == pytest.approx([-0.2140424, 0.1795728, -0.2538030], rel=5e-3)
    assert record["reference"]["pressure_level"] == "zero mean" and record["reference"]["pressure_pa"] == 0
    assert record["outlet_reynolds"] == {} and abs(record["balance"]["relative"]) < 1e-12
    assert all(abs(one["flow"]) < 1e-15 and "pressure_pa" not in one for one in record["boundaries"].values())


def test_the_order_of_the_walls_decides_their_corners(tmp_path, case_of):
    """With the lid last the corners slide, and a little leaks in at one and out at the other."""
    cavity(tmp_path, 0.1)
    tight = case_of(CAVITY)
    (held,) = solved(tight)
    leaky = case_of(CAVITY, LID_LAST)
    assert leaky.resolved() != tight.resolved()  # so the record of the other order is not taken for this one's
    (slid,) = solved(leaky)
    assert abs(slid["balance"]["relative"]) < 1e-12
    assert extremes(slid)[0] > 0.9 * extremes(held)[0]
    cavity(tmp_path, 0.1, step=True)
    assert problem_of(tight).length_m == 1
    with pytest.raises(BadInput, match="more flows out than in") as caught:
        problem_of(leaky)
    assert "the last one wins" in caught.value.remedy


def test_walls_of_a_closed_flow_slide_along_themselves(tmp_path, case_of):
    cavity(tmp_path, 0.34)
    with pytest.raises(BadInput, match='the wall "lid" does not slide along itself'):
        problem_of(case_of(CAVITY, ('"0 m/s"', '"1 mm/s"')))
    with pytest.raises(BadInput, match='the wall "rest" does not slide along itself'):
        problem_of(case_of(CAVITY, ("rest = {}", 'rest = { velocity = ["0.1 m/s", "0 m/s"] }')))
    names = {(0, 0.5): "left", (0.5, 1): "lid"}
    rectangles(tmp_path / "cavity.msh", [(0, 0, 1, 1)], lambda x, y: names.get((x, y), "rest"), 0.34)
    left = 'left = { velocity = ["0 m/s", "0.1 m/s"] }'
    with pytest.raises(BadInput, match="more flows out than in") as caught:
        problem_of(case_of(CAVITY, ("rest = {}", f"{left}\nrest = {{}}")))
    assert "a strip at rest" in caught.value.remedy


def test_a_closed_flow_settles_to_the_steady_one(tmp_path, case_of):
    cavity(tmp_path, 0.1)
    slower = ('"1e-3 m^2/s"', '"5e-3 m^2/s"')
    (steady_one,) = solved(case_of(CAVITY, slower))
    (record,) = solved(case_of(CAVITY + '[time]\nend = "100 s"\nstep = "0.4 s"\n', slower))
    assert record["status"] == "unsteady" and record["time"]["rate_of_change"] < 1e-5
    assert abs(record["balance"]["relative"]) < 1e-12
    assert extremes(record) == pytest.approx(extremes(steady_one), rel=3e-3)
    here, there = (one["probes"]["middle"]["pressure_pa"] for one in (record, steady_one))
    assert here == pytest.approx(there, abs=1e-3 * 2 * 0.1**2)


def test_the_pressure_of_a_closed_flow_has_mean_zero(tmp_path):
    cavity(tmp_path, 0.2)
    domain = read_domain(tmp_path / "cavity.msh", MPI.COMM_SELF)
    walls = Boundaries({}, {}, {"lid": (1.0, 0.0), "rest": ()})
    solver = SteadySolver(domain, walls)
    flow = solver.solve(10.0, {})
    assert np.count_nonzero(solver.state.sub(1).collapse().x.array == 0) == 1  # held, or the matrix would be singular
    state = TransientSolver(domain, walls).advance(10.0, {}, 1.0, step=0.1)
    for pressure in (flow.pressure, state.pressure):
        assert abs(domain.mean(pressure)) < 1e-12 < np.ptp(pressure.x.array)
    with pytest.raises(BadInput, match="enters through rest, and there is no outlet"):
        SteadySolver(domain, Boundaries({"rest": "plug"}, {}, {"lid": ()}))


def test_a_cubic_cavity_with_a_locked_corner_is_solved(tmp_path, case_of):
    """One half of it, beside a mirror. The mesh has tetrahedra with three sides on walls, which are cut."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    box = gmsh.model.occ.addBox(0, 0, 0, 1, 1, 0.5)
    gmsh.model.occ.synchronize()
    for _, tag in gmsh.model.getEntities(1):
        long = gmsh.model.occ.getMass(1, tag) > 0.9
        gmsh.model.mesh.setTransfiniteCurve(tag, 5 if long else 3)
    names = {}
    for _, tag in gmsh.model.getEntities(2):
        gmsh.model.mesh.setTransfiniteSurface(tag)
        _, y, z = gmsh.model.occ.getCenterOfMass(2, tag)
        names.setdefault("lid" if y > 0.99 else "middle" if z > 0.49 else "rest", []).append(tag)
    gmsh.model.mesh.setTransfiniteVolume(box)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(2, tags, name=name)
    gmsh.model.addPhysicalGroup(3, [box], name="fluid")
    gmsh.model.mesh.generate(3)
    before = sum(len(tags) for tags in gmsh.model.mesh.getElements(3)[1])
    gmsh.write(str(tmp_path / "cavity.msh"))
    gmsh.finalize()
    case = case_of(
        CAVITY.split("[output.probes]")[0],
        ("[boundaries.walls]", '[boundaries]\nmirrors = ["middle"]\n[boundaries.walls]'),
        ('["0.1 m/s", "0 m/s"]', '["0.1 m/s", "0 m/s", "0 m/s"]'),
    )
    (record,) = solved(case)
    cut, left_over = divmod(record["mesh"]["cells"] - before, 3)
    assert cut > 0 and left_over == 0 and record["mesh"]["measure"] == pytest.approx(0.5)
    assert record["status"] == "steady" and abs(record["balance"]["relative"]) < 1e-12
    (record,) = solved(case_of((case.folder / "case.toml").read_text() + '[time]\nend = "10 s"\nstep = "1 s"\n'))
    assert record["status"] == "unsteady" and record["time"]["rows"] == 10


def test_a_closed_flow_too_large_for_its_factors_is_refused(tmp_path, case_of, monkeypatch):
    cavity(tmp_path, 0.34)
    monkeypatch.setattr(steady, "MOST_CLOSED", {2: 10})
    with pytest.raises(BadInput, match="too many for the factors of a closed domain") as caught:
        solved(case_of(CAVITY))
    assert "[time]" in caught.value.remedy


# -- the error of discretization ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[4.0, 2.0, 1.0], [2.6, 1.7, 1.0]])
@pytest.mark.parametrize("order", [1.3, 2.0, 3.7])
def test_a_made_up_sequence_gives_its_order_and_limit(sizes, order):
    found = refine([1 - 0.01 * size**order for size in sizes], sizes)
    assert found.order == pytest.approx(order, rel=1e-6) and found.extrapolated == pytest.approx(1, rel=1e-9)
    assert found.error == pytest.approx(1.25 * 0.01, rel=1e-6) and found.note == ""


def test_the_example_of_celik():
    """Table 1 of Celik et al. 2008, the first column: 18000, 8000, 4500 cells in 2-D."""
    sizes = [math.sqrt(1 / cells) for cells in (4500, 8000, 18000)]
    found = refine([5.863, 5.972, 6.063], sizes)
    assert found.order == pytest.approx(1.53, abs=0.01) and found.extrapolated == pytest.approx(6.1685, abs=2e-4)
    assert found.relative == pytest.approx(0.022, abs=1e-3)


def test_sequences_without_an_order_get_a_wide_band():
    swing = refine([1.0, 1.2, 1.1], [4.0, 2.0, 1.0])
    assert swing.note == "oscillates" and swing.order is None and swing.error == pytest.approx(0.6)
    apart = refine([1.0, 1.1, 1.3], [4.0, 2.0, 1.0])
    assert apart.note == "no order" and apart.order == pytest.approx(-1) and apart.error > 3 * 0.2
    stalled = refine([1.0, 1.1, 1.195], [4.0, 2.0, 1.0])
    assert stalled.note == "no order" and stalled.error > 3 * 0.095
    assert refine([1.0, 1.1], [2.0, 1.0]).error == pytest.approx(0.1)
    assert refine([1.0, 1.0 + 1e-12], [2.0, 1.0]).note == "same"
    assert refine([1e-14, -2e-14], [2.0, 1.0], scale=1.0).relative is None
    assert refine([1.0], [1.0]) is None and refine([1.0, 1.1], [1.02, 1.0]) is None


def test_an_order_above_the_formal_one_gives_neither_a_limit_nor_a_tight_band():
    chance = refine([1.0, 1.614, 1.624], [4.0, 2.0, 1.0])
    assert chance.note == "too fast" and chance.order == pytest.approx(5.94, abs=0.01)
    assert chance.extrapolated is None and chance.error == pytest.approx(3 * 0.614)
    of_order = [1 - 0.01 * size**4.2 for size in (4.0, 2.0, 1.0)]
    assert refine(of_order, [4.0, 2.0, 1.0]).note == ""
    assert refine(of_order, [4.0, 2.0, 1.0], formal=3).note == "too fast"
    # The highest v of `cases/cavity2d`, whose band must hold that of Botella & Peyret.
    highest = refine([0.37991285, 0.37739565, 0.37706346], [0.029462783, 0.019641855, 0.013094570], formal=3)
    assert highest.order == pytest.approx(5, abs=0.02) and abs(0.3769447 - highest.values[-1]) < highest.error


def test_meshes_of_different_geometry_give_no_estimate(tmp_path, case_of):
    def tube(name, length, size):
        names = {0: "in", length: "out"}
        named = lambda x, y: names.get(x, "bottom" if y < 0.5 else "top")  # noqa: E731
        rectangles(tmp_path / f"{name}.msh", [(0, 0, length, 1)], named, size)

    for name, length, size in (("short", 2, 0.34), ("long", 3, 0.24), ("finer", 3, 0.17)):
        tube(name, length, size)
    case = case_of(CHANNEL, ('"channel.msh"', '["short.msh", "long.msh", "finer.msh"]'))
    for level in case.level_names:
        solved(case, level=level)
    found = [(level, Results.of(case, level)) for level in case.level_names]
    refused = estimate_error(case, found, 1.0)
    assert refused["quantities"] == {} and "the area is 2e-06 on short and 3e-06 on finer" in refused["note"]
    assert estimate_error(case, found[1:], 1.0)["quantities"]["pressure drop in"]["note"] == "same"


def test_one_mesh_gives_no_estimate(case_of):
    case = case_of()
    (record,) = solved(case)
    answer = estimate_error(case, [("channel", Results.of(case, "channel"))], 1.0)
    assert answer["note"] == "no error estimate: one mesh" and answer["quantities"] == {}
    assert quantities(record)["pressure drop in"].value == pytest.approx(0.24)
