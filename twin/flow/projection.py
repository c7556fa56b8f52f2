"""Steps 2 to 5 of the fractional step: the projection onto fields without divergence, and the pressure."""

from __future__ import annotations

import math

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from dolfinx.la import InsertMode
from mpi4py import MPI
from petsc4py import PETSc

from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.linear import KrylovSolver
from twin.flow.boundaries import Boundaries
from twin.flow.momentum import QUADRATURE, metric
from twin.flow.predictor import Predictor
from twin.flow.unknowns import TOLERANCE, UPDATE, Held, Unknowns

LEAK = 1e-11  # of the flow through the domain: what one step may lose
OUTLET = 6.0  # the weight of φ = 0 at an outlet, over the size of its cells


class Projection:
    """The field without divergence, and what the pressure gains."""

    def __init__(
        self,
        domain: Domain,
        boundaries: Boundaries,
        unknowns: Unknowns,
        held: Held,
        predictor: Predictor,
        grad_div: float,
    ) -> None:
        self._domain, self._unknowns, self._held, self._grad_div = domain, unknowns, held, grad_div
        dx, n = domain.dx(QUADRATURE), ufl.FacetNormal(domain.mesh)
        p, q = ufl.TrialFunction(unknowns.pressures), ufl.TestFunction(unknowns.pressures)
        laplace = _compat.assemble_matrix(compiled(ufl.inner(ufl.grad(p), ufl.grad(q)) * dx), [])
        size = ufl.sqrt(ufl.dot(n, ufl.dot(metric(domain), n)))  # one over the size of the cell, across the outlet
        if outlets := boundaries.outlets:
            petsc.assemble_matrix(laplace, compiled(OUTLET * size * p * q * domain.ds(*outlets, degree=QUADRATURE)))
            laplace.assemble()
        self._gradient = predictor.gradient
        self._free = self._gradient.copy()
        self._free.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        self._free.zeroRows(held.vector_rows(), 0.0)
        diagonal = predictor.mass.getDiagonal()
        self._inverse = self._free.createVecLeft()
        self._inverse.array[:] = np.repeat(1 / diagonal.array, domain.dim)
        scaled = self._free.copy()
        root = self._inverse.duplicate()
        root.array[:] = np.sqrt(self._inverse.array)
        scaled.diagonalScale(L=root)
        schur = scaled.transposeMatMult(scaled)
        self._null = None
        if boundaries.closed:
            self._null = PETSc.NullSpace().create(constant=True, comm=domain.comm)
            laplace.setNullSpace(self._null)
            schur.setNullSpace(self._null)
        self._poisson = KrylovSolver(laplace, "cg", "hypre", "the pressure", TOLERANCE)
        self._schur = KrylovSolver(schur, "cg", "hypre", "the mass balance", TOLERANCE, unpreconditioned=True)
        ones = fem.assemble_vector(compiled(fem.Constant(domain.mesh, 1.0) * q * dx))
        ones.scatter_reverse(InsertMode.add)
        pressures = unknowns.pressures.dofmap.index_map.size_local
        self._lumped = ones.array[:pressures].copy()
        self._masses = []
        for group in held.groups:
            mass = predictor.mass.copy()
            mass.zeroRows(held.rows(group[0]), 1.0)
            self._masses.append(KrylovSolver(mass, "cg", "jacobi", "the velocity update", UPDATE))
        self._part, self._product = predictor.mass.createVecs()
        self.increment = fem.Function(unknowns.pressures)  # the last φ, the guess of the next
        self.update = fem.Function(unknowns.velocities)  # and the last û − u*
        self._source, self._rest = fem.Function(unknowns.pressures), fem.Function(unknowns.pressures)
        self._right, self._field = fem.Function(unknowns.velocities), fem.Function(unknowns.velocities)

    def project(self, predicted: np.ndarray, pace: float, fastest: float) -> tuple[np.ndarray, np.ndarray]:
        """uⁿ⁺¹ and pⁿ⁺¹ − pⁿ from u*, with `pace` = k/a₀ and the largest speed so far, which scales what may leak."""
        self._field.x.array[:] = predicted
        gained = self._correct(pace, fastest)
        self._rest.x.petsc_vec.array[:] = gained
        self._rest.x.scatter_forward()
        return self._field.x.array, self._rest.x.array

    def impulse(self, values: np.ndarray, fastest: float) -> np.ndarray:
        """A field with its divergence taken out; `fastest` as in `project`."""
        self._field.x.array[:] = values
        self._correct(1.0, fastest)
        self.increment.x.array[:] = self.update.x.array[:] = 0.0
        return self._field.x.array

    def _correct(self, pace: float, fastest: float) -> np.ndarray:
        """Steps 2 to 4, in place; returns what the pressure gains on this rank."""
        unknowns, field = self._unknowns, self._field
        source, right = self._source.x.petsc_vec, self._right.x.petsc_vec
        self._divergence_of(field, source)
        divergence = source.array / self._lumped
        source.scale(1 / pace)
        self._poisson(source, self.increment.x.petsc_vec, TOLERANCE * unknowns.pressure.x.petsc_vec.norm())
        self.increment.x.scatter_forward()
        self._free.mult(self.increment.x.petsc_vec, right)
        right.scale(-pace)
        floor = TOLERANCE * field.x.petsc_vec.norm()
        for group, solve in zip(self._held.groups, self._masses, strict=True):
            for component in group:
                part = slice(component, None, self._domain.dim)
                self._part.array[:] = right.array[part]
                self._product.array[:] = self.update.x.petsc_vec.array[part]
                solve(self._part, self._product, floor)
                self.update.x.petsc_vec.array[part] = self._product.array
        self.update.x.scatter_forward()
        field.x.array[:] += self.update.x.array
        cleaned = self._clean(fastest)
        bulk = float(unknowns.viscosity.value) + self._grad_div
        gained = self.increment.x.petsc_vec.array + bulk * divergence + cleaned / pace
        return gained if self._null is None else gained - self._mean(gained)

    def _mean(self, values: np.ndarray) -> float:
        """The mean over the domain of a pressure whose values this rank owns."""
        sums = np.array([self._lumped @ values, self._lumped.sum()])
        total, measure = self._domain.comm.allreduce(sums, op=MPI.SUM)
        return float(total / measure)

    def _divergence_of(self, field: fem.Function, into: PETSc.Vec) -> None:
        """−∫ q ∇·u for each q of P1."""
        self._gradient.multTranspose(field.x.petsc_vec, into)
        if self._null is not None:
            self._null.remove(into)

    def leak(self) -> float:
        """What the present field lacks in the mass balance over all nodes of P1 together."""
        self._gradient.multTranspose(self._unknowns.now.x.petsc_vec, self._source.x.petsc_vec)
        return float(self._source.x.petsc_vec.norm(PETSc.NormType.NORM_1))

    def _clean(self, fastest: float) -> np.ndarray:
        """Step 4, in place; returns the multiplier."""
        field, source, rest = self._field, self._source.x.petsc_vec, self._rest.x.petsc_vec
        self._divergence_of(field, source)
        _compat.zero_entries(rest)
        through = max(fastest, 1e-12)  # times one bore²: the size of a flow through the domain
        self._schur(source, rest, LEAK * through / math.sqrt(source.getSize()))
        self._free.mult(rest, self._right.x.petsc_vec)
        self._right.x.petsc_vec.pointwiseMult(self._right.x.petsc_vec, self._inverse)
        field.x.petsc_vec.axpy(-1.0, self._right.x.petsc_vec)
        field.x.scatter_forward()
        return rest.array.copy()
