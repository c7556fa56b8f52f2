"""A mesh of the user's own: `.msh` of version 2.2 or 4.1, 3-D or 2-D, of first or second order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gmsh
import numpy as np

from twin.errors import BadInput
from twin.meshing.checks import check_grid, check_names, outer_sides
from twin.meshing.facets import check_straight
from twin.meshing.grid import (
    EDGES,
    FACETS,
    LINEAR,
    QUADRATIC,
    Grid,
    compressed,
    elements,
    gmsh_explained,
    nodes_of_model,
    oriented,
)

FIRST = b"$NOD"  # what a file of format version 1 begins with
FAR = 1e50  # in the mesh's unit: a volume of such edges is hardly a number any more
#: What a mesh of boundaries alone most often lacks.
_WHOLE = "put the volume (in 2-D the surface) into a physical group too: Gmsh saves nothing that is in none"


def read_mesh(source: Path, names: Sequence[str] | None) -> tuple[Grid, float]:
    """The mesh, raised to second order where it is of first, and by how many degrees the facets of a curved boundary
    then bend. Gmsh must be running.

    `names` are the boundaries that it must have; None for any. Raises `BadInput` for whatever makes it unfit.
    """
    with source.open("rb") as file:
        if file.read(len(FIRST)) == FIRST:
            raise BadInput(
                f"{source} is a .msh of format version 1, which knows no names of boundaries",
                "save it as version 4.1 or 2.2 (Gmsh: Mesh.MshFileVersion)",
            )
    with gmsh_explained(f"Gmsh can't read {source}", "save it from Gmsh as .msh, version 4.1 or 2.2"):
        gmsh.open(str(source))
    dim = 3 if gmsh.model.mesh.getElementTypes(3).size else 2
    second = _order(dim, source) == 2
    kinds = QUADRATIC if second else LINEAR
    points, row = nodes_of_model()
    if dim == 2:
        points = _in_plane(points, source)
    named = _named(dim, kinds[dim - 1], row, source)
    facets = {name: np.vstack(parts) for name, parts in named.items()}
    check_names(list(facets), names, str(source))
    grid = compressed(points, elements(kinds[dim], -1, row), facets)
    gmsh.model.remove()
    if lost := int((~(abs(grid.points) < FAR)).any(axis=1).sum()):
        raise BadInput(
            f"{source} has {lost} of {len(grid.points)} nodes nowhere: a coordinate is no number, or beyond {FAR:g}",
            "mesh it again, and look at what changes its nodes afterwards",
        )
    if loose := [f'"{name}"' for name, nodes in grid.facets.items() if (nodes < 0).any()]:
        raise BadInput(
            f"the boundary {', '.join(loose)} of {source} hangs loose: it has nodes that no cell of the fluid has",
            "mesh volume and boundaries in one go",
        )
    if not second:
        grid = _raised(grid)
    check_grid(grid, source)
    bend = 0.0 if second else check_straight(points, named, source)
    if dim == 3:
        grid = _cut_corners(grid)
    return Grid(grid.points, oriented(grid.points, grid.cells), grid.facets), bend


def _order(dim: int, source: Path) -> int:
    """The order of the cells; raises where they are not all simplices of one order."""
    found = [int(kind) for kind in gmsh.model.mesh.getElementTypes(dim)]
    wanted = {3: "tetrahedra", 2: "tetrahedra or triangles"}[dim]
    if not found:
        raise BadInput(f"{source} has no {wanted}", f"mesh it in Gmsh before saving it; {_WHOLE}")
    other = [kind for kind in found if kind not in (LINEAR[dim], QUADRATIC[dim])]
    if other:
        kinds = ", ".join(gmsh.model.mesh.getElementProperties(kind)[0] for kind in other)
        raise BadInput(f"{source} has elements of other kinds: {kinds}", "mesh without recombining, of order 1 or 2")
    if len(found) > 1:
        raise BadInput(f"{source} has elements of both orders", "set one order for all (Gmsh: Mesh, Set order 2)")
    return 2 if found[0] == QUADRATIC[dim] else 1


def _in_plane(points: np.ndarray, source: Path) -> np.ndarray:
    if np.ptp(points[:, 2]) > 1e-9 * np.ptp(points):
        raise BadInput(f"{source} is a surface in space, without tetrahedra", f"{_WHOLE}; draw a 2-D case at z = 0")
    return points * [1, 1, 0]


def _named(dim: int, kind: int, row: np.ndarray, source: Path) -> dict[str, list[np.ndarray]]:
    """The facets of each name, for each of its curves or surfaces; groups of one name are one boundary."""
    parts: dict[str, list[np.ndarray]] = {}
    for _, group in gmsh.model.getPhysicalGroups(dim - 1):
        name = gmsh.model.getPhysicalName(dim - 1, group)
        if not name:
            kind_of = {2: "Curve", 3: "Surface"}[dim]
            raise BadInput(
                f"a boundary of {source} has the number {group} and no name",
                f'name it: Physical {kind_of}("outlet") = …',
            )
        entities = gmsh.model.getEntitiesForPhysicalGroup(dim - 1, group)
        parts.setdefault(name, []).extend(elements(kind, int(entity), row) for entity in entities)
    for name, found in parts.items():
        if not sum(map(len, found)):
            raise BadInput(f'the boundary "{name}" of {source} has no elements', "mesh it with the volume")
    return parts


def _raised(grid_of_first_order: Grid) -> Grid:
    """The mesh with a node in the middle of every edge."""
    points, cells = grid_of_first_order.points, grid_of_first_order.cells
    dim = cells.shape[1] - 1
    size = len(points)

    def keys(simplices: np.ndarray, edges: np.ndarray) -> np.ndarray:
        ends = np.sort(simplices[:, edges], axis=2)
        return ends[:, :, 0] * size + ends[:, :, 1]

    known, flat = np.unique(keys(cells, EDGES[dim]), return_inverse=True)
    middles = (points[known // size] + points[known % size]) / 2

    def nodes(facets: np.ndarray) -> np.ndarray:
        at = np.searchsorted(known, keys(facets, EDGES[dim - 1]))
        # An edge of no cell: the facet stands out among the outer ones later.
        return np.column_stack([facets, size + np.minimum(at, len(known) - 1)])

    raised = np.column_stack([cells, size + flat.reshape(len(cells), -1)])
    facets = {name: nodes(found) for name, found in grid_of_first_order.facets.items()}
    return Grid(np.vstack([points, middles]), raised, facets)


def _cut_corners(grid: Grid) -> Grid:
    """The mesh with each tetrahedron of three outer sides cut into four, by a node in its middle.

    Where its sides are walls, these hold the velocity in all ten nodes, so nothing would determine the pressure at the
    corner between them.
    """
    locked = outer_sides(grid) > 2
    cut = grid.cells[locked]
    corners = grid.points[cut[:, :4]]
    middles = corners.mean(axis=1)
    halfway = (corners + middles[:, None]) / 2
    middle = len(grid.points) + np.arange(len(cut))
    to_middle = len(grid.points) + len(cut) + np.arange(4 * len(cut)).reshape(-1, 4)
    between = {frozenset(edge): cut[:, 4 + index] for index, edge in enumerate(EDGES[3].tolist())}
    parts = [
        np.column_stack(
            [
                *(cut[:, corner] for corner in (i, j, k)),
                middle,
                *(between[frozenset(edge)] for edge in ((i, j), (j, k), (k, i))),
                *(to_middle[:, corner] for corner in (i, k, j)),
            ]
        )
        for i, j, k in FACETS[3].tolist()
    ]
    points = np.vstack([grid.points, middles, halfway.reshape(-1, 3)])
    return Grid(points, np.vstack([grid.cells[~locked], *parts]), grid.facets)
