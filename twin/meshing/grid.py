"""A mesh as arrays: second-order tetrahedra or triangles with named boundaries, and its way into and out of Gmsh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import gmsh
import meshio
import numpy as np

from twin.errors import BadInput

#: Gmsh's element types by dimension, of first and of second order.
LINEAR = {1: 1, 2: 2, 3: 4}
QUADRATIC = {1: 8, 2: 9, 3: 11}
#: The corners whose edge carries each middle node, in Gmsh's order.
EDGES = {
    1: np.array([[0, 1]]),
    2: np.array([[0, 1], [1, 2], [2, 0]]),
    3: np.array([[0, 1], [1, 2], [2, 0], [3, 0], [3, 2], [3, 1]]),
}
#: The corners of each facet of a cell.
FACETS = {
    2: np.array([[0, 1], [1, 2], [2, 0]]),
    3: np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
}
#: A cell's nodes when its first two corners change places.
_SWAPPED = {2: [1, 0, 2, 3, 5, 4], 3: [1, 0, 2, 3, 4, 6, 5, 9, 8, 7]}
#: Gmsh numbers the last two nodes of a tetrahedron the other way round than VTK does.
TO_VTK = {2: [0, 1, 2, 3, 4, 5], 3: [0, 1, 2, 3, 4, 5, 6, 7, 9, 8]}


@dataclass(frozen=True)
class Grid:
    """`points` (n, 3) in bores; `cells` (m, 10) tetrahedra or (m, 6) triangles; `facets` (k, 6) or (k, 3) by name."""

    points: np.ndarray
    cells: np.ndarray
    facets: dict[str, np.ndarray]

    @property
    def dim(self) -> int:
        """3, or 2 in the plane."""
        return 3 if self.cells.shape[1] in (4, 10) else 2

    def corners(self, name: str) -> np.ndarray:
        """The corners of the facets of a boundary, (k, dim, dim)."""
        return self.points[self.facets[name][:, : self.dim], : self.dim]

    def to_gmsh(self) -> None:
        """Puts the mesh into a new Gmsh model, with one discrete entity and one physical group for each name."""
        gmsh.model.add("junction")
        dim = self.dim
        body = gmsh.model.addDiscreteEntity(dim)
        tags = np.arange(1, len(self.points) + 1)
        gmsh.model.mesh.addNodes(dim, body, tags, self.points.ravel())
        gmsh.model.mesh.addElementsByType(body, QUADRATIC[dim], [], (self.cells + 1).ravel())
        gmsh.model.addPhysicalGroup(dim, [body], name="fluid")
        for name, facets in self.facets.items():
            entity = gmsh.model.addDiscreteEntity(dim - 1)
            gmsh.model.mesh.addElementsByType(entity, QUADRATIC[dim - 1], [], (facets + 1).ravel())
            gmsh.model.addPhysicalGroup(dim - 1, [entity], name=name)

    def to_meshio(self) -> meshio.Mesh:
        """The cells for VTK and everything that meshio writes; the nodes keep their order."""
        kind = {2: "triangle6", 3: "tetra10"}[self.dim]
        return meshio.Mesh(self.points, [(kind, self.cells[:, TO_VTK[self.dim]])])


def compressed(points: np.ndarray, cells: np.ndarray, facets: dict[str, np.ndarray]) -> Grid:
    """A grid without the points that no cell uses."""
    used, flat = np.unique(cells, return_inverse=True)
    new = np.full(len(points), -1)
    new[used] = np.arange(len(used))
    return Grid(points[used], flat.reshape(cells.shape), {name: new[nodes] for name, nodes in facets.items()})


def oriented(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The cells, each with its corners in the positive order."""
    dim = {10: 3, 6: 2}[cells.shape[1]]
    spans = points[cells[:, 1 : dim + 1]] - points[cells[:, :1]]
    negative = np.linalg.det(spans[:, :, :dim]) < 0
    return np.where(negative[:, None], cells[:, _SWAPPED[dim]], cells)


@contextmanager
def gmsh_explained(message: str, remedy: str) -> Iterator[None]:
    """Turns what Gmsh raises, a bare Exception each time, into `BadInput`."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise BadInput(f"{message}: {error}", remedy) from None


def nodes_of_model() -> tuple[np.ndarray, np.ndarray]:
    """The points (n, 3) of Gmsh's current model, and the row of each node tag."""
    tags, coordinates, _ = gmsh.model.mesh.getNodes()
    row = np.full(int(tags.max(initial=0)) + 1, -1)
    row[tags.astype(int)] = np.arange(len(tags))
    return np.asarray(coordinates).reshape(-1, 3), row


def elements(kind: int, entity: int, row: np.ndarray) -> np.ndarray:
    """The elements of a Gmsh type on an entity (-1: on all), as rows of points (m, nodes)."""
    size = {1: 2, 2: 3, 4: 4, 8: 3, 9: 6, 11: 10}[kind]
    _, nodes = gmsh.model.mesh.getElementsByType(kind, entity)
    return row[np.asarray(nodes, dtype=int).reshape(-1, size)]


def grid_of_model(dim: int) -> Grid:
    """The second-order cells of Gmsh's current model with its named boundaries."""
    points, row = nodes_of_model()
    facets = {}
    for _, group in gmsh.model.getPhysicalGroups(dim - 1):
        entities = gmsh.model.getEntitiesForPhysicalGroup(dim - 1, group)
        parts = [elements(QUADRATIC[dim - 1], int(entity), row) for entity in entities]
        facets[gmsh.model.getPhysicalName(dim - 1, group)] = np.vstack(parts)
    return compressed(points, elements(QUADRATIC[dim], -1, row), facets)
