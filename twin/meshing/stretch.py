"""A meshed core made anew by MMG, its elements stretched as a metric says, its walls and ends as they were.

Gmsh leaves a mesh of even elements whose boundaries lie on the geometry. MMG (Dapogny, Dobrzynski & Frey, J. Comput.
Phys. 262 (2014) 358) inserts, removes and swaps what lies between until edges have length 1 in the metric. Walls and
the ends where layers go on are held fixed, triangle by triangle, so they keep their curved middle nodes; planes have
straight ones anyway. The mirror plane is remeshed too: the sheets that leave it ask for small elements there.
"""

from __future__ import annotations

from itertools import combinations

import mmgpy
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from twin.errors import BadInput, TwinError
from twin.meshing.adapt import Metric
from twin.meshing.grid import EDGES, Grid, compressed, oriented

FREE = "symmetry"
GROWTH = 1.8  # ratio of neighbouring lengths, at most


def stretched(grid: Grid, metric: Metric) -> Grid:
    """The grid of second-order tetrahedra with its inside made anew; facets keep their names.

    Raises:
        BadInput: MMG can't make the mesh.
        TwinError: it moved what was to stay.
    """
    names = list(grid.facets)
    used, corners = np.unique(grid.cells[:, :4], return_inverse=True)
    new = np.full(len(grid.points), -1)
    new[used] = np.arange(len(used))
    corners, points = corners.reshape(-1, 4), grid.points[used]
    triangles = np.vstack([new[grid.facets[name][:, :3]] for name in names])
    label = np.repeat(np.arange(len(names)), [len(grid.facets[name]) for name in names])

    mesh = mmgpy.MmgMesh3D()
    mesh.set_mesh_size(vertices=len(points), tetrahedra=len(corners), triangles=len(triangles))
    mesh.set_vertices(points)
    # MMG keeps a surface inside of the mesh where it parts cells of two numbers.
    mesh.set_tetrahedra(corners.astype(np.int32), 1 + _parts(corners, triangles))
    mesh.set_triangles(triangles.astype(np.int32), label.astype(np.int64) + 1)
    held = [number for number, name in enumerate(names) if name != FREE]
    mesh.set_required_triangles(np.nonzero(np.isin(label, held))[0].astype(np.int32))
    upper = np.triu_indices(3)
    mesh["tensor"] = np.ascontiguousarray(metric.at(points)[:, *upper])
    try:
        mesh.remesh(hgrad=GROWTH, hgradreq=-1.0, verbose=-1)
    except RuntimeError as error:
        raise BadInput(f"MMG can't make a mesh that follows the flow: {error}", "give the level other cells") from None
    vertices, cells = mesh.get_vertices(), mesh.get_elements().astype(np.int64)
    faces, labels = mesh.get_triangles_with_refs()
    faces = faces.astype(np.int64)
    kept = {name: faces[labels == number + 1] for number, name in enumerate(names)}
    return _curved(vertices, cells, kept, grid)


def _parts(cells: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The number of the part of the mesh, (m,), that each cell is in when the triangles cut it apart."""
    faces = np.sort(np.vstack([cells[:, list(face)] for face in combinations(range(4), 3)]), axis=1)
    _, key = np.unique(np.vstack([faces, np.sort(triangles, axis=1)]), axis=0, return_inverse=True)
    key, cut = key[: len(faces)], key[len(faces) :]
    owner, order = np.tile(np.arange(len(cells)), 4), np.argsort(key, kind="stable")
    first = np.nonzero(key[order][1:] == key[order][:-1])[0]
    first = first[~np.isin(key[order][first], cut)]
    pairs = owner[order[first]], owner[order[first + 1]]
    table = coo_matrix((np.ones(len(first)), pairs), shape=(len(cells), len(cells)))
    return connected_components(table, directed=False)[1].astype(np.int64)


def _curved(vertices: np.ndarray, cells: np.ndarray, facets: dict[str, np.ndarray], old: Grid) -> Grid:
    """Second order: middle nodes half way, but on facets that were held where they were before."""
    pairs = np.sort(cells[:, EDGES[3]].reshape(-1, 2), axis=1)
    edges, number = np.unique(_key(pairs, len(vertices)), return_inverse=True)
    middles = vertices[np.column_stack([edges // len(vertices), edges % len(vertices)])].mean(axis=1)

    def edge_of(triangles: np.ndarray) -> np.ndarray:
        """The numbers (k, 3) of the edges of triangles; raises where the mesh does not have one."""
        wanted = _key(np.sort(triangles[:, EDGES[2]].reshape(-1, 2), axis=1), len(vertices))
        found = np.minimum(np.searchsorted(edges, wanted), len(edges) - 1)
        if not (edges[found] == wanted).all():
            raise TwinError("MMG changed a boundary that it was to keep", "report this with the case folder")
        return found.reshape(-1, 3)

    tree = cKDTree(vertices)
    for name, before in old.facets.items():
        # What is flat inside of the mesh has no curved middles; its rim belongs to a wall.
        if name != FREE and not name.startswith("plane_"):
            _, corners = tree.query(old.points[before[:, :3]])
            middles[edge_of(corners)] = old.points[before[:, 3:]]
    points = np.vstack([vertices, middles])
    ten = np.hstack([cells, len(vertices) + number.reshape(-1, 6)])
    six = {name: np.hstack([faces, len(vertices) + edge_of(faces)]) for name, faces in facets.items()}
    return compressed(points, oriented(points, ten), six)


def _key(pairs: np.ndarray, number: int) -> np.ndarray:
    return pairs[:, 0] * number + pairs[:, 1]
