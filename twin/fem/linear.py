"""Sparse direct solves: one recipe, one place where failure becomes an error."""

from __future__ import annotations

from typing import Any

from dolfinx import fem
from dolfinx.fem import petsc
from petsc4py import PETSc

from twin.errors import NotConverged
from twin.fem import _compat
from twin.fem.forms import compiled


class DirectSolver:
    """The LU factors of a matrix by MUMPS, kept for many right-hand sides. Use as a context manager."""

    def __init__(self, matrix: PETSc.Mat, what: str) -> None:
        self._what = what
        self._matrix = matrix
        self._ksp = PETSc.KSP().create(matrix.comm)
        self._ksp.setOperators(matrix)
        self._ksp.setType("preonly")
        pc = self._ksp.getPC()
        pc.setType("lu")
        pc.setFactorSolverType("mumps")
        pc.setFactorSetUpSolverType()
        pc.getFactorMatrix().setMumpsIcntl(14, 60)  # room for pivoting, in per cent

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
            raise NotConverged(f"the direct solver failed in {self._what} (PETSc reason {reason})")

    def __enter__(self) -> DirectSolver:
        return self

    def __exit__(self, *_: Any) -> None:
        self._ksp.destroy()
        self._matrix.destroy()


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
