"""The journal: whole, chained, on disk, and honest about what happened to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.errors import BadInput, TwinError
from twin.rig import describe, latest, read, verify
from twin.rig.journal import Journal


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


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_is_found(path: Path, place: float, change: int) -> None:
    whole = path.read_bytes()
    spoilt = bytearray(whole)
    spoilt[int(place * len(whole))] ^= change
    path.write_bytes(bytes(spoilt))
    assert not verify(path).intact
    path.write_bytes(whole)


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
        monkeypatch.setattr("twin.rig.journal.os.write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.write("interrupted", number=number)
        monkeypatch.setattr("twin.rig.journal.os.write", whole)
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
    monkeypatch.setattr("twin.rig.journal.os.write", lambda handle, line: whole(handle, line[:10]))
    with pytest.raises(TwinError, match="disk is full"):
        journal.write("lost")
    monkeypatch.setattr("twin.rig.journal.os.write", whole)
    journal.write("end")
    journal.close()
    journal.close()
    assert verify(tmp_path / "j.jsonl").lines == 2


def test_a_line_is_on_disk_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("twin.rig.journal.os.fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    with Journal(tmp_path / "j.jsonl") as journal:
        sizes = []
        for event in ("begin", "hold"):
            journal.write(event)
            sizes.append(journal.path.stat().st_size)
        journal.write("wire", sync=False)
    assert synced == sizes


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
