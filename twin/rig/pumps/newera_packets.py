"""What goes over the wire to New Era pumps and back: Basic mode, Safe mode, replies, numbers, and pushed alarms.

Basic: a command is `[address]COMMAND[data] CR`, a reply `STX address status [data] ETX`. Safe: both are
`STX length text checksum ETX`, and a pump pushes its alarms unasked. The byte after STX tells the two apart: the first
digit of an address, or a length, which is smaller than any digit.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from enum import Enum
from weakref import WeakKeyDictionary

from twin.errors import BadInput
from twin.rig.errors import BadReply
from twin.rig.pumps.protocol import Line, Status
from twin.rig.wire.newera import ALARMS, CRC_START, ETX, OVERHEAD, REFUSALS, STX

#: Largest relative error of a number in the pump's format.
PRECISION = 0.005
_BODY = re.compile(rb"(\d\d)(?:A\?([A-Z])|([IWSPTUX])([ -~]{0,40}))")
_DIGITS = range(0x30, 0x3A)


class Mode(Enum):
    """How a pump frames what it says, and expects to hear it."""

    BASIC = "basic"
    SAFE = "safe"


class DamagedPacket(BadReply):
    """A packet whose checksum does not fit: what it said is lost, and asking again is all that helps."""


@dataclass(frozen=True)
class Reply:
    """A reply, taken apart. Exactly one of `status` and `alarm` is there; `refusal` is `?…` in place of the data."""

    address: int
    status: Status | None
    data: str = ""
    alarm: str | None = None
    refusal: str | None = None
    mode: Mode = Mode.BASIC


@dataclass
class Pushed:
    """Alarms that pumps of one line pushed while another pump was listened to: code and time, s, by address."""

    codes: dict[int, tuple[str, float]] = field(default_factory=dict)


_PUSHED: WeakKeyDictionary[Line, Pushed] = WeakKeyDictionary()


def pushed_on(line: Line) -> Pushed:
    """What all drivers on this line share."""
    return _PUSHED.setdefault(line, Pushed())


def encode(mode: Mode, address: int, command: str) -> bytes:
    """A command, framed."""
    text = f"{address:02d}{command}".encode("ascii")
    if mode is Mode.BASIC:
        return text + b"\r"
    checksum = binascii.crc_hqx(text, CRC_START).to_bytes(2, "big")
    return bytes([STX, len(text) + OVERHEAD]) + text + checksum + bytes([ETX])


def frames(received: bytes) -> list[bytes]:
    """Cuts bytes into replies. What is no reply, or not a whole one, comes as one last piece."""
    pieces: list[bytes] = []
    rest = received
    while rest:
        end = _end(rest)
        if end is None or end > len(rest):
            return [*pieces, rest]
        pieces.append(rest[:end])
        rest = rest[end:]
    return pieces


def whole(received: bytes, address: int) -> bool:
    """Whether a reply of that address is there, or something that will never become one."""
    end = _end(received)
    if end is not None and end > len(received):
        return False  # which is so after most bytes
    last = frames(received)[-1]
    end = _end(last)
    if end is None:  # nothing that could become a reply
        return last[-1] == ETX
    return end == len(last) and not _is_pushed(last, address)


def readable(received: bytes) -> list[Reply]:
    """The replies among some bytes, whatever else is there."""
    found: list[Reply] = []
    start = 0
    while (start := received.find(STX, start)) >= 0:
        piece = frames(received[start:])[0]
        try:
            found.append(parse_reply(piece))
            start += len(piece)
        except BadReply:
            start += 1
    return found


def parse_reply(frame: bytes) -> Reply:
    """Takes a whole frame apart, strictly.

    Raises:
        DamagedPacket: its checksum does not fit.
        BadReply: it is anything else than one reply.
    """
    mode, body = _unframed(frame)
    match = _BODY.fullmatch(body)
    if match is None:
        raise BadReply(f"{frame!r} is no reply of a New Era pump", "is this the pump's port?")
    address, alarm = int(match[1]), match[2]
    if alarm is not None:
        code = alarm.decode()
        if code not in ALARMS:
            raise BadReply(f"{frame!r} is an unknown alarm", "look at the pump's display")
        return Reply(address, None, alarm=code, mode=mode)
    status, data = Status(match[3].decode()), match[4].decode()
    if not data.startswith("?"):
        return Reply(address, status, data, mode=mode)
    if data not in REFUSALS:
        raise BadReply(f"{frame!r} is an unknown refusal", "look at the pump's display")
    return Reply(address, status, refusal=data, mode=mode)


def format_number(value: float) -> str:
    """A positive number in at most four digits, three of them decimals.

    Raises `BadInput` where that is more than 0.5 % off: a rate is never quietly changed.
    """
    for decimals in (3, 2, 1, 0):
        text = f"{value:.{decimals}f}"
        if len(text.replace(".", "")) <= 4:
            if value > 0 and abs(float(text) - value) <= PRECISION * value:
                return text
            break
    raise BadInput(
        f"the pump can't be told {value:g} within {100 * PRECISION:g} %: it takes four digits, three of them decimals",
        f"choose a value from {0.0005 / PRECISION:g} to 9999",
    )


def _end(received: bytes) -> int | None:
    """How long the reply at the start is, or will at least be; None where there can't be one."""
    if received[0] != STX:
        return None
    if len(received) < 2:
        return 2
    if received[1] in _DIGITS:
        return received.find(ETX) + 1 or len(received) + 1
    return 1 + received[1] if OVERHEAD < received[1] < _DIGITS.start else None


def _unframed(frame: bytes) -> tuple[Mode, bytes]:
    """The mode of a reply, and its text; raises as `parse_reply` does."""
    if len(frame) >= 4 and frame[0] == STX:
        if frame[1] in _DIGITS and frame[-1] == ETX:
            return Mode.BASIC, frame[1:-1]
        if OVERHEAD < frame[1] == len(frame) - 1:
            body = frame[2:-3]
            if frame[-1] == ETX and binascii.crc_hqx(body, CRC_START) == int.from_bytes(frame[-3:-1], "big"):
                return Mode.SAFE, body
            raise DamagedPacket(f"{frame!r} arrived damaged: its checksum does not fit", "look at the cable")
    raise BadReply(f"{frame!r} is no reply of a New Era pump", "is this the pump's port?")


def _is_pushed(frame: bytes, address: int) -> bool:
    """Whether it is the alarm of another pump."""
    try:
        reply = parse_reply(frame)
    except BadReply:
        return False
    return reply.mode is Mode.SAFE and reply.alarm is not None and reply.address != address
