"""A mesh whose boundaries are called by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gmsh
import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

from twin.case.meshed import vouched
from twin.errors import BadInput
from twin.fem import _compat
from twin.fem.forms import compiled

LEAST_FACING = 0.1  # the length of a boundary's mean normal; 1 where it is plane, 0 all round a tube


@dataclass(frozen=True)
class Domain:
    """A distributed mesh in bores, the tags of its facets, and the tag of each boundary's name."""

    mesh: dmesh.Mesh
    facets: dmesh.MeshTags
    tags: dict[str, int]

    @property
    def dim(self) -> int:
        """2 or 3."""
        return self.mesh.topology.dim

    @property
    def comm(self) -> MPI.Comm:
        """The communicator of the mesh."""
        return self.mesh.comm

    def tag(self, name: str) -> int:
        """The tag of a boundary; raises `BadInput` where the mesh has none of that name."""
        if name not in self.tags:
            raise BadInput(f'the mesh has no boundary "{name}"', f"it has {', '.join(self.tags)}")
        return self.tags[name]

    @property
    def planes(self) -> list[str]:
        """The names of the cut planes."""
        return [name for name in self.tags if name.startswith("plane_")]

    def ds(self, *names: str, degree: int = 4) -> ufl.Measure:
        """The measure over exterior boundaries. A form may hold one such measure only: UFL wants one set of markers."""
        return self._over("ds", names, degree)

    def dS(self, name: str | None = None, degree: int = 4) -> ufl.Measure:  # noqa: N802 (the field's own name)
        """The measure over interior facets: those of a cut plane, or all of them."""
        if name is None:
            return ufl.Measure("dS", self.mesh, metadata={"quadrature_degree": degree})
        return self._over("dS", (name,), degree)

    def _over(self, kind: str, names: tuple[str, ...], degree: int) -> ufl.Measure:
        # Every boundary gets the same number, 1, so that one compiled form serves them all.
        facets = np.unique(np.concatenate([self.facets.find(self.tag(name)) for name in names]))
        marked = dmesh.meshtags(self.mesh, self.dim - 1, facets, np.ones_like(facets))
        return ufl.Measure(kind, self.mesh, subdomain_data=marked, metadata={"quadrature_degree": degree})(1)

    def dx(self, degree: int = 4) -> ufl.Measure:
        """The measure over the fluid."""
        return ufl.Measure("dx", self.mesh, metadata={"quadrature_degree": degree})

    def dofs(self, space: fem.FunctionSpace | tuple[fem.FunctionSpace, fem.FunctionSpace], name: str) -> np.ndarray:
        """The degrees of freedom on a boundary."""
        return fem.locate_dofs_topological(space, self.dim - 1, self.facets.find(self.tag(name)))

    def area(self, name: str) -> float:
        """The area of an exterior boundary in bore², or its length in 2-D."""
        return self.integral(fem.Constant(self.mesh, 1.0) * self.ds(name))

    def normal(self, name: str) -> np.ndarray:
        """The mean outward unit normal of an exterior boundary, (dim,); raises `BadInput` where it faces all ways."""
        n, ds = ufl.FacetNormal(self.mesh), self.ds(name)
        mean = np.array([self.integral(n[i] * ds) for i in range(self.dim)])
        if (length := float(np.linalg.norm(mean))) < LEAST_FACING * self.area(name):
            raise BadInput(
                f'the boundary "{name}" faces all ways, as the wall of a tube, so nothing tells which way is in',
                "is it the wrong one? An inlet is best plane",
            )
        return mean / length

    def centre(self, name: str) -> np.ndarray:
        """The centroid of an exterior boundary in bores, (dim,)."""
        x, ds = ufl.SpatialCoordinate(self.mesh), self.ds(name)
        return np.array([self.integral(x[i] * ds) for i in range(self.dim)]) / self.area(name)

    def mean(self, field: fem.Function) -> float:
        """The mean of a scalar field over the domain."""
        dx = self.dx()
        return self.integral(field * dx) / self.integral(fem.Constant(self.mesh, 1.0) * dx)

    def integral(self, form: ufl.Form) -> float:
        """A scalar form, assembled over all ranks."""
        local = fem.assemble_scalar(compiled(form))
        return float(np.real(self.comm.allreduce(local, op=MPI.SUM)))


def read_domain(path: Path, comm: MPI.Comm, mesh_hash: str | None = None) -> Domain:
    """The mesh of `twin.meshing` on the ranks of `comm`; one of another `mesh_hash` than the given is refused.

    Every rank raises the same error, or none.
    """
    problem, tags, dim = None, None, 3
    if comm.rank == 0:
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        try:
            gmsh.open(str(path))
            dim = gmsh.model.getDimension()
            groups = gmsh.model.getPhysicalGroups(dim - 1)
            tags = {gmsh.model.getPhysicalName(dim - 1, group): int(group) for _, group in groups}
        except Exception as error:  # noqa: BLE001 (Gmsh raises bare Exceptions)
            problem = str(error)
        # After the reading: what another process put there before is found, and what it puts there later is not read.
        if mesh_hash is not None and (vouched(path.parent) or {}).get("hash") != mesh_hash:
            problem = "it was changed, or is being made anew, by another run"
    problem = comm.bcast(problem)
    if problem is not None:
        if comm.rank == 0:
            gmsh.finalize()
        raise BadInput(f"can't read the mesh {path}: {problem}", "remove its folder and run twin mesh again")
    dim = comm.bcast(dim)
    mesh, facets = _compat.mesh_from_gmsh(gmsh.model, comm, dim)
    if comm.rank == 0:
        gmsh.finalize()
    mesh.topology.create_connectivity(dim - 1, dim)
    return Domain(mesh, facets, comm.bcast(tags))
