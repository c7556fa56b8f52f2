"""The unknowns of the march in time, a velocity of second degree and a pressure of first, and what boundaries hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import basix.ufl
import numpy as np
from dolfinx import fem
from petsc4py import PETSc

from twin.errors import BadInput
from twin.fem.domain import Domain
from twin.flow.boundaries import Boundaries, Motion, mirror_axis, velocity_of
from twin.flow.inlets import Drawn, unit_inflows

TOLERANCE = 1e-10  # of the linear solves, relative to the velocity and the pressure themselves
UPDATE = 1e-6  # of the velocity update, relative to itself: it is of second order in the step

#: A field in space at a time: at(t) is a function of points, (3, n) in bores, that returns (dim, n).
Moving = Callable[[float], Callable[[np.ndarray], np.ndarray]]


class Unknowns:
    """The spaces of the march and the fields that go from step to step: velocities in U, the pressure in ρU².

    `now` and `old` are the velocity at the end of the last step and of the one before, `carrier` the one that carries
    momentum through the present step, `slope` ∂u/∂t in U²/bore. `viscosity` is ν, 1/Re. `points` (nodes, 3), in bores,
    are the nodes of the velocity, with ghosts.
    """

    def __init__(self, domain: Domain) -> None:
        cell, dim = domain.mesh.basix_cell(), domain.dim
        self.velocities = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", cell, 2, shape=(dim,)))
        self.scalars = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", cell, 2))
        self.pressures = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", cell, 1))
        self.points = self.velocities.tabulate_dof_coordinates()
        self.now, self.old, self.carrier, self.slope = (fem.Function(self.velocities) for _ in range(4))
        self.pressure = fem.Function(self.pressures)
        self.viscosity = fem.Constant(domain.mesh, 1.0)


class Held:
    """What the boundaries hold of the velocity: the degrees of freedom, and their values at a time.

    `mask` (nodes · dim) says which are held, with ghosts.
    """

    def __init__(
        self, domain: Domain, boundaries: Boundaries, unknowns: Unknowns, prescribed: Mapping[str, Moving]
    ) -> None:
        self._boundaries, self._prescribed = boundaries, dict(prescribed)
        self._points, self._dim = unknowns.points, domain.dim
        velocities = unknowns.velocities
        self._profiles = unit_inflows(domain, velocities, boundaries)
        self._drawn = Drawn(domain, velocities, boundaries)
        self._dofs = {
            name: domain.dofs(velocities, name)
            for name in (*boundaries.inlets, *boundaries.mirrors, *prescribed, *boundaries.walls)
        }
        self._axes = {name: mirror_axis(domain, name) for name in boundaries.mirrors}
        held = np.zeros((len(self._points), self._dim), dtype=bool)
        for name, dofs in self._dofs.items():
            if name in self._axes:
                held[dofs, self._axes[name]] = True
            else:
                held[dofs] = True
        self.mask = held.ravel()
        index = velocities.dofmap.index_map
        self._first, self._owned = index.local_range[0], index.size_local
        #: The components that are held in the same places share a matrix. The same on all ranks.
        kinds: dict[tuple[str, ...], list[int]] = {}
        for axis in range(self._dim):
            kinds.setdefault(tuple(name for name, at in self._axes.items() if at == axis), []).append(axis)
        self.groups = list(kinds.values())

    def rows(self, component: int) -> np.ndarray:
        """The global rows that are held in the scalar matrix of a component."""
        held = self.mask.reshape(-1, self._dim)[: self._owned, component]
        return (np.flatnonzero(held) + self._first).astype(PETSc.IntType)

    def vector_rows(self) -> np.ndarray:
        """The global rows that are held in a matrix of the vector space."""
        held = self.mask[: self._owned * self._dim]
        return (np.flatnonzero(held) + self._first * self._dim).astype(PETSc.IntType)

    def values(self, time: float, flows: Mapping[str, float], walls: Mapping[str, Motion]) -> np.ndarray:
        """The velocity at the boundaries (nodes · dim), zero elsewhere, with ghosts, for inlets' flows in U·bore² and
        walls' motions.

        Walls win at rims, mirrors over inlets. Beside the flows enters what walls that slide draw in (`Drawn`).
        """
        if missing := [name for name in self._boundaries.inlets if name not in flows]:
            raise BadInput(f'the inlet "{missing[0]}" has no flow', "give every inlet a rate; 0 closes it")
        values = self.entering({name: flows[name] for name in self._profiles}).reshape(-1, self._dim)
        values += self._drawn.velocity(walls)
        for name, moving in self._prescribed.items():
            dofs = self._dofs[name]
            values[dofs] = np.asarray(moving(time)(self._points[dofs].T)).T
        for name, motion in walls.items():
            values[self._dofs[name]] = velocity_of(motion, self._points[self._dofs[name]])
        return values.ravel()

    def entering(self, flows: Mapping[str, float]) -> np.ndarray:
        """The velocity (nodes · dim) at inlets with these flows, in U·bore², zero elsewhere, with ghosts."""
        values = np.zeros((len(self._points), self._dim))
        for name, flow in flows.items():
            values += flow * self._profiles[name].x.array.reshape(-1, self._dim)
        for name, axis in self._axes.items():
            values[self._dofs[name], axis] = 0.0
        return values.ravel()
