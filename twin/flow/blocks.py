"""The Jacobian of the flow in blocks, and the same flow on linear elements, both assembled without the whole matrix.

The blocks live on the velocity's and the pressure's own spaces. A matrix of vectors in small dense blocks (PETSc's
BAIJ) takes 0.7 of the memory of one of numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import basix
import basix.ufl
import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from petsc4py import PETSc

from twin.errors import BadInput, NotConverged
from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.flow.boundaries import Boundaries, mirror_axis
from twin.flow.momentum import GRAD_DIV, QUADRATURE, Fluid, momentum, streamline_time

#: Linear elements have hardly any fields without divergence: under all of the fine grid's grad-div they would lock.
COARSE_GRAD_DIV = 0.02
#: What the factors' low-rank blocks may leave out, relative to the matrix; a preconditioner needs no more.
COMPRESSION = 1e-3


@dataclass(frozen=True)
class Balance:
    """The balance to be solved: that of `momentum`, with ∂u/∂t as a function of u where it is unsteady."""

    domain: Domain
    boundaries: Boundaries
    fluid: Fluid
    change: Callable[[Any], Any] | None = None
    rate: Any = None

    def residual(self, u: Any, p: Any, v: Any, q: Any) -> Any:
        """The weak form."""
        change = None if self.change is None else self.change(u)
        return momentum(self.domain, self.boundaries, u, p, v, q, self.fluid, change, self.rate)

    def pressed(self, u: Any, p: Any, q: Any) -> Any:
        """What lets velocity and pressure be of the same degree (PSPG), and lightens grad-div, on linear elements."""
        fluid = self.fluid
        acceleration = ufl.dot(ufl.grad(u), u)
        if self.change is not None:
            acceleration += self.change(u)
        strong = fluid.density * acceleration + ufl.grad(p)
        if fluid.force is not None:
            strong -= fluid.force
        tau = streamline_time(self.domain, u, fluid.viscosity, fluid.density, self.rate)
        return -tau * ufl.inner(strong, ufl.grad(q)) * self.domain.dx(QUADRATURE)


class Blocks:
    """F, Bᵀ and B of the Jacobian [[F, Bᵀ], [B, 0]], with unit rows and empty columns for the velocities given."""

    def __init__(self, balance: Balance, space: fem.FunctionSpace) -> None:
        self.velocities, velocity_map = _compat.collapsed(space.sub(0))
        self.pressures, pressure_map = _compat.collapsed(space.sub(1))
        self._maps = velocity_map, pressure_map
        self.u, self.p = fem.Function(self.velocities), fem.Function(self.pressures)
        v, q = ufl.TestFunction(self.velocities), ufl.TestFunction(self.pressures)
        du, dp = ufl.TrialFunction(self.velocities), ufl.TrialFunction(self.pressures)
        residual = balance.residual(self.u, self.p, v, ufl.as_ufl(0.0))
        self.given = _given_velocities(balance, self.velocities)
        gradient = compiled(ufl.derivative(residual, self.p, dp))
        divergence = compiled(-q * ufl.div(du) * balance.domain.dx(QUADRATURE))
        velocity = compiled(ufl.derivative(residual, self.u, du))
        self._forms = velocity, gradient
        self.velocity = petsc.create_matrix(velocity, "baij")
        self.gradient = petsc.create_matrix(gradient)
        self.divergence = petsc.create_matrix(divergence)
        petsc.assemble_matrix(self.divergence, divergence, bcs=self.given)
        self.divergence.assemble()
        self.matrix = PETSc.Mat().createNest(
            [[self.velocity, self.gradient], [self.divergence, None]], comm=balance.domain.comm
        )
        self.owned = tuple(_owned(space) for space in (self.velocities, self.pressures))

    def update(self, state: fem.Function) -> None:
        """Assembles the blocks at a state of the mixed space."""
        for function, indices in zip((self.u, self.p), self._maps, strict=True):
            function.x.array[:] = state.x.array[indices]
        for matrix, form in zip((self.velocity, self.gradient), self._forms, strict=True):
            matrix.zeroEntries()
            petsc.assemble_matrix(matrix, form, bcs=self.given)
            matrix.assemble()
        self.matrix.assemble()

    def split(self, whole: PETSc.Vec, parts: PETSc.Vec) -> None:
        """Takes a vector of the mixed space apart."""
        for part, indices, owned in zip(parts.getNestSubVecs(), self._maps, self.owned, strict=True):
            part.array[:] = whole.array_r[indices[:owned]]

    def join(self, parts: PETSc.Vec, whole: PETSc.Vec) -> None:
        """Puts a vector of the mixed space together."""
        for part, indices, owned in zip(parts.getNestSubVecs(), self._maps, self.owned, strict=True):
            whole.array[indices[:owned]] = part.array_r

    def vector(self) -> PETSc.Vec:
        """A vector of the matrix: a pair of velocities and pressures."""
        pair = self.velocity.createVecLeft(), self.divergence.createVecLeft()
        return PETSc.Vec().createNest(pair, comm=self.matrix.comm)

    def megabytes(self) -> float:
        """The memory of the matrices' numbers and indices, over all ranks."""
        size = self.velocity.getBlockSize()
        bytes_each = [(self.velocity, 8 + 4 / size**2), (self.gradient, 12), (self.divergence, 12)]
        total = PETSc.Mat.InfoType.GLOBAL_SUM
        return sum(matrix.getInfo(total)["nz_used"] * each for matrix, each in bytes_each) * 1e-6

    def destroy(self) -> None:
        """Frees the matrices, on all ranks at once."""
        for matrix in (self.matrix, self.velocity, self.gradient, self.divergence):
            matrix.destroy()


