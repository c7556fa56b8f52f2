"""The only place where units are converted. Inside the twin every number is SI; units stand in names at the edges."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from twin.errors import BadInput

if TYPE_CHECKING:
    import pint

#: The SI unit of each kind of quantity that the twin reads from text.
SI = {
    "flow": "m^3/s",
    "length": "m",
    "temperature": "K",
    "angle": "rad",
    "diffusivity": "m^2/s",
    "concentration": "mol/m^3",
    "viscosity": "Pa*s",
    "density": "kg/m^3",
    "time": "s",
    "volume": "m^3",
    "pressure": "Pa",
    "velocity": "m/s",
    "rotation": "rad/s",
    "flow per depth": "m^2/s",
    "kinematic viscosity": "m^2/s",
    "share": "dimensionless",
}
EXAMPLE = {
    "flow": "5000 mL/h",
    "length": "1.5875 mm",
    "temperature": "20 degC",
    "angle": "60 deg",
    "diffusivity": "2.45e-9 m^2/s",
    "concentration": "4 mmol/L",
    "viscosity": "0.588 mPa*s",
    "density": "867 kg/m^3",
    "time": "36 s",
    "volume": "50 mL",
    "pressure": "200 kPa",
    "velocity": "0.2 m/s",
    "rotation": "60 rpm",
    "flow per depth": "0.082 m^2/s",
    "kinematic viscosity": "1e-6 m^2/s",
    "share": "5 %",
}


@cache
def _registry() -> pint.UnitRegistry:
    import pint  # loading its unit definitions takes a while, and most commands don't read units

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)


def parse(text: str, kind: str) -> float:
    """The SI value of a quantity given with its unit, e.g. ``parse("5000 mL/h", "flow")`` in m³/s.

    Raises `BadInput` where the unit is missing, unknown or of another kind, or the number is not finite.
    """
    example, what = f'write it with its unit, e.g. "{EXAMPLE[kind]}"', f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    if not isinstance(text, str):
        raise BadInput(f"{what} needs a unit: {text!r}", example)
    number, _, unit = text.strip().partition(" ")
    try:
        value = float(number)
        fits = not unit or _base(unit) == _base(SI[kind])
        if fits and unit:
            value = float(_registry().Quantity(value, unit).to(SI[kind]).magnitude)
    except Exception:  # noqa: BLE001 (on text that is no unit, pint raises errors of many classes)
        raise BadInput(f'"{text}" can\'t be read as {what}', example) from None
    if not math.isfinite(value):
        raise BadInput(f'"{text}" is not finite', example)
    if not unit:
        raise BadInput(f"{what} needs a unit: {text!r}", example)
    if not fits:
        raise BadInput(f'"{text}" is not {what}', example)
    return value


def _base(unit: str) -> pint.Unit:
    """A unit in base units. Unlike its dimension it tells a radian from a mere number."""
    return _registry().Quantity(1.0, unit).to_root_units().units


def to_ml_per_h(flow_m3_s: float) -> float:
    """Volume flow in mL/h from m³/s."""
    return flow_m3_s * 3.6e9


def from_ml_per_h(flow_ml_h: float) -> float:
    """Volume flow in m³/s from mL/h."""
    return flow_ml_h / 3.6e9


def to_celsius(temperature_k: float) -> float:
    """Temperature in °C from K."""
    return temperature_k - 273.15


def to_mm(length_m: float) -> float:
    """Length in mm from m."""
    return length_m * 1e3


def to_ml(volume_m3: float) -> float:
    """Volume in mL from m³."""
    return volume_m3 * 1e6
