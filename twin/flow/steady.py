"""Steady Navier–Stokes: Taylor–Hood P2–P1, Newton with continuation in Re, pseudo-time marching where Newton fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from petsc4py import PETSc

from twin.errors import BadInput, NotConverged
from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.linear import DirectSolver
from twin.fem.storage import from_nodal
from twin.flow.boundaries import Boundaries, mirror_axis, velocity_of
from twin.flow.inlets import Drawn, unit_inflows
from twin.flow.momentum import Fluid, momentum
from twin.flow.preconditioner import IterativeSolver
from twin.flow.warm import transfer

TOLERANCE = 1e-8  # of the residual, relative to that of the boundary data alone
ON_THE_WAY = 1e-4  # the same at the Reynolds numbers between
CREEPING = 1e-3  # Reynolds number below which the momentum's residual counts less: its rounding error grows as 1/Re
MOST_NEWTON = 12
PATIENCE = 4  # steps of Newton's without a residual below all before; more of them lead nowhere
EASY = 100.0  # Reynolds number that Newton reaches from rest
LEAST_ITERATIVE = 120_000  # unknowns: below, the factors of the whole take a second or two
MOST_DIRECT = 500_000  # unknowns: the factors of 412,000 took 12.6 GB
MOST_CLOSED = {2: 3_000_000, 3: MOST_DIRECT}  # unknowns, by the dimension: in 2-D, the factors of 362,000 took 1 GB
MOST_MARCH = 100
FIRST_STEPS, LAST_STEP, LEAST_STEP = (0.1, 1.0), 50.0, 0.02  # of pseudo-time, bores/U
FIRST_CHANGE = 1.5e-3  # residual times first step of it, within those: longer where the residual is small
MOST_RISE = 10.0  # of the residual in one step of it; a step with more is taken back
Watch = Callable[[str], None]


class Stalled(NotConverged):
    """The iterations for a linear system of Newton's stopped short."""


@dataclass
class FlowSolution:
    """A converged field: velocity in U, pressure in ρU², the volume flows of the inlets, and how it was reached.

    `pressure_drop` is the mean pressure of an inlet over that of the outlets, in ρU².
    """

    velocity: fem.Function
    pressure: fem.Function
    reynolds: float
    flows: Mapping[str, float]
    status: str
    residual: float
    iterations: int
    pressure_drop: dict[str, float] = field(default_factory=dict)


