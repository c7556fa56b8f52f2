"""The velocity with which the fluid enters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from scipy.interpolate import CloughTocher2DInterpolator, PchipInterpolator
from scipy.spatial import cKDTree

from twin.errors import BadInput
from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.linear import solve_linear
from twin.flow.boundaries import Boundaries, Motion, Profile, Rotation

DEGREE = 4
LEAST_NET = 0.05  # of what passes an inlet both ways; a profile with less can't be scaled to a rate


def unit_inflow(domain: Domain, space: fem.FunctionSpace, boundaries: Boundaries, name: str) -> fem.Function:
    """A velocity that is zero but on one inlet, where it enters along the mean normal with a volume flow of 1.

    `space` is the continuous vector space of second degree. The volume flow is that of the discrete field, so what
    enters is what was asked for. Raises `BadInput` where the profile lets next to nothing in on the whole.
    """
    velocity, flow = _inflow(domain, space, boundaries, name)
    through = ufl.dot(velocity, ufl.FacetNormal(domain.mesh))
    both_ways = domain.integral(abs(through) * domain.ds(name, degree=DEGREE))
    if not flow > LEAST_NET * both_ways:
        raise BadInput(
            f'the profile of the inlet "{name}" lets nothing in on the whole: it draws out nearly as much, or more',
            "its speeds must be positive on the whole; for fluid that is drawn out give a negative rate",
        )
    velocity.x.array[:] /= flow
    return velocity


def unit_inflows(domain: Domain, space: fem.FunctionSpace, boundaries: Boundaries) -> dict[str, fem.Function]:
    """The unit inflow of every inlet, to be weighted with their rates and added up.

    At the nodes of an edge between two inlets, with no wall between them, the sum would have the speeds of both, and
    let in more than was asked for. There it has their mean, and the rest of each inlet makes up for what that changes:
    each of these functions has a volume flow of 1 through its own inlet, and of 0 through all others.
    """
    inflows = {name: unit_inflow(domain, space, boundaries, name) for name in boundaries.inlets}
    inlets = np.zeros(len(space.tabulate_dof_coordinates()))  # how many meet at each node
    for name in inflows:
        inlets[domain.dofs(space, name)] += 1
    if not domain.comm.allreduce(int((inlets > 1).sum())):
        return inflows
    inlets = np.repeat(inlets, domain.dim)
    inside = {name: _with_values(one, np.where(inlets > 1, 0.0, one.x.array)) for name, one in inflows.items()}
    shared = {
        name: _with_values(one, np.where(inlets > 1, one.x.array / np.maximum(inlets, 1), 0.0))
        for name, one in inflows.items()
    }
    left = {name: _flow_into(domain, one, name) for name, one in inside.items()}
    for name, one in inflows.items():
        one.x.array[:] = shared[name].x.array
        for other, rest in inside.items():
            wanted = float(other == name) - _flow_into(domain, shared[name], other)
            one.x.array[:] += wanted / left[other] * rest.x.array
    return inflows


def _with_values(like: fem.Function, values: np.ndarray) -> fem.Function:
    function = fem.Function(like.function_space)
    function.x.array[:] = values
    return function


def _flow_into(domain: Domain, velocity: fem.Function, name: str) -> float:
    """The volume flow into the domain through one boundary."""
    return -domain.integral(ufl.dot(velocity, ufl.FacetNormal(domain.mesh)) * domain.ds(name, degree=DEGREE))


def profile_flow(domain: Domain, boundaries: Boundaries, name: str) -> float:
    """The volume flow of an inlet with its profile's own speeds: their unit times bore², in 2-D times bore."""
    space = fem.functionspace(
        domain.mesh, basix.ufl.element("Lagrange", domain.mesh.basix_cell(), 2, shape=(domain.dim,))
    )
    return _inflow(domain, space, boundaries, name)[1]


def _inflow(domain: Domain, space: fem.FunctionSpace, boundaries: Boundaries, name: str) -> tuple[fem.Function, float]:
    """The velocity on an inlet with the speeds of its profile, and its volume flow."""
    profile, width = boundaries.inlets[name], domain.dim
    dofs = domain.dofs(space, name)
    points = space.tabulate_dof_coordinates()[dofs].T
    speed = _speed(domain, boundaries, name, profile, points)
    velocity = fem.Function(space)
    for component, part in enumerate(domain.normal(name)):
        velocity.x.array[dofs * width + component] = -part * speed
    for wall in boundaries.walls:  # at the rim of an inlet the wall wins
        rim = domain.dofs(space, wall)
        for component in range(width):
            velocity.x.array[rim * width + component] = 0.0
    velocity.x.scatter_forward()
    return velocity, _flow_into(domain, velocity, name)


