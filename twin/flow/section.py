"""The outlet tube after the junction, straight or coiled, marched section by section.

Lengths are in bores D, velocities in the bulk velocity U, pressures in ρU²; Re = U D/ν. A section is the disc of
diameter 1 about the origin with coordinates (x, y); z is the arc length along the tube's axis, in bores. In a coil, x
points away from the coil's axis and h = 1 + κx is the length of a fluid path at x per length of the tube's axis, with
κ = D/R_coil = 2δ, δ = D/D_coil; the pitch is neglected.

The equations are those of Navier and Stokes in toroidal coordinates without diffusion along z, and with a pressure
P(z) + p′(x, y; z) of which only P drives the axial flow: no influence goes upstream (Patankar & Spalding 1972). With
transverse velocity u = (u, v), axial velocity w:
    ∇·(h u) + ∂w/∂z = 0
    h u·∇u + w ∂u/∂z − κw² e_x = −h∇p′ + [∇·(h∇u) − (κ²/h) u e_x]/Re
    h u·∇w + w ∂w/∂z + κuw = −dP/dz + [∇·(h∇w) − (κ²/h) w]/Re
Left out with the diffusion along z are the viscous terms ±2κ/(h Re) ∂/∂z. Elements are P2–P1, steps in z are BDF2 of
variable length after three of implicit Euler, each solved by Newton's method; dP/dz keeps the flux.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from petsc4py import PETSc

from twin.errors import BadInput, NotConverged, TwinError
from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.linear import DirectSolver
from twin.flow.section_mesh import RADIUS, disc, evaluation

FLUX = math.pi / 4  # ∫w
QUADRATURE = 5
EULER_STEPS = 3  # of implicit Euler at the start: they damp what is inconsistent in it
GROWTH = 1.25  # of a step, at most; variable BDF2 is stable up to 1 + √2
MOST_NEWTON = 12
NEWTON_TOLERANCE = 1e-9  # of the change in U
_DEVELOPED = 1e-4  # default deviation, in U rms, at which a flow counts as developed
_HALT = 1e-8  # change per bore, in U rms, below which a flow that is not the expected one counts as developed as well

Start = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SectionState:
    """What one section holds: velocity at the nodes, (nodes, 3), and dP/dz in ρU² per bore."""

    velocity: np.ndarray
    gradient: float


class SectionFlow:
    """A marched flow: velocities at the stations `z`, linear between them, and the developed flow after the last.

    z          stations in bores, (stations,); the last one holds the developed flow where `developed`
    velocity   (stations, nodes, 3) in U, at the points `nodes`, (nodes, 2)
    pressure   P of each station less that of the first, ρU²
    gradient   dP/dz of each station
    secondary  kinetic energy of the secondary flow, ½∫(u² + v²) h, of each station, ρU²D²
    change     root of the mean square of ∂(u, v, w)/∂z over the step before each station, U per bore: of w, of (u, v)
    given_flux flux of the start over π/4, before it was scaled
    """

    def __init__(
        self,
        sections: Sections,
        z: np.ndarray,
        states: list[SectionState],
        changes: np.ndarray,
        developed: bool,
        given_flux: float,
    ) -> None:
        self.z, self.developed, self.given_flux, self.change = z, developed, given_flux, changes
        self.reynolds, self.curvature = sections.reynolds, sections.curvature
        self.nodes = sections.nodes
        self.velocity = np.array([state.velocity for state in states])
        self.gradient = np.array([state.gradient for state in states])
        self.secondary = np.array([sections.secondary(state.velocity) for state in states])
        mean = (self.gradient[1:] + self.gradient[:-1]) / 2
        self.pressure = np.concatenate([[0.0], np.cumsum(mean * np.diff(z))])
        self._space = sections.scalars
        self._asked: np.ndarray | None = None
        self._evaluation = evaluation(self._space, np.zeros((1, 2)))

    @property
    def steady_from(self) -> float:
        """Where the flow ceases to change, in bores."""
        return float(self.z[-1])

    def nodal(self, z: float) -> np.ndarray:
        """(u, v, w) at the nodes, (nodes, 3), linear in z between the stations, constant before and after them."""
        after = int(np.clip(np.searchsorted(self.z, z), 1, len(self.z) - 1)) if len(self.z) > 1 else 0
        if after == 0:
            return self.velocity[0]
        share = np.clip((z - self.z[after - 1]) / (self.z[after] - self.z[after - 1]), 0.0, 1.0)
        return (1 - share) * self.velocity[after - 1] + share * self.velocity[after]

    def at(self, z: float, points: np.ndarray) -> np.ndarray:
        """(u, v, w) at points of the section, (n, 2) in bores: (n, 3). Quick where the points are those of before."""
        if self._asked is None or not np.array_equal(self._asked, points):
            self._asked, self._evaluation = np.array(points, dtype=float), evaluation(self._space, np.asarray(points))
        return self._evaluation @ self.nodal(z)


class Sections:
    """Solves the flow through tubes of one curvature at one Reynolds number.

    `curvature` is δ = D/D_coil (bore over the coil's diameter), 0 in a straight tube. `core_size` and `wall_size` are
    edge lengths in bores.
    """

    def __init__(
        self, reynolds: float, curvature: float = 0.0, core_size: float = 0.06, wall_size: float = 0.025
    ) -> None:
        if not 0 <= curvature < 0.5:
            raise BadInput(f"a coil of curvature {curvature:g} can't be", "D/D_coil must be from 0 to below 0.5")
        self.reynolds, self.curvature = reynolds, curvature
        self.domain: Domain = disc(core_size, wall_size)
        mesh, cell = self.domain.mesh, self.domain.mesh.basix_cell()
        quadratic = basix.ufl.element("Lagrange", cell, 2)
        element = [
            basix.ufl.element("Lagrange", cell, 2, shape=(2,)),
            quadratic,
            basix.ufl.element("Lagrange", cell, 1),
        ]
        self._space = fem.functionspace(mesh, basix.ufl.mixed_element(element))
        across, self._across = _compat.collapsed(self._space.sub(0))
        self.scalars, self._along = _compat.collapsed(self._space.sub(1))
        _, pressures = _compat.collapsed(self._space.sub(2))
        self._to_scalars = self._match(across)
        self.nodes = self.scalars.tabulate_dof_coordinates()[:, :2].copy()
        self._rim = self.domain.dofs(self.scalars, "wall")
        self._inner = np.setdiff1d(np.arange(len(self.nodes)), self._rim)
        self._state, self._before, self._earlier = (fem.Function(self._space) for _ in range(3))
        self._rates = [fem.Constant(mesh, 0.0) for _ in range(3)]  # of BDF2; all 0 for a developed flow
        self._viscosity, self._bend = fem.Constant(mesh, 1.0 / reynolds), fem.Constant(mesh, 2.0 * curvature)
        self._gradient = fem.Constant(mesh, 0.0)
        still, flat = fem.Function(across), fem.Function(self.scalars)
        self._conditions = [
            fem.dirichletbc(still, self.domain.dofs((self._space.sub(0), across), "wall"), self._space.sub(0)),
            fem.dirichletbc(flat, self.domain.dofs((self._space.sub(1), self.scalars), "wall"), self._space.sub(1)),
            # One pressure is held, at 0: the flux stands for its balance of mass.
            fem.dirichletbc(PETSc.ScalarType(0), pressures[:1], self._space.sub(2)),
        ]
        self._held = np.unique(np.concatenate([one.dof_indices()[0] for one in self._conditions]))
        self._residual, self._jacobian, self._drive, weight, mass, bent = self._forms()
        self._mass, self._bent_mass = (fem.assemble_matrix(form).to_scipy() for form in (mass, bent))
        self._flux = fem.assemble_vector(weight).array.copy()  # ∫w is the product with the nodal w
        self._area = self.domain.integral(fem.Constant(mesh, 1.0) * self.domain.dx(QUADRATURE))
        self._matrix: PETSc.Mat | None = None
        self._solver: DirectSolver | None = None

    # -- what is asked for -------------------------------------------------------------------------------------------

    def developed_flow(self) -> SectionState:
        """The flow far downstream: Poiseuille's in a straight tube, else Dean's of two vortices, by Newton's method.

        The curvature is raised in steps, halved where Newton fails; raises `NotConverged` where that stalls.
        """
        self._load(self.poiseuille(), -32 / self.reynolds)
        self._set_rates(None, None)
        if self.curvature == 0:
            self._newton()
            return self._unload()
        reached, step, target = 0.0, min(2 * self.curvature, 4e-3 * (300 / self.reynolds) ** 2), 2 * self.curvature
        good = self._state.x.array.copy(), float(self._gradient.value)
        while reached < target:
            self._bend.value = min(reached + step, target)
            try:
                self._newton()
            except NotConverged:
                self._state.x.array[:], self._gradient.value = good[0], good[1]
                step /= 2
                if step < 1e-4 * target:
                    raise NotConverged(f"the developed flow stalls at a curvature of {reached / 2:.4g}") from None
                continue
            reached, step = float(self._bend.value), 3 * step
            good = self._state.x.array.copy(), float(self._gradient.value)
        return self._unload()

    def march(
        self,
        start: Start | np.ndarray,
        begin: float = 0.0,
        end: float = math.inf,
        first: float = 2e-3,
        tolerance: float = 2e-3,
        longest: float = 10.0,
        step: float | None = None,
        until: float = _DEVELOPED,
    ) -> SectionFlow:
        """Marches from `begin` to `end`, or to where the flow is developed, whichever comes first, in bores.

        `start` gives (u, v, w) in U at points, (n, 2): (n, 3), or is the array of them at `nodes`. It need not be
        consistent; w is scaled to the flux π/4. Steps begin with `first`, grow by no more than `GROWTH`, and are kept
        to where the velocity differs from its linear continuation by `tolerance` (U, rms); with `step` all are equal.
        `until` is the deviation (U, rms) from the developed flow that ends the march; the developed flow then follows
        one step on. Raises `BadInput` where the start has backflow, `TwinError` where the march meets some.
        """
        target = self.developed_flow()
        velocity = np.array(start(self.nodes) if callable(start) else start, dtype=float)
        if velocity.shape == (len(self.nodes), 3):
            velocity[self._rim] = 0.0
        if velocity.shape != (len(self.nodes), 3) or not np.isfinite(velocity).all():
            raise BadInput(
                "the start of a march is a finite velocity, (n, 3), in the whole section", "check its points"
            )
        given = float(self._flux @ velocity[:, 2]) / FLUX
        self._check_forward(velocity, begin, BadInput)
        velocity[:, 2] /= given
        self._load(velocity, target.gradient)
        states, z, changes = [SectionState(velocity, target.gradient)], [begin], [np.full(2, np.nan)]
        length, last = step or first, 0.0
        self._before.x.array[:] = self._state.x.array
        while z[-1] < end - 1e-9:
            length = min(length, end - z[-1])
            new, error = self._advance(length, last if len(z) > EULER_STEPS else None)
            self._check_forward(new.velocity, z[-1] + length, TwinError)
            rate = (new.velocity - states[-1].velocity) / length
            z.append(z[-1] + length)
            states.append(new)
            changes.append(np.array([self._rms(rate[:, 2:]), self._rms(rate[:, :2])]))
            if len(states) == 2:  # the gradient at the start is not given: that of the first step stands for it
                states[0] = SectionState(velocity, new.gradient)
            deviation = self._rms(new.velocity - target.velocity)
            if deviation < until or changes[-1].sum() < _HALT:
                if deviation < 100 * until:  # else the flow went to another branch than Newton's, and stays there
                    z.append(z[-1] + length)
                    states.append(target)
                    changes.append(np.zeros(2))
                return SectionFlow(self, np.array(z), states, np.array(changes), True, given)
            last = length
            if step is None:
                length = min(longest, length * min(GROWTH, max(0.5, 0.9 * math.sqrt(tolerance / max(error, 1e-12)))))
        return SectionFlow(self, np.array(z), states, np.array(changes), False, given)

    def poiseuille(self) -> np.ndarray:
        """The developed velocity of a straight tube at the nodes, (nodes, 3) in U."""
        velocity = np.zeros((len(self.nodes), 3))
        velocity[:, 2] = 2 * (1 - (self.nodes**2).sum(axis=1) / RADIUS**2)
        velocity[self._rim] = 0.0
        return velocity

    def flux(self, velocity: np.ndarray) -> float:
        """∫w of a velocity at the nodes, UD²; every section's is π/4."""
        return float(self._flux @ velocity[:, 2])

    def secondary(self, velocity: np.ndarray) -> float:
        """½∫(u² + v²) h of a velocity at the nodes, ρU²D²."""
        return float(np.sum(velocity[:, :2] * (self._bent_mass @ velocity[:, :2])) / 2)

    # -- the discrete problem ----------------------------------------------------------------------------------------

    def _match(self, across: fem.FunctionSpace) -> np.ndarray:
        """The scalar unknown that sits at each node of the transverse velocity."""
        order = np.empty(across.dofmap.index_map.size_local, dtype=np.int64)
        order[across.dofmap.list.ravel()] = self.scalars.dofmap.list.ravel()
        return order

    def _forms(self) -> tuple[fem.Form, ...]:
        mesh, dx = self.domain.mesh, self.domain.dx(QUADRATURE)
        u, w, p = ufl.split(self._state)
        v, s, q = ufl.TestFunctions(self._space)
        kappa, nu = self._bend, self._viscosity
        h = 1 + kappa * ufl.SpatialCoordinate(mesh)[0]
        terms = zip(self._rates, (self._state, self._before, self._earlier), strict=True)
        pieces = [(rate, *ufl.split(function)[:2]) for rate, function in terms]
        du, dw = (sum(piece[0] * piece[i] for piece in pieces) for i in (1, 2))
        across = ufl.inner(h * ufl.dot(ufl.grad(u), u) + w * du, v) - kappa * w**2 * v[0]
        across += nu * (h * ufl.inner(ufl.grad(u), ufl.grad(v)) + kappa**2 / h * u[0] * v[0])
        along = (h * ufl.dot(u, ufl.grad(w)) + w * dw + kappa * u[0] * w + self._gradient) * s
        along += nu * (h * ufl.dot(ufl.grad(w), ufl.grad(s)) + kappa**2 / h * w * s)
        mass = -p * ufl.div(h * v) - q * (ufl.div(h * u) + dw)
        residual = (across + along + mass) * dx
        a, b = ufl.TrialFunction(self.scalars), ufl.TestFunction(self.scalars)
        return (
            compiled(residual),
            compiled(ufl.derivative(residual, self._state)),
            compiled(s * dx),
            compiled(b * dx),
            compiled(a * b * dx),
            compiled(h * a * b * dx),
        )

    def _set_rates(self, length: float | None, last: float | None) -> None:
        """The weights of BDF2 for a step after one of length `last`, of Euler without it; none for a developed flow."""
        if length is None:
            weights = (0.0, 0.0, 0.0)
        elif last is None:
            weights = (1 / length, -1 / length, 0.0)
        else:
            ratio = length / last
            weights = (
                (1 + 2 * ratio) / (1 + ratio) / length,
                -(1 + ratio) / length,
                ratio**2 / (1 + ratio) / length,
            )
        for rate, weight in zip(self._rates, weights, strict=True):
            rate.value = weight

    def _advance(self, length: float, last: float | None) -> tuple[SectionState, float]:
        """One step; and how far, in U rms, the new velocity is from the linear continuation of those before."""
        self._set_rates(length, last)
        ahead = self._state.x.array.copy()
        if last is not None:
            ahead += length / last * (self._state.x.array - self._before.x.array)
        self._earlier.x.array[:] = self._before.x.array
        self._before.x.array[:] = self._state.x.array
        self._state.x.array[:] = ahead
        self._newton()
        new = self._unload()
        across, along = ahead[self._across].reshape(-1, 2), ahead[self._along]
        continued = np.column_stack([np.empty_like(new.velocity[:, :2]), along])
        continued[self._to_scalars, :2] = across
        return new, self._rms(new.velocity - continued)

    def _newton(self) -> None:
        """Solves for the state and dP/dz with the flux π/4; factors anew only where the old factors converge slowly.

        The gradient is one more unknown and the flux one more equation: with J the matrix of the rest and d what the
        gradient drives, the change is a + b ΔG where J a = −residual and J b = −d.
        """
        residual, a, b = (self._state.x.petsc_vec.duplicate() for _ in range(3))
        before, factor = math.inf, True
        for _ in range(MOST_NEWTON):
            if factor:
                solver = self._factored()
                solver.solve(self._assembled(self._drive, residual), b)
            solver.solve(self._assembled(self._residual, residual), a)
            lacking = FLUX - self._flux @ (self._state.x.array - a.array)[self._along]
            more = -lacking / (self._flux @ b.array[self._along])
            change = -a.array - more * b.array
            self._state.x.array[:] += change
            self._gradient.value = float(self._gradient.value) + more
            size = self._rms(self._nodal(change))
            if not size < 10:  # U: lost
                break
            if size < NEWTON_TOLERANCE:
                return
            before, factor = size, size > 0.1 * before
        raise NotConverged("Newton's method fails in a section of the tube", "take shorter steps, or a finer mesh")

    def _factored(self) -> DirectSolver:
        """The factors of the Jacobian at the present state."""
        if self._solver is None:
            self._matrix = _compat.assemble_matrix(self._jacobian, self._conditions)
            self._solver = DirectSolver(self._matrix, "a section of the tube")
        else:
            _compat.assemble_matrix(self._jacobian, self._conditions, self._matrix)
            self._solver.matrix_changed()
        return self._solver

    def _assembled(self, form: fem.Form, into: PETSc.Vec) -> PETSc.Vec:
        """A linear form, with 0 where the state is held."""
        into.set(0.0)
        petsc.assemble_vector(into, form)
        into.array[self._held] = 0.0
        return into

    # -- states ------------------------------------------------------------------------------------------------------

    def _load(self, velocity: np.ndarray, gradient: float) -> None:
        self._state.x.array[:] = 0.0
        self._state.x.array[self._across] = velocity[self._to_scalars, :2].ravel()
        self._state.x.array[self._along] = velocity[:, 2]
        self._gradient.value = gradient

    def _unload(self) -> SectionState:
        return SectionState(self._nodal(self._state.x.array), float(self._gradient.value))

    def _nodal(self, array: np.ndarray) -> np.ndarray:
        """The velocity in an array of all unknowns, (nodes, 3)."""
        velocity = np.empty((len(self.nodes), 3))
        velocity[self._to_scalars, :2] = array[self._across].reshape(-1, 2)
        velocity[:, 2] = array[self._along]
        return velocity

    def _rms(self, values: np.ndarray) -> float:
        """The root of the mean over the section of the sum of squares of nodal values, (nodes, any)."""
        return math.sqrt(max(float(np.sum(values * (self._mass @ values))), 0.0) / self._area)

    def _check_forward(self, velocity: np.ndarray, z: float, kind: type[TwinError]) -> None:
        """Marching is well posed only where all fluid goes forward."""
        lowest = float(velocity[self._inner, 2].min())
        if lowest <= 0:
            raise kind(
                f"at {z:.3g} bores fluid flows back, w = {lowest:.3g} U: marching needs forward flow",
                "start it from a plane further down the outlet",
            )
