"""Harvard pumps in one chain, through whole runs: only the first of them answers what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from rig_lines import chained
from rig_schedules import SCHEDULES, Schedule, play

from twin.case import Case
from twin.errors import BadInput
from twin.rig import (
    Clock,
    Latch,
    NotStopped,
    RigError,
    Setpoint,
    Volumes,
    check,
    emergency_stop,
    load_setpoint,
    plan,
    read,
    run,
)
from twin.rig.bench import simulated_pumps
from twin.rig.clock import VirtualClock
from twin.rig.operation.stopping import stop_all
from twin.rig.planning.limits import RAMP_STEP_S, Equipment, command_step_s, equipment
from twin.rig.planning.recipe import Leg, Program
from twin.rig.planning.steps import PARTNER
from twin.rig.port import Port
from twin.rig.pumps.drivers import baud_of
from twin.rig.pumps.harvard import HarvardPump
from twin.rig.record.recorder import Recorder
from twin.rig.record.replay import replay
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.line import SimulatedLine
from twin.rig.simulated.memory import MemoryLine

BAUD = baud_of("harvard")
#: Two on a cable, either of them first, and three.
CHAINS = {"two": (0, 1), "the precursor first": (1, 0), "three": (0, 1, 2), "three, the partner first": (1, 2, 0)}


pytestmark = pytest.mark.usefixtures("hasty_disk")


@pytest.fixture(params=CHAINS)
def chain(case: Case, request: pytest.FixtureRequest) -> Case:
    return chained(case, CHAINS[request.param])


def on(case: Case, clock: VirtualClock, baud: int = BAUD) -> MemoryLine:
    return MemoryLine(simulated_pumps(equipment(case)), clock, baud)


def rates(journal: Path, role: str) -> list[float]:
    """From when on each rate of a pump was booked, s."""
    found = [entry for entry in read(journal) if entry["event"] == "rate" and entry["role"] == role]
    return [entry["from_s"] for entry in found if entry["rate_ml_h"]]


def test_a_whole_run_primes_ramps_holds_and_stops(
    chain: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path
) -> None:
    program = Program(
        (
            Leg({"antisolvent": 5000.0, "precursor": 60.0}, 5.0, 4.0),
            Leg({"antisolvent": 3000.0, "precursor": 45.0}, 2.0, 3.0),
        ),
        {"antisolvent": 2.0, "precursor": 0.2},
        "test",
    )
    line = on(chain, clock)
    result = run(chain, setpoint, program=program, folder=tmp_path, clock=clock, simulator=line)
    assert result.ok, result.lines()
    assert {line.state(address)[0] for address in line.pumps} == {"S"}
    assert all(abs(one.difference_percent) < 0.5 for one in result.balances.values()), result.lines()
    replayed = replay(result.journal)
    assert replayed.ok, replayed.lines()
    assert replayed.spoilt == 0 < replayed.unanswered
    assert Latch(tmp_path).reason() is None
    for role in ("antisolvent", "precursor"):
        ramp = rates(result.journal, role)[1:51]  # fifty steps of the first leg, at ten a second
        assert max(abs(later - earlier - RAMP_STEP_S) for earlier, later in pairwise(ramp)) < 0.05


def test_two_pumps_of_a_chain_take_turns(case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path) -> None:
    case = chained(case, (0, 1, 2))
    line = on(case, clock)
    result = run(case, setpoint, hold_s=150.0, folder=tmp_path, clock=clock, simulator=line)
    assert result.ok, result.lines()
    assert {"antisolvent refill", f"{PARTNER} refill"} <= set(result.balances)
    total = sum(line.state(address)[1] for address in (0, 2))
    refilled = sum(result.balances[f"{name} refill"].counted_ml for name in ("antisolvent", PARTNER))
    told = 5000 * (150.0 + 5.0 * 0.55) / 3600
    assert total + refilled == pytest.approx(told, rel=0.02)
    replayed = replay(result.journal)
    assert replayed.ok, replayed.lines()


def test_the_dry_run_tells_every_byte(chain: Case, setpoint: Setpoint) -> None:
    text = "\n".join(check(chain, setpoint, hold_s=5.0).lines())
    assert "irun" in text
    assert "b'01irun" in text
    assert "new rates go out" not in text


def test_all_are_told_to_stop_before_any_is_waited_for(case: Case, clock: VirtualClock) -> None:
    """Cold: the drivers know nothing of the pumps, and nobody has put those into polling mode."""
    pumps = equipment(chained(case, (1, 0, 2)))
    line = MemoryLine(simulated_pumps(pumps), clock, BAUD)
    device = line.device()
    for address in line.pumps:
        device.write(b"%02dirun\r" % address)
    device.read(200)
    line.heard.clear()
    began = clock.wall()
    assert not stop_all(drivers(pumps, line), clock, Recorder(None, clock.now))
    assert clock.wall() - began < 0.35
    assert [command for command in line.heard if command.endswith(b"stp")][:3] == [b"stp", b"02stp", b"01stp"]
    assert all(b"status" not in command for command in line.heard[:3])
    assert {line.state(address)[0] for address in line.pumps} == {"S"}


def drivers(pumps: Mapping[str, Equipment], line: MemoryLine) -> dict[str, HarvardPump]:
    port = Port(line.device(), "memory", clock=line.clock)
    return {name: HarvardPump(port, pump.address, name, clock=line.clock) for name, pump in pumps.items()}


def test_a_silent_pump_keeps_nobody_from_stopping_the_others(case: Case, clock: VirtualClock) -> None:
    pumps = equipment(chained(case, (1, 0, 2)))
    line = MemoryLine(simulated_pumps(pumps), clock, BAUD)
    made = drivers(pumps, line)
    for pump in made.values():
        pump.prepare(20.0, fine=False)
        pump.set_rate_ml_h(60.0)
        pump.start()
    line.inject(Fault.SILENCE, 0)
    began = clock.now()
    stood: dict[int, float] = {}

    def look() -> None:
        for address in line.pumps:
            if line.state(address)[0] == "S":
                stood.setdefault(address, clock.now() - began)

    clock.every(0.005, look, "truth")
    problems = stop_all(made, clock, Recorder(None, clock.now), 1.0)
    assert set(problems) == {"precursor"}
    assert set(stood) == {1, 2}
    assert max(stood.values()) < 0.2


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.RESET, Fault.SILENCE, Fault.UNPLUGGED])
@pytest.mark.parametrize("address", [0, 1])
def test_a_fault_in_a_chain_stops_all_and_latches(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, fault: Fault, address: int
) -> None:
    case = chained(case)
    line = on(case, clock)

    def strike() -> None:
        task.cancel()
        line.inject(fault, address)

    task = clock.every(7.0, strike, "fault")
    with pytest.raises(RigError) as error:
        run(case, setpoint, hold_s=20.0, folder=tmp_path, clock=clock, simulator=line)
    assert Latch(tmp_path).reason() is not None
    unheard = {0, 1} if fault is Fault.UNPLUGGED else {address} if fault is Fault.SILENCE else set()
    assert isinstance(error.value, NotStopped) is bool(unheard)
    assert {line.state(one)[0] for one in {0, 1} - unheard} <= {"S"}
    clock.sleep(30.0)  # a Harvard pump has no timer, but the volume that the run needs
    assert {line.state(one)[0] for one in (0, 1)} == {"S"}


@pytest.mark.parametrize("at_s", [20.0, 60.0, 100.0])
def test_pumps_that_take_turns_end_their_stroke_by_themselves(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, at_s: float
) -> None:
    """The cable is pulled out for good: one infuses, one refills or rests, and none runs onto an end of its syringe."""
    case = chained(case, (0, 1, 2))
    line = on(case, clock)

    def strike() -> None:
        task.cancel()
        line.unplug()

    task = clock.every(at_s, strike, "cable")
    with pytest.raises(NotStopped):
        run(case, setpoint, hold_s=150.0, folder=tmp_path, clock=clock, simulator=line)
    clock.sleep(1000.0)
    assert {line.state(address)[0] for address in line.pumps} == {"S"}
    for pump in line.pumps.values():
        assert not pump.stalled  # type: ignore[attr-defined]
        assert 0.49 < pump.volume_ml < 50.01
    line.plug_in()
    Latch(tmp_path).acknowledge("the operator")
    with suppress(BadInput):  # where a syringe does not last, it is settled all the same
        run(case, setpoint, hold_s=0.5, folder=tmp_path, clock=clock, simulator=line)
    for name, pump in equipment(case).items():
        left = Volumes.open(tmp_path).left(name)
        assert left is not None
        assert left.left_ml == pytest.approx(line.pumps[pump.address].volume_ml, abs=2e-3)


def schedules(case: Case, setpoint: Setpoint, where: Path, count: int, search: bool = True) -> set[str]:
    """How schedules of faults end, the same in every run, or with `search` others each time."""
    ends: set[str] = set()

    @settings(
        max_examples=count,
        derandomize=not search,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(SCHEDULES)
    def check(schedule: Schedule) -> None:
        ends.add(play(chained(case), setpoint, schedule, where).error)

    check()
    return ends


def test_schedules_of_faults_end_stopped_latched_and_written(case: Case, setpoint: Setpoint, tmp_path: Path) -> None:
    assert len(schedules(case, setpoint, tmp_path / "rig", 25, search=False)) > 2


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_two_thousand_schedules_of_faults(case: Case, setpoint: Setpoint, tmp_path: Path) -> None:
    assert len(schedules(case, setpoint, tmp_path / "rig", 2000)) > 3


@pytest.mark.parametrize(("addresses", "fine"), [((0, 1), True), ((1, 0), True), ((1, 2), False), ((0, 2), False)])
def test_a_chain_is_numbered_from_0_on(case: Case, addresses: tuple[int, int], fine: bool) -> None:
    case = chained(case, addresses, "/dev/ttyUSB0")
    if fine:
        assert len(equipment(case)) == 2
    else:
        with pytest.raises(BadInput, match="number them from 0 on") as error:
            equipment(case)
        assert f"the addresses {addresses[0]} and {addresses[1]}" in str(error.value)


def test_pumps_with_a_port_each_may_have_any_address(case: Case) -> None:
    case = chained(case, (5, 5), "/dev/ttyUSB0")
    other = case.rig.precursor.model_copy(update={"port": "/dev/ttyUSB1"})
    assert len(equipment(case.model_copy(update={"rig": case.rig.model_copy(update={"precursor": other})}))) == 2


def test_a_slow_line_is_told_new_rates_less_often_and_the_plan_says_so(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path
) -> None:
    fast, slow = chained(case), chained(case, baud=9600)
    assert command_step_s(equipment(case).values()) == command_step_s(equipment(fast).values()) == RAMP_STEP_S
    made = plan(slow, setpoint)
    (note,) = [note for note in made.notes if "new rates go out" in note]
    assert note == "new rates go out every 0.25 s instead of every 0.1 s: the lines (9600 baud) hold no more"
    ramp = [step for step in made.steps if step.kind == "ramp"]
    assert {round(step.duration_s, 6) for step in ramp} == {0.25}
    result = run(slow, setpoint, hold_s=5.0, folder=tmp_path, clock=clock, simulator=on(slow, clock, 9600))
    assert result.ok, result.lines()
    assert len(rates(result.journal, "precursor")) == len(ramp) + 1  # none came too late


def test_an_emergency_stop_of_a_chain_is_verified_within_half_a_second(
    case: Case, propose: Callable[..., Path], tmp_path: Path
) -> None:
    clock = Clock()
    with SimulatedLine(simulated_pumps(equipment(chained(case, (0, 1, 2)))), clock, baud=BAUD) as line:
        wired = chained(case, (0, 1, 2), line.path)
        assert load_setpoint(propose(), wired)
        for address in line.pumps:
            line.pumps[address].run("i")  # type: ignore[attr-defined]
        began = clock.wall()
        said = emergency_stop(wired, folder=tmp_path)
        assert clock.wall() - began < 0.5
        assert sum("verified stopped" in text for text in said) == 3
        assert {line.state(address)[0] for address in line.pumps} == {"S"}


def test_pumps_on_one_port_have_one_speed(case: Case) -> None:
    case = chained(case, (0, 1), "/dev/ttyUSB0")
    pump = case.rig.precursor.model_copy(update={"baud": 9600})
    with pytest.raises(BadInput, match="two pumps on one port need the same speed"):
        equipment(case.model_copy(update={"rig": case.rig.model_copy(update={"precursor": pump})}))
