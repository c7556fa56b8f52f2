"""An operating point of the reactor: what the rig sets and everything else follows from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from twin.errors import BadInput
from twin.units import from_ml_per_h, to_ml_per_h


@dataclass(frozen=True, order=True)
class OperatingPoint:
    """Volume flows in m³/s and the temperature in K."""

    antisolvent_m3_s: float
    precursor_m3_s: float
    temperature_k: float = 293.15

    def __post_init__(self) -> None:
        for role in ("antisolvent", "precursor"):
            flow = getattr(self, f"{role}_m3_s")
            if not flow > 0:
                raise BadInput(
                    f"the {role} flow must be positive, not {to_ml_per_h(flow):g} mL/h",
                    'give it as a positive flow, e.g. "60 mL/h"',
                )
        if not 200 < self.temperature_k < 400:
            raise BadInput(f"a temperature of {self.temperature_k:g} K is outside 200 to 400 K")

    @classmethod
    def from_ml_h(cls, antisolvent: float, precursor: float, temperature_k: float = 293.15) -> OperatingPoint:
        """The point with these flows in mL/h."""
        return cls(from_ml_per_h(antisolvent), from_ml_per_h(precursor), temperature_k)

    def scaled(self, factor: float) -> OperatingPoint:
        """The point with both flows times a factor: the same flow ratio at another Reynolds number."""
        return replace(
            self, antisolvent_m3_s=factor * self.antisolvent_m3_s, precursor_m3_s=factor * self.precursor_m3_s
        )

    @property
    def total_m3_s(self) -> float:
        """Volume flow of the outlet (ideal volumes)."""
        return self.antisolvent_m3_s + self.precursor_m3_s

    @property
    def precursor_fraction(self) -> float:
        """Share of the precursor stream in the outlet by volume: the flux-weighted mean c̄ of its concentration."""
        return self.precursor_m3_s / self.total_m3_s

    @property
    def name(self) -> str:
        """A name that is unique to 0.001 mL/h and sorts by flow, e.g. ``a5000-p0060``."""
        flows = (to_ml_per_h(self.antisolvent_m3_s), to_ml_per_h(self.precursor_m3_s))
        texts = (f"{round(flow, 3):08.3f}".rstrip("0").rstrip(".") for flow in flows)
        return "a{}-p{}".format(*texts)
