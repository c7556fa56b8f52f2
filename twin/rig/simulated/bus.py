"""The simulated pumps of one cable: bytes in, bytes out, at a given time. No threads, no ports, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twin.rig.simulated.faults import SLOW_SHARE, Fault

#: Without end.
ALWAYS = float("inf")


class SimulatedPump(Protocol):
    """One simulated pump, of whatever family."""

    @property
    def dialect(self) -> Dialect:
        """How its family frames what it hears and says."""
        ...

    @property
    def status(self) -> str:
        """Its status as a letter: I infusing, W withdrawing, S stopped, P paused and so on."""
        ...

    @property
    def delivered_ml(self) -> float:
        """Infused minus withdrawn, truly, mL."""
        ...

    @property
    def volume_ml(self) -> float:
        """What is left in the syringe, mL."""
        ...

    def power_on(self, now_s: float) -> None:
        """Power comes back at that time, s."""
        ...

    def stall(self, now_s: float) -> None:
        """The motor is blocked."""
        ...

    def slow(self, share: float, now_s: float) -> None:
        """From now on it runs at this share of its rate."""
        ...

    def advance(self, now_s: float) -> None:
        """Moves the plunger on to a time, s."""
        ...


class Dialect(Protocol):
    """How the pumps of a family frame what they hear and say."""

    def hear(
        self,
        pumps: Mapping[int, Any],
        buffer: bytearray,
        now_s: float,
        heard: list[bytes],
        spend: Callable[[int], Fault | None],
    ) -> bytes:
        """Takes every whole command out of `buffer` into `heard`, and returns what the pumps say to them.

        Args:
            pumps: the pumps by address.
            buffer: what came and was not yet taken; what is not yet whole stays in it.
            now_s: when it came, s.
            heard: takes every command, without its frame.
            spend: asked once per command that reaches a pump, for the fault that spoils it.
        """
        ...

    def spontaneous(self, pumps: Mapping[int, Any], now_s: float) -> bytes:
        """What the pumps say unasked by that time, s."""
        ...


class Bus:
    """The pure state of one cable with pumps of one family on it.

    Args:
        pumps: the pumps by address.
    """

    def __init__(self, pumps: Mapping[int, SimulatedPump]) -> None:
        self.pumps = dict(pumps)
        self.heard: list[bytes] = []
        self._dialect = next(iter(self.pumps.values())).dialect
        if any(pump.dialect is not self._dialect for pump in self.pumps.values()):
            raise ValueError("pumps of two families can't share one cable: their speeds differ")
        self._buffer = bytearray()
        self._faults: dict[int, tuple[Fault, float]] = {}

    def power_on(self, now_s: float) -> None:
        """Switches every pump on."""
        for pump in self.pumps.values():
            pump.power_on(now_s)

    def hear(self, data: bytes, now_s: float) -> bytes:
        """What the pumps answer to some bytes, which need not be whole commands."""
        self._buffer += data
        return self._dialect.hear(self.pumps, self._buffer, now_s, self.heard, self._spend)

    def spontaneous(self, now_s: float) -> bytes:
        """What the pumps say unasked by that time, s."""
        return self._dialect.spontaneous(self.pumps, now_s)

    def inject(self, fault: Fault, address: int, now_s: float, times: float = ALWAYS) -> None:
        """Makes a fault happen now; faults of the link spoil the next `times` commands to that address."""
        pump = self.pumps[address]
        if fault is Fault.STALL:
            pump.stall(now_s)
        elif fault is Fault.RESET:
            pump.power_on(now_s)
        elif fault is Fault.SLOW:
            pump.slow(SLOW_SHARE, now_s)
        elif fault is Fault.UNPLUGGED:
            raise ValueError("a bus has no plug: unplug the line")
        else:
            self._faults[address] = (fault, times)

    def heal(self, address: int) -> None:
        """Ends the faults of the link to a pump."""
        self._faults.pop(address, None)

    def state(self, address: int, now_s: float) -> tuple[str, float]:
        """The true status letter of a pump, and the mL that it has truly delivered, less what it withdrew."""
        pump = self.pumps[address]
        pump.advance(now_s)
        return pump.status, pump.delivered_ml

    def _spend(self, address: int) -> Fault | None:
        """The fault that spoils the exchange at hand."""
        fault, left = self._faults.get(address, (None, 0.0))
        if left <= 0:
            self._faults.pop(address, None)
            return None
        if fault is not None:
            self._faults[address] = (fault, left - 1)
        return fault
