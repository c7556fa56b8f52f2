"""A run: arm, prime, ramp at one flow ratio, hold, stop. Whatever happens, every pump is stopped, verified."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from twin.rig.clock import Clock
from twin.rig.errors import NotStopped, PumpAlarm, RunStopped
from twin.rig.operation.drive import Drive
from twin.rig.operation.interlocks import Measured, Snapshot
from twin.rig.operation.interrupts import Interrupts
from twin.rig.operation.ledger import Balance
from twin.rig.operation.stopping import Gate, caught, not_stopped, stop_all, stop_order, words
from twin.rig.operation.volumes import Volumes
from twin.rig.planning.alternation import HEADROOM, planned_ml, refill_ml_h, stroke_ml
from twin.rig.planning.schedule import Plan
from twin.rig.planning.steps import PARTNER, Step
from twin.rig.pumps.protocol import Pump
from twin.rig.record.recorder import Recorder

#: Wall time between two looks at a pump, s. A look is 32 bytes there and back, 17 ms at 19200 baud: two pumps take a
#: third of the line, three half of it, and what is left is for a stop from outside.
POLL_S = 0.1
#: On a slower line the looks take half of the time at most; but a pump waits for no more than this, s of wall time.
SLOWEST_POLL_S = 0.5
#: Between looks a pump may speak by itself, of an alarm: that is listened for so often, s of wall time.
LISTEN_S = 0.01
#: An alarm takes so long, ten bytes at 19200 baud, s of wall time: it is heard out before anything is asked.
ALARM_S = 0.006
#: A look takes about this long at 19200 baud, s of wall time: none is begun so shortly before new rates are due.
LOOK_S = 0.035
#: What is less than this is no time, s: a clock could not tell it.
_INSTANT_S = 1e-6
#: Steps on the way to others, which may be left out when they come too late.
_ON_THE_WAY = ("ramp", "handover")
#: Wall time after which a pump stops by itself when it hears nothing, s.
GUARD_S = 4.0
#: How far a counter may run ahead of what it was told, and how late a stop may come, s of wall time, before a limit of
#: volume strikes.
AHEAD, LATE_S = 0.01, 1.0


@dataclass(frozen=True)
class Progress:
    """How a run stands. Rates in mL/h and volumes in mL by pump, times in s of process time.

    `kind` is armed, prime, ramp, hold or handover; `fraction` goes from 0 to 1.
    """

    kind: str
    fraction: float
    elapsed_s: float
    total_s: float
    rates_ml_h: dict[str, float]
    counted_ml: dict[str, float]
    left_ml: dict[str, float]


OnProgress = Callable[[Progress], None]


class Session:
    """Drives the pumps of a plan once.

    Args:
        plan: what to do.
        pumps: the pumps by name.
        clock: process time.
        recorder: takes every event.
        on_progress: called at each look at the pumps; what it raises ends the run.
        cancel: ends the run when it is set.
        volumes: the ledger of what the syringes hold; None for simulated ones, which are new in every run.
        steps: what to do instead of the plan's steps: they may be made up as the run goes.
    """

    def __init__(
        self,
        plan: Plan,
        pumps: Mapping[str, Pump],
        clock: Clock,
        recorder: Recorder,
        on_progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        volumes: Volumes | None = None,
        steps: Iterable[Step] | None = None,
    ) -> None:
        self.plan, self.pumps, self.clock, self.recorder = plan, pumps, clock, recorder
        self.volumes = volumes
        self.steps = plan.steps if steps is None else steps
        self.on_progress = on_progress
        self.cancel = cancel or threading.Event()
        #: Told the sum of the flows, mL/h, whenever it changes.
        self.on_rates: Callable[[float], None] = lambda total_ml_h: None
        #: Whether a pump has said something unasked that nobody has read yet.
        self.spoken: Callable[[], bool] = lambda: False
        self.gate = Gate()
        self.balances: dict[str, Balance] = {}
        #: In words, the pumps that never started and could not be verified as stopped at the end.
        self.unverified: list[str] = []
        self.drives = {
            name: Drive(
                name,
                pump,
                clock,
                recorder,
                self.gate,
                plan.pumps[name].range_ml_h,
                plan.filled_ml(name),
                plan.reserve_ml(name),
                volumes.take if volumes else None,
            )
            for name, pump in pumps.items()
        }
        self._kind, self._rates = "armed", dict[str, float]()
        self._zero = 0.0
        self._running = False
        self._look_s = LOOK_S  # how long the last look took, wall time

    @property
    def moved(self) -> bool:
        """Whether a pump may have moved."""
        return any(drive.may_move for drive in self.drives.values())

    def run(self, interrupts: Interrupts) -> None:
        """Does it all. Whatever ends the run early is raised again, after every pump was stopped."""
        reason: BaseException | None = None
        try:
            self._arm()
            self._zero, self._running = self.clock.now(), True
            for step in self.steps:
                if step.kind in _ON_THE_WAY and self.clock.now() >= self._zero + step.end_s:
                    continue  # behind its time: the next rates are due already
                self._do(step)
            interrupts.shield()
        except BaseException as error:  # noqa: BLE001  raised again below, once the pumps stand
            # An interrupt strikes once only (see Interrupts), so none can cut in between here and the stop.
            interrupts.shield()
            reason = error
        self._running = False
        unverified = self._stop(reason)
        unwritten = caught(self.recorder.release)
        alarms = [PumpAlarm(pump.name, pump.alarm) for pump in self.pumps.values() if pump.alarm is not None]
        reason = reason or next(iter(alarms), None) or unwritten  # an alarm may come as late as with the stop
        for note in self.unverified:
            if (ended_by := unverified or reason) is not None:
                ended_by.add_note(note)
        if unverified is not None:
            raise unverified from reason
        if reason is not None:
            raise reason

    def snapshot(self, measured: Mapping[str, Measured]) -> Snapshot | None:
        """What the interlocks judge, with what the sensors say; None before the first step and after the last one."""
        if not self._running:
            return None
        pumps = {name: drive.view() for name, drive in self.drives.items()}
        ends_s = self._zero + self.plan.duration_s if self.steps is self.plan.steps else math.inf
        return Snapshot(self.clock.now(), self.clock.wall(), self._kind, ends_s, self.clock.speed, pumps, measured)

    def _arm(self) -> None:
        """Makes sure of each pump and its syringe, arms its timer, and sets the first rate; nothing moves."""
        guard_s = min(math.ceil(GUARD_S * self.clock.speed), 255)
        for name, drive in self.drives.items():
            pump = self.plan.pumps[name]
            first = self.plan.first_rate_ml_h(name)
            limit = self._stroke_ml(name, first, 0.0) if self._turns(name) else self._limit_ml(name)
            drive.arm(pump.syringe.diameter_mm, self.plan.fine(name), first, guard_s, limit)
        if self.volumes is not None:
            largest = {name: self.plan.largest_ml_h(name) for name in self.drives}
            guards = [drive.guard_s for drive in self.drives.values()]
            guard = None if None in guards else max(g for g in guards if g is not None)
            self.volumes.begin(self.plan.setpoint.checksum, largest, guard)
        for drive in self.drives.values():
            drive.ready()
        self._tell()

    def _do(self, step: Step) -> None:
        """Sets the rates of a step, and looks at the pumps until it ends."""
        self._check()
        late_s = max(self.clock.now() - self._zero - step.start_s, 0.0)
        for name in self._order(step):
            drive, rate = self.drives[name], self._rate(step, name)
            begins = self._turns(name) and rate and not drive.told_ml_h
            drive.tell(rate, self._stroke_ml(name, rate, step.start_s) if begins else None)
        if step.rates_ml_h != self._rates:
            self.on_rates(sum(max(rate, 0.0) for rate in step.rates_ml_h.values()))
        self._kind, self._rates = step.kind, step.rates_ml_h
        self.recorder.event(step.kind, sync=False, rates_ml_h=step.rates_ml_h, late_s=round(late_s, 4))
        self._look_overdue()
        while (left := (self._zero + step.end_s - self.clock.now()) / self.clock.speed) > _INSTANT_S:
            self._check()
            due = min(self.drives.values(), key=lambda drive: drive.looked_s)
            period = min(max(POLL_S, 2 * len(self.drives) * self._look_s), SLOWEST_POLL_S)
            wait = due.looked_s + period - self.clock.wall()
            if wait > _INSTANT_S:
                self._wait(min(left, wait))
            elif left > LOOK_S:
                self._look(due)
            else:
                self._wait(left)
        self._check()

    def _look_overdue(self) -> None:
        """Where new rates take all the time, as with pumps that think before they answer, the looks go before them.

        The rates that follow are late then, and those that are too late are left out.
        """
        due = min(self.drives.values(), key=lambda drive: drive.looked_s)
        if self.clock.wall() - due.looked_s > SLOWEST_POLL_S:
            self._look(due)

    def _wait(self, seconds: float) -> None:
        """Waits for this wall time; where a pump says something meanwhile, each is asked at once."""
        end = self.clock.wall() + seconds
        while (rest := end - self.clock.wall()) > _INSTANT_S and not self.cancel.is_set():
            self.clock.sleep(min(rest, LISTEN_S) * self.clock.speed, self.cancel)
            if self.spoken():
                self.clock.sleep(ALARM_S * self.clock.speed)
                for drive in self.drives.values():
                    self._look(drive)
                return

    def _rate(self, step: Step, name: str) -> float:
        """The rate of a pump in a step; a refill that begins makes up for what its syringe is behind the plan."""
        rate, drive = step.rates_ml_h.get(name, 0.0), self.drives[name]
        if rate >= 0 or drive.told_ml_h:
            return rate if rate >= 0 else drive.told_ml_h
        planned = planned_ml(self.plan.steps, self.plan.filled_ml(name), name, step.start_s)
        return refill_ml_h(step, self.plan.pumps[name], planned - drive.left_ml)

    def _turns(self, name: str) -> bool:
        """Whether this pump takes turns with another one."""
        return PARTNER in self.pumps and name != "precursor"

    def _limit_ml(self, name: str) -> float:
        """At what volume a pump without a timer is to stop by itself, mL: past what the run needs, within its syringe.

        So a counter that runs ahead, or a stop that comes late, ends no run before its time.
        """
        needed_ml, late_ml = self.plan.needed_ml(name), self.plan.largest_ml_h(name) * LATE_S * self.clock.speed / 3600
        most_ml = self.drives[name].left_ml - 0.5 * self.plan.reserve_ml(name)
        return max(needed_ml, min((1 + AHEAD) * needed_ml + late_ml, most_ml))

    def _stroke_ml(self, name: str, rate_ml_h: float, at_s: float) -> float:
        """At what volume a pump that takes turns is to stop by itself, mL: past its stroke, but within its syringe.

        A stop that comes late stays within that, and so does a refill that makes up for what is missing.
        """
        volume_ml, left_ml = self.plan.pumps[name].syringe.volume_ml, self.drives[name].left_ml
        if rate_ml_h < 0:
            return (1 - 0.5 * HEADROOM) * volume_ml - left_ml
        planned_ml = stroke_ml(self.plan.steps, name, at_s) + HEADROOM * volume_ml
        return min(planned_ml, left_ml - 0.5 * self.plan.reserve_ml(name))

    def _order(self, step: Step) -> list[str]:
        """Rising, the antisolvent leads; falling, the precursor does: its share never exceeds that of the two ends."""

        def flow(rates: Mapping[str, float]) -> float:
            return sum(max(rate, 0.0) for name, rate in rates.items() if name != "precursor")

        told = {name: drive.told_ml_h for name, drive in self.drives.items()}
        # The last digits of two rates make no rise; and in a hand-over nothing but the shares change.
        if step.kind == "handover" or flow(step.rates_ml_h) >= 0.999 * flow(told):
            # Between two antisolvent pumps the one that rises goes first, so that the flow never gaps.
            return sorted(
                self.drives, key=lambda name: (name == "precursor", told[name] - step.rates_ml_h.get(name, 0.0))
            )
        return stop_order(self.drives)

    def _check(self) -> None:
        if self.gate.reason is not None or self.cancel.is_set():
            raise RunStopped(self.gate.reason or "the run was stopped on request", "")

    def _look(self, drive: Drive) -> None:
        began = self.clock.wall()
        drive.look()
        self._look_s = self.clock.wall() - began
        counted_ml = {drive.name: round(drive.counted.infused_ml, 6)}
        left_ml = {drive.name: round(drive.left_ml, 6)}
        self.recorder.event("look", sync=False, counted_ml=counted_ml, left_ml=left_ml)
        self._tell()

    def _counted(self) -> dict[str, float]:
        return {name: round(drive.counted.infused_ml, 6) for name, drive in self.drives.items()}

    def _tell(self) -> None:
        if self.on_progress is None:
            return
        elapsed = self.clock.now() - self._zero if self._running else 0.0
        total = self.plan.duration_s
        self.on_progress(
            Progress(
                kind=self._kind,
                fraction=min(elapsed / total, 1.0),
                elapsed_s=elapsed,
                total_s=total,
                rates_ml_h={name: drive.told_ml_h for name, drive in self.drives.items()},
                counted_ml=self._counted(),
                left_ml={name: drive.left_ml for name, drive in self.drives.items()},
            )
        )

    def _stop(self, reason: BaseException | None) -> NotStopped | None:
        """Stops every pump, verified, and settles the accounts; returns, not raises, what it could not verify.

        Nothing here waits for the disk; what happened is written once the pumps stand.
        """
        began_s = self.clock.now()
        self.gate.shut("the run is being stopped")
        self.recorder.hold_back()
        self.recorder.event("stop", reason=words(reason))
        # A counter is asked for as soon as its pump stands: while others are waited for, its power may go.
        problems = stop_all(self.pumps, self.clock, self.recorder, stood=self._settle)
        # What is not verified may still move: its account stays open, for the next start to close.
        for name in stop_order(self.drives):
            if name in problems:
                continue
            caught(partial(self.pumps[name].guard, 0))
            drive = self.drives[name]
            if not drive.settled and (problem := caught(partial(self._settle, name))) is not None:
                self.recorder.event("volume", role=name, problem=words(problem))
        settled = {name: drive for name, drive in self.drives.items() if drive.settled}
        problem = None
        if self.volumes is not None:
            counted = {name: drive.counted for name, drive in settled.items()}
            lost = [name for name, drive in settled.items() if drive.lost]
            # One that heard none of the stops ran on as long as its timer let it, and was told nothing else since.
            unheard = {
                name: drive.bounds(began_s + (math.inf if drive.guard_s is None else drive.guard_s))
                for name, drive in self.drives.items()
                if name not in settled
            }
            telling = [name for name in unheard if self.pumps[name].cut_is_told]
            cleared = [name for name in unheard if self.drives[name].cleared]
            if (problem := caught(partial(self.volumes.close, counted, lost, unheard, telling, cleared))) is not None:
                self.recorder.event("volumes", problem=words(problem))
        if problem is None:  # while an account is open, the limit tells the next start whether the power was cut
            for drive in settled.values():
                caught(drive.unlimit)
        # What does not answer, and was never started, is nothing that this run has set going: it is named all the same.
        self.unverified = [
            f"{self.pumps[name].name} was not verified as stopped; this run did not start it ({words(problem)})"
            for name, problem in problems.items()
            if not self.drives[name].may_move
        ]
        problems = {name: problem for name, problem in problems.items() if self.drives[name].may_move}
        return not_stopped(self.pumps, problems) if problems else None

    def _settle(self, name: str) -> None:
        drive = self.drives[name]
        for balance in drive.settle():
            self.balances[balance.role] = balance
            self.recorder.event("volume", **balance.as_dict(), **({"reckoned": True} if drive.lost else {}))


def all_agree(balances: Mapping[str, Balance], pumps: Sequence[str]) -> bool:
    """Whether every pump has a balance, and every balance agrees."""
    return all(name in balances for name in pumps) and all(balance.agrees for balance in balances.values())
