"""Serial ports over the network, as an adapter offers them: bare bytes, and RFC 2217. On the loopback only."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import serial
from serial.rfc2217 import PortManager


class _Quiet(serial.Serial):
    """A pseudo-terminal, which has no modem lines to ask for."""

    cts = dsr = ri = cd = False

    def _update_rts_state(self) -> None:
        pass

    def _update_dtr_state(self) -> None:
        pass


class _Sender:
    """What `PortManager` writes its own replies to."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        self._connection.sendall(data)


@contextmanager
def served(path: str, scheme: str) -> Iterator[str]:
    """Serves the serial port at `path` to one client after the other; gives the URL. `scheme` is socket or rfc2217."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    ended = threading.Event()
    thread = threading.Thread(target=_serve, args=(listener, path, scheme, ended), daemon=True)
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join(2.0)
        listener.close()


def _serve(listener: socket.socket, path: str, scheme: str, ended: threading.Event) -> None:
    while not ended.is_set():
        with suppress(TimeoutError):
            connection, _ = listener.accept()
            with connection, _Quiet(path, 19200, timeout=0) as device, suppress(OSError):
                _bridge(connection, device, scheme, ended)


def _bridge(connection: socket.socket, device: serial.Serial, scheme: str, ended: threading.Event) -> None:
    manager = PortManager(device, _Sender(connection)) if scheme == "rfc2217" else None
    while not ended.is_set():
        ready, _, _ = select.select([connection, device.fileno()], [], [], 0.05)
        if connection in ready:
            data = connection.recv(1024)
            if not data:
                return
            device.write(b"".join(manager.filter(data)) if manager else data)
        if device.fileno() in ready:
            data = device.read(1024)
            connection.sendall(b"".join(manager.escape(data)) if manager else data)
