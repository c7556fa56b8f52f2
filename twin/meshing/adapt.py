"""Elements that follow a solved flow: small across shear layers and where jets turn, long where little changes.

Second-degree elements miss of the gradient what linear ones would miss of it: along a vector x about |∇³u·x·x|, whose
tensor is Q, the root of ∇³u contracted with itself over all but one direction. For a given number of elements the L²
norm of that is least with the metric det(Q)^(-1/7) Q (Alauzet & Loseille, J. Comput. Phys. 229 (2010) 561, p = 2): an
element is as good as any other where its edges have length 1 in it. Where Q is the same in all directions, the size is
h ∝ |∇³u|^(-2/7). The third derivatives come from the second ones, which are constant in a straight cell: averaged at
the corners, then differentiated once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations

import gmsh
import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from twin.errors import BadInput

EXPONENT = 1 / 7
GROWTH = 0.3  # of the way from one place to another: so much sizes may grow, and a mesh can follow them
STRETCH = 20.0  # of an element, at most
CELLS = 8.5  # regular tetrahedra of edge h in a volume h³
SMALLEST = 0.004  # bores
_SWEEPS = 200
_EDGES = ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))  # the corners beside each middle node, VTK's order


@dataclass(frozen=True)
class Metric:
    """Lengths of elements by direction: edges x with x·M·x = 1 are right.

    `tensors` M (n, 3, 3) in 1/bore² at the corners of the tetrahedra `cells` (m, 4) of `points` (n, 3) in bores.
    """

    points: np.ndarray
    cells: np.ndarray
    tensors: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """The sizes (n,) in bores of elements that are not stretched, as many of them, growing by `GROWTH` at most."""
        return _graded(self.points, self.cells, np.linalg.det(self.tensors) ** (-1 / 6))

    def to_gmsh(self) -> int:
        """A field of the `sizes` in Gmsh's current model; outside of the cells, as at a curved wall, the nearest."""
        places = self.points[self.cells].transpose(0, 2, 1).reshape(len(self.cells), 12)
        view = gmsh.view.add("sizes")
        gmsh.view.addListData(view, "SS", len(self.cells), np.hstack([places, self.sizes[self.cells]]).ravel())
        field = gmsh.model.mesh.field.add("PostView")
        gmsh.model.mesh.field.setNumber(field, "ViewTag", view)
        gmsh.model.mesh.field.setNumber(field, "UseClosest", 1)
        return int(field)

    def at(self, places: np.ndarray) -> np.ndarray:
        """The tensors (k, 3, 3) at places (k, 3): means of the logarithms at the nearest points, by distance."""
        away, near = cKDTree(self.points).query(places, k=4)
        weights = 1 / (away + 1e-9)
        weights /= weights.sum(axis=1, keepdims=True)
        logarithms = np.einsum("kn,knab->kab", weights, _of_eigenvalues(np.log, self.tensors)[near])
        return _of_eigenvalues(np.exp, logarithms)


def following(points: np.ndarray, cells: np.ndarray, velocity: np.ndarray, wanted: int, largest: float) -> Metric:
    """The metric with which about `wanted` tetrahedra fill the mesh and follow the flow best.

    `points` (n, 3) in bores, `cells` (m, 10) in VTK's order, `velocity` (n, 3) in U at the points; no element is longer
    than `largest`. Raises `BadInput` where that alone takes more than `wanted`.
    """
    used, corners = np.unique(cells[:, :4], return_inverse=True)
    corners = corners.reshape(-1, 4)
    volume, slopes = _simplices(points[cells[:, :4]])
    if CELLS * volume.sum() / largest**3 > wanted:
        raise BadInput(
            f"{wanted} cells are too few to follow a flow with elements of at most {largest:g} bores",
            "give the level more cells, or larger sizes",
        )
    squares = _squared_roughness(_second_derivatives(cells, velocity, slopes), corners, volume, slopes)
    values, axes = np.linalg.eigh(_at_corners(squares.reshape(-1, 9), corners, volume).reshape(-1, 3, 3))
    rough = np.sqrt(np.maximum(values, 0.0))
    rough += 1e-9 * rough.max() + 1e-300
    wish: np.ndarray = (rough * rough.prod(axis=1, keepdims=True) ** -EXPONENT) ** -0.5
    around = _at_corners_sum(volume / 4, corners)

    def lengths(scale: float) -> np.ndarray:
        limited = np.clip(scale * wish, SMALLEST, largest)
        return np.minimum(limited, STRETCH * limited.min(axis=1, keepdims=True))

    low, high = 1e-3 * largest / wish.max(), largest / wish.min()
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        number = CELLS * (around / lengths(middle).prod(axis=1)).sum()
        low, high = (middle, high) if number > wanted else (low, middle)
    tensors = np.einsum("nak,nk,nbk->nab", axes, lengths(high) ** -2, axes)
    return Metric(points[used], corners, tensors)


