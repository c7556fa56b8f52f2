"""Whole runs on the simulated rig: the volumes, the order, and what every fault ends in."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rig_lines import chained

from twin.case import Case
from twin.errors import BadInput, TwinError
from twin.rig import (
    Clock,
    Latch,
    Latched,
    NotStopped,
    Progress,
    PumpAlarm,
    RigError,
    RunResult,
    RunStopped,
    Setpoint,
    Volumes,
    check,
    load_setpoint,
    read,
    rig_folder,
    run,
    verify,
)
from twin.rig.bench import simulated_pumps
from twin.rig.clock import VirtualClock
from twin.rig.operation.interrupts import Interrupts
from twin.rig.operation.session import GUARD_S, Session
from twin.rig.planning.limits import ROLES, Place, equipment
from twin.rig.port import Port
from twin.rig.pumps.drivers import baud_of
from twin.rig.record.journal import Journal
from twin.rig.record.recorder import Recorder
from twin.rig.record.replay import replay
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine

#: One digit of the counters: a volume below 5 mL is counted in µL.
RESOLUTION_ML = {"antisolvent": 0.01, "precursor": 0.001}
OF_THE_LINK = (Fault.SILENCE, Fault.MUTE, Fault.GARBAGE, Fault.PARTIAL, Fault.WRONG_ADDRESS, Fault.BAD_CRC)


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk: that it is waited for is a test of the journal."""
    monkeypatch.setattr("twin.rig.record.journal.os.fsync", lambda handle: None)


def only_journal(case: Case) -> Path:
    (path,) = rig_folder(case).glob("journal-*.jsonl")
    return path


def assert_stopped_and_written(
    case: Case, line: MemoryLine, status: str = "failed", latched: bool = False
) -> list[dict[str, Any]]:
    """Both pumps truly stand, the journal is whole and says that they were verified, and the rig is latched or not."""
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    assert (Latch(rig_folder(case)).reason() is not None) is latched
    path = only_journal(case)
    checked = verify(path)
    assert checked.intact, checked
    assert checked.ended
    entries = read(path)
    assert {entry["role"] for entry in entries if entry["event"] == "stopped"} == set(ROLES)
    assert entries[-1]["status"] == status
    return entries


def interrupted() -> None:
    raise KeyboardInterrupt


class Spoiler:
    """Does something once, at the n-th report of a kind."""

    def __init__(self, kind: str, count: int, action: Any) -> None:
        self.kind, self.left, self.action = kind, count, action
        self.seen: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        if progress.kind == self.kind:
            self.left -= 1
            if self.left == 0:
                self.action()


def test_a_run_delivers_what_it_was_told(case: Case, setpoint: Setpoint) -> None:
    """The default: both pumps simulated, ten times as fast as the wall."""
    seen: list[Progress] = []
    result = run(case, setpoint, on_progress=seen.append)
    assert isinstance(result, RunResult)
    assert result.ok
    assert result.speed == 10.0
    assert result.wall_s > 2.0
    told = {"antisolvent": (5000 * 0.1 * sum(0.1 + 0.9 * n / 50 for n in range(50)) + 5000 * 20) / 3600}
    told["precursor"] = told["antisolvent"] * 60 / 5000
    assert list(result.balances) == list(ROLES)
    for role, balance in result.balances.items():
        assert balance.agrees
        assert balance.commanded_ml == pytest.approx(told[role], rel=0.1)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.85
    assert seen[-1].rates_ml_h == {"antisolvent": 5000.0, "precursor": 60.0}
    assert seen[-1].left_ml["antisolvent"] < 50 - 20
    entries = read(result.journal)
    assert verify(result.journal).ended
    assert entries[0]["plan"]["checksum"] == setpoint.checksum
    assert sum(entry["event"] == "acknowledged" for entry in entries) == 2
    assert "both simulated pumps verified stopped" in "\n".join(result.lines())


