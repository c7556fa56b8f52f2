"""The interlocks as functions of what is known, and the watchdog that stops a rig by itself."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from twin.case import Case
from twin.case.rig import Sensor
from twin.errors import BadInput
from twin.rig import Clock, Latch, Progress, Setpoint, Tripped, read, rig_folder, run, verify
from twin.rig.bench import simulated_line
from twin.rig.operation.interlocks import (
    ALWAYS,
    InsideHull,
    Measured,
    PumpView,
    Rule,
    Snapshot,
    Within,
    first_broken,
    pumps_answer,
    pumps_count_what_they_are_told,
    rates_are_allowed,
    run_ends_in_time,
    syringes_last,
)
from twin.rig.operation.ledger import Balance
from twin.rig.operation.session import GUARD_S
from twin.rig.planning.limits import equipment
from twin.rig.planning.schedule import Plan
from twin.rig.simulated.line import SimulatedLine
from twin.rig.simulated.memory import MemoryLine
from twin.rig.simulated.sensors import SensorFault, SimulatedSensor

WELL = PumpView(5000.0, (10.0, 7000.0), Balance("antisolvent", 10.0, 10.0, 0.01), 20.0, 1.0, 99.0)
CORNERS = [(1000.0, 60.0), (5000.0, 60.0), (5000.0, 10.0)]


def seen(kind: str = "hold", measured: dict[str, Measured] | None = None, **changes: Any) -> Snapshot:
    """A rig on which all is well at 100 s of the wall, but for what is changed at its antisolvent pump."""
    pumps = {"antisolvent": replace(WELL, **changes), "precursor": replace(WELL, told_ml_h=60.0)}
    return Snapshot(50.0, 100.0, kind, 60.0, 1.0, pumps, measured or {})


def broken(rule: Rule, snapshot: Snapshot) -> bool:
    words = rule(snapshot)
    assert words is None or words.strip()
    return words is not None


def test_where_all_is_well_no_rule_speaks() -> None:
    assert first_broken([*ALWAYS, InsideHull(CORNERS)], seen()) is None


@pytest.mark.parametrize(
    ("told", "seen_s", "expected"),
    [
        (5000.0, 98.5, False),
        (5000.0, 98.49, True),
        (-5000.0, 98.49, True),
        (0.0, 0.0, False),
        (5000.0, -math.inf, True),
    ],
)
def test_a_pump_that_runs_must_have_answered_lately(told: float, seen_s: float, expected: bool) -> None:
    assert broken(pumps_answer, seen(told_ml_h=told, seen_s=seen_s)) is expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (10.0, False), (9.99, True), (7000.0, False), (7000.1, True), (-7000.0, False), (-7000.1, True), (-9.99, True),
        (0.0, False),
    ],
)  # fmt: skip
def test_no_pump_is_told_a_rate_beyond_its_range(told: float, expected: bool) -> None:
    assert broken(rates_are_allowed, seen(told_ml_h=told)) is expected


@pytest.mark.parametrize(
    ("commanded", "counted", "uncertainty", "expected"),
    [
        (10.0, 9.71, 0.0, False),
        (10.0, 9.69, 0.0, True),
        (10.0, 10.31, 0.0, True),
        (10.0, 9.61, 0.1, False),
        (10.0, 9.59, 0.1, True),
        (0.0, 0.01, 0.02, False),
        (0.0, 0.03, 0.02, True),
    ],
)
def test_a_pump_must_count_what_it_was_told(
    commanded: float, counted: float, uncertainty: float, expected: bool
) -> None:
    balance = Balance("antisolvent", commanded, counted, uncertainty)
    assert broken(pumps_count_what_they_are_told, seen(balance=balance)) is expected


def test_a_pump_that_was_not_yet_asked_is_not_judged_by_its_count() -> None:
    assert not broken(pumps_count_what_they_are_told, seen(balance=None))


@pytest.mark.parametrize(
    ("told", "left", "expected"),
    [(5000.0, 0.5, False), (5000.0, 0.49, True), (5000.0, -1.0, True), (-5000.0, 0.1, False), (0.0, 0.1, False)],
)
def test_half_the_reserve_stays_in_a_syringe_that_infuses(told: float, left: float, expected: bool) -> None:
    assert broken(syringes_last, seen(told_ml_h=told, left_ml=left)) is expected


@pytest.mark.parametrize(
    ("ends_s", "speed", "expected"),
    [(45.0, 1.0, False), (44.9, 1.0, True), (0.0, 10.0, False), (-0.1, 10.0, True), (math.inf, 1.0, False)],
)
def test_a_run_may_outlast_its_plan_by_seconds_of_the_wall(ends_s: float, speed: float, expected: bool) -> None:
    assert broken(run_ends_in_time, replace(seen(), ends_s=ends_s, speed=speed)) is expected


@pytest.mark.parametrize(
    ("kind", "flows", "expected"),
    [
        ("hold", (5000.0, 60.0), False),
        ("hold", (5004.0, 60.0), False),
        ("hold", (5020.0, 60.0), True),
        ("hold", (999.0, 60.0), False),
        ("hold", (900.0, 60.0), True),
        ("hold", (2000.0, 30.0), True),
        ("ramp", (500.0, 6.0), False),
        ("prime", (500.0, 0.0), False),
        ("handover", (500.0, 60.0), False),
    ],
)
def test_a_hold_stays_in_the_hull(kind: str, flows: tuple[float, float], expected: bool) -> None:
    pumps = {
        name: replace(WELL, told_ml_h=flow) for name, flow in zip(("antisolvent", "precursor"), flows, strict=True)
    }
    assert broken(InsideHull(CORNERS), replace(seen(kind), pumps=pumps)) is expected


@pytest.mark.parametrize(("partner", "expected"), [(0.0, False), (-4000.0, False), (249.5, False), (300.0, True)])
def test_two_antisolvent_pumps_count_together_but_for_a_refill_and_a_take_up(partner: float, expected: bool) -> None:
    pumps = {
        "antisolvent": replace(WELL, told_ml_h=4990.0),
        "antisolvent-2": replace(WELL, told_ml_h=partner),
        "precursor": replace(WELL, told_ml_h=60.0),
    }
    assert broken(InsideHull(CORNERS), replace(seen(), pumps=pumps)) is expected


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (Measured(1.5, "bar", 0.0), None),
        (Measured(2.0, "bar", 0.0), None),
        (Measured(2.01, "bar", 0.0), "above 2 bar"),
        (Measured(1.0, "bar", 0.0), None),
        (Measured(0.99, "bar", 0.0), "below 1 bar"),
        (Measured(1.5, "bar", 3.0), None),
        (Measured(1.5, "bar", 3.01), "last read 3.0 s ago"),
        (Measured(None, "bar", 1.0), None),
        (Measured(None, "bar", 3.5), "last read 3.5 s ago"),
        (None, "last read never"),
    ],
)
def test_a_sensor_stays_within_its_limits_and_speaks(measured: Measured | None, expected: str | None) -> None:
    words = Within("p", 1.0, 2.0, 3.0)(seen(measured={"p": measured} if measured else {}))
    assert (words is None) if expected is None else expected in (words or "")


@pytest.mark.parametrize("value", [-1e9, 0.0, 1e9])
def test_a_sensor_without_limits_is_judged_by_its_age_alone(value: float) -> None:
    rule = Within("p", None, None, 3.0)
    assert not broken(rule, seen(measured={"p": Measured(value, "bar", 1.0)}))
    assert broken(rule, seen(measured={"p": Measured(value, "bar", 4.0)}))


def test_the_first_rule_that_is_broken_speaks() -> None:
    snapshot = seen(told_ml_h=9000.0, seen_s=0.0, left_ml=0.0)
    assert (first_broken(ALWAYS, snapshot) or ("",))[0] == "pumps_answer"
    assert (first_broken(ALWAYS[1:], snapshot) or ("",))[0] == "rates_are_allowed"
    found = first_broken([Within("p", None, None, 1.0)], snapshot)
    assert found is not None and found[0] == "Within"


# The watchdog, in whole runs.


def pressure(**changes: Any) -> Sensor:
    return Sensor(driver="simulated", unit="bar", value=0.1, period="0.2 s", **{"max_age": "1 s", **changes})


def with_sensor(case: Case, sensor: Sensor) -> Case:
    return case.model_copy(update={"rig": case.rig.model_copy(update={"sensors": {"p": sensor}})})


def assert_tripped(case: Case, line: MemoryLine | SimulatedLine, rule: str, error: Tripped) -> None:
    """Both pumps stand, the latch names the reason, and after the trip nothing was told to move."""
    assert error.rule == rule
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    latched = Latch(rig_folder(case)).reason()
    assert latched is not None
    assert latched.reasons[0].reason == error.message
    (path,) = rig_folder(case).glob("journal-*.jsonl")
    assert latched.reasons[0].journal == path.name
    checked = verify(path)
    assert checked.intact and checked.ended, checked
    entries = read(path)
    events = [entry["event"] for entry in entries]
    after = entries[events.index("trip") :]
    assert not [e for e in after if e["event"] == "wire" and ("RUN" in e["sent"] or "RAT" in e["sent"])]
    # The watchdog verified both, before the session did so once more.
    verified = [e["role"] for e in after[: [e["event"] for e in after].index("stop")] if e["event"] == "stopped"]
    assert sorted(verified) == ["antisolvent", "precursor"]


class Once:
    """Does something at the first report of a hold."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def __call__(self, progress: Progress) -> None:
        if progress.kind == "hold" and self._action is not None:
            action, self._action = self._action, None
            action()


