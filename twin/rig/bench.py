"""Opens the ports that a rig names, and hands out its pumps; the only place that knows the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from twin.case.rig import Sensor as SensorEntry
from twin.errors import BadInput
from twin.rig.clock import Clock, VirtualClock
from twin.rig.planning.limits import Equipment
from twin.rig.planning.schedule import SIMULATED
from twin.rig.port import Note, Port, open_port
from twin.rig.pumps.drivers import baud_of, driver
from twin.rig.pumps.protocol import Pump
from twin.rig.sensors.protocol import Sensor

if TYPE_CHECKING:
    from twin.rig.simulated.bus import SimulatedPump
    from twin.rig.simulated.line import SimulatedLine
    from twin.rig.simulated.memory import MemoryLine

    Simulator = SimulatedLine | MemoryLine

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
    pumps: Mapping[str, Equipment], clock: Clock, note: Note, simulator: Simulator | None = None
) -> Iterator[tuple[dict[str, Pump], Callable[[], bool]]]:
    """The pumps by name, and whether one of them has spoken unasked; their ports are open until the block ends.

    Args:
        pumps: which pumps on which ports.
        clock: process time.
        note: takes every exchange.
        simulator: simulated pumps that are there already; where pumps are simulated and this is None, they are made.
    """
    with ExitStack() as stack:
        ports: dict[str, Port] = {}
        for pump in pumps.values():
            url = pump.port
            if url in ports:
                continue
            if url == SIMULATED:
                line = simulator or stack.enter_context(simulated_line(pumps, clock))
                ports[url] = _port_of(line, note, clock)
            else:
                ports[url] = open_port(url, pump.baud or baud_of(pump.model.family), note, clock=clock)
            stack.callback(ports[url].close)
        drivers = {
            name: driver(pump.model.family, ports[pump.port], pump.address, pump.name, pump.model.number, clock)
            for name, pump in pumps.items()
        }
        yield drivers, lambda: (
            any(port.waiting() for port in ports.values()) or any(pump.called for pump in drivers.values())
        )


def _port_of(line: Simulator, note: Note, clock: Clock) -> Port:
    """A port on simulated pumps: through a pseudo-terminal, or, on a virtual clock, in memory."""
    if hasattr(line, "device"):
        return Port(line.device(), SIMULATED, note, clock=clock)
    port = open_port(line.path, 19200, note, clock=clock)
    port.url = SIMULATED
    return port


def simulated_line(pumps: Mapping[str, Equipment], clock: Clock) -> SimulatedLine:
    """A simulated line with the simulated ones of these pumps, each with a full syringe, just switched on."""
    try:
        from twin.rig.simulated.line import SimulatedLine
    except ImportError as error:  # tty is POSIX only
        raise BadInput(
            "the simulated pumps need pseudo-terminals, which this system has not", "use Linux or macOS"
        ) from error
    return SimulatedLine(simulated_pumps(pumps), clock)


def simulated_pumps(pumps: Mapping[str, Equipment], port: str = SIMULATED) -> dict[int, SimulatedPump]:
    """Simulated pumps for those of one port, by address, with full syringes."""
    from twin.rig.simulated.make import simulated_pump

    return {pump.address: simulated_pump(pump) for pump in pumps.values() if pump.port == port}


def simulated_sensors(clock: Clock, pumped_ml: Callable[[], float]) -> Callable[[str, SensorEntry], Sensor]:
    """Makes the sensors of a case that are simulated; their pressures follow what the pumps deliver."""
    from twin.rig.simulated.sensors import simulator

    return simulator(clock, pumped_ml)


def paper_pumps(pumps: Mapping[str, Equipment], clock: VirtualClock, note: Note) -> dict[str, Pump]:
    """Pumps for a dry run: simulated ones in the place of every pump, in memory, on a clock that takes no time."""
    from twin.rig.simulated.memory import MemoryLine

    found: dict[str, Pump] = {}
    for url in dict.fromkeys(pump.port for pump in pumps.values()):
        chain = {name: pump for name, pump in pumps.items() if pump.port == url}
        family = next(iter(chain.values())).model.family
        line = MemoryLine(simulated_pumps(chain, url), clock, baud_of(family))
        port = Port(line.device(), url, note, clock=clock)
        for name, pump in chain.items():
            found[name] = driver(family, port, pump.address, pump.name, pump.model.number, clock)
    return found
