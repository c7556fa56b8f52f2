"""Whether a steady flow stays steady: the leading eigenvalues of the flow linearised about it.

A disturbance x(t) of velocity and pressure obeys M ẋ = −J x, with the Jacobian J and the mass matrix M of the steady
solver's own weak form. It grows as exp(λt) with J x = −λ M x. Arnoldi's method is given S = (M + J/σ)⁻¹ M, whose
eigenvalues are s = 1/(1 − λ/σ): one matrix is factored, once, and each vector takes one solve. With σ > 0 all that
decays comes to lie in the disc |s − ½| < ½, and what is near its onset on the rim, whatever its frequency; the rim is
what Arnoldi's method finds first. It goes on without a restart until the mode that grows fastest stands still. An
estimate that has not settled yet is as likely to grow too fast as too slowly, so that nothing ends before it has.

On a half junction, the modes of the whole one are those that mirror themselves and those that change sign in the mirror
plane: the second kind has its own conditions on the plane (no tangential velocity, no pressure). Together they say all
that a whole mesh would, as long as the steady flow itself is symmetric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from twin.errors import NotConverged
from twin.fem import _compat
from twin.fem.forms import compiled
from twin.fem.linear import DirectSolver
from twin.flow.boundaries import mirror_axis
from twin.flow.momentum import momentum
from twin.flow.steady import SteadySolver

Kind = Literal["symmetric", "antisymmetric", "any"]

SHIFT = 2.0  # σ in U/bore, of the order of the frequencies 2πf at which jets and wakes shed
FASTEST = 20.0  # |1 − λ/σ| of a mode that matters; what the method says of faster ones is noise
BETWEEN = 20  # vectors from one look at the eigenvalues to the next
MOST_VECTORS = 500  # of velocity and pressure, in memory
KICK = 0.5  # the largest speed of a disturbance that leaves an unstable flow, in U
LEAP, LONGEST_LEAP = 0.25, 3.0  # of its steps: growth times step, and bore/U
AT_REST = 2e-3  # change of its size in a step
MOST_LEAPS = 100
TOLERANCE = 1e-4  # of λ in U/bore: its residual, and its change from one look to the next


@dataclass(frozen=True)
class Mode:
    """A mode of a disturbance: `growth` Re λ and `frequency` Im λ/2π in U/bore, and the error of the eigenpair.

    `error`, in U/bore, is the residual of the mode or the change of λ over the last `BETWEEN` vectors, whichever is
    larger. It is that of the eigenvalue problem; the mesh's own is not in it.
    """

    kind: Kind
    growth: float
    frequency: float
    error: float
    #: Its real part: what the solver's state would gain, on the entries that this rank owns. Its size means nothing.
    shape: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-like data."""
        return {"kind": self.kind, "growth": self.growth, "frequency": self.frequency, "error": self.error}


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


class _Shifted:
    """S = (M + J/σ)⁻¹ M, on the entries of this rank. Use as a context manager."""

    def __init__(self, jacobian: PETSc.Mat, mass: PETSc.Mat) -> None:
        matrix = jacobian.copy()
        matrix.scale(1 / SHIFT)
        matrix.axpy(1.0, mass, structure=PETSc.Mat.Structure.SUBSET_NONZERO_PATTERN)
        self._mass, self._solver = mass, DirectSolver(matrix, "the stability of the flow")
        self._of, self._right, self._result = (mass.createVecLeft() for _ in range(3))

    def __call__(self, of: np.ndarray) -> np.ndarray:
        """S times the vector whose part here is `of`."""
        self._of.array[:] = of
        self._mass.mult(self._of, self._right)
        self._solver.solve(self._right, self._result)
        return np.array(self._result.array)

    def __enter__(self) -> _Shifted:
        return self

    def __exit__(self, *_: Any) -> None:
        self._solver.__exit__()
        for vector in (self._of, self._right, self._result):
            vector.destroy()


