"""The volume at which a Harvard pump stops by itself: what it tells of a power cut, and how it bounds the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rig_lines import chained
from rig_schedules import KINDS

from twin.case import Case
from twin.errors import BadInput
from twin.rig import Latch, NotStopped, RigError, Setpoint, Volumes, plan, run
from twin.rig.bench import simulated_pumps
from twin.rig.clock import VirtualClock
from twin.rig.operation.drive import Drive
from twin.rig.operation.session import AHEAD, LATE_S
from twin.rig.planning.limits import equipment
from twin.rig.pumps.drivers import baud_of
from twin.rig.pumps.harvard import HarvardPump
from twin.rig.simulated import harvard_commands
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.harvard import SimulatedHarvard
from twin.rig.simulated.harvard_units import Refused
from twin.rig.simulated.memory import MemoryLine
from twin.rig.wire import harvard as wire

pytestmark = pytest.mark.usefixtures("hasty_disk")


def on(case: Case, clock: VirtualClock) -> MemoryLine:
    return MemoryLine(simulated_pumps(equipment(case)), clock, baud_of("harvard"))


def at_start(monkeypatch: pytest.MonkeyPatch, name: str, strike: Callable[[], None]) -> None:
    """Lets something happen to a pump just as it is told to start."""
    start = HarvardPump.start

    def struck(pump: HarvardPump) -> None:
        if name in pump.name:
            strike()
        start(pump)

    monkeypatch.setattr(HarvardPump, "start", struck)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("address", [0, 1])
def test_a_start_that_was_not_heard_has_moved_nothing_unless_the_power_was_cut(
    case: Case,
    setpoint: Setpoint,
    clock: VirtualClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: int,
    cut: bool,
) -> None:
    """It tells of no power cut, and counts nothing either way: what tells is the volume at which it was to stop."""
    case, program = chained(case), KINDS["short"].program
    line = on(case, clock)
    (name,) = [name for name, pump in equipment(case).items() if pump.address == address]
    planned = plan(case, setpoint, program=program)
    limit_ml = (1 + AHEAD) * planned.needed_ml(name) + planned.largest_ml_h(name) * LATE_S / 3600
    at_start(monkeypatch, name, lambda: line.inject(Fault.SILENCE, address))
    with pytest.raises(NotStopped):
        run(case, setpoint, program=program, folder=tmp_path, clock=clock, simulator=line)
    line.heal(address)
    if cut:
        line.inject(Fault.RESET, address)
    Latch(tmp_path).acknowledge("the operator")
    with pytest.raises(BadInput, match="syringe"):  # it settles the account, and does not start
        run(case, setpoint, hold_s=3600.0, folder=tmp_path, clock=clock, simulator=line)
    left, truly_ml = Volumes.open(tmp_path).left(name), line.pumps[address].volume_ml
    assert left is not None
    assert truly_ml == 50.0
    assert abs(left.left_ml - truly_ml) <= left.uncertain_ml + 1e-9
    assert left.by == ("reckoned" if cut else "counter")
    assert left.uncertain_ml == pytest.approx(limit_ml / 2 if cut else 0.0, rel=1e-3, abs=1e-9)


def test_a_pump_that_missed_its_start_has_counted_nothing(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hears the stop again: then the run itself knows what was moved."""
    case = chained(case)
    line = on(case, clock)
    at_start(monkeypatch, "precursor", lambda: line.inject(Fault.SILENCE, 1, 1))
    with pytest.raises(RigError, match="pumps_answer"):
        run(case, setpoint, hold_s=5.0, folder=tmp_path, clock=clock, simulator=line)
    left = Volumes.open(tmp_path).left("precursor")
    assert left is not None
    assert (left.by, line.pumps[1].volume_ml) == ("run", 50.0)
    assert (left.left_ml, left.uncertain_ml) == pytest.approx((50.0, 0.0), abs=1e-9)


