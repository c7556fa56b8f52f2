"""The flow solver on the real junction, where its outlet must carry Poiseuille flow."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

from twin.case.schema import Level
from twin.check import Check
from twin.fem.domain import Domain, read_domain
from twin.fem.storage import Nodes, read_nodes
from twin.flow import FlowSolution, SteadySolver, shared_flows
from twin.junction import Connector
from twin.meshing.build import mesh_connector
from twin.transport import divergence_free, largest_divergence

REYNOLDS = 20.0  # developed about two bores down the outlet
_PIPE = "Hagen–Poiseuille"


def small_connector(outlet_bores: int = 6, angle: float = np.pi / 3) -> Connector:
    """A junction that solves in seconds; 60 degrees between the arms."""
    return Connector(
        name="small",
        bore="1 mm",
        angle=f"{angle} rad",
        arm_bores=1.5,
        outlet_bores=outlet_bores,
        source="made for tests",
    )


def small_domain(connector: Connector, wall_size: float, core_size: float, comm: MPI.Comm) -> Domain:
    """The mesh of a connector in a temporary folder, read back on all ranks."""
    return domain_and_nodes(connector, Level(wall_size=wall_size, core_size=core_size), comm)[0]


def domain_and_nodes(connector: Connector, level: Level, comm: MPI.Comm) -> tuple[Domain, Nodes]:
    """A connector's mesh as a domain, and its nodes as they stand in its file."""
    with tempfile.TemporaryDirectory() as name:
        where = Path(comm.bcast(name))
        if comm.rank == 0:
            mesh_connector(connector, level, where)
        comm.barrier()
        domain, nodes = read_domain(where / "junction.msh", comm), read_nodes(where / "junction.msh")
        comm.barrier()
    return domain, nodes


def streams(domain: Domain, precursor_share: float) -> dict[str, float]:
    """The flows of a junction's two inlets, by the precursor's share of the whole."""
    return shared_flows(domain, {"antisolvent": 1 - precursor_share, "precursor": precursor_share})


def checks() -> list[Check]:
    """Developed flow in the outlet, conservation of mass, and the divergence that transport sees."""
    domain = small_domain(small_connector(), 0.18, 0.18, MPI.COMM_SELF)
    solution = SteadySolver(domain).solve(REYNOLDS, streams(domain, 0.1))
    gradient = (_mean_pressure(domain, solution, "plane_3") - _mean_pressure(domain, solution, "plane_5")) / 2
    velocity = divergence_free(domain, solution.velocity)
    normal = ufl.FacetNormal(domain.mesh)
    net = domain.integral(ufl.dot(solution.velocity, normal) * ufl.ds(domain.mesh))
    energy = _plane_mean(domain, "plane_4", ufl.dot(solution.velocity, solution.velocity))
    return [
        Check("pressure gradient in the outlet × Re / 32", gradient * REYNOLDS / 32, 1.0, 5e-3, _PIPE),
        Check("mean square of the developed velocity / U²", energy, 4 / 3, 5e-3, _PIPE),
        Check("net flow out of the junction / bore²U", net, 0.0, 1e-3, "conservation of mass"),
        Check("largest divergence after the correction", largest_divergence(domain, velocity), 0.0, 1e-9, "by design"),
    ]


def _mean_pressure(domain: Domain, solution: FlowSolution, plane: str) -> float:
    return _plane_mean(domain, plane, solution.pressure)


def _plane_mean(domain: Domain, plane: str, value: ufl.core.expr.Expr) -> float:
    dS, one = domain.dS(plane), fem.Constant(domain.mesh, 1.0)
    return domain.integral(ufl.avg(value) * dS) / domain.integral(one * dS)
