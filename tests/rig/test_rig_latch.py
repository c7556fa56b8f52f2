"""The latch: it survives everything but an acknowledgement."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from twin.errors import BadInput, TwinError
from twin.rig.errors import RigError
from twin.rig.operation.latch import NAME, Latch, Latched
from twin.rig.record.journal import Journal, read, verify


def test_a_rig_is_not_latched(tmp_path: Path) -> None:
    latch = Latch(tmp_path / "none")
    assert latch.reason() is None
    latch.check()
    assert latch.acknowledge("A. Person") == []
    assert not list(tmp_path.iterdir())


def test_the_first_reason_stays_and_later_ones_are_added(tmp_path: Path) -> None:
    latch = Latch(tmp_path)
    latch.set("the pressure was 3.2 bar", "watchdog", tmp_path / "journal-1.jsonl")
    latch.set("the precursor pump stalled", "session")
    latch.set("the pressure was 3.2 bar", "watchdog")
    with pytest.raises(Latched, match="latched: the pressure") as caught:
        Latch(tmp_path).check()
    assert isinstance(caught.value, RigError)
    assert "twin rig acknowledge CASE --by NAME" in caught.value.remedy
    assert [reason.reason for reason in caught.value.reasons] == [
        "the pressure was 3.2 bar",
        "the precursor pump stalled",
    ]
    assert "journal-1.jsonl" in caught.value.message
    assert "then: the precursor pump stalled" in caught.value.message


def test_an_acknowledgement_is_written_down_and_unlatches(tmp_path: Path) -> None:
    Latch(tmp_path).set("a stall", "session")
    latch = Latch(tmp_path)
    with pytest.raises(BadInput, match="nobody"):
        latch.acknowledge("  ")
    assert latch.reason() is not None
    (reason,) = latch.acknowledge(" A. Person ", "cleaned the junction")
    assert reason.reason == "a stall"
    latch.check()
    Latch(tmp_path).check()
    (journal,) = tmp_path.glob("acknowledge-*.jsonl")
    assert verify(journal).intact and verify(journal).ended
    entry = next(entry for entry in read(journal) if entry["event"] == "acknowledged")
    assert (entry["by"], entry["note"]) == ("A. Person", "cleaned the junction")
    assert entry["reasons"][0]["reason"] == "a stall"


@pytest.mark.parametrize("raw", [b"", b"\n", b"\xff\x00", b"{}", b"[]\n", b'{"reason": "a sta', b"[" * 100_000])
def test_a_latch_that_cant_be_read_latches(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / NAME).write_bytes(raw)
    latch = Latch(tmp_path)
    with pytest.raises(Latched, match="damaged"):
        latch.check()
    latch.set("a stall", "session")
    assert "a stall" in str(Latch(tmp_path).reason())
    latch.acknowledge("A. Person")
    latch.check()


def test_a_latch_without_permission_latches(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()  # as unreadable for root as for anyone
    with pytest.raises(Latched, match="can't be read"):
        Latch(tmp_path).check()


def test_a_full_disk_does_not_unlatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    latch = Latch(tmp_path)
    monkeypatch.setattr("twin.rig.operation.latch.os.write", lambda handle, data: whole(handle, data[:5]))
    with pytest.raises(TwinError, match="disk is full"):
        latch.set("a stall", "session")
    monkeypatch.setattr("twin.rig.operation.latch.os.write", whole)
    assert "a stall" in str(latch.reason())
    assert Latch(tmp_path).reason() is not None
    (tmp_path / NAME).unlink()
    assert "a stall" in str(latch.reason()), "this process knows without the file"


def test_a_reason_is_on_disk_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
    Latch(tmp_path).set("a stall", "session")
    assert synced == [str(tmp_path / NAME), str(tmp_path)]


def test_an_acknowledgement_that_cant_be_written_does_not_unlatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latch = Latch(tmp_path)
    latch.set("a stall", "session")

    def full(*_: object, **__: object) -> None:
        raise TwinError("the disk is full")

    monkeypatch.setattr("twin.rig.operation.latch.Journal.write", full)
    with pytest.raises(TwinError, match="disk is full"):
        latch.acknowledge("A. Person")
    assert Latch(tmp_path).reason() is not None


def test_many_threads_lose_no_reason(tmp_path: Path) -> None:
    latches = [Latch(tmp_path) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda latch=latch, n=n: [latch.set(f"reason {n}-{k}", "test") for k in range(5)])
        for n, latch in enumerate(latches)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latched = Latch(tmp_path).reason()
    assert latched is not None and len(latched.reasons) == 20


def test_a_reason_that_comes_in_the_middle_of_an_acknowledgement_latches_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Latch(tmp_path).set("a stall", "session")
    write, late = Journal.write, threading.Thread(target=lambda: Latch(tmp_path).set("another", "watchdog"))

    def slow(journal: Journal, event: str, *args: Any, **fields: Any) -> None:
        write(journal, event, *args, **fields)
        if event == "acknowledged":
            late.start()
            late.join(0.2)  # without the lock of the folder it would be done by now, and lost with the file

    monkeypatch.setattr(Journal, "write", slow)
    assert [reason.reason for reason in Latch(tmp_path).acknowledge("A. Person")] == ["a stall"]
    late.join()
    latched = Latch(tmp_path).reason()
    assert latched is not None and [reason.reason for reason in latched.reasons] == ["another"]