def hydraulic_diameter(domain: Domain, boundaries: Boundaries, name: str) -> float:
    """Four times the area of a boundary over the length of its rim on walls, in bores; in 2-D twice the height of a
    channel. Infinite where no wall bounds it.
    """
    section = _section(domain, name)
    if not boundaries.walls:
        return float("inf")
    tree, _ = _on_walls(domain, boundaries, lambda wall, at: 0.0)
    width = section.topology.dim

    def on_wall(x: np.ndarray) -> np.ndarray:
        return tree.query(x.T)[0] < 1e-8

    rim = dmesh.locate_entities_boundary(section, width - 1, on_wall)
    if width == 1:  # each end counts 1
        owned = section.topology.index_map(0).size_local
        wetted = float(domain.comm.allreduce(int((rim < owned).sum())))
    else:
        tags = dmesh.meshtags(section, width - 1, np.sort(rim), np.ones_like(rim))
        ds = ufl.Measure("ds", section, subdomain_data=tags)(1)
        local = fem.assemble_scalar(compiled(fem.Constant(section, 1.0) * ds))
        wetted = float(np.real(domain.comm.allreduce(local)))
    return 4 * domain.area(name) / wetted if wetted > 0 else float("inf")


def _speed(domain: Domain, boundaries: Boundaries, name: str, profile: Profile, points: np.ndarray) -> np.ndarray:
    """The shape of the speed at points of an inlet, (3, n): (n,), in any unit."""
    if profile == "plug":
        return np.ones(points.shape[1])
    if profile == "developed":
        return _developed(domain, boundaries, name, points)
    return np.asarray(profile(points))


def _developed(domain: Domain, boundaries: Boundaries, name: str, points: np.ndarray) -> np.ndarray:
    """The solution of −∇²w = 1 in the inlet's section, with w = 0 where the section meets a wall.

    So the profile fits a section of any shape; on a mirror plane, the natural condition is the mirror's.
    """
    if not boundaries.walls:
        raise BadInput(f'no wall bounds the inlet "{name}", so no profile develops', 'give it the profile "plug"')
    found = _in_section(domain, boundaries, name, points, 1.0, lambda wall, at: 0.0)
    assert found is not None  # noqa: S101 (it has a source)
    return found


class Drawn:
    """What walls that slide along themselves draw in through developed inlets beside them, as in Couette's flow.

    The part of their velocity across the inlet's section, continued into the section by −∇²w = 0: with a developed
    flow of any rate on top, it is what a long straight channel of that section with these walls carries.
    """

    def __init__(self, domain: Domain, space: fem.FunctionSpace, boundaries: Boundaries) -> None:
        nodes = space.tabulate_dof_coordinates()
        self._shape, inlets = (len(nodes), domain.dim), np.zeros(len(nodes))
        for name in boundaries.inlets:
            inlets[domain.dofs(space, name)] += 1
        #: For each inlet and wall the nodes, the unit normal (dim,) and, (n,), the speed along it for a wall with the
        #: speed 1 along it, or that turns at the rate 1.
        self._speeds: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []
        for name, profile in boundaries.inlets.items():
            if profile != "developed":
                continue
            dofs, normal = domain.dofs(space, name), domain.normal(name)
            for moving, motion in boundaries.walls.items():
                own = functools.partial(_unit_speed, moving, motion, normal)
                speed = _in_section(domain, boundaries, name, nodes[dofs].T, 0.0, own) if motion else None
                if speed is not None:
                    self._speeds.append((moving, dofs, normal, speed / inlets[dofs]))

    def velocity(self, walls: Mapping[str, Motion]) -> np.ndarray:
        """The velocity (nodes, dim) that walls draw in, zero but on inlets, with ghosts.

        `walls` move as those of `boundaries` did, or not at all, at any speed. At an edge between two inlets it is the
        mean of both.
        """
        found = np.zeros(self._shape)
        for wall, dofs, normal, speed in self._speeds:
            if motion := walls[wall]:
                fast = motion.rate if isinstance(motion, Rotation) else float(np.dot(motion, normal))
                found[dofs] += np.outer(fast * speed, normal)
        return found


def _unit_speed(moving: str, motion: Motion, normal: np.ndarray, wall: str, points: np.ndarray) -> np.ndarray | float:
    """At points of a wall, (3, n), the speed (n,) along a unit normal if the wall is the moving one, 0 on others: 1, or
    that of the rate 1.
    """
    if wall != moving:
        return 0.0
    return replace(motion, rate=1.0).velocity(points.T) @ normal if isinstance(motion, Rotation) else 1.0


