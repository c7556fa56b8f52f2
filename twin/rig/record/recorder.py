"""Between a run and its journal: while the pumps are being stopped, nothing waits for the disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from twin.errors import TwinError
from twin.rig.record.journal import Journal, stamp


class Recorder:
    """Passes events on to the journal, or keeps them, with their time, until the pumps stand. Any thread may call it.

    Args:
        journal: None for a dry run.
        now: process time, s.
    """

    def __init__(self, journal: Journal | None, now: Callable[[], float]) -> None:
        self._journal = journal
        self._now = now
        self._kept: deque[tuple[str, dict[str, Any], dict[str, Any]]] | None = None
        # Held for memory only, never for the disk: `hold_back` must not wait for a line that another thread writes.
        self._lock = threading.RLock()

    def event(self, name: str, sync: bool = True, **fields: Any) -> None:
        """Records an event with the process time `t_s`; without `sync` it is on disk with the next one."""
        fields = {"t_s": round(self._now(), 4), **fields}
        with self._lock:
            if self._kept is not None:
                self._kept.append((name, stamp(), fields))
                return
        if self._journal is not None:
            self._journal.write(name, sync=sync, **fields)

    def note(self, url: str, sent: bytes, received: bytes, problem: str) -> None:
        """Records an exchange on a port: the bytes, one character each."""
        wire = {"port": url, "sent": sent.decode("latin-1"), "received": received.decode("latin-1")}
        self.event("wire", sync=False, **wire, **({"problem": problem} if problem else {}))

    def attach(self, journal: Journal) -> None:
        """From here on events go to this journal."""
        self._journal = journal

    def hold_back(self) -> None:
        """From here on events are kept."""
        with self._lock:
            if self._kept is None:
                self._kept = deque()

    def release(self) -> None:
        """Writes what was kept, in order, and passes on again.

        What other threads record meanwhile is kept too, so that it comes after. Where a line can't be written the rest
        is tried all the same; then the first error is raised.
        """
        problem: TwinError | None = None
        while (entry := self._next()) is not None:
            name, at, fields = entry
            try:
                if self._journal is not None:
                    self._journal.write(name, at, sync=name != "wire", **fields)
            except TwinError as error:
                problem = problem or error
        if problem is not None:
            raise problem

    def _next(self) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
        """The oldest event that was kept; after the last one events pass on again."""
        with self._lock:
            if self._kept:
                return self._kept.popleft()
            self._kept = None
            return None
