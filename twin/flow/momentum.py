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

    `viscosity` is µ, 1/Re for the antisolvent; `density` and `force` (of a unit volume, over the antisolvent's weight)
    may vary in space. Where the viscosity does, `excess` is µ less a constant, best the least µ: see `momentum`.
    """

    viscosity: Any
    density: Any = 1.0
    force: Any = None
    excess: Any = None


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
    whole momentum residual, without which a mesh that is too coarse for the shear layers at high Re rings; and
    grad-div, which keeps mass cell by cell. At outlets the stress is the given pressure, and what flows back in through
    one brings no kinetic energy along (the directional do-nothing condition of Braack & Mucha 2014).

    The stress is µ∇u + (µ − µ₀)∇uᵀ, with the constant µ₀ left out of the transposed part, where ∇·u = 0 makes it
    nothing. So a uniform µ₀ gives the balance of a uniform fluid to the last digit, and the form stays coercive without
    Korn's inequality for µ ≥ µ₀.
    """
    dx, n = domain.dx(QUADRATURE), ufl.FacetNormal(domain.mesh)
    nu, rho = fluid.viscosity, fluid.density
    acceleration = ufl.dot(ufl.grad(u), u) if change is None else change + ufl.dot(ufl.grad(u), u)
    inertia = rho * acceleration if fluid.force is None else rho * acceleration - fluid.force
    stress = nu * ufl.grad(u)
    if fluid.excess is not None:
        stress += fluid.excess * ufl.transpose(ufl.grad(u))
    galerkin = ufl.inner(inertia, v) + ufl.inner(stress, ufl.grad(v)) - p * ufl.div(v) - q * ufl.div(u)
    strong = inertia - ufl.div(stress) + ufl.grad(p)
    tau = streamline_time(domain, u, nu, rho, rate)
    residual = (galerkin + tau * ufl.inner(strong, ufl.dot(ufl.grad(v), u)) + GRAD_DIV * ufl.div(u) * ufl.div(v)) * dx
    if not boundaries.outlets:
        return residual
    back = ufl.min_value(ufl.dot(u, n), 0)
    traction = outlet_pressure(domain, boundaries) * n - rho * back / 2 * u
    if fluid.excess is not None:  # parallel flow must leave freely, so the transposed part of the stress is taken out
        traction -= fluid.excess * ufl.dot(ufl.transpose(ufl.grad(u)), n)
    return residual + ufl.inner(traction, v) * domain.ds(*boundaries.outlets, degree=QUADRATURE)


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
