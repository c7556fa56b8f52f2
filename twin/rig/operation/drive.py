"""One pump in a run: what it was told, what it counted, and whether it may be moving."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from twin.rig.clock import Clock
from twin.rig.errors import PumpAlarm, RigError
from twin.rig.operation.evidence import Bounds, Evidence
from twin.rig.operation.interlocks import PumpView
from twin.rig.operation.ledger import Account, Balance
from twin.rig.operation.stopping import Gate
from twin.rig.pumps.protocol import Direction, Dispensed, Pump, Span, Status
from twin.rig.record.recorder import Recorder

#: A counter is set back at rest once it stands above this, mL, so that its four digits keep resolving 0.02 %.
CLEAR_ABOVE_ML = 500.0
#: A pump that was not heard for this wall time is asked before its first start, s: where no answer comes to the start
#: itself, nobody knows whether it runs, and a counter that stays at zero does not tell. The start of another
#: pump takes longer, so each but the first is asked, and follows the one before it as late as rates do in a ramp.
FRESH_S = 0.005
#: Alarms of a pump at rest: it was switched on, and nobody has spoken to it for a while.
POWER = "R"
HARMLESS = (POWER, "T")
_WAYS = {1: Status.INFUSING, -1: Status.WITHDRAWING}

#: `twin.rig.operation.volumes.Volumes.take`.
Taken = Callable[..., None]


class Drive:
    """A pump, its account, and the only way by which the session moves it.

    Args:
        name: the pump's name in the plan.
        pump: its driver.
        clock: process time.
        recorder: takes every event.
        gate: stands before each command that moves.
        allowed_ml_h: lowest and highest rate.
        filled_ml: what its syringe holds at the start.
        reserve_ml: what must stay in it.
        taken: told after each look what has left the syringe.
    """

    def __init__(
        self,
        name: str,
        pump: Pump,
        clock: Clock,
        recorder: Recorder,
        gate: Gate,
        allowed_ml_h: tuple[float, float],
        filled_ml: float,
        reserve_ml: float,
        taken: Taken | None = None,
    ) -> None:
        self.name, self.pump = name, pump
        self.told_ml_h = 0.0
        self.may_move = False
        #: Whether `settle` has asked it what it counted, after it stood.
        self.settled = False
        #: Whether its counter was lost; `settle` then makes `counted` the middle of what it may have been.
        self.lost = False
        #: Whether that was while it ran: it goes on, and its limit counts anew.
        self.cleared = False
        #: How long the pump runs on unheard, s; None where it has no timer.
        self.guard_s: float | None = None
        #: Wall time at which it was last heard, and of the last look, s.
        self.seen_s = self.looked_s = -math.inf
        self.counted = Dispensed(0.0, 0.0, 0.0, Status.STOPPED)
        self.balance: Balance | None = None
        self._clock, self._recorder, self._gate = clock, recorder, gate
        self._allowed, self._filled, self._reserve = allowed_ml_h, filled_ml, reserve_ml
        self._taken = taken
        self._account = Account(name)
        self._evidence = Evidence()
        self._carried = (0.0, 0.0)
        self._set = 0.0
        #: When it was told to start, where no answer showed that it had its power still, and with it what it was told.
        self._unsure_s: float | None = None
        self._limit_ml: float | None = None

    @property
    def left_ml(self) -> float:
        """What the syringe holds, as of the last look, mL."""
        return self._filled - self.counted.infused_ml + self.counted.withdrawn_ml

    @property
    def pumped_ml(self) -> float:
        """What it should have infused by now, mL."""
        return self._account.infused_ml(self._clock.now())

    def arm(self, diameter_mm: float, fine: bool, first_ml_h: float, guard_s: float, limit_ml: float) -> None:
        """Makes sure of the pump and its syringe, and sets its first rate; nothing moves.

        Args:
            diameter_mm: inner diameter of the syringe, mm.
            fine: whether to count in µL.
            first_ml_h: the rate at which it will start, signed.
            guard_s: how long the pump may hear nothing, s.
            limit_ml: past what it will infuse, or move in its first stroke: a pump without a timer stops there.
        """
        version = self._identify()
        status = self.pump.status()
        if status is not Status.STOPPED:
            self.may_move = True
            raise RigError(
                f"{self.pump.name} was not at rest: it said {status.name.lower()}",
                "all pumps are stopped now: find out who started it, then run again",
            )
        self.pump.prepare(diameter_mm, fine)
        guard = self.pump.guard(guard_s)
        self.guard_s = guard
        limited = guard is None and self._limit(limit_ml)
        self._preset(first_ml_h)
        self.seen_s = self.looked_s = self._clock.wall()
        self._recorder.event("armed", role=self.name, version=version, guard_s=guard, limited=limited)

    def ready(self) -> None:
        """Arming the others, and the disk, may have taken long: one that tells of no power cut is asked for it."""
        if self._limit_ml is None:
            self.seen_s = self.looked_s = self._clock.wall()
        else:
            self.look()

    def tell(self, rate_ml_h: float, stroke_ml: float | None = None) -> None:
        """From here on it runs at this rate: infusing above zero, withdrawing below, resting at zero.

        Where it starts a stroke of many, `stroke_ml` is where it stops by itself, if it has no timer.
        """
        if rate_ml_h == self.told_ml_h:
            return
        if self.told_ml_h and rate_ml_h * self.told_ml_h <= 0:
            self.rest()
        if not rate_ml_h:
            return
        if not self.told_ml_h:
            if not self.may_move and self._clock.wall() - self.seen_s > FRESH_S:
                self.look()
            if stroke_ml is not None and self.guard_s is None:
                self._set_back()  # the pump compares its target with its counter
                self._limit(stroke_ml)
            # On record before it moves, lest the process dies right after; before the gate, lest the disk hangs in it.
            self._recorder.event("start", sync=False, role=self.name, rate_ml_h=rate_ml_h)
            self._report(rate_ml_h)
        with self._gate.passing():
            if self.told_ml_h:
                self._evidence.may_go(rate_ml_h, self._clock.now())
            self._preset(rate_ml_h)
        if not self.told_ml_h:
            with self._gate.passing():  # asked anew: what was told above may have taken its time
                self.may_move, before_s = True, self._clock.now()
                self._evidence.may_go(rate_ml_h, before_s)
                try:
                    self.pump.start()
                except BaseException:
                    self._unsure_s = before_s
                    raise
        self.told_ml_h, heard_s = rate_ml_h, self._clock.now()
        self._book()
        self._evidence.alive(heard_s)  # it took what it would have answered by the alarm of a power cut
        self.seen_s = self._clock.wall()

    def rest(self) -> None:
        """Stops it, verified; a counter that has come far is carried over and set back."""
        self.pump.stop()
        self.told_ml_h = 0.0
        self._book()
        self.look()
        first, second = self._carried
        if max(self.counted.infused_ml - first, self.counted.withdrawn_ml - second) > CLEAR_ABOVE_ML:
            self._set_back()

    def _limit(self, volume_ml: float) -> bool:
        if volume_ml != self._limit_ml:
            self._limit_ml = None
            if self.pump.limit(volume_ml):
                self._limit_ml = volume_ml
        return self._limit_ml is not None

    def _set_back(self) -> None:
        """Carries its counters over and sets them to zero; on file only then, so that nothing is counted twice."""
        if (counted := (self.counted.infused_ml, self.counted.withdrawn_ml)) != self._carried:
            self.pump.clear()
            self._carried = counted
            self._report(self.told_ml_h, force=True)

    def look(self) -> None:
        """Asks what it has counted. It must do what it was told; a stop at its keys ends the run."""
        before = self._clock.now()
        seen = self.pump.dispensed()
        after = self._clock.now()
        if self._is_back(seen):
            self.lost = True  # for good: it may come as far again
            if seen.status.moving:  # so it has its power, and goes on
                self.cleared = True
                raise RigError(
                    f"{self.pump.name} runs and counts less than before: its counter was cleared at its keys",
                    "leave the keys alone while a run goes on",
                )
            self._evidence.ended(after)  # the alarm that tells why was lost on the way
            raise RigError(
                f"{self.pump.name} counts less than before: its power was interrupted", "look at its plug and its cable"
            )
        self._count(seen, Span(before, after))
        wanted = _WAYS[1 if self.told_ml_h > 0 else -1] if self.told_ml_h else Status.STOPPED
        if seen.status is wanted:
            self._evidence.counted(self.counted, Span(before, after))
        else:
            raise RigError(
                f"{self.pump.name} does something else than it was told: it says {seen.status.name.lower()}",
                "was it stopped at its keys? Look at it, then run again",
            )

    def bounds(self, until_s: float, limited: bool = True) -> Bounds:
        """What it may have moved since the run began, where it stood for certain at `until_s`, s of process time.

        An alarm ends that, too: of its power, of a stall, or of its timer, after which it moved no more; and so does
        the volume at which it stops by itself, unless it may have been started without one, or has counted anew since
        (`limited`).
        """
        if not self.may_move:
            return Bounds((0.0, 0.0), (0.0, 0.0))
        bounds = self._evidence.bounds(until_s if self.pump.alarm is None else min(until_s, self.pump.alarm_s))
        return bounds if self._limit_ml is None or not limited else bounds.within(self._carried, self._limit_ml)

    def settle(self) -> list[Balance]:
        """The balances at the end, of a pump that stands; none of one that never moved."""
        if not self.may_move:
            self.counted, self.settled = Dispensed(0.0, 0.0, 0.0, Status.STOPPED), True
            return []
        unsure = self._may_have_started_anew()
        self.told_ml_h = 0.0
        self._book()
        before = self._clock.now()
        seen = self._asked()
        if seen is None:  # the counter is lost: the middle of what it may have been
            self.lost, most = True, self.bounds(before, limited=not (unsure or self.cleared)).dispensed()
            first, second = self._carried
            seen = replace(most, infused_ml=most.infused_ml - first, withdrawn_ml=most.withdrawn_ml - second)
        self._count(seen, Span(before, self._clock.now()))
        self.settled = not seen.status.moving
        balances = [self.balance] if self.balance else []
        if self.counted.withdrawn_ml or self._account.withdrawn_ml(before):
            balances.append(self._account.refill(self.counted, before))
        return balances

    def _may_have_started_anew(self) -> bool:
        """Whether its start may have come after a power cut of which it did not tell: then with the rate of its memory.

        It stands, and still has that rate, if it is so.
        """
        if self._unsure_s is None or self._limit_ml is None:
            return False
        way = -1.0 if self._set < 0 else 1.0
        self._evidence.may_go(way * self.pump.rate_ml_h(), self._unsure_s)
        return True

    def unlimit(self) -> None:
        """Takes the volume at which it stops by itself back: other programs do not expect it."""
        if self._limit_ml is not None:
            self.pump.limit(None)
            self._limit_ml = None

    def view(self) -> PumpView:
        """What the interlocks judge."""
        return PumpView(self.told_ml_h, self._allowed, self.balance, self.left_ml, self._reserve, self.seen_s)

    def _identify(self) -> str:
        """Asks for the version. What a pump at rest tells of its past (power, silence) is acknowledged, and recorded.

        Any other alarm needs the operator; so did a run that died, by the latch.
        """
        for _ in HARMLESS:
            try:
                return self.pump.identify()
            except PumpAlarm as alarm:
                if alarm.code not in HARMLESS:
                    raise
                self.pump.acknowledge()
                self._recorder.event("acknowledged", pump=self.pump.name, alarm=alarm.code)
        return self.pump.identify()

    def _asked(self) -> Dispensed | None:
        """What the pump counts; None where that is lost: the alarm of a power cut tells, or a counter that went back.

        Any other alarm leaves the counter as it was.
        """
        seen = None
        for _ in range(2):
            if self.lost or self.pump.alarm == POWER:
                return None
            with suppress(PumpAlarm):
                seen = self.pump.dispensed()
                break
        if seen is None:
            return None if self.pump.alarm == POWER else self.pump.dispensed()
        if self._is_back(seen) or (self._limit_ml is not None and not self.pump.limit_stands(self._limit_ml)):
            return None
        zero = seen.infused_ml == seen.withdrawn_ml == 0.0 and self.pump.alarm is None  # it may have stalled at once
        return None if zero and self._should_have_moved(seen.resolution_ml + 1e-9) else seen

    def _should_have_moved(self, slack_ml: float) -> bool:
        """Whether a counter at zero is none: it was heard to run, or may have run, and lost it with its power.

        What may have been follows only where no power cut is told, and none is excluded by a limit that stands.
        """
        now = self._clock.now()
        moved = [(self._account.infused_ml(now), self._account.withdrawn_ml(now))]
        if self._limit_ml is not None and not self.pump.forgets_limit:
            bounds = self.bounds(now)
            moved.append((bounds.infused_ml[1], bounds.withdrawn_ml[1]))
        return any(ml - carried > slack_ml for one in moved for ml, carried in zip(one, self._carried, strict=True))

    def _is_back(self, seen: Dispensed) -> bool:
        """Whether its counter says less than it once did."""
        infused, withdrawn = (
            self.counted.infused_ml - self._carried[0],
            self.counted.withdrawn_ml - self._carried[1],
        )
        return min(seen.infused_ml - infused, seen.withdrawn_ml - withdrawn) < -(seen.resolution_ml + 1e-9)

    def _preset(self, rate_ml_h: float) -> None:
        if rate_ml_h != self._set:
            self.pump.set_rate_ml_h(abs(rate_ml_h), Direction.INFUSE if rate_ml_h > 0 else Direction.WITHDRAW)
            self._set = rate_ml_h

    def _book(self) -> None:
        """Enters the rate that it runs at from its last change on; from now on, where it reported none."""
        span = self.pump.changed
        if span is None or span.middle_s <= self._account.since_s:
            now = self._clock.now()
            span = Span(now, now)
        self._account.command(self.told_ml_h, span)
        self._evidence.goes(self.told_ml_h, span)
        self._recorder.event(
            "rate", sync=False, role=self.name, rate_ml_h=self.told_ml_h, from_s=span.middle_s, half_s=span.half_s
        )

    def _count(self, seen: Dispensed, span: Span) -> None:
        self.seen_s = self.looked_s = self._clock.wall()
        self.counted = Dispensed(
            self._carried[0] + seen.infused_ml, self._carried[1] + seen.withdrawn_ml, seen.resolution_ml, seen.status
        )
        self.balance = self._account.balance(self.counted, span.middle_s, span.half_s)
        self._report(self.told_ml_h)

    def _report(self, rate_ml_h: float, force: bool = False) -> None:
        if self._taken is not None:
            counted = self.counted.infused_ml, self.counted.withdrawn_ml
            self._taken(
                self.name,
                *counted,
                rate_ml_h,
                carried_ml=self._carried,
                limit_ml=self._limit_ml,
                forgets_limit=self.pump.forgets_limit,
                force=force,
            )
