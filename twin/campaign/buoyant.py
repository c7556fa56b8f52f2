"""Flow and concentration of two liquids of different density and viscosity, each deciding the other.

    passive      the antisolvent's density and viscosity everywhere: the flow first, then the concentration
    properties   density and viscosity follow the concentration, without gravity
    buoyant      and the denser fluid has weight

What is solved, in bores, U and the antisolvent's density, with φ the concentration as a volume fraction:

    ρ u·∇u = −∇p' + ∇·(µ (∇u + ∇uᵀ)) + Ri φ ĝ,   ∇·u = 0,   u·∇φ = ∇²φ / Pe

p' is the pressure without the weight of a column of antisolvent; Ri is that of `twin.junction.groups`, negative for a
lighter precursor; ĝ is the direction of gravity. See docs/decisions/010-buoyancy.md for what the boundaries mean then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import ufl
from dolfinx import fem

from twin.errors import BadInput, NotConverged
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.storage import smoothed
from twin.flow import FlowSolution, SteadySolver, shared_flows
from twin.flow.boundaries import mirror_axis
from twin.flow.momentum import Fluid
from twin.junction import Groups
from twin.liquids.mixture import Mixture, grunberg_nissan
from twin.mixing import PlaneMixing, mixing_along
from twin.transport import Concentration, Transport, divergence_free

Mode = Literal["passive", "properties", "buoyant"]
Watch = Callable[[str], None]
LOOSE = 10.0  # times the tolerances, on the way to full gravity
LEAST_STEP = 1 / 16  # of gravity, in its continuation
ROUGH = 1e-5  # residual of a flow that is only a start


@dataclass(frozen=True)
class Iteration:
    """One pass through flow and transport, with `gravity` of the weight, and how far it moved.

    `velocity` is the root mean square of |δu| over the local speed (or the precursor's mean speed, where that is more:
    so the slow arm counts as much as the outlet), `mixing` the change of M at the outlet, `concentration` the root mean
    square of what transport gave less what the flow was solved with.
    """

    gravity: float
    velocity: float
    mixing: float
    concentration: float
    index: float

    def __str__(self) -> str:
        return (
            f"gravity {self.gravity:.3g}: velocity {self.velocity:.1e}, mixing {self.mixing:.1e}, "
            f"concentration {self.concentration:.1e}, M {self.index:.4f}"
        )


@dataclass(frozen=True)
class Settings:
    """When the coupling has converged, and how it is driven: `memory` earlier passes are mixed into the next."""

    velocity: float = 2e-3
    mixing: float = 1e-3
    most: int = 30
    memory: int = 6
    relaxation: float = 0.7
    first_gravity: float = 0.25


@dataclass(frozen=True)
class CoupledSolution:
    """Flow, velocity without divergence, concentration, mixing plane by plane, and the passes that led there."""

    mode: Mode
    flow: FlowSolution
    velocity: fem.Function
    concentration: Concentration
    mixing: list[PlaneMixing]
    history: list[Iteration]


class CoupledSolver:
    """Solves one domain at any number of operating points, each from the one before it."""

    def __init__(
        self,
        domain: Domain,
        mixture: Mixture,
        mode: Mode = "passive",
        gravity: Sequence[float] | None = None,
        settings: Settings | None = None,
        watch: Watch = lambda line: None,
    ) -> None:
        if mode not in get_args(Mode):
            raise BadInput(f'there is no mode "{mode}"', f"choose from {', '.join(get_args(Mode))}")
        self.domain, self.mixture, self.mode = domain, mixture, mode
        self._settings, self._watch = settings or Settings(), watch
        self._direction = _direction(domain, gravity) if mode == "buoyant" else np.zeros(domain.dim)
        self.fraction = smoothed(domain, fem.Function(fem.functionspace(domain.mesh, ("DG", 1))))
        self._weight = fem.Constant(domain.mesh, np.zeros(domain.dim))
        if mode == "passive":
            self.flow = SteadySolver(domain, watch=watch)
        else:
            self.flow = SteadySolver(domain, watch=watch, fluid=self._fluid)
        self._transport = Transport(domain)
        self._norms = _Norms(domain, self.flow.velocities, self.fraction)
        self._reached = 0.0  # the share of gravity that the fields of the last call hold
        self._warm = False

    def solve(self, groups: Groups) -> CoupledSolution:
        """The steady state at these groups. Raises `NotConverged` with the last passes where it does not get there."""
        if self.mode == "passive":
            return self._pass(groups)[0]
        try:
            if not self._warm:  # the flow of antisolvent alone carries the first concentration
                self._only_antisolvent()
                self.fraction.x.array[:] = self._pass(groups)[1]
                self._warm = True
            return self._continue(groups) if self.mode == "buoyant" else self._fixed_point(groups, 0.0, [])
        except NotConverged:
            self.forget()
            raise

    def rough_flow(self, groups: Groups) -> FlowSolution:
        """The flow of antisolvent alone, to `ROUGH`: enough for a finer mesh to start from, and to follow."""
        self._only_antisolvent()
        self._warm = False
        return self.flow.solve(groups.reynolds, self._flows(groups), ROUGH)

    def forget(self) -> None:
        """Starts the next `solve` from rest, as after a failure."""
        self.flow.forget()
        self._reached, self._warm = 0.0, False

    # -- the fluid ---------------------------------------------------------------------------------------------------

    def _only_antisolvent(self) -> None:
        self.fraction.x.array[:] = 0.0
        self._weight.value[:] = 0.0

    def _flows(self, groups: Groups) -> dict[str, float]:
        share = groups.precursor_fraction
        return shared_flows(self.domain, {"antisolvent": 1 - share, "precursor": share})

    def _fluid(self, viscosity: fem.Constant) -> Fluid:
        return fluid_of(self.mixture, self.fraction, self._weight, viscosity)

    # -- the iterations ----------------------------------------------------------------------------------------------

    def _continue(self, groups: Groups) -> CoupledSolution:
        """Gravity in steps, from the share of it that the last call reached to all of it."""
        history: list[Iteration] = []
        here, step = self._reached, self._settings.first_gravity
        good = self.fraction.x.array.copy(), self.flow.state.x.array.copy()
        while True:
            target = min(1.0, here + step)
            try:
                solution = self._fixed_point(groups, target, history)
            except NotConverged:
                self.fraction.x.array[:], self.flow.state.x.array[:] = good
                if here == 1:  # the point before was too far away
                    here = 0.0
                elif (step := (target - here) / 2) < LEAST_STEP:
                    raise
                self._watch(f"full steps of gravity are too large; on from {here:.3g} with {step:.3g}")
                continue
            here = self._reached = target
            if here == 1:
                return solution
            good = self.fraction.x.array.copy(), self.flow.state.x.array.copy()
            step *= 3

    def _fixed_point(self, groups: Groups, gravity: float, history: list[Iteration]) -> CoupledSolution:
        """Flow and transport in turn, with a share of gravity, until neither velocity nor mixing moves; adds its passes
        to `history`.
        """
        settings = self._settings
        slack = 1.0 if gravity == 1 or self.mode == "properties" else LOOSE
        sign = math.copysign(1.0, self.mixture.excess_density)
        self._weight.value[:] = gravity * sign * groups.richardson * self._direction
        anderson = _Anderson(self._norms, settings.memory, settings.relaxation)
        began = len(history)
        index = None
        for _ in range(settings.most):
            before = self.flow.fields()[0]
            solution, after = self._pass(groups)
            now = solution.mixing[-1].index
            moved = Iteration(
                gravity,
                self._norms.velocity(solution.flow.velocity, before, groups.precursor_fraction),
                abs(now - index) if index is not None else math.inf,
                self._norms.fraction(after - self.fraction.x.array),
                now,
            )
            index = now
            history.append(moved)
            self._watch(str(moved))
            if moved.velocity < settings.velocity * slack and moved.mixing < settings.mixing * slack:
                return CoupledSolution(
                    self.mode, solution.flow, solution.velocity, solution.concentration, solution.mixing, history
                )
            self.fraction.x.array[:] = np.clip(anderson.next(self.fraction.x.array, after), 0.0, 1.0)
        tail = "; ".join(str(one) for one in history[began:][-4:])
        raise NotConverged(
            f"flow and concentration did not agree after {settings.most} passes (last: {tail})",
            "use a finer level or more passes; dense fluid above light may have no steady flow",
        )

    def _pass(self, groups: Groups) -> tuple[CoupledSolution, np.ndarray]:
        """The flow with the present fluid, what it carries, and the fluid that this would make, (nodes,)."""
        flow = self.flow.solve(groups.reynolds, self._flows(groups))
        self._watch("removing the divergence")
        velocity = divergence_free(self.domain, flow.velocity)
        self._watch("advection and diffusion")
        concentration = self._transport.solve(velocity, groups.peclet)
        fraction = np.clip(smoothed(self.domain, concentration.field).x.array, 0.0, 1.0)
        mixing = mixing_along(concentration.planes, groups.precursor_fraction)
        return CoupledSolution(self.mode, flow, velocity, concentration, mixing, []), fraction


def solve_coupled(
    domain: Domain,
    groups: Groups,
    mixture: Mixture,
    mode: Mode = "passive",
    gravity: Sequence[float] | None = None,
    settings: Settings | None = None,
    watch: Watch = lambda line: None,
) -> CoupledSolution:
    """Flow and concentration of one point; `gravity` is a direction in the mesh's axes, of any length, for "buoyant".

    Raises `NotConverged` where the two do not come to agree. Use `CoupledSolver` for several points on a mesh.
    """
    return CoupledSolver(domain, mixture, mode, gravity, settings, watch).solve(groups)


def fluid_of(mixture: Mixture, fraction: fem.Function, weight: fem.Constant, viscosity: fem.Constant) -> Fluid:
    """The fluid where the precursor's solvent has a volume fraction; `weight` is Ri ĝ, `viscosity` 1/Re."""

    def constant(value: float) -> fem.Constant:  # a number in the form itself would have it compiled anew for each
        return fem.Constant(fraction.function_space.mesh, value)

    logarithm = grunberg_nissan(fraction, constant(math.log(mixture.viscosity_ratio)), constant(mixture.interaction))
    ratio = ufl.exp(logarithm)
    return Fluid(
        viscosity=viscosity * ratio,
        density=1 + constant(mixture.excess_density) * fraction,
        force=fraction * weight,
        excess=viscosity * (ratio - 1),
    )


