"""Laminar flow in bore and bulk-velocity units: lengths in bores, velocities in the outlet's mean velocity U,
pressures in ρU². One solution then serves every liquid with the same Reynolds number and flow ratio.
"""

from twin.flow.steady import FlowSolution, SteadySolver

__all__ = ["FlowSolution", "SteadySolver"]
