"""The steady solver against a manufactured solution, and against flows in pipes and bends that are known."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gmsh
import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

from twin.check import Check
from twin.fem.domain import Domain, read_domain
from twin.flow import Boundaries, SteadySolver
from twin.flow.momentum import Fluid

# -- a manufactured solution -------------------------------------------------------------------------------------------

VISCOSITY = 0.05
_BEND = "White (1929); Mishra & Gupta (1979) and Hasson (1955) lie 0.3 and 0.5 % lower"


class _Manufactured(SteadySolver):
    """The flow in the unit square or cube whose velocity is `_velocity` and whose pressure is `_pressure`.

    Velocity is held all around and the pressure at a corner; the force is what the balance of momentum leaves.
    """

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain, Boundaries({}, {}, {"all": ()}), fluid=lambda nu: Fluid(nu, force=_force(domain)))

    def _boundary_conditions(self) -> list[fem.DirichletBC]:
        whole, spaces = self.space.sub(0), (self.space.sub(0), self.velocities)
        held = fem.Function(self.velocities)
        held.interpolate(lambda x: np.vstack(_velocity(x, self.domain.dim, np)))
        pressures, _ = self.space.sub(1).collapse()
        level = fem.Function(pressures)
        level.interpolate(lambda x: _pressure(x, self.domain.dim, np))
        corner = fem.locate_dofs_geometrical(
            (self.space.sub(1), pressures), lambda x: np.isclose(np.abs(x).sum(axis=0), 0)
        )
        return [
            fem.dirichletbc(held, self.domain.dofs(spaces, "all"), whole),
            fem.dirichletbc(level, corner, self.space.sub(1)),
        ]


def _velocity(x: Any, dim: int, m: Any) -> list[Any]:
    """A field without divergence that no polynomial is."""
    a, b = m.sin(2 * x[0]) * m.cos(2 * x[1]), -m.cos(2 * x[0]) * m.sin(2 * x[1])
    return [a, b] if dim == 2 else [a + m.sin(2 * x[2]), b + m.sin(x[2]), m.cos(2 * x[0] + x[1])]


def _pressure(x: Any, dim: int, m: Any) -> Any:
    return m.sin(2 * x[0] + x[1]) if dim == 2 else m.sin(2 * x[0] + x[1]) * m.cos(x[2])


def _force(domain: Domain) -> Any:
    x = ufl.SpatialCoordinate(domain.mesh)
    u = ufl.as_vector(_velocity(x, domain.dim, ufl))
    return ufl.dot(ufl.grad(u), u) - VISCOSITY * ufl.div(ufl.grad(u)) + ufl.grad(_pressure(x, domain.dim, ufl))


def manufactured_errors(dim: int, across: int) -> tuple[float, float]:
    """The L² errors of velocity and pressure with `across` cells along an edge of the square or cube."""
    if dim == 2:
        mesh = dmesh.create_unit_square(MPI.COMM_SELF, across, across)
    else:
        mesh = dmesh.create_unit_cube(MPI.COMM_SELF, across, across, across)
    mesh.topology.create_connectivity(dim - 1, dim)
    facets = dmesh.exterior_facet_indices(mesh.topology)
    domain = Domain(mesh, dmesh.meshtags(mesh, dim - 1, facets, np.ones_like(facets)), {"all": 1})
    solution = _Manufactured(domain).solve(1 / VISCOSITY, {})
    x, dx = ufl.SpatialCoordinate(mesh), domain.dx(8)
    velocity = solution.velocity - ufl.as_vector(_velocity(x, dim, ufl))
    pressure = solution.pressure - _pressure(x, dim, ufl)
    mean = domain.integral(pressure * dx)  # the corner's own error shifts the level
    return (
        math.sqrt(domain.integral(ufl.dot(velocity, velocity) * dx)),
        math.sqrt(domain.integral((pressure - mean) ** 2 * dx)),
    )


def _orders(dim: int, coarse: int, fine: int) -> list[Check]:
    before, after = manufactured_errors(dim, coarse), manufactured_errors(dim, fine)
    orders = [math.log(one / two) / math.log(fine / coarse) for one, two in zip(before, after, strict=True)]
    names = (("velocity", 3.0), ("pressure", 2.0))
    return [
        Check(f"order of the {name}, manufactured, {dim}-D", order, exact, 0.2 / exact, "P2–P1, L² norm")
        for (name, exact), order in zip(names, orders, strict=True)
    ]


# -- pipes and bends ---------------------------------------------------------------------------------------------------


def _swept(draw: Callable[[], None]) -> Domain:
    """The domain that `draw` leaves in Gmsh's current model: volumes, and names of its surfaces."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "swept.msh"
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        try:
            draw()
            gmsh.model.mesh.generate(3)
            gmsh.model.mesh.setOrder(2)
            gmsh.model.mesh.optimize("HighOrderElastic")
            gmsh.write(str(path))
        finally:
            gmsh.finalize()
        return read_domain(path, MPI.COMM_SELF)


def _half_disc(size: float, x0: float = 0.0) -> int:
    """The half y ≥ 0 of a disc of diameter 1 about (x0, 0, 0) in the plane z = 0, meshed with one size."""
    occ = gmsh.model.occ
    disc = occ.addDisk(x0, 0, 0, 0.5, 0.5)
    half = occ.addRectangle(x0 - 1, 0, 0, 2, 1)
    ((_, tag),), _ = occ.intersect([(2, disc)], [(2, half)])
    occ.synchronize()
    gmsh.option.setNumber("Mesh.MeshSizeMin", size)
    gmsh.option.setNumber("Mesh.MeshSizeMax", size)
    return tag


