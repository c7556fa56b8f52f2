"""Advection–diffusion on the grid: upwind discontinuous Galerkin of first degree with interior penalty.

The scheme conserves the species cell by cell, and the flux through every cut plane is exact. What it adds to the
physical diffusion is known in closed form, facet by facet: with s = c as the test function the upwind flux dissipates
½|w·n|[c]² on each facet. That is the numerical diffusion, and it is reported beside every result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.la import InsertMode

from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.linear import solve_transport

PENALTY = 10.0  # of the interior penalty; coercive for degree one on shape-regular tetrahedra
DEGREE = 4
_MOST_LOG = 20.0  # of the factor on the odds that gives back what the bounds have cut off


@dataclass(frozen=True)
class PlaneBudget:
    """What passes one plane, and what was dissipated since the plane before it. All in bore²·U and c of the inlet.

    `flux` is ∫ c w·n, `square_flux` is ∫ c² w·n, `flow` is ∫ w·n; `physical` is ∫ D|∇c|² and `numerical` what the
    scheme dissipated in its stead, both over the fluid between this plane and the one before it.
    """

    bores: float
    flow: float
    flux: float
    square_flux: float
    physical: float
    numerical: float


@dataclass(frozen=True)
class Concentration:
    """The field, 1 in the precursor stream and 0 in the antisolvent, and its budget plane by plane.

    The field keeps these bounds; `lowest` and `highest` say how far the scheme's own solution, of which the budget is,
    went beyond them.
    """

    field: fem.Function
    planes: list[PlaneBudget]
    lowest: float
    highest: float


class Transport:
    """Advection and diffusion of a passive species on one domain, for any velocity and Péclet number."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self._space = fem.functionspace(domain.mesh, ("DG", 1))
        self._cells = fem.functionspace(domain.mesh, ("DG", 0))

    def solve(self, velocity: fem.Function, peclet: float) -> Concentration:
        """The steady concentration in a divergence-free H(div) velocity at Pe = U·bore/D."""
        domain, w = self.domain, velocity
        c, s = ufl.TrialFunction(self._space), ufl.TestFunction(self._space)
        diffusivity = fem.Constant(domain.mesh, 1 / peclet)
        dx, dS = domain.dx(DEGREE), domain.dS(degree=DEGREE)
        n = ufl.FacetNormal(domain.mesh)
        left = (
            -c * ufl.dot(w, ufl.grad(s)) * dx
            + self._upwind(w, c) * ufl.jump(s) * dS
            + ufl.dot(w, n) * c * s * domain.ds("outlet", degree=DEGREE)
            + diffusivity * ufl.inner(ufl.grad(c), ufl.grad(s)) * dx
            + diffusivity * self._interior_penalty(c, s) * dS
        )
        right = -ufl.dot(w, n) * s * domain.ds("precursor", degree=DEGREE)
        field = fem.Function(self._space, name="concentration")
        solve_transport(left, right, field, "the concentration")
        lowest, highest = self._range(field)
        planes = self._budget(w, field, diffusivity)
        self._bound(field)
        return Concentration(field, planes, lowest, highest)

    def _upwind(self, w: Any, c: Any) -> Any:
        """The upwind flux of c through a facet, out of its + side."""
        out = ufl.dot(w("+"), ufl.FacetNormal(self.domain.mesh)("+"))
        return ufl.conditional(ufl.gt(out, 0), out * c("+"), out * c("-"))

    def _interior_penalty(self, c: Any, s: Any) -> Any:
        mesh = self.domain.mesh
        n = ufl.FacetNormal(mesh)
        size = (abs(ufl.JacobianDeterminant(mesh))) ** (1 / 3)
        mean = (size("+") + size("-")) / 2
        return (
            PENALTY / mean * ufl.jump(c) * ufl.jump(s)
            - ufl.dot(ufl.avg(ufl.grad(c)), ufl.jump(s, n))
            - ufl.dot(ufl.avg(ufl.grad(s)), ufl.jump(c, n))
        )

    def _budget(self, w: Any, c: fem.Function, diffusivity: fem.Constant) -> list[PlaneBudget]:
        domain = self.domain
        axis = self._outlet_axis()
        ends = sorted((self._position(name, axis), name) for name in (*domain.planes, "outlet"))
        physical, numerical = self._dissipation(w, c, diffusivity)
        position = self._cell_positions(axis)
        budgets, above = [], -np.inf
        for bores, name in ends:
            between = (position > above) & (position <= bores)
            sums = domain.comm.allreduce(np.array([physical[between].sum(), numerical[between].sum()]))
            flow, flux, square_flux = self._moments(w, c, name, axis)
            budgets.append(PlaneBudget(float(bores), flow, flux, square_flux, float(sums[0]), float(sums[1])))
            above = bores
        return budgets

    def _moments(self, w: Any, c: fem.Function, name: str, axis: np.ndarray) -> list[float]:
        """∫ w·n, ∫ c w·n and ∫ c² w·n through a plane, downstream, with c as it arrives there."""
        domain = self.domain
        n = ufl.FacetNormal(domain.mesh)
        if name == "outlet":
            out, ds = ufl.dot(w, n), domain.ds(name, degree=DEGREE)
            return [domain.integral(out * c**power * ds) for power in (0, 1, 2)]
        dS = domain.dS(name, degree=DEGREE)
        downstream, out = ufl.dot(w("+"), ufl.as_vector(axis.tolist())), ufl.dot(w("+"), n("+"))
        arriving = ufl.conditional(ufl.gt(out, 0), c("+"), c("-"))
        return [domain.integral(downstream * arriving**power * dS) for power in (0, 1, 2)]

    def _dissipation(self, w: Any, c: fem.Function, diffusivity: fem.Constant) -> tuple[np.ndarray, np.ndarray]:
        """Physical and numerical dissipation of ½c², per owned cell; a facet's share belongs downstream of it."""
        domain = self.domain
        q = ufl.TestFunction(self._cells)
        n = ufl.FacetNormal(domain.mesh)
        out = ufl.dot(w("+"), n("+"))
        behind = ufl.conditional(ufl.gt(out, 0), q("-"), q("+"))
        facet = abs(out) * ufl.jump(c) ** 2 / 2 + diffusivity * self._interior_penalty(c, c)
        numerical = self._per_cell(facet * behind * domain.dS(degree=DEGREE))
        for name, value in (("antisolvent", 0.0), ("precursor", 1.0)):
            enters = fem.Constant(domain.mesh, value)
            lost = abs(ufl.dot(w, n)) * (c - enters) ** 2 / 2
            numerical += self._per_cell(lost * q * domain.ds(name, degree=DEGREE))
        physical = diffusivity * ufl.inner(ufl.grad(c), ufl.grad(c)) * q * domain.dx(DEGREE)
        return self._per_cell(physical), numerical

    def _per_cell(self, form: Any) -> np.ndarray:
        vector = fem.assemble_vector(compiled(form))
        vector.scatter_reverse(InsertMode.add)
        return vector.array[: self._cells.dofmap.index_map.size_local].copy()

    def _outlet_axis(self) -> np.ndarray:
        """The unit vector in which the outlet leaves the fluid."""
        n, ds = ufl.FacetNormal(self.domain.mesh), self.domain.ds("outlet")
        normal = np.array([self.domain.integral(n[i] * ds) for i in range(3)])
        return normal / np.linalg.norm(normal)

    def _position(self, name: str, axis: np.ndarray) -> float:
        """How far along the axis the outlet or a cut plane lies, in bores from the mesh's origin."""
        domain = self.domain
        x, one = ufl.SpatialCoordinate(domain.mesh), fem.Constant(domain.mesh, 1.0)
        along = ufl.dot(x, ufl.as_vector(axis.tolist()))
        if name == "outlet":
            measure, height = domain.ds(name), along
        else:
            measure, height = domain.dS(name), along("+")
        return round(domain.integral(height * measure) / domain.integral(one * measure), 6)

    def _cell_positions(self, axis: np.ndarray) -> np.ndarray:
        """How far along the axis the middle of each owned cell lies, in bores."""
        owned = self._cells.dofmap.index_map.size_local
        return self._cells.tabulate_dof_coordinates()[:owned] @ axis

    def _bound(self, field: fem.Function) -> None:
        """Brings the field within 0 … 1 and keeps what it holds, so that pure liquid stays pure.

        Every vertex is cut off at the bounds; then the odds c/(1 − c) of all are multiplied by the one factor that
        gives back what this has added. So the mixed streams pay for the overshoots where they meet, by share, and not
        the arms; nor does a trace downstream, which a shift of all values would drown.
        """
        comm, owned = self.domain.comm, self._space.dofmap.index_map.size_local
        mass = fem.assemble_vector(compiled(ufl.TestFunction(self._space) * self.domain.dx(DEGREE))).array[:owned]
        values = field.x.array[:owned].copy()
        cut = np.clip(values, 0.0, 1.0)

        def bounded(log_factor: float) -> np.ndarray:
            more = np.exp(log_factor) * cut
            return more / (1.0 - cut + more)

        low, high = -_MOST_LOG, _MOST_LOG
        for _ in range(60):
            middle = (low + high) / 2
            excess = float(comm.allreduce(mass @ (bounded(middle) - values)))
            low, high = (middle, high) if excess < 0 else (low, middle)
        field.x.array[:owned] = bounded(high)
        field.x.scatter_forward()

    def _range(self, field: fem.Function) -> tuple[float, float]:
        owned = self._space.dofmap.index_map.size_local
        values = field.x.array[:owned]
        extremes = self.domain.comm.allgather((float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))))
        return min(low for low, _ in extremes), max(high for _, high in extremes)
