"""Telling a pump to stop until it stands, whatever its family, and whatever goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable

from twin.rig.clock import Clock
from twin.rig.errors import NotStopped, RigError

#: Wall time between two tries, s.
AGAIN_S = 0.01


def until_stopped(name: str, clock: Clock, stands: Callable[[], bool], deadline_s: float) -> None:
    """Tries until `stands` says that the pump does; at least once.

    Args:
        name: what messages call the pump.
        clock: what the deadline is told by.
        stands: tells the pump to stop, and asks whether it stands.
        deadline_s: wall time after which `NotStopped` is raised, s.
    """
    end = clock.wall() + deadline_s
    while True:
        reason = "it still answers that it runs"
        try:
            if stands():
                return
        except RigError as error:
            reason = error.message
        if clock.wall() >= end:
            raise NotStopped([name], reason)
        clock.pause(AGAIN_S)
