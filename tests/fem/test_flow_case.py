"""Steady flow cases inside one process: exact solutions, profiles, probes, what does not fit the mesh."""

import re

import gmsh
import numpy as np
import pytest
from flow_cases import CHANNEL, UNSTEADY, problem_of, rectangles, solved, table_of, worker_of
from mpi4py import MPI

from twin.campaign.flow_case import estimate_error, flow_mesh, run_flow, unit_m
from twin.campaign.flow_profiles import profile_doubt
from twin.campaign.flow_unit import unit_doubt
from twin.campaign.run import check_laminar
from twin.case import Results
from twin.errors import BadInput, NotConverged
from twin.fem.domain import Domain, read_domain
from twin.flow import Boundaries, SteadySolver
from twin.flow.boundaries import mirror_axis
from twin.flow.inlets import hydraulic_diameter, table_profile
from twin.flow.probes import Probes
from twin.flow.turns import turns_along

pytestmark = pytest.mark.field


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


@pytest.mark.parametrize("linear", ["direct", "iterative"])
def test_creeping_flow_is_solved_at_any_reynolds_number(case_of, linear):
    """Its rounding error grows as 1/Re in ρU²; from the flow at another Re, too, which has another pressure."""
    problem = problem_of(case_of())
    lines = []
    boundaries = Boundaries({"in": "plug"}, {"out": 0.0}, {"bottom": (), "top": ()})
    solver = SteadySolver(problem.domain, boundaries, watch=lines.append, linear=linear)
    flows = [solver.solve(reynolds, {"in": 0.5}) for reynolds in (1e-3, 1e-6, 1e-9, 1e-12, 1e-6, 20.0, 1e-12)]
    drops = [flow.reynolds * flow.pressure_drop["in"] for flow in flows]
    creeping = [*drops[:5], drops[6]]
    assert creeping == pytest.approx(6 * [drops[0]], rel=1e-4)
    assert creeping[1:] == pytest.approx(5 * [drops[1]], rel=1e-6)
    assert {flow.status for flow in flows} == {"steady"} and max(flow.iterations for flow in flows) < 7
    assert any(line.startswith("Re 1e-12: Newton 0") for line in lines)


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
[output.lines.floor]
from = ["0.02 mm", "0.02 mm"]
to = ["7.98 mm", "0.02 mm"]
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
    answer = estimate_error(case, levels, 1.0)
    assert answer["edges"] == [{"between": ["step", "step"], "degrees": 270.0}]
    assert answer["no_limit"] == ["largest shear step"]
    bands = answer["quantities"]
    assert {band["note"] for band in bands.values()} <= {"edge", "same"}
    length = bands["turn forward 1 of 1 floor"]
    assert length["values"][1] + 2e-5 == pytest.approx(band["values"][1], rel=0.02) and length["unit"] == "m"
    one, three = (record["lines"]["floor"]["turns"][-1]["at_m"] for record in (coarse, on_three))
    assert three == pytest.approx(one)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_line_tells_where_the_velocity_along_it_turns(dim):
    """Of a quadratic field, between samples; a change that is weak against the mean speed is none."""
    from dolfinx import fem
    from dolfinx import mesh as dmesh

    make = {2: dmesh.create_unit_square, 3: dmesh.create_unit_cube}[dim]
    mesh = make(MPI.COMM_SELF, *[3] * dim)
    domain = Domain(mesh, dmesh.meshtags(mesh, dim - 1, np.empty(0, np.int32), np.empty(0, np.int32)), {})
    field = fem.Function(fem.functionspace(mesh, ("Lagrange", 2, (dim,))))
    field.interpolate(lambda x: np.array([(x[0] - 0.2) * (x[0] - 0.7), *[0.3 + 0 * x[0]] * (dim - 1)]))
    points = np.full((6, dim), 0.4)
    points[:, 0] = np.linspace(0, 0.97, 6)
    samples = Probes(domain, points).sample(field)
    (first, there), (second, back) = turns_along(domain, field, points, samples)
    assert (first, second) == ("turn backward", "turn forward")
    assert there == pytest.approx([0.2, *[0.4] * (dim - 1)], abs=2e-4)
    assert back == pytest.approx([0.7, *[0.4] * (dim - 1)], abs=2e-4)
    assert [kind for kind, _ in turns_along(domain, field, points[::-1], samples[::-1])] == [second, first]
    field.x.array.reshape(-1, dim)[:, 1] = 10
    assert turns_along(domain, field, points, Probes(domain, points).sample(field)) == []


