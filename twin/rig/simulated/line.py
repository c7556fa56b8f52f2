"""Simulated pumps behind a pseudo-terminal: any program that opens a serial port can talk to them. POSIX only."""

from __future__ import annotations

import os
import select
import shutil
import tempfile
import threading
import time
import tty
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from twin.errors import BadInput
from twin.rig.simulated.bus import ALWAYS, Bus, SimulatedPump
from twin.rig.simulated.faults import Fault

#: A start bit, eight bits of data, a stop bit.
BITS = 10
#: How often the pumps may speak unasked, s of wall time.
_SPEAK_S = 0.02


class HasNow(Protocol):
    """Anything that tells process time in s."""

    def now(self) -> float: ...  # noqa: D102


class SimulatedLine:
    """Pumps in a chain behind one serial port, `path`, just switched on. A thread answers until `close`.

    Args:
        pumps: the pumps by address.
        clock: process time; an accelerated one makes the pumps run that much faster.
        baud: each reply is held back for the wall time that its command and itself take at this speed; None for none.
        at: where the port appears, as a link; None for a temporary folder. Raises `BadInput` where something is there.
    """

    def __init__(
        self, pumps: Mapping[int, SimulatedPump], clock: HasNow, baud: int | None = None, at: Path | str | None = None
    ) -> None:
        self.clock = clock
        self._bus = Bus(pumps)
        self._byte_s = BITS / baud if baud else 0.0
        self._folder = tempfile.mkdtemp(prefix="pumps-") if at is None else None
        self.path = str(Path(self._folder) / "port" if self._folder else at)
        if os.path.lexists(self.path):
            raise BadInput(f"{self.path} is there already", "name another place for the simulated port, or remove it")
        self._lock = threading.Lock()
        self._master = self._slave = -1
        self._wake_out, self._wake_in = os.pipe()
        self._bus.power_on(clock.now())
        self._open()
        self._thread = threading.Thread(target=self._serve, name=f"simulated pumps on {self.path}", daemon=True)
        self._thread.start()

    @property
    def pumps(self) -> dict[int, SimulatedPump]:
        """The pumps by address."""
        return self._bus.pumps

    @property
    def heard(self) -> list[bytes]:
        """Every command so far, without its frame."""
        return self._bus.heard

    def __enter__(self) -> SimulatedLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread and removes the port. A second call does nothing."""
        if self._thread.is_alive():
            os.write(self._wake_in, b".")
            self._thread.join()
        self.unplug()
        for handle in (self._wake_out, self._wake_in):
            if handle >= 0:
                os.close(handle)
        self._wake_out = self._wake_in = -1
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def inject(self, fault: Fault, address: int, times: float = ALWAYS) -> None:
        """Makes a fault happen now; faults of the link spoil the next `times` commands to that address."""
        if fault is Fault.UNPLUGGED:
            self.unplug()
            return
        with self._lock:
            self._bus.inject(fault, address, self.clock.now(), times)

    def heal(self, address: int) -> None:
        """Ends the faults of the link to a pump."""
        with self._lock:
            self._bus.heal(address)

    def state(self, address: int) -> tuple[str, float]:
        """The true status letter of a pump, and the mL that it has truly delivered."""
        with self._lock:
            return self._bus.state(address, self.clock.now())

    def unplug(self) -> None:
        """Pulls the cable out: the port is gone, and whoever holds it open gets errors. The pumps go on."""
        with self._lock:
            if self._master < 0:
                return
            Path(self.path).unlink(missing_ok=True)
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1

    def plug_in(self) -> None:
        """Puts the cable back: the port can be opened again under the same path."""
        with self._lock:
            if self._master < 0 <= self._wake_in:
                self._open()
                os.write(self._wake_in, b" ")

    def _open(self) -> None:
        self._master, self._slave = os.openpty()  # the slave stays open: the line outlives each program that opens it
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        Path(self.path).symlink_to(os.ttyname(self._slave))

    def _serve(self) -> None:
        while True:
            with self._lock:
                master = self._master
                watched = [self._wake_out, *([master] if master >= 0 else [])]
                ready, _, _ = select.select(watched, [], [], 0)
            if not ready:
                # Outside of the lock: a cable that is pulled out meanwhile makes this return.
                with suppress(OSError, ValueError):
                    ready, _, _ = select.select(watched, [], [], _SPEAK_S)
            if self._wake_out in ready and os.read(self._wake_out, 1) == b".":
                return
            self._turn(master)

    def _turn(self, master: int) -> None:
        """Hears what came, and says what there is to say."""
        with self._lock:
            if master < 0 or master != self._master:
                return
            data = b""
            with suppress(BlockingIOError):
                data = os.read(master, 1024)
            if data and self._byte_s:
                time.sleep(len(data) * self._byte_s)
            now = self.clock.now()
            answer = self._bus.spontaneous(now) + (self._bus.hear(data, now) if data else b"")
            if answer and self._byte_s:
                time.sleep(len(answer) * self._byte_s)
            with suppress(BlockingIOError):  # nobody reads: a serial line loses bytes, too
                if answer:
                    os.write(master, answer)
