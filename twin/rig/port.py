"""One serial port: one lock, a deadline on every read, every byte noted."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import serial
from serial.tools import list_ports

from twin.errors import BadInput, TwinError
from twin.rig.errors import BadReply, NoReply, RigError
from twin.rig.wire import BAUD

#: What `pyserial` and the operating system raise when a device goes away under a read or a write. A port that was
#: closed underneath gives TypeError or ValueError.
_GONE = (serial.SerialException, OSError, TypeError, ValueError)

#: Wall time that a pump has for its reply, s. At 19200 baud the longest exchange takes about 40 ms.
DEADLINE_S = 0.5
_SLICE_S = 0.05
_LONGEST = 256

#: Takes the port, what was sent, what came, and what went wrong ("" where nothing did).
Note = Callable[[str, bytes, bytes, str], None]


class Device(Protocol):
    """The part of `serial.Serial` that a port needs."""

    def read(self, size: int = 1, /) -> bytes: ...  # noqa: D102
    def write(self, data: bytes, /) -> Any: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    @property
    def in_waiting(self) -> int: ...  # noqa: D102


def _no_note(url: str, sent: bytes, received: bytes, problem: str) -> None:
    pass


class Port:
    """An open port. Several pumps of a chain may share it: exchanges are whole, one after the other."""

    def __init__(self, device: Device, url: str, note: Note = _no_note, deadline_s: float = DEADLINE_S) -> None:
        self.url = url
        self.note = note
        self.deadline_s = deadline_s
        self._device = device
        # Re-entrant, so that a stop after an interrupt in the middle of an exchange never waits for itself.
        self._lock = threading.RLock()

    def exchange(self, message: bytes, until: int, insist: bool = False) -> bytes:
        """Sends `message` and returns what came, up to and with the byte `until`.

        Args:
            message: the bytes to send.
            until: the byte that ends a reply.
            insist: send even where stray bytes stand in the way, as a stop must.

        Raises:
            NoReply: nothing, or no whole reply, within the deadline.
            BadReply: bytes came unasked, or without end.
            RigError: the port is gone.
        """
        with self._lock:
            sent, received, problem = b"", bytearray(), ""
            try:
                stray = self._drain()
                if stray and not insist:
                    received += stray
                    raise BadReply(
                        f"unasked bytes on {self.url}: {stray!r}", "look at the cable, and for a second program"
                    )
                self._device.write(message)
                sent = message
                self._collect(received, until)
                return bytes(received)
            except _GONE as error:
                problem = f"{self.url} is gone: {error}"
                raise RigError(problem, "look at the cable and its adapter") from error
            except TwinError as error:
                problem = error.message
                raise
            finally:
                self.note(self.url, sent, bytes(received), problem)

    def close(self) -> None:
        """Closes the port."""
        self._device.close()

    def _drain(self) -> bytes:
        """What arrived unasked; at most a few slices of time and a few replies of bytes."""
        stray = bytearray()
        end = time.monotonic() + 2 * _SLICE_S
        while self._device.in_waiting and len(stray) < _LONGEST and time.monotonic() < end:
            stray += self._device.read(self._device.in_waiting)
        return bytes(stray)

    def _collect(self, received: bytearray, until: int) -> None:
        end = time.monotonic() + self.deadline_s
        while time.monotonic() < end:
            received += self._device.read(1)
            if received and received[-1] == until:
                return
            if len(received) > _LONGEST:
                raise BadReply(f"{self.url} babbles: no reply ends within {_LONGEST} bytes", "is this the pump's port?")
        what = f"only {bytes(received)!r}" if received else "nothing"
        raise NoReply(
            f"{what} came from {self.url} within {self.deadline_s:g} s", "look at the pump, its address and cable"
        )


def open_port(url: str, note: Note = _no_note, deadline_s: float = DEADLINE_S) -> Port:
    """Opens a device path or another URL of pyserial (`socket://…`, `rfc2217://…`) at 19200 8N1.

    Raises:
        BadInput: there is no such port, or no permission, or it is no serial port.
        RigError: another program holds it, or it does not answer.
    """
    options: dict[str, Any] = {} if "://" in url else {"exclusive": True}
    try:
        device = serial.serial_for_url(url, baudrate=BAUD, timeout=_SLICE_S, write_timeout=1.0, **options)
    except ValueError as error:
        raise BadInput(
            f'"{url}" is no port: {error}', "give a device path, socket://HOST:PORT or rfc2217://HOST:PORT"
        ) from error
    except (serial.SerialException, OSError) as error:
        raise _refusal(url, error) from error
    return Port(device, url, note, deadline_s)


def _refusal(url: str, error: OSError) -> TwinError:
    """An error in opening a port, in words."""
    number = error.errno
    if number is None and "lock" in str(error):
        number = errno.EBUSY
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        present = ", ".join(sorted(entry.device for entry in list_ports.comports())) or "none"
        return BadInput(f"there is no port {url}", f"plug it in, or name another one in case.toml; present: {present}")
    if number in (errno.EACCES, errno.EPERM):
        return BadInput(
            f"no permission to open {url}", "add yourself to the group that owns it (on Linux often dialout)"
        )
    if number in (errno.EBUSY, errno.EAGAIN):
        return RigError(
            f"{url} is in use by another program", "end that program; a run of the twin ends with `twin rig stop`"
        )
    if number in (errno.ENOTTY, errno.EISDIR, errno.EINVAL) or "ioctl" in str(error):
        return BadInput(f"{url} is no serial port", "name the port of the pump in case.toml")
    return RigError(f"can't open {url}: {error}", "look at the cable, the adapter and the network")
