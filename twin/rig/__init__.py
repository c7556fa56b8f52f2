"""The physical rig, or its simulator: two syringe pumps, driven by a setpoint that was checked.

`load_setpoint` reads a proposal and refuses what is not fit; `check` prints what would be sent; `run` does it and stops
both pumps whatever happens; `emergency_stop` stops them from elsewhere; `verify` and `read` look at the journal.
"""

from twin.rig.clock import Clock
from twin.rig.control import RunResult, check, run
from twin.rig.dryrun import DryRun
from twin.rig.errors import NotStopped, PumpAlarm, RigError, RunStopped, Tripped
from twin.rig.operation.emergency import emergency_stop
from twin.rig.operation.latch import Latch, Latched
from twin.rig.operation.runlock import rig_folder
from twin.rig.operation.session import Progress
from twin.rig.operation.volumes import Volumes
from twin.rig.planning.recipe import Program, load_recipe
from twin.rig.planning.schedule import Plan, plan
from twin.rig.planning.setpoint import Setpoint, load_setpoint, summary
from twin.rig.record.journal import JournalCheck, describe, latest, read, verify
from twin.rig.record.replay import replay

__all__ = [
    "Clock",
    "DryRun",
    "JournalCheck",
    "Latch",
    "Latched",
    "NotStopped",
    "Plan",
    "Program",
    "Progress",
    "PumpAlarm",
    "RigError",
    "RunResult",
    "RunStopped",
    "Setpoint",
    "Tripped",
    "Volumes",
    "check",
    "describe",
    "emergency_stop",
    "latest",
    "load_recipe",
    "load_setpoint",
    "plan",
    "read",
    "replay",
    "rig_folder",
    "run",
    "summary",
    "verify",
]
