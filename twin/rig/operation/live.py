"""A run whose setpoints come one by one, while it goes: it starts low, and then goes where it is told, or ends.

`LiveProgram` is asked for steps by the session in its own thread, and told targets by others. Each target is refused
outside the hull of the setpoint, beyond a pump, or where a syringe does not last for the way there.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping

from twin.case.schema import Case
from twin.errors import BadInput
from twin.rig.clock import Clock
from twin.rig.errors import RunStopped
from twin.rig.operation.session import Progress
from twin.rig.planning import hull
from twin.rig.planning.alternation import told_ml_h
from twin.rig.planning.limits import RESERVE, ROLES, Equipment, check_rates, command_step_s, equipment
from twin.rig.planning.recipe import RAMP_S, Leg, Program
from twin.rig.planning.schedule import LOWEST_SHARE, Plan, Supply
from twin.rig.planning.setpoint import Setpoint
from twin.rig.planning.steps import Step
from twin.rig.sensors import Board
from twin.units import to_ml, to_ml_per_h

#: Wall time of a step in which nothing changes, s: a new target, or the end, waits for so long at most.
SLICE_S = 0.25
#: So many slices before a syringe is down to its reserve, the run ends.
SPARE_SLICES = 3


class Pending:
    """Something that ends later, well or with an error: what `bluesky` calls a status. Any thread may use it."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Pending], None]] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Pending({'under way' if not self.done else 'done' if self._error is None else self._error})"

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    @property
    def success(self) -> bool:
        """Whether it has ended well."""
        return self.done and self._error is None

    def exception(self, timeout: float | None = 0.0) -> BaseException | None:
        """What it ended with, None where it ended well; raises `TimeoutError` where it has not after `timeout`, s."""
        if not self._ended.wait(timeout):
            raise TimeoutError("it has not ended yet")
        return self._error

    def wait(self, timeout: float | None = None) -> None:
        """Waits for its end, at most `timeout`, s; raises what it ended with."""
        error = self.exception(timeout)
        if error is not None:
            raise error

    def add_callback(self, callback: Callable[[Pending], None]) -> None:
        """Calls back with this when it ends; at once where it has."""
        with self._lock:
            if not self.done:
                self._callbacks.append(callback)
                return
        callback(self)

    def finish(self, error: BaseException | None = None) -> Pending:
        """Ends it; a second call does nothing."""
        with self._lock:
            if self.done:
                return self
            self._error = error
            self._ended.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
        return self


