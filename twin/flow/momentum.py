"""The weak form of the momentum and mass balance that the steady and the stability solver share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ufl
from dolfinx import fem

from twin.fem.domain import Domain
from twin.flow.boundaries import Boundaries

QUADRATURE = 4
STREAMLINE = 0.5  # of the streamline-diffusion time; the usual size for second-degree elements
GRAD_DIV = 0.1


@dataclass(frozen=True)
class Fluid:
    """What the momentum balance needs of the fluid, in units of U, the bore and the antisolvent's density.

    `viscosity` is ν/(U·bore) = 1/Re for the antisolvent; `density` and `force` (of a unit volume) may vary with the
    concentration.
    """

    viscosity: Any
    density: Any = 1.0
    force: Any = None
    variable: bool = False


def metric(domain: Domain) -> Any:
    """The tensor G that measures lengths in elements: |ξ|² = x·G·x is 1 along an edge of a regular simplex.

    In a stretched element it tells the long direction from the short ones, and it does not depend on the order in which
    the vertices are numbered.
    """
    inverse = ufl.JacobianInverse(domain.mesh)
    dim = domain.dim
    regular = ufl.as_matrix([[1.0 if i == j else 0.5 for j in range(dim)] for i in range(dim)])
    return ufl.dot(ufl.transpose(inverse), ufl.dot(regular, inverse))


def momentum(
    domain: Domain,
    boundaries: Boundaries,
    u: Any,
    p: Any,
    v: Any,
    q: Any,
    fluid: Fluid,
    change: Any = None,
    rate: Any = None,
) -> Any:
    """The residual of the steady balance, or, with `change` = ∂u/∂t of a step of length 1/`rate`, of the unsteady one.

    Galerkin's terms, with two that vanish with the residual, so that they keep the order: streamline diffusion of the
    whole momentum residual, without which a mesh that is too coarse for the shear layers at high Re rings; and grad-div,
    which keeps mass cell by cell. At outlets the stress is the given pressure, and what flows back in through one
    brings no kinetic energy along (the directional do-nothing condition of Braack & Mucha 2014).
    """
    dx, n = domain.dx(QUADRATURE), ufl.FacetNormal(domain.mesh)
    nu, rho = fluid.viscosity, fluid.density
    acceleration = ufl.dot(ufl.grad(u), u) if change is None else change + ufl.dot(ufl.grad(u), u)
    inertia = rho * acceleration if fluid.force is None else rho * acceleration - fluid.force
    stress = nu * ufl.grad(u) if not fluid.variable else 2 * nu * ufl.sym(ufl.grad(u))
    galerkin = ufl.inner(inertia, v) + ufl.inner(stress, ufl.grad(v)) - p * ufl.div(v) - q * ufl.div(u)
    strong = inertia - ufl.div(stress) + ufl.grad(p)
    tau = streamline_time(domain, u, nu, rho, rate)
    residual = (galerkin + tau * ufl.inner(strong, ufl.dot(ufl.grad(v), u)) + GRAD_DIV * ufl.div(u) * ufl.div(v)) * dx
    back = ufl.min_value(ufl.dot(u, n), 0)
    traction = outlet_pressure(domain, boundaries) * n - rho * back / 2 * u
    if fluid.variable:  # parallel flow must leave freely, so the transposed part of the stress is taken out
        traction -= nu * ufl.dot(ufl.transpose(ufl.grad(u)), n)
    residual += ufl.inner(traction, v) * domain.ds(*boundaries.outlets, degree=QUADRATURE)
    return residual


def outlet_pressure(domain: Domain, boundaries: Boundaries) -> fem.Function:
    """The given pressure of each outlet, on the nodes of that outlet."""
    pressure = fem.Function(fem.functionspace(domain.mesh, ("Lagrange", 1)))
    for name, value in boundaries.outlets.items():
        pressure.x.array[domain.dofs(pressure.function_space, name)] = value
    return pressure


def streamline_time(domain: Domain, u: Any, nu: Any, rho: Any = 1.0, rate: Any = None) -> Any:
    """The time that streamline diffusion acts over: from advection through the element, or diffusion across it."""
    g = metric(domain)
    advection = 4 * ufl.dot(u, ufl.dot(g, u))
    diffusion = (36 * nu / rho) ** 2 * ufl.inner(g, g) / domain.dim
    rates = advection + diffusion if rate is None else advection + diffusion + 4 * rate**2
    return STREAMLINE / (rho * ufl.sqrt(rates))
