"""A recipe: several setpoints one after the other, from a TOML file.

```toml
[prime]                      # volumes of the lines between syringe and junction, filled before the first step
antisolvent = "2 mL"
precursor = "0.2 mL"

[[steps]]                    # without flows: the proposal's own point
hold = "20 s"

[[steps]]
antisolvent = "3000 mL/h"
precursor = "36 mL/h"
ramp = "10 s"                # from the point before
hold = "30 s"
```

A recipe rests on a setpoint file: on its provenance, its age, and the hull of the points that it was computed from. A
straight way between two points of a convex hull never leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from twin.case.load import read_toml, validated
from twin.case.quantities import Flow, Strict, Time, Volume
from twin.case.schema import Case
from twin.errors import BadInput
from twin.operating import OperatingPoint
from twin.rig.planning import hull
from twin.rig.planning.limits import check_rates
from twin.rig.planning.setpoint import Setpoint
from twin.units import to_ml, to_ml_per_h

#: How long the first ramp takes where nobody says, s.
RAMP_S = 5.0
#: The longest way between two points, s: it is planned in steps of a tenth of a second.
LONGEST_RAMP_S = 3600.0


@dataclass(frozen=True)
class Leg:
    """A way to an operating point, and the time there: flows in mL/h by role, times in s."""

    rates_ml_h: dict[str, float]
    ramp_s: float
    hold_s: float


@dataclass(frozen=True)
class Program:
    """What a run is to do: volumes in mL to prime by role, then the legs."""

    legs: tuple[Leg, ...]
    prime_ml: dict[str, float]
    source: str


class _Step(Strict):
    antisolvent: Flow | None = None
    precursor: Flow | None = None
    ramp: Time = Field(RAMP_S, description="how long the way from the point before takes")
    hold: Time

    @model_validator(mode="after")
    def _both(self) -> _Step:
        if (self.antisolvent is None) != (self.precursor is None):
            raise ValueError("give both flows, or none for the proposal's own point")
        if self.ramp > LONGEST_RAMP_S:
            raise ValueError(f"a ramp takes {LONGEST_RAMP_S / 3600:g} h at most; put steps in between for a longer way")
        return self


class _Recipe(Strict):
    prime: dict[Literal["antisolvent", "precursor"], Volume] = Field(default_factory=dict)
    steps: list[_Step] = Field(min_length=1)


def of_setpoint(setpoint: Setpoint, hold_s: float) -> Program:
    """The program that goes to one setpoint and holds it."""
    return Program((Leg(_rates(setpoint.point), RAMP_S, hold_s),), {}, str(setpoint.path))


def load_recipe(path: Path | str, case: Case, setpoint: Setpoint) -> Program:
    """The program of a recipe, every step of it checked.

    Args:
        path: the TOML file.
        case: the case whose pumps are to run it.
        setpoint: the proposal that it rests on.

    Raises:
        BadInput: mistakes in the file, all at once; a step outside the hull of the proposal, or beyond a pump.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"there is no recipe {path}", "give its path with --recipe; docs/rig.md shows one")
    recipe = validated(_Recipe, read_toml(path), path)
    legs = []
    for number, step in enumerate(recipe.steps, 1):
        point = setpoint.point
        if step.antisolvent is not None and step.precursor is not None:
            point = OperatingPoint(step.antisolvent, step.precursor, setpoint.point.temperature_k)
        if not hull.contains(setpoint.hull, (point.antisolvent_m3_s, point.precursor_m3_s)):
            raise BadInput(
                f"step {number} of {path} ({point.name}) lies outside the hull of the points that {setpoint.path}"
                " rests on",
                "extrapolation is refused: choose flows inside, or widen the sweep",
            )
        try:
            check_rates(case, point)
        except BadInput as error:
            raise BadInput(f"step {number} of {path}: {error.message}", error.remedy) from None
        legs.append(Leg(_rates(point), step.ramp, step.hold))
    return Program(tuple(legs), {role: to_ml(volume) for role, volume in recipe.prime.items()}, str(path))


def _rates(point: OperatingPoint) -> dict[str, float]:
    return {role: to_ml_per_h(getattr(point, f"{role}_m3_s")) for role in ("antisolvent", "precursor")}
