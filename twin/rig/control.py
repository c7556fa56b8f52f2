"""What the command line calls to check a run, and to do it."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import twin
from twin.case.schema import Case
from twin.errors import BadInput, TwinError
from twin.rig.bench import clock_for, opened, simulated_sensors
from twin.rig.clock import Clock
from twin.rig.dryrun import DryRun, dry_run
from twin.rig.errors import NotStopped, PumpAlarm, RigError, RunStopped
from twin.rig.operation.drive import HARMLESS, POWER
from twin.rig.operation.interlocks import ALWAYS, InsideHull, Measured, Rule, Snapshot, Within, first_broken
from twin.rig.operation.interrupts import Interrupts
from twin.rig.operation.latch import Latch
from twin.rig.operation.ledger import REFILL, Balance
from twin.rig.operation.register import held
from twin.rig.operation.runlock import RunLock, rig_folder
from twin.rig.operation.session import OnProgress, Session, all_agree
from twin.rig.operation.stopping import words
from twin.rig.operation.volumes import Left, Volumes
from twin.rig.operation.watchdog import Watchdog
from twin.rig.planning.limits import ROLES, Equipment, equipment
from twin.rig.planning.recipe import Program
from twin.rig.planning.schedule import SIMULATED, Plan, plan
from twin.rig.planning.setpoint import Setpoint
from twin.rig.planning.steps import Step
from twin.rig.pumps.protocol import Dispensed, Pump
from twin.rig.record.journal import END, Journal
from twin.rig.record.recorder import Recorder
from twin.rig.sensors import Board, Steadiness, Telemetry, periods_s, sensors
from twin.units import to_ml

if TYPE_CHECKING:
    from twin.rig.bench import Simulator


class Live(Protocol):
    """What a run does that is made up as it goes; `twin.rig.operation.live` has one."""

    def plan(self, case: Case, setpoint: Setpoint, filled_ml: Mapping[str, float]) -> Plan:
        """The most that the run may do."""
        ...

    def steps(self, board: Board) -> Iterable[Step]:
        """What it does; asked for the next step when the one before has ended."""
        ...


@dataclass(frozen=True)
class RunResult:
    """A run that went to its end: what was planned, what the pumps counted, and where it is written down."""

    plan: Plan
    balances: dict[str, Balance]
    journal: Path
    speed: float
    wall_s: float
    #: In words, the pumps that never started and could not be verified as stopped.
    unverified: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the counted volumes agree with the commanded ones, and every pump was verified."""
        return all_agree(self.balances, list(self.plan.pumps)) and not self.unverified

    def lines(self) -> list[str]:
        """The result in words."""
        pumps = "simulated pumps" if self.plan.simulated else "pumps"
        number = "both" if len(self.plan.pumps) == len(ROLES) else "all"
        number = "all that ran of its" if self.unverified else number
        agree = all_agree(self.balances, list(self.plan.pumps))
        verdict = "volumes agree" if agree else "VOLUMES DISAGREE: look at the syringes and their diameters"
        return [
            f"ran {self.plan.setpoint.point.name} for {self.plan.duration_s:g} s; {number} {pumps} verified stopped",
            *self.unverified,
            *(str(balance) for balance in self.balances.values()),
            verdict,
            f"journal: {self.journal}",
        ]


def check(case: Case, setpoint: Setpoint, *, folder: Path | None = None, **options: Any) -> DryRun:
    """A dry run: the plan and the bytes that `run` would send. Takes the options of `plan`; opens no port."""
    given = options.pop("filled_ml", None)
    filled = _filled(equipment(case), Volumes.open(rig_folder(case, folder)), given, strict=False)
    return dry_run(plan(case, setpoint, filled_ml=filled, **options))


