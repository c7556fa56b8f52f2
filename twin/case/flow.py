"""What the `case.toml` of a flow case may say: any laminar flow through a junction, channel or around a body.

A flow case has `[fluid]` and `[boundaries]` in the place of `[sweeps]`. Quantities are text with a unit in the file,
SI here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from twin.case.boundaries import NAME, FlowBoundaries, Point, Table
from twin.case.quantities import Density, Length, Temperature, Time, Viscosity, quantity
from twin.case.schema import IN_ORDER, Junction, Level, find_level
from twin.case.tables import read_history, read_profile
from twin.errors import BadInput
from twin.liquids import LIQUIDS

#: What the numbers of one point don't depend on, or the mesh's hash holds already.
_WORDS = {"folder", "name", "title", "ranks", "junction", "levels", "sweep", "assumptions"}
MOST_STEPS = 1e8  # of an unsteady run: on the smallest meshes they take weeks

Speed = Annotated[float, quantity("velocity")]
KinematicViscosity = Annotated[float, quantity("kinematic viscosity")]


def _mistakes_of(key: str, read: Callable[[Path], object], path: Path) -> list[tuple[str, str]]:
    """What is wrong with the file of a key, with that key."""
    try:
        read(path)
    except BadInput as error:
        return [(key, f"{error.message} ({error.remedy})" if error.remedy else error.message)]
    return []


def _told_by_key(mistakes: list[tuple[str, str]]) -> ValidationError:
    """One error for mistakes that only the whole file shows, each with the key that it is about."""
    details = [
        InitErrorDetails(type=PydanticCustomError("mistake", "{words}", {"words": words}), loc=(key,), input=None)
        for key, words in mistakes
    ]
    return ValidationError.from_exception_data("case.toml", details)


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


class FlowJunction(Junction):
    """As in a reactor case; `mesh` may also list several meshes of one geometry, from coarse to fine."""

    mesh: Annotated[tuple[str, ...] | None, BeforeValidator(_several)] = None  # type: ignore[assignment]

    @model_validator(mode="after")
    def _distinct(self) -> FlowJunction:
        if self.mesh is not None and len({Path(name).stem for name in self.mesh}) < max(1, len(self.mesh)):
            raise ValueError("give at least one mesh; their file names must differ: results are called by them")
        return self


class Fluid(Table):
    """A liquid of the twin by name and temperature, or a density with one of the two viscosities."""

    liquid: str | None = None
    temperature: Temperature | None = None
    density: Density | None = None
    viscosity: Viscosity | None = None
    kinematic_viscosity: KinematicViscosity | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Fluid:
        numbers = (self.density, self.viscosity, self.kinematic_viscosity)
        if self.liquid is None:
            if self.density is None or (self.viscosity is None) == (self.kinematic_viscosity is None):
                raise ValueError("give density with viscosity or kinematic_viscosity, or a liquid with its temperature")
            if self.temperature is not None:
                raise ValueError("temperature is for a liquid by name; these numbers don't depend on it")
            return self
        if any(number is not None for number in numbers):
            raise ValueError("give either a liquid or numbers, not both")
        if self.liquid not in LIQUIDS:
            raise ValueError(f'"{self.liquid}" is not a liquid of the twin: {", ".join(sorted(LIQUIDS))}, or numbers')
        if self.temperature is None:
            raise ValueError('a liquid needs its temperature, e.g. "20 degC"')
        LIQUIDS[self.liquid].check(self.temperature)
        return self

    @property
    def density_kg_m3(self) -> float:
        """Density."""
        if self.density is not None:
            return self.density
        return LIQUIDS[str(self.liquid)].density_kg_m3(float(self.temperature or 0))

    @property
    def kinematic_viscosity_m2_s(self) -> float:
        """Kinematic viscosity."""
        if self.kinematic_viscosity is not None:
            return self.kinematic_viscosity
        if self.viscosity is not None:
            return self.viscosity / self.density_kg_m3
        return LIQUIDS[str(self.liquid)].kinematic_viscosity_m2_s(float(self.temperature or 0))


class FlowReference(Table):
    """What the reported Reynolds number and coefficients refer to."""

    reference_length: Length | None = Field(None, description="default: the outlets' hydraulic diameter")
    reference_velocity: Speed | None = Field(
        None, description="default: the mean velocity of the outlets, or that of the fastest wall"
    )
    reference_depth: Length | None = Field(None, description="in 3-D: coefficients are 2F/(ρ U² length depth)")


class FlowTime(Table):
    """An unsteady run, in seconds; in steps of `step`, or as long as `cfl` allows."""

    end: Time
    step: Time | None = Field(None, description="at most: shortened where it would pass a moment that is wanted")
    cfl: PositiveFloat | None = Field(None, le=10)
    start: str = Field("rest", pattern="^(rest|steady)$")
    sample: Time | None = Field(None, description="between two rows of series.csv; default: every step")
    average_from: Annotated[float, quantity("time", positive=False)] = Field(0.0, ge=0)
    save: Time | None = Field(
        None, description="between two restart files; default: a tenth of the run, in whole steps"
    )

    @model_validator(mode="after")
    def _one_step(self) -> FlowTime:
        if (self.step is None) == (self.cfl is None):
            raise ValueError('give either step = "0.01 s" or cfl = 1.0')
        if self.average_from >= self.end:
            raise ValueError("average_from lies at or after the end")
        for key, every in (("step", self.step), ("sample", self.sample), ("save", self.save)):
            if words := self.too_many(every):
                raise ValueError(f"{key} = {every:g} s: {words}")
        return self

    def too_many(self, every: float | None) -> str:
        """What is wrong with moments this far apart, in s: a step ends at each; empty where nothing is."""
        if every is None or self.end <= MOST_STEPS * every:
            return ""
        return f"the run would need {self.end / every:.2g} steps, more than {MOST_STEPS:g}: make it shorter"


class FlowSweep(Table):
    """Factors on every rate and wall velocity, for `twin sweep`."""

    scale: list[PositiveFloat] = Field(min_length=1)


class Line(Table):
    """Samples at equal distances, both ends among them."""

    start: Point = Field(alias="from")
    end: Point = Field(alias="to")
    points: PositiveInt = Field(50, ge=2, le=100_000)

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Line:
        if self.start == self.end:
            raise ValueError("it begins where it ends: a single place is a probe")
        return self


class Output(Table):
    """What the record holds besides flows, pressures and the balance. Coordinates are lengths."""

    forces: list[str] = Field(default_factory=list)
    shear: list[str] = Field(default_factory=list, description="walls whose shear is told, point by point")
    probes: dict[str, Point] = Field(default_factory=dict)
    lines: dict[str, Line] = Field(default_factory=dict)
    pressure_differences: dict[str, tuple[str, str]] = Field(default_factory=dict)
    fields_every: Time | None = Field(None, description="of an unsteady run: between two files fields-NUMBER.vtu")

    @property
    def points(self) -> dict[str, Point]:
        """The places in m of probes and of both ends of lines, by what each is, in words."""
        found = {f"the probe {name}": point for name, point in self.probes.items()}
        for name, line in self.lines.items():
            found |= {f"the start of the line {name}": line.start, f"the end of the line {name}": line.end}
        return found

    @model_validator(mode="after")
    def _known(self) -> Output:
        for name, pair in self.pressure_differences.items():
            for probe in pair:
                if probe not in self.probes:
                    raise ValueError(f'pressure_differences.{name} names "{probe}", which is not a probe')
        return self


class FlowCase(Table):
    """A whole flow case, with the folder that it came from."""

    folder: Path
    name: str = Field(pattern=NAME)
    title: str
    ranks: PositiveInt = 2
    junction: FlowJunction
    levels: Annotated[dict[Annotated[str, Field(pattern=NAME)], Level], IN_ORDER] = Field(default_factory=dict)
    fluid: Fluid
    boundaries: FlowBoundaries
    flow: FlowReference = FlowReference()
    time: FlowTime | None = None
    sweep: FlowSweep | None = None
    output: Output = Output()
    assumptions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> FlowCase:
        mistakes: list[tuple[str, str]] = []
        if self.junction.mesh is not None and self.levels:
            mistakes.append(("levels", "is for a connector or a STEP file: a mesh brings its own elements"))
        if self.junction.mesh is None and not self.levels:
            mistakes.append(("levels", "a connector or a STEP file needs a table [levels.NAME] with the element sizes"))
        for key in ("forces", "shear"):
            for name in getattr(self.output, key):
                if name not in self.boundaries.walls:
                    known = ", ".join(self.boundaries.walls) or "none"
                    mistakes.append((f"output.{key}", f'names "{name}", which is not a wall; walls are {known}'))
        if self.output.fields_every is not None:
            key = "output.fields_every"
            if self.time is None:
                mistakes.append((key, "is for an unsteady run, with a table [time]"))
            elif self.output.fields_every > self.time.end:
                mistakes.append((key, "is longer than the run: leave it out, fields.vtu is its end"))
            elif words := self.time.too_many(self.output.fields_every):
                mistakes.append((key, words))
        if not self.boundaries.inlets and not self.boundaries.slides and self.flow.reference_velocity is None:
            words = "without an inlet the flow has no scale of its own: give flow.reference_velocity"
            mistakes.append(("flow.reference_velocity", words))
        if self.boundaries.closed and self.flow.reference_length is None:
            words = "a closed flow has no outlet whose diameter it refers to: give flow.reference_length"
            mistakes.append(("flow.reference_length", words))
        mistakes += self._mistakes_in_files()
        if mistakes:
            raise _told_by_key(mistakes)
        return self

    def _mistakes_in_files(self) -> list[tuple[str, str]]:
        found = []
        for name, inlet in self.boundaries.inlets.items():
            key = f"boundaries.inlets.{name}"
            if inlet.profile.endswith(".csv"):
                found += _mistakes_of(f"{key}.profile", read_profile, self.folder / inlet.profile)
        for key, file in self._histories():
            if self.time is None:
                found.append((key, "is for an unsteady run, with a table [time]"))
            found += _mistakes_of(key, read_history, self.folder / file)
        return found

    def _histories(self) -> list[tuple[str, str]]:
        """The files of histories, each with the key that names it."""
        found: list[tuple[str, str | None]] = []
        bounds = self.boundaries
        found += [(f"boundaries.inlets.{name}.history", inlet.history) for name, inlet in bounds.inlets.items()]
        found += [(f"boundaries.outlets.{name}.history", outlet.history) for name, outlet in bounds.outlets.items()]
        found += [(f"boundaries.walls.{name}.history", wall.history) for name, wall in bounds.walls.items()]
        return [(key, file) for key, file in found if file is not None]

    @property
    def level_names(self) -> list[str]:
        """The levels of a connector, or the names of the mesh files without their suffix."""
        return list(self.levels) if self.junction.mesh is None else [Path(name).stem for name in self.junction.mesh]

    def level(self, name: str) -> Level:
        """The mesh level of that name; `NAME@1.5` is NAME with its elements divided by 1.5. A mesh has none."""
        base, refined, _ = name.partition("@")
        if base not in self.level_names or (refined and not self.levels):
            raise BadInput(f'the case has no level "{name}"', f"choose from {', '.join(self.level_names)}")
        if not self.levels:
            return Level(wall_size=0.5, core_size=0.5)  # a placeholder: the mesh is made already
        return find_level(self.levels, name)

    def junction_at(self, level: str) -> Junction:
        """The junction with the one mesh of a level."""
        self.level(level)
        meshes = {Path(name).stem: name for name in self.junction.mesh or ()}
        kept = self.junction.model_dump(exclude={"mesh"})
        return Junction.model_construct(**kept, mesh=meshes.get(level))

    def point_name(self, scale: float) -> str:
        """The name of the flow at a factor on its rates."""
        return "flow" if scale == 1 else f"flow-x{scale:g}"

    @property
    def scales(self) -> list[float]:
        """The factors of the sweep, each once, rising; 1 without a sweep."""
        return sorted(set(self.sweep.scale)) if self.sweep else [1.0]

    def resolved(self) -> dict[str, Any]:
        """The case as JSON-like data in SI, with the contents of its tables; all but its mesh and its words."""
        data = self.model_dump(mode="json", exclude=_WORDS)
        profiles = [inlet.profile for inlet in self.boundaries.inlets.values() if inlet.profile.endswith(".csv")]
        files = [*profiles, *(file for _, file in self._histories())]
        data["files"] = {name: (self.folder / name).read_text() for name in files}
        for wall in data["boundaries"]["walls"].values():
            if wall["rotation"] is None:  # as in records from before walls could turn
                for key in ("rotation", "centre", "axis"):
                    del wall[key]
        if self.boundaries.slides:
            data["walls_in_order"] = list(self.boundaries.walls)  # which decides where a sliding and a resting one meet
            if self.boundaries.inlets:
                data["inlets_beside_moving_walls"] = 2  # how they are held there: older records have other flows
        return data
