"""A flow carried over from one mesh to another, as the start of the next solve.

dolfinx has a function for this, but its search for the cell of a point (GJK) gives up on the curved, stretched cells of
our meshes; so the search is done here: candidates by their midpoints, then the place within the curved cell by Newton.
"""

from __future__ import annotations

from typing import Any

import basix
import numpy as np
from dolfinx import fem
from mpi4py import MPI
from scipy.spatial import cKDTree

from twin.errors import BadInput
from twin.fem import _compat

CHUNK = 4000  # points looked for at a time
FEW, MANY = 24, 240  # candidate cells of a point; the many where the few of no rank hold it
INSIDE = 1e-6
FARTHEST = 0.9  # that a point may lie outside its cell, in sizes of that cell; the search goes no farther than 1


def transfer(source: fem.Function, target: fem.Function) -> None:
    """Interpolates `source` into the Lagrange space of `target`, which may live on another mesh of the same domain.

    Both meshes are spread over the same ranks, each in its own way. Where a curved wall of the target bulges out of the
    source, the value is that of the nearest place in it. Raises `BadInput` where the meshes do not overlap.
    """
    space, comm = target.function_space, target.function_space.mesh.comm
    index_map, size = space.dofmap.index_map, space.dofmap.index_map_bs
    points = space.tabulate_dof_coordinates()[: index_map.size_local]
    finder = _Finder(source)

    def ask(asked: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """The best answers of all ranks, each of which asks at the same time."""
        answers = comm.alltoall([finder.look_up(theirs, most) for theirs in comm.allgather(asked)])
        outside, each = np.array([one for one, _ in answers]), np.arange(len(asked))
        best = np.argmin(outside, axis=0)
        return outside[best, each], np.array([values for _, values in answers])[best, each]

    farthest = 0.0
    for start in range(0, comm.allreduce(len(points), op=MPI.MAX), CHUNK):
        asked = points[start : start + CHUNK]
        outside, values = ask(asked, FEW)
        missed = np.flatnonzero(outside > INSIDE)
        outside[missed], values[missed] = ask(asked[missed], MANY)
        farthest = max(farthest, outside.max(initial=0.0))
        target.x.array[start * size : (start + len(asked)) * size] = values.ravel()
    if comm.allreduce(farthest, op=MPI.MAX) > FARTHEST:
        raise BadInput("the new mesh reaches out of the old one", "start from a mesh of the same domain, or from rest")
    target.x.scatter_forward()


class _Finder:
    """Values of a function at points, from this rank's own cells."""

    def __init__(self, source: fem.Function) -> None:
        space = source.function_space
        mesh = space.mesh
        cells = mesh.topology.index_map(mesh.topology.dim).size_local
        self._dim = mesh.topology.dim
        self._size = space.dofmap.index_map_bs
        self._basis = _scalar(space.ufl_element())
        self._shape = _scalar(mesh.ufl_domain().ufl_coordinate_element())
        self._nodes = mesh.geometry.x[_compat.geometry_dofmap(mesh)[:cells]][:, :, : self._dim]
        self._values = source.x.array.reshape(-1, self._size)
        self._dofs = space.dofmap.list[:cells]
        corners = self._nodes[:, : self._dim + 1]
        self._origins = corners[:, 0]
        self._inverses = np.linalg.inv((corners[:, 1:] - corners[:, :1]).transpose(0, 2, 1))
        middles = corners.mean(axis=1)
        self._tree = cKDTree(middles) if cells else None
        # A point in a cell is nearer to its middle than the cell's farthest node; one outside may be as far again.
        self._reach = 2 * np.linalg.norm(self._nodes - middles[:, None], axis=2).max(initial=0.0)

    def look_up(self, points: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """How far outside its best cell each point lies, in sizes of the cell, and the values there.

        Of so many candidates for each point; infinitely far where no cell of this rank is near.
        """
        outside, values = np.full(len(points), np.inf), np.zeros((len(points), self._size))
        points = points[:, : self._dim]
        near = len(points) and self._tree is not None and self._tree.query(points)[0] < self._reach
        here = np.flatnonzero(near)
        if not len(here):
            return outside, values
        cells, places = self._best(points[here], most)
        outside[here] = _outside(places)
        places = np.maximum(places, 0.0)
        places /= np.maximum(places.sum(axis=1, keepdims=True), 1.0)
        basis = self._basis.tabulate(0, places)[0]
        values[here] = np.einsum("pb,pbi->pi", basis, self._values[self._dofs[cells]])
        return outside, values

    def _best(self, points: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Of so many near cells the one that holds the point best, and the place in it."""
        assert self._tree is not None  # noqa: S101 (for mypy)
        number = min(most, self._tree.n)
        near = self._tree.query(points, number)[1].reshape(len(points), number)
        straight = np.einsum("pcij,pcj->pci", self._inverses[near], points[:, None] - self._origins[near])
        order = np.argsort(_outside(straight), axis=1)[:, :3]  # curved, it may be one of the next
        best, places = np.zeros(len(points), dtype=np.int64), np.zeros_like(points)
        least = np.full(len(points), np.inf)
        for column in range(order.shape[1]):
            each = np.arange(len(points))
            cells = near[each, order[:, column]]
            here = self._pulled_back(points, cells, straight[each, order[:, column]])
            better = _outside(here) < least
            best[better], places[better], least[better] = cells[better], here[better], _outside(here)[better]
        return best, places

    def _pulled_back(self, points: np.ndarray, cells: np.ndarray, start: np.ndarray) -> np.ndarray:
        places, nodes = np.clip(start, -1.0, 2.0), self._nodes[cells]
        for _ in range(5 if self._nodes.shape[1] > self._dim + 1 else 1):
            table = self._shape.tabulate(1, places)
            miss = points - np.einsum("pb,pbi->pi", table[0], nodes)
            slope = np.einsum("dpb,pbi->pid", table[1:], nodes)
            places = np.clip(places + np.linalg.solve(slope, miss[:, :, None])[:, :, 0], -1.0, 2.0)
        return places


def _outside(places: np.ndarray) -> np.ndarray:
    """How far reference coordinates lie outside the reference simplex."""
    return np.maximum(np.maximum(-places.min(axis=-1), places.sum(axis=-1) - 1.0), 0.0)


def _scalar(element: Any) -> Any:
    """The scalar element of a blocked one."""
    element = element.sub_elements[0] if element.block_size > 1 else element
    if element.family_name != "P" or element.cell_type not in (basix.CellType.triangle, basix.CellType.tetrahedron):
        raise BadInput("a flow can be carried over between Lagrange elements on simplices only", "start from rest")
    return element
