"""Between a run and its journal: while the pumps are being stopped, nothing waits for the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twin.rig.journal import Journal, stamp


class Recorder:
    """Passes events on to the journal, or keeps them, with their time, until the pumps stand.

    Args:
        journal: None for a dry run.
        now: process time, s.
    """

    def __init__(self, journal: Journal | None, now: Callable[[], float]) -> None:
        self._journal = journal
        self._now = now
        self._kept: list[tuple[str, dict[str, Any], dict[str, Any]]] | None = None

    def event(self, name: str, sync: bool = True, **fields: Any) -> None:
        """Records an event with the process time `t_s`; without `sync` it is on disk with the next one."""
        fields = {"t_s": round(self._now(), 4), **fields}
        if self._kept is not None:
            self._kept.append((name, stamp(), fields))
        elif self._journal is not None:
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
        if self._kept is None:
            self._kept = []

    def release(self) -> None:
        """Writes what was kept, in order, and passes on again."""
        kept, self._kept = self._kept or [], None
        if self._journal is not None:
            for name, at, fields in kept:
                self._journal.write(name, at, sync=name != "wire", **fields)
