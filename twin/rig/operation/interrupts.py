"""Signals during a run: the first one ends it, later ones don't disturb the stopping."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, NoReturn

from twin.rig.errors import RunStopped

#: What would end a program, or freeze it, at once.
_CAUGHT = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGALRM")


class Interrupts:
    """While it is entered, SIGINT raises `KeyboardInterrupt`, the others raise `RunStopped`: once. SIGTSTP (Ctrl-Z)
    is among them: a frozen program watches nothing.

    It begins shielded, until `unshield`: what is raised while handlers are being set would leave some behind for good.

    Outside the main thread Python delivers no signals, and this does nothing: there the `cancel` event ends a run.
    """

    def __init__(self) -> None:
        self.caught: str = ""
        self._shielded = True
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for name in _CAUGHT:
                number = getattr(signal, name, None)
                if number is not None:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in reversed(self._before.items()):  # Ctrl-C, which raises by itself, comes last
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def shield(self) -> None:
        """From here on signals are only noted, as while the pumps are being stopped."""
        self._shielded = True

    def unshield(self) -> None:
        """Ends the shield; a signal that was noted under it strikes now."""
        self._shielded = False
        if self.caught:
            self._strike()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.caught = not self.caught, self.caught or signal.Signals(number).name
        if self._shielded or not first:
            return
        self._strike()

    def _strike(self) -> NoReturn:
        if self.caught == "SIGINT":
            raise KeyboardInterrupt
        raise RunStopped(f"the run was stopped by {self.caught}", "")
