"""Whether a steady flow stays steady: the leading eigenvalues of the flow linearised about it.

A disturbance x(t) of velocity and pressure obeys M ẋ = −J x, with the Jacobian J and the mass matrix M of the steady
solver's own weak form. It grows as exp(λt) with J x = −λ M x. The modes that grow fastest, at any frequency, are the
dominant eigenvectors of the map that carries a disturbance through a time T: Arnoldi's method (SLEPc) needs that
map only. One matrix is factored, once. The rate comes from the mode itself by its Rayleigh quotient, so no error of the
time steps is in it.

On a half junction, the modes of the whole one are those that mirror themselves and those that change sign in the mirror
plane: the second kind has its own conditions on the plane (no tangential velocity, no pressure). Together they say all
that a whole mesh would, as long as the steady flow itself is symmetric.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import ufl
from dolfinx import fem
from petsc4py import PETSc
from slepc4py import SLEPc

from twin.errors import NotConverged
from twin.fem import _compat
from twin.fem.forms import compiled
from twin.fem.linear import DirectSolver
from twin.flow.boundaries import mirror_axis
from twin.flow.momentum import momentum
from twin.flow.steady import SteadySolver

Kind = Literal["symmetric", "antisymmetric", "any"]

STEP = 0.15  # of the map's time steps, in bore/U: ten to a period of the fastest modes that a junction knows
STEPS = 6
DIAGONAL = 1 - 2**-0.5  # of the two-stage, L-stable, stiffly accurate Runge–Kutta scheme (Alexander 1977)
#: Arnoldi's space. The flow is far from normal: with fewer vectors the leading modes of the outlet's shear layers hide.
VECTORS = 72
TOLERANCE = 3e-3  # of the map's eigenvalue
MOST_RESTARTS = 4


@dataclass(frozen=True)
class Mode:
    """A mode of a disturbance: `growth` Re λ and `frequency` Im λ/2π in U/bore, and the error of the eigenpair.

    `error` bounds how far λ may be off: |λ of the Rayleigh quotient − λ of the map|, both in U/bore.
    """

    kind: Kind
    growth: float
    frequency: float
    error: float

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-like data."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """What becomes of the steady flow.

    steady      every mode decays
    unsteady    a mode that oscillates grows
    asymmetric  a mode that only grows, and changes sign in the mirror plane, comes first: the flow leaves its symmetry
    unstable    a mode that only grows and keeps the symmetry comes first: the flow goes over to another state
    marginal    the error of the first eigenvalue decides
    """

    word: Literal["steady", "unsteady", "asymmetric", "unstable", "marginal"]
    modes: list[Mode]

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON-like data."""
        return {"verdict": self.word, "modes": [mode.as_dict() for mode in self.modes]}


def verdict(solver: SteadySolver, count: int = 1) -> Verdict:
    """Whether the state of a steady solver is stable, from its `count` leading modes of each kind.

    Raises `NotConverged` where the eigenvalues do not converge.
    """
    kinds: tuple[Kind, ...] = ("symmetric", "antisymmetric") if solver.boundaries.mirrors else ("any",)
    modes = [mode for kind in kinds for mode in leading_modes(solver, kind, count)]
    modes.sort(key=lambda mode: -mode.growth)
    first = modes[0]
    if abs(first.growth) <= first.error:
        return Verdict("marginal", modes)
    if first.growth < 0:
        return Verdict("steady", modes)
    if first.frequency > 0:
        return Verdict("unsteady", modes)
    return Verdict("asymmetric" if first.kind == "antisymmetric" else "unstable", modes)


def leading_modes(solver: SteadySolver, kind: Kind, count: int) -> list[Mode]:
    """The modes of one kind that grow fastest, or decay most slowly, about the solver's state."""
    with _linearised(solver, kind) as (jacobian, mass, begin):
        return _eigenvalues(jacobian, mass, begin, kind, count)


@contextmanager
def _linearised(solver: SteadySolver, kind: Kind) -> Iterator[tuple[PETSc.Mat, PETSc.Mat, PETSc.Vec]]:
    """J, M, and a disturbance to begin with: the same on any number of ranks."""
    space = solver.space
    rate = fem.Function(space)
    u, p = ufl.split(solver.state)
    v, q = ufl.TestFunctions(space)
    residual = momentum(solver.domain, solver.boundaries, u, p, v, q, solver.fluid, change=ufl.split(rate)[0])
    conditions = solver.conditions if kind != "antisymmetric" else _antisymmetric(solver)
    jacobian = _compat.assemble_matrix(compiled(ufl.derivative(residual, solver.state)), conditions)
    mass = _compat.assemble_matrix(compiled(ufl.derivative(residual, rate)), conditions)
    begin = fem.Function(space)
    velocity, dim = fem.Function(solver.velocities), solver.domain.dim
    velocity.interpolate(lambda x: np.vstack([np.sin(3 * x[(i + 1) % 3] + 2 * x[i] + i) for i in range(dim)]))
    begin.sub(0).interpolate(velocity)
    _release(mass, conditions)
    try:
        yield jacobian, mass, begin.x.petsc_vec
    finally:
        jacobian.destroy()
        mass.destroy()