def _in_section(
    domain: Domain,
    boundaries: Boundaries,
    name: str,
    points: np.ndarray,
    source: float,
    at_walls: Callable[[str, np.ndarray], np.ndarray | float],
) -> np.ndarray | None:
    """The solution of −∇²w = `source` in an inlet's section, at points of the inlet, (3, n): (n,).

    At walls w is `at_walls` of the wall's name and points, (3, m); where two walls meet, the last one wins. None where
    it is zero all over.
    """
    section = _section(domain, name)
    space = fem.functionspace(section, basix.ufl.element("Lagrange", section.basix_cell(), 2))
    near, given = _on_walls(domain, boundaries, at_walls)

    def on_wall(x: np.ndarray) -> np.ndarray:
        return near.query(x.T)[0] < 1e-8

    rim = fem.locate_dofs_geometrical(space, on_wall)
    held = fem.Function(space)
    held.x.array[rim] = given[near.query(space.tabulate_dof_coordinates()[rim])[1]]
    if not source and not domain.comm.allreduce(int(held.x.array.any())):
        return None
    w, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    dx = ufl.Measure("dx", section, metadata={"quadrature_degree": DEGREE})
    speed = fem.Function(space)
    right = fem.Constant(section, source) * v * dx
    fixed = fem.dirichletbc(held, rim)
    solve_linear(ufl.inner(ufl.grad(w), ufl.grad(v)) * dx, right, speed, [fixed], f"the profile of {name}")
    # The section is cut up among the ranks in another way than the domain, so its nodes are found by where they are.
    owned = space.dofmap.index_map.size_local
    nodes = _everywhere(domain, space.tabulate_dof_coordinates()[:owned])
    values = _everywhere(domain, speed.x.array[:owned])
    distance, nearest = cKDTree(nodes).query(points.T)
    assert np.all(distance < 1e-8)  # noqa: S101 (the section's nodes are the domain's own)
    return values[nearest]


def _section(domain: Domain, name: str) -> dmesh.Mesh:
    """The mesh of a boundary."""
    return _compat.submesh(domain.mesh, domain.dim - 1, domain.facets.find(domain.tag(name)))


def _on_walls(
    domain: Domain, boundaries: Boundaries, at_walls: Callable[[str, np.ndarray], np.ndarray | float]
) -> tuple[cKDTree, np.ndarray]:
    """All nodes on walls, and what `at_walls` gives them: of a wall's name and points, (3, n)."""
    space = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", domain.mesh.basix_cell(), 2))
    nodes, values = space.tabulate_dof_coordinates(), fem.Function(space)
    on = np.zeros(len(nodes), dtype=bool)
    for wall in boundaries.walls:
        dofs = domain.dofs(space, wall)
        on[dofs], values.x.array[dofs] = True, at_walls(wall, nodes[dofs].T)
    values.x.scatter_forward()
    return cKDTree(_everywhere(domain, nodes[on])), _everywhere(domain, values.x.array[on])


def _everywhere(domain: Domain, values: np.ndarray) -> np.ndarray:
    return np.concatenate(domain.comm.allgather(values))


def table_profile(points: np.ndarray, speeds: np.ndarray) -> Profile:
    """A measured profile: speeds, (n,), at points, (n, 3) in bores, that lie on a line or in a plane.

    On a line the interpolation is piecewise cubic without overshoot (PCHIP), in a plane piecewise cubic and smooth
    (Clough–Tocher). Outside the points the nearest speed holds.
    """
    centre = points.mean(axis=0)
    _, spread, axes = np.linalg.svd(points - centre, full_matrices=False)
    nearest = cKDTree(points)
    if len(spread) < 2 or spread[1] < 1e-9 * spread[0]:
        along = (points - centre) @ axes[0]
        order = np.argsort(along)
        cubic = PchipInterpolator(along[order], speeds[order], extrapolate=False)
    else:
        plane = CloughTocher2DInterpolator((points - centre) @ axes[:2].T, speeds)

    def speed(at: np.ndarray) -> np.ndarray:
        away = at.T - centre
        found = cubic(away @ axes[0]) if spread[1] < 1e-9 * spread[0] else plane(away @ axes[:2].T)
        outside = np.isnan(found)
        found[outside] = speeds[nearest.query(at.T[outside])[1]]
        return found

    return speed


def history(times: list[float], factors: list[float], at: float) -> float:
    """A factor on a flow at a time: linear between the given times, constant before and after them."""
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise BadInput("the times of an inlet's history do not rise", "sort them, each once")
    return float(np.interp(at, times, factors))
