"""Step 1 of the fractional step: the velocity that balances momentum under the pressure of the step before."""

from __future__ import annotations

import math
from collections.abc import Mapping

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
from twin.flow.momentum import QUADRATURE, outlet_pressure
from twin.flow.unknowns import TOLERANCE, UPDATE, Held, Moving, Unknowns


class Predictor:
    """The scalar matrix of the momentum balance, its right-hand sides, and its solves.

    `mass` is that of the scalar space, `gradient` takes a pressure to −∫ p ∇·v for each v. `force` is that on a unit
    mass of the fluid, in U²/bore.
    """

    def __init__(
        self,
        domain: Domain,
        boundaries: Boundaries,
        unknowns: Unknowns,
        held: Held,
        force: Moving | None,
        grad_div: float,
    ) -> None:
        self._domain, self._unknowns, self._held = domain, unknowns, held
        self._force, self._grad_div = force, grad_div
        dx, n = domain.dx(QUADRATURE), ufl.FacetNormal(domain.mesh)
        a, b = ufl.TrialFunction(unknowns.scalars), ufl.TestFunction(unknowns.scalars)
        u, v = ufl.TrialFunction(unknowns.velocities), ufl.TestFunction(unknowns.velocities)
        p = ufl.TrialFunction(unknowns.pressures)
        self.mass = _compat.assemble_matrix(compiled(a * b * dx), [])
        self._stiffness = _compat.assemble_matrix(compiled(ufl.inner(ufl.grad(a), ufl.grad(b)) * dx), [])
        self.spread: PETSc.Mat | None = None
        if grad_div:
            self.spread = _compat.assemble_matrix(compiled(ufl.div(u) * ufl.div(v) * dx), [])
            self._masses = _compat.assemble_matrix(compiled(ufl.inner(u, v) * dx), [])
        self.gradient = _compat.assemble_matrix(compiled(-p * ufl.div(v) * dx), [])
        w = unknowns.carrier
        self._convection = [compiled(ufl.dot(w, ufl.grad(a)) * b * dx)]
        self._load, self._outside = fem.Function(unknowns.velocities), outlet_pressure(domain, boundaries)
        self._pressing: fem.Form | None = None
        if outlets := boundaries.outlets:
            ds = domain.ds(*outlets, degree=QUADRATURE)
            back = ufl.min_value(ufl.dot(w, n), 0)
            self._convection.append(compiled(-back / 2 * a * b * ds))
            self._pressing = compiled(-self._outside * ufl.dot(n, v) * ds)
        self.press(boundaries.outlets)
        self._constant: PETSc.Mat | None = None
        self._key: tuple[float, float] | None = None
        self._matrices = [self.mass.duplicate() for _ in held.groups]
        for matrix in self._matrices:
            matrix.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        self._solves = [
            KrylovSolver(matrix, "bcgs", "jacobi", "the momentum balance", TOLERANCE) for matrix in self._matrices
        ]
        self._right = fem.Function(unknowns.velocities)
        self._part, self._product = self.mass.createVecs()
        self._into, self._rise = fem.Function(unknowns.velocities), fem.Function(unknowns.velocities)
        self.damping = fem.Function(unknowns.velocities)  # what the second factor added last: the guess of the next
        self._damper: KrylovSolver | None = None
        self._damper_pace = 0.0

    def press(self, pressures: Mapping[str, float]) -> None:
        """Sets the pressures of the outlets, in ρU²."""
        if self._pressing is None:
            return
        for name, value in pressures.items():
            self._outside.x.array[self._domain.dofs(self._outside.function_space, name)] = value
        self._load.x.array[:] = 0.0
        petsc.assemble_vector(self._load.x.petsc_vec, self._pressing)
        self._load.x.scatter_reverse(InsertMode.add)

    def times_mass(self, values: np.ndarray) -> np.ndarray:
        """The mass matrix times the owned part of a field, (nodes, dim)."""
        dim = self._domain.dim
        owned = self._unknowns.velocities.dofmap.index_map.size_local
        result = np.empty((owned, dim))
        for component in range(dim):
            self._part.array[:] = values.reshape(-1, dim)[:owned, component]
            self.mass.mult(self._part, self._product)
            result[:, component] = self._product.array
        return result

    def square(self, values: np.ndarray) -> float:
        """∫|u|² of a field."""
        product = self.times_mass(values)
        local = float(np.vdot(product.ravel(), values[: product.size]))
        return float(self._domain.comm.allreduce(local, op=MPI.SUM))

    def predict(self, length: float, order: tuple[float, float, float], values: np.ndarray, later: float) -> np.ndarray:
        """u* (nodes · dim), with ghosts, of the step of `length` to the time `later`.

        `order` is (a₀, a₁, a₂), `values` the velocity at the boundaries then.
        """
        unknowns, dim = self._unknowns, self._domain.dim
        self._assemble(order[0] / length)
        right = self._right.x.petsc_vec
        self.gradient.mult(unknowns.pressure.x.petsc_vec, right)
        if self.spread is not None:
            self.spread.mult(unknowns.now.x.petsc_vec, self._into.x.petsc_vec)
            right.axpy(self._grad_div, self._into.x.petsc_vec)
        right.aypx(-1.0, self._load.x.petsc_vec)
        before = (order[1] * unknowns.now.x.array - order[2] * unknowns.old.x.array) / length
        if self._force is not None:
            before = before + np.asarray(self._force(later)(unknowns.points.T)).T.ravel()
        rows = right.array.reshape(-1, dim)
        rows += self.times_mass(before)
        guess = np.where(self._held.mask, values, unknowns.carrier.x.array)
        owned = len(rows)
        held = self._held.mask.reshape(-1, dim)[:owned]
        rows[held] = guess.reshape(-1, dim)[:owned][held]
        result = guess.reshape(-1, dim)
        floor = TOLERANCE * math.sqrt(self._domain.comm.allreduce(float(np.square(result[:owned]).sum())))
        for group, solve in zip(self._held.groups, self._solves, strict=True):
            for component in group:
                self._product.array[:] = rows[:, component]
                self._part.array[:] = result[:owned, component]
                solve(self._product, self._part, floor)
                result[:owned, component] = self._part.array
        self._into.x.array[:] = guess
        self._into.x.scatter_forward()
        if self.spread is not None:
            self._damp(length / order[0], self.spread)
        return self._into.x.array

    def _damp(self, pace: float, spread: PETSc.Mat) -> None:
        """The second factor of the velocity step, in place: (mass + γ k/a₀ grad-div) e = −γ k/a₀ grad-div (u − uⁿ)."""
        into, rise, right = self._into.x, self._rise.x, self._right.x.petsc_vec
        rise.array[:] = into.array - self._unknowns.now.x.array
        spread.mult(rise.petsc_vec, right)
        right.scale(-self._grad_div * pace)
        right.array[self._held.mask[: right.array.size]] = 0.0
        self._damper_for(pace, spread)(right, self.damping.x.petsc_vec, TOLERANCE * into.petsc_vec.norm())
        self.damping.x.scatter_forward()
        into.array[:] += self.damping.x.array

    def _damper_for(self, pace: float, spread: PETSc.Mat) -> KrylovSolver:
        """The solve of the second factor. Its matrix is made anew where the step has changed."""
        if self._damper is None or abs(pace - self._damper_pace) > 1e-12 * pace:
            matrix = spread.copy()
            matrix.scale(self._grad_div * pace)
            matrix.axpy(1.0, self._masses, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
            matrix.zeroRows(self._held.vector_rows(), 1.0)
            blocks = matrix.convert("baij")
            if self._damper is None:
                self._damper = KrylovSolver(blocks, "cg", "pbjacobi", "the divergence's damping", UPDATE)
            self._damper.matrix, self._damper_pace = blocks, pace
        return self._damper

    def _assemble(self, inertia: float) -> None:
        """(a₀/k) mass + ν stiffness + convection; the first two anew only where the step or ν has changed."""
        key = inertia, float(self._unknowns.viscosity.value)
        if self._constant is None or self._key != key:
            self._constant = self._constant or self.mass.duplicate()
            self.mass.copy(self._constant, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
            self._constant.scale(inertia)
            self._constant.axpy(key[1], self._stiffness, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
            self._key = key
        first = self._matrices[0]
        self._constant.copy(first, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        for form in self._convection:
            petsc.assemble_matrix(first, form)
        first.assemble()
        for other in self._matrices[1:]:
            first.copy(other, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        for matrix, group in zip(self._matrices, self._held.groups, strict=True):
            matrix.zeroRows(self._held.rows(group[0]), 1.0)