def _release(mass: PETSc.Mat, conditions: list[fem.DirichletBC]) -> None:
    """Takes the unit diagonal of fixed unknowns out of the mass matrix: they do not move."""
    first, last = mass.getOwnershipRange()
    held = mass.createVecLeft()
    held.set(1.0)
    for condition in conditions:
        dofs, owned = condition.dof_indices()
        held.array[dofs[:owned]] = 0.0
    assert held.local_size == last - first  # noqa: S101
    mass.diagonalScale(L=held)
    held.destroy()


def _antisymmetric(solver: SteadySolver) -> list[fem.DirichletBC]:
    """The conditions of a disturbance that changes sign in the mirror planes."""
    domain, space = solver.domain, solver.space
    conditions = list(solver.fixed)
    for name in solver.boundaries.mirrors:
        normal = mirror_axis(domain, name)
        along = [space.sub(0).sub(axis) for axis in range(domain.dim) if axis != normal]
        for part in [*along, space.sub(1)]:
            zero = fem.Function(part.collapse()[0])
            conditions.append(fem.dirichletbc(zero, domain.dofs((part, zero.function_space), name), part))
    return conditions


class _Map:
    """Carries a disturbance through the time STEP · STEPS: a shell matrix for SLEPc."""

    def __init__(self, jacobian: PETSc.Mat, mass: PETSc.Mat) -> None:
        self._mass = mass
        self._matrix = jacobian.copy()
        self._matrix.scale(DIAGONAL * STEP)
        self._matrix.axpy(1.0, mass, structure=PETSc.Mat.Structure.SUBSET_NONZERO_PATTERN)
        self._solver = DirectSolver(self._matrix, "the stability of the flow")
        self._here, self._there, self._right = (mass.createVecLeft() for _ in range(3))

    def mult(self, _: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Puts into y what the disturbance x is a time STEP · STEPS later."""
        x.copy(y)
        for _step in range(STEPS):
            # (M + γhJ) X₁ = M x and (M + γhJ) X₂ = M x − (1−γ)h J X₁, where −γhJ X₁ = M(X₁ − x)
            self._mass.mult(y, self._here)
            self._solver.solve(self._here, y)
            self._mass.mult(y, self._there)
            self._right.waxpy(-1.0, self._here, self._there)
            self._right.scale((1 - DIAGONAL) / DIAGONAL)
            self._right.axpy(1.0, self._here)
            self._solver.solve(self._right, y)

    def destroy(self, _: PETSc.Mat | None = None) -> None:
        """Frees the factors."""
        self._solver.__exit__()
        for vector in (self._here, self._there, self._right):
            vector.destroy()


def _eigenvalues(jacobian: PETSc.Mat, mass: PETSc.Mat, begin: PETSc.Vec, kind: Kind, count: int) -> list[Mode]:
    comm = jacobian.comm
    carry = _Map(jacobian, mass)
    shell = PETSc.Mat().createPython(jacobian.getSizes(), carry, comm=comm)
    shell.setUp()
    problem = SLEPc.EPS().create(comm)
    problem.setOperators(shell)
    problem.setProblemType(SLEPc.EPS.ProblemType.NHEP)
    problem.setWhichEigenpairs(SLEPc.EPS.Which.LARGEST_MAGNITUDE)
    problem.setDimensions(count, VECTORS)
    problem.setTolerances(TOLERANCE, MOST_RESTARTS)
    problem.setInitialSpace([begin])
    problem.solve()
    found = problem.getConverged()
    if found < 1:
        problem.destroy()
        shell.destroy()
        raise NotConverged(
            f"the leading {kind} eigenvalues did not converge in {MOST_RESTARTS} restarts",
            "use a finer level: the flow may be under-resolved",
        )
    real, imaginary = jacobian.createVecLeft(), jacobian.createVecLeft()
    modes = []
    for index in range(min(found, count)):
        factor = problem.getEigenpair(index, real, imaginary)
        rate = _rayleigh(jacobian, mass, real, imaginary)
        of_map = np.log(abs(factor)) / (STEP * STEPS)
        modes.append(Mode(kind, rate.real, abs(rate.imag) / (2 * np.pi), abs(rate.real - float(of_map))))
    for thing in (real, imaginary, problem, shell):
        thing.destroy()
    return modes


def _rayleigh(jacobian: PETSc.Mat, mass: PETSc.Mat, real: PETSc.Vec, imaginary: PETSc.Vec) -> complex:
    """λ = −⟨x, Jx⟩/⟨x, Mx⟩ with x = real + i·imaginary."""

    def form(matrix: PETSc.Mat) -> complex:
        product = real.duplicate()
        matrix.mult(real, product)
        parts = [product.dot(real), product.dot(imaginary)]
        matrix.mult(imaginary, product)
        parts += [product.dot(real), product.dot(imaginary)]
        product.destroy()
        return complex(parts[0] + parts[3], parts[2] - parts[1])

    return -form(jacobian) / form(mass)
