"""What a `case.toml` may say. Quantities are text with a unit in the file and SI floats here."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from twin.errors import BadInput
from twin.liquids import LIQUIDS
from twin.operating import OperatingPoint
from twin.units import EXAMPLE, parse


def _quantity(kind: str, positive: bool = True) -> BeforeValidator:
    def read(text: object) -> float:
        if not isinstance(text, str):
            raise ValueError(f'needs a unit: write it as text, e.g. "{EXAMPLE[kind]}"')
        try:
            value = parse(text, kind)
        except BadInput as error:
            raise ValueError(f"{error.message}; {error.remedy}") from None
        if positive and not value > 0:
            raise ValueError(f'must be positive, not "{text}"')
        return value

    return BeforeValidator(read)


Flow = Annotated[float, _quantity("flow")]
Length = Annotated[float, _quantity("length")]
Temperature = Annotated[float, _quantity("temperature")]
Position = Annotated[float, _quantity("length", positive=False)]
Angle = Annotated[float, _quantity("angle")]
Turn = Annotated[float, _quantity("angle", positive=False)]
Diffusivity = Annotated[float, _quantity("diffusivity")]
Concentration = Annotated[float, _quantity("concentration")]
Volume = Annotated[float, _quantity("volume")]
Pressure = Annotated[float, _quantity("pressure")]
Time = Annotated[float, _quantity("time")]


class Strict(BaseModel):
    """Unknown keys are mistakes; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Junction(Strict):
    """Which connector, or which geometry of the user's own: a STEP file, or a `.msh` with named boundaries."""

    connector: str | None = None
    mesh: str | None = None
    step: str | None = None
    bore: Length | None = Field(
        None, description="of a mesh: the length of its unit; of a STEP file: the outlet's bore"
    )
    faces: dict[str, tuple[Position, Position, Position]] = Field(
        default_factory=dict, description="of a STEP file: a point on each boundary that has no label in it"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Junction:
        own = self.mesh is not None or self.step is not None
        if (self.connector, self.mesh, self.step).count(None) != 2:
            raise ValueError("name either a connector of meshes/, or a mesh file, or a STEP file")
        if own and self.bore is None:
            raise ValueError("a file of your own needs the bore, the unit of length of the results")
        if not own and self.bore is not None:
            raise ValueError("a connector brings its own bore")
        if self.faces and self.step is None:
            raise ValueError("[junction.faces] names the faces of a STEP file")
        return self


class Liquids(Strict):
    """The two liquids by name, and their temperature in K."""

    antisolvent: str
    precursor: str
    temperature: Temperature

    @model_validator(mode="after")
    def _known(self) -> Liquids:
        for name in (self.antisolvent, self.precursor):
            if name not in LIQUIDS:
                raise ValueError(f'"{name}" is not a liquid of the twin: choose from {", ".join(sorted(LIQUIDS))}')
            LIQUIDS[name].check(self.temperature)
        return self


class Precursor(Strict):
    """What the precursor stream carries: CsPbBr3 in mol/m³ of that stream, its molar mass and diffusivity in m²/s."""

    concentration: Concentration
    diffusivity: Diffusivity


#: The name of the precursor's own liquid among the species of a record.
SOLVENT = "solvent"


class Species(Strict):
    """A dissolved species that comes with the precursor stream, and its diffusivity in m²/s."""

    diffusivity: Diffusivity


class Mixing(Strict):
    """How the random walkers measure mixing."""

    walkers: PositiveInt = Field(5000, description="sent out with the precursor; M is good to 0.5/√walkers", ge=100)
    spacing: PositiveFloat = Field(1.0, description="between planes down the outlet, in bores", le=5)
    elements: PositiveInt = Field(100, description="fluid elements whose history of composition is stored")


class Sweep(Strict):
    """The points of one sweep: every antisolvent flow with every precursor flow, in m³/s."""

    antisolvent: list[Flow] = Field(min_length=1)
    precursor: list[Flow] = Field(min_length=1)


class Following(Strict):
    """What a level's element sizes follow: the flow of one point that is solved on another level."""

    level: str
    point: str = Field(description='the point\'s name, e.g. "a5000-p0060"')
    cells: int = Field(description="about how many tetrahedra the mesh may have", ge=1000)


class Level(Strict):
    """A mesh level. Element sizes are in bores; the planes stand at whole bores down the outlet.

    In a section the size grows from `wall_size` at the wall to `core_size` in the middle; around the edges where bores
    meet it is `crotch_size`. Away from the junction, arms and outlet are built of layers; their thickness grows, within
    two bores, from the mean size in the section to `stretch` times that.

    With `follows` the sizes are these at most, and smaller where the flow of a point on a coarser level asks for it.
    """

    wall_size: PositiveFloat = Field(description="element size at the walls", le=0.5)
    core_size: PositiveFloat = Field(description="element size in the middle of arms and outlet", le=0.5)
    crotch_size: PositiveFloat | None = Field(None, description="at the edges where bores meet; else wall_size", le=0.5)
    stretch: float = Field(3.0, description="length of elements along the bores over their width", ge=1, le=10)
    core_bores: PositiveFloat | None = Field(
        None, description="how far down the outlet the layers begin; else a bore beyond the junction"
    )
    follows: Following | None = Field(None, description="another level's flow that the sizes follow")
    pressure_error: PositiveFloat = Field(
        0.1, description="relative discretization error of a pressure drop, measured against a finer level", lt=1
    )
    index_error: list[tuple[PositiveFloat, PositiveFloat]] = Field(
        [(1.0, 0.1)], min_length=1,
        description="pairs of Re and error of the mixing index by that of the flow, measured against a finer level",
    )  # fmt: skip

    def index_error_at(self, reynolds: float) -> float:
        """The error of the mixing index that the flow's mesh causes: a power law between the Reynolds numbers given."""
        known = sorted(self.index_error)
        logs = np.log(known)
        return float(np.exp(np.interp(np.log(reynolds), logs[:, 0], logs[:, 1])))

    def refined(self, factor: float) -> Level:
        """The level with every element size divided by `factor`: a family of similar meshes for convergence studies."""
        if not 0.1 <= factor <= 10:
            raise BadInput(f"a level can't be refined by {factor:g}", "give a factor from 0.1 to 10; 1.5 or 2 is usual")
        sizes = {key: value / factor for key, value in self.model_dump().items() if key.endswith("_size") and value}
        if max(sizes.values()) > 0.5:
            raise BadInput(f"elements of {max(sizes.values()):.2g} bores are too coarse", "refine by a larger factor")
        follows = self.follows and self.follows.model_copy(update={"cells": round(self.follows.cells * factor**3)})
        return self.model_copy(update={**sizes, "follows": follows})


def _following_those_before(levels: dict[str, Level]) -> dict[str, Level]:
    before: list[str] = []
    for name, level in levels.items():
        if level.follows and level.follows.level not in before:
            choice = f"choose from {', '.join(before)}" if before else "it is the first"
            raise ValueError(f'{name} follows "{level.follows.level}", which is no level before it: {choice}')
        before.append(name)
    return levels


#: Which levels a case may have together: each follows one before it, so that there is an order to solve them in.
IN_ORDER = AfterValidator(_following_those_before)


class OwnSyringe(Strict):
    """A syringe that the catalogue does not have, as its maker describes it."""

    diameter: Length = Field(description="inner diameter")
    volume: Volume
    material: str
    toluene_safe: bool = Field(description="whether plunger and barrel stand toluene")


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

    address: int = Field(ge=0, le=99)
    port: str | None = Field(None, description="its port; that of the first, where it is left out")


class Pump(Strict):
    """A syringe pump of the rig, by the names of the catalogues in `twin.rig`."""

    model: str
    syringe: str
    address: int = Field(0, ge=0, le=99)
    port: str = Field("simulated", min_length=1)
    baud: PositiveInt | None = Field(None, description="bits a second; those of the pump's family, where left out")
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
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    max_age: Time | None = Field(None, description="an older reading stops the rig, s")
    port: str | None = Field(None, description="anything that pyserial opens")
    baud: PositiveInt = 9600
    query: str = Field("", description="asks for a number; without it the sensor prints by itself")
    pattern: str | None = Field(None, description="fits the whole line, and its one group the number")
    scale: FiniteFloat = Field(1.0, description="unit per number")
    offset: FiniteFloat = Field(0.0, description="in the unit, added after scaling")
    serial_number: str | None = Field(None, description="else the first spectrometer that is free")
    integration: Time = Field(0.1, description="exposure of one spectrum, s")
    window: tuple[Length, Length] | None = Field(None, description="wavelengths between which emission may be, m")
    value: FiniteFloat | None = Field(None, description="what a simulated sensor shows at rest")

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
    sensors: dict[str, Sensor] = {}
    syringes: dict[str, OwnSyringe] = Field({}, description="syringes of one's own, by name")
    models: dict[str, OwnPump] = Field({}, description="pump models of one's own, by name")
    outlet_volume: Volume | None = Field(
        None, description="from the junction to the sensors; a reading after three residence times of it is steady"
    )


class Setpoint(Strict):
    """The default question that `twin setpoint` and the demo answer."""

    maximize: Literal["production", "plqy"]
    subject_to: list[str]
    ligand: Literal["ps", "oa"]


def find_level(levels: Mapping[str, Level], name: str) -> Level:
    """The mesh level of that name; `NAME@1.5` is the level NAME with its element sizes divided by 1.5."""
    base, refined, factor = name.partition("@")
    if base not in levels:
        raise BadInput(f'the case has no level "{base}"', f"choose from {', '.join(levels)}")
    if not refined:
        return levels[base]
    try:
        return levels[base].refined(float(factor))
    except ValueError:
        raise BadInput(f'"{factor}" is not a factor', f"write e.g. {base}@1.5: all sizes over 1.5") from None


class Case(Strict):
    """A whole case, with the folder that it came from."""

    folder: Path
    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    title: str
    junction: Junction
    liquids: Liquids
    precursor: Precursor
    species: dict[str, Species] = Field({}, description="others that come with the precursor, by name")
    mixing: Mixing = Mixing()
    sweeps: dict[str, Sweep] = Field(min_length=1)
    levels: Annotated[dict[str, Level], IN_ORDER] = Field(min_length=1)
    ranks: PositiveInt = 2
    coupling: Literal["passive", "properties", "buoyant"] = Field(
        "passive",
        description="what the flow feels of the concentration: nothing, its density and viscosity, its weight",
    )
    setpoint: Setpoint
    rig: Rig
    assumptions: dict[str, str] = {}

    @field_validator("species")
    @classmethod
    def _not_the_solvent(cls, species: dict[str, Species]) -> dict[str, Species]:
        if SOLVENT in species:
            raise ValueError(f'"{SOLVENT}" is the precursor\'s own liquid: its diffusivity is that of [precursor]')
        return species

    @property
    def points(self) -> list[OperatingPoint]:
        """Every operating point of the sweeps, each once, in the order of rising flow."""
        flows = {
            pair for sweep in self.sweeps.values() for pair in itertools.product(sweep.antisolvent, sweep.precursor)
        }
        return [OperatingPoint(*pair, self.liquids.temperature) for pair in sorted(flows)]

    def level(self, name: str) -> Level:
        """The mesh level of that name; `NAME@1.5` is the level NAME with its element sizes divided by 1.5."""
        return find_level(self.levels, name)

    def coarser(self, name: str) -> str | None:
        """The level that a solve on level `name` starts from.

        The one that its mesh follows, else the one before it in the case; of `NAME@1.5`, NAME.
        """
        level = self.level(name)
        base, refined, _ = name.partition("@")
        names = list(self.levels)
        if refined:
            return base
        if level.follows:
            return level.follows.level
        return names[names.index(base) - 1] if names.index(base) else None


class ExpectedValue(Strict):
    """One number of the paper that a case is held against, from `expected.toml`."""

    quantity: str
    value: float | str
    unit: str = ""
    condition: str = ""
    source: str
    note: str = ""
