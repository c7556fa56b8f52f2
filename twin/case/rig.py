"""What the table `[rig]` of a `case.toml` may say: pumps with their syringes, sensors, and the limits of both."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from twin.case.quantities import Flow, Length, Strict, Time, Volume

#: How far the plunger of a syringe goes from full to empty, m. Those of the catalogue go 41 to 135 mm.
STROKES = (0.01, 0.3)


def device(port: str) -> str:
    """What is opened of a port: a device path, less its `serial://`, or an address of the network.

    Raises ValueError where it starts with anything else that `pyserial` knows: nobody has tried to run pumps over that.
    """
    path = port.removeprefix("serial://")
    scheme, mark, _ = path.partition("://")
    if mark and scheme not in ("socket", "rfc2217"):
        raise ValueError(
            f'"{scheme}://" leads to no pump and no gauge; give a device path, with or without serial://,'
            " socket://HOST:PORT or rfc2217://HOST:PORT"
        )
    return path


def _port(text: str) -> str:
    device(text)
    return text


def _number(value: object) -> object:
    """TOML knows numbers: text, and true or false, would be read as some."""
    if isinstance(value, bool | str):
        raise ValueError("must be a number, without quotes")
    return value


def _truth(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError("must be true or false, without quotes")
    return value


PortName = Annotated[str, Field(min_length=1), AfterValidator(_port)]
Address = Annotated[int, BeforeValidator(_number), Field(ge=0, le=99)]
Baud = Annotated[int, BeforeValidator(_number), Field(gt=0)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Truth = Annotated[bool, BeforeValidator(_truth)]


class OwnSyringe(Strict):
    """A syringe that the catalogue does not have, as its maker describes it."""

    diameter: Length = Field(description="inner diameter")
    volume: Volume
    material: str
    toluene_safe: Truth = Field(description="whether plunger and barrel stand toluene")

    @model_validator(mode="after")
    def _of_a_likely_stroke(self) -> OwnSyringe:
        stroke, (least, most) = self.volume / (math.pi / 4 * self.diameter**2), STROKES
        if not least <= stroke <= most:
            raise ValueError(
                f"its plunger would go {1e3 * stroke:.3g} mm, volume over cross-section; that of a syringe goes"
                f" {1e3 * least:g} to {1e3 * most:g} mm: look at both, and at their units"
            )
        return self


class OwnPump(Strict):
    """A pump model that the catalogue does not have: its data sheet gives rates with a syringe of one diameter."""

    family: Literal["newera", "harvard"] = Field(description="which protocol it speaks")
    number: str = Field(description='what its answer to VER or ver holds, e.g. "4000" or "PHD ULTRA"')
    diameter: Length = Field(description="inner diameter of the syringe that the rates hold for")
    lowest: Flow
    highest: Flow
    widest: Length = Field(description="inner diameter of the widest syringe that fits")


class Partner(Strict):
    """A second pump, equal to the first, that takes turns with it: where it is."""

    address: Address
    port: PortName | None = Field(None, description="its port; that of the first, where it is left out")


class Pump(Strict):
    """A syringe pump of the rig, by the names of the catalogues in `twin.rig`."""

    model: str
    syringe: str
    address: Address = 0
    port: PortName = "simulated"
    baud: Baud | None = Field(None, description="bits a second; those of the pump's family, where left out")
    partner: Partner | None = None


#: The keys of a sensor that belong to one driver, and are mistakes with another.
_KEYS_OF_DRIVERS = {
    "port": "text",
    "baud": "text",
    "query": "text",
    "pattern": "text",
    "scale": "text",
    "offset": "text",
    "serial_number": "seabreeze",
    "integration": "seabreeze",
    "window": "seabreeze",
    "value": "simulated",
}


class Sensor(Strict):
    """A sensor of the rig; `low` and `high` are what it may show, in its unit, while pumps run."""

    driver: Literal["text", "seabreeze", "simulated"]
    unit: str = Field("", description="of the value; a spectrometer gives nm")
    period: Time = Field(1.0, description="from one reading to the next, s")
    low: Number | None = None
    high: Number | None = None
    max_age: Time | None = Field(None, description="an older reading stops the rig, s")
    port: PortName | None = Field(None, description="as that of a pump")
    baud: Baud = 9600
    query: str = Field("", description="asks for a number; without it the sensor prints by itself")
    pattern: str | None = Field(None, description="fits the whole line, and its one group the number")
    scale: Number = Field(1.0, description="unit per number")
    offset: Number = Field(0.0, description="in the unit, added after scaling")
    serial_number: str | None = Field(None, description="else the first spectrometer that is free")
    integration: Time = Field(0.1, description="exposure of one spectrum, s")
    window: tuple[Length, Length] | None = Field(None, description="wavelengths between which emission may be, m")
    value: Number | None = Field(None, description="what a simulated sensor shows at rest")

    @field_validator(*_KEYS_OF_DRIVERS, mode="before")
    @classmethod
    def _of_its_driver(cls, value: object, info: ValidationInfo) -> object:
        driver, right = info.data.get("driver"), _KEYS_OF_DRIVERS[str(info.field_name)]
        if driver is not None and driver != right:
            raise ValueError(f'belongs to driver = "{right}"; take it out, or change the driver')
        return value

    @field_validator("unit")
    @classmethod
    def _spectrometers_give_nm(cls, unit: str, info: ValidationInfo) -> str:
        if info.data.get("driver") == "seabreeze" and unit != "nm":
            raise ValueError(f'a spectrometer gives its peak in nm, not "{unit}": take it out')
        return unit

    @field_validator("query")
    @classmethod
    def _in_ascii(cls, query: str) -> str:
        if not query.isascii():
            raise ValueError(f'"{query}" has letters beyond ASCII; write the bytes as \\u0000 to \\u007F')
        return query

    @field_validator("pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        try:
            groups = 1 if pattern is None else re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"has {groups} groups and needs one, around the number, e.g. 'P=([-+0-9.]+) kPa'")
        return pattern

    @field_validator("scale")
    @classmethod
    def _not_zero(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("must not be 0: every reading would be the offset")
        return scale

    @field_validator("window")
    @classmethod
    def _rising(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window is not None and not window[0] < window[1]:
            raise ValueError('must rise, e.g. ["430 nm", "700 nm"]')
        return window

    @model_validator(mode="after")
    def _whole(self) -> Sensor:
        needed = {"text": ("port", "unit"), "simulated": ("value", "unit"), "seabreeze": ()}[self.driver]
        if missing := [key for key in needed if getattr(self, key) in (None, "")]:
            raise ValueError(f'driver = "{self.driver}" needs {" and ".join(missing)}')
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        if self.max_age is None and (self.low is not None or self.high is not None):
            raise ValueError('a limit needs max_age, e.g. "5 s": a sensor that is silent guards nothing')
        if self.max_age is not None and self.max_age <= self.period:
            raise ValueError(f"max_age must exceed the period of {self.period:g} s; three periods are usual")
        return self


class Rig(Strict):
    """The pumps, and the limits that no setpoint may pass."""

    antisolvent: Pump
    precursor: Pump
    hold: Time = Field(description="how long a run holds the setpoint, s")
    sensors: dict[str, Sensor] = Field({})
    syringes: dict[str, OwnSyringe] = Field({}, description="syringes of one's own, by name")
    models: dict[str, OwnPump] = Field({}, description="pump models of one's own, by name")
    outlet_volume: Volume | None = Field(
        None, description="from the junction to the sensors; a reading after three residence times of it is steady"
    )
