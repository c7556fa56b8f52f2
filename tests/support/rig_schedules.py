"""Randomised fault schedules: a run on simulated pumps while things go wrong, and what must be true afterwards."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hypothesis import strategies as st

from twin.case import Case
from twin.case.rig import Partner
from twin.errors import BadInput
from twin.rig import Latch, PumpAlarm, RigError, Setpoint, Volumes, plan, read, run, verify
from twin.rig.bench import simulated_pumps
from twin.rig.clock import Task, VirtualClock
from twin.rig.operation.ledger import REFILL
from twin.rig.operation.session import GUARD_S
from twin.rig.planning.limits import equipment
from twin.rig.planning.recipe import Leg, Program
from twin.rig.pumps.drivers import baud_of
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine

MOVING = "IWX"


def _program(rates: tuple[float, float], ramp_s: float, hold_s: float, **prime_ml: float) -> Program:
    flows = dict(zip(("antisolvent", "precursor"), rates, strict=True))
    return Program((Leg(flows, ramp_s, hold_s),), prime_ml, "schedule")


@dataclass(frozen=True)
class Kind:
    """A kind of run; with `turns` two antisolvent pumps hand over to each other, and refill."""

    program: Program
    turns: bool = False


#: Long holds as at a rig, and short ones: what a pump moves in a tenth of a second is a larger share of those.
KINDS = {
    "short": Kind(_program((5000.0, 60.0), 1.0, 6.0)),
    "paper": Kind(_program((5000.0, 60.0), 5.0, 30.0, antisolvent=1.0, precursor=0.01)),
    "slow": Kind(_program((2500.0, 60.0), 5.0, 60.0)),
    "turns": Kind(_program((5000.0, 60.0), 5.0, 60.0), turns=True),
}
#: What is run after a schedule, to settle what it has left open.
AFTERWARDS = _program((5000.0, 60.0), 1.0, 0.5)
#: Arming before the first step, and stopping after the last one, s.
AROUND_S = 1.5
#: A schedule has two or three runs, and the ledger adds up the last digits of their counters, 0.001 or 0.01 mL each.
DIGITS_ML = 0.031


@dataclass(frozen=True)
class Event:
    """At this share of a run a fault strikes a pump for `times` exchanges, or, without a fault, all is healed."""

    share: float
    address: int
    fault: Fault | None
    times: float


@dataclass(frozen=True)
class Schedule:
    """A kind of run, and what goes wrong in it."""

    kind: str
    events: tuple[Event, ...]


EVENTS = st.builds(
    Event,
    share=st.floats(0.0, 1.0),
    address=st.integers(0, 2),
    fault=st.sampled_from([*Fault, None]),
    times=st.sampled_from([1.0, 2.0, 5.0, float("inf")]),
)
SCHEDULES = st.builds(
    Schedule, st.sampled_from(list(KINDS)), st.lists(EVENTS, min_size=1, max_size=4).map(tuple)
)


@dataclass(frozen=True)
class Outcome:
    """What came of a schedule. `error` is the class of what ended the run, "" where nothing did.

    `wrong_percent`: the ledger against the truth, % of what was delivered since the syringes were filled, the worst of
    the pumps. `heard` and `unheard`: half the intervals, %, of the pumps whose counter was lost with the power and
    whose ledger is more than 0.5 % off; the truth lay in each. Of the first kind the run itself could speak with the
    pump, and knew; of the second its link had failed.
    """

    error: str
    wrong_percent: float
    heard: tuple[float, ...]
    unheard: tuple[float, ...]

    @property
    def bounded(self) -> tuple[float, ...]:
        """Both."""
        return self.heard + self.unheard


#: What must be true after each schedule.
RULES = ("stopped", "latched", "intact", "ledger")


class Broken(AssertionError):
    """A rule that was broken."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule


def must(rule: str, holds: bool, what: object) -> None:
    """Raises `Broken` where it does not hold."""
    if not holds:
        raise Broken(rule, str(what))


class Tally:
    """Counts what came of many schedules."""

    def __init__(self) -> None:
        self.count = 0
        self.ends: Counter[str] = Counter()
        self.broken: list[tuple[Schedule, Broken]] = []
        self.outcomes: list[Outcome] = []

    def add(self, schedule: Schedule, outcome: Outcome | Broken) -> None:
        """One more."""
        self.count += 1
        if isinstance(outcome, Broken):
            self.broken.append((schedule, outcome))
            return
        self.ends[outcome.error or "completed"] += 1
        if outcome.bounded:
            self.outcomes.append(outcome)

    def __str__(self) -> str:
        kept = {rule: self.count - sum(error.rule == rule for _, error in self.broken) for rule in RULES}
        bounded = len(self.outcomes)
        return (
            f"{self.count} schedules | stopped {kept['stopped']} | latched {kept['latched']}"
            f" | journal intact {kept['intact']} | ledger within 0.5 % or the last digit {kept['ledger'] - bounded}"
            f" | the rest bounded by what it states {bounded}:"
            f" heard {_widths([half for outcome in self.outcomes for half in outcome.heard])};"
            f" link failed {_widths([half for outcome in self.outcomes for half in outcome.unheard])}"
            f" | ended by {dict(self.ends.most_common())}"
        )


def _widths(halves: Sequence[float]) -> str:
    if not halves:
        return "0"
    return f"{len(halves)} (half an interval: median {median(halves):.2g} %, worst {max(halves):.3g} %)"


