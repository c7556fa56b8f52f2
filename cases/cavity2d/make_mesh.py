"""Makes the meshes of this case: python make_mesh.py [FOLDER]. A unit square, its cells smaller towards the walls."""

import sys
from pathlib import Path

import gmsh

CELLS = {"coarse": 24, "medium": 36, "fine": 54}  # along an edge, each of two triangles


def draw(along: int) -> None:
    """Meshes the square with this many cells along an edge."""
    occ = gmsh.model.occ
    square = occ.addRectangle(0, 0, 0, 1, 1)
    occ.synchronize()
    names: dict[str, list[int]] = {}
    for _, tag in gmsh.model.getEntities(1):
        gmsh.model.mesh.setTransfiniteCurve(tag, along + 1, "Bump", 0.1)
        _, y, _ = occ.getCenterOfMass(1, tag)
        names.setdefault("lid" if y > 0.99 else "rest", []).append(tag)
    gmsh.model.mesh.setTransfiniteSurface(square, "Alternate")
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(1, tags, name=name)
    gmsh.model.addPhysicalGroup(2, [square], name="fluid")
    gmsh.model.mesh.generate(2)


def main(folder: Path) -> None:
    """Writes every mesh into the folder."""
    for name, along in CELLS.items():
        gmsh.initialize()
        gmsh.option.setNumber("General.Terminal", 0)
        draw(along)
        gmsh.write(str(folder / f"{name}.msh"))
        gmsh.finalize()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
