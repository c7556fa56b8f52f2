"""The force on a wall that ends at inlets, outlets, mirror planes and other walls, and on one that ends nowhere."""

import gmsh
import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI

from twin.fem.domain import read_domain
from twin.flow import Boundaries, SteadySolver, force_on
from twin.verification.unsteady import DFG, cylinder_domain

pytestmark = pytest.mark.field

LONG = 1.5
REYNOLDS = 20.0


def developed(path, draw, name_of, size, walls, area):
    """Developed flow of mean speed 1 along x through what `draw(occ)` draws: the domain and the flow."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    draw(gmsh.model.occ)
    gmsh.model.occ.synchronize()
    names = {}
    for _, tag in gmsh.model.getEntities(2):
        x, y, z = (round(value, 6) for value in gmsh.model.occ.getCenterOfMass(2, tag))
        names.setdefault({0: "in", LONG: "out"}.get(x) or name_of(y, z), []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(2, tags, name=name)
    gmsh.model.addPhysicalGroup(3, [1], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", size)
    gmsh.option.setNumber("Mesh.MeshSizeMin", size)
    gmsh.model.mesh.generate(3)
    gmsh.model.mesh.setOrder(2)
    gmsh.write(str(path / "pipe.msh"))
    gmsh.finalize()
    domain = read_domain(path / "pipe.msh", MPI.COMM_SELF)
    mirrors = tuple(name for name in domain.tags if name == "mirror")
    boundaries = Boundaries({"in": "developed"}, {"out": 0.0}, dict.fromkeys(walls, ()), mirrors)
    return domain, SteadySolver(domain, boundaries).solve(REYNOLDS, {"in": area})


def test_the_wall_of_a_half_pipe_has_the_drag_of_hagen_and_poiseuille(tmp_path):
    """It ends at the inlet, the outlet and the mirror plane. The stress at the wall is off by 0.6 % on this mesh."""
    half = lambda occ: occ.addCylinder(0, 0, 0, LONG, 0, 0, 0.5, angle=np.pi)  # noqa: E731
    domain, flow = developed(tmp_path, half, lambda y, z: "wall" if y else "mirror", 0.25, ["wall"], np.pi / 8)
    drag, push = 32 / REYNOLDS * LONG * np.pi / 8, -32 / REYNOLDS * LONG**2 / 2
    fields = domain, flow.velocity, flow.pressure, REYNOLDS, "wall"
    assert force_on(*fields) == pytest.approx([drag, push, 0], rel=1e-3, abs=1e-3 * drag)
    unsteady = fem.Function(flow.velocity.function_space)  # as the steps of an unsteady run do it, here without change
    assert force_on(*fields, unsteady) == pytest.approx([drag, push, 0], rel=1e-3, abs=1e-3 * drag)


def test_a_wall_of_a_square_duct_has_a_quarter_of_the_drag(tmp_path):
    """It ends at two more walls. The stress at the wall is off by 4 % on this mesh."""
    duct = lambda occ: occ.addBox(0, -0.5, -0.5, LONG, 1, 1)  # noqa: E731
    names = lambda y, z: "floor" if z == -0.5 else "rest"  # noqa: E731
    domain, flow = developed(tmp_path, duct, names, 0.18, ["rest", "floor"], 1.0)
    gradient = 28.4541 / REYNOLDS
    known = [gradient * LONG / 4, 0, -gradient * LONG**2 / 2]
    found = force_on(domain, flow.velocity, flow.pressure, REYNOLDS, "floor")
    assert found == pytest.approx(known, rel=3e-3, abs=3e-3 * known[0])


def test_the_walls_around_a_cylinder_have_the_drag_of_many_cells():
    """Those of DFG 2D-1's channel; 90,000 cells give 8.68526. The stress at the walls is off by 5e-3."""
    domain = cylinder_domain(0.11, 0.35)
    flow = SteadySolver(domain, DFG.boundaries).solve(20.0, {"inlet": DFG.height})
    drag, _ = 2 * force_on(domain, flow.velocity, flow.pressure, 20.0, "wall")
    assert drag == pytest.approx(8.68526, abs=1e-3)