def run(
    case: Case,
    setpoint: Setpoint,
    *,
    program: Program | None = None,
    hold_s: float | None = None,
    shorten: bool = False,
    filled_ml: Mapping[str, float] | None = None,
    folder: Path | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
    simulator: Simulator | None = None,
    live: Live | None = None,
) -> RunResult:
    """Runs a setpoint or a recipe: arm, prime, ramp, hold, stop. Whatever ends it early is raised after all is stopped.

    Args:
        case: the case with its rig.
        setpoint: a setpoint that `load_setpoint` let pass.
        program: the recipe; the setpoint by itself, where it is left out.
        hold_s: how long to hold, s of process time; the case's own hold, where it is left out.
        shorten: hold only as long as the syringes last instead of refusing.
        filled_ml: what the syringes hold, mL by pump. Left out: what the ledger says; simulated ones are full.
        folder: where journal, ledger, latch and lock lie; `CASE/results/rig`, where it is left out.
        clock: process time; an accelerated one for simulated pumps only. Left out: real time, or 10 times as fast where
            every pump is simulated.
        on_progress: called at each look at the pumps.
        cancel: set it, from another thread, to end the run.
        simulator: simulated pumps that are there already, on `clock`.
        live: what makes up the steps as the run goes, instead of program and hold.

    Raises:
        BadInput: what was asked for can't be done; nothing moved.
        RigError: a pump did not do what it was told, or an interlock was broken; all is stopped, and the rig latched.
            `NotStopped`: a pump could not be verified.
        TwinError: what was done could not be written; all is stopped, and the rig latched.
        Exception: any other one, as of `on_progress`, comes out as it is; the same holds once a pump may have moved.
        KeyboardInterrupt: after all pumps were stopped.
    """
    if simulator is not None and clock is not simulator.clock:
        raise ValueError("a run and its simulator need the same clock")
    pumps = equipment(case)
    clock = clock_for(pumps, clock)
    where = rig_folder(case, folder)
    began = time.monotonic()
    with ExitStack() as stack:
        # Shielded until there is a journal to tell of a signal; what is begun before is brought to its end.
        interrupts = stack.enter_context(Interrupts())
        places = [pump.place for pump in pumps.values()]
        lock = stack.enter_context(RunLock(where, places))
        latch = lock.latch
        stack.enter_context(held(where, places, latch))
        latch.check()
        stack.callback(interrupts.shield)  # whatever ends it, what was begun is given back whole
        recorder = Recorder(None, clock.now)
        recorder.hold_back()
        interrupts.unshield()  # a port of the network may take its time, and nothing is begun yet
        drivers, spoken = stack.enter_context(opened(pumps, clock, recorder.note, simulator))
        interrupts.shield()
        volumes = Volumes.open(where, clock)
        if simulator is not None:
            _know(volumes, pumps)
        try:
            _reconcile(volumes, drivers, recorder)
        except RigError as error:
            latch.set_by(error, "run")
            raise
        filled = _filled(pumps, volumes, filled_ml, simulator is not None)
        if live is not None:
            made = live.plan(case, setpoint, filled)
        else:
            made = plan(case, setpoint, program=program, hold_s=hold_s, shorten=shorten, filled_ml=filled)
        journal = stack.enter_context(Journal.create(where))
        limits = {
            name: {"low": sensor.low, "high": sensor.high, "max_age_s": sensor.max_age}
            for name, sensor in case.rig.sensors.items()
        }
        Recorder(journal, clock.now).event(
            "begin", twin=twin.__version__, pid=os.getpid(), speed=clock.speed, plan=made.as_dict(), sensors=limits
        )
        recorder.attach(journal)
        recorder.release()
        # Simulated pumps of this run alone are new and full: their syringes are in nobody's ledger.
        ledger = None if made.simulated and simulator is None else volumes
        at_work = _Run(case, made, drivers, clock, recorder, journal.path, latch, ledger, on_progress, cancel)
        at_work.session.spoken = spoken
        if live is not None:
            at_work.session.steps = live.steps(at_work.telemetry.board)
        try:
            at_work.go(interrupts)
        except BaseException as error:
            interrupts.shield()
            if isinstance(error, TwinError) and not isinstance(error, NotStopped | RunStopped):
                if at_work.session.moved:
                    error.add_note("every pump that was started was verified stopped")
                if interrupts.caught == "SIGTERM":  # the bytes of a stop from outside come first, and spoil a reply
                    error.add_note("SIGTERM came as well: `twin rig stop`, or the system, has ended the run")
            error.add_note(f"journal: {journal.path}")
            _end(recorder, "failed", error)
            raise
        found = at_work.session.balances
        order = list(made.pumps)
        balances = dict(sorted(found.items(), key=lambda item: order.index(item[0].removesuffix(REFILL))))
        wall_s, unverified = time.monotonic() - began, tuple(at_work.session.unverified)
        result = RunResult(made, balances, journal.path, clock.speed, wall_s, unverified)
        try:
            recorder.event(END, status="completed", ok=result.ok, signal=interrupts.caught)
        except TwinError as error:
            failed = at_work.latched(error)
            failed.add_note(f"journal: {journal.path}")
            raise failed from error.__cause__
    return result


