"""What a `case.toml` may say. Quantities are text with a unit in the file and SI floats here."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

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
Angle = Annotated[float, _quantity("angle")]
Diffusivity = Annotated[float, _quantity("diffusivity")]
Concentration = Annotated[float, _quantity("concentration")]
Volume = Annotated[float, _quantity("volume")]
Pressure = Annotated[float, _quantity("pressure")]
Time = Annotated[float, _quantity("time")]


class Strict(BaseModel):
    """Unknown keys are mistakes; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Junction(Strict):
    """Which connector, or which mesh of the user's own (`.msh` with the boundaries of `twin.junction.BOUNDARIES`)."""

    connector: str | None = None
    mesh: str | None = None
    bore: Length | None = Field(None, description="of a mesh of the user's own: the length, in m, of its unit")

    @model_validator(mode="after")
    def _one_of_them(self) -> Junction:
        if (self.connector is None) == (self.mesh is None):
            raise ValueError("name either a connector of meshes/ or a mesh file")
        if (self.mesh is not None) != (self.bore is not None):
            raise ValueError("a mesh file needs the bore, the length of its unit; a connector brings its own")
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


class Sweep(Strict):
    """The points of one sweep: every antisolvent flow with every precursor flow, in m³/s."""

    antisolvent: list[Flow] = Field(min_length=1)
    precursor: list[Flow] = Field(min_length=1)


class Level(Strict):
    """A mesh level. Element sizes are in bores; the planes stand at whole bores down the outlet."""

    wall_size: PositiveFloat = Field(description="element size at the walls of the junction", le=0.5)
    core_size: PositiveFloat = Field(description="element size in the core of the outlet, far downstream", le=0.5)
    pressure_error: PositiveFloat = Field(
        0.1, description="relative discretization error of a pressure drop, measured against a finer level", lt=1
    )


class Pump(Strict):
    """A syringe pump of the rig, by the names of the catalogues in `twin.rig`."""

    model: str
    syringe: str
    address: int = Field(0, ge=0, le=99)
    port: str = "simulated"


class Rig(Strict):
    """The pumps, and the limits that no setpoint may pass."""

    antisolvent: Pump
    precursor: Pump
    hold: Time = Field(description="how long a run holds the setpoint, s")


class Setpoint(Strict):
    """The default question that `twin setpoint` and the demo answer."""

    maximize: Literal["production", "plqy"]
    subject_to: list[str]
    ligand: Literal["ps", "oa"]


class Case(Strict):
    """A whole case, with the folder that it came from."""

    folder: Path
    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    title: str
    junction: Junction
    liquids: Liquids
    precursor: Precursor
    sweeps: dict[str, Sweep] = Field(min_length=1)
    levels: dict[str, Level] = Field(min_length=1)
    ranks: PositiveInt = 2
    setpoint: Setpoint
    rig: Rig
    assumptions: dict[str, str] = {}

    @property
    def points(self) -> list[OperatingPoint]:
        """Every operating point of the sweeps, each once, in the order of rising flow."""
        flows = {
            pair for sweep in self.sweeps.values() for pair in itertools.product(sweep.antisolvent, sweep.precursor)
        }
        return [OperatingPoint(*pair, self.liquids.temperature) for pair in sorted(flows)]

    def level(self, name: str) -> Level:
        """The mesh level of that name."""
        if name not in self.levels:
            raise BadInput(f'the case has no level "{name}"', f"choose from {', '.join(self.levels)}")
        return self.levels[name]


class ExpectedValue(Strict):
    """One number of the paper that a case is held against, from `expected.toml`."""

    quantity: str
    value: float | str
    unit: str = ""
    condition: str = ""
    source: str
    note: str = ""
