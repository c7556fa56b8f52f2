"""Randomised fault schedules: a run on simulated pumps while things go wrong, and what must be true afterwards."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from twin.case import Case
from twin.errors import BadInput
from twin.rig import Latch, PumpAlarm, RigError, Setpoint, Volumes, read, run, verify
from twin.rig.bench import simulated_pumps
from twin.rig.clock import Task, VirtualClock
from twin.rig.operation.session import GUARD_S
from twin.rig.planning.limits import equipment
from twin.rig.planning.recipe import Leg, Program
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine

NAMES = ("antisolvent", "precursor")
#: Ramp 1 s, hold 6 s: long enough for every phase, short enough for ten thousand.
PROGRAM = Program((Leg({"antisolvent": 5000.0, "precursor": 60.0}, 1.0, 6.0),), {}, "schedule")
LENGTH_S = 8.5
MOVING = "IWX"


@dataclass(frozen=True)
class Event:
    """At `at_s` a fault strikes the pump at `address` for `times` exchanges, or, without a fault, all is healed."""

    at_s: float
    address: int
    fault: Fault | None
    times: float


EVENTS = st.builds(
    Event,
    at_s=st.floats(0.0, LENGTH_S),
    address=st.sampled_from((0, 1)),
    fault=st.sampled_from([*Fault, None]),
    times=st.sampled_from([1.0, 2.0, 5.0, float("inf")]),
)
SCHEDULES = st.lists(EVENTS, min_size=1, max_size=4)


@dataclass(frozen=True)
class Outcome:
    """What came of a schedule. `error` is the class of what ended the run, "" where nothing did."""

    error: str
    worst_percent: float
    bounded: bool


def play(case: Case, setpoint: Setpoint, schedule: Sequence[Event], where: Path) -> Outcome:
    """Runs a schedule and asserts: stopped, latched, written, and the ledger right."""
    shutil.rmtree(where, ignore_errors=True)
    clock = VirtualClock()
    line = MemoryLine(simulated_pumps(equipment(case)), clock)
    pending = [_schedule(line, clock, event) for event in schedule]
    error = ""
    try:
        run(case, setpoint, program=PROGRAM, folder=where, clock=clock, simulator=line)
    except RigError as problem:
        error = type(problem).__name__
    for task in pending:
        task.cancel()
    _heal(line)
    clock.sleep(GUARD_S + 1)  # a pump whose cable was cut stops by itself
    for address in line.pumps:
        assert line.state(address)[0] not in MOVING, f"the pump at {address} still moves"
    (journal,) = where.glob("journal-*.jsonl") if any(where.glob("journal-*.jsonl")) else (None,)
    moved = journal is not None and any(entry["event"] == "start" for entry in read(journal))
    latched = Latch(where).reason()
    fault = bool(error) and (moved or error == "PumpAlarm")  # what failed before anything could move has hurt nobody
    assert (latched is not None) == fault, f"{error or 'no error'}, but latched: {latched}"
    if journal is not None:
        checked = verify(journal)
        assert checked.intact and checked.ended, checked
        _nothing_moves_after_the_stop(journal)
    worst, bounded = _ledger(case, setpoint, line, clock, where)
    return Outcome(error, worst, bounded)


def _schedule(line: MemoryLine, clock: VirtualClock, event: Event) -> Task:
    def strike() -> None:
        task.cancel()
        if event.fault is None:
            _heal(line)
        else:
            line.inject(event.fault, event.address, event.times)

    task = clock.every(event.at_s, strike, "fault")
    return task


def _heal(line: MemoryLine) -> None:
    for address in line.pumps:
        line.heal(address)
    line.plug_in()


def _nothing_moves_after_the_stop(journal: Path) -> None:
    entries = read(journal)
    stop = next(index for index, entry in enumerate(entries) if entry["event"] in ("trip", "stop"))
    late = [entry["sent"] for entry in entries[stop:] if entry["event"] == "wire" and "RUN" in entry["sent"]]
    assert not late, f"sent after the stop: {late}"


def _ledger(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: VirtualClock, where: Path
) -> tuple[float, bool]:
    """The operator acknowledges and starts again: then the ledger agrees with what has truly left the syringes."""
    for _ in line.pumps:  # a stall that nobody has heard of yet is told at the next start, and wants its own look
        Latch(where).acknowledge("the operator")
        with contextlib.suppress(BadInput, PumpAlarm):  # where a syringe does not last, it is settled all the same
            run(case, setpoint, program=PROGRAM, folder=where, clock=clock, simulator=line)
            break
    volumes = Volumes.open(where)
    assert not volumes.unsettled
    worst, bounded = 0.0, False
    for address, name in enumerate(NAMES):
        left = volumes.left(name)
        assert left is not None
        pump = line.pumps[address]
        delivered = left.volume_ml - pump.volume_ml
        wrong = abs(left.left_ml - pump.volume_ml)
        assert wrong <= 0.005 * delivered + left.uncertain_ml + 1e-6, (name, delivered, left)
        if wrong > 0.005 * delivered + 1e-6:
            bounded = True
        if delivered > 0:
            worst = max(worst, 100 * wrong / delivered)
    return worst, bounded
