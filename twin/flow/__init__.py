"""Laminar flow of any domain with named boundaries, in units of a bore and a bulk velocity."""

from twin.flow.boundaries import Boundaries, shared_flows
from twin.flow.forces import Force, force_on
from twin.flow.steady import FlowSolution, SteadySolver
from twin.flow.transient import TransientSolver, TransientState

__all__ = [
    "Boundaries",
    "FlowSolution",
    "Force",
    "SteadySolver",
    "TransientSolver",
    "TransientState",
    "force_on",
    "shared_flows",
]
