"""Unsteady Navier–Stokes: a second-order fractional step on P2–P1 that loses no mass.

A step of length k from uⁿ, uⁿ⁻¹, pⁿ, with D u = (a₀u − a₁uⁿ + a₂uⁿ⁻¹)/k, the BDF2 of a variable step:

1. velocity u*:  D u* + w·∇u* − ν∇²u* − γ∇∇·u* = f − ∇pⁿ, with w extrapolated from uⁿ and uⁿ⁻¹. It is solved in two
   factors: one scalar matrix for all components, then the mass matrix with grad-div, which couples them;
2. pressure: −∇²φ = −(a₀/k) ∇·u*, with φ = 0 at outlets in the weak sense only, so that they stay natural;
3. update û = u* − (k/a₀)∇φ, by the mass matrix;
4. what divergence is left, because −∇² is not the Schur complement of P2–P1, is taken out in a diagonal norm, to
   rounding: uⁿ⁺¹ passes every test of P1, so what flows in flows out in every step;
5. pⁿ⁺¹ = pⁿ + φ − (ν + γ)∇·u*, plus what step 4 adds (the rotational form).

Where the pressures of outlets change, pⁿ has their change added before, continued into the domain (`lift`).

A steady state of these steps is one of Galerkin's equations with grad-div, whatever the step (ADR 008). Step 1 is in
`predictor`, steps 2 to 5 are in `projection`; here is the march.
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

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

from twin.errors import BadInput, NotConverged, TwinError
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.parallel import collect_in_step
from twin.fem.storage import from_nodal, nodal, quadratic
from twin.files import digest, whole
from twin.flow.boundaries import Boundaries
from twin.flow.lift import Lift
from twin.flow.momentum import GRAD_DIV, metric
from twin.flow.predictor import Predictor
from twin.flow.projection import Projection
from twin.flow.unknowns import Held, Moving, Unknowns

LONGEST = 0.1  # the longest step under CFL control, in bore/U
OFF = 1.2  # the step stays while it is within this factor of the wanted one, so that matrices can stay
GROWTH = 1.5  # of the step from one to the next under CFL control
LEAP = 2.4  # a step longer than this times the last is one of implicit Euler: there BDF2 loses its stability
BLOWN_UP = 30.0  # times the largest speed that boundaries, start and pressures can account for
COLLECT = 50  # steps from one collection of garbage to the next

Watch = Callable[[str], None]
Flows = Mapping[str, float] | Callable[[float], Mapping[str, float]]

_REMEDY = "use a smaller CFL number or a finer level, and look at the flows of the inlets"


@dataclass(frozen=True)
class Units:
    """In what messages tell times and speeds: how much of it bore/U and U are, and its names."""

    time: float = 1.0
    speed: float = 1.0
    names: str = "bore/U, U and U/bore"


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

    `prescribed` gives boundaries a velocity in space and time, `force` gives the fluid one of a unit mass. Where
    pressures of outlets or velocities of walls change, `moving` gives the same boundaries at a time. Without an
    outlet, walls and `prescribed` must close the domain, and the pressure keeps the mean over it that it starts with:
    zero from rest. Messages tell times and speeds in `units`.
    """

    def __init__(
        self,
        domain: Domain,
        boundaries: Boundaries | None = None,
        watch: Watch = lambda line: None,
        prescribed: Mapping[str, Moving] | None = None,
        force: Moving | None = None,
        grad_div: float = GRAD_DIV,
        units: Units | None = None,
        moving: Callable[[float], Boundaries] | None = None,
    ) -> None:
        self.domain = domain
        self.boundaries = boundaries or Boundaries.of_junction(domain)
        self._moving = moving
        self._force = force
        self._watch = watch
        self._units = units or Units()
        self.boundaries.check(domain)
        self._unknowns = Unknowns(domain)
        self.velocities, self.pressures = self._unknowns.velocities, self._unknowns.pressures
        self._held = Held(domain, self.boundaries, self._unknowns, prescribed or {})
        shared = domain, self.boundaries, self._unknowns, self._held
        self._predictor = Predictor(*shared, force, grad_div)
        self._projection = Projection(*shared, self._predictor, grad_div)
        self._lift = Lift(domain, tuple(self.boundaries.outlets), self.pressures)
        self._crossing, self._cell_measure = self._crossing_form()
        self._history: deque[tuple[float, float, float]] = deque(maxlen=6)
        self._fastest = self._expected = 0.0
        with self._in_words(0.0):
            self._reach = {name: self._reached_by(name) for name in self.boundaries.inlets}
        self._drive = _driven(self.boundaries)
        self.start(None, None)

    @property
    def velocity(self) -> fem.Function:
        """The present velocity: one object through the march; copy what you keep."""
        return self._unknowns.now

    @property
    def pressure(self) -> fem.Function:
        """The present pressure, likewise."""
        return self._unknowns.pressure

    @property
    def change(self) -> fem.Function:
        """The present ∂u/∂t, likewise."""
        return self._unknowns.slope

    # -- where it starts ---------------------------------------------------------------------------------------------

    def start(self, velocity: fem.Function | None, pressure: fem.Function | None, time: float = 0.0) -> None:
        """From rest, or from a field on the same mesh. Without a pressure the first step finds one by itself."""
        unknowns = self._unknowns
        for mine, given in ((unknowns.now, velocity), (unknowns.pressure, pressure)):
            mine.x.array[:] = 0.0
            if given is not None:
                mine.interpolate(given)
        unknowns.old.x.array[:] = unknowns.now.x.array
        self.time, self._last, self._nominal = time, 0.0, 0.0
        for guess in ("increment", "update", "damping"):
            self._stored()[guess].x.array[:] = 0.0
        self._begin(fresh=True, passes=1 if pressure is not None else 3, fastest=self._largest(unknowns.now))

    def _begin(self, fresh: bool, passes: int, fastest: float) -> None:
        self._fresh, self._passes, self._fastest = fresh, passes, fastest
        self._expected = max(fastest, self._largest(self.velocity))
        self._history.clear()

    def _stored(self) -> dict[str, fem.Function]:
        """All fields that the next step needs, three of them as the guesses of its solves, and the present ∂u/∂t, which
        forces need where no step is left.
        """
        return {
            "velocity": self._unknowns.now,
            "velocity_before": self._unknowns.old,
            "pressure": self._unknowns.pressure,
            "increment": self._projection.increment,
            "update": self._projection.update,
            "damping": self._predictor.damping,
            "change": self.change,
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
                if "change" not in file:  # files of before lack it; the next step makes it anew
                    del fields["change"]
                data = {name: file[name] for name in ("numbers", "mesh", *fields)}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BadInput(
                f"can't read the restart file {path}: {error}", "start again, or from an older one"
            ) from error
        nodes = self.domain.mesh.geometry.index_map().size_global
        other = mesh_file is not None and str(data["mesh"]) != digest(mesh_file.read_bytes())
        if other or len(data["velocity"]) != nodes:
            raise BadInput(f"{path} belongs to another mesh", "give the mesh that it was saved with, or start again")
        plain = fem.Function(self._unknowns.scalars)
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
        self._unknowns.viscosity.value = 1 / reynolds
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
            state.time = until - steps * length  # the march's own is a sum, whose rounding grows
            if steps == 0:
                self.time = until
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
        unknowns = self._unknowns
        now, old, pressure = unknowns.now.x.array, unknowns.old.x.array, unknowns.pressure.x.array
        unknowns.carrier.x.array[:] = (1 + ratio) * now - ratio * old
        later = self.time + length
        values = self._values_at(later, at)
        self._press(later)
        with self._in_words(later):
            for _ in range(self._passes):
                predicted = self._predictor.predict(length, order, values, later)
                corrected, gained = self._projection.project(predicted, length / order[0], self._fastest)
                pressure += gained
        self._passes = 1
        unknowns.slope.x.array[:] = (order[0] * corrected - order[1] * now + order[2] * old) / length
        old[:], now[:] = now, corrected
        self.time, self._last = later, length
        return self._measure(length, later)

    def _impose(self, time: float, at: Callable[[float], Mapping[str, float]]) -> None:
        """The boundary values of this time in the start, and what an impulse of pressure makes of it then.

        A start that has these values and no divergence stays what it is.
        """
        values, held, now = self._values_at(time, at), self._held.mask, self._unknowns.now.x.array
        now[held] = values[held]
        with self._in_words(time):
            now[:] = self._projection.impulse(now, self._fastest)
        self._unknowns.old.x.array[:] = now

    def _press(self, later: float) -> None:
        """The outlets' pressures of the end of a step, and what the pressure inside gains with them."""
        if self._moving is None:
            return
        before, after = self._moving(self.time).outlets, self._moving(later).outlets
        if changes := {name: after[name] - before[name] for name in after if after[name] != before[name]}:
            self._unknowns.pressure.x.array[:] += self._lift.gain(changes)
        self._predictor.press(after)

    def _values_at(self, time: float, at: Callable[[float], Mapping[str, float]]) -> np.ndarray:
        """The velocity at the boundaries at a time, and a look at how fast it is, and may make the fluid inside."""
        flows = at(time)
        boundaries = self._moving(time) if self._moving else self.boundaries
        values = self._held.values(time, flows, boundaries.walls)
        self._fastest = max(self._fastest, self._comm_max(float(np.abs(values).max(initial=0.0))))
        self._drive = max(self._drive, _driven(boundaries))
        inside = self._drive + sum(abs(flows[name]) * reach for name, reach in self._reach.items())
        self._expected = max(self._expected, self._fastest, inside)
        return values

    def _reached_by(self, name: str) -> float:
        """The largest speed of the potential flow that a unit flow of one inlet drives, in U.

        So the narrowest section that the fluid passes counts, which may be far from any boundary.
        """
        entering = self._held.entering({name: 1.0})
        fastest = self._comm_max(float(np.abs(entering).max(initial=0.0)))
        return self._comm_max(float(np.abs(self._projection.impulse(entering, fastest)).max(initial=0.0)))

    # -- measures ----------------------------------------------------------------------------------------------------

    def _measure(self, length: float, later: float) -> TransientState:
        now, pressure, slope = self.velocity, self.pressure, self.change
        norm = math.sqrt(self._predictor.square(now.x.array))
        rate = math.sqrt(self._predictor.square(slope.x.array)) / norm if norm > 0 else 0.0
        crossed = length * self.crossings()
        leak = self._projection.leak()
        return TransientState(later, length, now, pressure, slope, rate, norm**2 / 2, crossed, leak)

    def _check(self, state: TransientState) -> None:
        largest = self._largest(self.velocity)
        self._history.append((state.time, largest, state.rate))
        self._watch(
            f"t {state.time:.4g}: step {state.step:.3g}, CFL {state.cfl:.2f}, largest speed {largest:.3g}, "
            f"rate of change {state.rate:.2e}"
        )
        if not np.isfinite(largest) or (self._force is None and largest > BLOWN_UP * max(self._expected, 1e-12)):
            raise NotConverged(f"the unsteady flow blew up {self._told(state.time)}", _REMEDY)

    @contextmanager
    def _in_words(self, time: float) -> Iterator[None]:
        """Tells the time and the history with a solve that failed."""
        try:
            yield
        except NotConverged as failure:
            raise NotConverged(f"{failure.message}, {self._told(time)}", _REMEDY) from None

    def _told(self, time: float) -> str:
        """When, and the last steps before, in the units of messages."""
        unit = self._units
        steps = "; ".join(
            f"t {at * unit.time:.4g}: largest speed {speed * unit.speed:.3g}, rate {rate / unit.time:.2g}"
            for at, speed, rate in self._history
        )
        return f"at time {time * unit.time:.4g} ({steps or 'in the first step'}; in {unit.names})"

    def _largest(self, field: fem.Function) -> float:
        return self._comm_max(float(np.abs(field.x.array).max(initial=0.0)))

    def _comm_max(self, value: float) -> float:
        return float(self.domain.comm.allreduce(value if value == value else math.inf, op=MPI.MAX))

    def _crossing_form(self) -> tuple[fem.Form, np.ndarray]:
        constants = fem.functionspace(self.domain.mesh, ("DG", 0))
        test, dx = ufl.TestFunction(constants), self.domain.dx(2)
        speed = ufl.sqrt(ufl.dot(self.velocity, ufl.dot(metric(self.domain), self.velocity)))
        measure = fem.assemble_vector(compiled(fem.Constant(self.domain.mesh, 1.0) * test * dx)).array
        owned = constants.dofmap.index_map.size_local
        return compiled(speed * test * dx), measure[:owned]

    def crossings(self) -> float:
        """The largest number of cells that the fluid crosses at present in a unit of time."""
        owned = len(self._cell_measure)
        rates = fem.assemble_vector(self._crossing).array[:owned] / self._cell_measure
        return self._comm_max(float(rates.max(initial=0.0)))


def _driven(boundaries: Boundaries) -> float:
    """The speed that the outlets' pressures may give to fluid at rest by Bernoulli's equation, in U."""
    pressures = boundaries.outlets.values()
    return math.sqrt(2 * (max(pressures) - min(pressures))) if pressures else 0.0
