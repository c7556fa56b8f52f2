"""A number as the twin reports it: with its band, its unit, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from twin.errors import BadInput

#: calibrated: fixed by a datum of the paper or the rig · bounded: a computed bracket contains it ·
#: prior-only: no datum touches it; the band is the spread of the literature.
Label = Literal["calibrated", "bounded", "prior-only"]
#: Half width of the central 90 % of a normal distribution, in standard deviations.
Z90 = 1.6448536269514722


@dataclass(frozen=True)
class Estimate:
    """`value` with the band from `low` to `high` (about 90 %, or the bracket where it is bounded), all in `unit`."""

    value: float
    low: float
    high: float
    unit: str
    label: Label

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"the band {self.low:g} … {self.high:g} does not hold the value {self.value:g}")
        if self.label not in get_args(Label):
            raise ValueError(f"unknown label {self.label!r}")

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g} … {self.high:.4g}] {self.unit} ({self.label})"

    def as_dict(self) -> dict[str, Any]:
        """The estimate as JSON-like data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Estimate:
        """The estimate of `as_dict`; raises `BadInput` where it is damaged."""
        try:
            return cls(**data)
        except (TypeError, ValueError) as error:
            raise BadInput(f"not an estimate: {data!r} ({error})") from error