def test_nothing_turns_in_a_body_that_a_line_crosses():
    """Between two bars with a gap of half a length; the fluid in both flows towards it."""
    from dolfinx import fem
    from dolfinx import mesh as dmesh

    whole = dmesh.create_unit_square(MPI.COMM_SELF, 4, 4)
    bars = dmesh.locate_entities(whole, 2, lambda x: (x[0] < 0.26) | (x[0] > 0.74))
    mesh = dmesh.create_submesh(whole, 2, bars)[0]
    domain = Domain(mesh, dmesh.meshtags(mesh, 1, np.empty(0, np.int32), np.empty(0, np.int32)), {})
    field = fem.Function(fem.functionspace(mesh, ("Lagrange", 2, (2,))))
    field.interpolate(lambda x: np.array([0.5 - x[0], 0 * x[0]]))
    points = np.array([[0.1, 0.5], [0.2, 0.5], [0.8, 0.5], [0.9, 0.5]])
    samples = Probes(domain, points).sample(field)
    assert samples[:, 0] == pytest.approx([0.4, 0.3, -0.3, -0.4])
    assert turns_along(domain, field, points, samples) == []


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


def test_a_profile_in_another_unit_is_refused_where_the_mesh_is_made(tmp_path, case_of):
    (tmp_path / "measured.csv").write_text("x,y,speed\n0,0,0\n0,0.5e-3,1\n0,1e-3,0\n")
    case = case_of(CHANNEL, ('mean_velocity = "10 mm/s"', 'mean_velocity = "10 mm/s"\nprofile = "measured.csv"'))
    made = flow_mesh(case, "channel", tmp_path / "made")
    assert sorted(np.unique(made.facets("in")[:, :, 0])) == [0] and np.ptp(made.facets("in")[:, :, 1]) == 1
    with pytest.raises(BadInput, match=r'span 0 … 0, 0 … 0\.001, and the inlet "in" spans 0 … 0, 0 … 1'):
        profile_doubt(case, made)


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


def test_probes_reach_the_curved_wall_which_faces_all_ways(tmp_path):
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
    with pytest.raises(BadInput, match='"wall" faces all ways'):
        domain.normal("wall")
    from dolfinx import fem

    field = fem.Function(fem.functionspace(domain.mesh, ("Lagrange", 2)))
    field.interpolate(lambda x: x[0] + 2 * x[1])
    turn = np.linspace(0, 2 * np.pi, 40)
    points = np.column_stack([np.cos(turn), np.sin(turn)])
    points = np.vstack([points, 0.6 * points])
    assert Probes(domain, points).sample(field) == pytest.approx(points @ [1, 2], abs=5e-3)
    with pytest.raises(BadInput, match=r"the point far at \(0\.0024, 0\) m is not in the fluid"):
        Probes(domain, np.array([[1.2, 0.0]]), ["far"], unit_m=2e-3)


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
        ([('"1 mPa*s"', '"1e-60 Pa*s"')], r"has Re 2e\+58:"),
        ([('"1 mPa*s"', '"1e-300 Pa*s"')], r"nothing can be computed with a velocity of 0\.01 m/s, .* Re 2e\+298"),
        ([('"10 mm/s"', '"1e-200 m/s"')], "nothing can be computed with a velocity of 1e-200 m/s"),
        ([('"10 mm/s"', '"1e200 m/s"')], r"nothing can be computed with a velocity of 1e\+200 m/s"),
        ([('"10 mm/s"', '"1.1 m/s"'), ("[flow]", '[flow]\nreference_length = "0.1 mm"')], 'outlet "out" of channel'),
    ],
)
def test_what_does_not_fit_the_mesh_is_refused_before_anything_is_solved(case_of, changes, message):
    case = case_of(CHANNEL, *changes)
    with pytest.raises(BadInput, match=message) as caught:
        solved(case)
    assert caught.value.remedy
    assert not (case.folder / "results" / "channel" / "points").exists()


@pytest.mark.parametrize(
    ("change", "message", "remedy"),
    [
        (("inlets.in]", "inlets.inflow]"), "the mesh has no boundary inflow", "its boundaries are .*in"),
        (('"bottom", "top"', '"bottom"'), "does not say what the boundary top is", "put it into"),
    ],
)
def test_the_names_of_a_mesh_are_held_against_the_case_where_it_is_made(case_of, change, message, remedy):
    with pytest.raises(BadInput, match=message) as caught:
        flow_mesh(case_of(CHANNEL, change), "channel", case_of(CHANNEL).folder / "made")
    assert re.search(remedy, caught.value.remedy)


@pytest.mark.parametrize("sides", [("right", "bottom"), ("bottom", "top")])
def test_a_mirror_of_two_planes_is_told_to_be_two(tmp_path, sides):
    def name_of(x, y):
        name = {(0, 0.5): "left", (2, 0.5): "right", (1, 0): "bottom"}.get((x, y), "top")
        return "both" if name in sides else name

    rectangles(tmp_path / "box.msh", [(0, 0, 2, 1)], name_of, 0.5)
    with pytest.raises(BadInput, match='"both" holds two planes') as caught:
        mirror_axis(read_domain(tmp_path / "box.msh", MPI.COMM_SELF), "both")
    assert caught.value.remedy == "give each its own name"