@dataclass(frozen=True)
class ArmState:
    """What one slice of an arm holds, `bores` from the junction's origin.

    fraction    mean concentration
    backflow    volume flow towards the inlet over the net flow through the slice; 0 where all fluid goes forward
    tilt        distance of the precursor's centroid from that of the slice, along gravity across the arm, in bores:
                positive where dense fluid lies low. 0 where there is no gravity across the arm.
    """

    bores: float
    fraction: float
    backflow: float
    tilt: float


def arm_states(
    domain: Domain,
    solution: CoupledSolution,
    name: str = "precursor",
    gravity: Sequence[float] | None = None,
    at: Sequence[float] = (1.25, 1.75, 2.25, 2.75),
    width: float = 0.4,
) -> list[ArmState]:
    """Slices of an arm whose axis leads to the mesh's origin, each `width` bores thick."""
    mesh, x, dx = domain.mesh, ufl.SpatialCoordinate(domain.mesh), domain.dx(6)
    normal = domain.normal(name)
    axis = ufl.as_vector(normal.tolist())
    across = np.zeros(domain.dim)
    if gravity is not None:
        pull = np.asarray(gravity, float)
        across = pull - (pull @ normal) * normal
        length = np.linalg.norm(across)
        across = across / length if length > 1e-9 * np.linalg.norm(pull) else np.zeros(domain.dim)
    along = ufl.dot(x, axis)
    off = x - along * axis
    first, last = fem.Constant(mesh, 0.0), fem.Constant(mesh, 0.0)
    inside = ufl.And(ufl.And(ufl.gt(along, first), ufl.lt(along, last)), ufl.lt(ufl.dot(off, off), 0.6**2))
    c, out = solution.concentration.field, ufl.dot(solution.velocity, axis)
    low = ufl.dot(x, ufl.as_vector(across.tolist()))
    one = fem.Constant(mesh, 1.0)
    wanted = (one, c, out, (out + abs(out)) / 2, low, c * low)
    forms = [compiled(ufl.conditional(inside, value, 0.0) * dx) for value in wanted]
    states = []
    for bores in at:
        first.value, last.value = bores - width / 2, bores + width / 2
        volume, amount, net, back, place, moment = (
            float(domain.comm.allreduce(fem.assemble_scalar(form))) for form in forms
        )
        tilt = moment / amount - place / volume if amount > 0 else 0.0
        states.append(ArmState(bores, amount / volume, back / -net, tilt))
    return states


