"""Compares what the pumps counted with what they were told: DIS against ∫ Q dt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from twin.rig.pumps.protocol import Dispensed, Span

#: Largest difference that passes, %, on top of what the clocks and the counter can't resolve.
TOLERANCE_PERCENT = 0.5


@dataclass(frozen=True)
class Balance:
    """One pump's volumes, mL. `uncertainty_ml`: timing of the commands and the last digit of the counter."""

    role: str
    commanded_ml: float
    counted_ml: float
    uncertainty_ml: float

    @property
    def difference_percent(self) -> float:
        """Counted less commanded, % of commanded; 0 where nothing was commanded and nothing counted."""
        if self.commanded_ml == 0:
            return 0.0 if self.counted_ml <= self.uncertainty_ml else 100.0
        return 100 * (self.counted_ml / self.commanded_ml - 1)

    @property
    def uncertainty_percent(self) -> float:
        """The uncertainty, % of commanded."""
        return 100 * self.uncertainty_ml / self.commanded_ml if self.commanded_ml else 0.0

    @property
    def agrees(self) -> bool:
        """Whether the two agree within the tolerance and the uncertainty."""
        return abs(self.difference_percent) <= TOLERANCE_PERCENT + self.uncertainty_percent

    def as_dict(self) -> dict[str, Any]:
        """The balance as JSON-like data."""
        return {
            **asdict(self),
            "difference_percent": self.difference_percent,
            "uncertainty_percent": self.uncertainty_percent,
            "agrees": self.agrees,
        }

    def __str__(self) -> str:
        return (
            f"{self.role}: told {self.commanded_ml:.4g} mL, counted {self.counted_ml:.4g} mL,"
            f" {self.difference_percent:+.2f} % (resolved to {self.uncertainty_percent:.2f} %)"
        )


#: What the balance of a refill adds to the pump's name.
REFILL = " refill"

#: A motor does not jump to its rate: it takes about this long, s, and how exactly is not known.
MOTOR_S = 0.05


@dataclass
class Account:
    """The commanded rate of one pump over time, integrated as it goes; infusing and withdrawing by themselves."""

    role: str
    _rate_ml_h: float = field(default=0.0, init=False)
    _since_s: float = field(default=0.0, init=False)
    _infused_ml: float = field(default=0.0, init=False)
    _withdrawn_ml: float = field(default=0.0, init=False)
    _timing_ml: float = field(default=0.0, init=False)

    @property
    def since_s(self) -> float:
        """When the present rate began, s."""
        return self._since_s

    @property
    def rate_ml_h(self) -> float:
        """The present rate, mL/h: negative while it withdraws."""
        return self._rate_ml_h

    def command(self, rate_ml_h: float, span: Span) -> None:
        """From the middle of `span` on the pump runs at this rate, mL/h; a negative one withdraws."""
        self._infused_ml = self.infused_ml(span.middle_s)
        self._withdrawn_ml = self.withdrawn_ml(span.middle_s)
        self._timing_ml += abs(rate_ml_h - self._rate_ml_h) * (span.half_s + 0.5 * MOTOR_S) / 3600
        self._rate_ml_h, self._since_s = rate_ml_h, span.middle_s

    def infused_ml(self, now_s: float) -> float:
        """∫ max(Q, 0) dt up to now, mL."""
        return self._infused_ml + max(self._rate_ml_h, 0.0) * max(now_s - self._since_s, 0.0) / 3600

    def withdrawn_ml(self, now_s: float) -> float:
        """∫ max(−Q, 0) dt up to now, mL."""
        return self._withdrawn_ml + max(-self._rate_ml_h, 0.0) * max(now_s - self._since_s, 0.0) / 3600

    def balance(self, counted: Dispensed, now_s: float, half_s: float = 0.0) -> Balance:
        """The comparison of what was infused at the time `now_s`, known to ± `half_s`."""
        uncertainty = self._timing_ml + counted.resolution_ml + max(self._rate_ml_h, 0.0) * half_s / 3600
        return Balance(self.role, self.infused_ml(now_s), counted.infused_ml, uncertainty)

    def refill(self, counted: Dispensed, now_s: float) -> Balance:
        """The comparison of what was withdrawn."""
        uncertainty = self._timing_ml + counted.resolution_ml
        return Balance(self.role + REFILL, self.withdrawn_ml(now_s), counted.withdrawn_ml, uncertainty)
