"""Values of fields at points: probes and lines."""

from __future__ import annotations

import basix
import numpy as np
from dolfinx import fem, geometry

from twin.errors import BadInput
from twin.fem import _compat
from twin.fem.domain import Domain

OUTSIDE = (
    0.05  # of a cell: how far outside of the meshed fluid a point may lie, for walls whose curve the mesh cuts off
)
_FOUND = 1e-9


class Probes:
    """Points in the fluid, found once, sampled at any time. Works in curved cells, and on the walls.

    `points` is (n, 2) or (n, 3) in the mesh's unit. Raises `BadInput` for a point outside the fluid, with its name and,
    where the length of that unit is given, its place in metres.
    """

    def __init__(
        self, domain: Domain, points: np.ndarray, names: list[str] | None = None, unit_m: float | None = None
    ) -> None:
        self._domain = domain
        points = np.asarray(points, dtype=float).reshape(-1, np.shape(points)[-1] if np.size(points) else 3)
        spatial = np.zeros((len(points), 3))
        spatial[:, : points.shape[1]] = points
        depth, self._cell, self._at = self._locate(spatial)
        depths = np.array(domain.comm.allgather(depth)).reshape(domain.comm.size, -1)
        self._mine = np.argmax(depths, axis=0) == domain.comm.rank
        lost = np.flatnonzero(np.max(depths, axis=0) < -OUTSIDE)
        if len(lost):
            name = names[lost[0]] if names else str(lost[0] + 1)
            place = "" if unit_m is None else f" at ({', '.join(f'{part:g}' for part in points[lost[0]] * unit_m)}) m"
            remedy = "move it into the mesh; make two of a line through a body"
            raise BadInput(f"the point {name}{place} is not in the fluid", remedy)
        self._tables: dict[int, np.ndarray] = {}

    def sample(self, function: fem.Function) -> np.ndarray:
        """The values of a continuous Lagrange function at all points, (n,) or (n, components), on every rank."""
        space = function.function_space
        width = space.dofmap.bs
        here = np.zeros((len(self._cell), width))
        if self._mine.any():
            element = space.element.basix_element
            if element.degree not in self._tables:
                self._tables[element.degree] = _shapes(element, self._at[self._mine])
            dofs = space.dofmap.list[self._cell[self._mine]]
            values = function.x.array.reshape(-1, width)[dofs]
            here[self._mine] = np.einsum("pn,pnw->pw", self._tables[element.degree], values)
        total = self._domain.comm.allreduce(here)
        return total[:, 0] if width == 1 else total

    def _locate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each point the cell of this rank that it lies deepest in: that depth, as the least of the barycentric
        coordinates, the cell, and the reference coordinates, clipped to the cell.
        """
        mesh, dim = self._domain.mesh, self._domain.dim
        count = len(points)
        depth, cells, at = np.full(count, -np.inf), np.zeros(count, dtype=np.int64), np.zeros((count, dim))
        owned = mesh.topology.index_map(dim).size_local
        if owned == 0 or count == 0:
            return depth, cells, at
        nodes = mesh.geometry.x[_compat.geometry_dofmap(mesh)[:owned]]
        size = float(np.max(np.ptp(nodes, axis=1)))
        tree = geometry.bb_tree(mesh, dim, entities=np.arange(owned, dtype=np.int32), padding=OUTSIDE * size)
        candidates = geometry.compute_collisions_points(tree, points)
        element = basix.create_element(
            basix.ElementFamily.P, getattr(basix.CellType, mesh.basix_cell().name), _compat.geometry_degree(mesh)
        )
        for index, point in enumerate(points):
            near = candidates.links(index)
            if len(near):
                inside, reference = _pull_back(element, nodes[near][:, :, :dim], point[:dim])
                best = int(np.argmax(inside))
                depth[index], cells[index] = inside[best], near[best]
                at[index] = _clipped(reference[best])
        return depth, cells, at


def _pull_back(
    element: basix.finite_element.FiniteElement, nodes: np.ndarray, point: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The reference coordinates of one point in each of several cells, (cells, dim), by Newton's method, and the least
    barycentric coordinate there, −∞ where there are none.
    """
    dim = len(point)
    reference = np.full((len(nodes), dim), 1 / (dim + 1))
    for _ in range(15):
        table = element.tabulate(1, reference)[..., 0]  # (1 + dim, cells, nodes)
        residual = np.einsum("cn,cnd->cd", table[0], nodes) - point
        jacobian = np.einsum("jcn,cnd->cdj", table[1:], nodes)
        step = np.einsum("cij,cj->ci", np.linalg.pinv(jacobian), residual)
        reference = np.clip(reference - step, -2, 3)  # a cell far away need not converge
        if np.max(abs(step)) < _FOUND:
            break
    size = np.max(np.ptp(nodes, axis=1), axis=1)
    missed = np.linalg.norm(np.einsum("cn,cnd->cd", element.tabulate(0, reference)[0, ..., 0], nodes) - point, axis=1)
    inside = np.minimum(reference.min(axis=1), 1 - reference.sum(axis=1))
    return np.where(missed < 1e-6 * size, inside, -np.inf), reference


def _clipped(reference: np.ndarray) -> np.ndarray:
    """The nearest point of the cell, about."""
    inside = np.maximum(reference, 0)
    return inside / max(1.0, inside.sum())


def _shapes(element: basix.finite_element.FiniteElement, at: np.ndarray) -> np.ndarray:
    """The shape functions at reference points, (points, nodes)."""
    return element.tabulate(0, at)[0, ..., 0]
