"""Stops every pump of a rig, verified: the one way out of every run, of the watchdog, and of an emergency stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from twin.errors import TwinError
from twin.rig.clock import Clock
from twin.rig.errors import NotStopped, RunStopped
from twin.rig.pumps.protocol import Pump
from twin.rig.record.recorder import Recorder

#: Wall time in which every pump must be verified, s.
DEADLINE_S = 5.0
#: Wall time between two rounds of stopping, s: a port that is gone fails at once, and it may come back.
ROUND_S = 0.02
#: Wall time that a stop waits for a command that is under way, s; then it goes past it.
PATIENCE_S = 1.0


def stop_order(names: Mapping[str, object]) -> list[str]:
    """The precursor first, so that it never flows alone; then the others, the last one started first."""
    last_first = list(names)[::-1]
    return sorted(last_first, key=lambda name: name != "precursor")


def stop_all(
    pumps: Mapping[str, Pump],
    clock: Clock,
    recorder: Recorder,
    deadline_s: float = DEADLINE_S,
    *,
    stood: Callable[[str], object] = lambda name: None,
) -> dict[str, BaseException]:
    """Stops the pumps and verifies each; returns, not raises, what could not be verified, by name.

    First one quick stop to each, so that a silent pump does not delay the other; then rounds of stop and poll until all
    stand, or `deadline_s` of wall time has gone. Every way that a pump can fail is caught: the rest of the way is gone
    all the same. `stood` is told, after a round, which pumps stand while others don't yet.
    """
    order = stop_order(pumps)
    for name in order:
        caught(pumps[name].request_stop)
    end = clock.wall() + deadline_s
    problems: dict[str, BaseException] = {}
    pending = order
    while True:
        for name in pending:
            problem = caught(partial(pumps[name].stop, 0.0))
            if problem is None:
                problems.pop(name, None)
                recorder.event("stopped", role=name, problem="")
            else:
                problems[name] = problem
        standing, pending = [n for n in pending if n not in problems], [n for n in pending if n in problems]
        if not pending or clock.wall() >= end:
            break
        for name in standing:
            caught(partial(stood, name))
        clock.pause(ROUND_S)
    for name, problem in problems.items():
        recorder.event("NOT STOPPED", role=name, problem=words(problem))
    return problems


def not_stopped(pumps: Mapping[str, Pump], problems: Mapping[str, BaseException]) -> NotStopped:
    """The error that names the pumps which could not be verified."""
    return NotStopped([pumps[name].name for name in problems], "; ".join(why(error) for error in problems.values()))


def why(error: BaseException) -> str:
    """What kept a pump from being verified, in words; that it could not be is said by who asks."""
    return error.reason if isinstance(error, NotStopped) else words(error)


class Gate:
    """Stands before every command that moves a pump. Once it is shut, nothing that moves passes any more."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        """Why it is shut; None while it is open."""
        return self._reason

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Around a command that moves; raises `RunStopped` where the gate is shut."""
        with self._lock:
            if self._reason is not None:
                raise RunStopped(self._reason, "")
            yield

    def shut(self, reason: str) -> None:
        """Shuts it, and waits until a command that is under way has passed, or hangs."""
        if self._reason is None:
            self._reason = reason
        if self._lock.acquire(timeout=PATIENCE_S):
            self._lock.release()


def caught(action: Callable[[], object]) -> BaseException | None:
    """Does something on the way to a stop; what it raises is returned, so the rest of the way is gone all the same."""
    try:
        action()
    except BaseException as error:  # noqa: BLE001  the other pump must be stopped, whatever this one did
        return error
    return None


def words(error: BaseException | None) -> str:
    """An error in words; nothing for none."""
    if error is None:
        return ""
    return error.message if isinstance(error, TwinError) else f"{type(error).__name__}: {error}".rstrip(": ")
