"""The names that a CAD gave to faces in a STEP file. Gmsh reads the shapes and drops these."""

from __future__ import annotations

import re
from pathlib import Path

import gmsh
import numpy as np

from twin.errors import BadInput

_ENTITY = re.compile(r"#(\d+)\s*=\s*([A-Z0-9_]+)\s*\((.*?)\)\s*;", re.DOTALL)
_NAME = re.compile(r"\s*'([A-Za-z][A-Za-z0-9_-]*)'")
#: The way from a face to the corners of its edges.
_WAY = {"FACE_OUTER_BOUND", "FACE_BOUND", "EDGE_LOOP", "ORIENTED_EDGE", "EDGE_CURVE", "VERTEX_POINT", "CARTESIAN_POINT"}
_ENOUGH = 1e-5  # of the size of the solid


def face_labels(source: Path) -> dict[int, str]:
    """The labels by face of Gmsh's current model, which was read from `source` alone.

    A face is known again by its corners. Raises `BadInput` for a label whose face is not told from another that way.
    """
    text = source.read_text(encoding="utf-8", errors="replace")
    entities = {int(number): (kind, body) for number, kind, body in _ENTITY.findall(text)}
    labels = {
        number: match[1]
        for number, (kind, body) in entities.items()
        if kind == "ADVANCED_FACE" and (match := _NAME.match(body))
    }
    if not labels:
        return {}
    everything = np.vstack(
        [_corners(entities, number) for number, (kind, _) in entities.items() if kind == "ADVANCED_FACE"]
    )
    faces = {tag: _corners_of_face(tag) for _, tag in gmsh.model.getEntities(2)}
    model = np.vstack(list(faces.values()))
    scale = np.ptp(model, axis=0).max() / np.ptp(everything, axis=0).max()
    near = _ENOUGH * np.ptp(model, axis=0).max()
    found = {}
    for number, label in labels.items():
        corners = scale * _corners(entities, number)
        alike = [tag for tag, others in faces.items() if _same(corners, others, near)]
        if len(alike) != 1:
            raise BadInput(
                f'the face labelled "{label}" in {source} can\'t be told from others', "name it in [junction.faces]"
            )
        found[alike[0]] = label
    return found


def _corners(entities: dict[int, tuple[str, str]], face: int) -> np.ndarray:
    """The corners (n, 3) of a face of the file, in its unit."""
    corners, ahead, seen = [], _references(entities[face][1]), set()
    while ahead:
        number = ahead.pop()
        kind, body = entities.get(number, ("", ""))
        if number in seen or kind not in _WAY:
            continue
        seen.add(number)
        if kind == "CARTESIAN_POINT":
            corners.append([float(value) for value in body[body.rindex("(") + 1 :].strip(") \n").split(",")])
        else:
            ahead += _references(body)
    return np.array(corners).reshape(-1, 3)


def _references(body: str) -> list[int]:
    return [int(number) for number in re.findall(r"#(\d+)", body)]


def _corners_of_face(tag: int) -> np.ndarray:
    points = gmsh.model.getBoundary([(2, tag)], combined=False, oriented=False, recursive=True)
    return np.array([gmsh.model.getValue(0, point, []) for _, point in points]).reshape(-1, 3)


def _same(some: np.ndarray, others: np.ndarray, near: float) -> bool:
    if not len(some) or not len(others):
        return False
    away = np.linalg.norm(some[:, None] - others[None], axis=2)
    return bool((away.min(axis=0) < near).all() and (away.min(axis=1) < near).all())