def _krylov(
    apply: Callable[[np.ndarray], np.ndarray], begin: np.ndarray, comm: MPI.Comm
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Arnoldi's method: for each size m up to `MOST_VECTORS` its vectors (m, entries here) and Hessenberg matrix
    (m + 1, m).
    """

    def norm(vector: np.ndarray) -> float:
        return float(np.sqrt(comm.allreduce(vector @ vector)))

    basis = np.empty((MOST_VECTORS + 1, len(begin)))  # pages that are never written take no memory
    whole = np.zeros((MOST_VECTORS + 1, MOST_VECTORS))
    first = apply(begin)  # takes away what boundary conditions hold
    basis[0] = first / norm(first)
    for last in range(MOST_VECTORS):
        next_one, known = apply(basis[last]), basis[: last + 1]
        for _ in range(2):  # classical Gram–Schmidt, twice: orthogonal to rounding
            share = comm.allreduce(known @ next_one)
            next_one -= share @ known
            whole[: last + 1, last] += share
        length = norm(next_one)
        whole[last + 1, last] = length
        basis[last + 1] = next_one / length
        yield known, whole[: last + 2, : last + 1]


@dataclass(frozen=True)
class _Estimate:
    """λ in U/bore, its residual, and the coefficients (m,) of its vector."""

    rate: complex
    residual: float
    vector: np.ndarray


def _estimates(hessenberg: np.ndarray) -> list[_Estimate]:
    """Those of S's Hessenberg matrix (m + 1, m), fastest growth first; of a pair the one with Im λ ≥ 0."""
    images, vectors = np.linalg.eig(hessenberg[:-1])
    slow = (np.abs(images) > 1 / FASTEST) & (images.imag >= 0)  # Im s has the sign of Im λ
    found = [
        _Estimate(
            complex(SHIFT * (1 - 1 / image)),
            float(SHIFT / abs(image) ** 2 * abs(hessenberg[-1, -1] * vector[-1])),
            vector,
        )
        for image, vector in zip(images[slow], vectors.T[slow], strict=True)
    ]
    return sorted(found, key=lambda estimate: -estimate.rate.real)


def _eigenvalues(jacobian: PETSc.Mat, mass: PETSc.Mat, begin: PETSc.Vec, kind: Kind, count: int) -> list[Mode]:
    before: list[complex] = []
    with _Shifted(jacobian, mass) as apply:
        for basis, hessenberg in _krylov(apply, begin.array, jacobian.comm.tompi4py()):
            if len(basis) % BETWEEN:
                continue
            found = _estimates(hessenberg)[:count]
            errors = [max(one.residual, abs(one.rate - old)) for one, old in zip(found, before, strict=False)]
            if len(errors) == count and max(errors) < TOLERANCE:
                return [
                    Mode(kind, one.rate.real, one.rate.imag / (2 * np.pi), error, one.vector.real @ basis)
                    for one, error in zip(found, errors, strict=True)
                ]
            before = [one.rate for one in found]
    raise NotConverged(
        f"the leading {kind} eigenvalues did not converge with {MOST_VECTORS} vectors",
        "use a finer level: the flow may be under-resolved",
    )


def follow(solver: SteadySolver, mode: Mode) -> None:
    """Takes the solver from its unstable state to the steady flow that a mode which only grows leads to.

    Steps of implicit Euler, each `LEAP` of the time in which the mode grows e-fold, until the disturbance stands still;
    then Newton. The mode must be one of the solver's own mesh: one that changes sign in a mirror plane leads to a flow
    that a half can't hold. Raises `NotConverged` where the flow does not come to rest, or comes back: the state is then
    that of before.
    """
    first = solver.state.x.array.copy()
    try:
        _follow(solver, mode, first)
    except NotConverged:
        solver.state.x.array[:] = first
        raise


def _follow(solver: SteadySolver, mode: Mode, first: np.ndarray) -> None:
    comm = solver.domain.comm
    here = np.zeros_like(first)
    here[: len(mode.shape)] = mode.shape
    here[~solver.is_velocity] = 0.0
    largest = comm.allreduce(float(np.abs(here).max(initial=0.0)), op=MPI.MAX)
    shape = here / largest
    square = comm.allreduce(float(shape[: len(mode.shape)] @ shape[: len(mode.shape)]))

    def size() -> float:
        gained = (solver.state.x.array - first)[: len(mode.shape)]
        return float(comm.allreduce(float(shape[: len(mode.shape)] @ gained)) / square)

    solver.state.x.array[:] += KICK * shape
    solver.state.x.scatter_forward()
    sizes = [KICK]
    while len(sizes) < MOST_LEAPS:
        solver.advance(min(LEAP / mode.growth, LONGEST_LEAP))
        sizes.append(size())
        if abs(sizes[-1] - sizes[-2]) < AT_REST * abs(sizes[-1]):
            break
    solver.polish()
    if not abs(size()) > KICK / 10:
        raise NotConverged(
            "the disturbance that grows leads back to the flow that it left", "march in time: the flow may be unsteady"
        )
