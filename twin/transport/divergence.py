"""A velocity without divergence, from one that is divergence-free only on average."""

from __future__ import annotations

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.linear import solve_linear


def divergence_free(domain: Domain, velocity: fem.Function) -> fem.Function:
    """The velocity in BDM1 with zero divergence in every cell and zero flux through walls and mirror planes.

    The interpolant I u keeps the mean flux through each facet; the lowest-order Raviart–Thomas field r of least L²
    norm with div r = div I u, and no flux through any boundary but the outlet, takes the rest away: w = I u − r. Both
    spaces map by Piola's rule, so the divergence vanishes at every point of curved cells too.
    """
    mesh, cell = domain.mesh, domain.mesh.basix_cell()
    smooth = fem.functionspace(mesh, basix.ufl.element("BDM", cell, 1))
    result = fem.Function(smooth)
    result.interpolate(velocity)

    flux = basix.ufl.element("RT", cell, 1)
    constant = basix.ufl.element("DG", cell, 0)
    mixed = fem.functionspace(mesh, basix.ufl.mixed_element([flux, constant]))
    r, multiplier = ufl.TrialFunctions(mixed)
    v, q = ufl.TestFunctions(mixed)
    dx = domain.dx(3)
    left = (ufl.inner(r, v) - multiplier * ufl.div(v) - q * ufl.div(r)) * dx
    right = -q * ufl.div(result) * dx
    fluxes, _ = mixed.sub(0).collapse()
    none = fem.Function(fluxes)
    closed = [name for name in domain.tags if name != "outlet" and not name.startswith("plane_")]
    conditions = [fem.dirichletbc(none, domain.dofs((mixed.sub(0), fluxes), name), mixed.sub(0)) for name in closed]
    solution = fem.Function(mixed)
    solve_linear(left, right, solution, conditions, "the divergence correction")
    correction = fem.Function(smooth)
    correction.interpolate(solution.sub(0).collapse())
    result.x.array[:] -= correction.x.array
    return result


def largest_divergence(domain: Domain, velocity: fem.Function) -> float:
    """The largest net flux out of a cell, per cell volume, in U per bore."""
    constants = fem.functionspace(domain.mesh, ("DG", 0))
    q = ufl.TestFunction(constants)
    flux = fem.assemble_vector(compiled(q * ufl.div(velocity) * domain.dx(3)))
    volume = fem.assemble_vector(compiled(q * domain.dx(3)))
    owned = constants.dofmap.index_map.size_local
    worst = float(np.max(np.abs(flux.array[:owned]) / volume.array[:owned], initial=0.0))
    return float(domain.comm.allreduce(worst, op=MPI.MAX))
