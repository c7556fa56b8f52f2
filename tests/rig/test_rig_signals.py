"""Signals to a run: Ctrl-C and its kin end it in good order, whenever they come."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from twin.case import Case
from twin.rig import Clock, Latch, RunStopped, Setpoint, Volumes, control, read, rig_folder, run, verify
from twin.rig.planning.limits import equipment
from twin.rig.port import Port
from twin.rig.simulated.memory import MemoryLine


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


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