def play(case: Case, setpoint: Setpoint, schedule: Schedule, where: Path) -> Outcome:
    """Runs a schedule; raises `Broken` unless all was stopped, latched, written, and the ledger right."""
    shutil.rmtree(where, ignore_errors=True)
    kind = KINDS[schedule.kind]
    if kind.turns:
        lead = case.rig.antisolvent.model_copy(update={"partner": Partner(address=2)})
        case = case.model_copy(update={"rig": case.rig.model_copy(update={"antisolvent": lead})})
    clock = VirtualClock()
    family = equipment(case)["antisolvent"].model.family
    line = MemoryLine(simulated_pumps(equipment(case)), clock, baud_of(family))
    length_s = AROUND_S + plan(case, setpoint, program=kind.program).duration_s
    cut: set[int] = set()
    pending = [_schedule(line, clock, event, length_s, cut) for event in schedule.events]
    infused = _Infused(line, clock)
    error = ""
    try:
        run(case, setpoint, program=kind.program, folder=where, clock=clock, simulator=line)
    except RigError as problem:
        error = type(problem).__name__
    for task in pending:
        task.cancel()
    _heal(line)
    # A pump whose cable was cut stops by itself: at its timer, or at the volume that the run needs, be it at a tenth of
    # the rate.
    clock.sleep(GUARD_S + 1 if family == "newera" else 12 * length_s)
    for address in line.pumps:
        must("stopped", line.state(address)[0] not in MOVING, f"the pump at {address} still moves")
    (journal,) = where.glob("journal-*.jsonl") if any(where.glob("journal-*.jsonl")) else (None,)
    entries = read(journal) if journal is not None else []
    moved = any(entry["event"] == "start" for entry in entries)
    latched = Latch(where).reason()
    fault = bool(error) and (moved or error == "PumpAlarm")  # what failed before anything could move has hurt nobody
    must("latched", (latched is not None) == fault, f"{error or 'no error'}, but latched: {latched}")
    if journal is not None:
        checked = verify(journal)
        must("intact", checked.intact and checked.ended, checked)
        _nothing_moves_after_the_stop(entries)
    wrong, bounded = _ledger(case, setpoint, line, clock, where, infused, cut)
    knew = {entry["role"].removesuffix(REFILL) for entry in entries if entry.get("reckoned")}
    heard = tuple(half for name, half in bounded.items() if name in knew)
    return Outcome(error, wrong, heard, tuple(half for name, half in bounded.items() if name not in knew))


class _Infused:
    """What each plunger has truly infused, mL by address: the sum over all of its ways forward."""

    def __init__(self, line: MemoryLine, clock: VirtualClock) -> None:
        self._line = line
        self._before = {address: line.state(address)[1] for address in line.pumps}
        self.ml = dict.fromkeys(line.pumps, 0.0)
        clock.every(0.25, self.look, "truth")

    def look(self) -> None:
        for address, before in self._before.items():
            now = self._before[address] = self._line.state(address)[1]
            self.ml[address] += max(now - before, 0.0)


def _schedule(line: MemoryLine, clock: VirtualClock, event: Event, length_s: float, cut: set[int]) -> Task:
    address = event.address % len(line.pumps)

    def strike() -> None:
        task.cancel()
        if event.fault is None:
            _heal(line)
        else:
            line.inject(event.fault, address, event.times)
        if event.fault is Fault.RESET:
            cut.add(address)

    task = clock.every(event.share * length_s, strike, "fault")
    return task


def _heal(line: MemoryLine) -> None:
    for address in line.pumps:
        line.heal(address)
    line.plug_in()


def _nothing_moves_after_the_stop(entries: list[dict[str, Any]]) -> None:
    stop = next(index for index, entry in enumerate(entries) if entry["event"] in ("trip", "stop"))
    late = [entry["sent"] for entry in entries[stop:] if entry["event"] == "wire" and "RUN" in entry["sent"].upper()]
    must("stopped", not late, f"sent after the stop: {late}")


def _ledger(
    case: Case,
    setpoint: Setpoint,
    line: MemoryLine,
    clock: VirtualClock,
    where: Path,
    infused: _Infused,
    cut: Collection[int],
) -> tuple[float, dict[str, float]]:
    """The operator acknowledges and starts again: then the ledger agrees with what has truly left the syringes.

    To 0.5 % of what was delivered, or to the last digit of the counter. Only where the power of a pump was cut, it may
    be farther off: within the interval that it states. Returns the worst error, %, and half of such intervals, %.
    """
    for _ in line.pumps:  # a stall that nobody has heard of yet is told at the next start, and wants its own look
        Latch(where).acknowledge("the operator")
        with contextlib.suppress(BadInput, PumpAlarm):  # where a syringe does not last, it is settled all the same
            run(case, setpoint, program=AFTERWARDS, folder=where, clock=clock, simulator=line)
            break
    infused.look()
    volumes = Volumes.open(where)
    must("ledger", not volumes.unsettled, f"not settled: {volumes.unsettled}")
    worst, bounded = 0.0, dict[str, float]()
    for name, equipped in equipment(case).items():
        left = volumes.left(name)
        assert left is not None
        pump, delivered = line.pumps[equipped.address], infused.ml[equipped.address]
        wrong = abs(left.left_ml - pump.volume_ml)
        good = wrong <= 0.005 * delivered + 1e-6
        what = f"{name} delivered {delivered:.6g} mL, holds {pump.volume_ml:.6g} mL, and the ledger says {left}"
        must("ledger", good or wrong <= left.uncertain_ml + 1e-6, what)
        if equipped.address not in cut:
            must("ledger", left.uncertain_ml <= DIGITS_ML, f"its counter was not lost: {what}")
        elif not good:
            bounded[name] = 100 * left.uncertain_ml / delivered if delivered else math.inf
        worst = max(worst, 100 * wrong / delivered if delivered > 0 else 0.0)
    return worst, bounded
