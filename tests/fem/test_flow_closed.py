"""Flows without an inlet or an outlet: a sliding lid against the literature, corners, the level of the pressure."""

import gmsh
import numpy as np
import pytest
from flow_cases import problem_of, rectangles, solved
from mpi4py import MPI

from twin.errors import BadInput
from twin.fem.domain import read_domain
from twin.flow import Boundaries, SteadySolver, TransientSolver, steady

pytestmark = pytest.mark.field

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
