"""The Gmsh recipe of a connector: three bores, cut planes down the outlet, graded tetrahedra."""

from __future__ import annotations

import math

import gmsh

from twin.case.schema import Level
from twin.junction import Connector

RADIUS = 0.5  # lengths are in bores
_NEAR = 1e-6


def plane_name(bores: int) -> str:
    """The boundary name of the cut plane that stands `bores` bores down the outlet."""
    return f"plane_{bores}"


def draw(connector: Connector, level: Level) -> None:
    """Draws and meshes the connector in the current Gmsh model, in bores, with named boundaries.

    The outlet is a stack of one-bore cylinders, so that the mesh conforms to a plane at every bore: a conservative
    scheme then has the exact flux through each.
    """
    arms = {role: _arm_end(connector, side) for role, side in (("antisolvent", -1), ("precursor", 1))}
    _volumes(connector, arms)
    _name_boundaries(connector, arms)
    _grade(connector, level)
    gmsh.option.setNumber("Mesh.Algorithm", 6)
    gmsh.option.setNumber("Mesh.ElementOrder", 1)
    gmsh.model.mesh.generate(3)
    gmsh.model.mesh.optimize("Netgen")
    gmsh.model.mesh.setOrder(2)
    gmsh.model.mesh.optimize("HighOrderElastic")


def _arm_end(connector: Connector, side: int) -> tuple[float, float, float]:
    half = connector.angle / 2
    length = connector.arm_bores
    return (side * length * math.sin(half), 0.0, -length * math.cos(half))


def _volumes(connector: Connector, arms: dict[str, tuple[float, float, float]]) -> None:
    occ = gmsh.model.occ
    bodies = [(3, occ.addCylinder(*end, *(-x for x in end), RADIUS)) for end in arms.values()]
    root = (3, occ.addCylinder(0, 0, 0, 0, 0, 1, RADIUS))
    junction, _ = occ.fuse([root], bodies)
    outlet = [(3, occ.addCylinder(0, 0, start, 0, 0, 1, RADIUS)) for start in range(1, connector.outlet_bores)]
    volumes, _ = occ.fragment(junction, outlet) if outlet else (junction, None)
    if connector.symmetric_half:
        reach = 2 * (connector.arm_bores + connector.outlet_bores)
        half = (3, occ.addBox(-reach, 0, -reach, 2 * reach, reach, 2 * reach))
        occ.intersect([volume for volume in volumes if volume[0] == 3], [half])
    occ.removeAllDuplicates()
    occ.synchronize()


def _name_boundaries(connector: Connector, arms: dict[str, tuple[float, float, float]]) -> None:
    names: dict[str, list[int]] = {}
    for _, tag in gmsh.model.getEntities(2):
        names.setdefault(_boundary(connector, arms, tag), []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(2, tags, name=name)
    gmsh.model.addPhysicalGroup(3, [tag for _, tag in gmsh.model.getEntities(3)], name="fluid")


def _boundary(connector: Connector, arms: dict[str, tuple[float, float, float]], tag: int) -> str:
    x0, y0, z0, x1, y1, z1 = gmsh.model.getBoundingBox(2, tag)
    if connector.symmetric_half and abs(y0) < _NEAR and abs(y1) < _NEAR:
        return "symmetry"
    if z1 - z0 < _NEAR:
        bores = round(z0)
        return "outlet" if bores == connector.outlet_bores else plane_name(bores)
    for role, end in arms.items():
        # The end disc is centred on the arm's end, also where only its half is there.
        middle = ((x0 + x1) / 2, 0.0, (z0 + z1) / 2)
        if gmsh.model.getType(2, tag) == "Plane" and math.dist(middle, end) < 1e-3:
            return role
    return "wall"


def _grade(connector: Connector, level: Level) -> None:
    """Fine where the bores meet and down the first bores of the outlet, where the layers are; coarser at the ends."""
    for option in ("ExtendFromBoundary", "FromPoints", "FromCurvature"):
        gmsh.option.setNumber(f"Mesh.MeshSize{option}", 0)
    fine, coarse = level.wall_size, level.core_size
    field = gmsh.model.mesh.field
    ramp = field.add("MathEval")
    distance = "Sqrt(x*x+y*y+z*z)"
    field.setString(ramp, "F", f"{fine}+({coarse}-{fine})*Max(0,Min(1,({distance}-1.5)/3))")
    field.setAsBackgroundMesh(ramp)
