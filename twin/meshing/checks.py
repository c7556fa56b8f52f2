"""What a mesh must be before anything is solved on it: one piece, unfolded, every outer facet in one named boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from twin.case.boundaries import CUT_PLANE
from twin.errors import BadInput
from twin.junction import BOUNDARIES
from twin.meshing.grid import FACETS, Grid, oriented

_KIND = {2: ("curve", "edges", "triangles"), 3: ("surface", "facets", "tetrahedra")}


def check_names(found: Sequence[str], names: Sequence[str] | None, origin: str) -> None:
    """Raises `BadInput` unless the boundaries found are `names`, at most with a symmetry plane and cut planes.

    Where `names` is None any names will do: the case says what each of them is.
    """
    if names is None:
        return
    missing = [name for name in names if name not in found]
    strange = [name for name in found if name not in (*names, "symmetry") and not CUT_PLANE.fullmatch(name)]
    if missing or strange:
        raise BadInput(
            f"the boundaries of {origin} are " + (", ".join(sorted(found)) or "unnamed"),
            f"name physical surfaces {', '.join(names)}; optional are symmetry and cut planes plane_1, plane_2, …"
            + ("; for other names, say what each is in a table [boundaries]" if tuple(names) == BOUNDARIES else ""),
        )


def check_grid(grid: Grid, source: Path) -> None:
    """Raises `BadInput` with the trouble and its remedy; corners alone are looked at, `Quality` sees to the curves."""
    sides = _Sides.of(grid)
    _check_fit(grid, sides, source)
    _check_boundaries(grid, sides, source)
    _check_pieces(grid, sides, source)


def outer_sides(grid: Grid) -> np.ndarray:
    """How many sides of each cell are on the surface, (m,)."""
    sides = _Sides.of(grid)
    return (sides.count[sides.number] == 1).reshape(len(grid.cells), -1).sum(axis=1)


@dataclass(frozen=True)
class _Sides:
    """The sides of all cells, (cells × sides per cell): `number` of each among the distinct ones, whose `keys` are
    sorted; `count` of cells at each distinct one; `turn`, +1 or −1 by the order of its corners as the cell sees it.
    """

    keys: np.ndarray
    number: np.ndarray
    count: np.ndarray
    turn: np.ndarray

    @classmethod
    def of(cls, grid: Grid) -> _Sides:
        corners = oriented(grid.points, grid.cells)[:, FACETS[grid.dim]].reshape(-1, grid.dim)
        keys, number, count = np.unique(_key(corners, len(grid.points)), return_inverse=True, return_counts=True)
        return cls(keys, number, count, _turn(corners))

    def find(self, facets: np.ndarray, points: int) -> np.ndarray:
        """The numbers of facets by their corners; −1 for one that is no side of a cell."""
        key = _key(facets, points)
        at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return np.where(self.keys[at] == key, at, -1)


def _key(corners: np.ndarray, points: int) -> np.ndarray:
    key = np.zeros(len(corners), dtype=np.int64)
    for column in np.sort(corners, axis=1).T:
        key = key * points + column
    return key


def _turn(corners: np.ndarray) -> np.ndarray:
    """The sign of the permutation that sorts each row of two or three."""
    pairs = [(i, j) for i in range(corners.shape[1]) for j in range(i)]
    return np.prod([np.where(corners[:, i] > corners[:, j], 1, -1) for i, j in pairs], axis=0)


def _check_fit(grid: Grid, sides: _Sides, source: Path) -> None:
    """No cell without volume, at most two cells at a side, and those on either side of it."""
    dim, (_, many, cells) = grid.dim, _KIND[grid.dim]
    corners = grid.points[grid.cells[:, : dim + 1]]
    spans = corners[:, 1:] - corners[:, :1]
    volume = abs(np.linalg.det(spans[:, :, :dim]))
    flat = volume < 1e-9 * np.linalg.norm(spans, axis=2).max(axis=1) ** dim
    if flat.any():
        raise BadInput(
            f"{source} has {flat.sum()} {cells} without volume, the first near {place(corners[flat][0])}",
            "remove duplicate nodes and optimise the mesh in Gmsh before saving it",
        )
    if (sides.count > 2).any():
        raise BadInput(
            f"{source} has {(sides.count > 2).sum()} {many} with more than two {cells}",
            f"remove the {cells} that are there twice (Gmsh: Mesh.SaveAll = 0, each volume in one physical group)",
        )
    both = np.bincount(sides.number, sides.turn)[sides.count == 2]
    if (both != 0).any():
        first = np.flatnonzero(sides.count == 2)[np.flatnonzero(both)[0]]
        cell = int(np.flatnonzero(sides.number == first)[0]) // (dim + 1)
        raise BadInput(
            f"{source} has inverted {cells}: neighbours lie on the same side of {(both != 0).sum()} {many},"
            f" the first near {place(corners[cell])}",
            "mesh it again, or untangle it (Gmsh: Tools, Optimize, Netgen)",
        )


def _check_boundaries(grid: Grid, sides: _Sides, source: Path) -> None:
    """Every outer facet is in one named boundary; inside the fluid there are cut planes alone."""
    dim, (one, many, cells) = grid.dim, _KIND[grid.dim]
    names = list(grid.facets)
    owner = np.full(len(sides.keys), -1)
    for index, (name, facets) in enumerate(grid.facets.items()):
        at = sides.find(facets[:, :dim], len(grid.points))
        if (at < 0).any():
            raise BadInput(
                f'{(at < 0).sum()} {many} of the boundary "{name}" of {source} are no side of its {cells}',
                "mesh volume and boundaries in one go, and remove duplicate nodes",
            )
        taken = owner[at]
        if (taken >= 0).any():
            raise BadInput(
                f'{(taken >= 0).sum()} {many} of {source} are in "{names[taken.max()]}" and in "{name}"',
                f"put each {one} into one physical group",
            )
        owner[at] = index
        inside = sides.count[at] == 2
        plane = bool(CUT_PLANE.fullmatch(name))
        if plane != bool(inside.all()) or (inside.any() and not plane):
            raise BadInput(
                f'the boundary "{name}" of {source} ' + ("is not inside the fluid" if plane else "is inside the fluid"),
                "only cut planes plane_1, plane_2, … are inside it, and they are nowhere else",
            )
    bare = (sides.count == 1) & (owner < 0)
    if bare.any():
        first = int(np.flatnonzero(sides.number == np.flatnonzero(bare)[0])[0])
        nodes = oriented(grid.points, grid.cells)[first // (dim + 1)][FACETS[dim][first % (dim + 1)]]
        raise BadInput(
            f"{bare.sum()} outer {many} of {source} have no name, the first near {place(grid.points[nodes])}",
            f"put every outer {one} into a physical group with a name; where two parts should join there, merge them"
            " (Gmsh: Coherence, or remove duplicate nodes)",
        )


def _check_pieces(grid: Grid, sides: _Sides, source: Path) -> None:
    """All cells hang together by their sides."""
    cell = np.arange(len(sides.number)) // (grid.dim + 1)
    order = np.argsort(sides.number, kind="stable")
    same = np.flatnonzero(np.diff(sides.number[order]) == 0)
    one, other = cell[order[same]], cell[order[same + 1]]
    graph = coo_matrix((np.ones(len(one)), (one, other)), shape=(len(grid.cells),) * 2)
    pieces, _ = connected_components(graph, directed=False)
    if pieces > 1:
        raise BadInput(
            f"{source} is in {pieces} pieces",
            "keep the one that the fluid flows through; where parts touch, merge them (Gmsh: Coherence)",
        )


def place(corners: np.ndarray) -> str:
    """The middle of corners (n, 3), in words."""
    return "(" + ", ".join(f"{value:.3g}" for value in corners.mean(axis=0)) + ")"
