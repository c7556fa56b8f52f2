"""What the pressure inside gains where the pressures of outlets change in time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import ufl
from dolfinx import fem
from petsc4py import PETSc

from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.linear import KrylovSolver
from twin.flow.unknowns import TOLERANCE


class Lift:
    """For each outlet the harmonic field that is 1 there and 0 at the others, found when it is asked for.

    The step of the pressure has φ = 0 at outlets, so what they gain themselves must be in the pressure before it.
    Between two outlets of a channel such a field falls evenly: it is what drives the fluid there.
    """

    def __init__(self, domain: Domain, outlets: tuple[str, ...], pressures: fem.FunctionSpace) -> None:
        self._domain, self._outlets, self._pressures = domain, outlets, pressures
        self._fields: dict[str, np.ndarray] = {}

    def gain(self, changes: Mapping[str, float]) -> np.ndarray:
        """The change of the pressure for changes at some of the outlets, in ρU², with ghosts."""
        index = self._pressures.dofmap.index_map
        gained = np.zeros(index.size_local + index.num_ghosts)
        for name, change in changes.items():
            if name not in self._fields:
                self._fields[name] = self._solved(name)
            gained += change * self._fields[name]
        return gained

    def _solved(self, name: str) -> np.ndarray:
        domain, space = self._domain, self._pressures
        p, q = ufl.TrialFunction(space), ufl.TestFunction(space)
        matrix = _compat.assemble_matrix(compiled(ufl.inner(ufl.grad(p), ufl.grad(q)) * domain.dx()), [])
        field, right = fem.Function(space), fem.Function(space)
        for outlet in self._outlets:
            field.x.array[domain.dofs(space, outlet)] = float(outlet == name)
        index = space.dofmap.index_map
        held = np.unique(np.concatenate([domain.dofs(space, outlet) for outlet in self._outlets]))
        rows = (held[held < index.size_local] + index.local_range[0]).astype(PETSc.IntType)
        matrix.zeroRowsColumns(rows, 1.0, field.x.petsc_vec, right.x.petsc_vec)
        KrylovSolver(matrix, "cg", "hypre", f'the pressure of the outlet "{name}"', TOLERANCE)(
            right.x.petsc_vec, field.x.petsc_vec, 0.0
        )
        field.x.scatter_forward()
        return field.x.array.copy()
