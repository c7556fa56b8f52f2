"""What a drop of precursor sees as it is mixed into the antisolvent: the engulfment model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twin.errors import BadInput


@dataclass(frozen=True)
class Engulfment:
    """The precursor-rich zone takes in antisolvent: dX/dt = E X (1 − X), X(0) = X₀.

    X is the zone's share of the outlet's volume, X₀ = Q_p/Q, so the zone's share of DMF is
    φ = X₀/X = X₀ + (1 − X₀) exp(−E t). Source of the model: Bałdyga & Bourne, Chem. Eng. Sci. 44 (1989) 2897.
    `rate` is E in 1/s.
    """

    precursor_fraction: float
    rate: float

    def __post_init__(self) -> None:
        if not 0 < self.precursor_fraction < 1:
            raise BadInput(
                f"the precursor's share of the flow must lie between 0 and 1, not {self.precursor_fraction:g}"
            )
        if not self.rate > 0:
            raise BadInput(f"the engulfment rate must be positive, not {self.rate:g} 1/s")

    @classmethod
    def from_mixing_time(cls, precursor_fraction: float, mixing_time_s: float) -> Engulfment:
        """The zone whose X reaches 99 % when the mixing index 1 − exp(−t/τ) does.

        t₉₉ = τ ln 100 and E = ln[99 (1 − X₀)/X₀]/t₉₉, with τ in s from the flow. Holds for X₀ < 0.9.
        """
        if not 0 < precursor_fraction < 0.9:
            raise BadInput(f"the precursor's share of the flow must lie between 0 and 0.9, not {precursor_fraction:g}")
        if not mixing_time_s > 0:
            raise BadInput(f"the mixing time must be positive, not {mixing_time_s:g} s")
        shares = math.log(99.0 * (1.0 - precursor_fraction) / precursor_fraction)
        return cls(precursor_fraction, shares / (math.log(100.0) * mixing_time_s))

    def dmf_fraction(self, time_s: float) -> float:
        """φ, the volume share of DMF in the zone."""
        return self.precursor_fraction + (1.0 - self.precursor_fraction) * math.exp(-self.rate * time_s)

    def zone_fraction(self, time_s: float) -> float:
        """X, the zone's share of the outlet's volume."""
        return self.precursor_fraction / self.dmf_fraction(time_s)

    def time_at(self, dmf_fraction: float) -> float:
        """The time in s at which φ has fallen to `dmf_fraction`; inf at or below X₀."""
        left = dmf_fraction - self.precursor_fraction
        if left <= 0:
            return math.inf
        return math.log((1.0 - self.precursor_fraction) / left) / self.rate
