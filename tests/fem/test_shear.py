"""The shear on walls: against Poiseuille in a pipe, Hiemenz's stagnation flow, and the force on a cylinder."""

from dataclasses import replace

import gmsh
import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI
from scipy.integrate import solve_ivp

from twin.fem.domain import read_domain
from twin.flow import Boundaries, SteadySolver
from twin.flow.forces import force_on
from twin.flow.shear import WallShear, wall_shear

pytestmark = pytest.mark.field


@pytest.fixture
def meshed(tmp_path):
    """Meshes what `draw(occ)` draws, in second order, with boundaries named by `name_of(x, y, z)` of their middle."""

    def make(draw, name_of, size):
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        draw(gmsh.model.occ)
        gmsh.model.occ.synchronize()
        dim = gmsh.model.getDimension()
        names = {}
        for _, tag in gmsh.model.getEntities(dim - 1):
            middle = (round(value, 6) for value in gmsh.model.occ.getCenterOfMass(dim - 1, tag))
            names.setdefault(name_of(*middle), []).append(tag)
        for name, tags in names.items():
            gmsh.model.addPhysicalGroup(dim - 1, tags, name=name)
        gmsh.model.addPhysicalGroup(dim, [tag for _, tag in gmsh.model.getEntities(dim)], name="fluid")
        gmsh.option.setNumber("Mesh.MeshSizeMax", size)
        gmsh.option.setNumber("Mesh.MeshSizeMin", size)
        gmsh.model.mesh.generate(dim)
        gmsh.model.mesh.setOrder(2)
        gmsh.write(str(tmp_path / "drawn.msh"))
        gmsh.finalize()
        return read_domain(tmp_path / "drawn.msh", MPI.COMM_SELF)

    return make


def test_the_shear_in_a_pipe_is_poiseuille_s(meshed):
    names = {0: "in", 2: "out"}
    domain = meshed(lambda occ: occ.addCylinder(0, 0, 0, 2, 0, 0, 0.5), lambda x, y, z: names.get(x, "wall"), 0.25)
    flow = SteadySolver(domain, Boundaries({"in": "developed"}, {"out": 0.0}, {"wall": ()})).solve(
        20.0, {"in": np.pi / 4}
    )
    found = wall_shear(domain, flow.velocity, flow.pressure, 20.0, "wall")
    exact = 8 / 20
    assert found.area.sum() == pytest.approx(2 * np.pi, rel=1e-3) and found.turns() == []
    assert found.mean == pytest.approx(exact, rel=5e-4) and found.largest == pytest.approx(exact, rel=0.02)
    across = found.at[:, 1:] / np.linalg.norm(found.at[:, 1:], axis=1)[:, None]
    assert np.sum(found.shear[:, 1:] * across, axis=1) == pytest.approx(0, abs=2e-3 * exact)
    assert np.average((found.shear[:, 0] - exact) ** 2, weights=found.area) ** 0.5 < 5e-3 * exact


def test_the_shear_of_hiemenz_s_flow_turns_where_it_attaches(meshed):
    """u = x f′(y), v = −f(y), of which f″(0) = 1.2325877 is known; the wall is approached at x = 0.73."""
    middle, slope = 0.73, 1.2325877
    profile = solve_ivp(
        lambda y, f: [f[1], f[2], f[1] ** 2 - f[0] * f[2] - 1], (0, 1.01), [0, 0, slope], rtol=1e-10, dense_output=True
    ).sol
    names = {0: "wall"}
    domain = meshed(lambda occ: occ.addRectangle(0, 0, 0, 2, 1), lambda x, y, z: names.get(y, "rest"), 0.15)
    velocity = fem.Function(fem.functionspace(domain.mesh, ("Lagrange", 2, (2,))))
    pressure = fem.Function(fem.functionspace(domain.mesh, ("Lagrange", 1)))
    velocity.interpolate(lambda x: np.array([(x[0] - middle) * profile(x[1])[1], -profile(x[1])[0]]))
    pressure.interpolate(lambda x: -((x[0] - middle) ** 2 + profile(x[1])[0] ** 2) / 2 - profile(x[1])[1])
    found = wall_shear(domain, velocity, pressure, 1.0, "wall")
    assert np.all(np.diff(found.at[:, 0]) > 0) and found.pieces == ((0, len(found.at), False),)
    assert found.shear[:, 0] == pytest.approx(slope * (found.at[:, 0] - middle), abs=5e-3)
    assert found.shear[:, 1] == pytest.approx(0, abs=1e-12) and found.along == pytest.approx(found.shear[:, 0])
    ((kind, place),) = found.turns()
    assert kind == "attachment" and place == pytest.approx([middle, 0], abs=2e-3)


