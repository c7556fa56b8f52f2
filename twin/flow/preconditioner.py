"""Newton's linear systems by a preconditioned Krylov method, in memory that grows with the unknowns and no faster.

The preconditioner is two steps, one after the other (docs/decisions/009-iterative-flow.md): the same flow on linear
elements, factored, for what is smooth; then, for what it leaves, symmetric Gauss–Seidel sweeps over the velocities at
the nodes (`gauss_seidel`), with the pressure's share of the Schur complement that grad-div makes simple.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from petsc4py import PETSc

from twin.errors import BadInput, NotConverged
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.flow.blocks import Balance, Blocks, Coarse
from twin.flow.boundaries import Boundaries
from twin.flow.gauss_seidel import GaussSeidel
from twin.flow.momentum import GRAD_DIV, Fluid

RESTART = 40  # each takes two vectors
MOST_ITERATIONS = 120
SWEEPS = 6  # of the smoother, each forwards and back
SAME = 0.02  # the state may move by this part of itself before the linear elements are factored again
LOOSEST, TIGHTEST = 1e-2, 1e-8


class IterativeSolver:
    """Solves with the Jacobian of `momentum` at the state of the last `update`. In place of a direct solver.

    `counts` holds the iterations of each solve, `history` the residual norms of the last one.
    """

    def __init__(
        self,
        domain: Domain,
        boundaries: Boundaries,
        space: fem.FunctionSpace,
        fluid: Fluid,
        change: Callable[[Any], Any] | None = None,
        rate: Any = None,
        what: str = "the flow",
        enough: float = 0.0,
    ) -> None:
        """`space` is the mixed one; `change` gives ∂u/∂t of a velocity. A residual of norm `enough` ends a solve."""
        if not boundaries.outlets:
            raise BadInput("the iterative flow solver needs an outlet", "name one: the pressure needs its level")
        self._what, self._enough = what, enough
        balance = Balance(domain, boundaries, fluid, change, rate)
        self._blocks = Blocks(balance, space)
        self._coarse = Coarse(balance, self._blocks)
        self._smoother = _Smoother(balance, self._blocks)
        self._right, self._into = self._blocks.vector(), self._blocks.vector()
        self._ksp = PETSc.KSP().create(domain.comm)
        self._ksp.setOperators(self._blocks.matrix)
        self._ksp.setType("fgmres")
        self._ksp.setGMRESRestart(RESTART)
        self._ksp.setConvergenceHistory(MOST_ITERATIONS + 1, reset=True)
        pc = self._ksp.getPC()
        pc.setType("python")
        pc.setPythonContext(_TwoSteps(self._blocks, self._coarse, self._smoother))
        self._before = 0.0
        self.counts: list[int] = []
        self.history: list[float] = []

    def update(self, state: fem.Function) -> None:
        """Assembles at `state`, and factors the coarse flow anew where the state or a constant has moved."""
        self._blocks.update(state)
        self._smoother.update()
        self._coarse.update(SAME)

    def solve(self, right: PETSc.Vec, into: PETSc.Vec, tolerance: float | None = None) -> None:
        """Solves for a right-hand side of the mixed space; raises `NotConverged` with the history of the residual.

        Without a `tolerance`, relative to the right-hand side, it follows Newton's own progress (Eisenstat & Walker
        1996): a solve is as exact as the last step was good.
        """
        norm = right.norm()
        if tolerance is None:
            progress = norm / self._before if self._before > 0 else np.inf
            tolerance = float(np.clip(0.9 * progress**2, TIGHTEST, LOOSEST)) if progress < 1 else LOOSEST
            self._before = norm
        self._ksp.setTolerances(rtol=tolerance, atol=self._enough / 2, divtol=1e6, max_it=MOST_ITERATIONS)
        self._blocks.split(right, self._right)
        self._ksp.solve(self._right, self._into)
        self.counts.append(self._ksp.getIterationNumber())
        self.history = [float(value) for value in self._ksp.getConvergenceHistory()]
        if self._ksp.getConvergedReason() < 0:
            tail = ", ".join(f"{value:.1e}" for value in self.history[:: max(1, len(self.history) // 6)])
            raise NotConverged(
                f"the iterative solver of {self._what} stopped after {self.counts[-1]} iterations, short of"
                f" {tolerance * norm:.1e} (residuals {tail})",
                "use smaller steps in Re, a finer level, or the direct solver where its memory suffices",
            )
        self._blocks.join(self._into, into)

    def memory(self) -> dict[str, float]:
        """Megabytes of what is held, over all ranks, by accounting."""
        dofs = self._right.getSize()
        factor_entries, mumps = self._coarse.memory()
        return {
            "matrix": self._blocks.megabytes(),
            "smoother": self._smoother.megabytes(),
            "Krylov vectors": 2 * RESTART * dofs * 8e-6,
            "factors": factor_entries * 8e-6,
            "MUMPS": float(mumps),
        }

    def destroy(self) -> None:
        """Frees everything of PETSc's, on all ranks at once."""
        for thing in (self._ksp, self._right, self._into):
            thing.destroy()
        for part in (self._smoother, self._coarse, self._blocks):
            part.destroy()


