"""A velocity without divergence, from one that is divergence-free only on average."""

from __future__ import annotations

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from mpi4py import MPI

from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.linear import SpdSolver


def divergence_free(domain: Domain, velocity: fem.Function) -> fem.Function:
    """The velocity in BDM1 with zero divergence in every cell and zero flux through walls and mirror planes.

    The interpolant I u keeps the mean flux through each facet; a lowest-order Raviart–Thomas field r with div r =
    div I u, and no flux through any boundary but the outlet, takes the rest away: w = I u − r. Of all such fields r has
    the least norm, that of the mass matrix' diagonal: then one number a cell is to be found, from a positive matrix
    like that of a Poisson problem. Both spaces map by Piola's rule, so the divergence vanishes at every point of curved
    cells too. Raises `NotConverged` where the numbers are not found.
    """
    mesh, cell = domain.mesh, domain.mesh.basix_cell()
    smooth = fem.functionspace(mesh, basix.ufl.element("BDM", cell, 1))
    result = fem.Function(smooth)
    result.interpolate(velocity)

    fluxes = fem.functionspace(mesh, basix.ufl.element("RT", cell, 1))
    r, v = ufl.TrialFunction(fluxes), ufl.TestFunction(fluxes)
    q = ufl.TestFunction(fem.functionspace(mesh, ("DG", 0)))
    dx = domain.dx(3)
    divergence = _compat.assemble_matrix(compiled(q * ufl.div(r) * dx), [])
    mass = _compat.assemble_matrix(compiled(ufl.inner(r, v) * dx), [])
    mobile = mass.getDiagonal()
    mobile.reciprocal()
    owned = fluxes.dofmap.index_map.size_local
    for name in domain.tags:
        if name != "outlet" and not name.startswith("plane_"):
            held = domain.dofs(fluxes, name)
            mobile.array[held[held < owned]] = 0.0
    weighted = divergence.copy()
    weighted.diagonalScale(None, mobile)
    matrix = weighted.matTransposeMult(divergence)
    right = petsc.assemble_vector(compiled(q * ufl.div(result) * dx))
    with SpdSolver(matrix, "the divergence correction") as solver:
        potential = right.duplicate()
        solver.solve(right, potential)
        correction = fem.Function(fluxes)
        weighted.multTranspose(potential, correction.x.petsc_vec)
    for thing in (divergence, mass, mobile, weighted, right, potential):
        thing.destroy()
    correction.x.scatter_forward()
    taken = fem.Function(smooth)
    taken.interpolate(correction)
    result.x.array[:] -= taken.x.array
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
