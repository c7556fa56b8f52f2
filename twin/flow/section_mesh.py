"""The mesh of the outlet's circular section, and values of its fields at any points."""

from __future__ import annotations

import gmsh
import numpy as np
from dolfinx import fem, geometry
from dolfinx import mesh as dmesh
from mpi4py import MPI
from scipy.interpolate import CloughTocher2DInterpolator
from scipy.sparse import csr_matrix

from twin.errors import BadInput
from twin.fem import _compat
from twin.fem.domain import Domain

RADIUS = 0.5  # of the section, in bores
_RIM = 256  # points at rest that are set on the wall around scattered samples


def disc(core_size: float, wall_size: float) -> Domain:
    """The disc of diameter 1 about the origin, in curved triangles of second degree; its rim is called "wall".

    `wall_size` is the edge length in bores at the wall, `core_size` that half a radius from it and further in.
    """
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    try:
        gmsh.model.occ.addDisk(0, 0, 0, RADIUS, RADIUS)
        gmsh.model.occ.synchronize()
        gmsh.model.addPhysicalGroup(2, [tag for _, tag in gmsh.model.getEntities(2)], 1, "fluid")
        gmsh.model.addPhysicalGroup(1, [tag for _, tag in gmsh.model.getEntities(1)], 1, "wall")
        for option in ("ExtendFromBoundary", "FromPoints", "FromCurvature"):
            gmsh.option.setNumber(f"Mesh.MeshSize{option}", 0)
        depth = f"Min(1, ({RADIUS} - Sqrt(x*x + y*y)) / {RADIUS / 2})"
        field = gmsh.model.mesh.field.add("MathEval")
        gmsh.model.mesh.field.setString(field, "F", f"{wall_size} + ({core_size - wall_size}) * {depth}")
        gmsh.model.mesh.field.setAsBackgroundMesh(field)
        gmsh.option.setNumber("Mesh.Algorithm", 6)
        gmsh.option.setNumber("Mesh.SecondOrderLinear", 0)
        gmsh.model.mesh.generate(2)
        gmsh.model.mesh.setOrder(2)
        mesh, facets = _compat.mesh_from_gmsh(gmsh.model, MPI.COMM_SELF, 2)
    finally:
        gmsh.finalize()
    mesh.topology.create_connectivity(1, 2)
    return Domain(mesh, facets, {"wall": 1})


def evaluation(space: fem.FunctionSpace, points: np.ndarray) -> csr_matrix:
    """The matrix, (points, unknowns), that takes a scalar field of `space` to its values at `points`, (n, 2) in bores.

    A point that the curved edges leave outside by a hair belongs to the cell nearest to it, whose field is continued.
    """
    mesh = space.mesh
    where = np.zeros((len(points), 3))
    where[:, :2] = points
    cells = _cells_of(mesh, where)
    order = np.argsort(cells, kind="stable")
    starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
    nodes, dofmap = _compat.geometry_dofmap(mesh), space.dofmap
    element, shape = space.element.basix_element, _compat.coordinate_element(mesh)
    columns = np.empty((len(points), element.dim), dtype=np.int32)
    values = np.empty((len(points), element.dim))
    for group in np.split(order, starts[1:]):
        cell = int(cells[group[0]])
        corners = mesh.geometry.x[nodes[cell]][:, :2]
        reference = shape.pull_back(where[group, :2], corners)
        values[group] = element.tabulate(0, reference)[0, :, :, 0]
        columns[group] = dofmap.cell_dofs(cell)
    rows = np.repeat(np.arange(len(points)), element.dim)
    return csr_matrix((values.ravel(), (rows, columns.ravel())), shape=(len(points), dofmap.index_map.size_local))


def _cells_of(mesh: dmesh.Mesh, points: np.ndarray) -> np.ndarray:
    """The cell that holds each point, or else the nearest one."""
    dim = mesh.topology.dim
    tree = geometry.bb_tree(mesh, dim)
    hits = geometry.compute_colliding_cells(mesh, geometry.compute_collisions_points(tree, points), points)
    cells = np.full(len(points), -1, dtype=np.int32)
    found = np.diff(hits.offsets) > 0
    cells[found] = hits.array[hits.offsets[:-1][found]]
    if not found.all():
        count = mesh.topology.index_map(dim).size_local
        middles = geometry.create_midpoint_tree(mesh, dim, np.arange(count, dtype=np.int32))
        cells[~found] = geometry.compute_closest_entity(tree, middles, mesh, points[~found])
    return cells


def from_samples(points: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Scattered samples of a velocity, (n, 3) at (n, 2) in bores, at other points of the disc, (m, 2): (m, 3).

    Piecewise cubic and smooth (Clough–Tocher), with fluid at rest on the wall; samples there or outside are left out.
    """
    points, values = np.asarray(points, dtype=float), np.asarray(values, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or values.shape != (len(points), 3):
        raise BadInput("the samples of a section are (n, 2) points and (n, 3) velocities", "check their shapes")
    inside = np.hypot(*points.T) < RADIUS - 1e-9
    angle = np.arange(_RIM) * (2 * np.pi / _RIM)
    # The chords between the points on the rim would leave slivers uncovered, so the rim stands out a little.
    rim = RADIUS / np.cos(np.pi / _RIM) * np.column_stack([np.cos(angle), np.sin(angle)])
    known = np.vstack([points[inside], rim])
    return CloughTocher2DInterpolator(known, np.vstack([values[inside], np.zeros((_RIM, 3))]))(at)
