"""How simulated New Era pumps frame what they hear and say: Basic and Safe mode, each pump in its own.

Every pump of a chain hears every byte. In Safe mode it waits for STX and takes nothing else; in Basic mode it collects
a line up to CR, and also takes whole packets of Safe mode (NESP-Lib relies on that; no manual says it).

A burst `<n><command>*<n><command>*` tells several pumps something at the same moment, each by one digit of its address.
All of them answer at once, which nobody can read.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from typing import Protocol

from twin.rig.simulated.faults import Fault
from twin.rig.wire.newera import BYTE_GAP_S, CRC_START, ETX, OVERHEAD, STX

_CR = 0x0D
#: A line that grows beyond this is dropped.
_LONGEST = 128
_BURST = re.compile(r"(?:[0-9][^*]*\*)+")


class Speaker(Protocol):
    """The part of a simulated New Era pump that the dialect needs."""

    ear: Ear
    #: Whether it is in Safe mode.
    safe: bool
    #: Its address where a command has changed it.
    address: int | None

    def execute(self, command: str, now_s: float) -> str:
        """The reply to a command, without address and frame."""
        ...

    def damaged(self, now_s: float) -> str:
        """The reply to a packet with a wrong checksum."""
        ...

    def unasked(self, now_s: float) -> str:
        """What it says unasked by that time, without address and frame."""
        ...


class Ear:
    """What one pump has heard of a line or packet that is not yet whole.

    Args:
        packets: whether it also takes packets while it is in Basic mode.
    """

    def __init__(self, packets: bool = True) -> None:
        self._packets = packets
        self._line = bytearray()
        self._packet = bytearray()
        self._last_s = 0.0

    def take(self, byte: int, safe: bool, now_s: float) -> tuple[bytes, bool] | None:
        """One byte more; returns what is whole now, without its frame, and whether its checksum fits."""
        if self._packet and now_s - self._last_s > BYTE_GAP_S:
            self._packet.clear()
        self._last_s = now_s
        if self._packet or (byte == STX and (safe or self._packets)):
            self._packet.append(byte)
            return self._whole_packet()
        if safe:
            return None
        if byte != _CR:
            self._line.append(byte)
            if len(self._line) > _LONGEST:
                self._line.clear()
            return None
        line = bytes(self._line)
        self._line.clear()
        return line, True

    def _whole_packet(self) -> tuple[bytes, bool] | None:
        packet = self._packet
        if len(packet) < 2 or (packet[1] >= OVERHEAD and len(packet) < 1 + packet[1]):
            return None
        whole = bytes(packet)
        packet.clear()
        if whole[1] < OVERHEAD or whole[-1] != ETX:
            return None
        text = whole[2:-3]
        return text, int.from_bytes(whole[-3:-1], "big") == binascii.crc_hqx(text, CRC_START)


class NewEraDialect:
    """Basic mode and Safe mode."""

    def hear(
        self,
        pumps: Mapping[int, Speaker],
        buffer: bytearray,
        now_s: float,
        heard: list[bytes],
        spend: Callable[[int], Fault | None],
    ) -> bytes:
        """See `twin.rig.simulated.bus.Dialect`. Nothing stays in `buffer`: each pump has ears of its own."""
        data, said = bytes(buffer), b""
        buffer.clear()
        for byte in data:
            noted, answers = False, list[bytes]()
            for key, pump in pumps.items():
                whole = pump.ear.take(byte, pump.safe, now_s)
                if whole is None:
                    continue
                if not noted:
                    heard.append(whole[0])
                    noted = True
                answers += _answers(key, pump, *whole, now_s, spend)
            said += b"".join(answers) if len(answers) < 2 or not _BURST.fullmatch(_text(heard[-1])) else _noise(answers)
        return said

    def spontaneous(self, pumps: Mapping[int, Speaker], now_s: float) -> bytes:
        """The alarms that pumps in Safe mode push."""
        said = b""
        for key, pump in pumps.items():
            if body := pump.unasked(now_s):
                said += _frame(_address(key, pump), body, safe=True)
        return said


def _answers(
    key: int, pump: Speaker, line: bytes, intact: bool, now_s: float, spend: Callable[[int], Fault | None]
) -> list[bytes]:
    answers = []
    for command in _commands(_text(line), _address(key, pump)):
        fault = spend(key)
        if fault is not Fault.SILENCE:
            body = pump.execute(command, now_s) if intact else pump.damaged(now_s)
            answers.append(_spoil(fault, _address(key, pump), body, pump.safe))
    return list(filter(None, answers))


def _text(line: bytes) -> str:
    return "".join(chr(byte).upper() for byte in line if 0x20 < byte < 0x7F)


def _commands(text: str, address: int) -> list[str]:
    """What of a line is for the pump at an address."""
    if _BURST.fullmatch(text):
        return [part[1:] for part in text[:-1].split("*") if int(part[0]) == address]
    number, command = _split(text)
    return [command] if number == address or command.startswith("*") else []


def _noise(answers: list[bytes]) -> bytes:
    """What is left of answers that were said at the same time."""
    return bytes((17 * index + 131) % 256 for index in range(max(map(len, answers))))


def _address(key: int, pump: Speaker) -> int:
    return key if pump.address is None else pump.address


def _split(text: str) -> tuple[int, str]:
    """The address in front of a command (0 where there is none) and the command."""
    digits = len(text[:2]) - len(text[:2].lstrip("0123456789"))
    return (int(text[:digits]) if digits else 0), text[digits:]


def _spoil(fault: Fault | None, address: int, body: str, safe: bool) -> bytes:
    frame = _frame(address, body, safe)
    spoilt: dict[Fault, Callable[[], bytes]] = {
        Fault.MUTE: lambda: b"",
        Fault.GARBAGE: lambda: _noise([frame]),
        Fault.PARTIAL: lambda: frame[:-2],
        Fault.WRONG_ADDRESS: lambda: _frame((address + 42) % 100, body, safe),
        Fault.BAD_CRC: lambda: frame[:-2] + bytes([frame[-2] ^ 0x40, ETX]) if safe else frame,
    }
    return spoilt[fault]() if fault in spoilt else frame


def _frame(address: int, body: str, safe: bool) -> bytes:
    text = f"{address:02d}{body}".encode("ascii")
    if not safe:
        return bytes([STX]) + text + bytes([ETX])
    checksum = binascii.crc_hqx(text, CRC_START).to_bytes(2, "big")
    return bytes([STX, len(text) + OVERHEAD]) + text + checksum + bytes([ETX])