def test_the_bytes_of_a_run_are_those_of_the_dry_run(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    """Byte by byte, frames and all, but for the looks: how many of them fit in depends on the clock."""
    dry = [entry.message for entry in check(case, setpoint).sent if not entry.poll]
    result = run(case, setpoint, clock=clock, simulator=line)
    wire = [entry["sent"].encode("latin-1") for entry in read(result.journal) if entry["event"] == "wire"]
    assert [message for message in wire if message and b"DIS" not in message] == dry
    assert len(dry) > 200  # a ramp of fifty steps, two pumps, each rate read back


def test_once_the_timer_is_armed_every_byte_is_in_a_packet(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    result = run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    wire = [entry["sent"].encode("latin-1") for entry in read(result.journal) if entry["event"] == "wire"]
    for address in (b"00", b"01"):
        own = [message for message in wire if address in message[:4]]
        armed, freed = (
            next(index for index, message in enumerate(own) if command in message) for command in (b"SAF4", b"SAF0")
        )
        assert not any(message.startswith(b"\x02") for message in own[: armed + 1])
        assert all(message.startswith(b"\x02") and message.endswith(b"\x03") for message in own[armed + 1 : freed + 1])
        assert {b"RUN", b"STP"} <= {message[4:7] for message in own[armed:freed]}
        assert not any(message.startswith(b"\x02") for message in own[freed + 1 :])


def test_the_antisolvent_starts_first_and_the_precursor_stops_first(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    motions = [message for message in line.heard if message.endswith((b"RUN", b"STP"))]
    assert motions[:4] == [b"00RUN", b"01RUN", b"01STP", b"00STP"]
    assert_stopped_and_written(case, line, "completed")


def test_a_second_run_finds_the_pumps_as_the_first_left_them(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    for _ in range(2):
        assert run(case, setpoint, hold_s=2.0, clock=clock, simulator=line).ok


@pytest.mark.parametrize("precursor", [10.0, 60.0])
def test_the_volumes_agree_within_half_a_percent(
    case: Case, propose: Callable[..., Path], line: MemoryLine, clock: Clock, precursor: float
) -> None:
    result = run(case, load_setpoint(propose(5000.0, precursor), case), clock=clock, simulator=line)
    ramp = 0.1 * sum(0.1 + 0.9 * step / 50 for step in range(50))
    for address, (role, rate) in enumerate({"antisolvent": 5000.0, "precursor": precursor}.items()):
        balance = result.balances[role]
        assert balance.commanded_ml == pytest.approx(rate * (ramp + 20) / 3600, rel=2e-3)
        # The motor needs a moment for each rise: in sum 25 ms of the whole flow, 0.1 % of this volume.
        assert -0.15 < balance.difference_percent < 0.02
        assert abs(balance.difference_percent) < balance.uncertainty_percent < 0.35
        assert line.state(address)[1] == pytest.approx(balance.counted_ml, abs=2 * RESOLUTION_ML[role])


def test_the_ledger_notices_a_slow_pump(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    """The check of the volumes can fail."""
    line.inject(Fault.SLOW, 1)
    result = run(case, setpoint, clock=clock, simulator=line)
    assert not result.ok
    assert result.balances["antisolvent"].agrees
    # 3 % by its clock, and what the motor takes from either pump.
    healthy = result.balances["antisolvent"].difference_percent
    assert result.balances["precursor"].difference_percent == pytest.approx(healthy - 3.0, abs=0.05)
    assert "DISAGREE" in "\n".join(result.lines())


@pytest.mark.parametrize("address", [0, 1])
@pytest.mark.parametrize("fault", [Fault.STALL, Fault.RESET, *OF_THE_LINK])
def test_every_fault_stops_both_pumps(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, fault: Fault, address: int
) -> None:
    spoil = Spoiler("ramp", 3, lambda: line.inject(fault, address, times=3))
    with pytest.raises(RigError) as caught:
        run(case, setpoint, clock=clock, simulator=line, on_progress=spoil)
    assert not isinstance(caught.value, NotStopped)
    if fault in (Fault.STALL, Fault.RESET):
        assert isinstance(caught.value, PumpAlarm)
        assert ROLES[address] in caught.value.message
    entries = assert_stopped_and_written(case, line, latched=True)
    assert caught.value.message in (entry.get("reason") for entry in entries)
    assert entries[-1]["reason"] == caught.value.message


@pytest.mark.parametrize("address", [0, 1])
def test_a_pump_that_is_silent_at_arming_is_named(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, address: int
) -> None:
    """Nobody has started it, so there is nothing to latch; but nobody knows what it does either."""
    line.inject(Fault.SILENCE, address)
    with pytest.raises(RigError, match="nothing came") as caught:
        run(case, setpoint, clock=clock, simulator=line)
    assert not isinstance(caught.value, NotStopped)
    (note,) = [text for text in caught.value.__notes__ if "not verified" in text]
    assert f"the {ROLES[address]} pump" in note and "did not start it" in note
    assert Latch(rig_folder(case)).reason() is None


@pytest.mark.parametrize("address", [0, 1])
def test_one_damaged_reply_is_asked_for_again(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, address: int
) -> None:
    """A checksum tells damage from a lie, so that asking twice does no harm. A change is never sent twice."""
    spoil = Spoiler("hold", 3, lambda: line.inject(Fault.BAD_CRC, address, times=1))
    assert run(case, setpoint, hold_s=2.0, clock=clock, simulator=line, on_progress=spoil).ok
    entries = assert_stopped_and_written(case, line, "completed")
    assert sum("checksum" in entry.get("problem", "") for entry in entries) <= 1


def test_a_cable_that_is_pulled_out_ends_the_run_and_the_pumps_stop_by_themselves(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    with pytest.raises(NotStopped, match=r"the precursor pump .* and the antisolvent pump") as caught:
        run(case, setpoint, clock=clock, simulator=line, on_progress=Spoiler("hold", 1, line.unplug))
    assert "is gone" in caught.value.message
    clock.sleep(GUARD_S)
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    assert Latch(rig_folder(case)).reason() is not None


@pytest.mark.parametrize("fault", OF_THE_LINK)
def test_a_pump_that_goes_for_good_does_not_keep_the_other_from_stopping(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, fault: Fault
) -> None:
    spoil = Spoiler("hold", 1, lambda: line.inject(fault, 1))
    with pytest.raises(NotStopped, match="NOT VERIFIED AS STOPPED: the precursor pump") as caught:
        run(case, setpoint, clock=clock, simulator=line, on_progress=spoil)
    assert "antisolvent" not in caught.value.message
    assert line.state(0)[0] == "S"
    assert line.state(1)[0] == "S"  # one that hears nothing stops by its own timer
    checked = verify(only_journal(case))
    assert checked.intact
    assert checked.ended
    events = [entry["event"] for entry in read(checked.path)]
    assert "NOT STOPPED" in events
    assert "stopped" in events


def test_a_syringe_that_runs_out_stops_both(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    line.pumps[0].volume_ml = 20.0
    with pytest.raises(PumpAlarm, match=r"antisolvent pump .* stalled"):
        run(case, setpoint, clock=clock, simulator=line)
    assert_stopped_and_written(case, line, latched=True)
    assert line.state(0)[1] == pytest.approx(20.0)


def test_the_pumps_are_looked_at_until_the_end(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    spoil = Spoiler("hold", 1, lambda: line.inject(Fault.MUTE, 1, times=1))
    with pytest.raises(RigError, match="nothing came from"):
        run(case, setpoint, hold_s=0.5, clock=clock, simulator=line, on_progress=spoil)
    assert_stopped_and_written(case, line, latched=True)


def test_each_pump_is_looked_at_five_times_a_second(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    result = run(case, setpoint, hold_s=5.0, clock=clock, simulator=line)
    entries = read(result.journal)
    begin = next(entry["t_s"] for entry in entries if entry["event"] == "start" and entry["role"] == "precursor")
    end = next(entry["t_s"] for entry in entries if entry["event"] == "stop")
    for address in ("00", "01"):
        asked = [e["t_s"] for e in entries if e["event"] == "wire" and f"{address}DIS" in e["sent"]]
        times = [begin, *(at for at in asked if begin < at < end), end]
        assert max(later - earlier for earlier, later in pairwise(times)) < 0.4  # on a ramp new rates come first


@pytest.mark.parametrize("think_s", [0.004, 0.016, 0.04])
@pytest.mark.parametrize("harvard", [False, True])
def test_pumps_that_think_before_they_answer_are_looked_at_in_a_ramp_as_well(
    case: Case, setpoint: Setpoint, clock: VirtualClock, harvard: bool, think_s: float
) -> None:
    """New rates ten times a second then take all the time that there is, and some are left out."""
    case = chained(case) if harvard else case
    baud = baud_of("harvard" if harvard else "newera")
    line = MemoryLine(simulated_pumps(equipment(case)), clock, baud, think_s)
    result = run(case, setpoint, hold_s=3.0, clock=clock, simulator=line)
    assert result.ok, result.lines()
    ramp = [entry["t_s"] for entry in read(result.journal) if entry["event"] == "ramp"]
    for role in ("antisolvent", "precursor"):
        looks = [one["t_s"] for one in read(result.journal) if one["event"] == "look" and role in one["counted_ml"]]
        within = [ramp[0], *(t_s for t_s in looks if ramp[0] < t_s < ramp[-1])]
        assert max(later - earlier for earlier, later in pairwise(within)) < 1.2
    assert replay(result.journal).ok


def test_an_alarm_as_late_as_the_stop_is_told(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Session._stop

    def stalled(self: Session, reason: BaseException | None) -> NotStopped | None:
        line.inject(Fault.STALL, 1)
        return plain(self, reason)

    monkeypatch.setattr(Session, "_stop", stalled)
    with pytest.raises(PumpAlarm, match=r"precursor pump .* stalled"):
        run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    assert_stopped_and_written(case, line, latched=True)


def test_a_pump_that_was_stopped_at_its_keys_ends_the_run(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    def press() -> None:
        line.pumps[1].status = "P"

    with pytest.raises(RigError, match=r"precursor pump .* does something else than it was told: it says paused"):
        run(case, setpoint, clock=clock, simulator=line, on_progress=Spoiler("hold", 3, press))
    assert_stopped_and_written(case, line, latched=True)


def test_a_pump_that_runs_already_is_stopped_and_refused(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    line.pumps[1].execute("", 0.0)
    line.pumps[1].status = "I"
    with pytest.raises(RigError, match="was not at rest"):
        run(case, setpoint, clock=clock, simulator=line)
    assert_stopped_and_written(case, line, latched=True)


def test_an_alarm_other_than_of_switching_on_needs_the_operator(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    line.pumps[0].execute("", 0.0)
    line.inject(Fault.STALL, 0)
    with pytest.raises(PumpAlarm, match="stalled"):
        run(case, setpoint, clock=clock, simulator=line)
    assert b"00RUN" not in line.heard
    assert_stopped_and_written(case, line, latched=True)


@pytest.mark.parametrize("error", [ValueError("a broken progress bar"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("kind", ["armed", "ramp", "hold"])
def test_whatever_is_raised_stops_both_and_comes_out(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, error: BaseException, kind: str
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run(case, setpoint, clock=clock, simulator=line, on_progress=Spoiler(kind, 1, fail))
    assert caught.value is error
    assert any("journal" in note for note in error.__notes__)
    assert_stopped_and_written(case, line)
    del error.__notes__


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("number", [1, 2, 5, 17, 32, 33, 34, 35, 36, 37, 41, 50, 80])
def test_an_interrupt_at_any_exchange_stops_both(
    case: Case,
    setpoint: Setpoint,
    line: MemoryLine,
    clock: Clock,
    number: int,
    late: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real SIGINT, before the bytes of an exchange go out or after its reply has come."""
    count = 0
    plain = Port.exchange

    def interrupted(self: Port, message: bytes, *rest: Any) -> bytes:
        nonlocal count
        count += 1
        if count == number and not late:
            signal.raise_signal(signal.SIGINT)
        reply = plain(self, message, *rest)
        if count == number and late:
            signal.raise_signal(signal.SIGINT)
        return reply

    monkeypatch.setattr(Port, "exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(case, setpoint, clock=clock, simulator=line)
    assert_stopped_and_written(case, line)


@pytest.mark.parametrize("skip", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("early", [False, True])
def test_signals_do_not_disturb_the_stopping(
    case: Case,
    setpoint: Setpoint,
    line: MemoryLine,
    clock: Clock,
    early: bool,
    skip: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGINT before and after each exchange of the stop but the first ones; the stop is the planned one, or early."""
    stopping, count = False, 0
    plain = Port.exchange

    def interrupted(self: Port, message: bytes, *rest: Any) -> bytes:
        nonlocal stopping, count
        count += count > 0 or b"STP" in message
        stopping = count > skip
        if stopping or (early and b"01RUN" in message):
            signal.raise_signal(signal.SIGINT)
        reply = plain(self, message, *rest)
        if stopping:
            signal.raise_signal(signal.SIGINT)
        return reply

    monkeypatch.setattr(Port, "exchange", interrupted)
    if early:
        with pytest.raises(KeyboardInterrupt):
            run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
        assert_stopped_and_written(case, line)
    else:
        assert run(case, setpoint, hold_s=1.0, clock=clock, simulator=line).ok
        entries = assert_stopped_and_written(case, line, "completed")
        assert entries[-1]["signal"] == "SIGINT"


def test_a_signal_raises_once_and_not_under_the_shield() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        with pytest.raises(RunStopped, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert interrupts.caught == "SIGTERM"
    with Interrupts() as interrupts:
        interrupts.shield()
        signal.raise_signal(signal.SIGINT)
        assert interrupts.caught == "SIGINT"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_at_any_moment_stops_both(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, name: str
) -> None:
    """From another thread, after delays that fall into every phase; a second one while the pumps are being stopped."""
    number = getattr(signal, name)
    before = signal.signal(number, lambda *_: None)  # what comes before or after the run is not its matter
    main = threading.main_thread().ident or 0
    try:
        ended = 0
        for delay in (0.005, 0.02, 0.04, 0.07, 0.12, 0.2):
            timers = [
                threading.Timer(delay + extra, partial(signal.pthread_kill, main, number)) for extra in (0.0, 0.003)
            ]
            line.pumps[0].volume_ml = 50.0
            Volumes.open(rig_folder(case)).refill("antisolvent", "steel-50ml", 50.0)
            for timer in timers:
                timer.start()
            try:
                run(case, setpoint, clock=clock, simulator=line)
            except (KeyboardInterrupt, RunStopped):
                ended += 1
            finally:
                for timer in timers:
                    timer.join()
            assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
        assert ended >= 3
    finally:
        signal.signal(number, before)
    assert all(verify(path).intact for path in rig_folder(case).glob("*.jsonl"))


def test_a_run_in_another_thread_is_cancelled_by_its_event(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    cancel, caught = threading.Event(), []

    def work() -> None:
        try:
            run(case, setpoint, clock=clock, simulator=line, cancel=cancel, on_progress=Spoiler("ramp", 3, cancel.set))
        except RunStopped as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(caught) == 1
    assert_stopped_and_written(case, line)


def test_a_failed_run_latches_the_rig_until_someone_has_looked(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    spoil = Spoiler("hold", 1, partial(line.inject, Fault.STALL, 1))
    with pytest.raises(PumpAlarm):
        run(case, setpoint, clock=clock, simulator=line, on_progress=spoil)
    assert_stopped_and_written(case, line, latched=True)
    started = line.heard.count(b"00RUN")
    for _ in range(2):
        with pytest.raises(Latched, match=r"the rig is latched: .*precursor pump .* stalled") as caught:
            run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
        assert only_journal(case).name in caught.value.message
    assert line.heard.count(b"00RUN") == started
    latch = Latch(rig_folder(case))
    with pytest.raises(BadInput, match="nobody"):
        latch.acknowledge(" ")
    assert len(latch.acknowledge("the operator")) == 1
    assert run(case, setpoint, hold_s=1.0, clock=clock, simulator=line).ok


@pytest.mark.parametrize("later_s", [0.0, 2.0, 60.0])
def test_a_run_after_one_that_could_not_stop_settles_what_the_pumps_have_counted(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, later_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process died at once. The next one finds the pumps running, or stopped by their own timers."""
    with monkeypatch.context() as dying:
        dying.setattr(Session, "_stop", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            run(case, setpoint, clock=clock, simulator=line, on_progress=Spoiler("hold", 9, interrupted))
    clock.sleep(later_s)
    assert line.state(0)[0] == ("S" if later_s > GUARD_S else "I")
    assert Volumes.open(rig_folder(case)).unsettled == list(ROLES)
    assert run(case, setpoint, hold_s=1.0, clock=clock, simulator=line).ok
    volumes = Volumes.open(rig_folder(case))
    for address, role in enumerate(ROLES):
        left = volumes.left(role)
        assert left is not None
        assert left.left_ml == pytest.approx(50.0 - line.state(address)[1], abs=2.5 * RESOLUTION_ML[role])


def test_the_volumes_of_a_pump_that_is_gone_from_the_case_are_asked_for(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    volumes = Volumes.open(rig_folder(case))
    volumes.refill("antisolvent-2", "steel-50ml", 50.0)
    volumes.begin("a run that died", {"antisolvent-2": 5000.0}, 4.0)
    with pytest.raises(BadInput, match="antisolvent-2 syringe are not settled"):
        run(case, setpoint, clock=clock, simulator=line)


def noted(port: str) -> str:
    """What a run leaves in its lock: its process, and where its pump is."""
    return json.dumps({"pid": 7, "pumps": [asdict(Place("precursor", "a pump", "newera", port, 19200, 0))]})


@pytest.mark.parametrize(
    ("noted", "latches"),
    [(noted("/dev/x"), True), (noted("simulated"), False), ('{"pid": 7}', True), ("half a li", True)],
)
def test_a_run_that_died_on_a_real_port_latches_whatever_comes_next(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, noted: str, latches: bool
) -> None:
    rig_folder(case).mkdir(parents=True)
    (rig_folder(case) / "run.lock").write_text(noted)
    if not latches:
        assert run(case, setpoint, hold_s=0.5, clock=clock, simulator=line).ok
        return
    for _ in range(2):
        with pytest.raises(Latched, match="process or computer died"):
            run(case, setpoint, hold_s=0.5, clock=clock, simulator=line)
    assert not line.heard


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "cancel"])
def test_a_stop_by_the_operator_does_not_latch_the_rig(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, how: str
) -> None:
    cancel = threading.Event()
    action = cancel.set if how == "cancel" else partial(signal.raise_signal, getattr(signal, how))
    with pytest.raises((KeyboardInterrupt, RunStopped)):
        run(case, setpoint, clock=clock, simulator=line, cancel=cancel, on_progress=Spoiler("hold", 1, action))
    assert_stopped_and_written(case, line)
    assert run(case, setpoint, hold_s=1.0, clock=clock, simulator=line).ok


def test_a_full_disk_stops_both(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Journal.write

    def full(self: Journal, event: str, at: Any = None, **fields: Any) -> None:
        if event == "hold" or line.state(0)[1] > 2:
            raise TwinError("the disk is full")
        plain(self, event, at, **fields)

    monkeypatch.setattr(Journal, "write", full)
    with pytest.raises(TwinError, match="the disk is full"):
        run(case, setpoint, clock=clock, simulator=line)
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    assert verify(only_journal(case)).intact


def test_a_slow_disk_does_not_delay_the_stop(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: dict[str, float] = {}

    def fail() -> None:
        monkeypatch.setattr("twin.rig.record.journal.os.fsync", lambda _: time.sleep(0.3))
        moments["trouble"] = time.monotonic()
        raise ValueError

    plain = MemoryLine._send

    def watched(self: MemoryLine, data: bytes) -> None:
        if b"STP" in data:
            moments.setdefault("stop", time.monotonic())
        plain(self, data)

    monkeypatch.setattr(MemoryLine, "_send", watched)
    with pytest.raises(ValueError):
        run(case, setpoint, clock=clock, simulator=line, on_progress=Spoiler("hold", 1, fail))
    assert moments["stop"] - moments["trouble"] < 0.25
    assert_stopped_and_written(case, line)


def test_two_runs_at_once_are_refused(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    caught = []

    def again() -> None:
        try:
            run(case, setpoint)
        except RigError as error:
            caught.append(error.message)

    run(case, setpoint, hold_s=2.0, clock=clock, simulator=line, on_progress=Spoiler("hold", 1, again))
    assert len(caught) == 1
    assert "another run holds this rig: process" in caught[0]


def test_real_pumps_are_not_accelerated(case: Case, setpoint: Setpoint) -> None:
    real = case.model_copy(
        update={
            "rig": case.rig.model_copy(
                update={"antisolvent": case.rig.antisolvent.model_copy(update={"port": "/dev/x"})}
            )
        }
    )
    with pytest.raises(BadInput, match="real pumps"):
        run(real, setpoint, clock=Clock(10.0))
    assert not rig_folder(case).exists()


def test_an_error_says_that_the_pumps_stand(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, tmp_path: Path
) -> None:
    def spoil(progress: Progress) -> None:
        if progress.kind == "hold":
            line.inject(Fault.STALL, 1)

    with pytest.raises(PumpAlarm, match="stalled") as caught:
        run(case, setpoint, hold_s=5, folder=tmp_path, clock=clock, simulator=line, on_progress=spoil)
    assert "every pump that was started was verified stopped" in caught.value.__notes__


def test_a_signal_that_comes_while_an_error_stops_the_pumps_is_told(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, tmp_path: Path
) -> None:
    """As from `twin rig stop`, whose bytes come first and spoil a reply."""

    def spoil(progress: Progress) -> None:
        if progress.kind == "hold":
            raise RigError("a reply was spoilt", "")

    def event(recorder: Recorder, name: str, **entry: Any) -> None:
        if name == "stop":
            signal.raise_signal(signal.SIGTERM)
        plain(recorder, name, **entry)

    plain = Recorder.event
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RigError, match="spoilt") as caught:
        patch.setattr(Recorder, "event", event)
        run(case, setpoint, hold_s=5, folder=tmp_path, clock=clock, simulator=line, on_progress=spoil)
    assert any("SIGTERM" in note and "twin rig stop" in note for note in caught.value.__notes__)