class _Run:
    """One run with all that stands around its session: telemetry, watchdog, latch, ledger of volumes."""

    def __init__(
        self,
        case: Case,
        made: Plan,
        drivers: Mapping[str, Pump],
        clock: Clock,
        recorder: Recorder,
        journal: Path,
        latch: Latch,
        volumes: Volumes | None,
        on_progress: OnProgress | None,
        cancel: threading.Event | None,
    ) -> None:
        self.case, self.plan, self.clock, self.recorder = case, made, clock, recorder
        self.journal, self.latch = journal, latch
        self.pumps = {name: drivers[name] for name in made.pumps}
        self.session = Session(made, self.pumps, clock, recorder, on_progress, cancel, volumes)
        self.telemetry = Telemetry(
            sensors(case.rig, clock, simulated_sensors(clock, self._pumped_ml)),
            clock,
            recorder,
            periods_s(case.rig),
            self._steadiness(),
        )

    def go(self, interrupts: Interrupts) -> None:
        """Does it; what ends it early latches the rig, unless it was the operator."""
        session = self.session
        watchdog = Watchdog(
            self._rules(), self._look, self.pumps, session.gate, session.cancel, self._latch, self.clock, self.recorder
        )
        try:
            interrupts.unshield()
            with self.telemetry:
                self.telemetry.ready()
                self._check_sensors()
                with watchdog:
                    session.run(interrupts)
        except NotStopped as error:
            self.latch.set_by(error, "run", self.journal)
            raise
        except BaseException as error:
            if watchdog.tripped is not None:
                self.latch.set_by(watchdog.tripped, "run", self.journal)
                raise watchdog.tripped from error
            # A wrong device on the port has hurt nobody, and what the operator ends (also as KeyboardInterrupt, which
            # is no Exception) needs no acknowledgement. Any other end is a fault, also that of a disk: what was done
            # is then not on record to its end; and that of the program around this: who knows what it left undone.
            by_operator = isinstance(error, RunStopped)
            harmless = not (session.moved or isinstance(error, PumpAlarm))
            if isinstance(error, Exception) and not by_operator and not harmless:
                raise self.latched(error) from error.__cause__
            raise
        if watchdog.tripped is not None:  # in its last moment
            self.latch.set_by(watchdog.tripped, "run", self.journal)
            raise watchdog.tripped

    def latched(self, error: Exception) -> Exception:
        """The error, once the rig is latched for it: things have moved, and it does not say otherwise."""
        failed = _not_before_anything_moved(error)
        self.latch.set_by(failed, "run", self.journal)
        return failed

    def _rules(self) -> list[Rule]:
        return [*ALWAYS, InsideHull(self.plan.hull_ml_h), *self._bands()]

    def _bands(self) -> list[Rule]:
        return [
            Within(name, sensor.low, sensor.high, sensor.max_age)
            for name, sensor in self.case.rig.sensors.items()
            if sensor.max_age is not None
        ]

    def _check_sensors(self) -> None:
        """Refuses a rig whose sensors are beyond their limits before anything moves."""
        now, wall = self.clock.now(), self.clock.wall()
        broken = first_broken(
            self._bands(), Snapshot(now, wall, "armed", math.inf, self.clock.speed, {}, self._measured())
        )
        if broken is not None:
            raise BadInput(f"before anything moved, {broken[1]}", "find the cause at the rig, then run again")

    def _steadiness(self) -> Callable[[], bool]:
        """Whether the outlet has been flushed since the rates last changed; never, where its volume is not known."""
        volume = self.case.rig.outlet_volume
        if volume is None:
            return lambda: False
        steadiness = Steadiness(self.clock, to_ml(volume))
        self.session.on_rates = steadiness.changed
        return steadiness

    def _pumped_ml(self) -> float:
        return sum(drive.pumped_ml for drive in self.session.drives.values())

    def _look(self) -> Snapshot | None:
        return self.session.snapshot(self._measured())

    def _measured(self) -> dict[str, Measured]:
        board, now = self.telemetry.board, self.clock.wall()
        found = {}
        for name in self.case.rig.sensors:
            reading = board.latest(name)
            if reading is not None:
                found[name] = Measured(reading.value, reading.unit, board.age_s(name, now))
        return found

    def _latch(self, reason: str) -> None:
        self.latch.set(reason, "run", self.journal)


