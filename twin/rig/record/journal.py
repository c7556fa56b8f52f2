"""The journal of a run: one JSON object per line, each chained to the one before by SHA-256, synced to disk.

A line is `{"n", "utc", "mono_s", "event", …, "prev", "hash"}`. `hash` is the SHA-256 of the bytes of the line without
it, and those hold `prev`, the hash of the line before: whoever changes, drops or moves a line breaks the chain there.
Whether lines were cut off at the end shows from the last event, which is `end` in a whole journal.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twin.errors import BadInput, TwinError
from twin.files import explained, folder

_FIRST = "0" * 64
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_LINE = re.compile(rb'(\{.*),"hash":"([0-9a-f]{64})"\}')
END = "end"


def stamp() -> dict[str, Any]:
    """Both clocks: the wall in UTC, and the monotonic one in s."""
    return {"utc": datetime.now(UTC).isoformat(timespec="milliseconds"), "mono_s": round(time.monotonic(), 6)}


def sync_folder(path: Path) -> None:
    """Waits until the names in a folder are on disk: a new file is not there before its name is."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Journal:
    """An open journal; only ever appended to, by any thread."""

    def __init__(self, path: Path) -> None:
        folder(path.parent)
        self.path = path
        self._count = 0
        self._size = 0
        self._previous = _FIRST
        self._pending: tuple[int, str] | None = None
        self._lock = threading.RLock()
        with explained(path):
            self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
            sync_folder(path.parent)

    @classmethod
    def create(cls, where: Path, stem: str = "journal") -> Journal:
        """A new journal in a folder, named by the time."""
        name = f"{stem}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + "Z"
        taken = len(list(where.glob(f"{name}*.jsonl"))) if where.is_dir() else 0
        return cls(where / (f"{name}-{taken + 1}.jsonl" if taken else f"{name}.jsonl"))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. A second call does nothing."""
        with self._lock:
            if self._handle >= 0:
                handle, self._handle = self._handle, -1
                os.close(handle)

    def write(self, event: str, at: dict[str, Any] | None = None, *, sync: bool = True, **fields: Any) -> None:
        """Appends one line and waits until it is on disk.

        Args:
            event: what happened.
            at: when it happened, from `stamp`; now, where it is left out.
            sync: False leaves the waiting to the next line: this one survives the process, but not yet a power cut.
            fields: JSON-like data.

        Raises:
            TwinError: it can't be written, or it is not there any more.
        """
        with explained(self.path):
            with self._lock:
                self._settle()
                entry = {"n": self._count, **(at or stamp()), "event": event, **fields, "prev": self._previous}
                body = _JSON.encode(entry).encode()
                digest = hashlib.sha256(body).hexdigest()
                line = body[:-1] + f',"hash":"{digest}"}}\n'.encode()
                self._pending = (len(line), digest)
                if os.write(self._handle, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._settle()
            if sync:  # not under the lock: who must not wait for the disk does not wait for another thread that does
                os.fsync(self._handle)
            if not self.path.exists():  # the line is written all the same: where it was moved, it goes with it
                raise TwinError(
                    f"{self.path} was removed or moved, or its folder was, while it was being written",
                    "leave the folder of a rig alone while a run goes on",
                )

    def _settle(self) -> None:
        """Takes the line that was last written into account, or removes it where it is not whole.

        An interrupt may strike at any point of `write`; the next line must fit all the same.
        """
        if self._pending is None:
            return
        length, digest = self._pending
        if os.fstat(self._handle).st_size == self._size + length:
            self._pending = None
            self._count, self._size, self._previous = self._count + 1, self._size + length, digest
        else:
            os.ftruncate(self._handle, self._size)
            self._pending = None


@dataclass(frozen=True)
class JournalCheck:
    """What `verify` found.

    `broken_line` counts from 1. `truncated`: the last line breaks off in the middle, as after a power cut. `ended`: the
    last whole line closes the journal.
    """

    path: Path
    lines: int
    broken_line: int | None
    reason: str
    truncated: bool
    ended: bool

    @property
    def intact(self) -> bool:
        """Whether every line is whole, and in its place."""
        return self.broken_line is None and not self.truncated

    def __str__(self) -> str:
        if self.broken_line is not None:
            return f"{self.path}: BROKEN at line {self.broken_line}: {self.reason}"
        if self.truncated:
            return f"{self.path}: the last line is truncated after {self.lines} whole ones, as by a power cut"
        return f"{self.path}: intact, {self.lines} lines" + (
            "" if self.ended else ", but it does not end as a run does"
        )


def verify(path: Path | str) -> JournalCheck:
    """Follows the chain of a journal and finds the first line that does not fit."""
    path = Path(path)
    previous, count, event = _FIRST, 0, ""
    raw = _bytes(path)
    lines = raw.split(b"\n")
    rest = lines.pop()
    for line in lines:
        match = _LINE.fullmatch(line)
        reason = ""
        try:
            entry = json.loads(line) if match else {}
        except (ValueError, RecursionError):
            entry = {}
        if match is None or not isinstance(entry, dict) or not entry:
            reason = "it is no line of a journal"
        elif hashlib.sha256(match[1] + b"}").hexdigest() != match[2].decode():
            reason = "it was changed after it was written"
        elif entry.get("prev") != previous or entry.get("n") != count:
            reason = "the line before it was removed, added or moved"
        if reason:
            return JournalCheck(path, count, count + 1, reason, False, False)
        previous, count, event = entry["hash"], count + 1, entry.get("event", "")
    return JournalCheck(path, count, None, "" if count else "it is empty", bool(rest), event == END and not rest)


def read(path: Path | str) -> list[dict[str, Any]]:
    """The entries of a journal, in order, up to a line that is not whole. Whether to trust them, `verify` says."""
    return list(_entries(_bytes(Path(path))))


def latest(where: Path, stem: str = "") -> Path:
    """The newest journal of a folder; with `stem` "journal" of a run, not of a stop or an acknowledgement alone."""
    found = sorted(where.glob(f"{stem}*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise BadInput(f"there is no journal in {where}", "run the rig first: `twin rig run CASE`")
    return found[-1]


def describe(entry: dict[str, Any]) -> str:
    """One entry as a line of text."""
    hidden = ("n", "utc", "mono_s", "event", "prev", "hash")
    details = "  ".join(f"{key}={_short(value)}" for key, value in entry.items() if key not in hidden)
    return f"{entry.get('utc', '?')}  {entry.get('event', '?'):<10}  {details}".rstrip()


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 100 else text[:97] + "…"


def _entries(raw: bytes) -> Iterator[dict[str, Any]]:
    for line in raw.split(b"\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(entry, dict):
            return
        yield entry


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"can't read {path}: {error.strerror}", "give the journal of a run, rig/journal-TIME.jsonl"
        ) from error
