"""What a `case.toml` may say. Quantities are text with a unit in the file and SI floats here."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from twin.case.quantities import (
    Concentration,
    Density,
    Diffusivity,
    Flow,
    Length,
    Position,
    Strict,
    Temperature,
    Viscosity,
)
from twin.case.rig import Rig
from twin.errors import BadInput
from twin.liquids import LIQUIDS, Liquid
from twin.operating import OperatingPoint


class Junction(Strict):
    """Which connector, or which geometry of the user's own: a STEP file, or a `.msh` with named boundaries."""

    connector: str | None = None
    mesh: str | None = None
    step: str | None = None
    bore: Length | None = Field(
        None, description="of a mesh: the length of its unit; of a STEP file: the outlet's bore"
    )
    outlet_area: PositiveFloat | None = Field(
        None, description="of a mesh or STEP file, in bore²; that of a round outlet, one bore across, if left out"
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
        if not own and self.outlet_area is not None:
            raise ValueError("a connector brings its own outlet_area")
        if self.faces and self.step is None:
            raise ValueError("[junction.faces] names the faces of a STEP file")
        return self


class OwnLiquid(Strict):
    """A liquid that the twin does not know, by its numbers at the temperature of the case."""

    density: Density
    viscosity: Viscosity = Field(description="dynamic")
    source: str


class Liquids(Strict):
    """The two liquids by name, and their temperature in K."""

    antisolvent: str
    precursor: str
    temperature: Temperature
    own: dict[str, OwnLiquid] = Field({}, description="liquids that the twin does not know, by name")

    @model_validator(mode="after")
    def _known(self) -> Liquids:
        if twice := sorted(set(self.own) & set(LIQUIDS)):
            raise ValueError(f'the twin has its own "{twice[0]}": choose another name for yours')
        if unused := sorted(set(self.own) - {self.antisolvent, self.precursor}):
            raise ValueError(f'"{unused[0]}" is neither the antisolvent nor the precursor\'s liquid')
        for name in (self.antisolvent, self.precursor):
            if name not in LIQUIDS and name not in self.own:
                raise ValueError(
                    f'"{name}" is not a liquid of the twin: choose from {", ".join(sorted(LIQUIDS))}, or give its'
                    f' density, viscosity and source in [liquids.own."{name}"]'
                )
            self.of(name).check(self.temperature)
        return self

    def of(self, name: str) -> Liquid:
        """The liquid of that name."""
        if name not in self.own:
            return LIQUIDS[name]
        mine = self.own[name]
        return Liquid.measured(name, mine.density, mine.viscosity, self.temperature, mine.source)


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

    walkers: PositiveInt = Field(
        5000, description="sent out with the precursor; M is good to 0.5/√walkers", ge=100, le=1_000_000
    )
    spacing: PositiveFloat = Field(1.0, description="between planes down the outlet, in bores", ge=0.05, le=5)
    elements: PositiveInt = Field(100, description="fluid elements whose history of composition is stored", le=10_000)


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
    assumptions: dict[str, str] = Field({})

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
