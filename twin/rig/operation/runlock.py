"""One run at a time in a folder, and a note of who runs: `results/rig/run.lock`.

The lock is the operating system's (`flock`), so it ends with its process however that ends. The text in the file says
which process it is and where its pumps are; it is gone once a run has ended, so a text that is left over tells of a run
that died, and latches a rig of real pumps: the latch keeps them in mind. A run whose latch could not be written, as on
a full disk, leaves its text there, too: it was written before anything moved. The file itself stays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twin.case.schema import Case
from twin.files import explained, folder
from twin.rig.errors import RigError
from twin.rig.operation.latch import Latch
from twin.rig.planning.limits import SIMULATED, Place
from twin.rig.record.journal import stamp

NAME = "run.lock"
#: What a text that is left over may mean.
DEAD = "its process or computer died, or it could not write why it ended"


def rig_folder(case: Case, folder: Path | None = None) -> Path:
    """Where journals and the run lock lie: `CASE/results/rig`, or the folder that is given."""
    return folder or case.folder / "results" / "rig"


class RunLock:
    """Holds the lock of a folder while it is entered.

    Args:
        where: the folder of the rig.
        pumps: where the pumps of the run are. None: no run, and what the file says of a dead one stays.

    Attributes:
        latch: the latch of the folder, for whoever holds the lock.
    """

    def __init__(self, where: Path, pumps: Iterable[Place] | None) -> None:
        self.path = where / NAME
        self.latch = Latch(where)
        self._pumps = None if pumps is None else list(pumps)
        self._handle = -1
        self._before = b""

    def __enter__(self) -> RunLock:
        import fcntl  # POSIX only, like the pseudo-terminals of the simulator

        folder(self.path.parent)
        with explained(self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                other = holder(self.path.parent) or {}
                raise RigError(
                    f"another run holds this rig: process {other.get('pid', '?')} since {other.get('utc', '?')}",
                    "wait for it, or end it with `twin rig stop CASE`",
                ) from None
            try:
                self._note(handle)
            except BaseException:
                os.close(handle)  # the text stays, and so does what it tells
                raise
            self._handle = handle
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if not self.latch.unwritten:
                _write(self._handle, self._before)
        finally:
            os.close(self._handle)
            self._handle = -1

    def _note(self, handle: int) -> None:
        """Latches the rig where the run before never let go, then says who holds it now."""
        died = _of_run(_noted(handle))
        note = {"pid": os.getpid(), "pumps": [asdict(place) for place in self._pumps or ()], **stamp()}
        if self._pumps is None:
            note["before"] = died
            self._before = b"" if died is None else json.dumps(died).encode()
        elif died is not None and _may_move(died):
            self.latch.set(
                f"the run of process {died.get('pid', '?')} did not end: {DEAD}",
                "host",
                pumps=noted_places(died),
            )
        _write(handle, json.dumps(note).encode())


def noted_places(note: dict[str, Any]) -> list[Place]:
    """The pumps that a note names; one that can't be told, where it can't be read."""
    try:
        return [Place(**entry) for entry in note["pumps"]]
    except (KeyError, TypeError):
        return [Place("?", "a pump", "newera", "?", 0, 0)]


def _may_move(note: dict[str, Any]) -> bool:
    """Simulated pumps die with their process; of a text that can't be read nobody knows."""
    return any(place.port != SIMULATED for place in noted_places(note))


def _write(handle: int, text: bytes) -> None:
    os.pwrite(handle, text, 0)
    os.ftruncate(handle, len(text))
    os.fsync(handle)  # a power cut must not take the only sign of a run that died


def holder(where: Path) -> dict[str, Any] | None:
    """Who runs in a folder: `{"pid", "pumps", "utc", …}`; None where nobody does, whatever the file says."""
    import fcntl

    try:
        handle = os.open(where / NAME, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _noted(handle) or {}
    finally:
        os.close(handle)
    return None


def last(where: Path) -> list[Place]:
    """The pumps of the run under way in a folder, and of those that died there, unacknowledged: all may still move."""
    note = _of_run(holder(where) or _read(where))
    return list(dict.fromkeys([*(noted_places(note) if note else []), *Latch(where).pumps()]))


def died(where: Path) -> bool:
    """Whether a run in a folder never let go, and nobody has acknowledged it; see `DEAD`."""
    note = _of_run(_read(where)) if holder(where) is None else None
    return note is not None and _may_move(note)


def _of_run(note: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a note tells of a run: a refill is none, and keeps what it found."""
    return note.get("before", note) if note else note


def _read(where: Path) -> dict[str, Any] | None:
    """What the file of a folder says; None where there is none, or an empty one."""
    try:
        return _parsed((where / NAME).read_bytes())
    except FileNotFoundError:
        return None
    except OSError:
        return {}


def _noted(handle: int) -> dict[str, Any] | None:
    """What an open file says."""
    return _parsed(os.pread(handle, 65536, 0))


def _parsed(text: bytes) -> dict[str, Any] | None:
    """None of an empty text, nothing in particular of one that can't be read."""
    if not text:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