def test_the_shear_and_the_pressure_on_a_cylinder_are_its_force(meshed):
    def draw(occ):
        occ.cut([(2, occ.addRectangle(0, 0, 0, 5, 3))], [(2, occ.addDisk(1.5, 1.5, 0, 0.5, 0.5))])

    names = {(0, 1.5): "in", (5, 1.5): "out", (1.5, 1.5): "cylinder"}
    domain = meshed(draw, lambda x, y, z: names.get((x, y), "walls"), 0.2)
    boundaries = Boundaries({"in": "developed"}, {"out": 0.0}, {"walls": (), "cylinder": ()})
    flow = SteadySolver(domain, boundaries).solve(30.0, {"in": 3.0})
    found = wall_shear(domain, flow.velocity, flow.pressure, 30.0, "cylinder")
    ((first, end, closed),) = found.pieces
    assert closed and (first, end) == (0, len(found.at))
    gaps = np.linalg.norm(np.diff(found.at, axis=0, append=found.at[:1]), axis=1)
    assert gaps.max() < 2 * gaps.mean() and np.average(found.at, axis=0, weights=found.area) == pytest.approx(1.5)
    n, ds = ufl.FacetNormal(domain.mesh), domain.ds("cylinder")
    push = [domain.integral(flow.pressure * n[axis] * ds) for axis in range(2)]
    force = force_on(domain, flow.velocity, flow.pressure, 30.0, "cylinder")
    assert found.area @ found.shear + push == pytest.approx(force, rel=0.02, abs=0.01 * force[0])
    turns = found.turns()
    fronts = sorted(place[0] for kind, place in turns if kind == "attachment")
    assert fronts == pytest.approx([1, 2], abs=0.01) and len(turns) == 4
    lower, upper = (place for kind, place in turns if kind == "separation")
    assert lower[1] < 1.5 < upper[1] and lower + upper == pytest.approx([2 * lower[0], 3], abs=0.02)
    wall = wall_shear(domain, flow.velocity, flow.pressure, 30.0, "walls")
    (low, middle, _), (_, high, _) = wall.pieces
    assert np.all(wall.at[low:middle, 1] == 0) and np.all(wall.at[middle:high, 1] == 3)
    assert np.all(np.diff(wall.at[:middle, 0]) > 0)


def row(along, closed=False):
    along = np.array(along, dtype=float)
    at = np.column_stack([np.arange(len(along)), np.zeros(len(along))])
    pieces = ((0, len(along), closed),)
    return WallShear(at, np.column_stack([along, 0 * along]), np.ones(len(along)), along, at - [0.5, 0], pieces)


def test_a_turn_has_a_kind_and_lies_between_its_samples():
    turns = row([1, 1, -3, -1, 1]).turns()
    assert [(kind, *place) for kind, place in turns] == [("separation", 1.25, 0), ("attachment", 3.5, 0)]
    assert len(row([1, -1], closed=True).turns()) == 2 and len(row([1, -1]).turns()) == 1
    assert row([1e-9, -1e-3, 1e-3, 2, 1e-4, -1e-4, 2]).turns() == []  # eddies in corners, or rounding
    assert row([0, 0, 0]).turns() == []
    two = row([1, 1, -1, -1])
    apart = replace(two, pieces=((0, 2, False), (2, 4, False)))
    assert apart.turns() == [] and two.scaled(2, 3).turns()[0][1] == pytest.approx([3, 0])
    assert two.scaled(2, 3).mean == 3


def test_a_turn_lies_where_the_sign_changes_not_half_way_between_the_strong_stretches():
    """An eddy in a corner: its first arm is weak, and the rounding in the corner has another sign still."""
    along = [1, 1, -1e-3, -1e-3, 1e-5, -1e-5, -1, -1]
    for closed in (False, True):
        assert row(along, closed).turns()[0] == ("separation", pytest.approx([1 + 1 / 1.001, 0]))
    turns = row(np.roll(along, 3), closed=True).turns()
    assert [(kind, *place) for kind, place in turns] == [
        ("attachment", 2.5, 0),
        ("separation", pytest.approx(4 + 1 / 1.001), 0),
    ]
    assert row([2, 1e-3, 0, -1, -1]).turns() == [("separation", pytest.approx([2, 0]))]  # where it is zero


def test_a_turn_beside_a_corner_lies_on_the_wall():
    one = row([3, -1])
    corner = np.array([[-1, 0], [1.0, 0]])
    bent = replace(one, at=np.array([[0.0, 0], [1, -1]]), begins=corner)  # by (1, 0) from one sample to the other
    assert bent.turns() == [("separation", pytest.approx([1, -0.5]))]
    assert bent.scaled(2, 1).turns() == [("separation", pytest.approx([2, -1]))]
    assert replace(bent, along=np.array([1.0, -3])).turns() == [("separation", pytest.approx([0.5, 0]))]
