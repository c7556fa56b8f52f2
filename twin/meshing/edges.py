"""The angles at which the boundaries of a mesh meet: where the flow past an edge has no bounded gradient."""

from __future__ import annotations

from pathlib import Path

import meshio
import numpy as np

from twin.meshing.facets import neighbours
from twin.meshing.grid import FACETS

#: meshio's names of second-order cells and of their facets, by dimension.
_KINDS = {3: ("tetra10", "triangle6"), 2: ("triangle6", "line3")}


def largest_angles(file: Path) -> dict[tuple[str, str], float]:
    """The largest angle within the fluid, in degrees, at which each pair of boundaries meets, by their sorted names.

    `file` is a Gmsh file of second-order cells. A pair of one name twice is a boundary that turns within itself: a
    smooth wall has 180, the edge of a step that points into the fluid 270. The angles are those of the curved facets
    themselves, at the middles of their edges, so that coarse facets of a round wall make no edges. Planes inside of the
    fluid don't count, nor edges that more than two facets share.
    """
    grid = meshio.read(file)
    dim = 3 if _KINDS[3][0] in grid.cells_dict else 2
    cells, facets = (grid.cells_dict[kind] for kind in _KINDS[dim])
    numbers = grid.cell_data_dict["gmsh:physical"][_KINDS[dim][1]]
    names = {int(number): name for name, (number, of) in grid.field_data.items() if of == dim - 1}
    opposite = _opposite(cells, facets, dim)
    outer = opposite >= 0
    angles, owners = _angles(grid.points[:, :dim], facets[outer], opposite[outer])
    found: dict[tuple[str, str], float] = {}
    for pair in np.unique(np.sort(numbers[outer][owners], axis=1), axis=0):
        of_pair = (np.sort(numbers[outer][owners], axis=1) == pair).all(axis=1)
        first, second = sorted(names[int(number)] for number in pair)
        found[first, second] = float(angles[of_pair].max())
    return found


def _opposite(cells: np.ndarray, facets: np.ndarray, dim: int) -> np.ndarray:
    """The corner of its cell that a facet leaves out, (k,); −1 where two cells share the facet."""
    sides = np.concatenate([np.sort(cells[:, side], axis=1) for side in FACETS[dim]])
    corners = np.concatenate([cells[:, corner] for corner in dim * (dim + 1) // 2 - FACETS[dim].sum(axis=1)])
    _, first, number, count = np.unique(
        np.concatenate([sides, np.sort(facets[:, :dim], axis=1)]),
        axis=0,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    number = number.ravel()[len(sides) :]
    # Of the outer ones there is one side and one facet, and the side comes first.
    return np.where(count[number] == 2, corners[first[number]], -1)


def _angles(points: np.ndarray, facets: np.ndarray, opposite: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The angle of the fluid between two facets in degrees, (m,), and the two that meet there, (m, 2)."""
    dim = points.shape[1]
    owner, apex, ridges, _ = neighbours(facets[:, :dim])
    arms = _arms(points, facets)[owner, apex]
    inwards = points[opposite[owner[:, 0]]] - points[ridges[:, 0]]
    if dim == 3:  # square to the edge
        along = points[ridges[:, 1]] - points[ridges[:, 0]]
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        arms -= np.einsum("mpi,mi->mp", arms, along)[:, :, None] * along[:, None]
        inwards -= np.einsum("mi,mi->m", inwards, along)[:, None] * along
    arms /= np.linalg.norm(arms, axis=2, keepdims=True)
    inwards -= np.einsum("mi,mi->m", inwards, arms[:, 0])[:, None] * arms[:, 0]  # square to the first facet
    angle = np.degrees(np.arccos(np.clip(np.einsum("mi,mi->m", arms[:, 0], arms[:, 1]), -1, 1)))
    outwards = np.einsum("mi,mi->m", arms[:, 1], inwards) < 0
    return np.where(outwards, 360 - angle, angle), owner


def _arms(points: np.ndarray, facets: np.ndarray) -> np.ndarray:
    """The direction in which each facet leaves the edge opposite to each of its corners, (k, dim, dim).

    The derivative of the quadratic map towards that corner, at the middle of the edge; in 2-D at the other corner.
    """
    nodes = points[facets]
    if points.shape[1] == 2:
        first, second, middle = nodes.transpose(1, 0, 2)
        return np.stack([4 * middle - first - 3 * second, 4 * middle - second - 3 * first], axis=1)
    arms = []
    for corner in range(3):
        one, other = (corner + 1) % 3, (corner + 2) % 3
        to_one, to_other, across = 3 + corner, 3 + other, 3 + one  # middle nodes; that of the edge itself is `across`
        arms.append(
            2 * (nodes[:, to_one] + nodes[:, to_other] - nodes[:, across])
            - nodes[:, corner]
            - (nodes[:, one] + nodes[:, other]) / 2
        )
    return np.stack(arms, axis=1)
