"""What every simulated syringe pump is made of, whatever it speaks: a motor of some range, a plunger, a syringe."""

from __future__ import annotations

import math

from twin.rig.simulated.plunger import Plunger


class Body:
    """A pump at rest.

    Args:
        model_number: what it says that it is, e.g. "1010" or "11 ELITE".
        min_cm_h: slowest plunger speed, cm/h.
        max_cm_h: fastest plunger speed, cm/h.
        volume_ml: what the syringe holds at first, mL. When it is empty, the motor stalls.
        capacity_ml: what it holds at most, mL; there a withdrawal stalls. None: as much as at first.
        ramp_s: how long the motor takes from one rate to the next, s.
        max_diameter_mm: the widest syringe that it takes, mm.
    """

    def __init__(
        self,
        model_number: str,
        min_cm_h: float,
        max_cm_h: float,
        volume_ml: float,
        capacity_ml: float | None = None,
        ramp_s: float = 0.05,
        max_diameter_mm: float = 50.0,
    ) -> None:
        self.model_number = model_number
        self.max_diameter_mm = max_diameter_mm
        self.status = "S"
        self._plunger = Plunger(volume_ml, volume_ml if capacity_ml is None else capacity_ml, ramp_s)
        self._speeds = (min_cm_h, max_cm_h)
        self._then = 0.0  # up to when the plunger was moved

    @property
    def volume_ml(self) -> float:
        """What is left in the syringe, mL."""
        return self._plunger.volume_ml

    @volume_ml.setter
    def volume_ml(self, volume_ml: float) -> None:
        self._plunger.volume_ml = volume_ml

    @property
    def delivered_ml(self) -> float:
        """Infused minus withdrawn, truly, mL."""
        return self._plunger.delivered_ml

    def slow(self, share: float, now_s: float) -> None:
        """From now on it runs at this share of its rate."""
        self.advance(now_s)
        self._plunger.share = share

    def advance(self, now_s: float) -> None:
        """Moves the plunger on to a time, s."""
        raise NotImplementedError

    def _range_ml_h(self, diameter_mm: float) -> tuple[float, float]:
        """The lowest and the highest rate with a syringe of that inner diameter, mL/h."""
        area_cm2 = math.pi * (diameter_mm / 20) ** 2
        return self._speeds[0] * area_cm2, self._speeds[1] * area_cm2
