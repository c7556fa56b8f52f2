"""What the command line calls to check a run, and to do it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import twin
from twin.case.schema import Case
from twin.errors import TwinError
from twin.rig.bench import clock_for, opened
from twin.rig.clock import Clock
from twin.rig.dryrun import DryRun, dry_run
from twin.rig.interrupts import Interrupts
from twin.rig.journal import END, Journal
from twin.rig.ledger import Balance
from twin.rig.limits import ROLES
from twin.rig.planning import Plan, plan
from twin.rig.recorder import Recorder
from twin.rig.runlock import RunLock, rig_folder
from twin.rig.session import OnProgress, Session
from twin.rig.setpoint import Setpoint

if TYPE_CHECKING:
    from twin.rig.simulated.line import SimulatedLine


@dataclass(frozen=True)
class RunResult:
    """A run that went to its end: what was planned, what the pumps counted, and where it is written down."""

    plan: Plan
    balances: dict[str, Balance]
    journal: Path
    speed: float
    wall_s: float

    @property
    def ok(self) -> bool:
        """Whether the counted volumes agree with the commanded ones."""
        return all(role in self.balances and self.balances[role].agrees for role in ROLES)

    def lines(self) -> list[str]:
        """The result in words."""
        pumps = "simulated pumps" if self.plan.simulated else "pumps"
        verdict = "volumes agree" if self.ok else "VOLUMES DISAGREE: look at the syringes and their diameters"
        return [
            f"ran {self.plan.setpoint.point.name} for {self.plan.duration_s:g} s; both {pumps} verified stopped",
            *(str(balance) for balance in self.balances.values()),
            verdict,
            f"journal: {self.journal}",
        ]


def check(case: Case, setpoint: Setpoint, **options: Any) -> DryRun:
    """A dry run: the plan and the bytes that `run` would send. Takes the options of `plan`; opens no port."""
    return dry_run(plan(case, setpoint, **options))


def run(
    case: Case,
    setpoint: Setpoint,
    *,
    hold_s: float | None = None,
    shorten: bool = False,
    filled_ml: Mapping[str, float] | None = None,
    folder: Path | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
    simulator: SimulatedLine | None = None,
) -> RunResult:
    """Runs a setpoint: arm, ramp, hold, stop. Whatever ends it early is raised after both pumps were stopped.

    Args:
        case: the case with its rig.
        setpoint: a setpoint that `load_setpoint` let pass.
        hold_s: how long to hold, s of process time; the case's own hold, where it is left out.
        shorten: hold only as long as the syringes last instead of refusing.
        filled_ml: what the syringes hold, mL by role; full ones, where it is left out.
        folder: where journal and lock lie; `CASE/results/rig`, where it is left out.
        clock: process time; an accelerated one for simulated pumps only. Left out: real time, or 10 times as fast where
            every pump is simulated.
        on_progress: called at each look at the pumps.
        cancel: set it, from another thread, to end the run.
        simulator: simulated pumps that are there already, on `clock`.

    Raises:
        BadInput: what was asked for can't be done; nothing moved.
        RigError: a pump did not do what it was told; both are stopped. `NotStopped`: a pump could not be verified.
        KeyboardInterrupt: after both pumps were stopped.
    """
    if simulator is not None and clock is not simulator.clock:
        raise ValueError("a run and its simulator need the same clock")
    made = plan(case, setpoint, hold_s=hold_s, shorten=shorten, filled_ml=filled_ml)
    clock = clock_for(made.pumps, clock)
    where = rig_folder(case, folder)
    ports = sorted({pump.port for pump in made.pumps.values()})
    began = time.monotonic()
    with RunLock(where, ports), Journal.create(where) as journal:
        recorder = Recorder(journal, clock.now)
        recorder.event("begin", twin=twin.__version__, pid=os.getpid(), speed=clock.speed, plan=made.as_dict())
        try:
            with opened(made.pumps, clock, recorder.note, simulator) as pumps, Interrupts() as interrupts:
                session = Session(made, pumps, clock, recorder, on_progress, cancel)
                session.run(interrupts)
        except BaseException as error:
            error.add_note(f"journal: {journal.path}")
            _end(recorder, "failed", error)
            raise
        balances = {role: session.balances[role] for role in ROLES if role in session.balances}
        result = RunResult(made, balances, journal.path, clock.speed, time.monotonic() - began)
        recorder.event(END, status="completed", ok=result.ok, signal=interrupts.caught)
    return result


def _end(recorder: Recorder, status: str, error: BaseException) -> None:
    """Closes the journal of a run that failed; if that fails too, the first error is the one to hear of."""
    words = error.message if isinstance(error, TwinError) else f"{type(error).__name__}: {error}"
    try:
        recorder.event(END, status=status, reason=words)
    except TwinError as second:
        error.add_note(f"the journal could not be closed: {second.message}")
