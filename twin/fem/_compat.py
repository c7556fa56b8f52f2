"""Where dolfinx 0.9 differs from 0.10 and 0.11. The rest of the field half is written to the newest interface."""

from __future__ import annotations

from typing import Any

import dolfinx
import numpy as np
from dolfinx import common, fem
from dolfinx import mesh as dmesh
from dolfinx.fem import petsc
from mpi4py import MPI

VERSION = tuple(int(part) for part in dolfinx.__version__.split(".")[:2])


def mesh_from_gmsh(model: Any, comm: MPI.Comm, dim: int) -> tuple[dmesh.Mesh, dmesh.MeshTags]:
    """The mesh and its facet tags from a Gmsh model that lives on rank 0; facets are shared between neighbours."""
    cells_of_a_facet = () if VERSION < (0, 11) else (2,)
    partitioner = dmesh.create_cell_partitioner(dmesh.GhostMode.shared_facet, *cells_of_a_facet)
    if VERSION < (0, 10):
        from dolfinx.io import gmshio

        mesh, _, facets = gmshio.model_to_mesh(model, comm, 0, gdim=dim, partitioner=partitioner)
        return mesh, facets
    from dolfinx.io import gmsh as gmsh_io

    data = gmsh_io.model_to_mesh(model, comm, 0, gdim=dim, partitioner=partitioner)
    return data.mesh, data.facet_tags


def geometry_dofmap(mesh: dmesh.Mesh) -> np.ndarray:
    """The geometry nodes of each local cell, (cells, nodes)."""
    geometry = mesh.geometry
    return geometry.dofmap if VERSION < (0, 11) else geometry.dofmaps[0]


def geometry_degree(mesh: dmesh.Mesh) -> int:
    """The degree of the map from the reference cell."""
    return coordinate_element(mesh).degree


def coordinate_element(mesh: dmesh.Mesh) -> Any:
    """The element that maps the reference cell to each cell of a mesh of one kind of cells."""
    geometry = mesh.geometry
    return geometry.cmap if VERSION < (0, 11) else geometry.cmaps[0]


def interpolation_points(space: fem.FunctionSpace) -> np.ndarray:
    """Reference points at which an expression is evaluated to interpolate it into `space`."""
    points = space.element.interpolation_points
    return points() if callable(points) else points


def collapsed(part: fem.FunctionSpace) -> tuple[fem.FunctionSpace, np.ndarray]:
    """A part of a mixed space as a space of its own, and where its degrees of freedom stand in the whole, (n,)."""
    space, rows = part.collapse()  # since 0.11 a list with one array, for a mesh of one kind of cells
    return space, np.asarray(rows, dtype=np.int32).ravel()


def assemble_matrix(form: Any, bcs: list[Any], into: Any = None) -> Any:
    """An assembled PETSc matrix with unit diagonal in constrained rows; `into` takes new entries in its old pattern."""
    if into is None:
        into = petsc.assemble_matrix(form, bcs=bcs)
    else:
        into.zeroEntries()
        petsc.assemble_matrix(into, form, bcs=bcs)
    into.assemble()
    return into


def zero_entries(vector: Any) -> None:
    """Sets a ghosted PETSc vector to zero, its ghosts included."""
    with vector.localForm() as local:
        local.set(0.0)


def index_map(comm: MPI.Comm, owned: int, ghosts: np.ndarray, owners: np.ndarray) -> common.IndexMap:
    """A rank's own numbers, and those of others that it sees: `ghosts` with the ranks that own them."""
    try:
        return common.IndexMap(comm, owned, ghosts, owners)
    except TypeError:  # 0.10 and 0.11 want a tag for the messages
        return common.IndexMap(comm, owned, ghosts, owners, 1)


def submesh(mesh: dmesh.Mesh, dim: int, entities: np.ndarray) -> dmesh.Mesh:
    """The mesh of some entities of a mesh."""
    return dmesh.create_submesh(mesh, dim, entities)[0]
