"""The correction that takes the divergence of a velocity on straight tetrahedra away, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from twin.errors import BadInput
from twin.fem.linear import solve_balance
from twin.transport.quadratic import EDGES, divergences, face_areas, face_nodes, nodes_of

#: A flow whose cells lose or gain more than this share of what passes through them is not incompressible.
MOST_IMBALANCE = 0.02
_CLOSED = 1e-12  # of the flow through the largest opening: what the correction may leave in a cell


def without_divergence(
    points: np.ndarray,
    cells: np.ndarray,
    gradients: np.ndarray,
    beyond: np.ndarray,
    nodal: np.ndarray,
    outlets: Sequence[int],
) -> tuple[np.ndarray, float]:
    """The nodal velocity (cells, 10, 3) without divergence, and the relative imbalance that it had.

    1. Flow through each outer wall face becomes zero, and each cell is balanced by a discrete potential flow that
       leaves through the outlets: a lowest-order Raviart–Thomas field, constant over each face.
    2. What is left has zero mean in each cell, and is linear: −Σ_{i<j} (d_i − d_j)/4 λ_i λ_j (p_j − p_i), with d_i the
       divergence at vertex i, takes it away, since ∇·(λ_i λ_j (p_j − p_i)) = λ_i − λ_j. It is tangential on all faces,
       so nothing changes hands.

    Raises `BadInput` where no outlet takes the rest, or the rest is not small.
    """
    if not np.isin(beyond, outlets).any():
        raise BadInput("the walkers' mesh has no outlet", "name the face where the fluid leaves")
    areas = face_areas(points, cells)
    middles = np.stack([nodal[:, list(face_nodes(face)[3:])].mean(axis=1) for face in range(4)], axis=1)
    flow = np.einsum("cfd,cfd->cf", areas, middles)  # out of each cell through each face
    wall = beyond == -1
    removed = np.where(wall, -flow, 0.0)
    net = flow.sum(axis=1) + removed.sum(axis=1)
    imbalance = float(np.abs(net).sum() / max(np.abs(flow).sum() / 2, 1e-300))
    if not imbalance <= MOST_IMBALANCE:  # nor if it is no number
        raise BadInput(
            f"the velocity is not that of an incompressible fluid: its cells lose {imbalance:.0%} of what enters them",
            "give a solved flow, or a finer mesh",
        )
    change = removed + _balance(points, cells, areas, beyond, net, outlets)
    volume = np.abs(np.linalg.det(np.diff(points[cells], axis=1))) / 6
    result = nodal.copy()
    corners = points[cells]
    nodes = nodes_of(corners)
    for face in range(4):
        scale = change[:, face] / (3 * volume)
        result += scale[:, None, None] * (nodes - corners[:, face, None])
    divergence = divergences(result, gradients)
    for number, (i, j) in enumerate(EDGES):
        away = corners[:, j] - corners[:, i]
        result[:, 4 + number] -= ((divergence[:, i] - divergence[:, j]) / 16)[:, None] * away
    return result, imbalance


def _balance(
    points: np.ndarray,
    cells: np.ndarray,
    areas: np.ndarray,
    beyond: np.ndarray,
    net: np.ndarray,
    outlets: Sequence[int],
) -> np.ndarray:
    """Flows outwards through the faces, (cells, 4), that take `net` from every cell: w (φ − φ'), w = area/distance.

    Raises `NotConverged` where the potential φ is not found.
    """
    count = len(cells)
    centre = points[cells].mean(axis=1)
    size = np.linalg.norm(areas, axis=2)
    inner = beyond >= 0
    other = np.where(inner, beyond // 4, 0)
    distance = np.linalg.norm(centre[other] - centre[:, None], axis=2)
    out = np.isin(beyond, outlets)
    weight = np.where(inner, size / np.where(inner, distance, 1.0), np.where(out, np.sqrt(size), 0.0))
    rows = np.broadcast_to(np.arange(count)[:, None], beyond.shape)
    laplacian = scipy.sparse.csr_matrix(
        (np.concatenate([weight.sum(axis=1), -weight[inner]]),
         (np.concatenate([np.arange(count), rows[inner]]), np.concatenate([np.arange(count), other[inner]]))),
        shape=(count, count),
    )  # fmt: skip
    enough = _CLOSED * float(np.abs(net).sum() + 1e-30)
    potential = solve_balance(laplacian, -net, enough, "the correction of the velocity's divergence")
    behind = np.where(inner, potential[other], 0.0)
    return np.where(inner | out, weight * (potential[:, None] - behind), 0.0)
