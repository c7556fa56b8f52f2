"""Process time: the seconds in which the plant lives. With hardware they are real; a simulator may be faster.

Everything at the rig that waits, waits on a clock from here: on `VirtualClock` a run with all its deadlines, its
watchdog and its faults takes no time, and is the same each time.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from twin.errors import BadInput


class Task(Protocol):
    """Something that is done again and again."""

    def cancel(self) -> None:
        """Ends it; a second call does nothing. Where it is under way, this waits for it, at most a second."""
        ...


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

    def wall(self) -> float:
        """Wall time, monotonic, s: what the deadlines of replies are counted in."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Waits for `seconds` of wall time."""
        time.sleep(max(seconds, 0.0))

    def every(self, period_s: float, action: Callable[[], None], name: str) -> Task:
        """Does `action` once a period of wall time, in a thread of its own, until it is cancelled or raises."""
        return _Thread(period_s, action, name)


class _Thread:
    def __init__(self, period_s: float, action: Callable[[], None], name: str) -> None:
        self._period_s, self._action = period_s, action
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(1.0)

    def _repeat(self) -> None:
        due = time.monotonic() + self._period_s
        while not self._ended.wait(max(due - time.monotonic(), 0.0)):
            self._action()
            due = max(due + self._period_s, time.monotonic())


class VirtualClock(Clock):
    """A clock that moves only when someone waits; tasks are done in between, by whoever waits."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self._now = 0.0
        self._tasks: list[_Due] = []
        self._busy = False

    def now(self) -> float:
        """Process time, s."""
        return self._now

    def wall(self) -> float:
        """The same time."""
        return self._now

    def sleep(self, seconds: float, cancel: threading.Event | None = None) -> None:
        """Moves the clock by `seconds`, and does what falls due on the way; a `cancel` that is set ends it there."""
        self._wait(self._now + max(seconds, 0.0), cancel)

    def pause(self, seconds: float) -> None:
        """The same."""
        self._wait(self._now + max(seconds, 0.0), None)

    def pass_by(self, seconds: float) -> None:
        """Moves the clock and does nothing on the way: bytes are on the wire, and their reader does not look up."""
        self._now += max(seconds, 0.0)

    def every(self, period_s: float, action: Callable[[], None], name: str) -> Task:
        """Does `action` once a period, while someone waits."""
        task = _Due(self._now + period_s, period_s, action, self._tasks)
        self._tasks.append(task)
        return task

    def _wait(self, until: float, cancel: threading.Event | None) -> None:
        while not (cancel is not None and cancel.is_set()):
            task = min(self._tasks, key=lambda task: task.due_s, default=None)
            if self._busy or task is None or task.due_s > until:  # a task that waits itself holds up the others
                self._now = max(self._now, until)
                return
            self._now = max(self._now, task.due_s)
            task.due_s = max(task.due_s + task.period_s, self._now)
            self._busy = True
            try:
                task.action()
            finally:
                self._busy = False


class _Due:
    def __init__(self, due_s: float, period_s: float, action: Callable[[], None], tasks: list[_Due]) -> None:
        self.due_s, self.period_s, self.action, self._tasks = due_s, period_s, action, tasks

    def cancel(self) -> None:
        if self in self._tasks:
            self._tasks.remove(self)
