"""Straight tetrahedra with a velocity that has no divergence anywhere: what random walkers walk in.

Every curved ten-node cell of a solved flow becomes eight straight tetrahedra between its nodes, and the velocity on
each is a quadratic polynomial. Three corrections, each exact, take its divergence away (`without_divergence`); what is
left is continuous across every face in its normal component, and zero through walls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from twin.errors import BadInput
from twin.transport.quadratic import (
    EDGES,
    FACES,
    MONOMIALS_AT_NODES,
    NODES_TO_MONOMIALS,
    REFERENCE_NODES,
    divergences,
    edge_positions,
    face_areas,
    face_nodes,
    monomials,
    nodes_of,
)
from twin.transport.solenoidal import without_divergence

_ROUND = 0.01  # bores that a point of the round bore may lie outside of the straight cells

# The eight children of a ten-node tetrahedron: four at its corners, four around a diagonal of the octahedron between.
_CORNERS = ((0, 4, 6, 7), (4, 1, 5, 8), (6, 5, 2, 9), (7, 8, 9, 3))
_DIAGONALS = ((4, 9), (5, 7), (6, 8))
_RINGS = ((5, 6, 7, 8), (4, 6, 9, 8), (4, 5, 9, 7))


@dataclass(frozen=True)
class Tetrahedra:
    """Straight cells with a quadratic velocity, in bores and U; every array is whole on every rank.

    points      (points, 3)
    cells       (cells, 4): vertices in rising order, so that neighbours see a shared face's corners in one order
    gradients   (cells, 3, 3): ∇λ₁, ∇λ₂, ∇λ₃ of the barycentric coordinates, by row
    beyond      (cells, 4): what lies behind the face opposite each vertex. n ≥ 0: cell n // 4, by its face n % 4;
                −1: a wall; −2 − k: the opening `openings[k]`
    openings    names of the inlets and outlets
    velocity    (snapshots, cells, 10, 3): coefficients of 1, a, b, c, a², b², c², ab, ac, bc; (a, b, c) = λ₁, λ₂, λ₃
    times       (snapshots,): when each snapshot holds, in bores/U; one snapshot is a steady flow
    imbalance   Σ|net flow out of a cell| before the correction, over Σ of what enters the cells
    period      after which the snapshots hold again, in bores/U; 0: never
    """

    points: np.ndarray
    cells: np.ndarray
    gradients: np.ndarray
    beyond: np.ndarray
    openings: tuple[str, ...]
    velocity: np.ndarray
    times: np.ndarray
    imbalance: float
    period: float = 0.0

    @property
    def clock(self) -> np.ndarray:
        """The times, and in a periodic flow that at which the first snapshot holds again."""
        return np.append(self.times, self.times[0] + self.period) if self.period else self.times

    def flows(self, name: str, snapshot: int = 0) -> np.ndarray:
        """The flow into the fluid through each face of an opening, in the order of `faces`."""
        cell, face = self.faces(name)
        middles = self.face_velocities(cell, face, snapshot)[:, 3:]
        return -np.einsum("fd,fd->f", self.areas(cell, face), middles.mean(axis=1))

    def corners(self, cell: np.ndarray, face: np.ndarray) -> np.ndarray:
        """The corners of faces, (faces, 3, 3), in bores."""
        return self.points[np.take_along_axis(self.cells[cell], FACES[face], axis=1)]

    def areas(self, cell: np.ndarray, face: np.ndarray) -> np.ndarray:
        """The area vectors of faces out of their cells, (faces, 3), in bore²."""
        return face_areas(self.points, self.cells[cell])[np.arange(len(cell)), face]

    def faces(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Cell and local face of an opening; raises `BadInput` for a name that the mesh does not have."""
        if name not in self.openings:
            raise BadInput(f'the walkers know no opening "{name}"', f"there are {', '.join(self.openings)}")
        cell, face = np.nonzero(self.beyond == -2 - self.openings.index(name))
        return cell, face

    def face_velocities(self, cell: np.ndarray, face: np.ndarray, snapshot: int = 0) -> np.ndarray:
        """The velocity at the six nodes of faces, (faces, 6, 3): corners, then the middles opposite of them."""
        corners = np.array([face_nodes(f) for f in range(4)])[face]
        return np.einsum("fnm,fmd->fnd", MONOMIALS_AT_NODES[corners], self.velocity[snapshot, cell])

    def at(self, cell: np.ndarray, weights: np.ndarray, snapshot: int = 0) -> np.ndarray:
        """The velocity in U, (n, 3), at barycentric coordinates (n, 4) of cells (n,)."""
        return np.einsum("nm,nmd->nd", monomials(weights[:, 1:]), self.velocity[snapshot, cell])

    def locate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cell (n,) and barycentric coordinates (n, 4) of points (n, 3) in bores.

        A point up to a hundredth of a bore outside is taken to the nearest place in the cell that it is nearest to:
        the straight cells fill a little less than the round bore. Raises `BadInput` for points farther away.
        """
        tree = cKDTree(self.points[self.cells].mean(axis=1))
        cell, weights = np.full(len(points), -1), np.zeros((len(points), 4))
        worst = np.full(len(points), -np.inf)
        for count in (16, 128, 1024):
            left = np.nonzero(worst < -1e-12)[0]
            if not len(left):
                break
            _, near = tree.query(points[left], k=min(count, len(self.cells)))
            inside = self._weights(near, points[left])
            lowest = inside.min(axis=2)
            best = np.argmax(lowest, axis=1)
            row = np.arange(len(left))
            better = lowest[row, best] > worst[left]
            chosen = left[better]
            cell[chosen], weights[chosen] = near[row, best][better], inside[row, best][better]
            worst[chosen] = lowest[row, best][better]
        weights = np.maximum(weights, 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
        moved = np.linalg.norm(np.einsum("nv,nvd->nd", weights, self.points[self.cells[cell]]) - points, axis=1)
        if np.any(moved > _ROUND):
            raise BadInput(
                f"{int((moved > _ROUND).sum())} of {len(points)} points lie outside the walkers' mesh",
                "give points in the fluid",
            )
        return cell, weights

    def _weights(self, cell: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Barycentric coordinates (n, k, 4) of points (n, 3) in cells (n, k)."""
        away = points[:, None] - self.points[self.cells[cell][..., 0]]
        rest = np.einsum("nkij,nkj->nki", self.gradients[cell], away)
        return np.concatenate([1 - rest.sum(axis=2, keepdims=True), rest], axis=2)

    def largest_divergence(self) -> float:
        """The largest |∇·u| at any vertex of any cell, in U per bore."""
        worst = 0.0
        for velocity in self.velocity:
            nodal = np.einsum("nm,cmd->cnd", MONOMIALS_AT_NODES, velocity)
            worst = max(worst, float(np.abs(divergences(nodal, self.gradients)).max()))
        return worst


