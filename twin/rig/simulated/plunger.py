"""The plunger of a simulated syringe pump: how far it comes, with a motor that needs a moment for a new rate."""

from __future__ import annotations

import math

#: A stop that is nearer than this to where it was to halt anyway does not block it, mL.
_ROUNDING_ML = 1e-9


class Plunger:
    """What is in the syringe, and what left it.

    Args:
        volume_ml: what the syringe holds at first, mL.
        capacity_ml: what it holds at most, mL.
        ramp_s: how long the motor takes from one rate to the next, linearly, s. It stops at once.
    """

    def __init__(self, volume_ml: float, capacity_ml: float, ramp_s: float) -> None:
        self.volume_ml = volume_ml
        self.capacity_ml = capacity_ml
        self.share = 1.0  #: of the rate that it is told
        self.delivered_ml = 0.0  #: infused minus withdrawn
        self.blocked = False  #: whether the last move ended at a stop
        self._ramp_s = ramp_s
        self._from_ml_h = self._to_ml_h = 0.0
        self._since_s = 0.0

    def run(self, rate_ml_h: float) -> None:
        """Sets out for a rate, mL/h; negative withdraws, 0 stands still at once."""
        now_ml_h = self._rate(self._since_s)
        self._from_ml_h = now_ml_h if now_ml_h * rate_ml_h > 0 else 0.0  # to turn round it stands still first
        self._to_ml_h, self._since_s = rate_ml_h, 0.0
        self.blocked = False

    def move(self, seconds: float, most_ml: float = math.inf) -> tuple[float, float]:
        """Moves for a time, s, or until `most_ml` has moved, or to a stop.

        Returns:
            What moved, mL, negative where it was withdrawn; and how long it took, s.
        """
        way = math.copysign(1.0, self._to_ml_h)
        room_ml = self.volume_ml if way > 0 else max(self.capacity_ml - self.volume_ml, 0.0)
        moved_ml = way * self._volume(seconds)
        if moved_ml >= min(room_ml, most_ml):
            self.blocked = room_ml < most_ml - _ROUNDING_ML
            moved_ml = min(room_ml, most_ml)
            seconds = self._time(moved_ml, seconds, way)
        self._since_s += seconds
        self.volume_ml -= way * moved_ml
        self.delivered_ml += way * moved_ml
        return way * moved_ml, seconds

    def _rate(self, at_s: float) -> float:
        """The rate at a time after the last command, mL/h."""
        if at_s >= self._ramp_s:
            return self._to_ml_h
        return self._from_ml_h + (self._to_ml_h - self._from_ml_h) * at_s / self._ramp_s

    def _volume(self, seconds: float) -> float:
        """What the next seconds move, mL."""
        start, end = self._since_s, self._since_s + seconds
        ramped = min(max(self._ramp_s - start, 0.0), seconds)
        ramp = 0.5 * (self._rate(start) + self._rate(start + ramped)) * ramped
        return self.share * (ramp + self._to_ml_h * (end - start - ramped)) / 3600

    def _time(self, volume_ml: float, most_s: float, way: float) -> float:
        """How long so much takes, s, by bisection."""
        low, high = 0.0, most_s
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if way * self._volume(middle) >= volume_ml else (middle, high)
        return high