def _direction(domain: Domain, gravity: Sequence[float] | None) -> np.ndarray:
    """The unit vector of gravity; raises `BadInput` where there is none, or where it breaks the mirror symmetry."""
    if gravity is None:
        raise BadInput("a buoyant flow needs the direction of gravity", "give the connector gravity = [x, y, z]")
    vector = np.asarray(gravity, float)
    length = np.linalg.norm(vector)
    if vector.shape != (domain.dim,) or not 0 < length < math.inf:
        raise BadInput(f"gravity {list(gravity)} is no direction in {domain.dim}-D", "give e.g. [0, 0, 1]")
    vector = vector / length
    if "symmetry" in domain.tags and abs(vector[mirror_axis(domain, "symmetry")]) > 1e-9:
        raise BadInput("gravity points out of the mirror plane", "set symmetric_half = false in the connector")
    return vector


class _Norms:
    """How far fields have moved, over all ranks."""

    def __init__(self, domain: Domain, velocities: fem.FunctionSpace, fraction: fem.Function) -> None:
        self._domain = domain
        self._now, self._before = fem.Function(velocities), fem.Function(velocities)
        self._least = fem.Constant(domain.mesh, 1.0)
        change = self._now - self._before
        relative = ufl.dot(change, change) / (ufl.dot(self._now, self._now) + self._least**2)
        dx = domain.dx(4)
        self._form = compiled(relative * dx)
        self._volume = domain.integral(fem.Constant(domain.mesh, 1.0) * dx)
        self._owned = fraction.function_space.dofmap.index_map.size_local
        self._nodes = domain.comm.allreduce(self._owned)

    def velocity(self, now: fem.Function, before: fem.Function, least: float) -> float:
        """The root mean square over the volume of |change| over the speed, or over `least` where that is more."""
        self._now.x.array[:], self._before.x.array[:] = now.x.array, before.x.array
        self._least.value = least
        total = self._domain.comm.allreduce(fem.assemble_scalar(self._form))
        return math.sqrt(float(np.real(total)) / self._volume)

    def fraction(self, change: np.ndarray) -> float:
        """The root mean square of nodal values."""
        return math.sqrt(self.product(change[None], change[None])[0, 0])

    def product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Mean products of rows of nodal values, (m, nodes) and (n, nodes): (m, n), on all ranks."""
        here = left[:, : self._owned] @ right[:, : self._owned].T
        return np.asarray(self._domain.comm.allreduce(here)) / self._nodes


class _Anderson:
    """Anderson's acceleration of x = g(x) (Walker & Ni 2011): the next x from the last few and what g made of them."""

    def __init__(self, norms: _Norms, memory: int, relaxation: float) -> None:
        self._norms, self._memory, self._relaxation = norms, memory, relaxation
        self._points: list[np.ndarray] = []
        self._residuals: list[np.ndarray] = []

    def next(self, point: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Where to go on from a point and what became of it, (nodes,)."""
        residual = image - point
        self._points = [*self._points, point.copy()][-self._memory - 1 :]
        self._residuals = [*self._residuals, residual][-self._memory - 1 :]
        step = self._relaxation * residual
        if len(self._points) == 1:
            return point + step
        steps = np.diff(np.array(self._points), axis=0)
        changes = np.diff(np.array(self._residuals), axis=0)
        gram = self._norms.product(changes, changes)
        right = self._norms.product(changes, residual[None])[:, 0]
        gram += 1e-10 * np.trace(gram) * np.eye(len(gram))
        weights = np.linalg.solve(gram, right) if np.trace(gram) > 0 else np.zeros(len(gram))
        return point + step - weights @ (steps + self._relaxation * changes)
