"""The facets of a boundary: where they meet, and whether straight ones stand for a curved wall."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twin.errors import BadInput

SMOOTH = (1.0, 59.0)  # degrees: facets of one curve or surface bend so where it is curved; a hexagon bends by 60
LARGEST_BEND = 20.0  # degrees; a round pipe in such facets has 2 % too little area, and 4 % more pressure drop


def check_straight(points: np.ndarray, boundaries: dict[str, list[np.ndarray]], source: Path) -> float:
    """By how many degrees the facets of a curved boundary bend at most; `BadInput` above `LARGEST_BEND`.

    `points` is (n, 3), `boundaries` has for each name the facets of each of its curves or surfaces, (k, 2) or (k, 3). A
    plane face bends nowhere within itself, a curved one at nearly every facet: so edges between faces, as of a box, a
    wedge or a chamfer, are never taken for a curve. Files that put many faces into one are told by their facets: of a
    face that is at least two facets wide, each has a corner that lies on no edge. A corner on the rim tells nothing.
    """
    bends = {name: max(_bend(points, facets) for facets in parts) for name, parts in boundaries.items()}
    for name, bend in bends.items():
        if bend > LARGEST_BEND:
            raise BadInput(
                f'the boundary "{name}" of {source} is curved, and the mesh has it in straight facets that bend by up'
                f" to {bend:.0f}° from one to the next",
                "save it at second order, from its geometry: gmsh.model.mesh.setOrder(2) after generate; a mesh that"
                " is of second order already is taken as it is",
            )
    return max(bends.values(), default=0.0)


def _bend(points: np.ndarray, facets: np.ndarray) -> float:
    """The largest angle between neighbouring facets of a curved face, in degrees; 0 of one that is not curved."""
    angle, ridges, rim = _angles(points, facets)
    bent = (angle >= SMOOTH[0]) & (angle <= SMOOTH[1])
    if not bent.any():
        return 0.0
    on_bend = np.isin(facets, ridges[bent])
    curved = (on_bend | np.isin(facets, rim)).all(axis=1) & on_bend.any(axis=1)
    return float(angle[bent].max()) if 2 * curved.sum() > len(facets) else 0.0


def _angles(points: np.ndarray, facets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The angle in degrees, (m,), by which two facets bend at what they share, and the corners of that, (m, dim − 1).

    It is a point between two edges, or an edge between two triangles. Then the same corners where a facet has no
    neighbour, (k, dim − 1): the rim.
    """
    dim = facets.shape[1]
    owner, apex, ridges, rim = neighbours(facets)
    base = points[ridges[:, 0]]
    arms = points[facets[owner, apex]] - base[:, None]
    if dim == 3:  # square to the edge
        along = points[ridges[:, 1]] - base
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        arms -= np.einsum("mpi,mi->mp", arms, along)[:, :, None] * along[:, None]
    cosine = np.einsum("mi,mi->m", arms[:, 0], arms[:, 1]) / np.linalg.norm(arms, axis=2).prod(axis=1)
    return 180 - np.degrees(np.arccos(np.clip(cosine, -1, 1))), ridges, rim


def neighbours(facets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The facets that meet two by two, of their corners (n, dim).

    The two facets of each ridge, (m, 2), in each the corner that is not on it, (m, 2), and the ridge's own corners,
    (m, dim − 1); then the same of what bounds one facet only, (k, dim − 1).
    """
    dim = facets.shape[1]
    apex = np.tile(np.arange(dim), len(facets))
    owner = np.repeat(np.arange(len(facets)), dim)
    others = np.array([np.delete(np.arange(dim), corner) for corner in range(dim)])
    shared = np.sort(facets[owner[:, None], others[apex]], axis=1)
    keys, number, count = np.unique(shared, axis=0, return_inverse=True, return_counts=True)
    pairs = np.argsort(number.ravel(), kind="stable")[np.repeat(count == 2, count)].reshape(-1, 2)
    return owner[pairs], apex[pairs], keys[count == 2], keys[count == 1]
