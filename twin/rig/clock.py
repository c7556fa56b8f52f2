"""Process time: the seconds in which the plant lives. With hardware they are real; a simulator may be faster."""

from __future__ import annotations

import math
import threading
import time

from twin.errors import BadInput


class Clock:
    """A monotonic clock that runs `speed` times as fast as the wall."""

    def __init__(self, speed: float = 1.0) -> None:
        if not (math.isfinite(speed) and 0 < speed <= 1000):
            raise BadInput(f"a clock can't run {speed:g} times as fast", "give a speed above 0 and up to 1000")
        self.speed = speed
        self._start = time.monotonic()

    def now(self) -> float:
        """Process time since the clock was made, s."""
        return (time.monotonic() - self._start) * self.speed

    def sleep(self, seconds: float, cancel: threading.Event | None = None) -> None:
        """Waits for `seconds` of process time, or until `cancel` is set."""
        wall = max(seconds, 0.0) / self.speed
        if cancel is None:
            time.sleep(wall)
        else:
            cancel.wait(wall)


class VirtualClock(Clock):
    """A clock that moves only when someone sleeps: a dry run takes no time and is the same each time."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self._now = 0.0

    def now(self) -> float:
        """Process time, s."""
        return self._now

    def sleep(self, seconds: float, cancel: threading.Event | None = None) -> None:
        """Moves the clock by `seconds`."""
        self._now += max(seconds, 0.0)
