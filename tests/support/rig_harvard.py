"""A simulated Harvard pump on a bench, and a line on which one says what a test wants it to say."""

from __future__ import annotations

from collections.abc import Callable

from twin.rig.clock import VirtualClock
from twin.rig.port import Port
from twin.rig.pumps.catalogue import PUMP_MODELS
from twin.rig.pumps.harvard import HarvardPump
from twin.rig.simulated.harvard import SimulatedHarvard
from twin.rig.simulated.memory import MemoryLine

ELITE = PUMP_MODELS["11 Elite"]


def elite(volume_ml: float = 50.0, **options: object) -> SimulatedHarvard:
    return SimulatedHarvard("11 ELITE", ELITE.min_cm_h, ELITE.max_cm_h, volume_ml, **options)  # type: ignore[arg-type]


class Bench:
    """Simulated pumps on a line in memory, with a port and a driver for each."""

    def __init__(self, *addresses: int, **options: object) -> None:
        self.clock = VirtualClock()
        self.simulated = {address: elite(**options) for address in addresses}  # type: ignore[arg-type]
        self.line = MemoryLine(self.simulated, self.clock, 115200)
        self.port = Port(self.line.device(), "memory", clock=self.clock)
        self.pumps = {address: HarvardPump(self.port, address, clock=self.clock) for address in addresses}
        self.pump, self.heard = self.pumps[addresses[0]], self.line.heard

    def running(self, rate_ml_h: float = 600.0) -> HarvardPump:
        self.pump.prepare(26.59, fine=False)
        self.pump.set_rate_ml_h(rate_ml_h)
        self.pump.start()
        return self.pump

    def say(self, command: bytes) -> bytes:
        """What the simulated pumps answer to a bare command."""
        device = self.line.device()
        device.write(command + b"\r")
        return device.read(200)


class Scripted:
    """A line on which a pump in polling mode says what a test wants it to say."""

    url = "scripted"

    def __init__(self, **answers: bytes) -> None:
        self.answers = answers
        self.forgetful: set[str] = set()

    def exchange(
        self,
        message: bytes,
        whole: Callable[[bytes], bool],
        insist: bool = False,
        unasked: Callable[[bytes], None] | None = None,
        deadline_s: float | None = None,
    ) -> bytes:
        command = message.decode().rstrip("\r")
        known = {"poll": b"\nPolling mode is ON\r\n:\x11"}
        return self.answers.get(command.replace(" ", "_")) or known.get(command, b"\n:\x11")
