"""One run at a time in a folder, and a note of who runs: `results/rig/run.lock`.

The lock is the operating system's (`flock`), so it ends with its process however that ends. The text in the file says
which process it is and which ports it holds. The file itself stays.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from twin.case.schema import Case
from twin.files import explained, folder
from twin.rig.errors import RigError
from twin.rig.operation.latch import Latch
from twin.rig.record.journal import stamp

NAME = "run.lock"


def rig_folder(case: Case, folder: Path | None = None) -> Path:
    """Where journals and the run lock lie: `CASE/results/rig`, or the folder that is given."""
    return folder or case.folder / "results" / "rig"


class RunLock:
    """Holds the lock of a folder while it is entered.

    Args:
        where: the folder of the rig.
        ports: the ports that the run holds. None: no run, and what the file says of a dead one stays.
    """

    def __init__(self, where: Path, ports: list[str] | None) -> None:
        self.path = where / NAME
        self._ports = ports
        self._handle = -1
        #: Who held it before and never let go: its process, or its computer, died.
        self.died: dict[str, Any] | None = None

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
            self._handle = handle
            self.died = _noted(handle)
            if self._ports is None:
                return self
            text = json.dumps({"pid": os.getpid(), "ports": self._ports, **stamp()}).encode()
            os.ftruncate(handle, 0)
            os.pwrite(handle, text, 0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ports is not None:
            os.ftruncate(self._handle, 0)
        os.close(self._handle)
        self._handle = -1


def latch_dead_run(lock: RunLock, latch: Latch) -> None:
    """Latches the rig where the run before never let go of the lock: its process, or its computer, died."""
    if lock.died is not None:
        latch.set(f"the run of process {lock.died.get('pid', '?')} did not end: its process or computer died", "host")


def holder(where: Path) -> dict[str, Any] | None:
    """Who runs in a folder: `{"pid", "ports", "utc", …}`; None where nobody does, whatever the file says."""
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


def _noted(handle: int) -> dict[str, Any] | None:
    """What the file says; None where it is empty, nothing in particular where it can't be read."""
    text = os.pread(handle, 4096, 0)
    if not text:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