class Coarse:
    """The same flow on linear elements, PSPG-stabilised, factored: an eighth of the unknowns."""

    def __init__(self, balance: Balance, blocks: Blocks) -> None:
        domain = balance.domain
        cell = domain.mesh.basix_cell()
        if cell not in (basix.CellType.triangle, basix.CellType.tetrahedron):
            raise BadInput("the iterative flow solver needs triangles or tetrahedra", "use the direct solver")
        self._dim = domain.dim
        self._space = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", cell, 1, shape=(domain.dim + 1,)))
        self._blocks = blocks
        self._state = fem.Function(self._space)
        self._given = _given_velocities(balance, self._space)
        whole, test = self._state, ufl.TestFunction(self._space)
        u, v = (ufl.as_vector([f[i] for i in range(domain.dim)]) for f in (whole, test))
        p, q = whole[domain.dim], test[domain.dim]
        residual = balance.residual(u, p, v, q) + balance.pressed(u, p, q)
        residual += (COARSE_GRAD_DIV - GRAD_DIV) * ufl.div(u) * ufl.div(v) * domain.dx(QUADRATURE)
        jacobian = ufl.derivative(residual, whole)
        self._data = [*jacobian.constants(), *jacobian.coefficients()]
        self._form = compiled(jacobian)
        self._matrix = petsc.create_matrix(self._form)
        self._nodes = _vertices_of(self._space, blocks.velocities), _vertices_of(self._space, blocks.pressures)
        self._own_pressures = self._places_of_pressures()
        self._prolongation = self._interpolation()
        self._right, self._left = self._matrix.createVecs()
        self._ksp = PETSc.KSP().create(domain.comm)
        self._ksp.setType("preonly")
        self._ksp.setOperators(self._matrix)
        pc = self._ksp.getPC()
        pc.setType("lu")
        pc.setFactorSolverType("mumps")
        pc.setFactorSetUpSolverType()
        factor = pc.getFactorMatrix()
        factor.setMumpsIcntl(14, 30)  # room for pivoting, in per cent
        if COMPRESSION > 0:
            factor.setMumpsIcntl(35, 2)  # low-rank blocks, kept so
            factor.setMumpsCntl(7, COMPRESSION)
        self._factored_at: list[np.ndarray] = []

    def update(self, change: float = 0.0) -> bool:
        """Factors at the state of the blocks, unless all is within `change` of the last time; tells whether it did."""
        self._take_state()
        here = [np.array(data.x.array if isinstance(data, fem.Function) else data.value) for data in self._data]
        if self._factored_at and not self._moved(here, change):
            return False
        self._matrix.zeroEntries()
        petsc.assemble_matrix(self._matrix, self._form, bcs=self._given)
        self._matrix.assemble()
        self._ksp.setOperators(self._matrix)
        self._ksp.setUp()
        if self._ksp.getPC().getFailedReason() != 0:
            raise NotConverged(
                "the linear-element flow could not be factored", "use a finer level, or the direct solver"
            )
        self._factored_at = here
        return True

    def _moved(self, here: list[np.ndarray], change: float) -> bool:
        pairs = list(zip(here, self._factored_at, strict=True))
        sums = np.array([[np.sum((new - old) ** 2), np.sum(new**2)] for new, old in pairs])
        sums = self._space.mesh.comm.allreduce(sums)
        return bool(np.any(sums[:, 0] > change**2 * sums[:, 1]))

    def solve(self, residual: PETSc.Vec, into: PETSc.Vec) -> None:
        """The correction of velocity and pressure for a residual on the fine spaces."""
        (ru, rp), (zu, zp) = residual.getNestSubVecs(), into.getNestSubVecs()
        self._prolongation.multTranspose(ru, self._right)
        self._right.array[self._own_pressures] = rp.array_r
        self._ksp.solve(self._right, self._left)
        self._prolongation.mult(self._left, zu)
        zp.array[:] = self._left.array_r[self._own_pressures]

    def memory(self) -> tuple[int, int]:
        """The entries of the factors, and the megabytes that MUMPS took, over all ranks."""
        factor = self._ksp.getPC().getFactorMatrix()
        entries, megabytes = factor.getMumpsInfog(29), factor.getMumpsInfog(19)
        return (entries if entries >= 0 else -entries * 10**6), megabytes

    def destroy(self) -> None:
        """Frees the factors and matrices, on all ranks at once."""
        for thing in (self._ksp, self._matrix, self._prolongation, self._right, self._left):
            thing.destroy()

    def _places_of_pressures(self) -> np.ndarray:
        """Where each owned pressure stands among the owned unknowns: both spaces have one node a vertex."""
        of_fine = np.argsort(self._nodes[1])[: self._blocks.owned[1]]
        if np.any(of_fine >= self._space.dofmap.index_map.size_local):
            raise RuntimeError("the linear spaces are spread over the ranks in two ways")
        return of_fine * (self._dim + 1) + self._dim

    def _take_state(self) -> None:
        values = self._state.x.array.reshape(-1, self._dim + 1)
        values[:, : self._dim] = self._blocks.u.x.array.reshape(-1, self._dim)[self._nodes[0]]
        values[:, self._dim] = self._blocks.p.x.array[self._nodes[1]]

    def _interpolation(self) -> PETSc.Mat:
        """From linear to quadratic velocities: a node on an edge takes the mean of its ends, be it straight or not."""
        fine, coarse, dim = self._blocks.velocities, self._space, self._dim
        layout, cell = fine.dofmap.dof_layout, fine.mesh.basix_cell()
        nodes, vertices = fine.dofmap.list, coarse.dofmap.list
        rows = fine.dofmap.index_map.size_local
        ends = np.full((rows + fine.dofmap.index_map.num_ghosts, 2), -1, dtype=np.int64)
        for entity in range(2):
            for number, corners in enumerate(basix.topology(cell)[entity]):
                at = nodes[:, layout.entity_dofs(entity, number)[0]]
                ends[at] = vertices[:, [corners[0], corners[-1]]]
        ends = ends[:rows]
        free = _free(fine, self._blocks.given)[: rows * dim].reshape(rows, dim)
        coarse_free = _free(coarse, self._given).reshape(-1, dim + 1)[:, :dim]
        kept = free[:, :, None] & coarse_free[ends].transpose(0, 2, 1)
        kept[ends[:, 0] == ends[:, 1], :, 1] = False
        weight = np.where(ends[:, 0] == ends[:, 1], 1.0, 0.5)
        of_all = coarse.dofmap.index_map.local_to_global(ends.reshape(-1).astype(np.int32)).reshape(-1, 2)
        columns = of_all[:, None, :] * (dim + 1) + np.arange(dim)[None, :, None]
        starts = np.concatenate([[0], np.cumsum(kept.sum(axis=2).reshape(-1))])
        sizes = (rows * dim, None), (coarse.dofmap.index_map.size_local * (dim + 1), None)
        csr = (
            starts.astype(np.int32),
            columns[kept].astype(np.int32),
            np.broadcast_to(weight[:, None, None], kept.shape)[kept],
        )
        return PETSc.Mat().createAIJ(sizes, csr=csr, comm=coarse.mesh.comm)


