"""Element sizes that follow a solved flow: small in shear layers and where jets turn, large where little happens.

Second-degree elements of size h miss of the gradient about h²|∇³u|. For a given number of elements, n = ∫ κ/h³, the
L² norm of that is least with h ∝ |∇³u|^(-2/7). The third derivatives come from the second ones, which are constant in
a straight cell: averaged at the corners, then differentiated once more. Sizes grow by at most `GROWTH` of the way, so
that the mesh can follow them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import gmsh
import numpy as np
from scipy.sparse import csr_matrix

from twin.errors import BadInput

EXPONENT = 2 / 7
GROWTH = 0.3
CELLS = 6.3  # tetrahedra that Gmsh puts into a volume h³ (regular ones would be 8.5)
SMALLEST = 0.004  # bores
_SWEEPS = 200
_EDGES = ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))  # the corners beside each middle node, VTK's order


@dataclass(frozen=True)
class SizeField:
    """Element sizes in bores: `size` (n,) at the corners of the tetrahedra `cells` (m, 4) of `points` (n, 3)."""

    points: np.ndarray
    cells: np.ndarray
    size: np.ndarray

    def to_gmsh(self) -> int:
        """A size field of Gmsh's current model; outside of the tetrahedra, as at a curved wall, that of the nearest."""
        places = self.points[self.cells].transpose(0, 2, 1).reshape(len(self.cells), 12)
        view = gmsh.view.add("sizes")
        gmsh.view.addListData(view, "SS", len(self.cells), np.hstack([places, self.size[self.cells]]).ravel())
        field = gmsh.model.mesh.field.add("PostView")
        gmsh.model.mesh.field.setNumber(field, "ViewTag", view)
        gmsh.model.mesh.field.setNumber(field, "UseClosest", 1)
        return int(field)


def following(points: np.ndarray, cells: np.ndarray, velocity: np.ndarray, wanted: int, largest: float) -> SizeField:
    """The sizes with which about `wanted` tetrahedra fill the mesh and follow the flow best.

    `points` (n, 3) in bores, `cells` (m, 10) in VTK's order, `velocity` (n, 3) in U at the points; no element is larger
    than `largest`. Raises `BadInput` where that alone takes more than `wanted`.
    """
    used, corners = np.unique(cells[:, :4], return_inverse=True)
    corners = corners.reshape(-1, 4)
    volume, gradients = _simplices(points[cells[:, :4]])
    rough = _at_corners(_third_derivative(cells, velocity, volume, gradients), corners, volume, len(used))
    wish = (rough + 1e-12 * rough.max() + 1e-300) ** -EXPONENT
    graded = _Grading(points[used], corners)

    def sizes(scale: float) -> np.ndarray:
        return graded(np.clip(scale * wish, SMALLEST, largest))

    def number(size: np.ndarray) -> float:
        return float(CELLS * (volume * (size[corners] ** -3).mean(axis=1)).sum())

    if number(np.full(len(used), largest)) > wanted:
        raise BadInput(
            f"{wanted} cells are too few to follow a flow with elements of at most {largest:g} bores",
            "give the level more cells, or larger sizes",
        )
    low, high = 1e-3 * largest / wish.max(), largest / wish.min()
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if number(sizes(middle)) > wanted else (low, middle)
    return SizeField(points[used], corners, sizes(high))


def _simplices(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Volumes (m,) and the gradients (m, 4, 3) of the barycentric coordinates of straight tetrahedra (m, 4, 3)."""
    spans = corners[:, 1:] - corners[:, :1]
    inverse = np.linalg.inv(spans).transpose(0, 2, 1)
    return abs(np.linalg.det(spans)) / 6, np.concatenate([-inverse.sum(axis=1, keepdims=True), inverse], axis=1)


def _third_derivative(cells: np.ndarray, velocity: np.ndarray, volume: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """The size (m,) of the third derivatives of a second-degree field, in U per bore³."""
    nodal = velocity[cells]
    second = np.zeros((len(cells), 3, 3, 3))
    for corner in range(4):
        shape = 4 * np.einsum("ma,mb->mab", slopes[:, corner], slopes[:, corner])
        second += np.einsum("mc,mab->mcab", nodal[:, corner], shape)
    for middle, (one, other) in enumerate(_EDGES, start=4):
        shape = 4 * np.einsum("ma,mb->mab", slopes[:, one], slopes[:, other])
        second += np.einsum("mc,mab->mcab", nodal[:, middle], shape + shape.transpose(0, 2, 1))
    used, corners = np.unique(cells[:, :4], return_inverse=True)
    corners = corners.reshape(-1, 4)
    squares = np.zeros(len(cells))
    for component in second.reshape(len(cells), 27).T:
        smooth = _at_corners(component, corners, volume, len(used))
        squares += (np.einsum("mk,mka->ma", smooth[corners], slopes) ** 2).sum(axis=1)
    return np.sqrt(squares)


def _at_corners(of_cell: np.ndarray, corners: np.ndarray, volume: np.ndarray, number: int) -> np.ndarray:
    """The mean of the cells around each corner, (number,), by volume."""
    total, weight = np.zeros(number), np.zeros(number)
    for corner in corners.T:
        total += np.bincount(corner, volume * of_cell, number)
        weight += np.bincount(corner, volume, number)
    return total / weight


class _Grading:
    """Lowers sizes until none exceeds a neighbour's by more than `GROWTH` of the edge between them."""

    def __init__(self, points: np.ndarray, corners: np.ndarray) -> None:
        pairs = np.vstack([corners[:, pair] for pair in combinations(range(4), 2)])
        pairs = np.unique(np.sort(pairs, axis=1), axis=0)
        ends = np.vstack([pairs, pairs[:, ::-1]])
        length = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)
        table = csr_matrix((GROWTH * length, (ends[:, 0], ends[:, 1])), shape=(len(points),) * 2)
        self._starts, self._others, self._rise = table.indptr[:-1], table.indices, table.data

    def __call__(self, size: np.ndarray) -> np.ndarray:
        for _ in range(_SWEEPS):
            reached = np.minimum(size, np.minimum.reduceat(size[self._others] + self._rise, self._starts))
            if np.allclose(reached, size, rtol=1e-4, atol=0):
                return reached
            size = reached
        return size
