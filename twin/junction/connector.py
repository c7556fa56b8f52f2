"""Connectors by name, from the TOML files of `meshes/`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, PositiveInt

from twin.case.load import read_toml, validated
from twin.case.schema import Angle, Length, Strict
from twin.errors import BadInput

#: What every mesh must name. `symmetry` is optional: a plane in which the flow mirrors itself.
BOUNDARIES = ("antisolvent", "precursor", "outlet", "wall")

CATALOGUE = Path(__file__).parents[2] / "meshes"


class Connector(Strict):
    """Three round bores of one diameter whose axes meet in a point.

    The outlet runs along +z from the origin; the arms lie in the plane y = 0, at half of `angle` on either side of
    the −z axis. `bore` in m, `angle` in rad, lengths in bores.
    """

    name: str
    bore: Length
    angle: Angle = Field(description="between the two arms")
    arm_bores: float = Field(ge=1, le=20)
    outlet_bores: PositiveInt = Field(le=50)
    symmetric_half: bool = True
    source: str
    assumptions: dict[str, str] = Field(default_factory=dict)


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
