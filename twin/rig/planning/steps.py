"""The steps of a run: what each pump does from when to when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: The second of two antisolvent pumps that take turns.
PARTNER = "antisolvent-2"


@dataclass(frozen=True)
class Step:
    """From `start_s` to `end_s` (process time from the first step) at `rates_ml_h` by pump.

    A positive rate infuses, a negative one withdraws (a refill), and a pump at 0, or one that is not named, rests.
    `kind` is prime, idle, ramp, hold or handover.
    """

    kind: str
    start_s: float
    end_s: float
    rates_ml_h: dict[str, float]

    @property
    def duration_s(self) -> float:
        """How long it takes, s."""
        return self.end_s - self.start_s


def infused_ml(steps: Sequence[Step], pump: str) -> float:
    """What the steps take out of the syringe of a pump, mL; refills are not counted against it."""
    return sum(max(step.rates_ml_h.get(pump, 0.0), 0.0) * step.duration_s for step in steps) / 3600