class LiveProgram:
    """The steps of one live run.

    Args:
        case: the case with its rig.
        setpoint: the proposal whose hull the run stays in.
        clock: process time.
        ramp_s: how long the way from one target to the next takes, s.
        residences: how many residence times of the outlet a target is held before it counts as reached.

    Raises:
        BadInput: residence times are asked for, and the case does not say what the outlet holds.
    """

    def __init__(
        self, case: Case, setpoint: Setpoint, clock: Clock, ramp_s: float = RAMP_S, residences: float = 0.0
    ) -> None:
        if not (0 < ramp_s < math.inf and 0 <= residences < math.inf):
            raise BadInput(f"a ramp of {ramp_s:g} s, {residences:g} residence times: that can't be", "give a ramp > 0")
        if residences and case.rig.outlet_volume is None:
            raise BadInput("nobody has said what the outlet holds", 'give rig.outlet_volume, e.g. "0.5 mL"')
        self.cancel = threading.Event()
        self.started = Pending()
        #: What the run ended with, once it is over.
        self.error: BaseException | None = None
        self.progress: Progress | None = None
        self.board = Board()
        self._ramp_s, self._residences = ramp_s, residences
        self._outlet_ml = to_ml(case.rig.outlet_volume or 0.0)
        self._setpoint, self._clock = setpoint, clock
        self._pumps: dict[str, Equipment] = {role: equipment(case)[role] for role in ROLES}
        self._corners = [(to_ml_per_h(a), to_ml_per_h(p)) for a, p in setpoint.hull]
        self._ending = threading.Event()
        self._lock = threading.RLock()
        self._rates: dict[str, float] = {}
        self._move: tuple[dict[str, float], Pending] | None = None
        self._new = False
        self._readings: list[tuple[tuple[str, ...], float, Pending]] = []
        self._over = False

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self._over

    @property
    def target_ml_h(self) -> dict[str, float]:
        """Where it is, or is going, mL/h by role."""
        with self._lock:
            return dict(self._move[0] if self._move else self._rates)

    def plan(self, case: Case, setpoint: Setpoint, filled_ml: Mapping[str, float]) -> Plan:
        """The most that the run may do: everything but the reserve, at the largest rates of the hull."""
        check_rates(case, setpoint.point)
        rates = {role: to_ml_per_h(getattr(setpoint.point, f"{role}_m3_s")) for role in ROLES}
        share = max(LOWEST_SHARE, *(pump.range_ml_h[0] / rates[role] for role, pump in self._pumps.items()))
        self._rates = {role: self._told(role, share * rate) for role, rate in rates.items()}
        steps, supply = [Step("idle", 0.0, 0.0, self._rates)], list[Supply]()
        for role, most in zip(ROLES, map(max, zip(*self._corners, strict=True)), strict=True):
            pump, rate = self._pumps[role], self._told(role, min(most, self._pumps[role].range_ml_h[1]))
            filled = filled_ml.get(role, pump.syringe.volume_ml)
            usable = filled - RESERVE * pump.syringe.volume_ml
            if usable <= 0:
                raise BadInput(f"the {role} syringe holds {filled:g} mL, which is its reserve", "fill it")
            begin = steps[-1].end_s
            steps.append(Step("live", begin, begin + usable / rate * 3600, {role: rate}))
            supply.append(Supply(role, pump.syringe.name, filled, rate, filled / rate * 3600, usable))
        program = Program((Leg(rates, self._ramp_s, 0.0),), {}, "live")
        note = "live: the setpoints come as the run goes; the steps are the most that it may take"
        return Plan(setpoint, program, dict(self._pumps), tuple(steps), tuple(supply), (note,))

    def check(self, target_ml_h: Mapping[str, float]) -> dict[str, float]:
        """The target as the pumps will be told it, mL/h by role.

        Raises `BadInput` outside the hull, beyond a pump, or where a syringe does not last for the way there.
        """
        if set(target_ml_h) != set(ROLES):
            raise BadInput(f"a target needs the flows of {' and '.join(ROLES)}, not {sorted(target_ml_h)}", "give both")
        wanted = {role: float(target_ml_h[role]) for role in ROLES}
        for role, rate in wanted.items():
            low, high = self._pumps[role].range_ml_h
            if not low <= rate <= high:
                raise BadInput(
                    f"the {role} flow of {rate:.4g} mL/h is beyond {self._pumps[role].name}: {low:.3g} to {high:.5g}"
                    " mL/h",
                    "choose a flow in that range",
                )
        if not hull.contains(self._corners, (wanted["antisolvent"], wanted["precursor"])):
            raise BadInput(
                f"{wanted['antisolvent']:g} + {wanted['precursor']:g} mL/h lies outside the hull of the points that"
                f" {self._setpoint.path} rests on",
                "extrapolation is refused: choose flows inside, or widen the sweep",
            )
        told = {role: self._told(role, rate) for role, rate in wanted.items()}
        self._check_supply(told)
        return told

    def go_to(self, target_ml_h: Mapping[str, float], status: Pending) -> None:
        """Goes there; `status` ends when it is there, and has settled. Raises `BadInput` as `check` does."""
        told = self.check(target_ml_h)
        with self._lock:
            if self._over or self._ending.is_set():
                raise BadInput("the run has ended", "stage the reactor again")
            if self._move is not None:
                raise BadInput("the rig is still on its way to the flows before", "wait for it")
            self._move, self._new = (told, status), True

    def await_readings(self, sensors: tuple[str, ...], status: Pending) -> None:
        """`status` ends when each of the sensors was read anew."""
        with self._lock:
            if self._over:
                raise BadInput("the run has ended", "stage the reactor again")
            self._readings.append((sensors, self._clock.wall(), status))

    def end(self) -> None:
        """Ends the run at the next step."""
        self._ending.set()

    def heed(self, progress: Progress) -> None:
        """Told how the run stands, at each look at the pumps."""
        self.progress = progress
        with self._lock:
            waiting, self._readings = self._readings, []
            due = [entry for entry in waiting if all(self._read_since(name, entry[1]) for name in entry[0])]
            self._readings += [entry for entry in waiting if entry not in due]
        for _, _, status in due:
            status.finish()

    def finish(self, error: BaseException | None) -> None:
        """The run is over, with an error or without; whoever waits for something is told so."""
        with self._lock:
            self.error, self._over = error, True
            left = [status for _, _, status in self._readings] + ([self._move[1]] if self._move else [])
            self._readings, self._move = [], None
        for status in (self.started, *left):
            status.finish(error or RunStopped("the rig was stopped before it came so far", "stage it again"))

    def steps(self, board: Board) -> Iterator[Step]:
        """What the session does: low flow first; then, until the end, the way to each target, and the stay there."""
        self.board = board
        zero, kind, due_s = self._clock.now(), "idle", math.inf
        while not self._ending.is_set():
            if self._new:
                yield from self._ramp(zero)
                kind, due_s = "hold", self._clock.now() + self._settling_s()
                continue
            yield self._step(zero, kind, self._rates, SLICE_S * self._clock.speed)
            self.started.finish()
            if self._clock.now() >= due_s:
                due_s = math.inf
                self._arrived()

    def _ramp(self, zero_s: float) -> Iterator[Step]:
        """A straight line from the present flows to the new ones, at whatever pace the pumps can be told it."""
        with self._lock:
            self._new = False
            start, goal = self._rates, self._move[0] if self._move else self._rates
        begin_s, step_s = self._clock.now(), command_step_s(self._pumps.values())
        while (share := (self._clock.now() - begin_s) / self._ramp_s) < 1 and not self._ending.is_set():
            self._rates = {role: self._told(role, (1 - share) * start[role] + share * goal[role]) for role in ROLES}
            yield self._step(zero_s, "ramp", self._rates, min(step_s, (1 - share) * self._ramp_s))
        self._rates = goal

    def _step(self, zero_s: float, kind: str, rates: dict[str, float], seconds: float) -> Step:
        """The next step. Raises `RunStopped` where a syringe, or the program that this runs in, has come to its end."""
        if not threading.main_thread().is_alive():
            raise RunStopped("the program that drove the rig has ended", "")
        spare_s = SPARE_SLICES * SLICE_S * self._clock.speed
        for role, left_ml in self._left().items():
            if left_ml < rates[role] * spare_s / 3600:
                raise RunStopped(f"the {role} syringe is down to its reserve", "refill it, and stage the rig again")
        now_s = self._clock.now() - zero_s
        return Step(kind, now_s, now_s + seconds, rates)

    def _arrived(self) -> None:
        with self._lock:
            move, self._move = self._move, None
        if move is not None:
            move[1].finish()

    def _settling_s(self) -> float:
        return self._residences * self._outlet_ml / sum(self._rates.values()) * 3600

    def _left(self) -> dict[str, float]:
        """What may still be taken out of the syringes, mL by role."""
        progress = self.progress
        if progress is None:
            return {}
        return {role: progress.left_ml[role] - RESERVE * self._pumps[role].syringe.volume_ml for role in ROLES}

    def _check_supply(self, told: Mapping[str, float]) -> None:
        settling_s = self._residences * self._outlet_ml / sum(told.values()) * 3600
        stay_s = settling_s + 2 * SPARE_SLICES * SLICE_S * self._clock.speed
        for role, left_ml in self._left().items():
            here = self._rates.get(role, 0.0)
            needed = (0.5 * (here + told[role]) * self._ramp_s + told[role] * stay_s) / 3600
            if needed > left_ml:
                raise BadInput(
                    f"the {role} syringe does not last for the way to {told[role]:g} mL/h: it takes {needed:.3g} mL,"
                    f" and {max(left_ml, 0.0):.3g} mL are there above the reserve",
                    "choose lower flows, or end the run and refill",
                )

    def _told(self, role: str, rate_ml_h: float) -> float:
        return told_ml_h(rate_ml_h, self._pumps[role].range_ml_h[1])

    def _read_since(self, sensor: str, wall_s: float) -> bool:
        reading = self.board.latest(sensor)
        return reading is not None and reading.wall_s >= wall_s