class SteadySolver:
    """Solves one domain at any number of operating points, each from the one before it.

    Lengths are in bores, velocities in U, pressures in ρU². Without `boundaries` they are those of a connector. `fluid`
    makes a fluid of another kind from the viscosity 1/Re; what else it depends on may change from call to call.
    `linear` says how Newton's systems are solved: without it, direct below `LEAST_ITERATIVE` unknowns, iterative above,
    and direct again, up to `MOST_DIRECT`, from where that stalls. A closed domain knows the direct way only, and its
    pressure has mean zero.
    """

    def __init__(
        self,
        domain: Domain,
        boundaries: Boundaries | None = None,
        watch: Watch = lambda line: None,
        fluid: Callable[[fem.Constant], Fluid] = Fluid,
        linear: Literal["direct", "iterative"] | None = None,
    ) -> None:
        self.domain = domain
        self.boundaries = boundaries or Boundaries.of_junction(domain)
        self.boundaries.check(domain)
        self._watch = watch
        cell = domain.mesh.basix_cell()
        velocity = basix.ufl.element("Lagrange", cell, 2, shape=(domain.dim,))
        pressure = basix.ufl.element("Lagrange", cell, 1)
        self.space = fem.functionspace(domain.mesh, basix.ufl.mixed_element([velocity, pressure]))
        self.velocities, self._velocity_map = _compat.collapsed(self.space.sub(0))
        self._pressures, self._pressure_map = _compat.collapsed(self.space.sub(1))
        self._quadratic_pressures = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", cell, 2))
        unknowns = self.space.dofmap.index_map.size_global * self.space.dofmap.index_map_bs
        may_iterate = unknowns > LEAST_ITERATIVE and not self.boundaries.closed
        self.linear = linear or ("iterative" if may_iterate else "direct")
        self._may_factor = linear is None and unknowns <= MOST_DIRECT
        if linear is None and self.boundaries.closed and unknowns > MOST_CLOSED[domain.dim]:
            raise BadInput(
                f"{unknowns} unknowns are too many for the factors of a closed domain, which may have "
                f"{MOST_CLOSED[domain.dim]}",
                "use a coarser mesh or a mirror plane, or march in time from rest with a table [time]",
            )
        self.state = fem.Function(self.space)
        self._before = fem.Function(self.velocities)
        self.viscosity = fem.Constant(domain.mesh, 1.0)
        self.fluid = fluid(self.viscosity)
        self._inertia = fem.Constant(domain.mesh, 0.0)
        self._profiles = unit_inflows(domain, self.velocities, self.boundaries)
        self._drawn = Drawn(domain, self.velocities, self.boundaries).velocity(self.boundaries.walls).ravel()
        self._inflow = fem.Function(self.velocities)
        self.conditions = self._boundary_conditions()
        self._residual, self._jacobian = self._forms()
        self._matrix: PETSc.Mat | None = None
        self._direct: DirectSolver | None = None
        self._iterative: IterativeSolver | None = None
        self._reached = 0.0  # the Reynolds number of the state; 0 is rest
        self._iterations, self._enough = 0, TOLERANCE

    def solve(self, reynolds: float, flows: Mapping[str, float], enough: float = TOLERANCE) -> FlowSolution:
        """The steady flow at Re = U·bore/ν with these volume flows of the inlets, in U·bore² (in 2-D U·bore).

        Beside them enters what walls that slide draw in at the rims of inlets, and through developed ones (`Drawn`).
        The flows are those of the part that is meshed, so of one half where a mirror plane cuts the junction. Starts
        from the state of the last call, and goes on until the residual, relative to that of the boundary data alone, is
        below `enough`. Raises `NotConverged` where neither Newton nor marching gets there.
        """
        self._iterations, self._enough = 0, enough
        if 0 < self._reached < CREEPING:  # rest is as good a start, and a pressure that goes with 1/Re would mislead
            self.forget()
        self._set_inlets(flows)
        began, reached = self.state.x.array.copy(), self._reached
        try:
            status, residual = self._found(reynolds)
        except Stalled as failure:
            if not self._may_factor:
                raise
            self._watch(f"{failure.message}; from here on the factors of the whole")
            self.linear = "direct"
            if self._iterative is not None:
                self._iterative.destroy()
                self._iterative = None
            self.state.x.array[:], self._reached = began, reached
            status, residual = self._found(reynolds)
        self._reached = reynolds
        velocity, pressure = self.fields()
        if self.boundaries.closed:
            pressure.x.array[:] -= self.domain.mean(pressure)
        drops = {name: self._pressure_drop(pressure, name) for name in self.boundaries.inlets}
        return FlowSolution(velocity, pressure, reynolds, dict(flows), status, residual, self._iterations, drops)

    def start_from_nodal(self, velocity: np.ndarray, pressure: np.ndarray, reynolds: float) -> None:
        """Starts the next `solve` from the nodal values of an earlier solution, (nodes, dim) and (nodes,)."""
        fields = fem.Function(self.velocities), fem.Function(self._quadratic_pressures)
        for values, function in zip((velocity, pressure), fields, strict=True):
            from_nodal(self.domain, values, function)
        linear = fem.Function(self._pressures)
        linear.interpolate(fields[1])
        self.state.x.array[self._velocity_map] = fields[0].x.array
        self.state.x.array[self._pressure_map] = linear.x.array
        self._reached = reynolds

    def start_from(self, velocity: fem.Function, pressure: fem.Function, reynolds: float) -> None:
        """Starts the next `solve` from a flow on another mesh of the same domain, on the same ranks."""
        fields = fem.Function(self.velocities), fem.Function(self._pressures)
        for there, here in zip((velocity, pressure), fields, strict=True):
            transfer(there, here)
        self.state.x.array[self._velocity_map] = fields[0].x.array
        self.state.x.array[self._pressure_map] = fields[1].x.array
        self._reached = reynolds

    def fields(self) -> tuple[fem.Function, fem.Function]:
        """Copies of the state's velocity and pressure."""
        velocity, pressure = fem.Function(self.velocities), fem.Function(self._pressures)
        velocity.x.array[:] = self.state.x.array[self._velocity_map]
        pressure.x.array[:] = self.state.x.array[self._pressure_map]
        return velocity, pressure

    def forget(self) -> None:
        """Starts the next `solve` from rest, as after a failure."""
        self.state.x.array[:] = 0.0
        self._reached = 0.0

    def advance(self, step: float) -> None:
        """One step of implicit Euler in time from the state, at the last Reynolds number and flows; `step` in bores/U.

        Raises `NotConverged` where its linear systems can't be solved.
        """
        self._before.x.array[:] = self.state.x.array[self._velocity_map]
        self._inertia.value = 1 / step
        try:
            for _ in range(2):
                self._advance()
        finally:
            self._inertia.value = 0.0

    def polish(self) -> None:
        """Newton at the last Reynolds number and flows, from a state near a steady flow; or `NotConverged`."""
        self._newton(f"Re {self._reached:.6g}", TOLERANCE)

    @property
    def is_velocity(self) -> np.ndarray:
        """Which entries of the state are velocities, (entries,)."""
        which = np.zeros(len(self.state.x.array), dtype=bool)
        which[self._velocity_map] = True
        return which

    # -- the discrete problem ----------------------------------------------------------------------------------------

    def _forms(self) -> tuple[fem.Form, fem.Form]:
        u, p = ufl.split(self.state)
        v, q = ufl.TestFunctions(self.space)
        change, rate = self._change(u), self._inertia
        residual = momentum(self.domain, self.boundaries, u, p, v, q, self.fluid, change, rate=rate)
        return compiled(residual), compiled(ufl.derivative(residual, self.state))

    def _boundary_conditions(self) -> list[fem.DirichletBC]:
        domain, whole = self.domain, self.space.sub(0)
        spaces = (whole, self.velocities)
        inlets = [fem.dirichletbc(self._inflow, domain.dofs(spaces, name), whole) for name in self.boundaries.inlets]
        mirrors, walls = [], []
        for name in self.boundaries.mirrors:
            # No flow through the plane, no shear on it. Its normal is that of a coordinate plane.
            axis = mirror_axis(domain, name)
            normal = whole.sub(axis)
            zero = fem.Function(normal.collapse()[0])
            dofs = domain.dofs((normal, zero.function_space), name)
            mirrors.append(fem.dirichletbc(zero, dofs, normal))
        nodes = self.velocities.tabulate_dof_coordinates()
        for name, motion in self.boundaries.walls.items():
            at_wall = fem.Function(self.velocities)
            at_wall.x.array.reshape(-1, domain.dim)[:] = velocity_of(motion, nodes)
            walls.append(fem.dirichletbc(at_wall, domain.dofs(spaces, name), whole))
        self.fixed = [*inlets, *walls]
        level = [self._level()] if self.boundaries.closed else []
        return [*inlets, *mirrors, *walls, *level]  # the walls after the inlets, so that at the rim of one they win

    def _level(self) -> fem.DirichletBC:
        """Pressure zero in one node, found by its place, so that all ranks that know it hold it."""
        nodes = self._pressures.tabulate_dof_coordinates()[: self._pressures.dofmap.index_map.size_local]
        here = next(points[0] for points in self.domain.comm.allgather(nodes[:1]) if len(points))
        dofs = fem.locate_dofs_geometrical(
            (self.space.sub(1), self._pressures), lambda x: np.all(np.abs(x.T - here) < 1e-12, axis=1)
        )
        return fem.dirichletbc(fem.Function(self._pressures), dofs, self.space.sub(1))

    def _set_inlets(self, flows: Mapping[str, float]) -> None:
        if missing := [name for name in self.boundaries.inlets if name not in flows]:
            raise BadInput(f'the inlet "{missing[0]}" has no flow', "give every inlet a rate; 0 closes it")
        self._inflow.x.array[:] = self._drawn
        for name, profile in self._profiles.items():
            self._inflow.x.array[:] += flows[name] * profile.x.array

    def _pressure_drop(self, pressure: fem.Function, inlet: str) -> float:
        """Mean pressure of an inlet over that of the outlets, in ρU²."""
        domain = self.domain
        area = {name: domain.area(name) for name in (inlet, *self.boundaries.outlets)}
        force = {name: domain.integral(pressure * domain.ds(name)) for name in area}
        after = sum(force[name] for name in self.boundaries.outlets) / sum(
            area[name] for name in self.boundaries.outlets
        )
        return force[inlet] / area[inlet] - after

    # -- the iterations ----------------------------------------------------------------------------------------------

    def _found(self, reynolds: float) -> tuple[str, float]:
        """How the flow at `reynolds` was found from the state that there is, and its residual."""
        try:
            return "steady", self._continue_to(reynolds)
        except NotConverged as failure:
            self._watch(f"{failure.message}; marching in pseudo-time")
            return "marched", self._march(reynolds)

    def _continue_to(self, reynolds: float) -> float:
        """Newton at `reynolds`; where it fails, smaller steps from the last Reynolds number that converged.

        From rest the first step is to `EASY`: at a higher one Newton would run out of steps first. Where it raises
        `NotConverged`, the state is that of the last one that converged, or Newton's best at `reynolds` itself.
        """
        good = self.state.x.array.copy()
        here, growth = self._reached, 2.5
        step = reynolds - here if here else min(reynolds, EASY)
        while True:
            target = reynolds if abs(here + step - reynolds) < 1e-9 else here + step
            self.viscosity.value = 1 / target
            try:
                residual = self._newton(f"Re {target:.6g}", self._enough if target == reynolds else ON_THE_WAY)
            except NotConverged as failure:
                if step:  # else Newton's best is a better start of a march
                    self.state.x.array[:] = good
                # A system so hard is that of a state far from any flow: a smaller step avoids it, or marching.
                if isinstance(failure, Stalled) and not (here and step):
                    raise
                step, growth = step / 2, 1.5
                if abs(step) < 0.02 * reynolds:
                    raise NotConverged(f"Newton's continuation stalls at Re {here:.6g}") from None
                continue
            good[:] = self.state.x.array
            here = self._reached = target
            if here == reynolds:
                return residual
            step = min(growth * step, reynolds - here, key=abs)

    def _march(self, reynolds: float) -> float:
        """Pseudo-transient continuation: one Newton step of implicit Euler at a time, to Newton's own residual.

        The step grows as the steady residual falls (Kelley & Keyes, SIAM J. Numer. Anal. 35 (1998) 508), and where that
        stays as it is too; it shrinks where the residual rises.
        """
        self.viscosity.value = 1 / reynolds
        residual = self._norm_of_residual()
        step = float(np.clip(FIRST_CHANGE / residual, *FIRST_STEPS))
        for _ in range(MOST_MARCH):
            good = self.state.x.array.copy()
            self._before.x.array[:] = good[self._velocity_map]
            self._inertia.value = 1 / step
            self._watch(f"pseudo-time step {step:.3g}, residual {residual:.2e}")
            stalled: Stalled | None = None
            try:
                self._advance()
                self._inertia.value = 0.0
                after = self._norm_of_residual()
            except Stalled as failure:
                after, stalled = np.inf, failure
            except NotConverged:
                after = np.inf
            self._inertia.value = 0.0
            if not after < MOST_RISE * residual:  # nor where it is no number
                self.state.x.array[:] = good
                if stalled and step < LEAST_STEP:
                    raise stalled
                step /= 4
                continue
            step *= float(np.clip(2 * residual / after, 0.25, 3.0))
            residual = after
            if residual < self._enough or step > LAST_STEP:
                return self._newton(f"Re {reynolds:.6g} after marching", self._enough)
        raise NotConverged(
            f"no steady flow was found at Re {reynolds:.6g} (residual {residual:.1e} after marching)",
            "use a finer level, or lower flows: the flow may be unsteady",
        )

    def _norm_of_residual(self) -> float:
        vector = self._assemble_residual()
        norm = self._norm(vector)
        vector.destroy()
        return norm

    def _norm(self, residual: PETSc.Vec) -> float:
        """That of a residual, in which the momentum counts as at the Reynolds number `CREEPING` where it is below."""
        share = 1 / (CREEPING * float(self.viscosity.value))
        if share >= 1:
            return float(residual.norm())
        values = residual.array
        squares = np.sum((np.where(self.is_velocity[: len(values)], share, 1.0) * values) ** 2)
        return float(np.sqrt(self.domain.comm.allreduce(squares)))

    def _assemble_residual(self) -> PETSc.Vec:
        state = self.state.x.petsc_vec
        vector, unmet = state.duplicate(), state.duplicate()
        _compat.zero_entries(vector)
        petsc.assemble_vector(vector, self._residual)
        _compat.zero_entries(unmet)
        petsc.set_bc(unmet, self.conditions, state, -1.0)
        if unmet.norm() > 0:  # else the lifting, seven times the cost of the residual, would add nothing
            petsc.apply_lifting(vector, [self._jacobian], bcs=[self.conditions], x0=[state], alpha=-1.0)
        unmet.destroy()
        vector.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        petsc.set_bc(vector, self.conditions, state, -1.0)
        return vector

    def _step(self, right: PETSc.Vec, change: PETSc.Vec) -> None:
        """Newton's step for a residual. What is made for the linear systems is kept from step to step."""
        if self.linear == "iterative":
            self._iterate(right, change)
            return
        self._matrix = _compat.assemble_matrix(self._jacobian, self.conditions, self._matrix)
        if self._direct is None:
            self._direct = DirectSolver(self._matrix, "the flow")
        else:
            self._direct.matrix_changed()
        self._direct.solve(right, change)

    def _iterate(self, right: PETSc.Vec, change: PETSc.Vec) -> None:
        if self._iterative is None:
            self._iterative = IterativeSolver(
                self.domain, self.boundaries, self.space, self.fluid, self._change, self._inertia, enough=TOLERANCE
            )
        self._iterative.update(self.state)
        try:
            self._iterative.solve(right, change)
        except NotConverged as failure:
            raise Stalled(failure.message, failure.remedy) from None

    def _change(self, u: Any) -> Any:
        """∂u/∂t of a pseudo-time step that ends with u."""
        return self._inertia * (u - self._before)

    def _advance(self) -> None:
        """One Newton step."""
        self._change_by(self._assemble_residual())

    def _change_by(self, right: PETSc.Vec) -> None:
        """Newton's step for a residual, which is destroyed."""
        change = self.state.x.petsc_vec.duplicate()
        try:
            self._step(right, change)
            self.state.x.petsc_vec.axpy(-1.0, change)
            petsc.set_bc(self.state.x.petsc_vec, self.conditions)  # to the last bit
            self.state.x.scatter_forward()
        finally:
            right.destroy()
            change.destroy()
        self._iterations += 1

    def _newton(self, what: str, enough: float) -> float:
        """Newton's method with a full step; returns the last residual norm.

        Raises `NotConverged` where it fails; the state is then that of the smallest residual.
        """
        history: list[float] = []
        best = self.state.x.array.copy()
        for iteration in range(MOST_NEWTON + 1):
            right = self._assemble_residual()
            history.append(self._norm(right))
            self._watch(f"{what}: Newton {iteration}, residual {history[-1]:.2e}")
            if history[-1] < enough:
                right.destroy()
                return history[-1]
            least = int(np.argmin(np.nan_to_num(history, nan=np.inf)))
            if least == iteration:
                best[:] = self.state.x.array
            lost = not np.isfinite(history[-1]) or history[-1] > 50 * history[least]
            if lost or iteration - least >= PATIENCE or iteration == MOST_NEWTON:
                right.destroy()
                break
            try:
                self._change_by(right)
            except NotConverged:
                self.state.x.array[:] = best
                raise
        self.state.x.array[:] = best
        tail = ", ".join(f"{norm:.1e}" for norm in history[-4:])
        raise NotConverged(f"Newton did not converge at {what} (last residuals {tail})", "use a finer level")
