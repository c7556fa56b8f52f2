"""The driver against the simulated pumps, over a real pseudo-terminal: the contract of a pump, alarms, the chain."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from twin.case import Case
from twin.errors import BadInput
from twin.rig import Clock
from twin.rig.bench import simulated_line
from twin.rig.clock import VirtualClock
from twin.rig.errors import CommandRefused, NoReply, NotStopped, PumpAlarm, RigError
from twin.rig.planning.limits import equipment
from twin.rig.port import Port, open_port
from twin.rig.pumps.newera import NewEraPump
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.line import SimulatedLine


@pytest.fixture
def line(case: Case, clock: Clock) -> Iterator[SimulatedLine]:
    """Both pumps of the case behind a pseudo-terminal, just switched on."""
    with simulated_line(equipment(case), clock) as simulated:
        yield simulated


@pytest.fixture
def port(line: SimulatedLine) -> Iterator[Port]:
    opened = open_port(line.path, 19200, deadline_s=0.3)
    yield opened
    opened.close()


@pytest.fixture
def pumps(port: Port, clock: Clock) -> list[NewEraPump]:
    made = [NewEraPump(port, address, clock=clock) for address in (0, 1)]
    for pump in made:
        with pytest.raises(PumpAlarm, match="reset"):
            pump.identify()
        pump.acknowledge()
    return made


def test_a_reply_that_came_in_time_is_taken_by_a_process_that_was_held_up() -> None:
    """It slept past the deadline, between its question and the reading."""
    clock, waiting = VirtualClock(), bytearray()

    class HeldUp:
        @property
        def in_waiting(self) -> int:
            return len(waiting)

        def write(self, data: bytes, /) -> None:
            waiting.extend(b"pump")

        def read(self, size: int = 1, /) -> bytes:
            clock.pass_by(5.0)
            taken = bytes(waiting[:size])
            del waiting[:size]
            return taken

        def close(self) -> None:
            pass

    port = Port(HeldUp(), "x", clock=clock)
    assert port.exchange(b"?", lambda received: received == b"pump") == b"pump"
    with pytest.raises(NoReply, match="only b'pump' came"):
        port.exchange(b"?", lambda received: False)


def test_the_bytes_of_one_rate(pumps: list[NewEraPump], line: SimulatedLine) -> None:
    pumps[1].prepare(28.6, fine=False)
    line.heard.clear()
    pumps[1].set_rate_ml_h(60.0)
    assert line.heard == [b"01RAT60.00MH", b"01RAT"]


def test_one_address_does_not_move_the_other(pumps: list[NewEraPump], line: SimulatedLine) -> None:
    for pump in pumps:
        pump.prepare(28.6, fine=False)
        pump.set_rate_ml_h(100.0)
    pumps[1].start()
    assert (line.state(0)[0], line.state(1)[0]) == ("S", "I")
    pumps[0].stop()
    assert line.state(1)[0] == "I"
    pumps[1].stop()


def test_an_address_where_nobody_is_stays_silent(port: Port) -> None:
    with pytest.raises(NoReply):
        NewEraPump(port, 7).status()


def test_a_pump_of_another_model_is_refused(port: Port, pumps: list[NewEraPump]) -> None:
    with pytest.raises(BadInput, match="NE-1010, not an NE-1000"):
        NewEraPump(port, 0, model_number="1000").identify()


@pytest.mark.parametrize("rate", [2000.0, 9999.0])
def test_a_rate_beyond_the_pump_is_refused_by_the_pump_too(pumps: list[NewEraPump], rate: float) -> None:
    pumps[1].prepare(28.6, fine=False)
    with pytest.raises(CommandRefused, match=r"\?OOR"):
        pumps[1].set_rate_ml_h(rate)


def test_an_unsent_alarm_lets_no_command_through(pumps: list[NewEraPump], line: SimulatedLine) -> None:
    pumps[0].prepare(28.6, fine=False)
    pumps[0].set_rate_ml_h(100.0)
    pumps[0].start()
    line.inject(Fault.STALL, 0)
    with pytest.raises(PumpAlarm, match="stalled"):
        pumps[0].set_rate_ml_h(200.0)
    with pytest.raises(PumpAlarm, match="not yet acknowledged"):
        pumps[0].start()
    assert line.heard[-1] == b"00RAT200.0"
    assert line.state(0)[0] == "S"
    pumps[0].stop()  # a stop goes through all the same
    pumps[0].acknowledge()
    pumps[0].start()
    pumps[0].stop()


def test_a_syringe_that_runs_out_stalls(pumps: list[NewEraPump], line: SimulatedLine, clock: Clock) -> None:
    line.pumps[0].volume_ml = 0.5
    pumps[0].prepare(28.6, fine=True)
    pumps[0].set_rate_ml_h(5000.0)
    pumps[0].start()
    clock.sleep(1.0)
    with pytest.raises(PumpAlarm, match="stalled"):
        pumps[0].dispensed()
    assert line.state(0) == ("S", pytest.approx(0.5))
    assert pumps[0].dispensed().infused_ml == pytest.approx(0.5)


def test_a_stop_survives_an_alarm_lost_replies_and_a_late_start(pumps: list[NewEraPump], line: SimulatedLine) -> None:
    for fault, times in (
        (Fault.MUTE, 1),
        (Fault.PARTIAL, 2),
        (Fault.GARBAGE, 1),
        (Fault.WRONG_ADDRESS, 2),
        (Fault.SILENCE, 1),
    ):
        pumps[0].acknowledge()
        pumps[0].prepare(28.6, fine=False)
        pumps[0].set_rate_ml_h(100.0)
        pumps[0].start()
        line.inject(fault, 0, times)
        pumps[0].stop()
        assert line.state(0)[0] == "S", fault


def test_a_pump_that_never_answers_is_not_called_stopped(
    pumps: list[NewEraPump], port: Port, line: SimulatedLine
) -> None:
    pumps[0].prepare(28.6, fine=False)
    pumps[0].set_rate_ml_h(100.0)
    pumps[0].start()
    line.inject(Fault.SILENCE, 0)
    with pytest.raises(NotStopped, match=r"switch .* off at the mains"):
        NewEraPump(port, 0).stop(deadline_s=0.5)
    assert line.state(0)[0] == "I"


def test_commands_from_many_threads_stay_whole(pumps: list[NewEraPump]) -> None:
    problems: list[BaseException] = []
    for pump in pumps:
        pump.set_rate_ml_h(100.0)

    def ask(pump: NewEraPump) -> None:
        try:
            for _ in range(50):
                pump.identify()
                pump.rate_ml_h()
        except RigError as error:
            problems.append(error)

    threads = [threading.Thread(target=ask, args=(pump,)) for pump in pumps for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_the_simulator_ends_cleanly(case: Case, clock: Clock) -> None:
    proc = Path("/proc/self/fd")
    if not proc.is_dir():
        pytest.skip("needs /proc")
    before, threads = len(list(proc.iterdir())), threading.active_count()
    for _ in range(5):
        with simulated_line(equipment(case), clock) as simulated:
            opened = open_port(simulated.path, 19200)
            with pytest.raises(PumpAlarm):
                NewEraPump(opened, 0).status()
            opened.close()
        simulated.close()  # a second time does nothing
    assert (len(list(proc.iterdir())), threading.active_count()) == (before, threads)


def test_the_simulators_share_no_code_with_the_drivers() -> None:
    import twin.rig.simulated

    for path in Path(twin.rig.simulated.__file__ or "").parent.glob("*.py"):
        rows = path.read_text(encoding="utf-8").splitlines()
        imported = [row.split()[1] for row in rows if row.startswith(("from twin", "import twin"))]
        assert not [name for name in imported if name.startswith("twin.rig.pumps")], path.name


def test_a_pump_that_was_stopped_at_its_keys_says_so_at_the_next_rate(
    pumps: list[NewEraPump], line: SimulatedLine
) -> None:
    pump = pumps[0]
    pump.prepare(28.6, fine=False)
    pump.set_rate_ml_h(600.0)
    pump.start()
    line.pumps[0].status = "P"  # type: ignore[misc]
    with pytest.raises(RigError, match="does not run: it says paused"):
        pump.set_rate_ml_h(700.0)


def test_an_alarm_that_another_pump_pushed_meanwhile_is_to_be_asked_for(
    pumps: list[NewEraPump], line: SimulatedLine, clock: Clock
) -> None:
    for pump in pumps:
        pump.guard(4)
    line.inject(Fault.STALL, 1)
    pumps[0].status()
    assert [pump.called for pump in pumps] == [False, True]
    heard_s = clock.now()
    clock.sleep(0.05)
    with pytest.raises(PumpAlarm, match="stalled"):
        pumps[1].status()
    assert not pumps[1].called
    assert pumps[1].alarm_s <= heard_s, "when it was heard, not when it was told"
