"""Simulated pumps of every family on every kind of line, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from twin.case import Case
from twin.case.rig import Partner
from twin.errors import BadInput
from twin.rig.clock import Clock, VirtualClock
from twin.rig.errors import PumpAlarm, RigError
from twin.rig.port import DEADLINE_S, Port, open_port
from twin.rig.pumps.drivers import baud_of, driver
from twin.rig.pumps.protocol import Pump
from twin.rig.simulated.bus import SimulatedPump
from twin.rig.simulated.harvard import SimulatedHarvard
from twin.rig.simulated.line import SimulatedLine
from twin.rig.simulated.memory import MemoryLine
from twin.rig.simulated.newera import SimulatedNewEra

#: Slowest and fastest plunger speed, cm/h.
SPEEDS = {"newera": (0.0084, 18.37 * 60), "harvard": (2e-6, 0.265007 * 3600)}
NUMBERS = {"newera": "1010", "harvard": "11 ELITE"}
DIAMETER_MM = 28.6


def simulated(family: str, volume_ml: float = 50.0, **options: Any) -> SimulatedPump:
    """One pump with a full syringe; `capacity_ml` is what it holds at most."""
    make: Any = {"newera": SimulatedNewEra, "harvard": SimulatedHarvard}[family]
    return make(NUMBERS[family], *SPEEDS[family], volume_ml, options.pop("capacity_ml", volume_ml), **options)


def chained(case: Case, addresses: tuple[int, ...] = (0, 1), port: str = "simulated", baud: int | None = None) -> Case:
    """The case with 11 Elites in one chain; the addresses are those of antisolvent, precursor and, if any, partner."""
    antisolvent, precursor, *third = addresses
    change = {"model": "11 Elite", "port": port, "baud": baud}
    partner = Partner(address=third[0]) if third else None
    lead = case.rig.antisolvent.model_copy(update={**change, "address": antisolvent, "partner": partner})
    other = case.rig.precursor.model_copy(update={**change, "address": precursor})
    return case.model_copy(update={"rig": case.rig.model_copy(update={"antisolvent": lead, "precursor": other})})


class Noise:
    """A device that answers each message, or, `unasked`, each wait, with the next piece."""

    def __init__(self, clock: VirtualClock, pieces: Iterator[bytes], unasked: bool = False) -> None:
        self.clock, self.pieces, self.unasked = clock, pieces, unasked
        self.waiting, self.ended = b"", False

    def _next(self) -> None:
        piece = next(self.pieces, None)
        self.ended = piece is None
        self.waiting += piece or b""

    def write(self, data: bytes, /) -> int:
        """Takes a message."""
        self._next()
        return len(data)

    def read(self, count: int = 1, /) -> bytes:
        """What there is, after a while."""
        if self.unasked and not self.waiting:
            self._next()
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        self.clock.pass_by(0.0005 if taken else 0.05)
        return taken

    @property
    def in_waiting(self) -> int:
        """How many bytes there are."""
        return len(self.waiting)

    def close(self) -> None:
        """Nothing to do."""


def calls_until_the_end(device: Noise, driver: Callable[[int], Pump]) -> int:
    """How many calls drivers take until the noise ends; each driver is made with the number of calls before it."""
    calls = 0
    while not device.ended:
        pump = driver(calls)
        for call in (pump.identify, pump.dispensed, pump.status, pump.request_stop, pump.rate_ml_h):
            with suppress(RigError, BadInput):
                call()
            pump.acknowledge()
            calls += 1
    return calls


@dataclass
class Rig:
    """A line, and drivers of its pumps. `safe`: the guard is armed as soon as a pump is known.

    `address` is that of the pump that is meant where none is given, `other` that of another one in its chain.
    """

    family: str
    safe: bool
    line: Any
    clock: Clock
    port: Port
    address: int = 0

    @property
    def other(self) -> int:
        """Another pump than the one at `address`."""
        return 1 - self.address

    def driver(self, address: int | None = None, number: str | None = None) -> Pump:
        """A driver that knows nothing yet."""
        address = self.address if address is None else address
        return driver(self.family, self.port, address, f"pump {address}", number, self.clock)

    def ready(self, address: int | None = None, guard_s: float = 5.0) -> Pump:
        """A pump that was just switched on, acknowledged, and prepared."""
        pump = self.driver(address)
        try:
            pump.identify()
        except PumpAlarm as alarm:
            assert alarm.code == "R"
            assert pump.acknowledge() == "R"
            pump.identify()
        if self.safe:
            assert pump.guard(guard_s) is not None
        pump.prepare(DIAMETER_MM, fine=False)
        return pump

    def wait(self, seconds: float, *pumps: Pump) -> None:
        """Waits, and talks to the pumps once a second, so that no guard bites."""
        end = self.clock.now() + seconds
        while (left := end - self.clock.now()) > 1e-9:
            self.clock.sleep(min(left, 1.0))
            for pump in pumps:
                pump.status()

    def reopen(self) -> None:
        """Opens the line anew, as after the cable was pulled out."""
        self.port.close()
        self.port = _opened(self.line, self.family, self.clock)


@contextmanager
def rig(
    kind: str, family: str = "newera", safe: bool = False, pumps: int = 2, address: int = 0, **options: Any
) -> Iterator[Rig]:
    """`kind` is memory (a virtual clock, no threads) or pty (a real clock, a pseudo-terminal)."""
    chain = {address: simulated(family, **options) for address in range(pumps)}
    if kind == "memory":
        clock = VirtualClock()
        line: Any = MemoryLine(chain, clock, baud_of(family))
        yield Rig(family, safe, line, clock, _opened(line, family, clock), address)
        return
    real = Clock()
    with SimulatedLine(chain, real) as line:
        made = Rig(family, safe, line, real, _opened(line, family, real), address)
        try:
            yield made
        finally:
            made.port.close()


def _opened(line: Any, family: str, clock: Clock) -> Port:
    if isinstance(line, MemoryLine):
        return Port(line.device(), "memory", deadline_s=DEADLINE_S, clock=clock)
    return open_port(line.path, baud_of(family), deadline_s=0.3, clock=clock)
