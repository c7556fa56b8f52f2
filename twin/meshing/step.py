"""A geometry of the user's own: one solid, the fluid, from a STEP file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gmsh
import numpy as np

from twin.case.schema import Level
from twin.errors import BadInput
from twin.meshing.checks import check_grid, check_names
from twin.meshing.core import background, generate, near_curves
from twin.meshing.grid import Grid, gmsh_explained, grid_of_model
from twin.meshing.labels import face_labels
from twin.units import to_mm

_REACH = 0.25  # bores; a named point further from every face is a mistake
_SHARP = 0.35  # rad between the walls at an edge
_DEEP = 0.4  # bores from the wall at which elements have their full size


def mesh_step(
    source: Path,
    bore: float,
    faces: dict[str, tuple[float, float, float]],
    level: Level,
    names: Sequence[str] | None,
) -> Grid:
    """The mesh of a STEP file in bores. Gmsh must be running.

    `bore` in m; `faces`, a point in m on each boundary, in the file's frame; faces with a label in the file have that
    name; all others are wall. `names` are the boundaries that must come out; None for any.
    """
    gmsh.model.add("step")
    _read(source, bore)
    named = face_labels(source)
    for name, point in faces.items():
        named[_nearest(name, np.array(point) / bore, source)] = name
    boundaries: dict[str, list[int]] = {}
    for _, tag in gmsh.model.getEntities(2):
        boundaries.setdefault(named.get(tag, "wall"), []).append(tag)
    check_names(list(boundaries), names, str(source))
    for name, tags in boundaries.items():
        gmsh.model.addPhysicalGroup(2, tags, name=name)
    _grade(boundaries.get("wall", []), level)
    with gmsh_explained(f"{source} can't be meshed", "heal the solid in the CAD, or choose a finer level"):
        generate()
    grid = grid_of_model(3)
    gmsh.model.remove()
    check_grid(grid, source)
    return grid


def _read(source: Path, bore: float) -> None:
    """The solid in bores."""
    gmsh.option.setString("Geometry.OCCTargetUnit", "MM")
    gmsh.option.setNumber("Geometry.OCCScaling", 1 / to_mm(bore))
    with gmsh_explained(f"Gmsh can't read {source}", "export the solid as STEP, AP203 or AP214"):
        shapes = gmsh.model.occ.importShapes(str(source))
    gmsh.model.occ.synchronize()
    solids = [tag for dim, tag in shapes if dim == 3]
    if len(solids) != 1:
        raise BadInput(
            f"{source} has {len(solids)} solids", "export one solid: the space that the fluid fills, not the connector"
        )


def _nearest(name: str, point: np.ndarray, source: Path) -> int:
    """The face nearest to a point in bores."""
    marker = gmsh.model.occ.addPoint(*point)
    away = {tag: gmsh.model.occ.getDistance(0, marker, 2, tag)[0] for _, tag in gmsh.model.getEntities(2)}
    gmsh.model.occ.remove([(0, marker)])
    face = min(away, key=lambda tag: away[tag])
    if away[face] > _REACH:
        raise BadInput(
            f'the point of "{name}" is {away[face]:.2g} bores from every face of {source}',
            "give a point on the face, with its unit, in the frame of the file",
        )
    return face


def _grade(walls: list[int], level: Level) -> None:
    """Fine at the walls and at the sharp edges between them."""
    if not walls:
        raise BadInput("every face has a name, and none is wall", "leave out the walls from [junction.faces]")
    field = gmsh.model.mesh.field
    distance, threshold = field.add("Distance"), field.add("Threshold")
    field.setNumbers(distance, "SurfacesList", walls)
    field.setNumber(distance, "Sampling", 40)
    sizes = {"SizeMin": level.wall_size, "SizeMax": level.core_size, "DistMin": 0.0, "DistMax": _DEEP}
    for option, value in {"InField": distance, **sizes}.items():
        field.setNumber(threshold, option, value)
    sharp = _sharp_edges(walls)
    if not sharp:
        background(threshold)
        return
    background(threshold, near_curves(sharp, level.crotch_size or level.wall_size, level.core_size))


def _sharp_edges(walls: list[int]) -> list[int]:
    """The curves at which two walls meet at an angle."""
    found = []
    for _, curve in gmsh.model.getEntities(1):
        faces, _ = gmsh.model.getAdjacencies(1, curve)
        beside = [int(face) for face in faces if face in walls]
        if len(beside) != 2:
            continue
        low, high = gmsh.model.getParametrizationBounds(1, curve)
        middle = gmsh.model.getValue(1, curve, [(low[0] + high[0]) / 2])
        normals = [gmsh.model.getNormal(face, gmsh.model.getParametrization(2, face, middle)) for face in beside]
        if np.arccos(np.clip(abs(np.dot(*normals)), 0, 1)) > _SHARP:
            found.append(curve)
    return found
