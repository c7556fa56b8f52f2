"""The quadratic tetrahedron: the order of its nodes, the polynomials on it, and the faces of straight ones."""

from __future__ import annotations

import numpy as np

# Node order of a quadratic tetrahedron: its vertices, then the middles of these edges (that of VTK).
EDGES = ((0, 1), (1, 2), (0, 2), (0, 3), (1, 3), (2, 3))
#: The vertices of the face opposite each vertex.
FACES = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def face_areas(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The outward area vector of the face opposite each vertex, (cells, 4, 3)."""
    corners = points[cells]
    areas = np.empty(corners.shape)
    for face in range(4):
        a, b, c = (corners[:, k] for k in FACES[face])
        area = np.cross(b - a, c - a) / 2
        inward = np.einsum("cd,cd->c", area, corners[:, face] - a) > 0
        areas[:, face] = np.where(inward[:, None], -area, area)
    return areas


def divergences(nodal: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """∇·u at the vertices, (cells, 4), of quadratic fields by their nodal values, (cells, 10, 3)."""
    slopes = np.concatenate([-gradients.sum(axis=1, keepdims=True), gradients], axis=1)
    at_vertex = np.einsum("cnd,ckd->cnk", nodal, slopes)  # u of node n · ∇λ of vertex k
    edge = {pair: 4 + number for number, pair in enumerate(EDGES)}
    result = np.empty(slopes.shape[:2])
    for i in range(4):
        result[:, i] = 4 * at_vertex[:, i, i] - sum(at_vertex[:, j, j] for j in range(4))
        for k in range(4):
            if k != i:
                result[:, i] += 4 * at_vertex[:, edge[min(i, k), max(i, k)], k]
    return result


def edge_positions() -> np.ndarray:
    """The number of the edge between two local vertices, (4, 4)."""
    position = np.zeros((4, 4), int)
    for number, (i, j) in enumerate(EDGES):
        position[i, j] = position[j, i] = number
    return position


def face_nodes(face: int) -> tuple[int, ...]:
    """The local nodes of the face opposite a vertex: corners in rising order, then the middles opposite of them."""
    a, b, c = FACES[face].tolist()
    middle = {pair: 4 + number for number, pair in enumerate(EDGES)}
    return a, b, c, middle[b, c], middle[a, c], middle[a, b]


def nodes_of(corners: np.ndarray) -> np.ndarray:
    """The places (cells, 10, 3) of the nodes of straight cells with these vertices, (cells, 4, 3)."""
    middles = np.stack([(corners[:, i] + corners[:, j]) / 2 for i, j in EDGES], axis=1)
    return np.concatenate([corners, middles], axis=1)


def monomials(place: np.ndarray) -> np.ndarray:
    """1, a, b, c, a², b², c², ab, ac, bc, (..., 10), at barycentric coordinates a, b, c = λ₁, λ₂, λ₃, (..., 3)."""
    a, b, c = np.moveaxis(place, -1, 0)
    return np.stack([np.ones_like(a), a, b, c, a * a, b * b, c * c, a * b, a * c, b * c], axis=-1)


#: λ₁, λ₂, λ₃ of the nodes, (10, 3).
REFERENCE_NODES = nodes_of(np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]]))[0]
MONOMIALS_AT_NODES = monomials(REFERENCE_NODES)
NODES_TO_MONOMIALS = np.linalg.inv(MONOMIALS_AT_NODES)
