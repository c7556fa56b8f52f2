"""Sparse linear systems: one recipe for each kind, one place where failure becomes an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from dolfinx import fem
from dolfinx.fem import petsc
from petsc4py import PETSc

from twin.errors import NotConverged
from twin.fem import _compat
from twin.fem.forms import compiled

_KRYLOV = 100  # vectors that GMRES keeps
MOST_BALANCE = 500
MOST_ITERATIONS = 500  # of a `KrylovSolver`
_DIVERGED = {
    PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT: "no convergence",
    PETSc.KSP.ConvergedReason.DIVERGED_DTOL: "the residual grew",
    PETSc.KSP.ConvergedReason.DIVERGED_BREAKDOWN: "the iteration broke down",
    PETSc.KSP.ConvergedReason.DIVERGED_NANORINF: "NaN or infinite values",
}


class DirectSolver:
    """The LU factors of a matrix by MUMPS, kept for many right-hand sides. Use as a context manager."""

    def __init__(self, matrix: PETSc.Mat, what: str) -> None:
        self._what = what
        self._matrix = matrix
        self._ksp = self._factors()

    def _factors(self) -> PETSc.KSP:
        ksp = PETSc.KSP().create(self._matrix.comm)
        ksp.setOperators(self._matrix)
        ksp.setType("preonly")
        pc = ksp.getPC()
        pc.setType("lu")
        pc.setFactorSolverType("mumps")
        pc.setFactorSetUpSolverType()
        pc.getFactorMatrix().setMumpsIcntl(14, 60)  # room for pivoting, in per cent
        return ksp

    def matrix_changed(self) -> None:
        """Says that the matrix has new entries in its old pattern: the next solve factors them, but does not order the
        unknowns again, which is half of the work.
        """
        self._ksp.setOperators(self._matrix)

    def solve(self, right: PETSc.Vec, into: PETSc.Vec) -> None:
        """Solves for one right-hand side; raises `NotConverged` where the factorization or the solve broke down."""
        self._ksp.solve(right, into)
        reason = self._ksp.getConvergedReason()
        if reason < 0:
            self._ksp.destroy()
            self._ksp = self._factors()  # MUMPS can't go on from factors that broke down, whatever the matrix is then
            raise NotConverged(f"the direct solver failed in {self._what} (PETSc reason {reason})")

    def __enter__(self) -> DirectSolver:
        return self

    def __exit__(self, *_: Any) -> None:
        self._ksp.destroy()
        self._matrix.destroy()


class SpdSolver:
    """Conjugate gradients with algebraic multigrid, to rounding error. Owns the matrix. Use as a context manager."""

    def __init__(self, matrix: PETSc.Mat, what: str) -> None:
        self._what = what
        self._matrix = matrix
        self._ksp = PETSc.KSP().create(matrix.comm)
        self._ksp.setOperators(matrix)
        self._ksp.setType("cg")
        self._ksp.getPC().setType("hypre")
        self._ksp.setTolerances(rtol=1e-13, atol=1e-30, max_it=200)

    def solve(self, right: PETSc.Vec, into: PETSc.Vec) -> None:
        """Solves for one right-hand side; raises `NotConverged` where 200 iterations do not suffice."""
        self._ksp.solve(right, into)
        if (reason := self._ksp.getConvergedReason()) < 0:
            raise NotConverged(f"conjugate gradients failed in {self._what} (PETSc reason {reason})")

    def __enter__(self) -> SpdSolver:
        return self

    def __exit__(self, *_: Any) -> None:
        self._ksp.destroy()
        self._matrix.destroy()


class KrylovSolver:
    """An iterative solve of many right-hand sides that either reaches its tolerance or raises `NotConverged`.

    `method` and `preconditioner` are PETSc's names. Its `matrix` may change between solves.
    """

    def __init__(
        self,
        matrix: PETSc.Mat,
        method: str,
        preconditioner: str,
        what: str,
        tolerance: float,
        unpreconditioned: bool = False,
    ) -> None:
        self.matrix, self._what, self._tolerance = matrix, what, tolerance
        self._ksp = PETSc.KSP().create(matrix.comm)
        self._ksp.setType(method)
        self._ksp.getPC().setType(preconditioner)
        self._ksp.setInitialGuessNonzero(True)
        if unpreconditioned:
            self._ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        if preconditioner == "hypre":
            self._ksp.getPC().setHYPREType("boomeramg")

    def __call__(self, right: PETSc.Vec, into: PETSc.Vec, floor: float) -> None:
        """Solves from the guess that is in `into`, until the residual is small against `right`, or below `floor`."""
        self._ksp.setTolerances(rtol=self._tolerance, atol=max(floor, 1e-300), max_it=MOST_ITERATIONS)
        self._ksp.setOperators(self.matrix)
        self._ksp.solve(right, into)
        if (reason := self._ksp.getConvergedReason()) < 0:
            words, count = _DIVERGED.get(reason, f"PETSc reason {reason}"), self._ksp.getIterationNumber()
            raise NotConverged(f"{self._what} was not solved: {words} after {count} iterations")


def solve_balance(matrix: scipy.sparse.csr_matrix, right: np.ndarray, enough: float, what: str) -> np.ndarray:
    """Solves a positive system of one number a cell, as a graph's Laplacian is, to a residual of norm `enough`.

    On this rank alone, and the same on all: conjugate gradients with algebraic multigrid (smoothed aggregation), which
    need some twenty iterations where the diagonal needs two thousand. Raises `NotConverged` after `MOST_BALANCE`.
    """
    csr = matrix.indptr.astype(PETSc.IntType), matrix.indices.astype(PETSc.IntType), matrix.data
    system = PETSc.Mat().createAIJ(matrix.shape, csr=csr, comm=PETSc.COMM_SELF)
    ksp = PETSc.KSP().create(PETSc.COMM_SELF)
    ksp.setOperators(system)
    ksp.setType("cg")
    ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
    ksp.getPC().setType("gamg")
    ksp.setTolerances(rtol=0.0, atol=enough, max_it=MOST_BALANCE)
    result = np.zeros(len(right))
    vectors = [PETSc.Vec().createWithArray(array, comm=PETSc.COMM_SELF) for array in (np.array(right), result)]
    ksp.solve(*vectors)
    reason, left_over = ksp.getConvergedReason(), ksp.getResidualNorm()
    for thing in (*vectors, ksp, system):
        thing.destroy()
    if reason < 0:
        message = f"multigrid stopped in {what} with a residual of {left_over:.1e}, short of {enough:.1e}"
        raise NotConverged(message, "mesh the geometry anew")
    return result


def solve_transport(left: Any, right: Any, into: fem.Function, what: str) -> None:
    """Assembles and solves ``left == right`` of upwind advection with a little diffusion, into a function.

    Where the flow goes one way incomplete factors are all but exact, so GMRES with those of each rank's own part takes
    some ten to a hundred iterations: on 33,000 cells a hundredth of the time of MUMPS, and of its memory. The residual
    goes to 1e-10 of the right-hand side; raises `NotConverged` where it does not.
    """
    matrix = _compat.assemble_matrix(compiled(left), [])
    vector = into.x.petsc_vec.duplicate()
    _compat.zero_entries(vector)
    petsc.assemble_vector(vector, compiled(right))
    vector.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
    ksp = PETSc.KSP().create(matrix.comm)
    ksp.setOperators(matrix)
    ksp.setType("gmres")
    ksp.setGMRESRestart(_KRYLOV)
    ksp.setPCSide(PETSc.PC.Side.RIGHT)
    ksp.setTolerances(rtol=1e-10, max_it=2000)
    ksp.getPC().setType("asm")
    ksp.setUp()
    for part in ksp.getPC().getASMSubKSP():
        part.getPC().setType("ilu")
        part.getPC().setFactorLevels(1)
        part.getPC().setFactorOrdering("rcm")
    ksp.solve(vector, into.x.petsc_vec)
    reason, left_over = ksp.getConvergedReason(), ksp.getResidualNorm()
    for thing in (ksp, vector, matrix):
        thing.destroy()
    if reason < 0:
        raise NotConverged(f"GMRES stopped in {what} with a residual of {left_over:.1e} (PETSc reason {reason})")
    into.x.scatter_forward()


def solve_linear(left: Any, right: Any, into: fem.Function, bcs: list[Any], what: str) -> None:
    """Assembles and solves ``left == right`` once, with Dirichlet conditions, into a function."""
    left, right = compiled(left), compiled(right)
    with DirectSolver(_compat.assemble_matrix(left, bcs), what) as solver:
        vector = into.x.petsc_vec.duplicate()
        _compat.zero_entries(vector)
        petsc.assemble_vector(vector, right)
        petsc.apply_lifting(vector, [left], bcs=[bcs])
        vector.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        petsc.set_bc(vector, bcs)
        solver.solve(vector, into.x.petsc_vec)
        vector.destroy()
    into.x.scatter_forward()
