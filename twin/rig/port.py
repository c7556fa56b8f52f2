"""One serial port: one lock, a deadline on every read, every byte noted.

The port knows no protocol. Whoever exchanges says when a reply is whole, and what to do with bytes that came unasked.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports

from twin.case.rig import device as device_of
from twin.errors import BadInput, TwinError
from twin.rig.clock import Clock
from twin.rig.errors import BadReply, NoReply, NotSent, RigError

#: What `pyserial` and the operating system raise when a device goes away under a read or a write. A port that was
#: closed underneath gives TypeError or ValueError.
_GONE = (serial.SerialException, OSError, TypeError, ValueError)

#: Wall time that a pump has for its reply, s. At 19200 baud the longest exchange takes about 40 ms.
DEADLINE_S = 0.5
#: A read comes back after this, with or without a byte, s.
SLICE_S = 0.05
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
    """An open port. Several pumps of a chain may share it: exchanges are whole, one after the other.

    Args:
        device: what carries the bytes.
        url: what messages call it.
        note: takes every exchange.
        deadline_s: wall time that a reply may take, s.
        clock: what the deadlines are counted on.
        again: opens a device that went away once more, at once or not at all; only a stop asks for it.
    """

    def __init__(
        self,
        device: Device,
        url: str,
        note: Note = _no_note,
        deadline_s: float = DEADLINE_S,
        clock: Clock | None = None,
        again: Callable[[], Device] | None = None,
    ) -> None:
        self.url = url
        self.forgetful: set[str] = set()
        self.note = note
        self.deadline_s = deadline_s
        self._device = device
        self._again = again
        self._gone = False
        self._clock = clock or Clock()
        # Re-entrant, so that a stop after an interrupt in the middle of an exchange never waits for itself.
        self._lock = threading.RLock()

    def exchange(
        self,
        message: bytes,
        whole: Callable[[bytes], bool],
        insist: bool = False,
        unasked: Callable[[bytes], None] | None = None,
        deadline_s: float | None = None,
    ) -> bytes:
        """Sends `message` and returns what came, up to the byte with which `whole` says that it is a reply.

        Args:
            message: the bytes to send.
            whole: asked after each byte, with all that came so far.
            insist: send even where stray bytes or a hanging exchange stand in the way, as a stop must; and over a cable
                that was pulled out and is back.
            unasked: takes bytes that came before anything was sent, and raises where they should not be there; without
                it they are an error.
            deadline_s: wall time that the reply may take, s; that of the port, where it is left out. With 0 none is
                waited for.

        Raises:
            NoReply: nothing, or no whole reply, within the deadline.
            BadReply: bytes came unasked, or without end.
            RigError: the port is gone; `NotSent` where that was noticed before the message was out.
        """
        held = self._lock.acquire(timeout=2 * self.deadline_s)
        if not (held or insist):
            raise NoReply(f"{self.url} is held up by another exchange", "look for what hangs")
        try:
            patience_s = self.deadline_s if deadline_s is None else deadline_s
            if self._gone and insist and held:
                self._reopen()
            return self._exchange(message, whole, insist, unasked, patience_s)
        finally:
            if held:
                self._lock.release()

    def waiting(self) -> bool:
        """Whether something came unasked that no exchange has read yet; also where the port is gone."""
        if not self._lock.acquire(blocking=False):
            return False  # what comes now is a reply
        try:
            return self._device.in_waiting > 0
        except _GONE:
            return True
        finally:
            self._lock.release()

    def close(self) -> None:
        """Closes the port."""
        self._device.close()

    def _exchange(
        self,
        message: bytes,
        whole: Callable[[bytes], bool],
        insist: bool,
        unasked: Callable[[bytes], None] | None,
        deadline_s: float,
    ) -> bytes:
        sent, received, problem = b"", bytearray(), ""
        try:
            if stray := self._drain():
                received += stray
                self._take(stray, insist, unasked)
                received.clear()
            self._device.write(message)
            sent = message
            if deadline_s > 0:
                self._collect(received, whole, deadline_s)
            return bytes(received)
        except _GONE as error:
            self._gone = True
            problem = f"{self.url} is gone: {error}"
            raise (RigError if sent else NotSent)(problem, "look at the cable and its adapter") from error
        except TwinError as error:
            problem = error.message
            raise
        finally:
            self.note(self.url, sent, bytes(received), problem)

    def _reopen(self) -> None:
        """A device that is back; the old one is closed first, since the system gives its name to no other before."""
        if self._again is None:
            return
        with suppress(*_GONE):
            self._device.close()
        with suppress(TwinError):  # it is not back yet, and what follows says so
            self._device = self._again()
            self._gone = False

    def _take(self, stray: bytes, insist: bool, unasked: Callable[[bytes], None] | None) -> None:
        """Hands stray bytes on, and notes them by themselves."""
        try:
            if unasked is not None:
                unasked(stray)
            elif not insist:
                raise BadReply(
                    f"unasked bytes on {self.url}: {stray!r}", "look at the cable, and for a second program"
                )
        except TwinError:
            if not insist:
                raise
        self.note(self.url, b"", stray, "")

    def _drain(self) -> bytes:
        """What arrived unasked; at most a few slices of time and a few replies of bytes."""
        stray = bytearray()
        end = self._clock.wall() + 2 * SLICE_S
        while self._device.in_waiting and len(stray) < _LONGEST and self._clock.wall() < end:
            stray += self._device.read(self._device.in_waiting)
        return bytes(stray)

    def _collect(self, received: bytearray, whole: Callable[[bytes], bool], deadline_s: float) -> None:
        end = self._clock.wall() + deadline_s
        while self._clock.wall() < end or self._device.in_waiting:  # this process may have been held up, not the pump
            byte = self._device.read(1)
            received += byte
            if byte and whole(bytes(received)):
                return
            if len(received) > _LONGEST:
                raise BadReply(f"{self.url} babbles: no reply ends within {_LONGEST} bytes", "is this the pump's port?")
        what = f"only {bytes(received)!r}" if received else "nothing"
        raise NoReply(
            f"{what} came from {self.url} within {deadline_s:g} s", "look at the pump, its address and cable"
        )


def open_port(
    url: str,
    baud: int,
    note: Note = _no_note,
    deadline_s: float = DEADLINE_S,
    clock: Clock | None = None,
    exclusive: bool = True,
    patient: bool = False,
) -> Port:
    """Opens a device path (`serial://` before it is taken off) or a port of the network, at 8N1.

    Args:
        url: `/dev/ttyUSB0`, `serial:///dev/ttyUSB0`, `COM3`, `socket://HOST:PORT` or `rfc2217://HOST:PORT`.
        baud: bits a second; a socket has none.
        note: takes every exchange.
        deadline_s: wall time that a reply may take, s.
        clock: what the deadlines are counted on.
        exclusive: refuse a device that another program holds. An emergency stop does not ask.
        patient: open also a port of the network again that went away: who asks for a stop there can wait for it.

    Raises:
        BadInput: there is no such port, or no permission, or it is no serial port.
        RigError: another program holds it, or it does not answer.
    """
    device = partial(open_device, url, baud, exclusive)
    again = patient or not of_network(url)  # which may hang, while another pump waits for its stop
    return Port(device(), url, note, deadline_s, clock, again=device if again else None)


def of_network(url: str) -> bool:
    """Whether a port is no device of this computer: then opening it may take seconds."""
    return "://" in url.removeprefix("serial://")


def open_device(url: str, baud: int, exclusive: bool = True) -> Device:
    """What carries the bytes of a port; arguments and errors are those of `open_port`."""
    try:
        path = device_of(url)
        options: dict[str, Any] = {} if "://" in path else {"exclusive": exclusive, "write_timeout": 1.0}
        if path.startswith(("socket://", "rfc2217://")) and not urlsplit(path).port:
            raise ValueError("it lacks the number of a port")
        device: Device = serial.serial_for_url(path, baudrate=baud, timeout=SLICE_S, **options)
    except ValueError as error:
        raise BadInput(
            f'"{url}" is no port: {error}', "give a device path, socket://HOST:PORT or rfc2217://HOST:PORT"
        ) from error
    except (serial.SerialException, OSError) as error:
        raise _refusal(url, error) from error
    return device


def _refusal(url: str, error: OSError) -> TwinError:
    """An error in opening a port, in words."""
    number = error.errno
    if number is None and "lock" in str(error):
        number = errno.EBUSY
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        present = ", ".join(sorted(entry.device for entry in list_ports.comports())) or "none"
        return BadInput(f"there is no port {url}", f"plug it in, or name another one in case.toml; present: {present}")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BadInput(
            f"no permission to open {url}", "add yourself to the group that owns it (on Linux often dialout)"
        )
    if number in (errno.EBUSY, errno.EAGAIN):
        return RigError(
            f"{url} is in use by another program", "end that program; a run of the twin ends with `twin rig stop`"
        )
    if number in (errno.ENOTTY, errno.EISDIR, errno.EINVAL) or "configure" in str(error) or "ioctl" in str(error):
        return BadInput(f"{url} is no serial port", "name the port of the pump in case.toml")
    return RigError(f"can't open {url}: {error}", "look at the cable, the adapter and the network")
