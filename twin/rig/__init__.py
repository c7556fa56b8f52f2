"""The physical rig, or its simulator: two syringe pumps, driven by a setpoint that was checked.

`load_setpoint` reads a proposal and refuses what is not fit; `check` prints what would be sent; `run` does it and stops
both pumps whatever happens; `emergency_stop` stops them from elsewhere; `verify` and `read` look at the journal.
"""

from twin.rig.clock import Clock
from twin.rig.control import RunResult, check, run
from twin.rig.dryrun import DryRun
from twin.rig.emergency import emergency_stop
from twin.rig.errors import NotStopped, PumpAlarm, RigError, RunStopped
from twin.rig.journal import JournalCheck, describe, latest, read, verify
from twin.rig.planning import Plan, plan
from twin.rig.runlock import rig_folder
from twin.rig.session import Progress
from twin.rig.setpoint import Setpoint, load_setpoint, summary

__all__ = [
    "Clock",
    "DryRun",
    "JournalCheck",
    "NotStopped",
    "Plan",
    "Progress",
    "PumpAlarm",
    "RigError",
    "RunResult",
    "RunStopped",
    "Setpoint",
    "check",
    "describe",
    "emergency_stop",
    "latest",
    "load_setpoint",
    "plan",
    "read",
    "rig_folder",
    "run",
    "summary",
    "verify",
]