def tetrahedra(
    points: np.ndarray,
    cells: np.ndarray,
    velocity: Sequence[np.ndarray],
    boundaries: Mapping[str, np.ndarray],
    outlets: Sequence[str] = ("outlet",),
    times: Sequence[float] = (0.0,),
    period: float = 0.0,
) -> Tetrahedra:
    """The walkers' mesh from straight cells.

    Args:
        points: (points, 3) in bores.
        cells: (cells, 4) vertices.
        velocity: for each snapshot the velocity at the nodes of each cell, (cells, 10, 3) in U; equal on shared faces.
        boundaries: the corners, (faces, 3), of every face of each opening; all other outer faces are walls.
        outlets: openings that may take up what the inlets' flows do not balance.
        times: of the snapshots.
        period: after which they hold again; 0 where they don't.

    Raises:
        BadInput: cells with no volume; faces of an opening that are not outer faces; a velocity that is far from
            incompressible.
    """
    if len(velocity) != len(times) or np.any(np.diff(times) <= 0):
        raise BadInput("every snapshot of the velocity needs its time", "give rising times, one a snapshot")
    if period and not period > times[-1] - times[0]:
        raise BadInput(f"a period of {period:g} ends before its snapshots do", "give a longer one, or fewer snapshots")
    near = _along_a_curve(points[cells].mean(axis=1))
    cells = np.asarray(cells, np.int64)[near]
    order = np.argsort(cells, axis=1)
    cells = np.take_along_axis(cells, order, axis=1)
    gradients = _gradients(points, cells)
    beyond = _beyond(cells, boundaries)
    position = edge_positions()
    corrected, imbalance = np.empty((len(times), len(cells), 10, 3)), 0.0
    for number, nodal in enumerate(one[near] for one in velocity):
        first, second = (order[:, [e[k] for e in EDGES]] for k in (0, 1))
        middles = np.take_along_axis(nodal[:, 4:], position[first, second][..., None], axis=1)
        sorted_nodal = np.concatenate([np.take_along_axis(nodal[:, :4], order[..., None], axis=1), middles], axis=1)
        free = [-2 - opening for opening, name in enumerate(boundaries) if name in outlets]
        solenoidal, worst = without_divergence(points, cells, gradients, beyond, sorted_nodal, free)
        corrected[number] = np.einsum("mn,cnd->cmd", NODES_TO_MONOMIALS, solenoidal)
        imbalance = max(imbalance, worst)
    return Tetrahedra(
        points=np.ascontiguousarray(points, float),
        cells=cells,
        gradients=np.ascontiguousarray(gradients),
        beyond=beyond,
        openings=tuple(boundaries),
        velocity=corrected,
        times=np.asarray(times, float),
        imbalance=imbalance,
        period=period,
    )


