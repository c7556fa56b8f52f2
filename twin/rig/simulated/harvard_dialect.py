"""How simulated pumps of the Harvard family frame what they hear and say.

A command is `[address][:][@]name [arguments]` and a CR; line feeds are ignored. A reply is a line feed and a CR around
each line, then a line feed and the prompt; in polling mode an XON. In a chain only the first pump answers commands that
set something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from twin.rig.simulated.faults import Fault
from twin.rig.simulated.harvard_units import Refused
from twin.rig.wire.harvard import XON

_COMMAND = re.compile(r"(\d{0,2}):?@?(.*)", re.DOTALL | re.ASCII)


class HarvardDialect:
    """Pump chain commands."""

    def hear(
        self,
        pumps: Mapping[int, Any],
        buffer: bytearray,
        now_s: float,
        heard: list[bytes],
        spend: Callable[[int], Fault | None],
    ) -> bytes:
        """See `twin.rig.simulated.bus.Dialect`."""
        said = b""
        while (end := buffer.find(b"\r")) >= 0:
            line = bytes(buffer[:end]).replace(b"\n", b"")
            del buffer[: end + 1]
            heard.append(line)
            match = _COMMAND.fullmatch(line.decode("latin-1").lower())
            address = int(match[1] or 0) if match else 0
            if match and address in pumps and (fault := spend(address)) is not Fault.SILENCE:
                said += _answer(pumps, address, match[2], line, now_s, fault)
        return said

    def spontaneous(self, pumps: Mapping[int, Any], now_s: float) -> bytes:
        """Without polling mode a pump says that its target is reached. That it stalled it never says."""
        said = b""
        for address, pump in pumps.items():
            pump.advance(now_s)
            if pump.unasked:
                pump.unasked = False
                said += _frame(address, [], pump)
        return said


def _answer(
    pumps: Mapping[int, Any], address: int, command: str, line: bytes, now_s: float, fault: Fault | None
) -> bytes:
    pump = pumps[address]
    echo = line + b"\r" if pump.echo else b""
    try:
        lines = pump.execute(command, address, now_s)
        sets = bool(command.strip()) and not lines
    except Refused as refused:
        lines, sets = refused.lines, True
    if (sets and address != min(pumps) and not pump.answers) or fault is Fault.MUTE:
        return b""
    frame = echo + _frame((address + 42) % 100 if fault is Fault.WRONG_ADDRESS else address, lines, pump)
    if fault is Fault.PARTIAL:
        return frame[:-2]
    if fault is Fault.GARBAGE:
        return bytes((17 * index + 131) % 256 for index in range(len(frame) - 1)) + frame[-1:]
    return frame


def _frame(address: int, lines: list[str], pump: Any) -> bytes:
    number = f"{address:02d}" if address else ""
    prefix = f"{number}:" if address else ""
    body = "".join(f"\n{prefix}{line}\r" for line in lines) + f"\n{number}{pump.prompt}"
    return body.encode("latin-1", "replace") + (bytes([XON]) if pump.polling else b"")
