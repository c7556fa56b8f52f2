"""The journal: whole, chained, on disk, and honest about what happened to it."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.errors import BadInput, TwinError
from twin.rig import describe, latest, read, verify
from twin.rig.record.journal import Journal
from twin.rig.record.recorder import Recorder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Journal(tmp_path / "journal-x.jsonl") as journal:
        journal.write("begin", who="test")
        journal.write("wire", sent="00VER\r", received="\x0200SNE1000V3.923\x03")
        journal.write("look", counted_ml={"antisolvent": 1.5})
        journal.write("end", status="completed")
    return tmp_path / "journal-x.jsonl"


def test_a_whole_journal_is_intact(path: Path) -> None:
    result = verify(path)
    assert result.intact
    assert result.ended
    assert result.lines == 4
    entries = read(path)
    assert entries[1]["sent"] == "00VER\r"
    assert entries[0]["mono_s"] <= entries[3]["mono_s"]
    assert entries[0]["utc"].endswith("+00:00")
    assert "00VER" in describe(entries[1])
    assert latest(path.parent) == path


def test_a_changed_line_is_found(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"1.5", b"2.5"))
    result = verify(path)
    assert (result.intact, result.broken_line) == (False, 3)
    assert "changed" in str(result)


@pytest.mark.parametrize(("drop", "broken"), [(0, 1), (1, 2), (2, 3)])
def test_a_dropped_line_is_found(path: Path, drop: int, broken: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:drop] + lines[drop + 1 :]))
    assert verify(path).broken_line == broken


def test_a_line_whose_own_hash_was_made_anew_breaks_the_next(path: Path) -> None:
    import hashlib

    lines = path.read_bytes().splitlines()
    entry = json.loads(lines[1])
    entry.pop("hash")
    entry["sent"] = "00STP\r"
    body = json.dumps(entry, separators=(",", ":")).encode()
    lines[1] = body[:-1] + f',"hash":"{hashlib.sha256(body).hexdigest()}"}}'.encode()
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert verify(path).broken_line == 3


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_truncated_last_line_is_called_that(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    result = verify(path)
    assert (result.intact, result.truncated, result.broken_line, result.lines) == (False, True, None, 3)
    assert "truncated" in str(result)
    assert len(read(path)) >= 3


def test_a_missing_end_is_told(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    result = verify(path)
    assert result.intact
    assert not result.ended
    assert "does not end" in str(result)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_is_found(path: Path, place: float, change: int) -> None:
    whole = path.read_bytes()
    spoilt = bytearray(whole)
    spoilt[int(place * len(whole))] ^= change
    path.write_bytes(bytes(spoilt))
    assert not verify(path).intact
    path.write_bytes(whole)


@settings(deadline=None)
@given(raw=st.binary(max_size=200))
def test_any_bytes_can_be_verified(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    where = tmp_path_factory.mktemp("j") / "j.jsonl"
    where.write_bytes(raw)
    assert verify(where).lines == 0
    read(where)


def test_a_line_that_was_interrupted_does_not_break_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt before, in the middle of, and after the writing of a line."""
    journal = Journal(tmp_path / "j.jsonl")
    journal.write("begin")
    whole = os.write

    def before(handle: int, line: bytes) -> int:
        raise KeyboardInterrupt

    def middle(handle: int, line: bytes) -> int:
        whole(handle, line[:20])
        raise KeyboardInterrupt

    def after(handle: int, line: bytes) -> int:
        whole(handle, line)
        raise KeyboardInterrupt

    for number, interrupted in enumerate((before, middle, after)):
        monkeypatch.setattr("twin.rig.record.journal.os.write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.write("interrupted", number=number)
        monkeypatch.setattr("twin.rig.record.journal.os.write", whole)
        journal.write("next", number=number)
    journal.write("end")
    journal.close()
    result = verify(tmp_path / "j.jsonl")
    assert result.intact
    assert result.lines == 6  # begin, three times next, the one that was written before its interrupt, end


def test_a_full_disk_is_told_and_does_not_break_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.write("begin")
    whole = os.write
    monkeypatch.setattr("twin.rig.record.journal.os.write", lambda handle, line: whole(handle, line[:10]))
    with pytest.raises(TwinError, match="disk is full"):
        journal.write("lost")
    monkeypatch.setattr("twin.rig.record.journal.os.write", whole)
    journal.write("end")
    journal.close()
    journal.close()
    assert verify(tmp_path / "j.jsonl").lines == 2


def test_a_line_is_on_disk_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def note(handle: int) -> None:
        found = os.fstat(handle)
        synced.append(found.st_size if stat.S_ISREG(found.st_mode) else -1)

    monkeypatch.setattr("twin.rig.record.journal.os.fsync", note)
    with Journal(tmp_path / "j.jsonl") as journal:
        sizes = []
        for event in ("begin", "hold"):
            journal.write(event)
            sizes.append(journal.path.stat().st_size)
        journal.write("wire", sync=False)
    assert synced == [-1, *sizes], "first the name in its folder, then each line"


def test_a_journal_is_never_written_over(tmp_path: Path) -> None:
    first, second = Journal.create(tmp_path), Journal.create(tmp_path)
    first.close()
    second.close()
    assert first.path != second.path
    with pytest.raises(TwinError):
        Journal(first.path)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no journal"):
        latest(tmp_path)
    for call in (verify, read):
        with pytest.raises(BadInput, match="can't read"):
            call(tmp_path / "none.jsonl")


def test_many_threads_write_one_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin.rig.record.journal.os.fsync", lambda handle: None)
    whole = os.fstat
    monkeypatch.setattr("twin.rig.record.journal.os.fstat", lambda handle: time.sleep(1e-5) or whole(handle))
    with Journal(tmp_path / "j.jsonl") as journal:
        recorder = Recorder(journal, lambda: 0.0)

        def work(number: int) -> None:
            for count in range(100):
                recorder.event("wire" if count % 3 else "look", sync=not count % 3, thread=number, count=count)
                if number == 0 and count % 10 == 0:
                    recorder.hold_back()
                if number == 0 and count % 10 == 5:
                    recorder.release()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        recorder.release()
    assert verify(tmp_path / "j.jsonl").intact
    entries = read(tmp_path / "j.jsonl")
    assert len(entries) == 400
    for number in range(4):
        counts = [entry["count"] for entry in entries if entry["thread"] == number]
        assert sorted(counts) == list(range(100)), "nothing is lost"


def test_holding_back_does_not_wait_for_a_line_of_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs under one thread must not hold up a stop in another."""
    syncing, free = threading.Event(), threading.Event()

    def hang(handle: int) -> None:
        syncing.set()
        free.wait(10)

    journal = Journal(tmp_path / "j.jsonl")
    recorder = Recorder(journal, lambda: 0.0)
    monkeypatch.setattr("twin.rig.record.journal.os.fsync", hang)
    writer = threading.Thread(target=lambda: recorder.event("look"))
    writer.start()
    assert syncing.wait(10)
    began = time.monotonic()
    recorder.event("wire", sync=False)
    recorder.hold_back()
    recorder.event("stop")
    assert time.monotonic() - began < 5
    assert [entry["event"] for entry in read(journal.path)] == ["look", "wire"]
    free.set()
    writer.join()
    recorder.release()
    journal.close()
    assert [entry["event"] for entry in read(journal.path)] == ["look", "wire", "stop"]


def test_what_happens_while_kept_events_are_written_comes_after_them(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        recorder = Recorder(journal, lambda: 0.0)
        recorder.hold_back()
        recorder.event("stop")
        recorder.event("stopped")
        write = journal.write

        def slow(event: str, *args: Any, **fields: Any) -> None:
            if event == "stop":
                recorder.event("reading")  # as from another thread
            write(event, *args, **fields)

        journal.write = slow  # type: ignore[method-assign]
        recorder.release()
        recorder.event("end")
    assert [entry["event"] for entry in read(tmp_path / "j.jsonl")] == ["stop", "stopped", "reading", "end"]


def test_a_line_that_cant_be_written_does_not_keep_the_rest_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        recorder = Recorder(journal, lambda: 0.0)
        recorder.hold_back()
        for event in ("stop", "stopped", "volume"):
            recorder.event(event)
        whole, count = os.write, iter(range(9))
        monkeypatch.setattr(
            "twin.rig.record.journal.os.write", lambda handle, line: whole(handle, line if next(count) else line[:9])
        )
        with pytest.raises(TwinError, match="disk is full"):
            recorder.release()
        recorder.event("end")
    assert [entry["event"] for entry in read(tmp_path / "j.jsonl")] == ["stopped", "volume", "end"]


def test_the_newest_run_is_found_among_other_journals(tmp_path: Path) -> None:
    for stem in ("journal", "stop", "acknowledge"):
        Journal.create(tmp_path, stem).close()
    os.utime(next(tmp_path.glob("journal-*")), ns=(0, 0))
    assert not latest(tmp_path).name.startswith("journal-")
    assert latest(tmp_path, "journal").name.startswith("journal-")