def _not_before_anything_moved(error: Exception) -> Exception:
    """The same error, where it is one of `BadInput`: that says that nothing was started."""
    if not isinstance(error, BadInput):
        return error
    failed = TwinError(error.message, error.remedy)
    for note in getattr(error, "__notes__", []):
        failed.add_note(note)
    return failed


def _know(volumes: Volumes, pumps: Mapping[str, Equipment]) -> None:
    """Simulated pumps that somebody made are full until the ledger says otherwise."""
    for name, pump in pumps.items():
        if volumes.left(name) is None:
            volumes.refill(name, pump.syringe.name, pump.syringe.volume_ml, by="simulator")


def _reconcile(volumes: Volumes, drivers: Mapping[str, Pump], recorder: Recorder) -> None:
    """Closes the account of a run that could not: its pumps still know what they have counted.

    One that still moves is stopped first, or it would go on after it was asked.
    """
    for name in sorted(volumes.unsettled, key=lambda name: name != "precursor"):
        if name not in drivers:
            raise BadInput(
                f"the volumes of the {name} syringe are not settled, and this case has no such pump",
                "put it back into case.toml, or say what the syringe holds: `twin rig refill CASE`",
            )
        pump, counted, tells = drivers[name], None, volumes.asking(name)
        try:
            pump.identify()
            counted = pump.dispensed()
        except PumpAlarm as alarm:  # after a power cut the counter is gone, after a silence it is not
            if alarm.code not in HARMLESS:  # said once only; a stall proves that its counter is whole
                if (whole := _counter(pump)) is not None and not whole.status.moving:
                    _settle(volumes, name, pump, whole, powered=True)
                raise
            pump.acknowledge()
            recorder.event("acknowledged", role=name, alarm=alarm.code)
            counted = None if alarm.code == "R" else pump.dispensed()
        if counted is not None and counted.status.moving:
            pump.stop()
            counted = pump.dispensed()
        left = _settle(volumes, name, pump, counted, powered=tells and pump.cut_is_told)
        if left is not None:
            recorder.event("reconciled", role=name, left_ml=left.left_ml, uncertain_ml=left.uncertain_ml)


def _settle(volumes: Volumes, name: str, pump: Pump, counted: Dispensed | None, powered: bool) -> Left | None:
    """Closes an account by what a pump counts; a limit that the dead run gave it, and that is gone, is a power cut."""
    last = volumes.count(name)
    if last is None or last.limit_ml is None:
        return volumes.reconcile(name, counted, powered=powered)
    if pump.limit_stands(last.limit_ml):
        return volumes.reconcile(name, counted, powered=powered or last.forgets_limit)
    started = counted is not None and counted.infused_ml + counted.withdrawn_ml > 0
    return volumes.reconcile(name, None, started=started)


def _counter(pump: Pump) -> Dispensed | None:
    """What a pump counts whose alarm was just heard; a pushed one is said once more. None where its power was cut."""
    for _ in range(2):
        with suppress(PumpAlarm):
            return pump.dispensed() if pump.alarm != POWER else None
    return None


def _filled(
    pumps: Mapping[str, Equipment],
    volumes: Volumes,
    given: Mapping[str, float] | None,
    kept: bool = False,
    strict: bool = True,
) -> dict[str, float]:
    """What the syringes hold for certain: as given, else by the ledger; simulated ones are full, unless kept.

    An empty one is refused; one that nobody has told of only where `strict`: for a dry run it is full.
    """
    filled = dict(given or {})
    unknown = []
    for name, pump in pumps.items():
        if name in filled or (pump.port == SIMULATED and not kept):
            continue
        left = volumes.available_ml(name, pump.syringe.name)
        if left is not None:
            filled[name] = left
        else:
            unknown.append(name)
    if empty := [name for name, volume in filled.items() if volume <= 0]:
        raise BadInput(
            f"nothing is for certain in the syringe of the {' and of the '.join(empty)} pump",
            "fill it, then say what it holds: `twin rig refill CASE`",
        )
    if unknown and strict:
        raise BadInput(
            f"nobody has said what the {' and the '.join(unknown)} syringe{'s hold' if unknown[1:] else ' holds'}",
            'say it once, e.g. `twin rig refill CASE --antisolvent "50 mL"`',
        )
    return filled


def _end(recorder: Recorder, status: str, error: BaseException) -> None:
    """Closes the journal of a run that failed; if that fails too, the first error is the one to hear of."""
    try:
        recorder.event(END, status=status, reason=words(error))
    except TwinError as second:
        error.add_note(f"the journal could not be closed: {second.message}")
