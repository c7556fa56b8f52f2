"""Makes the meshes of this case: python make_mesh.py [FOLDER]. The channel of Schäfer & Turek (1996), in metres."""

import math
import sys
from pathlib import Path

import gmsh

CELLS = {"coarse": 12, "medium": 18, "fine": 27}  # second-order cells around half of the cylinder


def draw(half: int) -> None:
    """Meshes the channel with this many cells around half of the cylinder."""
    occ = gmsh.model.occ
    channel, hole = occ.addRectangle(0, 0, 0, 2.2, 0.41), occ.addDisk(0.2, 0.2, 0, 0.05, 0.05)
    occ.cut([(2, channel)], [(2, hole)])
    occ.synchronize()
    names: dict[str, list[int]] = {}
    for _, tag in gmsh.model.getEntities(1):
        x, y, _ = occ.getCenterOfMass(1, tag)
        inside = math.dist((x, y), (0.2, 0.2)) < 0.06
        ends = {0.0: "left", 2.2: "right"}
        names.setdefault("cylinder" if inside else ends.get(round(x, 6), "channel"), []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(1, tags, name=name)
    gmsh.model.addPhysicalGroup(2, [tag for _, tag in gmsh.model.getEntities(2)], name="fluid")
    fine = math.pi * 0.05 / half
    gmsh.model.mesh.field.add("MathEval", 1)
    away = "Sqrt((x-0.2)^2+(y-0.2)^2)-0.05"
    gmsh.model.mesh.field.setString(1, "F", f"{fine}*(1+Min(3,6*({away})/0.41*2))")
    gmsh.model.mesh.field.setAsBackgroundMesh(1)
    for option in ("ExtendFromBoundary", "FromPoints", "FromCurvature"):
        gmsh.option.setNumber(f"Mesh.MeshSize{option}", 0)
    gmsh.model.mesh.generate(2)
    gmsh.model.mesh.setOrder(2)


def main(folder: Path) -> None:
    """Writes every mesh into the folder."""
    for name, half in CELLS.items():
        gmsh.initialize()
        gmsh.option.setNumber("General.Terminal", 0)
        draw(half)
        gmsh.write(str(folder / f"{name}.msh"))
        gmsh.finalize()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
