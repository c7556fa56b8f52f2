"""Laminar flow of any domain with named boundaries, in units of a bore and a bulk velocity."""

from twin.flow.boundaries import Boundaries, shared_flows
from twin.flow.steady import FlowSolution, SteadySolver

__all__ = ["Boundaries", "FlowSolution", "SteadySolver", "shared_flows"]