def split(
    points: np.ndarray, cells: np.ndarray, velocity: Sequence[np.ndarray], boundaries: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray], dict[str, np.ndarray]]:
    """Eight straight cells for each curved one, four faces for each of its faces, and the velocity at their nodes.

    Args:
        points: (nodes, 3), of all nodes.
        cells: (cells, 10), VTK's order.
        velocity: (nodes, 3) for each snapshot.
        boundaries: (faces, 6) nodes by name: corners, then the middles of 01, 12, 20.

    Returns:
        Cells (8 cells, 4), velocities (8 cells, 10, 3), boundaries (4 faces, 3), for `tetrahedra`. The curved cell is
        taken as its reference cell cut in eight: values at the middles of the children's edges are those of the
        quadratic field there, so a wall at which all nodes rest stays at rest.
    """
    lengths = np.stack([np.linalg.norm(points[cells[:, a]] - points[cells[:, b]], axis=1) for a, b in _DIAGONALS])
    shortest = np.argmin(lengths, axis=0)
    here = np.empty((len(cells), 32), cells.dtype)
    nodal = [np.empty((len(cells), 80, 3)) for _ in velocity]
    for choice, ((a, b), ring) in enumerate(zip(_DIAGONALS, _RINGS, strict=True)):
        chosen = shortest == choice
        around = [(a, b, ring[k], ring[(k + 1) % 4]) for k in range(4)]
        children = np.array([*_CORNERS, *around])  # local nodes
        here[chosen] = cells[chosen][:, children.ravel()]
        inside = REFERENCE_NODES[children]  # (8, 4, 3)
        first, second = (inside[:, [e[k] for e in EDGES]] for k in (0, 1))
        places = np.concatenate([inside, (first + second) / 2], axis=1).reshape(80, 3)
        shapes = monomials(places) @ NODES_TO_MONOMIALS
        for fine, field in zip(nodal, velocity, strict=True):
            fine[chosen] = shapes @ field[cells[chosen]]
    quarters = np.array([(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)])
    faces = {name: of[:, quarters].reshape(-1, 3) for name, of in boundaries.items()}
    return here.reshape(-1, 4), [fine.reshape(-1, 10, 3) for fine in nodal], faces


def sampled(points: np.ndarray, cells: np.ndarray, velocity: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A velocity function of (n, 3) points at the nodes of straight cells, (cells, 10, 3)."""
    nodes = nodes_of(points[cells])
    return np.asarray(velocity(nodes.reshape(-1, 3)), float).reshape(nodes.shape)


def _along_a_curve(centres: np.ndarray) -> np.ndarray:
    """The order of cells along Morton's curve: neighbours in space become neighbours in memory."""
    low = centres.min(axis=0)
    grid = ((centres - low) * (2**20 / np.ptp(centres, axis=0).max())).astype(np.uint64)
    code = np.zeros(len(centres), np.uint64)
    for bit in range(21):
        for axis in range(3):
            code |= ((grid[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.argsort(code, kind="stable")


def _gradients(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    jacobian = points[cells[:, 1:]] - points[cells[:, :1]]  # rows: edges from vertex 0
    volume = np.linalg.det(jacobian)
    length = np.linalg.norm(jacobian, axis=2).max(axis=1)
    if np.any(np.abs(volume) < 1e-12 * length**3):
        raise BadInput("the walkers' mesh has cells without volume", "mesh the geometry anew")
    return np.linalg.inv(jacobian).transpose(0, 2, 1)


def _beyond(cells: np.ndarray, boundaries: Mapping[str, np.ndarray]) -> np.ndarray:
    count = len(cells)
    faces = np.concatenate([cells[:, FACES[face]] for face in range(4)])
    names = np.concatenate([np.sort(boundaries[name], axis=1) for name in boundaries] or [np.empty((0, 3), np.int64)])
    key = _numbered(np.concatenate([faces, names]))
    owner, local = np.tile(np.arange(count), 4), np.repeat(np.arange(4), count)
    order = np.argsort(key[: 4 * count], kind="stable")
    ordered = key[: 4 * count][order]
    twin = np.nonzero(ordered[1:] == ordered[:-1])[0]
    if np.any(np.diff(twin) == 1):
        raise BadInput("a face of the walkers' mesh belongs to more than two cells", "mesh the geometry anew")
    beyond = np.full((count, 4), -1, np.int64)
    here, there = order[twin], order[twin + 1]
    beyond[owner[here], local[here]] = owner[there] * 4 + local[there]
    beyond[owner[there], local[there]] = owner[here] * 4 + local[here]
    outer = np.setdiff1d(np.arange(4 * count), np.concatenate([here, there]), assume_unique=True)
    place = np.full(int(np.max(key)) + 1, -1)
    place[key[outer]] = outer
    start = 4 * count
    for number, name in enumerate(boundaries):
        own = place[key[start : start + len(boundaries[name])]]
        start += len(boundaries[name])
        if np.any(own < 0):
            raise BadInput(f'"{name}" has faces that are not at the edge of the walkers\' mesh', "mesh it anew")
        beyond[owner[own], local[own]] = -2 - number
    return beyond


def _numbered(rows: np.ndarray) -> np.ndarray:
    """Numbers (n,) that are equal where rows (n, 3) of integers are, in a quarter of the time of NumPy's unique."""
    pairs = rows[:, 0] * (rows[:, 1].max(initial=0) + 1) + rows[:, 1]
    order = np.lexsort((rows[:, 2], pairs))
    pairs, thirds = pairs[order], rows[order, 2]
    numbers = np.empty(len(rows), np.int64)
    numbers[order] = np.cumsum(np.append(False, (pairs[1:] != pairs[:-1]) | (thirds[1:] != thirds[:-1])))
    return numbers
