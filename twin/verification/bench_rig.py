"""The rig's timing on a simulated line at 19200 baud, in real time: the stop, the ten commands a second, the timer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from twin.operating import OperatingPoint
from twin.rig import Clock, Setpoint, read
from twin.rig.bench import simulated_pumps
from twin.rig.errors import PumpAlarm
from twin.rig.operation.interrupts import Interrupts
from twin.rig.operation.session import GUARD_S, Session
from twin.rig.operation.stopping import stop_all
from twin.rig.planning.limits import Equipment
from twin.rig.planning.recipe import Leg, Program
from twin.rig.planning.schedule import SIMULATED, Plan, Supply, steps_of
from twin.rig.port import open_port
from twin.rig.pumps.catalogue import pump_model, syringe
from twin.rig.pumps.drivers import baud_of, driver
from twin.rig.pumps.protocol import Pump
from twin.rig.record.journal import Journal
from twin.rig.record.recorder import Recorder
from twin.units import from_ml_per_h

STOPS = 20
STOP_S, JITTER_S = 0.5, 0.020  # what is asked

Watch = Callable[[str], None]


def rig(everything: bool = False, watch: Watch = lambda line: None) -> list[dict[str, Any]]:
    """How long a stop takes from a port that was just opened, how regular ten rates a second are, when the timer acts.

    Args:
        everything: five times as many stops.
        watch: told what is under way.
    """
    watch("stops")
    rows = [_stops(STOPS * (5 if everything else 1))]
    watch("ten rates a second")
    rows += _jitter()
    watch("the pumps' own timer")
    return [*rows, _timer()]


def _pumps() -> dict[str, Equipment]:
    """The paper's rig: two New Era pumps in a chain."""
    return {
        "antisolvent": Equipment("antisolvent", pump_model("NE-1010"), syringe("steel-50ml"), SIMULATED, 0),
        "precursor": Equipment("precursor", pump_model("NE-1000"), syringe("glass-50ml"), SIMULATED, 1),
    }


@contextmanager
def _line(clock: Clock) -> Iterator[Any]:
    from twin.rig.simulated.line import SimulatedLine

    with SimulatedLine(simulated_pumps(_pumps()), clock, baud=baud_of("newera")) as line:
        yield line


@contextmanager
def _drivers(path: str, clock: Clock, recorder: Recorder) -> Iterator[dict[str, Pump]]:
    port = open_port(path, baud_of("newera"), recorder.note, clock=clock)
    try:
        yield {
            name: driver(pump.model.family, port, pump.address, pump.name, pump.model.number, clock)
            for name, pump in _pumps().items()
        }
    finally:
        port.close()


def _plan() -> Plan:
    """A ramp of five seconds to 5000 and 60 mL/h, and two more there."""
    rates = {"antisolvent": 5000.0, "precursor": 60.0}
    program = Program((Leg(rates, 5.0, 2.0),), {}, "bench")
    point = OperatingPoint(from_ml_per_h(rates["antisolvent"]), from_ml_per_h(rates["precursor"]), 293.15)
    setpoint = Setpoint("bench", "", "", point, "", (), {}, datetime.now(UTC), {}, "", Path(), ())
    pumps = _pumps()
    supply = tuple(
        Supply(name, pump.syringe.name, pump.syringe.volume_ml, rates[name], 0.0, 0.0) for name, pump in pumps.items()
    )
    return Plan(setpoint, program, pumps, tuple(steps_of(program, pumps)), supply, ())


def _stops(count: int) -> dict[str, Any]:
    """Cold: the drivers know nothing of the pumps, as in an emergency."""
    seconds = []
    clock = Clock()
    for _ in range(count):
        with _line(clock) as line:
            silent = Recorder(None, clock.now)
            with _drivers(line.path, clock, silent) as pumps:
                _run(pumps)
            with _drivers(line.path, clock, silent) as pumps:
                began = clock.wall()
                problems = stop_all(pumps, clock, silent)
                seconds.append(clock.wall() - began)
            moving = [address for address in line.pumps if line.state(address)[0] != "S"]
            if problems or moving:
                raise RuntimeError(f"not stopped: {problems or moving}")
    worst = max(seconds)
    return {
        "what": "stop of two running pumps, verified, cold",
        "seconds": f"{np.median(seconds):.3f}",
        "note": f"worst of {count}: {worst:.3f} s; {STOP_S:g} s are asked: {'met' if worst <= STOP_S else 'NOT met'}",
    }


def _run(pumps: dict[str, Pump]) -> None:
    """Both pumps infuse, in Safe mode."""
    for name, pump in pumps.items():
        with suppress(PumpAlarm):  # it was just switched on
            pump.identify()
        pump.acknowledge()
        pump.prepare(_pumps()[name].syringe.diameter_mm, fine=False)
        pump.guard(GUARD_S)
        pump.set_rate_ml_h(60.0)
        pump.start()


def _jitter() -> list[dict[str, Any]]:
    """When new rates take effect, against the plan: the scatter about their mean delay."""
    clock = Clock()
    plan = _plan()
    with tempfile.TemporaryDirectory() as folder, _line(clock) as line, Journal.create(Path(folder)) as journal:
        recorder = Recorder(journal, clock.now)
        with _drivers(line.path, clock, recorder) as pumps:
            Session(plan, pumps, clock, recorder).run(Interrupts())
        entries = read(journal.path)
    begins = [step.start_s for step in plan.steps]
    rows = []
    for name in plan.pumps:
        told = [
            entry["from_s"]
            for entry in entries
            if entry["event"] == "rate" and entry["role"] == name and entry["rate_ml_h"]
        ]
        late = 1e3 * (np.array(told) - np.array(begins[: len(told)]))
        late -= late.mean()
        worst = np.abs(late).max()
        met = "met" if worst <= 1e3 * JITTER_S and len(told) == len(begins) else "NOT met"
        rows.append(
            {
                "what": f"ten rates a second, {name}: jitter",
                "seconds": f"{1e-3 * late.std():.4f}",
                "note": f"worst of {len(told)}: {worst:.1f} ms; {1e3 * JITTER_S:g} ms are asked: {met}",
            }
        )
    return rows


def _timer() -> dict[str, Any]:
    """The host falls silent: how long the pumps run on."""
    clock = Clock()
    with _line(clock) as line, _drivers(line.path, clock, Recorder(None, clock.now)) as pumps:
        _run(pumps)
        began = clock.wall()
        while any(line.state(address)[0] == "I" for address in line.pumps):
            if clock.wall() - began > 3 * GUARD_S:
                raise RuntimeError("the pumps' own timer did not stop them")
            clock.pause(0.02)
        seconds = clock.wall() - began
    met = "met" if seconds <= GUARD_S + 0.1 else "NOT met"
    return {
        "what": "host silent: both pumps stopped by their own timer",
        "seconds": f"{seconds:.2f}",
        "note": f"the timer is set to {GUARD_S:g} s: {met}",
    }