def test_a_reynolds_number_of_a_mesh_in_the_wrong_unit_is_explained(case_of):
    problem = problem_of(case_of(CHANNEL, ('bore = "1 mm"', 'bore = "1 m"')))
    with pytest.raises(BadInput, match="has Re 20000") as caught:
        problem.check_laminar(problem.scales(1.0), 1.0, allowed=False)
    assert "correct the bore" in caught.value.remedy and "the mesh measures 2 × 1 m" in caught.value.remedy


REFERENCE = ("[flow]\n", '[flow]\nreference_length = "1 mm"\n')
RATE = ('mean_velocity = "10 mm/s"', 'flow = "10 mm^2/s"')
NO_POINTS = (CHANNEL[CHANNEL.index("[output.probes]") :], "")


@pytest.mark.parametrize(
    ("unit", "changes", "doubt"),
    [
        ("1 mm", [], ""),
        ("1 mm", [REFERENCE, RATE], ""),
        ("0.4 mm", [], "m, but the probe middle (and 2 more) lies outside of it: is"),
        ("1 um", [], "it measures 2e-06 × 1e-06 m, but the probe middle (and 2 more) lies outside of it"),
        ("1 um", [NO_POINTS], ""),
        ("1 um", [NO_POINTS, REFERENCE], "but the reference length is 0.001 m"),
        ("1 m", [REFERENCE], "it measures 2 × 1 m, but the reference length is 0.001 m"),
        ("1 km", [], "the fluid takes 55.6 h to pass through it"),
        ("1 ft", [RATE], "it measures 0.61 × 0.305 m, but the fluid takes 5.16 h to pass"),
    ],
)
def test_a_length_of_the_unit_that_the_case_contradicts_is_doubted(case_of, unit, changes, doubt):
    case = case_of(CHANNEL, ('bore = "1 mm"', f'bore = "{unit}"'), *changes)
    made = flow_mesh(case, "channel", case.folder / "made")
    found = unit_doubt(case, made, unit_m(case, "channel"))
    assert doubt in found and bool(found) == bool(doubt)
    assert not found or found.endswith("is the bore, the length of its unit, right?")


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


def two_outlets(tmp_path, case_of, speed):
    """A channel of 1 mm that parts into one of 1 mm straight on and one of 0.25 mm; most leaves straight on."""

    def name_of(x, y):
        return {(0, 0.5): "in", (4, 0.5): "wide", (2, -2): "narrow"}.get((x, y), "wall")

    if not (tmp_path / "parts.msh").exists():
        rectangles(tmp_path / "parts.msh", [(0, 0, 4, 1), (1.875, -2, 0.25, 2.5)], name_of, 0.25)
    return case_of(
        CHANNEL.split("[boundaries]")[0].replace("channel.msh", "parts.msh")
        + f"""
[boundaries]
walls = ["wall"]
[boundaries.inlets.in]
mean_velocity = "{speed} mm/s"
[boundaries.outlets]
wide = {{}}
narrow = {{}}
[flow]
reference_length = "1 mm"
reference_velocity = "{speed} mm/s"
"""
    )


def test_each_outlet_has_the_reynolds_number_of_its_own_flow(tmp_path, case_of):
    (record,) = solved(two_outlets(tmp_path, case_of, 1))
    flows = {name: record["boundaries"][name]["flow"] for name in ("wide", "narrow")}
    assert flows["narrow"] < 0.1 * flows["wide"]
    wanted = {name: 2 * flow / 1e-6 for name, flow in flows.items()}  # 2 Q/ν in a plane channel of any height
    assert record["outlet_reynolds"] == pytest.approx(wanted, rel=1e-6)


def test_what_the_solved_flow_shows_to_be_turbulent_is_no_result(tmp_path, case_of, monkeypatch):
    """Re 20 on the mean velocity over both outlets would be 16 in the wide one; its own flow has nearly 20."""
    case = two_outlets(tmp_path, case_of, 10)
    monkeypatch.setattr("twin.campaign.run.MOST_REYNOLDS", 18.0)
    (record,) = solved(case)
    assert record["status"] == "failed" and 'the outlet "wide" of channel has Re' in record["reason"]
    assert "--allow-high-reynolds" in record["remedy"] and "forces" not in record
    assert not (Results.of(case, "parts").point("flow") / "fields.vtu").exists()
    (record,) = solved(case, allow_high_reynolds=True)
    assert record["status"] == "steady" and 18 < record["outlet_reynolds"]["wide"] < 20
    time = '[time]\nend = "0.02 s"\nstep = "0.01 s"\n'
    (record,) = solved(case_of((tmp_path / "case.toml").read_text() + time))
    assert record["status"] == "failed" and 'the outlet "wide" of channel has Re' in record["reason"]


def test_the_stability_of_a_flow_that_may_be_turbulent_is_refused(tmp_path, case_of, monkeypatch):
    worker = worker_of(two_outlets(tmp_path, case_of, 10))
    monkeypatch.setattr("twin.campaign.run.MOST_REYNOLDS", 18.0)
    with pytest.raises(BadInput, match='the outlet "wide" of channel has Re'):
        worker.steady_at(None)
