"""Simulated New Era pumps on a pseudo-terminal, byte for byte in Basic mode, with faults to inject.

Written from the manuals, apart from the driver: the two share constants and no code, so that a misreading in one shows
up against the other. POSIX only.
"""

from __future__ import annotations

import os
import select
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Protocol

from twin.rig.simulated.newera import SimulatedPump
from twin.rig.wire.newera import ETX, STX


class HasNow(Protocol):
    """Anything that tells process time in s."""

    def now(self) -> float: ...  # noqa: D102


class Fault(Enum):
    """What can be made to go wrong with one pump."""

    STALL = "stall"  #: its motor stops, and it raises A?S
    RESET = "reset"  #: its power blinks: it stops, forgets its running rate, and raises A?R
    SILENCE = "silence"  #: it neither hears nor answers
    MUTE = "mute"  #: it obeys, but its replies are lost
    GARBAGE = "garbage"  #: it obeys, but its replies are noise
    PARTIAL = "partial"  #: it obeys, but its replies break off
    WRONG_ADDRESS = "wrong address"  #: it obeys, but answers under another address
    SLOW = "slow"  #: its clock is 3 % slow, so it delivers less than it was told: the ledger must notice


class SimulatedLine:
    """Pumps in a chain behind one serial port, `path`. A thread answers until `close`.

    Args:
        pumps: the pumps by address.
        clock: process time; an accelerated one makes the pumps run that much faster.
    """

    def __init__(self, pumps: dict[int, SimulatedPump], clock: HasNow) -> None:
        self.pumps = pumps
        self.clock = clock
        self.heard: list[bytes] = []
        self._faults: dict[int, tuple[Fault, float]] = {}
        self._lock = threading.Lock()
        self._master, self._slave = os.openpty()  # the slave stays open: the line outlives each program that opens it
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._wake_out, self._wake_in = os.pipe()
        for pump in pumps.values():
            pump.power_on(clock.now())
        self._thread = threading.Thread(target=self._serve, name=f"simulated pumps on {self.path}", daemon=True)
        self._thread.start()

    def __enter__(self) -> SimulatedLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread and closes everything. A second call does nothing."""
        if self._thread.is_alive():
            os.write(self._wake_in, b".")
            self._thread.join()
        for handle in (self._master, self._slave, self._wake_out, self._wake_in):
            if handle >= 0:
                os.close(handle)
        self._master = self._slave = self._wake_out = self._wake_in = -1

    def inject(self, fault: Fault, address: int, times: float = float("inf")) -> None:
        """Makes a fault happen now; faults of the link spoil the next `times` commands to that address."""
        with self._lock:
            pump, now = self.pumps[address], self.clock.now()
            if fault is Fault.STALL:
                pump.stall(now)
            elif fault is Fault.RESET:
                pump.power_on(now)
            elif fault is Fault.SLOW:
                pump.slow(0.97, now)
            else:
                self._faults[address] = (fault, times)

    def heal(self, address: int) -> None:
        """Ends the faults of the link to a pump."""
        with self._lock:
            self._faults.pop(address, None)

    def state(self, address: int) -> tuple[str, float]:
        """The true status letter of a pump, and the mL that it has truly delivered."""
        with self._lock:
            pump = self.pumps[address]
            pump.advance(self.clock.now())
            return pump.status, pump.delivered_ml

    def _serve(self) -> None:
        pending = bytearray()
        while True:
            ready, _, _ = select.select([self._master, self._wake_out], [], [])
            if self._wake_out in ready:
                return
            pending += os.read(self._master, 1024)
            while (end := pending.find(b"\r")) >= 0:
                line = bytes(pending[:end])
                del pending[: end + 1]
                with self._lock:
                    self.heard.append(line)
                    answer = self._answer(line)
                if answer:
                    with suppress(BlockingIOError):  # nobody reads: a serial line loses bytes, too
                        os.write(self._master, answer)

    def _answer(self, line: bytes) -> bytes:
        """What comes back for one line: the reply of the pump that it addresses, or nothing."""
        text = "".join(chr(byte).upper() for byte in line if 0x20 < byte < 0x7F)
        address, command = _split(text)
        if address not in self.pumps:
            return b""
        fault = self._spend(address)
        if fault is Fault.SILENCE:
            return b""
        body = self.pumps[address].execute(command, self.clock.now())
        return _spoil(fault, address, body)

    def _spend(self, address: int) -> Fault | None:
        """The fault that spoils the exchange at hand."""
        fault, left = self._faults.get(address, (None, 0.0))
        if left <= 0:
            self._faults.pop(address, None)
            return None
        if fault is not None:
            self._faults[address] = (fault, left - 1)
        return fault


def _split(text: str) -> tuple[int, str]:
    """The address in front of a command (0 where there is none) and the command."""
    digits = len(text[:2]) - len(text[:2].lstrip("0123456789"))
    return (int(text[:digits]) if digits else 0), text[digits:]


def _spoil(fault: Fault | None, address: int, body: str) -> bytes:
    frame = _frame(address, body)
    spoilt: dict[Fault, Callable[[], bytes]] = {
        Fault.MUTE: lambda: b"",
        Fault.GARBAGE: lambda: bytes((17 * index + 131) % 256 for index in range(len(frame))),
        Fault.PARTIAL: lambda: frame[:-2],
        Fault.WRONG_ADDRESS: lambda: _frame((address + 42) % 100, body),
    }
    return spoilt[fault]() if fault in spoilt else frame


def _frame(address: int, body: str) -> bytes:
    return bytes([STX]) + f"{address:02d}{body}".encode("ascii") + bytes([ETX])
