"""A simulated line without a port or a thread: whoever waits for a byte moves the virtual clock."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Mapping

from twin.rig.clock import VirtualClock
from twin.rig.port import SLICE_S
from twin.rig.simulated.bus import ALWAYS, Bus, SimulatedPump
from twin.rig.simulated.faults import Fault

#: A start bit, eight bits of data, a stop bit.
BITS = 10


class MemoryLine:
    """Simulated pumps of one cable, just switched on, on a virtual clock. The same run gives the same bytes.

    Args:
        pumps: the pumps by address.
        clock: process time.
        baud: bits a second; each byte takes ten.
    """

    def __init__(
        self, pumps: Mapping[int, SimulatedPump], clock: VirtualClock, baud: int = 19200, think_s: float = 0.0
    ) -> None:
        self.clock = clock
        self._think_s = think_s
        self._bus = Bus(pumps)
        self._bus.power_on(clock.now())
        self._byte_s = BITS / baud
        self._arriving: deque[tuple[float, int]] = deque()
        self._plugged: object | None = object()

    @property
    def pumps(self) -> dict[int, SimulatedPump]:
        """The pumps by address."""
        return self._bus.pumps

    @property
    def heard(self) -> list[bytes]:
        """Every command so far, without its frame."""
        return self._bus.heard

    def device(self) -> MemoryDevice:
        """Opens the line: what `twin.rig.port.Port` takes."""
        if self._plugged is None:
            raise OSError(errno.ENOENT, "the cable is pulled out")
        self._listen()  # what was said into the closed port is lost
        self._arriving.clear()
        return MemoryDevice(self, self._plugged)

    def inject(self, fault: Fault, address: int, times: float = ALWAYS) -> None:
        """Makes a fault happen now; faults of the link spoil the next `times` commands to that address."""
        if fault is Fault.UNPLUGGED:
            self.unplug()
        else:
            self._bus.inject(fault, address, self.clock.now(), times)

    def heal(self, address: int) -> None:
        """Ends the faults of the link to a pump."""
        self._bus.heal(address)

    def state(self, address: int) -> tuple[str, float]:
        """The true status letter of a pump, and the mL that it has truly delivered."""
        return self._bus.state(address, self.clock.now())

    def unplug(self) -> None:
        """Pulls the cable out: an open device fails from now on. The pumps go on."""
        self._plugged = None
        self._arriving.clear()

    def plug_in(self) -> None:
        """Puts the cable back: the line can be opened again."""
        self._plugged = self._plugged or object()

    def _send(self, data: bytes) -> None:
        self._listen()
        self.clock.pass_by(len(data) * self._byte_s)
        self._arrive(self._bus.hear(data, self.clock.now()), self._think_s)

    def _listen(self) -> None:
        """Lets the pumps say what they say unasked."""
        self._arrive(self._bus.spontaneous(self.clock.now()))

    def _arrive(self, data: bytes, after_s: float = 0.0) -> None:
        at = max(self.clock.now() + after_s, self._arriving[-1][0] if self._arriving else 0.0)
        for index, byte in enumerate(data, start=1):
            self._arriving.append((at + index * self._byte_s, byte))

    def _waiting(self) -> int:
        self._listen()
        now = self.clock.now()
        return sum(at <= now for at, _ in self._arriving)

    def _receive(self, size: int) -> bytes:
        """Up to `size` bytes, awaited for at most a slice of time."""
        end, taken = self.clock.now() + SLICE_S, bytearray()
        while len(taken) < size:
            if not self._arriving:
                self._listen()
            if not self._arriving or self._arriving[0][0] > end:
                self.clock.pass_by(end - self.clock.now())
                self._listen()
                break
            at, byte = self._arriving.popleft()
            self.clock.pass_by(at - self.clock.now())
            taken.append(byte)
        return bytes(taken)


class MemoryDevice:
    """One opening of a `MemoryLine`; it fails for good once the cable was pulled out, or it was closed."""

    def __init__(self, line: MemoryLine, plugged: object) -> None:
        self._line = line
        self._plugged: object | None = plugged

    def read(self, size: int = 1, /) -> bytes:
        """Up to `size` bytes, awaited for at most a slice of time."""
        self._check()
        return self._line._receive(size)

    def write(self, data: bytes, /) -> int:
        """Sends bytes, and takes the time that they take."""
        self._check()
        self._line._send(data)
        return len(data)

    @property
    def in_waiting(self) -> int:
        """How many bytes have arrived."""
        self._check()
        return self._line._waiting()

    def close(self) -> None:
        """Closes it. A second call does nothing."""
        self._plugged = None

    def _check(self) -> None:
        if self._plugged is None or self._plugged is not self._line._plugged:
            raise OSError(errno.EIO, "the cable was pulled out, or the port closed")