def test_a_power_cut_at_the_start_leaves_an_interval_that_holds(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs, at the rate of its memory and without a limit, answers as nobody expects, and loses its power again."""
    case = chained(case)
    line = on(case, clock)
    at_start(monkeypatch, "antisolvent", lambda: line.inject(Fault.RESET, 0))
    stop = HarvardPump.request_stop

    def stopped(pump: HarvardPump) -> None:
        if line.state(0)[0] == "I":
            line.inject(Fault.RESET, 0)
        stop(pump)

    monkeypatch.setattr(HarvardPump, "request_stop", stopped)
    with pytest.raises(RigError):
        run(case, setpoint, hold_s=5.0, folder=tmp_path, clock=clock, simulator=line)
    left, truly_ml = Volumes.open(tmp_path).left("antisolvent"), line.pumps[0].volume_ml
    assert left is not None
    assert 49.9 < truly_ml < 49.999
    assert abs(left.left_ml - truly_ml) < left.uncertain_ml < 0.2


@pytest.mark.parametrize("name", ["antisolvent", "precursor"])
@pytest.mark.parametrize("memory", ["20 u/m", "1 ml/min", "20 ml/min"])
def test_a_start_that_found_a_pump_back_from_a_power_cut_leaves_an_interval_that_holds(
    case: Case,
    setpoint: Setpoint,
    clock: VirtualClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    memory: str,
) -> None:
    """The cut fell between the last look and the start: it runs at the rate of its memory, which may be the larger."""
    case = chained(case)
    line, address = on(case, clock), {"antisolvent": 0, "precursor": 1}[name]
    pump = line.pumps[address]
    pump.execute(f"irate {memory}", address, clock.now())  # type: ignore[attr-defined]
    at_start(monkeypatch, f"the {name}", lambda: line.inject(Fault.RESET, address))
    with pytest.raises(RigError):
        run(case, setpoint, hold_s=5.0, folder=tmp_path, clock=clock, simulator=line)
    left = Volumes.open(tmp_path).left(name)
    assert left is not None
    assert pump.volume_ml < 50.0
    assert abs(left.left_ml - pump.volume_ml) <= left.uncertain_ml + 1e-9
    assert left.uncertain_ml < 1.0, "of what it can have moved until it stood"


def test_a_pump_that_runs_without_its_limit_may_have_emptied_its_syringe(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, and then its cable is pulled out: nobody stops it."""
    case = chained(case)
    line = on(case, clock)

    def cut() -> None:
        line.inject(Fault.RESET, 1)
        line.device().write(b"01irun\r")
        line.unplug()

    at_start(monkeypatch, "the precursor", cut)
    with pytest.raises(NotStopped):
        run(case, setpoint, hold_s=5.0, folder=tmp_path, clock=clock, simulator=line)
    clock.sleep(600.0)
    line.plug_in()
    Latch(tmp_path).acknowledge("the operator")
    with pytest.raises(BadInput, match="nothing is for certain"):
        run(case, setpoint, hold_s=5.0, folder=tmp_path, clock=clock, simulator=line)
    left, truly_ml = Volumes.open(tmp_path).left("precursor"), line.pumps[1].volume_ml
    assert left is not None
    assert truly_ml == pytest.approx(40.0, abs=0.1)
    assert abs(left.left_ml - truly_ml) <= left.uncertain_ml


def test_a_power_cut_while_others_are_armed_is_found_before_anything_moves(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = chained(case)
    line = on(case, clock)
    arm = Drive.arm

    def armed(drive: Drive, *args: float) -> None:
        arm(drive, *args)
        if drive.name == "precursor":
            line.inject(Fault.RESET, 0)

    monkeypatch.setattr(Drive, "arm", armed)
    with pytest.raises(RigError):
        run(case, setpoint, hold_s=5.0, folder=tmp_path, clock=clock, simulator=line)
    assert {pump.volume_ml for pump in line.pumps.values()} == {50.0}
    assert not [command for command in line.heard if b"run" in command]
    assert Latch(tmp_path).reason() is None


def test_a_pump_that_stores_its_limit_proves_nothing_by_it(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firmware without `nvram none`: its target outlasts the power, and its counter does not."""
    case = chained(case)
    line = on(case, clock)
    known = harvard_commands.execute

    def older(pump: SimulatedHarvard, command: str) -> list[str]:
        if command.split()[:1] == ["nvram"]:
            raise Refused(wire.COMMAND_ERROR, "Unknown command", "nvram")
        answer = known(pump, command)
        pump.stored = replace(pump.settings)
        return answer

    monkeypatch.setattr(harvard_commands, "execute", older)

    def cut() -> None:
        """It runs, and is not heard to; then its power goes, too."""
        task = clock.every(0.3, lambda: (line.inject(Fault.RESET, 0), task.cancel()), "power")
        line.inject(Fault.MUTE, 0)

    at_start(monkeypatch, "antisolvent", cut)
    with pytest.raises(RigError):
        run(case, setpoint, hold_s=5.0, folder=tmp_path, clock=clock, simulator=line)
    clock.sleep(5.0)
    line.heal(0)
    Latch(tmp_path).acknowledge("the operator")
    with pytest.raises(BadInput, match="syringe"):
        run(case, setpoint, hold_s=3600.0, folder=tmp_path, clock=clock, simulator=line)
    left, truly_ml = Volumes.open(tmp_path).left("antisolvent"), line.pumps[0].volume_ml
    assert left is not None
    assert truly_ml < 49.99
    assert left.by == "reckoned"
    assert abs(left.left_ml - truly_ml) <= left.uncertain_ml


def test_a_limit_that_is_gone_tells_of_a_power_cut_whatever_the_counter_shows(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path
) -> None:
    """The cable is out for good; the pump runs on, loses its power, and somebody primes it at its keys."""
    case = chained(case)
    line = on(case, clock)
    task = clock.every(6.0, lambda: (line.unplug(), task.cancel()), "cable")
    with pytest.raises(NotStopped):
        run(case, setpoint, hold_s=20.0, folder=tmp_path, clock=clock, simulator=line)
    line.inject(Fault.RESET, 0)
    pump = line.pumps[0]
    for command in ("irate 600 m/h", "irun"):
        pump.execute(command, 0, clock.now())  # type: ignore[attr-defined]
    clock.sleep(30.0)
    pump.execute("stp", 0, clock.now())  # type: ignore[attr-defined]
    line.plug_in()
    primed_ml = 5.0
    Latch(tmp_path).acknowledge("the operator")
    with pytest.raises(BadInput, match="syringe"):
        run(case, setpoint, hold_s=3600.0, folder=tmp_path, clock=clock, simulator=line)
    left = Volumes.open(tmp_path).left("antisolvent")
    assert left is not None
    assert left.by == "reckoned", "its counter shows more than it did, and yet it was lost"
    assert abs(left.left_ml - (pump.volume_ml + primed_ml)) <= left.uncertain_ml + 1e-6  # of the keys nobody knows


def test_a_limit_stands_until_the_account_is_closed(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies, or finds its disk full, as it closes the account: its pumps still know what they counted."""
    case = chained(case)
    line = on(case, clock)
    with monkeypatch.context() as broken:
        broken.setattr(Volumes, "close", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        run(case, setpoint, hold_s=5.0, folder=tmp_path, clock=clock, simulator=line)
    with pytest.raises(BadInput, match="syringe"):
        run(case, setpoint, hold_s=3600.0, folder=tmp_path, clock=clock, simulator=line)
    for name, pump in equipment(case).items():
        left = Volumes.open(tmp_path).left(name)
        assert left is not None
        assert left.by == "counter"
        assert left.left_ml == pytest.approx(line.pumps[pump.address].volume_ml, abs=1e-6)


@pytest.mark.parametrize("share", [0.996, 1.004])
def test_a_counter_that_is_a_little_off_ends_no_long_run(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, share: float
) -> None:
    """Within the tolerance of the ledger, and so within the limit at which it stops by itself."""
    case = chained(case)
    line = on(case, clock)
    for pump in line.pumps.values():
        pump.slow(share, 0.0)  # type: ignore[attr-defined]
    result = run(case, setpoint, hold_s=25.0, folder=tmp_path, clock=clock, simulator=line)
    assert result.ok, result.lines()
    for pump in line.pumps.values():
        assert pump.settings.target is None, "nothing is left that another program does not expect"  # type: ignore[attr-defined]
