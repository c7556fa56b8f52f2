"""A disk that is full while pumps move: they stop, and no run begins after that as if nothing had happened."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rig_runs import Spoiler, assert_stopped_and_written, only_journal

from twin.case import Case
from twin.errors import BadInput, TwinError
from twin.rig import Clock, Latch, Latched, Progress, RigError, Setpoint, rig_folder, run, verify
from twin.rig.operation.register import held, refusal
from twin.rig.operation.runlock import NAME, RunLock
from twin.rig.planning.limits import Place
from twin.rig.record.journal import END, Journal
from twin.rig.simulated.memory import MemoryLine

JOURNAL, LATCH = "twin.rig.record.journal.os", "twin.rig.operation.latch.folder"


pytestmark = pytest.mark.usefixtures("hasty_disk")


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def run_into_it(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, latch: bool = False) -> TwinError:
    """What a run raises that finds the disk full in its hold: no room for its journal, nor, on request, its latch."""
    with pytest.MonkeyPatch.context() as patch:

        def fill(progress: Progress) -> None:
            if progress.kind == "hold":
                patch.setattr(JOURNAL, SimpleNamespace(**{**vars(os), "write": full}))
                if latch:
                    patch.setattr(LATCH, full)

        with pytest.raises(TwinError, match="disk is full") as raised:
            run(case, setpoint, hold_s=5.0, clock=clock, simulator=line, on_progress=fill)
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    return raised.value


def test_a_full_disk_under_the_journal_latches(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    run_into_it(case, setpoint, line, clock)
    latched = Latch(rig_folder(case)).reason()
    assert latched is not None and "disk is full" in latched.message


def test_a_run_that_can_not_write_its_latch_either_leaves_its_lock(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text was there before anything moved, so it takes no space."""
    monkeypatch.setattr("twin.rig.operation.runlock.SIMULATED", "no port")  # as if the pumps were real
    where = rig_folder(case)
    error = run_into_it(case, setpoint, line, clock, latch=True)
    assert "could not be latched" in error.message
    assert not Latch(where).path.exists()
    heard = len(line.heard)
    for _ in range(2):
        with pytest.raises(Latched, match="could not write why"):
            run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    assert len(line.heard) == heard
    Latch(where).acknowledge("the operator", "there is space again")
    assert run(case, setpoint, hold_s=1.0, clock=clock, simulator=line).ok
    assert (where / NAME).read_bytes() == b""


def test_simulated_pumps_need_no_lock_once_they_have_ended(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    run_into_it(case, setpoint, line, clock, latch=True)
    assert run(case, setpoint, hold_s=1.0, clock=clock, simulator=line).ok


def test_an_error_of_any_class_says_that_the_rig_could_not_be_latched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latch, error = Latch(tmp_path), ValueError("a broken progress bar")
    monkeypatch.setattr(LATCH, full)
    latch.set_by(error, "run")
    assert any("could not be latched" in note for note in error.__notes__)
    latched = latch.reason()
    assert latched is not None and "ValueError: a broken progress bar" in latched.message


def test_a_rig_that_could_not_be_latched_holds_up_its_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, pumps = tmp_path / "one", tmp_path / "two", [Place("precursor", "a pump", "newera", "/dev/x", 19200, 0)]
    with monkeypatch.context() as patch, RunLock(one, pumps) as lock, held(one, pumps, lock.latch):
        patch.setattr(LATCH, full)
        lock.latch.set_by(RigError("a stall"), "run")
    with pytest.raises(RigError, match="could not write why"), held(two, pumps):
        pass
    assert "did not end" in str(refusal(one, pumps))


def test_a_latch_writes_later_what_it_could_not_write_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latch = Latch(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(LATCH, full)
        for _ in range(2):
            latch.set_by(RigError("a stall"), "run")
    assert latch.unwritten
    latch.set("another", "run")
    latched = Latch(tmp_path).reason()
    assert latched is not None and [reason.reason for reason in latched.reasons] == ["a stall", "another"]
    assert not latch.unwritten


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


def test_a_full_disk_under_the_last_line_latches(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is done, but not on record to its end. What it raises must not say that nothing has moved."""
    plain = Journal.write

    def full(self: Journal, event: str, at: Any = None, **fields: Any) -> None:
        if event == END:
            raise BadInput("the disk is full", "make room")
        plain(self, event, at, **fields)

    with monkeypatch.context() as patch, pytest.raises(TwinError, match="the disk is full") as raised:
        patch.setattr(Journal, "write", full)
        run(case, setpoint, hold_s=0.5, clock=clock, simulator=line)
    assert not isinstance(raised.value, BadInput)
    assert any("journal" in note for note in raised.value.__notes__)
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    with pytest.raises(Latched, match="the disk is full"):
        run(case, setpoint, hold_s=0.5, clock=clock, simulator=line)


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
    assert_stopped_and_written(case, line, latched=True)
