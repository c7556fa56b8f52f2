"""Unsteady Navier–Stokes: a second-order fractional step on P2–P1 that loses no mass.

A step of length k from uⁿ, uⁿ⁻¹, pⁿ, with D u = (a₀u − a₁uⁿ + a₂uⁿ⁻¹)/k, the BDF2 of a variable step:

1. velocity u*:  D u* + w·∇u* − ν∇²u* − γ∇∇·u* = f − ∇pⁿ, with w extrapolated from uⁿ and uⁿ⁻¹. It is solved in two
   factors: one scalar matrix for all components, then the mass matrix with grad-div, which couples them;
2. pressure: −∇²φ = −(a₀/k) ∇·u*, with φ = 0 at outlets in the weak sense only, so that they stay natural;
3. update û = u* − (k/a₀)∇φ, by the mass matrix;
4. what divergence is left, because −∇² is not the Schur complement of P2–P1, is taken out in a diagonal norm, to
   rounding: uⁿ⁺¹ passes every test of P1, so what flows in flows out in every step;
5. pⁿ⁺¹ = pⁿ + φ − (ν + γ)∇·u*, plus what step 4 adds (the rotational form).

A steady state of these steps is one of Galerkin's equations with grad-div, whatever the step (ADR 008).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from dolfinx.la import InsertMode
from mpi4py import MPI
from petsc4py import PETSc

from twin.errors import BadInput, NotConverged, TwinError
from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.parallel import collect_in_step
from twin.fem.storage import from_nodal, nodal, quadratic
from twin.files import digest, whole
from twin.flow.boundaries import Boundaries, mirror_axis
from twin.flow.inlets import unit_inflow
from twin.flow.momentum import GRAD_DIV, QUADRATURE, metric, outlet_pressure

TOLERANCE = 1e-10  # of the linear solves, relative to the velocity and the pressure themselves
UPDATE = 1e-6  # of the velocity update, relative to itself: it is of second order in the step
LEAK = 1e-11  # of the flow through the domain: what one step may lose
MOST_ITERATIONS = 500
LONGEST = 0.1  # the longest step under CFL control, in bore/U
OFF = 1.2  # the step stays while it is within this factor of the wanted one, so that matrices can stay
GROWTH = 1.5  # of the step from one to the next under CFL control
LEAP = 2.4  # a step longer than this times the last is one of implicit Euler: there BDF2 loses its stability
BLOWN_UP = 30.0  # times the largest speed that any boundary or start had
OUTLET = 6.0  # the weight of φ = 0 at an outlet, over the size of its cells
COLLECT = 50  # steps from one collection of garbage to the next

Watch = Callable[[str], None]
Flows = Mapping[str, float] | Callable[[float], Mapping[str, float]]
#: A field in space at a time: at(t) is a function of points, (3, n) in bores, that returns (dim, n).
Moving = Callable[[float], Callable[[np.ndarray], np.ndarray]]


@dataclass
class TransientState:
    """Where the march is: time and last step in bore/U, fields (the solver's own: copy what you keep), and measures.

    `change` is the scheme's ∂u/∂t in U²/bore, `rate` is ‖∂u/∂t‖/‖u‖ in U/bore, `kinetic_energy` ½∫|u|² in ρU²·bore³ (in
    2-D ·bore²), `cfl` the largest number of cells that the fluid crossed in this step, `leak` the residual of the mass
    balance over all nodes, in U·bore².
    """

    time: float
    step: float
    velocity: fem.Function
    pressure: fem.Function
    change: fem.Function
    rate: float
    kinetic_energy: float
    cfl: float
    leak: float


class TransientSolver:
    """Marches one domain in time. Lengths are in bores, velocities in U, pressures in ρU², times in bore/U.

    `prescribed` gives boundaries a velocity in space and time, `force` gives the fluid one of a unit mass. Without an
    outlet, walls and `prescribed` must close the domain, and the pressure keeps the mean over it that it starts with:
    zero from rest.
    """

    def __init__(
        self,
        domain: Domain,
        boundaries: Boundaries | None = None,
        watch: Watch = lambda line: None,
        prescribed: Mapping[str, Moving] | None = None,
        force: Moving | None = None,
        grad_div: float = GRAD_DIV,
    ) -> None:
        self.domain = domain
        self.boundaries = boundaries or Boundaries.of_junction(domain)
        self._prescribed = dict(prescribed or {})
        self._force = force
        self._watch = watch
        self.boundaries.check(domain)
        cell, dim = domain.mesh.basix_cell(), domain.dim
        self.velocities = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", cell, 2, shape=(dim,)))
        self._scalars = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", cell, 2))
        self.pressures = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", cell, 1))
        self._points = self.velocities.tabulate_dof_coordinates()
        self._profiles = {
            name: unit_inflow(domain, self.velocities, self.boundaries, name) for name in self.boundaries.inlets
        }
        self._edges = _Edges(self)
        self._now, self._old, self._carrier, self._slope = (fem.Function(self.velocities) for _ in range(4))
        self._pressure = fem.Function(self.pressures)
        self._viscosity = fem.Constant(domain.mesh, 1.0)
        self._momentum = _Momentum(self, grad_div)
        self._projection = _Projection(self, grad_div)
        self._crossing, self._cell_measure = self._crossing_form()
        self._history: deque[tuple[float, float, float]] = deque(maxlen=6)
        self._fastest = 0.0
        self.start(None, None)

    @property
    def velocity(self) -> fem.Function:
        """The present velocity: one object through the march; copy what you keep."""
        return self._now

    @property
    def pressure(self) -> fem.Function:
        """The present pressure, likewise."""
        return self._pressure

    @property
    def change(self) -> fem.Function:
        """The present ∂u/∂t, likewise."""
        return self._slope

    # -- where it starts ---------------------------------------------------------------------------------------------

    def start(self, velocity: fem.Function | None, pressure: fem.Function | None, time: float = 0.0) -> None:
        """From rest, or from a field on the same mesh. Without a pressure the first step finds one by itself."""
        for mine, given in ((self._now, velocity), (self._pressure, pressure)):
            mine.x.array[:] = 0.0
            if given is not None:
                mine.interpolate(given)
        self._old.x.array[:] = self._now.x.array
        self.time, self._last, self._nominal = time, 0.0, 0.0
        for guess in ("increment", "update", "damping"):
            self._stored()[guess].x.array[:] = 0.0
        self._begin(fresh=True, passes=1 if pressure is not None else 3, fastest=self._largest(self._now))

    def _begin(self, fresh: bool, passes: int, fastest: float) -> None:
        self._fresh, self._passes, self._fastest = fresh, passes, fastest
        self._history.clear()

    def _stored(self) -> dict[str, fem.Function]:
        """All fields that the next step needs; the last three are the guesses of its solves."""
        return {
            "velocity": self._now,
            "velocity_before": self._old,
            "pressure": self._pressure,
            "increment": self._projection.increment,
            "update": self._projection.update,
            "damping": self._momentum.damping,
        }

    def save(self, path: Path, mesh_file: Path) -> None:
        """Writes all that the next step needs, in the order of the nodes of the mesh file, whole or not at all."""
        data: dict[str, Any] = {}
        for name, field in self._stored().items():
            data[name] = nodal(
                self.domain, field if field.function_space.dofmap.bs > 1 else quadratic(self.domain, field)
            )
        problem: TwinError | None = None
        if self.domain.comm.rank == 0:
            numbers = self.time, self._last, self._nominal, float(self._fresh), float(self._passes), self._fastest
            try:
                with whole(path) as scratch, scratch.open("wb") as file:
                    np.savez(file, numbers=np.array(numbers), mesh=np.array(digest(mesh_file.read_bytes())), **data)
            except TwinError as error:
                problem = error
        if (problem := self.domain.comm.bcast(problem)) is not None:
            raise problem

    def restart(self, path: Path, mesh_file: Path | None = None) -> None:
        """Goes on from a file of `save`, on any number of ranks. With `mesh_file`, it must be the mesh of that file."""
        fields = self._stored()
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                data = {name: file[name] for name in ("numbers", "mesh", *fields)}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BadInput(
                f"can't read the restart file {path}: {error}", "start again, or from an older one"
            ) from error
        nodes = self.domain.mesh.geometry.index_map().size_global
        other = mesh_file is not None and str(data["mesh"]) != digest(mesh_file.read_bytes())
        if other or len(data["velocity"]) != nodes:
            raise BadInput(f"{path} belongs to another mesh", "give the mesh that it was saved with, or start again")
        plain = fem.Function(self._scalars)
        for name, field in fields.items():
            vector = field.function_space.dofmap.bs > 1
            from_nodal(self.domain, data[name], field if vector else plain)
            if not vector:
                field.interpolate(plain)
        self.time, self._last, self._nominal = map(float, data["numbers"][:3])
        self._begin(bool(data["numbers"][3]), int(data["numbers"][4]), float(data["numbers"][5]))

    # -- the march ---------------------------------------------------------------------------------------------------

    def advance(
        self,
        reynolds: float,
        flows: Flows,
        until: float,
        cfl: float = 1.0,
        step: float | None = None,
        each: Callable[[TransientState], None] | None = None,
        longest: float = LONGEST,
    ) -> TransientState:
        """Marches to `until` at Re = U·bore/ν, with volume flows of the inlets in U·bore², or a function of time.

        The step keeps the fluid from crossing more than `cfl` cells and is at most `longest`; `step` sets a fixed one.
        Either way it is shortened a little, so that it ends at `until`. `each` is called after every step.
        """
        if not until > self.time:
            raise BadInput(f"the march is at time {self.time:g} already", f"go on to a later one than {until:g}")
        if not (reynolds > 0 and cfl > 0 and longest > 0 and (step is None or step > 0)):
            raise BadInput("Re, the CFL number and the steps must be positive")
        self._viscosity.value = 1 / reynolds
        at = flows if callable(flows) else lambda time: flows
        if self._fresh:
            self._impose(self.time, at)
            self._fresh = False
        planned, length, steps, taken = 0.0, 0.0, 0, 0
        while True:
            wanted = step or self._wanted(cfl, longest)
            if wanted != planned:
                steps = max(math.ceil((until - self.time) / wanted - 1e-6), 1)
                planned, length = wanted, (until - self.time) / steps
            state = self._advance_by(length, at)
            steps, taken = steps - 1, taken + 1
            if steps == 0:
                self.time = state.time = until
            self._check(state)
            if taken % COLLECT == 0:
                collect_in_step()
            if each is not None:
                each(state)
            if steps == 0:
                return state

    def _wanted(self, cfl: float, longest: float) -> float:
        """The length of the next steps: the present one as long as it is about right."""
        crossing = self.crossings()
        ideal = min(longest, cfl / crossing if crossing > 0 else longest)
        if self._nominal == 0.0:
            self._nominal = ideal / 5  # the first step is of first order
        elif self._nominal > OFF * ideal:
            self._nominal = ideal
        elif ideal > OFF * self._nominal:
            self._nominal = min(ideal, GROWTH * self._nominal)
        return self._nominal

    def _advance_by(self, length: float, at: Callable[[float], Mapping[str, float]]) -> TransientState:
        ratio = length / self._last if self._last * LEAP > length else 0.0  # 0 makes the step implicit Euler
        order = (1 + 2 * ratio) / (1 + ratio), 1 + ratio, ratio**2 / (1 + ratio)
        now, old, pressure = self._now.x.array, self._old.x.array, self._pressure.x.array
        self._carrier.x.array[:] = (1 + ratio) * now - ratio * old
        later = self.time + length
        values = self._edges.values(later, at)
        self._fastest = max(self._fastest, self._comm_max(float(np.abs(values).max(initial=0.0))))
        with self._in_words(later):
            for _ in range(self._passes):
                predicted = self._momentum.predict(length, order, values, later)
                corrected, gained = self._projection.project(predicted, length / order[0])
                pressure += gained
        self._passes = 1
        self._slope.x.array[:] = (order[0] * corrected - order[1] * now + order[2] * old) / length
        old[:], now[:] = now, corrected
        self.time, self._last = later, length
        return self._measure(length, later)

    def _impose(self, time: float, at: Callable[[float], Mapping[str, float]]) -> None:
        """The boundary values of this time in the start, and what an impulse of pressure makes of it then.

        A start that has these values and no divergence stays what it is.
        """
        values, held = self._edges.values(time, at), self._edges.held
        self._fastest = max(self._fastest, self._comm_max(float(np.abs(values).max(initial=0.0))))
        self._now.x.array[held] = values[held]
        with self._in_words(time):
            self._now.x.array[:] = self._projection.impulse(self._now.x.array)
        self._old.x.array[:] = self._now.x.array

    # -- measures ----------------------------------------------------------------------------------------------------

    def _measure(self, length: float, later: float) -> TransientState:
        norm = math.sqrt(self._momentum.square(self._now.x.array))
        rate = math.sqrt(self._momentum.square(self._slope.x.array)) / norm if norm > 0 else 0.0
        crossed = length * self.crossings()
        leak = self._projection.leak()
        return TransientState(later, length, self._now, self._pressure, self._slope, rate, norm**2 / 2, crossed, leak)

    def _check(self, state: TransientState) -> None:
        largest = self._largest(self._now)
        self._history.append((state.time, largest, state.rate))
        self._watch(
            f"t {state.time:.4g}: step {state.step:.3g}, CFL {state.cfl:.2f}, largest speed {largest:.3g}, "
            f"rate of change {state.rate:.2e}"
        )
        if not np.isfinite(largest) or (self._force is None and largest > BLOWN_UP * max(self._fastest, 1e-12)):
            raise NotConverged(f"the unsteady flow blew up at time {state.time:.4g} ({self._told()})", _REMEDY)

    @contextmanager
    def _in_words(self, time: float) -> Iterator[None]:
        """Tells the time and the history with a solve that failed."""
        try:
            yield
        except NotConverged as failure:
            raise NotConverged(f"{failure.message}, at time {time:.4g} ({self._told()})", _REMEDY) from None

    def _told(self) -> str:
        if not self._history:
            return "in the first step"
        return "; ".join(
            f"t {time:.4g}: largest speed {speed:.3g}, rate {rate:.2g}" for time, speed, rate in self._history
        )

    def _largest(self, field: fem.Function) -> float:
        return self._comm_max(float(np.abs(field.x.array).max(initial=0.0)))

    def _comm_max(self, value: float) -> float:
        return float(self.domain.comm.allreduce(value if value == value else math.inf, op=MPI.MAX))

    def _crossing_form(self) -> tuple[fem.Form, np.ndarray]:
        constants = fem.functionspace(self.domain.mesh, ("DG", 0))
        test, dx = ufl.TestFunction(constants), self.domain.dx(2)
        speed = ufl.sqrt(ufl.dot(self._now, ufl.dot(metric(self.domain), self._now)))
        measure = fem.assemble_vector(compiled(fem.Constant(self.domain.mesh, 1.0) * test * dx)).array
        owned = constants.dofmap.index_map.size_local
        return compiled(speed * test * dx), measure[:owned]

    def crossings(self) -> float:
        """The largest number of cells that the fluid crosses at present in a unit of time."""
        owned = len(self._cell_measure)
        rates = fem.assemble_vector(self._crossing).array[:owned] / self._cell_measure
        return self._comm_max(float(rates.max(initial=0.0)))


_REMEDY = "use a smaller CFL number or a finer level, and look at the flows of the inlets"


class _Edges:
    """What the boundaries hold of the velocity: the degrees of freedom, and their values at a time."""

    def __init__(self, solver: TransientSolver) -> None:
        domain, boundaries = solver.domain, solver.boundaries
        self._solver, self._dim = solver, domain.dim
        self._dofs = {
            name: domain.dofs(solver.velocities, name)
            for name in (*boundaries.inlets, *boundaries.mirrors, *solver._prescribed, *boundaries.walls)
        }
        self._axes = {name: mirror_axis(domain, name) for name in boundaries.mirrors}
        held = np.zeros((len(solver._points), self._dim), dtype=bool)
        for name, dofs in self._dofs.items():
            if name in self._axes:
                held[dofs, self._axes[name]] = True
            else:
                held[dofs] = True
        self.held = held.ravel()
        index = solver.velocities.dofmap.index_map
        self._first, self._owned = index.local_range[0], index.size_local
        #: The components that are held in the same places share a matrix. The same on all ranks.
        kinds: dict[tuple[str, ...], list[int]] = {}
        for axis in range(self._dim):
            kinds.setdefault(tuple(name for name, at in self._axes.items() if at == axis), []).append(axis)
        self.groups = list(kinds.values())

    def rows(self, component: int) -> np.ndarray:
        """The global rows that are held in the scalar matrix of a component."""
        held = self.held.reshape(-1, self._dim)[: self._owned, component]
        return (np.flatnonzero(held) + self._first).astype(PETSc.IntType)

    def vector_rows(self) -> np.ndarray:
        """The global rows that are held in a matrix of the vector space."""
        held = self.held[: self._owned * self._dim]
        return (np.flatnonzero(held) + self._first * self._dim).astype(PETSc.IntType)

    def values(self, time: float, at: Callable[[float], Mapping[str, float]]) -> np.ndarray:
        """The velocity at the boundaries, zero elsewhere, with ghosts. Walls win at rims, mirrors over inlets."""
        solver = self._solver
        values = np.zeros((len(solver._points), self._dim))
        flows = at(time)
        if missing := [name for name in solver.boundaries.inlets if name not in flows]:
            raise BadInput(f'the inlet "{missing[0]}" has no flow', "give every inlet a rate; 0 closes it")
        for name, profile in solver._profiles.items():
            values += flows[name] * profile.x.array.reshape(-1, self._dim)
        for name, axis in self._axes.items():
            values[self._dofs[name], axis] = 0.0
        for name, moving in solver._prescribed.items():
            dofs = self._dofs[name]
            values[dofs] = np.asarray(moving(time)(solver._points[dofs].T)).T
        for name, velocity in solver.boundaries.walls.items():
            values[self._dofs[name]] = velocity or 0.0
        return values.ravel()


class _Momentum:
    """Step 1: the scalar matrix of the momentum balance, its right-hand sides, and its solves."""

    def __init__(self, solver: TransientSolver, grad_div: float) -> None:
        self._solver, self._grad_div = solver, grad_div
        domain = solver.domain
        dx, n = domain.dx(QUADRATURE), ufl.FacetNormal(domain.mesh)
        a, b = ufl.TrialFunction(solver._scalars), ufl.TestFunction(solver._scalars)
        u, v = ufl.TrialFunction(solver.velocities), ufl.TestFunction(solver.velocities)
        p = ufl.TrialFunction(solver.pressures)
        self.mass = _compat.assemble_matrix(compiled(a * b * dx), [])
        self._stiffness = _compat.assemble_matrix(compiled(ufl.inner(ufl.grad(a), ufl.grad(b)) * dx), [])
        self.spread: PETSc.Mat | None = None
        if grad_div:
            self.spread = _compat.assemble_matrix(compiled(ufl.div(u) * ufl.div(v) * dx), [])
            self._masses = _compat.assemble_matrix(compiled(ufl.inner(u, v) * dx), [])
        self.gradient = _compat.assemble_matrix(compiled(-p * ufl.div(v) * dx), [])
        w = solver._carrier
        self._convection = [compiled(ufl.dot(w, ufl.grad(a)) * b * dx)]
        self._load = fem.Function(solver.velocities)
        if outlets := solver.boundaries.outlets:
            ds = domain.ds(*outlets, degree=QUADRATURE)
            back = ufl.min_value(ufl.dot(w, n), 0)
            self._convection.append(compiled(-back / 2 * a * b * ds))
            outside = outlet_pressure(domain, solver.boundaries)
            petsc.assemble_vector(self._load.x.petsc_vec, compiled(-outside * ufl.dot(n, v) * ds))
        self._load.x.scatter_reverse(InsertMode.add)
        self._constant: PETSc.Mat | None = None
        self._key: tuple[float, float] | None = None
        self._matrices = [self.mass.duplicate() for _ in solver._edges.groups]
        for matrix in self._matrices:
            matrix.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        self._solves = [_Krylov(matrix, "bcgs", "jacobi", "the momentum balance") for matrix in self._matrices]
        self._right = fem.Function(solver.velocities)
        self._part, self._product = self.mass.createVecs()
        self._into, self._rise = fem.Function(solver.velocities), fem.Function(solver.velocities)
        self.damping = fem.Function(solver.velocities)  # what the second factor added last: the guess of the next
        self._damper: _Krylov | None = None
        self._damper_pace = 0.0

    def times_mass(self, values: np.ndarray) -> np.ndarray:
        """The mass matrix times the owned part of a field, (nodes, dim)."""
        dim = self._solver.domain.dim
        owned = self._solver.velocities.dofmap.index_map.size_local
        result = np.empty((owned, dim))
        for component in range(dim):
            self._part.array[:] = values.reshape(-1, dim)[:owned, component]
            self.mass.mult(self._part, self._product)
            result[:, component] = self._product.array
        return result

    def square(self, values: np.ndarray) -> float:
        """∫|u|² of a field."""
        product = self.times_mass(values)
        local = float(np.vdot(product.ravel(), values[: product.size]))
        return float(self._solver.domain.comm.allreduce(local, op=MPI.SUM))

    def predict(self, length: float, order: tuple[float, float, float], values: np.ndarray, later: float) -> np.ndarray:
        """u* with ghosts."""
        solver, dim = self._solver, self._solver.domain.dim
        self._assemble(order[0] / length)
        right = self._right.x.petsc_vec
        self.gradient.mult(solver._pressure.x.petsc_vec, right)
        if self.spread is not None:
            self.spread.mult(solver._now.x.petsc_vec, self._into.x.petsc_vec)
            right.axpy(self._grad_div, self._into.x.petsc_vec)
        right.aypx(-1.0, self._load.x.petsc_vec)
        before = (order[1] * solver._now.x.array - order[2] * solver._old.x.array) / length
        if solver._force is not None:
            before = before + np.asarray(solver._force(later)(solver._points.T)).T.ravel()
        rows = right.array.reshape(-1, dim)
        rows += self.times_mass(before)
        guess = np.where(solver._edges.held, values, solver._carrier.x.array)
        owned = len(rows)
        held = solver._edges.held.reshape(-1, dim)[:owned]
        rows[held] = guess.reshape(-1, dim)[:owned][held]
        result = guess.reshape(-1, dim)
        floor = TOLERANCE * math.sqrt(solver.domain.comm.allreduce(float(np.square(result[:owned]).sum())))
        for group, solve in zip(solver._edges.groups, self._solves, strict=True):
            for component in group:
                self._product.array[:] = rows[:, component]
                self._part.array[:] = result[:owned, component]
                solve(self._product, self._part, floor)
                result[:owned, component] = self._part.array
        self._into.x.array[:] = guess
        self._into.x.scatter_forward()
        if self.spread is not None:
            self._damp(length / order[0], self.spread)
        return self._into.x.array

    def _damp(self, pace: float, spread: PETSc.Mat) -> None:
        """The second factor of the velocity step, in place: (mass + γ k/a₀ grad-div) e = −γ k/a₀ grad-div (u − uⁿ)."""
        into, rise, right = self._into.x, self._rise.x, self._right.x.petsc_vec
        rise.array[:] = into.array - self._solver._now.x.array
        spread.mult(rise.petsc_vec, right)
        right.scale(-self._grad_div * pace)
        right.array[self._solver._edges.held[: right.array.size]] = 0.0
        self._damper_for(pace, spread)(right, self.damping.x.petsc_vec, TOLERANCE * into.petsc_vec.norm())
        self.damping.x.scatter_forward()
        into.array[:] += self.damping.x.array

    def _damper_for(self, pace: float, spread: PETSc.Mat) -> _Krylov:
        """The solve of the second factor. Its matrix is made anew where the step has changed."""
        if self._damper is None or abs(pace - self._damper_pace) > 1e-12 * pace:
            matrix = spread.copy()
            matrix.scale(self._grad_div * pace)
            matrix.axpy(1.0, self._masses, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
            matrix.zeroRows(self._solver._edges.vector_rows(), 1.0)
            blocks = matrix.convert("baij")
            if self._damper is None:
                self._damper = _Krylov(blocks, "cg", "pbjacobi", "the divergence's damping", UPDATE)
            self._damper.matrix, self._damper_pace = blocks, pace
        return self._damper

    def _assemble(self, inertia: float) -> None:
        """(a₀/k) mass + ν stiffness + convection; the first two anew only where the step or ν has changed."""
        key = inertia, float(self._solver._viscosity.value)
        if self._constant is None or self._key != key:
            self._constant = self._constant or self.mass.duplicate()
            self.mass.copy(self._constant, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
            self._constant.scale(inertia)
            self._constant.axpy(key[1], self._stiffness, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
            self._key = key
        first = self._matrices[0]
        self._constant.copy(first, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        for form in self._convection:
            petsc.assemble_matrix(first, form)
        first.assemble()
        for other in self._matrices[1:]:
            first.copy(other, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        for matrix, group in zip(self._matrices, self._solver._edges.groups, strict=True):
            matrix.zeroRows(self._solver._edges.rows(group[0]), 1.0)


class _Projection:
    """Steps 2 to 5: the field without divergence, and what the pressure gains."""

    def __init__(self, solver: TransientSolver, grad_div: float) -> None:
        self._solver, self._grad_div = solver, grad_div
        domain, momentum = solver.domain, solver._momentum
        dx, n = domain.dx(QUADRATURE), ufl.FacetNormal(domain.mesh)
        p, q = ufl.TrialFunction(solver.pressures), ufl.TestFunction(solver.pressures)
        laplace = _compat.assemble_matrix(compiled(ufl.inner(ufl.grad(p), ufl.grad(q)) * dx), [])
        size = ufl.sqrt(ufl.dot(n, ufl.dot(metric(domain), n)))  # one over the size of the cell, across the outlet
        if outlets := solver.boundaries.outlets:
            petsc.assemble_matrix(laplace, compiled(OUTLET * size * p * q * domain.ds(*outlets, degree=QUADRATURE)))
            laplace.assemble()
        self._gradient = momentum.gradient
        self._free = self._gradient.copy()
        self._free.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        self._free.zeroRows(solver._edges.vector_rows(), 0.0)
        diagonal = momentum.mass.getDiagonal()
        self._inverse = self._free.createVecLeft()
        self._inverse.array[:] = np.repeat(1 / diagonal.array, domain.dim)
        scaled = self._free.copy()
        root = self._inverse.duplicate()
        root.array[:] = np.sqrt(self._inverse.array)
        scaled.diagonalScale(L=root)
        schur = scaled.transposeMatMult(scaled)
        self._null = None
        if solver.boundaries.closed:
            self._null = PETSc.NullSpace().create(constant=True, comm=domain.comm)
            laplace.setNullSpace(self._null)
            schur.setNullSpace(self._null)
        self._poisson = _Krylov(laplace, "cg", "hypre", "the pressure")
        self._schur = _Krylov(schur, "cg", "hypre", "the mass balance", unpreconditioned=True)
        ones = fem.assemble_vector(compiled(fem.Constant(domain.mesh, 1.0) * q * dx))
        ones.scatter_reverse(InsertMode.add)
        pressures = solver.pressures.dofmap.index_map.size_local
        self._lumped = ones.array[:pressures].copy()
        self._masses = []
        for group in solver._edges.groups:
            mass = momentum.mass.copy()
            mass.zeroRows(solver._edges.rows(group[0]), 1.0)
            self._masses.append(_Krylov(mass, "cg", "jacobi", "the velocity update", UPDATE))
        self._part, self._product = momentum.mass.createVecs()
        self.increment = fem.Function(solver.pressures)  # the last φ, the guess of the next
        self.update = fem.Function(solver.velocities)  # and the last û − u*
        self._source, self._rest = fem.Function(solver.pressures), fem.Function(solver.pressures)
        self._right, self._field = fem.Function(solver.velocities), fem.Function(solver.velocities)

    def project(self, predicted: np.ndarray, pace: float) -> tuple[np.ndarray, np.ndarray]:
        """uⁿ⁺¹ and pⁿ⁺¹ − pⁿ from u*, with `pace` = k/a₀."""
        self._field.x.array[:] = predicted
        gained = self._correct(pace)
        self._rest.x.petsc_vec.array[:] = gained
        self._rest.x.scatter_forward()
        return self._field.x.array, self._rest.x.array

    def impulse(self, values: np.ndarray) -> np.ndarray:
        """A field with its divergence taken out."""
        self._field.x.array[:] = values
        self._correct(1.0)
        self.increment.x.array[:] = self.update.x.array[:] = 0.0
        return self._field.x.array

    def _correct(self, pace: float) -> np.ndarray:
        """Steps 2 to 4, in place; returns what the pressure gains on this rank."""
        solver, field = self._solver, self._field
        source, right = self._source.x.petsc_vec, self._right.x.petsc_vec
        self._divergence_of(field, source)
        divergence = source.array / self._lumped
        source.scale(1 / pace)
        self._poisson(source, self.increment.x.petsc_vec, TOLERANCE * solver._pressure.x.petsc_vec.norm())
        self.increment.x.scatter_forward()
        self._free.mult(self.increment.x.petsc_vec, right)
        right.scale(-pace)
        floor = TOLERANCE * field.x.petsc_vec.norm()
        for group, solve in zip(solver._edges.groups, self._masses, strict=True):
            for component in group:
                part = slice(component, None, solver.domain.dim)
                self._part.array[:] = right.array[part]
                self._product.array[:] = self.update.x.petsc_vec.array[part]
                solve(self._part, self._product, floor)
                self.update.x.petsc_vec.array[part] = self._product.array
        self.update.x.scatter_forward()
        field.x.array[:] += self.update.x.array
        cleaned = self._clean()
        bulk = float(solver._viscosity.value) + self._grad_div
        gained = self.increment.x.petsc_vec.array + bulk * divergence + cleaned / pace
        return gained if self._null is None else gained - self._mean(gained)

    def _mean(self, values: np.ndarray) -> float:
        """The mean over the domain of a pressure whose values this rank owns."""
        sums = np.array([self._lumped @ values, self._lumped.sum()])
        total, measure = self._solver.domain.comm.allreduce(sums, op=MPI.SUM)
        return float(total / measure)

    def _divergence_of(self, field: fem.Function, into: PETSc.Vec) -> None:
        """−∫ q ∇·u for each q of P1."""
        self._gradient.multTranspose(field.x.petsc_vec, into)
        if self._null is not None:
            self._null.remove(into)

    def leak(self) -> float:
        """What the present field lacks in the mass balance over all nodes of P1 together."""
        self._gradient.multTranspose(self._solver._now.x.petsc_vec, self._source.x.petsc_vec)
        return float(self._source.x.petsc_vec.norm(PETSc.NormType.NORM_1))

    def _clean(self) -> np.ndarray:
        """Step 4, in place; returns the multiplier."""
        field, source, rest = self._field, self._source.x.petsc_vec, self._rest.x.petsc_vec
        self._divergence_of(field, source)
        _compat.zero_entries(rest)
        through = max(self._solver._fastest, 1e-12)  # times one bore²: the size of a flow through the domain
        self._schur(source, rest, LEAK * through / math.sqrt(source.getSize()))
        self._free.mult(rest, self._right.x.petsc_vec)
        self._right.x.petsc_vec.pointwiseMult(self._right.x.petsc_vec, self._inverse)
        field.x.petsc_vec.axpy(-1.0, self._right.x.petsc_vec)
        field.x.scatter_forward()
        return rest.array.copy()


class _Krylov:
    """An iterative solve that either reaches its tolerance or raises."""

    def __init__(
        self,
        matrix: PETSc.Mat,
        method: str,
        preconditioner: str,
        what: str,
        tolerance: float = TOLERANCE,
        unpreconditioned: bool = False,
    ) -> None:
        self.matrix, self._what, self._tolerance = matrix, what, tolerance
        self._ksp = PETSc.KSP().create(matrix.comm)
        self._ksp.setType(method)
        self._ksp.getPC().setType(preconditioner)
        self._ksp.setInitialGuessNonzero(True)
        if unpreconditioned:
            self._ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        if preconditioner == "hypre":
            self._ksp.getPC().setHYPREType("boomeramg")

    def __call__(self, right: PETSc.Vec, into: PETSc.Vec, floor: float) -> None:
        """Solves from the guess that is in `into`, until the residual is small against `right`, or below `floor`."""
        self._ksp.setTolerances(rtol=self._tolerance, atol=max(floor, 1e-300), max_it=MOST_ITERATIONS)
        self._ksp.setOperators(self.matrix)
        self._ksp.solve(right, into)
        reason, self.iterations = self._ksp.getConvergedReason(), self._ksp.getIterationNumber()
        if reason < 0:
            words = _REASONS.get(reason, f"PETSc reason {reason}")
            raise NotConverged(f"{self._what} was not solved: {words} after {self.iterations} iterations", _REMEDY)


_REASONS = {
    PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT: "no convergence",
    PETSc.KSP.ConvergedReason.DIVERGED_DTOL: "the residual grew",
    PETSc.KSP.ConvergedReason.DIVERGED_BREAKDOWN: "the iteration broke down",
    PETSc.KSP.ConvergedReason.DIVERGED_NANORINF: "NaN or infinite values",
}