def _simplices(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Volumes (m,) and the gradients (m, 4, 3) of the barycentric coordinates of straight tetrahedra (m, 4, 3)."""
    spans = corners[:, 1:] - corners[:, :1]
    inverse = np.linalg.inv(spans).transpose(0, 2, 1)
    return abs(np.linalg.det(spans)) / 6, np.concatenate([-inverse.sum(axis=1, keepdims=True), inverse], axis=1)


def _second_derivatives(cells: np.ndarray, velocity: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Those of a second-degree field, (m, 3, 3, 3): by component and the two directions."""
    nodal = velocity[cells]
    second = np.zeros((len(cells), 3, 3, 3))
    for corner in range(4):
        shape = 4 * np.einsum("ma,mb->mab", slopes[:, corner], slopes[:, corner])
        second += np.einsum("mc,mab->mcab", nodal[:, corner], shape)
    for middle, (one, other) in enumerate(_EDGES, start=4):
        shape = 4 * np.einsum("ma,mb->mab", slopes[:, one], slopes[:, other])
        second += np.einsum("mc,mab->mcab", nodal[:, middle], shape + shape.transpose(0, 2, 1))
    return second


def _squared_roughness(second: np.ndarray, corners: np.ndarray, volume: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Q² (m, 3, 3): the third derivatives, contracted with themselves over the component and two directions."""
    smooth = _at_corners(second.reshape(-1, 27), corners, volume)
    squares = np.empty((len(corners), 3, 3))
    for part in np.array_split(np.arange(len(corners)), max(1, len(corners) // 20_000)):
        third = np.einsum("mvq,mvk->mqk", smooth[corners[part]], slopes[part]).reshape(-1, 3, 3, 3, 3)
        third = np.mean([third.transpose(0, 1, *order) for order in permutations((2, 3, 4))], axis=0)
        squares[part] = np.einsum("mcabk,mcdbk->mad", third, third)
    return squares


def _at_corners(of_cells: np.ndarray, corners: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """The mean of the cells around each corner, (n, k), by volume."""
    weight = _at_corners_sum(volume, corners)
    return np.column_stack([_at_corners_sum(volume * column, corners) / weight for column in of_cells.T])


def _at_corners_sum(of_cells: np.ndarray, corners: np.ndarray) -> np.ndarray:
    return np.bincount(corners.ravel(), np.repeat(of_cells, 4))


def _of_eigenvalues(function: np.ufunc, tensors: np.ndarray) -> np.ndarray:
    values, axes = np.linalg.eigh(tensors)
    return np.einsum("nak,nk,nbk->nab", axes, function(values), axes)


def _graded(points: np.ndarray, cells: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The sizes, lowered until none exceeds a neighbour's by more than `GROWTH` of the edge between them."""
    pairs = np.vstack([cells[:, pair] for pair in combinations(range(4), 2)])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    ends = np.vstack([pairs, pairs[:, ::-1]])
    length = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)
    table = csr_matrix((GROWTH * length, (ends[:, 0], ends[:, 1])), shape=(len(points),) * 2)
    for _ in range(_SWEEPS):
        reached = np.minimum(size, np.minimum.reduceat(size[table.indices] + table.data, table.indptr[:-1]))
        if np.allclose(reached, size, rtol=1e-4, atol=0):
            return reached
        size = reached
    return size
