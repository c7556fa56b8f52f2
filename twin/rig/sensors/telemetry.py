"""Samples every sensor in a task of its own, keeps the latest readings, and records all of them."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, Protocol

from twin.errors import BadInput, TwinError
from twin.rig.clock import Clock, Task
from twin.rig.errors import BadReply, RigError, RunStopped
from twin.rig.sensors.protocol import Reading, Sensor

#: Readings that the board keeps of each sensor.
KEPT = 100


class Events(Protocol):
    """Takes events, from several threads; `twin.rig.record.recorder.Recorder` is one."""

    def event(self, name: str, sync: bool = True, **fields: Any) -> None: ...  # noqa: D102


class Board:
    """The latest reading of each sensor, for any thread. What was never read has no reading and an endless age."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._readings: dict[str, deque[Reading]] = {}
        self._errors: Counter[str] = Counter()
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()

    def put(self, reading: Reading) -> None:
        """Pins a reading up; the last problem of its sensor is over."""
        with self._lock:
            self._readings.setdefault(reading.sensor, deque(maxlen=self._kept)).append(reading)
            self._problems.pop(reading.sensor, None)

    def fail(self, name: str, problem: str) -> None:
        """Counts a failure; the reading stays, and ages."""
        with self._lock:
            self._errors[name] += 1
            self._problems[name] = problem

    def latest(self, name: str) -> Reading | None:
        """The last reading."""
        with self._lock:
            readings = self._readings.get(name)
            return readings[-1] if readings else None

    def history(self, name: str) -> tuple[Reading, ...]:
        """The last readings, the oldest first."""
        with self._lock:
            return tuple(self._readings.get(name, ()))

    def age_s(self, name: str, now_s: float) -> float:
        """Wall time since the last reading, s, at the wall time `now_s`; inf where there is none."""
        reading = self.latest(name)
        return float("inf") if reading is None else now_s - reading.wall_s

    def errors(self, name: str) -> int:
        """How often reading it failed."""
        with self._lock:
            return self._errors[name]

    def problem(self, name: str) -> str | None:
        """What went wrong since the last reading."""
        with self._lock:
            return self._problems.get(name)


def _unsettled() -> bool:
    return False


class Telemetry:
    """While it is entered, each sensor is read once a period, and each reading is an event `reading`.

    A sensor that fails is an event `sensor-error`, and is opened again before its next reading (a single spoilt line
    says nothing against its port, and does not). One that hangs makes only itself stale: what waits for it is its own
    thread. Readings don't wait for the disk.

    Args:
        sensors: by different names.
        clock: whose wall time the periods are counted in.
        recorder: takes the events.
        period_s: wall time from one reading to the next, s; for all, or by sensor.
        steady: whether the flow has settled; asked before and after each reading.
    """

    def __init__(
        self,
        sensors: Sequence[Sensor],
        clock: Clock,
        recorder: Events,
        period_s: float | Mapping[str, float] = 1.0,
        steady: Callable[[], bool] = _unsettled,
    ) -> None:
        names = [sensor.name for sensor in sensors]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise BadInput(f"several sensors are called {', '.join(twice)}", "give each its own name")
        self.board = Board()
        self._clock, self._recorder, self._steady = clock, recorder, steady
        self._sensors = list(sensors)
        self._periods = {name: period_s[name] if isinstance(period_s, Mapping) else period_s for name in names}
        self._samplers: list[tuple[_Sampler, Task]] = []

    def __enter__(self) -> Telemetry:
        """Opens every sensor, or none: what the user can mend is said before anything moves."""
        with ExitStack() as stack:
            for sensor in self._sensors:
                sensor.open()
                stack.callback(sensor.close)
            stack.pop_all()
        for sensor in self._sensors:
            sampler = _Sampler(sensor, self.board, self._recorder, self._steady)
            task = self._clock.every(self._periods[sensor.name], sampler.sample, f"sensor {sensor.name}")
            self._samplers.append((sampler, task))
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the tasks and closes the sensors. One that hangs costs a second, and is closed if ever it returns."""
        samplers, self._samplers = self._samplers, []
        for sampler, _task in samplers:
            sampler.end()
        for sampler, task in samplers:
            task.cancel()
            sampler.close()

    def ready(self, deadline_s: float | None = None) -> None:
        """Waits until every sensor was read once; None waits for the longest period and 5 s, of wall time.

        Raises `RigError` with the sensors that gave nothing.
        """
        longest = max(self._periods.values(), default=0.0)
        end = self._clock.wall() + (deadline_s if deadline_s is not None else longest + 5.0)
        while missing := [name for name in self._periods if self.board.latest(name) is None]:
            if self._clock.wall() >= end:
                why = "; ".join(f"{name}: {self.board.problem(name) or 'no answer'}" for name in missing)
                raise RigError(f"sensors without a reading: {why}", "mend them, or take them out of case.toml")
            self._clock.pause(0.05)


class _Sampler:
    """Reads one sensor. Its lock is held while the sensor is in use."""

    def __init__(self, sensor: Sensor, board: Board, recorder: Events, steady: Callable[[], bool]) -> None:
        self._sensor, self._board, self._recorder, self._steady = sensor, board, recorder, steady
        self._doubtful = False
        self._ended = False
        self._lock = threading.Lock()

    def sample(self) -> None:
        """One reading; nothing that the sensor does ends the task."""
        with self._lock:
            try:
                reading = None if self._ended else self._read()
            except RunStopped:  # a signal, and no failure of the sensor
                raise
            except Exception as error:  # noqa: BLE001 (drivers of others raise errors of many classes)
                self._fail(error)
            else:
                self._publish(reading)
        if self._ended:
            self.close()

    def end(self) -> None:
        """What comes from here on is dropped."""
        self._ended = True

    def close(self) -> None:
        """Closes the sensor, unless it is in use: then whoever uses it will."""
        if self._lock.acquire(blocking=False):
            try:
                with suppress(Exception):
                    self._sensor.close()
            finally:
                self._lock.release()

    def _read(self) -> Reading:
        if self._doubtful:
            with suppress(Exception):  # closing what is broken may fail, and opening it says whether that matters
                self._sensor.close()
            self._sensor.open()
            self._doubtful = False
        before = self._steady()
        reading = self._sensor.read()
        return replace(reading, steady=before and self._steady())

    def _publish(self, reading: Reading | None) -> None:
        if self._ended or reading is None:
            return
        self._board.put(reading)
        self._record(
            "reading", sensor=reading.sensor, value=reading.value, unit=reading.unit, steady=reading.steady,
            **reading.details,
        )  # fmt: skip

    def _fail(self, error: Exception) -> None:
        self._doubtful = not isinstance(error, BadReply)
        if self._ended:
            return
        words = error.message if isinstance(error, TwinError) else f"{type(error).__name__}: {error}"
        self._board.fail(self._sensor.name, words)
        self._record("sensor-error", sensor=self._sensor.name, problem=words)

    def _record(self, name: str, **fields: Any) -> None:
        try:
            self._recorder.event(name, sync=False, **fields)
        except (TwinError, OSError) as error:  # the run itself meets a full disk with its own next event
            self._board.fail(self._sensor.name, f"not recorded: {error}")
