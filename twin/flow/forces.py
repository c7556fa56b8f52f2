"""The force of the fluid on a boundary, from the weak form instead of a surface integral of stresses."""

from __future__ import annotations

from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh

from twin.errors import BadInput
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.flow.boundaries import Boundaries
from twin.flow.momentum import outlet_pressure

DEGREE = 6  # of the quadrature: the force shall not add an error of its own


class Force:
    """The force of a pair of fields on one boundary, as often as they change.

    −R(v) of the weak form, with v = e_i at the boundary's nodes and zero at all others: what holds the boundary's
    velocity is what the fluid exerts. It converges at twice the rate of the stresses at the wall (Babuška & Miller
    1984; John & Matthies 2001). Where nodes are shared with another boundary, so is the force at them.

    `change` is ∂u/∂t of an unsteady flow. `boundaries` are needed only where `name` touches an outlet. The stabilizing
    terms of the steady solver are left out: they vanish with the residual.
    """

    def __init__(
        self,
        domain: Domain,
        velocity: fem.Function,
        pressure: fem.Function,
        reynolds: float,
        name: str,
        change: Any = None,
        boundaries: Boundaries | None = None,
    ) -> None:
        if not reynolds > 0:
            raise BadInput(f"the Reynolds number is {reynolds:g}", "give a positive one")
        space = velocity.function_space
        self._domain, self._dofs = domain, domain.dofs(space, name)
        v = ufl.TestFunction(space)
        nu = fem.Constant(domain.mesh, 1 / reynolds)
        self._form = compiled(self._galerkin(velocity, pressure, v, nu, change, boundaries or Boundaries({}, {}, {})))

    def now(self) -> np.ndarray:
        """The force, (dim,), in ρU²·bore² (in 2-D ρU²·bore), at what the fields are now."""
        dim = self._domain.dim
        held = fem.assemble_vector(self._form).array.reshape(-1, dim)[self._dofs].sum(axis=0)
        return -np.asarray(self._domain.comm.allreduce(held))

    def _galerkin(self, u: Any, p: Any, v: Any, nu: Any, change: Any, boundaries: Boundaries) -> Any:
        domain, n = self._domain, ufl.FacetNormal(self._domain.mesh)
        inertia = ufl.dot(ufl.grad(u), u)
        if change is not None:
            inertia += change
        density = ufl.inner(inertia, v) + nu * ufl.inner(ufl.grad(u), ufl.grad(v)) - p * ufl.div(v)
        form = density * self._near(u.function_space)
        if boundaries.outlets:
            back = ufl.min_value(ufl.dot(u, n), 0)
            traction = outlet_pressure(domain, boundaries) * n - back / 2 * u
            form += ufl.inner(traction, v) * domain.ds(*boundaries.outlets, degree=DEGREE)
        return form

    def _near(self, space: fem.FunctionSpace) -> ufl.Measure:
        """The measure over the cells that have a node on the boundary: the others do not matter."""
        mesh, dim = self._domain.mesh, self._domain.dim
        on = np.zeros(space.dofmap.index_map.size_local + space.dofmap.index_map.num_ghosts, dtype=bool)
        on[self._dofs] = True
        owned = mesh.topology.index_map(dim).size_local
        cells = np.flatnonzero(on[space.dofmap.list[:owned]].any(axis=1)).astype(np.int32)
        marked = dmesh.meshtags(mesh, dim, cells, np.ones_like(cells))
        return ufl.Measure("dx", mesh, subdomain_data=marked, metadata={"quadrature_degree": DEGREE})(1)


def force_on(
    domain: Domain,
    velocity: fem.Function,
    pressure: fem.Function,
    reynolds: float,
    name: str,
    change: Any = None,
    boundaries: Boundaries | None = None,
) -> np.ndarray:
    """The force of the fluid on a named boundary, (dim,), in ρU²·bore²; see `Force`."""
    return Force(domain, velocity, pressure, reynolds, name, change, boundaries).now()
