"""A geometry of the user's own: one solid, the fluid, from a STEP file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gmsh
import numpy as np

from twin.case.schema import Level
from twin.errors import BadInput
from twin.meshing.budget import check_cells
from twin.meshing.checks import check_grid, check_names, place
from twin.meshing.core import background, generate, near_curves
from twin.meshing.grid import Grid, gmsh_explained, grid_of_model
from twin.meshing.labels import face_labels
from twin.meshing.quality import assess
from twin.units import to_mm

_REACH = 0.25  # bores; a named point further from every face is a mistake
_BETWEEN = 1e-4  # of the solid's diagonal: by how much the face that is meant must be nearer than the next
_SHARP = 0.35  # rad between the walls at an edge
_AROUND = 8  # elements around a bore or a fillet where the sizes of the level are too coarse for it
_DEEP = 0.4  # bores from the wall at which elements have their full size
_WIDTH = (0.12, 8.0)  # bores: hydraulic diameters of what the bore may be meant for; a slip of 10 is outside


def mesh_step(
    source: Path,
    bore: float,
    faces: dict[str, tuple[float, float, float]],
    level: Level,
    names: Sequence[str] | None,
    outlets: Sequence[str] = (),
) -> Grid:
    """The mesh of a STEP file in bores. Gmsh must be running; whatever it holds may be dropped.

    Where the level's sizes are too coarse for a narrow bore or a fillet, it is meshed again with smaller ones there.

    `bore` in m; `faces`, a point in m on each boundary, in the file's frame; faces with a label in the file have that
    name; all others are wall. `names` are the boundaries that must come out; None for any.
    `outlets`, as far as known, are those of them that are about a bore wide.
    """
    try:
        return _meshed(_named(source, bore, faces, level, names, outlets), level, source)
    except _Unmeshed:
        gmsh.clear()
    try:
        return _meshed(_named(source, bore, faces, level, names, outlets), level, source, _AROUND)
    except _Unmeshed as error:
        raise BadInput(
            f"{source} can't be meshed: {error}",
            "choose smaller sizes in the level; if that won't help, heal the solid in the CAD: tiny faces, steps, gaps",
        ) from None


class _Unmeshed(Exception):
    """Gmsh makes no mesh of the solid with these sizes, or none that is any good."""


def _named(
    source: Path,
    bore: float,
    faces: dict[str, tuple[float, float, float]],
    level: Level,
    names: Sequence[str] | None,
    outlets: Sequence[str],
) -> dict[str, list[int]]:
    """Reads the solid into a new model in bores; returns its faces by the names of the boundaries."""
    gmsh.model.add("step")
    _read(source, bore)
    named = face_labels(source) | _pointed_at(faces, bore, source)
    boundaries: dict[str, list[int]] = {}
    for _, tag in gmsh.model.getEntities(2):
        boundaries.setdefault(named.get(tag, "wall"), []).append(tag)
    check_names(list(boundaries), names, str(source))
    _check_bore(boundaries, outlets, bore, source)
    check_cells(
        level, _DEEP, str(source), f"choose larger sizes in the level, or correct the bore: {_extent(source, bore)}"
    )
    return boundaries


def _meshed(boundaries: dict[str, list[int]], level: Level, source: Path, around: int = 0) -> Grid:
    """The mesh of the current model, which is then gone, with at least so many elements around every bore or fillet.

    It is fine at the walls. Where none is just called so, all faces count, as nothing tells which of them are walls.

    Raises `_Unmeshed` where none comes of it that will do.
    """
    for name, tags in boundaries.items():
        gmsh.model.addPhysicalGroup(2, tags, name=name)
    _grade(boundaries.get("wall") or [tag for tags in boundaries.values() for tag in tags], level)
    try:
        with gmsh_explained("Gmsh says", ""):
            generate(around)
        assess({}).check()
        grid = grid_of_model(3)
        check_grid(grid, source)
    except BadInput as error:
        raise _Unmeshed(error.message) from None
    gmsh.model.remove()
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


def _pointed_at(faces: dict[str, tuple[float, float, float]], bore: float, source: Path) -> dict[int, str]:
    """The faces with points on them, in m, and their names."""
    found: dict[int, str] = {}
    for name, point in faces.items():
        face = _nearest(name, np.array(point), bore, source)
        if face in found:
            raise BadInput(
                f'the points of "{found[face]}" and "{name}" are on one face of {source}, {_face(face, bore)}',
                "give each a point on a face of its own",
            )
        found[face] = name
    return found


def _nearest(name: str, point: np.ndarray, bore: float, source: Path) -> int:
    """The face nearest to a point in m."""
    marker = gmsh.model.occ.addPoint(*(point / bore))
    away = {tag: gmsh.model.occ.getDistance(0, marker, 2, tag)[0] for _, tag in gmsh.model.getEntities(2)}
    gmsh.model.occ.remove([(0, marker)])
    face, *others = sorted(away, key=lambda tag: away[tag])
    if away[face] > _REACH:
        raise BadInput(
            f'the point of "{name}" is {away[face]:.2g} bores from every face of {source}',
            f"give a point on the face, with its unit, in the frame of the file: {_extent(source, bore)}",
        )
    diagonal = np.linalg.norm(np.diff(_box(), axis=1))
    if others and away[others[0]] - away[face] < _BETWEEN * diagonal:
        raise BadInput(
            f'the point of "{name}" is on two faces of {source}, {_face(face, bore)} and {_face(others[0], bore)}',
            "give a point off their common edge; if the boundary is in parts, join them in the CAD or label each",
        )
    return face


def _face(tag: int, bore: float) -> str:
    """Which face it is, in words."""
    middle = bore * np.round(gmsh.model.occ.getCenterOfMass(2, tag), 6)
    return f"one of {bore**2 * gmsh.model.occ.getMass(2, tag):.3g} m^2 around {place(middle[None])} m"


def _extent(source: Path, bore: float) -> str:
    """Where the solid lies, in words."""
    edges = ", ".join(f"{low:.3g} … {high:.3g}" for low, high in bore * _box())
    return f"{source} spans {edges} m along x, y, z"


def _box() -> np.ndarray:
    """The least and the largest of each coordinate of the solid in bores, (3, 2)."""
    return np.array(gmsh.model.getBoundingBox(-1, -1)).reshape(2, 3).T


def _check_bore(boundaries: dict[str, list[int]], outlets: Sequence[str], bore: float, source: Path) -> None:
    """Raises `BadInput` where no outlet is about as wide as the bore; without one no named face, or no face at all."""
    ports = [name for name in outlets if name in boundaries] or [name for name in boundaries if name != "wall"]
    tags = [tag for name in ports or boundaries for tag in boundaries[name]]
    widths = [_width(tag) for tag in tags]
    if any(_WIDTH[0] <= width <= _WIDTH[1] for width in widths):
        return
    found = " to ".join(dict.fromkeys(f"{width * bore:.3g}" for width in (min(widths), max(widths))))
    raise BadInput(
        f"{source} is {found} m wide at {', '.join(ports) or 'its faces'}, and the bore is {bore:.3g} m",
        f"give the outlet's bore with its unit, put its point on the port, or export the solid in the right unit:"
        f" {_extent(source, bore)}",
    )


def _width(face: int) -> float:
    """The hydraulic diameter of a face in bores; infinite for one without a rim, as of a ball."""
    rim = gmsh.model.getBoundary([(2, face)], oriented=False)
    length = sum(gmsh.model.occ.getMass(1, curve) for _, curve in rim)
    return float(4 * gmsh.model.occ.getMass(2, face) / length) if length else np.inf


def _grade(walls: list[int], level: Level) -> None:
    """Fine at the walls and at the sharp edges between them."""
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