def test_a_pressure_over_its_limit_trips(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    """The outlet takes 0.05 bar at the whole flow, so the limit is passed on the ramp."""
    limited = with_sensor(case, pressure(high=0.13))
    with pytest.raises(Tripped, match=r"p is 0\.1\d* bar, above 0\.13 bar") as caught:
        run(limited, setpoint, clock=clock, simulator=line)
    assert_tripped(case, line, "Within", caught.value)


def test_a_pressure_below_its_limit_trips_nothing(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    assert run(with_sensor(case, pressure(high=0.5)), setpoint, hold_s=2.0, clock=clock, simulator=line).ok


@pytest.mark.parametrize("fault", [SensorFault.SILENCE, SensorFault.GARBAGE])
def test_a_sensor_that_falls_silent_trips(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, fault: SensorFault, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = SimulatedSensor("p", "bar", lambda _: 0.1, clock)
    monkeypatch.setattr("twin.rig.control.simulated_sensors", lambda *_: lambda name, entry: sensor)
    begun: list[float] = []

    def spoil() -> None:
        begun.append(clock.now())
        sensor.inject(fault)

    with pytest.raises(Tripped, match="the sensor p was last read 1") as caught:
        run(with_sensor(case, pressure()), setpoint, clock=clock, simulator=line, on_progress=Once(spoil))
    assert_tripped(case, line, "Within", caught.value)
    (path,) = rig_folder(case).glob("journal-*.jsonl")
    trip = next(entry["t_s"] for entry in read(path) if entry["event"] == "trip")
    assert 0.7 < trip - begun[0] < 2.0


@pytest.mark.parametrize(("address", "role"), [(0, "antisolvent"), (1, "precursor")])
def test_a_pump_that_slips_trips(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, address: int, role: str
) -> None:
    def slip() -> None:
        line.pumps[address].slow(0.8, clock.now())

    with pytest.raises(Tripped, match=f"the {role} pump counts") as caught:
        run(case, setpoint, clock=clock, simulator=line, on_progress=Once(slip))
    assert_tripped(case, line, "pumps_count_what_they_are_told", caught.value)


def test_a_run_that_is_overdue_trips(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "duration_s", property(lambda _: 3.0))  # the steps take 25 s
    with pytest.raises(Tripped, match=r"the run is 5\.\d s past its end") as caught:
        run(case, setpoint, clock=clock, simulator=line)
    assert_tripped(case, line, "run_ends_in_time", caught.value)


def test_a_setpoint_outside_its_hull_trips(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lets it through to the session."""
    monkeypatch.setattr(Plan, "hull_ml_h", property(lambda _: [(1000.0, 60.0), (3000.0, 60.0), (3000.0, 10.0)]))
    with pytest.raises(Tripped, match="outside the hull") as caught:
        run(case, setpoint, clock=clock, simulator=line)
    assert_tripped(case, line, "InsideHull", caught.value)


def test_a_rule_that_can_not_judge_trips(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def confused(snapshot: Snapshot) -> str | None:
        raise ZeroDivisionError(snapshot.kind)

    monkeypatch.setattr("twin.rig.control.ALWAYS", (confused,))
    with pytest.raises(Tripped, match="the watchdog can't judge: ZeroDivisionError") as caught:
        run(case, setpoint, clock=clock, simulator=line)
    assert_tripped(case, line, "watchdog", caught.value)


def test_a_session_that_waits_too_long_trips(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    """On the virtual clock: the watchdog is asked while the session sleeps."""

    def dawdle() -> None:
        clock.sleep(3.0)
        assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]

    with pytest.raises(Tripped, match=r"pump was last heard 1\.5 s ago") as caught:
        run(case, setpoint, clock=clock, simulator=line, on_progress=Once(dawdle))
    assert_tripped(case, line, "pumps_answer", caught.value)


@pytest.fixture
def real(case: Case, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedLine]:
    """A line in real time, and a short ramp."""
    monkeypatch.setattr("twin.rig.planning.recipe.RAMP_S", 0.2)
    with simulated_line(equipment(case), Clock(1.0)) as simulated:
        yield simulated


def test_a_session_that_hangs_is_stopped_by_the_watchdog(case: Case, setpoint: Setpoint, real: SimulatedLine) -> None:
    """A callback that does not come back, in real time: the watchdog's thread stops both pumps meanwhile."""
    moments: dict[str, float] = {}

    def hang() -> None:
        began = time.monotonic()
        while time.monotonic() < began + GUARD_S - 0.5:  # before the pumps' own timers would
            if [real.state(address)[0] for address in (0, 1)] == ["S", "S"]:
                moments["stood"] = time.monotonic() - began
                break
            time.sleep(0.005)
        time.sleep(0.2)  # it goes on hanging for a while

    with pytest.raises(Tripped, match="was last heard") as caught:
        run(case, setpoint, clock=real.clock, simulator=real, on_progress=Once(hang))
    assert 1.0 < moments["stood"] < GUARD_S - 0.5
    print(f"\na session that hangs: both pumps stood {moments['stood']:.2f} s after it began to")
    assert_tripped(case, real, "pumps_answer", caught.value)


def test_a_session_that_never_comes_back_is_stopped_and_latched_all_the_same(
    case: Case, setpoint: Setpoint, real: SimulatedLine
) -> None:
    """While it still hangs, the pumps stand, the latch is on disk, and the journal's events wait in memory."""
    free, ended = threading.Event(), []

    def hang() -> None:
        free.wait(20)

    def work() -> None:
        try:
            run(case, setpoint, clock=real.clock, simulator=real, on_progress=Once(hang))
        except Tripped as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        end = time.monotonic() + 10
        while Latch(rig_folder(case)).reason() is None and time.monotonic() < end:
            time.sleep(0.02)
        latched = Latch(rig_folder(case)).reason()
        assert latched is not None and "was last heard" in latched.message
        assert [real.state(address)[0] for address in (0, 1)] == ["S", "S"]
        assert not ended
    finally:
        free.set()
        thread.join(10)
    assert len(ended) == 1
    assert_tripped(case, real, "pumps_answer", ended[0])


def test_a_pressure_over_its_limit_before_the_start_is_refused(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    with pytest.raises(BadInput, match=r"before anything moved, p is 0\.1 bar, above 0\.05 bar"):
        run(with_sensor(case, pressure(high=0.05)), setpoint, clock=clock, simulator=line)
    assert not line.heard
    assert Latch(rig_folder(case)).reason() is None
    (path,) = rig_folder(case).glob("journal-*.jsonl")
    assert verify(path).ended
