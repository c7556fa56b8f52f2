"""Connectors by name, from the TOML files of `meshes/`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from twin.case.load import read_toml, validated
from twin.case.quantities import Angle, Length, Strict, Turn
from twin.errors import BadInput

#: What the mesh of a reactor case must name. `symmetry` is optional: a plane in which the flow mirrors itself.
BOUNDARIES = ("antisolvent", "precursor", "outlet", "wall")

#: Names that an arm can't have: they mean something else in a mesh.
RESERVED = ("outlet", "wall", "symmetry", "fluid")

CATALOGUE = Path(__file__).parents[2] / "meshes"

Section = Literal["round", "square"]
Vector = tuple[float, float, float]


class Arm(Strict):
    """An inlet's bore: straight, from the junction outwards. Angles in rad, lengths in bores of the outlet.

    Its axis leaves −z by `angle` towards +x (negative: towards −x), and that plane is turned about z by `turn`.
    The diameter at the distance s from the junction is `bore` + `taper`·s.
    """

    angle: Turn
    length: float = Field(3.0, ge=0.5, le=50)
    bore: PositiveFloat = Field(1.0, le=5, description="diameter, or side of a square section, at the junction")
    taper: float = Field(0.0, ge=-0.5, le=0.5, description="growth of the diameter per length, away from the junction")
    offset: float = Field(0.0, ge=-2, le=2, description="of the axis, out of the plane of the outlet's axis")
    turn: Turn = Field(0.0, description="of the arm's plane about the outlet's axis")
    section: Section | None = Field(None, description="that of the connector where it is not given")

    @field_validator("angle")
    @classmethod
    def _not_beside_the_outlet(cls, angle: float) -> float:
        if abs(angle) > math.radians(170):
            raise ValueError(f"must be from -170 deg to 170 deg, not {math.degrees(angle):g} deg")
        return angle

    @model_validator(mode="after")
    def _open(self) -> Arm:
        if self.bore + self.taper * self.length < 0.1:
            raise ValueError(f"tapers to {self.bore + self.taper * self.length:.2g} bores at its end; 0.1 is the least")
        return self

    @property
    def direction(self) -> Vector:
        """The unit vector along the axis, away from the junction."""
        across = math.sin(self.angle)
        return (across * math.cos(self.turn), across * math.sin(self.turn), -math.cos(self.angle))

    @property
    def sideways(self) -> Vector:
        """The unit vector in which the arm is offset: normal to its axis and to the outlet's."""
        return (-math.sin(self.turn), math.cos(self.turn), 0.0)

    @property
    def mirrors(self) -> bool:
        """Whether the arm is its own mirror image in the plane y = 0."""
        return self.offset == 0 and abs(math.sin(self.turn) * math.sin(self.angle)) < 1e-9


class Connector(Strict):
    """Straight bores that meet: the outlet runs along +z from the origin, the arms lead there from around the −z axis.

    In the short form `angle` and `arm_bores` give two arms like the outlet in the plane y = 0, at half of `angle` on
    either side of the −z axis: the antisolvent's on the side of −x, the precursor's on that of +x. The long form has a
    table `[arms.NAME]` for each arm; `angle` is then that between the outermost, `arm_bores` the longest.
    `bore` in m, angles in rad, lengths in bores of the outlet.
    """

    name: str
    bore: Length = Field(description="the outlet's diameter, or the depth (along y) of its square section")
    arms: dict[str, Arm] = Field(default_factory=dict)
    angle: Angle = Field(math.nan, description="between the two arms of the short form")
    arm_bores: float = Field(math.nan, ge=1, le=20, description="length of the arms of the short form")
    outlet_bores: PositiveInt = Field(le=50)
    section: Section = "round"
    outlet_width: float = Field(1.0, ge=0.2, le=5, description="of a square outlet, along x")
    fillet: float = Field(0.0, ge=0, le=0.5, description="radius of the edges that point into the fluid")
    symmetric_half: bool = True
    gravity: Vector | None = Field(None, description="its direction; only for flows that it drives")
    source: str
    assumptions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_form(self) -> Connector:
        short = {"angle", "arm_bores"} & self.model_fields_set
        if self.arms and short:
            extra = "both" if len(short) == 2 else f"{short.pop()} as well"
            raise ValueError(f"give either [arms.NAME] or angle and arm_bores, not {extra}")
        if not self.arms and len(short) < 2:
            raise ValueError("give angle and arm_bores, or a table [arms.NAME] for each arm")
        if self.arms:
            angles = [arm.angle for arm in self.arms.values()]
            object.__setattr__(self, "angle", max(angles) - min(angles))
            object.__setattr__(self, "arm_bores", max(arm.length for arm in self.arms.values()))
        return self

    @model_validator(mode="after")
    def _possible(self) -> Connector:
        for name in self.arms:
            if name in RESERVED or name.startswith("plane_") or not name.replace("-", "_").isidentifier():
                raise ValueError(f'an arm can\'t be called "{name}": take a word that is not {", ".join(RESERVED)}')
        if self.section == "round" and self.outlet_width != 1:
            raise ValueError('outlet_width is for section = "square"')
        skew = [name for name, arm in self.arms.items() if not arm.mirrors]
        if self.symmetric_half and skew:
            raise ValueError(f"{', '.join(skew)} out of the plane y = 0: set symmetric_half = false")
        if self.gravity is not None and not 0 < math.hypot(*self.gravity) < math.inf:
            raise ValueError("gravity needs a direction, e.g. [0, 0, 1]")
        return self

    @property
    def inlets(self) -> dict[str, Arm]:
        """The arms by the names of their boundaries, of either form."""
        if self.arms:
            return self.arms
        half = self.angle / 2
        return {
            "antisolvent": Arm.model_construct(angle=-half, length=self.arm_bores),
            "precursor": Arm.model_construct(angle=half, length=self.arm_bores),
        }

    @property
    def outlet_area(self) -> float:
        """The area of the whole outlet in bore²: bulk velocity is volume flow over it."""
        return self.outlet_width if self.section == "square" else math.pi / 4


def find_connector(name: str, near: Path) -> Connector:
    """The connector of that name: from the folder `near` itself (a case's own), from the `meshes/` beside one of its
    parents, or from that of the twin's own checkout.
    """
    near = near.resolve()
    folders = [near, *(parent / "meshes" for parent in near.parents), CATALOGUE]
    for path in (folder / f"{name}.toml" for folder in folders):
        if path.is_file():
            return validated(Connector, {**read_toml(path), "name": name}, path)
    known = sorted({path.stem for folder in folders[1:] if folder.is_dir() for path in folder.glob("*.toml")})
    raise BadInput(f'there is no connector "{name}"', f"choose from {', '.join(known)}, or put {name}.toml in the case")
