"""What keeps a rig from starting again until someone has looked: a trip, an alarm, a pump not verified as stopped.

The file `latched` has a line of JSON for each reason, the first one first. Whatever else is in it, a rig with that file
is latched: half a line, after a power cut, counts as well as a whole one. Only `acknowledge` removes it.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twin.errors import BadInput, TwinError
from twin.files import explained, folder
from twin.rig.errors import RigError
from twin.rig.operation.stopping import caught, words
from twin.rig.planning.limits import Place
from twin.rig.record.journal import END, Journal, stamp, sync_folder

NAME = "latched"


@dataclass(frozen=True)
class Reason:
    """Why a rig was latched, by whom (`source`), when (UTC), and the name of the journal that tells more.

    `pumps`: those that may still move, for a stop from outside: the case may name others by now.
    """

    reason: str
    source: str
    utc: str
    journal: str = ""
    pumps: tuple[Place, ...] = ()

    def __str__(self) -> str:
        more = f"; see {self.journal}" if self.journal else ""
        return f"{self.reason} ({self.source}, {self.utc}{more})"


class Latched(RigError):
    """The rig is latched: nothing moves until someone has acknowledged why."""

    def __init__(self, reasons: tuple[Reason, ...]) -> None:
        first, *later = (str(reason) for reason in reasons)
        super().__init__(
            "\n  ".join([f"the rig is latched: {first}", *(f"then: {text}" for text in later)]),
            "find the cause at the rig, then acknowledge it: `twin rig acknowledge CASE --by NAME`",
        )
        self.reasons = reasons


class Latch:
    """The latch of a rig. Threads and processes may share it.

    Args:
        where: the folder of the rig.
    """

    def __init__(self, where: Path) -> None:
        self.path = where / NAME
        self._lock = threading.RLock()
        #: What could not be written yet: a full disk does not unlatch a rig.
        self._unwritten: list[Reason] = []

    def set(self, reason: str, source: str, journal: Path | None = None, pumps: Iterable[Place] = ()) -> None:
        """Latches the rig, on disk before this returns. The first reason stays; later ones are added once each.

        Args:
            reason: what happened, in words.
            source: who latches it.
            journal: the journal that tells more.
            pumps: those that may still move.

        Raises:
            TwinError: it can't be written. Until this process ends, the rig is latched all the same; and after that,
                too, where this is the latch of a run lock.
        """
        new = Reason(reason, source, str(stamp()["utc"]), journal.name if journal else "", tuple(pumps))
        with self._lock:
            if any((old.reason, old.source) == (reason, source) for old in self._read()):
                return
            self._unwritten = [*(old for old in self._unwritten if (old.reason, old.source) != (reason, source)), new]
            # The first newline ends a line that broke off.
            lines = b"".join(b"\n" + json.dumps(asdict(one)).encode() + b"\n" for one in self._unwritten)
            folder(self.path.parent)
            with explained(self.path), self._alone():
                handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                try:
                    if os.write(handle, lines) != len(lines):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(handle)
                finally:
                    os.close(handle)
            self._unwritten.clear()

    def set_by(self, error: Exception, source: str, journal: Path | None = None) -> None:
        """Latches the rig for an error; where that can't be written, the error at hand is still the one to hear of."""
        problem = caught(partial(self.set, words(error), source, journal))
        if problem is None:
            return
        unlatched = f"and the rig could not be latched: {words(problem)}"
        if isinstance(error, TwinError):
            error.message += f"\n  {unlatched}"
        else:
            error.add_note(unlatched)

    @property
    def unwritten(self) -> bool:
        """Whether there are reasons that only this process knows."""
        with self._lock:
            return bool(self._unwritten)

    def reason(self) -> Latched | None:
        """Why the rig is latched, ready to be raised; None where it is not."""
        with self._lock:
            found = self._read()
            found += [reason for reason in self._unwritten if reason not in found]
            return Latched(tuple(found)) if found else None

    def pumps(self) -> list[Place]:
        """Those that may still move, as far as the reasons tell."""
        with self._lock:
            return [place for reason in (*self._read(), *self._unwritten) for place in reason.pumps]

    def check(self) -> None:
        """Raises `Latched` where the rig is latched."""
        if (latched := self.reason()) is not None:
            raise latched

    def acknowledge(self, by: str, note: str = "") -> list[Reason]:
        """Someone has looked: writes a journal of it, then unlatches the rig. Returns the reasons; none, nothing to do.

        Args:
            by: who has looked.
            note: what was found.

        Raises:
            BadInput: nobody is named.
        """
        if not by.strip():
            raise BadInput("nobody acknowledges", "give a name with --by")
        with self._lock:
            latched = self.reason()
            if latched is None:
                return []
            with explained(self.path), self._alone():  # whoever latches it meanwhile waits, and latches it again
                latched = self.reason() or latched
                with Journal.create(self.path.parent, "acknowledge") as journal:
                    journal.write("begin")
                    reasons = [asdict(reason) for reason in latched.reasons]
                    journal.write("acknowledged", by=by.strip(), note=note, reasons=reasons, raw=self._raw())
                    journal.write(END, status="completed")
                self.path.unlink(missing_ok=True)
            self._unwritten.clear()
            return list(latched.reasons)

    def _read(self) -> list[Reason]:
        """What the file says; a file that says nothing that can be read is a reason by itself."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            return [Reason(f"its latch {self.path} can't be read: {error.strerror}", "latch", "time unknown")]
        found, damaged = list[Reason](), not raw.strip()
        for line in filter(None, raw.splitlines()):
            try:
                found.append(_reason(json.loads(line)))
            except (ValueError, TypeError, AttributeError, RecursionError):
                damaged = True
        if damaged:
            found.append(Reason(f"its latch {self.path} is damaged", "latch", "time unknown"))
        return found

    def _raw(self) -> str:
        try:
            return self.path.read_bytes().decode("latin-1")
        except OSError:
            return ""

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time; afterwards the names in the folder are on disk."""
        import fcntl  # POSIX only, like the run lock

        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
            sync_folder(self.path.parent)
        finally:
            os.close(handle)


def _reason(data: dict[str, Any]) -> Reason:
    """Takes lines without pumps, too; raises ValueError, TypeError or AttributeError of what is no reason."""
    pumps = tuple(Place(**entry) for entry in data.pop("pumps", ()))
    return Reason(**{key: str(value) for key, value in data.items()}, pumps=pumps)
