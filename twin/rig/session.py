"""A run: arm, start low, ramp at one flow ratio, hold, stop. Whatever happens, both pumps are stopped, verified."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from twin.errors import TwinError
from twin.rig.clock import Clock
from twin.rig.errors import NotStopped, PumpAlarm, RigError, RunStopped
from twin.rig.interrupts import Interrupts
from twin.rig.ledger import Account, Balance
from twin.rig.limits import ROLES
from twin.rig.planning import Plan
from twin.rig.pumps.protocol import Dispensed, Pump, Span, Status
from twin.rig.recorder import Recorder
from twin.rig.steps import Step

#: Wall time between two looks at the pumps, s.
POLL_S = 0.2


@dataclass(frozen=True)
class Progress:
    """How a run stands. Rates in mL/h and volumes in mL by role, times in s of process time.

    `kind` is armed, ramp, hold or stopped; `fraction` goes from 0 to 1.
    """

    kind: str
    fraction: float
    elapsed_s: float
    total_s: float
    rates_ml_h: dict[str, float]
    counted_ml: dict[str, float]
    left_ml: dict[str, float]


OnProgress = Callable[[Progress], None]


@dataclass
class Session:
    """Drives the pumps of a plan once.

    Args:
        plan: what to do.
        pumps: the pumps by role.
        clock: process time.
        recorder: takes every event.
        on_progress: called at each look at the pumps; what it raises ends the run.
        cancel: ends the run when it is set.
    """

    plan: Plan
    pumps: Mapping[str, Pump]
    clock: Clock
    recorder: Recorder
    on_progress: OnProgress | None = None
    cancel: threading.Event | None = None
    balances: dict[str, Balance] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._accounts = {role: Account(role) for role in self.pumps}
        self._told: dict[str, float] = {}
        self._may_move: set[str] = set()
        self._zero = 0.0

    def run(self, interrupts: Interrupts) -> None:
        """Does it all. Whatever ends the run early is raised again, after both pumps were stopped."""
        reason: BaseException | None = None
        try:
            self._arm()
            self._start()
            for step in self.plan.steps:
                self._do(step)
            interrupts.shield()
        except BaseException as error:  # noqa: BLE001  raised again below, once the pumps stand
            # An interrupt strikes once only (see Interrupts), so none can cut in between here and the stop.
            interrupts.shield()
            reason = error
        unverified = self._stop_all(reason)
        unwritten = _caught(self.recorder.release)
        alarms = [PumpAlarm(pump.name, pump.alarm) for pump in self.pumps.values() if pump.alarm is not None]
        reason = reason or next(iter(alarms), None) or unwritten  # an alarm may come as late as with the stop
        if unverified is not None:
            raise unverified from reason
        if reason is not None:
            raise reason

    def _arm(self) -> None:
        """Makes sure of each pump and its syringe, and sets the low rates; nothing moves."""
        for role in ROLES:
            pump = self.pumps[role]
            version = self._identify(pump)
            status = pump.status()
            if status is not Status.STOPPED:
                self._may_move.add(role)
                raise RigError(
                    f"{pump.name} was not at rest: it said {status.name.lower()}",
                    "both pumps are stopped now: find out who started it, then run again",
                )
            pump.prepare(self.plan.pumps[role].syringe.diameter_mm, self.plan.fine(role))
            self._set_rate(role, self.plan.steps[0].rates_ml_h[role])
            self.recorder.event("armed", role=role, version=version)
        self._tell("armed")

    def _identify(self, pump: Pump) -> str:
        """Asks for the version. The alarm of being switched on is acknowledged; any other needs the operator."""
        try:
            return pump.identify()
        except PumpAlarm as alarm:
            if alarm.code != "R":
                raise
            pump.acknowledge()
            self.recorder.event("acknowledged", pump=pump.name, alarm=alarm.code)
            return pump.identify()

    def _start(self) -> None:
        """Starts the antisolvent, then the precursor, which never flows alone."""
        for role in ROLES:
            self.recorder.event("start", role=role, rate_ml_h=self._told[role])
            self._may_move.add(role)
            self.pumps[role].start()
            self._book(role, self._told[role])
        self._zero = self.clock.now()

    def _do(self, step: Step) -> None:
        """Sets the rates of a step, and looks at both pumps until it ends."""
        for role in ROLES:  # on the way up the antisolvent leads, so the precursor's share never exceeds the setpoint's
            if step.rates_ml_h[role] != self._told[role]:
                self._set_rate(role, step.rates_ml_h[role])
                self._book(role, step.rates_ml_h[role])
        self.recorder.event(step.kind, rates_ml_h=step.rates_ml_h)
        while (left := self._zero + step.end_s - self.clock.now()) > 0:
            self._look(step.kind)
            self.clock.sleep(min(left, POLL_S * self.clock.speed), self.cancel)
            if self.cancel is not None and self.cancel.is_set():
                raise RunStopped("the run was stopped on request", "")
        self._look(step.kind)

    def _look(self, kind: str) -> None:
        """Both pumps must infuse; an alarm, a silence or a stop at the pump's keys ends the run."""
        counted = {role: self.pumps[role].dispensed() for role in ROLES}
        for role, seen in counted.items():
            if seen.status is not Status.INFUSING:
                raise RigError(
                    f"{self.pumps[role].name} stopped by itself: it says {seen.status.name.lower()}",
                    "was it stopped at its keys? Look at it, then run again",
                )
        self._tell(kind, counted)

    def _tell(self, kind: str, counted: Mapping[str, Dispensed] | None = None) -> None:
        counted_ml = {role: counted[role].infused_ml if counted else 0.0 for role in ROLES}
        elapsed = self.clock.now() - self._zero if counted else 0.0
        total = self.plan.duration_s
        progress = Progress(
            kind=kind,
            fraction=min(elapsed / total, 1.0),
            elapsed_s=elapsed,
            total_s=total,
            rates_ml_h=dict(self._told),
            counted_ml=counted_ml,
            left_ml={entry.role: entry.filled_ml - counted_ml[entry.role] for entry in self.plan.supply},
        )
        if counted:
            self.recorder.event("look", counted_ml=counted_ml)
        if self.on_progress is not None:
            self.on_progress(progress)

    def _set_rate(self, role: str, rate_ml_h: float) -> None:
        self.pumps[role].set_rate_ml_h(rate_ml_h)
        self._told[role] = rate_ml_h

    def _book(self, role: str, rate_ml_h: float) -> None:
        """Enters the rate that a pump runs at from its last change on; from now on, where it reported none."""
        account, span = self._accounts[role], self.pumps[role].changed
        if span is None or span.middle_s <= account.since_s:
            now = self.clock.now()
            span = Span(now, now)
        account.command(rate_ml_h, span)

    def _stop_all(self, reason: BaseException | None) -> NotStopped | None:
        """Stops the precursor, then the antisolvent, and verifies both; returns, not raises, what it could not verify.

        Nothing here waits for the disk; what happened is written once the pumps stand.
        """
        self.recorder.hold_back()
        order = tuple(reversed(ROLES))
        self.recorder.event("stop", reason=_words(reason))
        for role in order:  # first one quick stop to each: a silent pump must not delay the other
            _caught(self.pumps[role].request_stop)
        problems: dict[str, BaseException] = {}
        for role in order:
            problem = _caught(self.pumps[role].stop)
            self.recorder.event("stopped" if problem is None else "NOT STOPPED", role=role, problem=_words(problem))
            # What does not answer from the start, and was never started, is no pump that could be running.
            if problem is not None and role in self._may_move:
                problems[role] = problem
        for role in order:
            if role in self._may_move:
                problem = _caught(partial(self._balance, role))
                if problem is not None:
                    self.recorder.event("volume", role=role, problem=_words(problem))
        if not problems:
            return None
        reasons = "; ".join(_words(problem) for problem in problems.values())
        return NotStopped([self.pumps[role].name for role in problems], reasons)

    def _balance(self, role: str) -> None:
        self._book(role, 0.0)
        self.balances[role] = self._accounts[role].balance(self.pumps[role].dispensed(), self.clock.now())
        self.recorder.event("volume", **self.balances[role].as_dict())


def _caught(action: Callable[[], None]) -> BaseException | None:
    """Does something on the way to a stop; what it raises is returned, so the rest of the way is gone all the same."""
    try:
        action()
    except BaseException as error:  # noqa: BLE001  the other pump must be stopped, whatever this one did
        return error
    return None


def _words(error: BaseException | None) -> str:
    if error is None:
        return ""
    return error.message if isinstance(error, TwinError) else f"{type(error).__name__}: {error}".rstrip(": ")
