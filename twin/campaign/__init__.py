"""Runs operating points under MPI, keeps a record of each, and puts them into the campaign table."""

from twin.campaign.flow_case import estimate_error, flow_mesh, flow_state, run_flow
from twin.campaign.ladder import climb, climb_to_mesh, make_mesh, show_event, solve_below
from twin.campaign.run import Event, run_points
from twin.campaign.slurm import submit_sweep
from twin.campaign.table import is_solved, point_state, write_table

__all__ = [
    "Event",
    "climb",
    "climb_to_mesh",
    "estimate_error",
    "flow_mesh",
    "flow_state",
    "is_solved",
    "make_mesh",
    "point_state",
    "run_flow",
    "run_points",
    "show_event",
    "solve_below",
    "submit_sweep",
    "write_table",
]
