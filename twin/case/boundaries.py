"""What each named boundary of a flow case is: inlets, outlets, walls, mirrors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from twin.case.quantities import Position, Strict, quantity
from twin.case.tables import Formula
from twin.errors import BadInput
from twin.units import EXAMPLE, parse

NAME = r"^[A-Za-z0-9_-]+$"
#: The name of a boundary inside the fluid.
CUT_PLANE = re.compile(r"plane_\d+")

Velocity = Annotated[float, quantity("velocity", positive=False)]
AngularVelocity = Annotated[float, quantity("rotation", positive=False)]
Point = Annotated[tuple[Position, ...], Field(min_length=2, max_length=3)]
AnyPressure = Annotated[float, quantity("pressure", positive=False)]
#: A .csv with the columns t in s, factor, in an unsteady run: on the rate, the pressure or the velocity.
History = str | None


class Table(Strict):
    """A table of the file; `nan` and `inf` are mistakes."""

    model_config = ConfigDict(allow_inf_nan=False)


class Rate(Table):
    """A volume flow: in m³/s, or of a 2-D mesh in m²/s, per metre of depth."""

    value: float
    per_depth: bool


def _rate(text: object) -> Rate:
    problems = []
    for kind, per_depth in (("flow", False), ("flow per depth", True)):
        try:
            return Rate(value=parse(str(text), kind), per_depth=per_depth)
        except BadInput as error:
            problems.append(error.message)
    raise ValueError(
        f'{problems[0]}; write it with its unit, e.g. "{EXAMPLE["flow"]}", or in 2-D "{EXAMPLE["flow per depth"]}"'
    )


def _listed(value: object) -> object:
    """Names alone stand for tables with nothing in them."""
    return {str(name): {} for name in value} if isinstance(value, list) else value


class Inlet(Table):
    """How fast the fluid enters, along the mean normal of the inlet; negative: it is drawn out there."""

    flow: Annotated[Rate, BeforeValidator(_rate)] | None = None
    mean_velocity: Velocity | None = None
    profile: str = Field("developed", description="developed, plug, or a .csv with the columns x, y[, z], speed")
    formula: str | None = Field(None, description="the shape in x, y, z in the mesh's unit, in the place of a profile")
    scale: bool = Field(True, description="false: the speeds of file or formula are m/s and give the flow")
    history: History = None

    @model_validator(mode="after")
    def _one_rate(self) -> Inlet:
        rates = (self.flow is not None) + (self.mean_velocity is not None)
        if self.formula is not None:
            if self.profile != "developed":
                raise ValueError("give either a profile or a formula")
            Formula(self.formula)
        elif self.profile not in ("developed", "plug") and not self.profile.endswith(".csv"):
            raise ValueError(f'the profile "{self.profile}" is none of developed, plug and a file .csv')
        if not self.scale:
            if not self.measured:
                raise ValueError("scale = false is for a profile file or a formula that gives m/s")
            if rates:
                raise ValueError("with scale = false the profile gives the rate: leave out flow and mean_velocity")
        elif rates > 1:
            raise ValueError("give flow or mean_velocity, not both")
        elif not rates:
            raise ValueError(f'needs its rate: flow = "{EXAMPLE["flow"]}" or mean_velocity = "0.2 m/s"')
        return self

    @property
    def measured(self) -> bool:
        """Whether a file or a formula gives the shape."""
        return self.formula is not None or self.profile.endswith(".csv")


class Outlet(Table):
    """Where the fluid leaves freely, against a pressure in Pa."""

    pressure: AnyPressure = 0.0
    history: History = None

    @model_validator(mode="after")
    def _something(self) -> Outlet:
        if self.history is not None and self.pressure == 0:
            raise ValueError("a history holds factors on the pressure: give one that is not 0")
        return self


class Wall(Table):
    """Where the fluid sticks; a wall may slide with a velocity in m/s, or turn at rad/s about an axis through a centre.

    In 3-D the turn is right-handed about `axis`, in 2-D anticlockwise.
    """

    velocity: Annotated[list[Velocity], Field(min_length=2, max_length=3)] | None = None
    rotation: AngularVelocity | None = None
    centre: Point | None = None
    axis: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    history: History = None

    @property
    def moves(self) -> bool:
        """Whether it does."""
        return any(self.velocity or ()) or bool(self.rotation)

    @property
    def turn(self) -> tuple[float, ...]:
        """The unit vector of the axis."""
        size = math.hypot(*(self.axis or ()))
        return tuple(part / size for part in self.axis or ()) or (0.0, 0.0, 1.0)

    @model_validator(mode="after")
    def _something(self) -> Wall:
        if self.velocity is not None and self.rotation is not None:
            raise ValueError("give velocity or rotation, not both")
        if (self.rotation is None) != (self.centre is None):
            raise ValueError('a rotation and its centre go together, e.g. centre = ["0 mm", "0 mm"]')
        if self.axis is not None and self.rotation is None:
            raise ValueError("an axis is for a rotation")
        if self.axis is not None and not any(self.axis):
            raise ValueError("the axis has no direction: give one that is not 0, 0, 0")
        if self.history is not None and not self.moves:
            moved = "velocity" if self.rotation is None else "rotation"
            raise ValueError(f"a history holds factors on the {moved}: give one that is not 0")
        return self


class Mirror(Table):
    """A plane in which the flow mirrors itself, square to x, y or z."""


class FlowBoundaries(Table):
    """What each named boundary of the mesh is. Cut planes inside the fluid are not mentioned.

    Without inlets and outlets the flow is closed, and a sliding wall moves it. Where two walls meet, the last one wins.
    """

    inlets: dict[str, Inlet] = Field(default_factory=dict)
    outlets: dict[str, Outlet] = Field(default_factory=dict)
    walls: Annotated[dict[str, Wall], BeforeValidator(_listed)] = Field(default_factory=dict)
    mirrors: Annotated[dict[str, Mirror], BeforeValidator(_listed)] = Field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether nothing enters or leaves."""
        return not self.inlets and not self.outlets

    @property
    def slides(self) -> bool:
        """Whether a wall moves."""
        return any(wall.moves for wall in self.walls.values())

    @property
    def roles(self) -> list[tuple[str, str]]:
        """Every name with its role: inlet, outlet, wall, mirror."""
        names = (list(self.inlets), list(self.outlets), list(self.walls), list(self.mirrors))
        roles = ("inlet", "outlet", "wall", "mirror")
        return [(name, role) for role, group in zip(roles, names, strict=True) for name in group]

    def check_names(self, found: Iterable[str]) -> None:
        """Raises `BadInput` unless each of these boundaries of a mesh has its role here, and none is missing."""
        found = [name for name in found if not CUT_PLANE.fullmatch(name)]
        known = [name for name, _ in self.roles]
        if missing := [name for name in known if name not in found]:
            raise BadInput(
                f"the mesh has no boundary {', '.join(missing)}",
                f"its boundaries are {', '.join(found)}; a STEP file has them from labels and from [junction.faces]",
            )
        if forgotten := [name for name in found if name not in known]:
            raise BadInput(
                f"the case does not say what the boundary {', '.join(forgotten)} is",
                "put it into boundaries.inlets, outlets, walls or mirrors",
            )

    @model_validator(mode="after")
    def _consistent(self) -> FlowBoundaries:
        roles: dict[str, list[str]] = {}
        for name, role in self.roles:
            roles.setdefault(name, []).append(role)
        if twice := [f"{name} is {' and '.join(each)}" for name, each in roles.items() if len(each) > 1]:
            raise ValueError(f"{'; '.join(twice)}: a boundary has one role")
        if self.inlets and not self.outlets:
            raise ValueError("what enters must leave: name an outlet; without inlets and outlets the flow is closed")
        rates = [inlet.flow.value if inlet.flow else inlet.mean_velocity for inlet in self.inlets.values()]
        pressures = {(outlet.pressure, outlet.history) for outlet in self.outlets.values()}
        if not self.slides and not any(rate != 0 for rate in rates) and len(pressures) < 2:
            raise ValueError("nothing moves the fluid: give an inlet, a moving wall, or outlets of different pressures")
        if not self.walls and any(inlet.profile == "developed" and not inlet.formula for inlet in self.inlets.values()):
            raise ValueError('without a wall no profile develops: give the inlets profile = "plug"')
        return self
