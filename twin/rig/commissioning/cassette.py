"""Cassettes: what went over the wire to a real pump and back, recorded, so that a driver can be run against it again.

A cassette is JSON lines. The first is a header (`cassette`, `family`, `model`, `baud`, `utc`); then come
`{"t_s", "write"}`, `{"t_s", "read"}` and `{"t_s", "error"}` in their order, bytes as one character each; any other line
is a remark. Times are s of wall time since the recording began. Each line is written when it is whole: a cassette that
breaks off is good up to there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twin.errors import BadInput, TwinError
from twin.files import explained
from twin.rig.clock import Clock, VirtualClock
from twin.rig.port import SLICE_S, Device

SCHEMA = 1
_KINDS = ("write", "read", "error")


class Mismatch(TwinError):
    """What is written is not what was written when the cassette was recorded."""


class Recording:
    """A device that writes down what goes through it.

    Args:
        device: what carries the bytes.
        clock: whose wall time the entries bear.
        path: the cassette; must not be there yet.
        about: more for the header: `family`, `model`, `baud`.

    Raises:
        BadInput: the file is there already, or can't be made.
    """

    def __init__(self, device: Device, clock: Clock, path: Path, about: Mapping[str, Any] | None = None) -> None:
        self._device, self._clock, self.path = device, clock, path
        self._began = clock.wall()
        self._read, self._first_s, self._last_s = bytearray(), 0.0, 0.0
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._file = path.open("x", encoding="utf-8", buffering=1)
            except FileExistsError:
                raise BadInput(f"there is a cassette {path} already", "name another one, or move it") from None
        header = {"family": None, "model": None, "baud": None, **(about or {})}
        self._line({"cassette": SCHEMA, **header, "utc": datetime.now(UTC).isoformat(timespec="seconds")})

    def read(self, size: int = 1, /) -> bytes:
        """Reads, and keeps what came; bytes that follow one another become one entry."""
        try:
            data = self._device.read(size)
        except Exception as error:
            self._fail(error)
            raise
        now = self._now()
        if data:
            if now - self._last_s > SLICE_S:
                self._flush()
            if not self._read:
                self._first_s = now
            self._read += data
            self._last_s = now
        return data

    def write(self, data: bytes, /) -> Any:
        """Writes, and keeps what was written."""
        self._flush()
        self._line({"t_s": self._now(), "write": data.decode("latin-1")})
        try:
            return self._device.write(data)
        except Exception as error:
            self._fail(error)
            raise

    @property
    def in_waiting(self) -> int:
        """How many bytes have arrived."""
        return self._device.in_waiting

    def remark(self, **fields: Any) -> None:
        """Adds a line of its own, of JSON-like data."""
        self._flush()
        self._line(fields)

    def close(self) -> None:
        """Closes cassette and device. A second call does nothing."""
        if not self._file.closed:
            self._flush()
            self._file.close()
        self._device.close()

    def _fail(self, error: Exception) -> None:
        self._flush()
        self._line({"t_s": self._now(), "error": f"{type(error).__name__}: {error}"})

    def _flush(self) -> None:
        if self._read:
            self._line({"t_s": self._first_s, "read": self._read.decode("latin-1")})
            self._read.clear()

    def _line(self, entry: Mapping[str, Any]) -> None:
        with explained(self.path):
            self._file.write(json.dumps(entry, allow_nan=False) + "\n")

    def _now(self) -> float:
        return round(self._clock.wall() - self._began, 4)


class Replay:
    """A device that answers as the recorded one did, in the same order, and moves the clock on as it took.

    Args:
        path: the cassette.
        clock: the clock that the driver is told; it takes no time.

    Raises:
        BadInput: it is no cassette.
    """

    def __init__(self, path: Path, clock: VirtualClock) -> None:
        self.path, self._clock = path, clock
        lines = _lines(path)
        self.header, *rest = lines
        #: Lines that are no exchange, in their order.
        self.remarks = [line for line in rest if not any(kind in line for kind in _KINDS)]
        self._entries = [line for line in rest if any(kind in line for kind in _KINDS)]
        self._next = 0
        self._rest = b""
        self._began = clock.wall()
        self._offered = False

    @property
    def done(self) -> bool:
        """Whether all of it was played."""
        return self._next == len(self._entries) and not self._rest

    @property
    def in_waiting(self) -> int:
        """How many bytes were read at this place."""
        self._take()
        self._offered = bool(self._rest)
        return len(self._rest)

    def read(self, size: int = 1, /) -> bytes:
        """What was read at this place, where it came within a slice of time; else nothing, after that."""
        offered, self._offered = self._offered, False
        end = self._clock.wall() + SLICE_S
        entry = self._entry()
        if not self._rest and entry is not None:
            if "error" in entry and self._due(entry) <= end:
                self._next += 1
                raise OSError(entry["error"])
            if offered or ("read" in entry and self._due(entry) <= end):
                self._take()
        data, self._rest = self._rest[:size], self._rest[size:]
        if not data:
            self._clock.pass_by(SLICE_S)
        return data

    def write(self, data: bytes, /) -> int:
        """Goes on where the same was written; raises `Mismatch`, which shows both, where it was not."""
        entry = self._entry()
        if self._rest or entry is None or entry.get("write") != data.decode("latin-1"):
            if self._rest:
                wanted = f"the reading of {self._rest!r}"
            elif entry is None:
                wanted = "nothing more"
            else:
                wanted = repr(entry["write"].encode("latin-1")) if "write" in entry else str(entry)
            raise Mismatch(
                f"{self.path}, exchange {self._next + 1}: {data!r} is written, and recorded was {wanted}",
                "record a new cassette if the driver is meant to say this",
            )
        self._next += 1
        self._clock.pass_by(self._due(entry) - self._clock.wall())
        return len(data)

    def close(self) -> None:
        """Nothing is left to do."""

    def _entry(self) -> dict[str, Any] | None:
        return self._entries[self._next] if self._next < len(self._entries) else None

    def _due(self, entry: Mapping[str, Any]) -> float:
        return self._began + float(entry["t_s"])

    def _take(self) -> None:
        """Takes the bytes of the entry at hand, at their time."""
        entry = self._entry()
        if not self._rest and entry is not None and "read" in entry:
            self._clock.pass_by(self._due(entry) - self._clock.wall())
            self._rest = entry["read"].encode("latin-1")
            self._next += 1


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} can't be read as a cassette: {error}") from error
    if not lines or not all(isinstance(line, dict) for line in lines) or lines[0].get("cassette") != SCHEMA:
        raise BadInput(f"{path} is no cassette of this rig", f"give one of schema {SCHEMA}")
    return lines