def _owned(space: fem.FunctionSpace) -> int:
    return space.dofmap.index_map.size_local * space.dofmap.index_map_bs


def _free(space: fem.FunctionSpace, given: list[fem.DirichletBC]) -> np.ndarray:
    """Which unknowns no boundary condition holds, ghosts included."""
    index_map, size = space.dofmap.index_map, space.dofmap.index_map_bs
    free = np.ones((index_map.size_local + index_map.num_ghosts) * size, dtype=bool)
    for condition in given:
        free[condition.dof_indices()[0]] = False
    return free


def _vertices_of(coarse: fem.FunctionSpace, fine: fem.FunctionSpace) -> np.ndarray:
    """The node of `fine` at each local node of the linear space `coarse`."""
    layout = fine.dofmap.dof_layout
    corners = [layout.entity_dofs(0, corner)[0] for corner in range(coarse.dofmap.list.shape[1])]
    index_map = coarse.dofmap.index_map
    found = np.zeros(index_map.size_local + index_map.num_ghosts, dtype=np.int64)
    found[coarse.dofmap.list] = fine.dofmap.list[:, corners]
    return found


def _given_velocities(balance: Balance, space: fem.FunctionSpace) -> list[fem.DirichletBC]:
    """The conditions of the balance as they hold for a change: all zero. `space` may have components after velocity."""
    domain, boundaries = balance.domain, balance.boundaries
    held = [(name, axis) for name in (*boundaries.inlets, *boundaries.walls) for axis in range(domain.dim)]
    held += [(name, mirror_axis(domain, name)) for name in boundaries.mirrors]
    given = []
    for axis in range(domain.dim):
        component = space.sub(axis)
        names = [name for name, other in held if other == axis]
        if not names:
            continue
        zero = fem.Function(component.collapse()[0])
        for name in names:
            dofs = domain.dofs((component, zero.function_space), name)
            given.append(fem.dirichletbc(zero, dofs, component))
    return given
