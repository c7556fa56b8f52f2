"""Makes the meshes of this case: python make_mesh.py [FOLDER]. Half of Schäfer & Turek's channel, in metres."""

import math
import sys
from pathlib import Path

import gmsh

HEIGHT = 0.41
CELLS = {"coarse": 8, "medium": 12, "fine": 18}  # second-order cells around half of the cylinder


def draw(half: int) -> None:
    """Meshes the channel from its side wall to its mirror plane, with this many cells around half of the cylinder."""
    occ = gmsh.model.occ
    channel = occ.addBox(0, 0, 0, 2.5, HEIGHT, HEIGHT / 2)
    hole = occ.addCylinder(0.5, 0.2, 0, 0, 0, HEIGHT / 2, 0.05)
    occ.cut([(3, channel)], [(3, hole)])
    occ.synchronize()
    names: dict[str, list[int]] = {}
    for _, tag in gmsh.model.getEntities(2):
        x, y, z = occ.getCenterOfMass(2, tag)
        if math.dist((x, y), (0.5, 0.2)) < 0.06:
            name = "cylinder"
        elif round(z, 6) == HEIGHT / 2:
            name = "symmetry"
        else:
            name = {0.0: "left", 2.5: "right"}.get(round(x, 6), "channel")
        names.setdefault(name, []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(2, tags, name=name)
    gmsh.model.addPhysicalGroup(3, [tag for _, tag in gmsh.model.getEntities(3)], name="fluid")
    fine = math.pi * 0.05 / half
    gmsh.model.mesh.field.add("MathEval", 1)
    away = "Sqrt((x-0.5)^2+(y-0.2)^2)-0.05"
    gmsh.model.mesh.field.setString(1, "F", f"{fine}*(1+Min(4,12*({away})/{HEIGHT}))")
    gmsh.model.mesh.field.setAsBackgroundMesh(1)
    for option in ("ExtendFromBoundary", "FromPoints", "FromCurvature"):
        gmsh.option.setNumber(f"Mesh.MeshSize{option}", 0)
    gmsh.model.mesh.generate(3)
    gmsh.model.mesh.setOrder(2)
    gmsh.model.mesh.optimize("HighOrder")


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
