"""Finds the pumps on the serial ports of this computer. It asks and nothing more: no pump is moved or changed.

Two things a question can't help. A pump of New Era with an alarm that nobody has seen says it instead of an answer, and
with that takes it as acknowledged. And one in Safe mode takes a question as a sign of life, and misses the next one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from serial.tools import list_ports

from twin.errors import TwinError
from twin.rig.errors import BadReply, NoReply
from twin.rig.port import Note, Port, open_port
from twin.rig.pumps.newera_packets import Mode, Reply, encode, readable
from twin.rig.wire import harvard
from twin.rig.wire.newera import ALARMS

#: Wall time in which a pump must begin to answer, and be done, s.
DEADLINE_S = 0.2
#: The speeds at which each family is looked for, the usual one first.
BAUDS = {"newera": (19200, 9600), "harvard": (115200, 9600, 19200, 38400, 57600)}
_VERSION = re.compile(r"NE(\d+)(X?\d?V\d+\.\d+)")
_HARVARD = re.compile(
    rb"\n(?:(\d\d):)?([A-Za-z0-9][A-Za-z0-9 /-]{0,40}? v?\d+(?:\.\d+)+)\r\n(?:\d\d)?(T\*|[<>]\*|[:<>*])\x11?$"
)
_PROMPTS = {
    harvard.IDLE: "stopped", harvard.INFUSING: "infusing", harvard.WITHDRAWING: "withdrawing",
    harvard.STALLED: "stalled", harvard.TARGET_REACHED: "stopped at its target",
    harvard.INFUSE_LIMIT: "at a limit switch", harvard.WITHDRAW_LIMIT: "at a limit switch",
}  # fmt: skip

Open = Callable[[str, int, Note], Port]


@dataclass(frozen=True)
class Found:
    """What a port holds: a pump, an unknown device, or what kept it from being asked.

    `family`, `address`, `baud` and `mode` are None where no pump answered; `model` is what it calls itself, with its
    firmware; `status` is said in words.
    """

    port: str
    family: str | None = None
    address: int | None = None
    baud: int | None = None
    mode: str | None = None
    model: str = ""
    status: str = ""

    def __str__(self) -> str:
        if self.family is None:
            return f"{self.port}: {self.status}"
        mode = f", {self.mode} mode" if self.mode else ""
        return (
            f"{self.port}: {self.family} {self.model} at address {self.address}, {self.baud} baud{mode}: {self.status}"
        )


def _open(url: str, baud: int, note: Note) -> Port:
    return open_port(url, baud, note, deadline_s=DEADLINE_S)


def _no_note(url: str, sent: bytes, received: bytes, problem: str) -> None:
    pass


def scan(
    ports: Sequence[str] | None = None, addresses: Iterable[int] = range(4), note: Note = _no_note, opener: Open = _open
) -> list[Found]:
    """What answers on the serial ports; at least one entry for each port, and no error for any.

    Args:
        ports: as `open_port` takes them; those of this computer, where they are left out.
        addresses: which addresses are tried, 0 to 99.
        note: takes every exchange.
        opener: opens a port at a speed.
    """
    urls = sorted(entry.device for entry in list_ports.comports()) if ports is None else ports
    return [found for url in urls for found in _on_port(url, tuple(addresses), note, opener)]


def _on_port(url: str, addresses: tuple[int, ...], note: Note, opener: Open) -> list[Found]:
    """Each family at each of its speeds, until one answers; a chain has one speed."""
    heard = bytearray()

    def listen(url: str, sent: bytes, received: bytes, problem: str) -> None:
        heard.extend(received)
        note(url, sent, received, problem)

    for family, baud in _tries():
        try:
            port = opener(url, baud, listen)
        except TwinError as error:
            return [Found(url, status=error.message)]
        try:
            found = [pump for address in addresses if (pump := _ASK[family](port, url, address, baud)) is not None]
        except TwinError as error:  # the port went away
            return [Found(url, status=error.message)]
        finally:
            port.close()
        if found:
            return found
    if heard:
        return [Found(url, status=f"unknown device, which says {bytes(heard[:40])!r}")]
    return [Found(url, status="nothing answers")]


def _tries() -> list[tuple[str, int]]:
    """The usual speed of each family first."""
    first = [(family, bauds[0]) for family, bauds in BAUDS.items()]
    return first + [(family, baud) for family, bauds in BAUDS.items() for baud in bauds[1:]]


def _newera(port: Port, url: str, address: int, baud: int) -> Found | None:
    for mode in Mode:
        reply = _newera_reply(port, mode, address, "VER")
        if reply is None:
            continue
        alarm = reply.alarm
        if alarm is not None:  # it has said it instead of the answer, and will say it no more
            reply = _newera_reply(port, mode, address, "VER")
        model = _VERSION.fullmatch(reply.data) if reply else None
        poll = _newera_reply(port, mode, address, "")
        status = poll.status.name.lower().replace("_", " ") if poll and poll.status else "gives no status"
        if alarm is not None:
            status += f"; it {ALARMS[alarm]} (A?{alarm}), which it takes as acknowledged now"
        name = f"NE-{model[1]} {model[2]}" if model else f"calls itself {reply.data!r}" if reply else "of unknown model"
        return Found(url, "newera", address, baud, mode.value, name, status)
    return None


def _newera_reply(port: Port, mode: Mode, address: int, command: str) -> Reply | None:
    def own(received: bytes) -> list[Reply]:
        return [reply for reply in readable(received) if reply.address == address]

    # A device in no Safe mode must not keep the packet as the head of its next line.
    message = encode(mode, address, command) + (b"\r" if mode is Mode.SAFE else b"")
    received = _exchange(port, message, lambda received: bool(own(received)))
    return own(received)[-1] if received else None


def _harvard(port: Port, url: str, address: int, baud: int) -> Found | None:
    prefix = f"{address:02d}" if address else ""
    received = _exchange(port, f"{prefix}ver\r".encode("ascii"), lambda received: _HARVARD.search(received) is not None)
    match = _HARVARD.search(received)
    if match is None or int(match[1] or 0) != address:
        return None
    return Found(url, "harvard", address, baud, None, match[2].decode("ascii"), _PROMPTS[match[3].decode("ascii")])


def _exchange(port: Port, message: bytes, whole: Callable[[bytes], bool]) -> bytes:
    """What came, up to something whole; nothing where that never came."""
    try:
        return port.exchange(message, whole, unasked=lambda stray: None)
    except (NoReply, BadReply):
        return b""


_ASK = {"newera": _newera, "harvard": _harvard}
