"""Fields on disk: one value a mesh node, in the order of the mesh file, whatever the number of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import basix.ufl
import meshio
import numpy as np
from dolfinx import fem
from dolfinx.la import InsertMode

from twin.errors import BadInput
from twin.fem import _compat
from twin.fem.domain import Domain
from twin.files import whole


def nodal(domain: Domain, function: fem.Function) -> np.ndarray | None:
    """The values of a continuous second-degree function at all nodes, (nodes,) or (nodes, dim), on rank 0 only."""
    width = function.function_space.dofmap.bs
    values = function.x.array.reshape(-1, width)
    local = np.zeros((len(_global_nodes(domain)), width))
    local[_compat.geometry_dofmap(domain.mesh).ravel()] = values[function.function_space.dofmap.list.ravel()]
    owned = domain.mesh.geometry.index_map().size_local
    parts = domain.comm.gather((_global_nodes(domain)[:owned], local[:owned]))
    if parts is None:
        return None
    whole_field = np.zeros((domain.mesh.geometry.index_map().size_global, width))
    for nodes, part in parts:
        whole_field[nodes] = part
    return whole_field[:, 0] if width == 1 else whole_field


def from_nodal(domain: Domain, values: np.ndarray, into: fem.Function) -> None:
    """Fills a continuous second-degree function from the values at all nodes, given on every rank."""
    width = into.function_space.dofmap.bs
    here = values.reshape(-1, width)[_global_nodes(domain)]
    target = into.x.array.reshape(-1, width)
    target[into.function_space.dofmap.list.ravel()] = here[_compat.geometry_dofmap(domain.mesh).ravel()]


def function(domain: Domain, values: np.ndarray) -> fem.Function:
    """A continuous second-degree function from the values at all nodes, (nodes,) or (nodes, dim)."""
    shape = {"shape": values.shape[1:]} if values.ndim > 1 else {}
    element = basix.ufl.element("Lagrange", domain.mesh.basix_cell(), 2, **shape)
    result = fem.Function(fem.functionspace(domain.mesh, element))
    from_nodal(domain, values, result)
    return result


def quadratic(domain: Domain, function: fem.Function) -> fem.Function:
    """A continuous function as one of second degree, whose degrees of freedom are the mesh nodes."""
    space = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", domain.mesh.basix_cell(), 2))
    result = fem.Function(space)
    result.interpolate(function)
    return result


def smoothed(domain: Domain, function: fem.Function) -> fem.Function:
    """A discontinuous scalar as a continuous one of second degree for pictures: the mean of the cells at each node."""
    continuous = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", domain.mesh.basix_cell(), 2))
    broken = fem.functionspace(domain.mesh, basix.ufl.element("DG", domain.mesh.basix_cell(), 2))
    pieces = fem.Function(broken)
    pieces.interpolate(function)
    total, count = fem.Function(continuous), fem.Function(continuous)
    owned_cells = domain.mesh.topology.index_map(domain.dim).size_local
    dofs = continuous.dofmap.list[:owned_cells].ravel()
    np.add.at(total.x.array, dofs, pieces.x.array[broken.dofmap.list[:owned_cells].ravel()])
    np.add.at(count.x.array, dofs, 1.0)
    for vector in (total.x, count.x):
        vector.scatter_reverse(InsertMode.add)
        vector.scatter_forward()
    total.x.array[:] /= np.maximum(count.x.array, 1.0)
    return total


def write_fields(domain: Domain, mesh_file: Path, path: Path, **fields: fem.Function) -> None:
    """Writes second-degree fields as point data of the mesh into one VTU file."""
    data = {name: nodal(domain, function) for name, function in fields.items()}
    if domain.comm.rank == 0:
        mesh = meshio.read(mesh_file)
        mesh.point_data = {name: np.asarray(values) for name, values in data.items()}
        with whole(path) as scratch:
            mesh.write(scratch)


def read_fields(path: Path) -> dict[str, np.ndarray]:
    """The point data of a file of `write_fields`."""
    try:
        return dict(meshio.read(path).point_data)
    except (OSError, meshio.ReadError, ValueError) as error:
        raise BadInput(f"can't read {path}: {error}", "remove it and solve the point again") from error


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays by name into one compressed NumPy file."""
    with whole(path) as scratch:
        np.savez_compressed(scratch, allow_pickle=False, **arrays)


@dataclass(frozen=True)
class Nodes:
    """A second-degree mesh by its nodes, in the order of the file: what fields on disk are given at.

    points (nodes, 3) in bores; cells (cells, 10), vertices before middles in VTK's order; faces (faces, 6) by the name
    of their boundary or cut plane.
    """

    points: np.ndarray
    cells: np.ndarray
    faces: dict[str, np.ndarray]


def read_nodes(path: Path) -> Nodes:
    """The nodes of a mesh of `twin.meshing`; raises `BadInput` for one that is not of ten-node tetrahedra."""
    try:
        mesh = meshio.read(path)
        cells, triangles = mesh.cells_dict["tetra10"], mesh.cells_dict["triangle6"]
        tags = mesh.cell_data_dict["gmsh:physical"]["triangle6"]
    except (OSError, meshio.ReadError, KeyError) as error:
        raise BadInput(f"can't read ten-node tetrahedra from {path}: {error}", "run twin mesh again") from error
    named = {name: int(tag) for name, (tag, dim) in mesh.field_data.items() if dim == 2}
    return Nodes(mesh.points, cells, {name: triangles[tags == tag] for name, tag in named.items()})


def _global_nodes(domain: Domain) -> np.ndarray:
    return domain.mesh.geometry.input_global_indices
