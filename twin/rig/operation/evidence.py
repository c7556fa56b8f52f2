"""What a pump may have moved since it last told its counter, from below and from above.

A counter that is lost with the power leaves a gap. Every reply that only a pump with power can give moves the lower
bound on; the first sign that the power was gone ends the upper one. In between, the pump did what it was told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from twin.rig.operation.interlocks import RATE_TOLERANCE
from twin.rig.operation.ledger import MOTOR_S
from twin.rig.pumps.protocol import Dispensed, Span, Status


@dataclass(frozen=True)
class Bounds:
    """Least and most that a pump has infused, and withdrawn, since the run began, mL."""

    infused_ml: tuple[float, float]
    withdrawn_ml: tuple[float, float]

    @property
    def taken_ml(self) -> tuple[float, float]:
        """Least and most that left its syringe, mL."""
        return self.infused_ml[0] - self.withdrawn_ml[1], self.infused_ml[1] - self.withdrawn_ml[0]

    def within(self, carried_ml: tuple[float, float], limit_ml: float) -> Bounds:
        """These bounds for a pump that stops by itself this far beyond what its counters were set back at, mL."""
        infused, withdrawn = (
            (min(least, carried + limit_ml), min(most, carried + limit_ml))
            for (least, most), carried in zip((self.infused_ml, self.withdrawn_ml), carried_ml, strict=True)
        )
        return Bounds(infused, withdrawn)

    def dispensed(self) -> Dispensed:
        """The middles, resolved to half the wider of the two gaps; of a pump that stands."""
        half = 0.5 * max(most - least for least, most in (self.infused_ml, self.withdrawn_ml))
        return Dispensed(0.5 * sum(self.infused_ml), 0.5 * sum(self.withdrawn_ml), half, Status.STOPPED)


class Evidence:
    """What is known of one pump, in s of process time and mL/h, negative where it withdraws."""

    def __init__(self) -> None:
        self._base = Dispensed(0.0, 0.0, 0.0, Status.STOPPED)
        self._looked = Span(0.0, 0.0)
        self._alive_s = 0.0
        self._ended_s = math.inf
        #: From when on the rate lies between which two.
        self._legs = [(0.0, 0.0, 0.0)]

    def counted(self, base: Dispensed, looked: Span) -> None:
        """Its counter said so, somewhere within this span; what was before does not matter any more."""
        self._base, self._looked = base, looked
        self.alive(looked.after_s)
        while len(self._legs) > 1 and self._legs[1][0] <= looked.before_s:
            self._legs.pop(0)

    def alive(self, at_s: float) -> None:
        """It still had its power, and had had it ever since the counter was last told."""
        self._alive_s = max(self._alive_s, at_s)

    def ended(self, at_s: float) -> None:
        """At that time it moved no more: its power was gone, or an alarm says that it had stopped by itself."""
        self._ended_s = min(self._ended_s, at_s)

    def may_go(self, rate_ml_h: float, from_s: float) -> None:
        """From now on it may run at this rate, too: it is being told so."""
        before = [leg for leg in self._legs if leg[0] <= from_s] or self._legs[:1]
        rates = [before[-1], *(leg for leg in self._legs if leg[0] > from_s)]
        self._legs = before
        self._legs.append((from_s, min(rate_ml_h, *(r[1] for r in rates)), max(rate_ml_h, *(r[2] for r in rates))))

    def goes(self, rate_ml_h: float, told: Span) -> None:
        """It took this rate within that span. A motor needs a moment for a new rate, but none to stand."""
        self.may_go(rate_ml_h, told.before_s)
        self._legs.append((told.after_s + (MOTOR_S if rate_ml_h else 0.0), rate_ml_h, rate_ml_h))

    def bounds(self, until_s: float) -> Bounds:
        """What it may have moved; at `until_s` it stood for certain."""
        end_s = min(self._ended_s, until_s)
        infused, withdrawn = (
            (self._least(counted, way), self._most(counted, way, end_s))
            for counted, way in ((self._base.infused_ml, 1), (self._base.withdrawn_ml, -1))
        )
        return Bounds(infused, withdrawn)

    def _least(self, counted_ml: float, way: int) -> float:
        moved = self._moved(way, self._looked.after_s, min(self._alive_s, self._ended_s), min)
        return max(counted_ml - self._base.resolution_ml, 0.0) + (1 - RATE_TOLERANCE) * moved

    def _most(self, counted_ml: float, way: int, end_s: float) -> float:
        moved = self._moved(way, self._looked.before_s, end_s, max)
        return counted_ml + self._base.resolution_ml + (1 + RATE_TOLERANCE) * moved

    def _moved(self, way: int, from_s: float, to_s: float, which: Callable[[float, float], float]) -> float:
        """∫ of the lower or the upper rate this way, mL."""
        total = 0.0
        ends = [*(start_s for start_s, _, _ in self._legs[1:]), math.inf]
        for (start_s, least, most), end_s in zip(self._legs, ends, strict=True):
            rate = max(which(way * least, way * most), 0.0)
            if rate:
                total += rate * max(min(to_s, end_s) - max(from_s, start_s), 0.0) / 3600
        return total
