"""Opens the ports that a plan names, and hands out its pumps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from twin.errors import BadInput
from twin.rig.clock import Clock
from twin.rig.limits import Equipment
from twin.rig.planning import SIMULATED
from twin.rig.port import Note, open_port
from twin.rig.pumps.newera import NewEraPump
from twin.rig.wire.newera import BAUD

if TYPE_CHECKING:
    from twin.rig.simulated.line import SimulatedLine

#: How many times as fast as the wall a run goes when every pump is simulated.
SIMULATED_SPEED = 10.0


def clock_for(pumps: Mapping[str, Equipment], clock: Clock | None) -> Clock:
    """The clock of a run; raises `BadInput` where real pumps would be driven by an accelerated one."""
    real = any(pump.port != SIMULATED for pump in pumps.values())
    if clock is None:
        return Clock(1.0 if real else SIMULATED_SPEED)
    if real and clock.speed != 1.0:
        raise BadInput(f"real pumps can't run {clock.speed:g} times as fast", "leave the speed out, or give 1")
    return clock


@contextmanager
def opened(
    pumps: Mapping[str, Equipment], clock: Clock, note: Note, simulator: SimulatedLine | None = None
) -> Iterator[dict[str, NewEraPump]]:
    """The pumps by role, with their ports open until the block ends.

    Args:
        pumps: which pumps on which ports.
        clock: process time.
        note: takes every exchange.
        simulator: simulated pumps that are there already; where pumps are simulated and this is None, they are made.
    """
    with ExitStack() as stack:
        ports = {}
        for url in dict.fromkeys(pump.port for pump in pumps.values()):
            path = url
            if url == SIMULATED:
                path = (simulator or stack.enter_context(simulated_line(pumps, clock))).path
            ports[url] = open_port(path, BAUD, note)
            stack.callback(ports[url].close)
        yield {
            role: NewEraPump(ports[pump.port], pump.address, pump.name, pump.model.number, clock)
            for role, pump in pumps.items()
        }


def simulated_line(pumps: Mapping[str, Equipment], clock: Clock) -> SimulatedLine:
    """A simulated line with the simulated ones of these pumps, each with a full syringe, just switched on."""
    try:
        from twin.rig.simulated.line import SimulatedLine
        from twin.rig.simulated.newera import SimulatedPump
    except ImportError as error:  # tty is POSIX only
        raise BadInput(
            "the simulated pumps need pseudo-terminals, which this system has not", "use Linux or macOS"
        ) from error
    return SimulatedLine(
        {
            pump.address: SimulatedPump(
                pump.model.number, pump.model.min_cm_h, pump.model.max_cm_h, pump.syringe.volume_ml
            )
            for pump in pumps.values()
            if pump.port == SIMULATED
        },
        clock,
    )