class _Smoother:
    """What the linear elements leave: node-wise Gauss–Seidel for velocity, a weighted mass matrix for pressure."""

    def __init__(self, balance: Balance, blocks: Blocks) -> None:
        comm = balance.domain.comm
        p, q = ufl.TrialFunction(blocks.pressures), ufl.TestFunction(blocks.pressures)
        # grad-div and viscosity act on the divergence alike, so the Schur complement is a mass matrix over their sum
        self._form = compiled(p * q / (GRAD_DIV + balance.fluid.viscosity) * balance.domain.dx(3))
        self._mass = petsc.create_matrix(self._form)
        self._pressure = PETSc.KSP().create(comm)
        self._pressure.setOperators(self._mass)
        self._pressure.setType("cg")
        self._pressure.setNormType(PETSc.KSP.NormType.NONE)
        self._pressure.setTolerances(max_it=5)
        self._pressure.getPC().setType("jacobi")
        self._velocity = GaussSeidel(blocks.velocity, SWEEPS)
        self._gradient = blocks.gradient

    def update(self) -> None:
        self._mass.zeroEntries()
        petsc.assemble_matrix(self._mass, self._form)
        self._mass.assemble()
        self._velocity.update()

    def solve(self, ru: PETSc.Vec, rp: PETSc.Vec, zu: PETSc.Vec, zp: PETSc.Vec, work: PETSc.Vec) -> None:
        self._pressure.solve(rp, zp)
        zp.scale(-1.0)
        self._gradient.mult(zp, work)
        work.aypx(-1.0, ru)
        self._velocity.solve(work, zu)

    def megabytes(self) -> float:
        return self._velocity.megabytes()

    def destroy(self) -> None:
        for thing in (self._pressure, self._mass):
            thing.destroy()


class _TwoSteps:
    """The preconditioner, as PETSc calls it."""

    def __init__(self, blocks: Blocks, coarse: Coarse, smoother: _Smoother) -> None:
        self._blocks, self._coarse, self._smoother = blocks, coarse, smoother
        self._residual, self._step = blocks.vector(), blocks.vector()
        self._work = self._residual.getNestSubVecs()[0].duplicate()

    def apply(self, _: PETSc.PC, right: PETSc.Vec, into: PETSc.Vec) -> None:
        self._coarse.solve(right, into)
        self._blocks.matrix.mult(into, self._residual)
        self._residual.aypx(-1.0, right)
        (ru, rp), (zu, zp) = self._residual.getNestSubVecs(), self._step.getNestSubVecs()
        self._smoother.solve(ru, rp, zu, zp, self._work)
        into.axpy(1.0, self._step)

    def destroy(self, _: PETSc.PC) -> None:
        for thing in (self._residual, self._step, self._work):
            thing.destroy()
