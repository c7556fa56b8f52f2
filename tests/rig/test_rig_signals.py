"""Signals to a run: Ctrl-C and its kin end it in good order, whenever they come."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rig_runs import Spoiler, assert_stopped_and_written

from twin.case import Case
from twin.rig import (
    Clock,
    Latch,
    Progress,
    RigError,
    RunStopped,
    Setpoint,
    Volumes,
    control,
    read,
    rig_folder,
    run,
    verify,
)
from twin.rig.operation import runlock
from twin.rig.operation.interrupts import _CAUGHT, Interrupts
from twin.rig.operation.runlock import RunLock
from twin.rig.planning.limits import equipment
from twin.rig.port import Port
from twin.rig.record.recorder import Recorder
from twin.rig.simulated.memory import MemoryLine

pytestmark = pytest.mark.usefixtures("hasty_disk")


def assert_ended_before_it_began(case: Case, line: MemoryLine) -> list[dict[str, Any]]:
    """Nothing was started, the one journal has its end, and the rig is not latched; the entries."""
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    (path,) = rig_folder(case).glob("journal-*.jsonl")
    assert verify(path).intact and verify(path).ended
    entries = read(path)
    assert entries[-1]["status"] == "failed"
    assert not any(entry["event"] == "start" for entry in entries)
    assert Latch(rig_folder(case)).reason() is None
    return entries


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("after", ["_reconcile", "plan", "_Run"])
def test_a_signal_before_the_session_begins_ends_the_journal(
    case: Case,
    setpoint: Setpoint,
    line: MemoryLine,
    clock: Clock,
    after: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After one of the steps that prepare a run: it strikes once a journal can tell of it."""
    plain = getattr(control, after)

    def struck(*args: Any, **options: Any) -> Any:
        done = plain(*args, **options)
        signal.raise_signal(getattr(signal, name))
        return done

    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, RunStopped)):
        patch.setattr(control, after, struck)
        run(case, setpoint, clock=clock, simulator=line)
    assert_ended_before_it_began(case, line)
    assert run(case, setpoint, hold_s=0.5, clock=clock, simulator=line).ok


def test_a_signal_while_a_run_gives_back_what_it_began_does_not_leave_its_lock(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ports could not be opened; a signal as it lets go of its lock would leave the text of a run that died."""
    leave, write = RunLock.__exit__, runlock._write

    def left(lock: RunLock, *error: object) -> None:
        monkeypatch.setattr(runlock, "_write", struck)
        leave(lock, *error)

    def struck(handle: int, text: bytes) -> None:
        signal.raise_signal(signal.SIGTERM)
        write(handle, text)

    monkeypatch.setattr(RunLock, "__exit__", left)
    line.unplug()
    with pytest.raises(OSError, match="pulled out"):
        run(case, setpoint, clock=clock, simulator=line)
    assert (rig_folder(case) / runlock.NAME).read_bytes() == b""


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_signal_while_a_dead_run_is_settled_does_not_leave_its_pump_moving(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first, the second, … exchange with pumps that a dead run has left running."""
    volumes, pumps = Volumes.open(rig_folder(case), clock), equipment(case)
    for name, pump in pumps.items():
        volumes.refill(name, pump.syringe.name, pump.syringe.volume_ml)
    for _ in range(2):  # the first of each is answered by the alarm of the power-on
        line.device().write(b"0VER\r1VER\r")
    volumes.begin("the run that died", dict.fromkeys(pumps, 6000.0), 4.0)
    line.device().write(b"0RUN\r1RUN\r")
    assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
    count, plain = 0, Port.exchange

    def struck(self: Port, *args: Any, **options: Any) -> bytes:
        nonlocal count
        count += 1
        if count == number:
            signal.raise_signal(signal.SIGINT)
        return plain(self, *args, **options)

    monkeypatch.setattr(Port, "exchange", struck)
    with pytest.raises(KeyboardInterrupt):
        run(case, setpoint, clock=clock, simulator=line)
    entries = assert_ended_before_it_began(case, line)
    assert {entry["role"] for entry in entries if entry["event"] == "reconciled"} == set(pumps)
    assert Volumes.open(rig_folder(case)).unsettled == []


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
        interrupts.unshield()
        with pytest.raises(RunStopped, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert interrupts.caught == "SIGTERM"
    with Interrupts() as interrupts:
        interrupts.shield()
        signal.raise_signal(signal.SIGINT)
        assert interrupts.caught == "SIGINT"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_the_handlers_are_set_leaves_none_behind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would swallow each later one. It strikes where the shield ends first."""
    before, plain, number = _handlers(), signal.signal, getattr(signal, name)

    def struck(this: int, handler: Any) -> Any:
        old = plain(this, handler)
        if this == number and handler is not before[number]:
            signal.raise_signal(number)
        return old

    monkeypatch.setattr(signal, "signal", struck)
    with pytest.raises((KeyboardInterrupt, RunStopped)), Interrupts() as interrupts:
        assert interrupts.caught == name
        interrupts.unshield()
    assert _handlers() == before


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handler, which a program in the background of a shell does not get: there Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_a_signal_while_the_handlers_are_restored_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, as soon as Python's own handler is back."""
    before, plain = _handlers(), signal.signal

    def struck(this: int, handler: Any) -> Any:
        old = plain(this, handler)
        if this == signal.SIGINT and handler is before[this]:
            signal.raise_signal(this)
        return old

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(signal, "signal", struck)
        with Interrupts():
            pass
    assert _handlers() == before


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in (getattr(signal, name) for name in _CAUGHT)}


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
