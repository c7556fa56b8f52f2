"""The independent watchdog: asks the interlocks ten times a second, and stops the rig itself when one speaks.

It has a thread of its own and shares with the session only what it looks at. A session that hangs stops looking at its
pumps, which the first rule notices.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from twin.rig.clock import Clock, Task
from twin.rig.errors import RunStopped, Tripped
from twin.rig.operation.interlocks import Rule, Snapshot, first_broken
from twin.rig.operation.stopping import Gate, caught, stop_all, words
from twin.rig.pumps.protocol import Pump
from twin.rig.record.recorder import Recorder

PERIOD_S = 0.1


class Watchdog:
    """Watches while it is entered.

    Args:
        rules: the interlocks.
        look: what is known of the rig now; None while there is nothing to judge.
        pumps: the pumps, to stop them.
        gate: is shut at a trip, so that the session moves nothing any more.
        cancel: is set at a trip, so that the session wakes up.
        latch: takes the reason of a trip, for good.
        clock: gives the thread.
        recorder: takes the event.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        look: Callable[[], Snapshot | None],
        pumps: Mapping[str, Pump],
        gate: Gate,
        cancel: threading.Event,
        latch: Callable[[str], None],
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self._rules, self._look, self._pumps = rules, look, pumps
        self._gate, self._cancel, self._latch = gate, cancel, latch
        self._clock, self._recorder = clock, recorder
        self._task: Task | None = None
        self.tripped: Tripped | None = None

    def __enter__(self) -> Watchdog:
        self._task = self._clock.every(PERIOD_S, self._tick, "watchdog of the rig")
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()

    def _tick(self) -> None:
        if self.tripped is not None or self._gate.reason is not None:
            return
        try:
            snapshot = self._look()
            broken = first_broken(self._rules, snapshot) if snapshot else None
        except RunStopped:  # a signal, where the clock is virtual and this is its main thread
            raise
        except Exception as error:  # noqa: BLE001  a watchdog that can't judge must not stay silent
            broken = ("watchdog", f"the watchdog can't judge: {words(error)}")
        if broken is not None:
            self._trip(*broken)

    def _trip(self, rule: str, reason: str) -> None:
        """The gate first: from here on nothing starts. The latch last: its disk must not delay the stop.

        A process that dies in between leaves its lock behind, which latches as well, and so does who ends the run.
        """
        self.tripped = tripped = Tripped(rule, reason)
        self._gate.shut(tripped.message)
        self._cancel.set()
        self._recorder.hold_back()
        self._recorder.event("trip", rule=rule, reason=reason)
        stop_all(self._pumps, self._clock, self._recorder)
        caught(partial(self._latch, tripped.message))