def _name_surfaces(place: Callable[[np.ndarray, int], str]) -> None:
    """Calls each surface by what `place` makes of its centre of mass and tag."""
    gmsh.model.occ.synchronize()
    names: dict[str, list[int]] = {}
    for _, tag in gmsh.model.getEntities(2):
        names.setdefault(place(np.array(gmsh.model.occ.getCenterOfMass(2, tag)), tag), []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(2, tags, name=name)
    gmsh.model.addPhysicalGroup(3, [tag for _, tag in gmsh.model.getEntities(3)], name="fluid")


def entrance_length(reynolds: float, size: float = 0.11, length: float = 9.0) -> float:
    """Where the velocity on the axis of a pipe with a plug inlet reaches 99 % of 2 U, in diameters."""
    steps = np.cumsum(np.geomspace(0.05, 0.35, 40))
    heights = np.append(steps[steps < length - 0.2], length) / length

    def draw() -> None:
        face = _half_disc(size)
        gmsh.model.occ.extrude([(2, face)], 0, 0, length, numElements=[1] * len(heights), heights=heights.tolist())

        def place(centre: np.ndarray, _: int) -> str:
            if centre[2] < 1e-9 or centre[2] > length - 1e-9:
                return "inlet" if centre[2] < 1e-9 else "outlet"
            return "symmetry" if centre[1] < 1e-9 else "wall"

        _name_surfaces(place)

    domain = _swept(draw)
    solver = SteadySolver(domain, Boundaries({"inlet": "plug"}, mirrors=("symmetry",)))
    solution = solver.solve(reynolds, {"inlet": domain.area("outlet")})
    at = np.linspace(0, length, 2000, endpoint=False)
    axis = _along(solution.velocity, np.column_stack([0 * at, 0 * at, at]))[:, 2]
    return float(np.interp(1.98, axis, at))


def _along(velocity: fem.Function, points: np.ndarray) -> np.ndarray:
    """The velocity at points on a mirror plane, (n, 3), moved into the fluid by a hair."""
    from dolfinx import geometry

    points = points + np.array([0, 1e-6, 1e-9])
    mesh = velocity.function_space.mesh
    tree = geometry.bb_tree(mesh, mesh.topology.dim)
    cells = geometry.compute_colliding_cells(mesh, geometry.compute_collisions_points(tree, points), points)
    return velocity.eval(points, np.array([cells.links(i)[0] for i in range(len(points))]))


def bend_friction(dean: float, radius: float = 5.0, angle: float = 3.0, size: float = 0.13) -> float:
    """The friction of developed flow in a bent pipe over that in a straight one with the same flux.

    The axis of the bend has a radius of `radius` diameters; the Dean number is Re √(d/2R).
    """
    reynolds = dean * math.sqrt(2 * radius)
    layers = round(angle * radius / 0.35)
    quarter = [i * angle / 4 for i in range(5)]

    def draw() -> None:
        bodies = [(2, _half_disc(size, x0=radius))]
        for _ in range(4):  # four pieces, so that the pressure can be read on the planes between them
            swept = gmsh.model.occ.revolve(bodies, 0, 0, 0, 0, 1, 0, -angle / 4, numElements=[layers // 4])
            bodies = [swept[0]]

        def place(centre: np.ndarray, tag: int) -> str:
            if gmsh.model.getType(2, tag) != "Plane":
                return "wall"
            if centre[1] < 1e-6:
                return "symmetry"
            turned = math.atan2(centre[2], centre[0])
            number = int(np.argmin([abs(turned - one) for one in quarter]))
            return ("inlet", "plane_1", "plane_2", "plane_3", "outlet")[number]

        _name_surfaces(place)

    domain = _swept(draw)
    solver = SteadySolver(domain, Boundaries({"inlet": "developed"}, mirrors=("symmetry",)))
    solution = solver.solve(reynolds, {"inlet": domain.area("outlet")})
    one = fem.Constant(domain.mesh, 1.0)
    means = []
    for name in ("plane_2", "plane_3"):
        dS = domain.dS(name)
        means.append(domain.integral(ufl.avg(solution.pressure) * dS) / domain.integral(one * dS))
    gradient = (means[0] - means[1]) / (radius * angle / 4)
    return gradient * reynolds / 32


def white_friction(dean: float) -> float:
    """White's correlation of the same, for Dean numbers from 11.6 to 2000 (Proc. R. Soc. A 123 (1929) 645)."""
    return 1 / (1 - (1 - (11.6 / dean) ** 0.45) ** (1 / 0.45))


# -- the tables --------------------------------------------------------------------------------------------------------


def checks() -> list[Check]:
    """Orders of convergence, the entrance of a pipe, and the friction of Dean flow."""
    length = (0.619**1.6 + (0.0567 * 100) ** 1.6) ** (1 / 1.6)
    return [
        *_orders(2, 8, 16),
        *_orders(3, 4, 8),
        Check("entrance length of a pipe at Re 100, D", entrance_length(100.0), length, 0.03, "Durst et al. (2005)"),
        Check(
            "friction in a bend at De 100 over a straight pipe's",
            bend_friction(100.0),
            white_friction(100.0),
            0.01,
            _BEND,
        ),
    ]
