"""What the bytes of an exchange with a pump mean, for those who read a journal and were not there.

A reply is taken apart by the driver's own parser; what a command says is read here anew.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from twin.rig.errors import BadReply
from twin.rig.pumps import harvard_replies, newera_packets
from twin.rig.pumps.protocol import Direction
from twin.rig.wire import harvard


@dataclass(frozen=True)
class Exchange:
    """One exchange, understood. Of a command without a reply only the first four are known.

    `action` is rate (`value` in mL/h, or 0), direction (`value` ±1), run, stop, clear, or nothing that matters here.
    `assumed`: the family does not answer commands reliably, so what was not refused counts as done; the reading back
    that follows says from when. `motion` is what the pump says that it does: 1 infuses, −1 withdraws, 0 stands, None
    where it does not say. `counted_ml`: infused and withdrawn, where it says.
    """

    address: int
    action: str = ""
    value: float = 0.0
    direction: float | None = None
    assumed: bool = False
    motion: int | None = None
    alarm: str | None = None
    refused: bool = False
    counted_ml: tuple[float | None, float | None] = (None, None)


_PER_HOUR = {"UM": 0.06, "MM": 60.0, "UH": 1e-3, "MH": 1.0}
_COMMAND = re.compile(r"(\d{0,2})(RAT|DIR|RUN|PUR|STP|CLD|)(.*)", re.DOTALL)
_COUNTED = re.compile(r"I([\d.]+)W([\d.]+)(UL|ML)")


def _newera(sent: bytes, received: bytes) -> list[Exchange]:
    """New Era, in Basic or Safe mode: the answer, and the alarms that were pushed before it."""
    said = _newera_told(sent)
    if not received:
        return [said]
    found = []
    for frame in newera_packets.frames(received):
        reply = newera_packets.parse_reply(frame)
        motion = {"I": 1, "X": 1, "W": -1}.get(reply.status.value, 0) if reply.status else None
        one = Exchange(reply.address, motion=motion, alarm=reply.alarm, refused=reply.refusal is not None)
        if match := _COUNTED.fullmatch(reply.data):
            scale = 1e-3 if match[3] == "UL" else 1.0
            one = replace(one, counted_ml=(float(match[1]) * scale, float(match[2]) * scale))
        found.append(one)
    if sent:
        if found[-1].address != said.address:
            raise BadReply(f"address {found[-1].address} answers to {sent!r}", "look at the addresses of the chain")
        found[-1] = replace(found[-1], action=said.action, value=said.value)
    return found


def _newera_told(sent: bytes) -> Exchange:
    """A command; where a stop goes out in both modes in one breath, the first of the two."""
    body = sent[2:-3] if _safe(sent) else sent.partition(b"\r")[0]
    match = _COMMAND.fullmatch(body.decode("latin-1").upper().replace(" ", ""))
    if match is None:
        raise BadReply(f"{sent!r} is no command", "look at the cable")
    address, word, data = int(match[1] or 0), match[2], match[3]
    if word == "RAT" and (number := re.fullmatch(r"[CI]?([\d.]+)(UM|MM|UH|MH)?", data)):
        return Exchange(address, "rate", float(number[1]) * _PER_HOUR[number[2] or "MH"])
    if word == "DIR" and data in ("INF", "WDR"):
        return Exchange(address, "direction", 1.0 if data == "INF" else -1.0)
    return Exchange(address, {"RUN": "run", "PUR": "run", "STP": "stop", "CLD": "clear"}.get(word, ""))


def _safe(packet: bytes) -> bool:
    """Whether this is a whole packet of Safe mode: STX, length, text, checksum, ETX."""
    if len(packet) < 5 or packet[0] != 2 or packet[1] != len(packet) - 1 or packet[-1] != 3:
        return False
    return binascii.crc_hqx(packet[2:-3], 0) == int.from_bytes(packet[-3:-1], "big")


_TOLD = re.compile(r"(\d\d)?([a-z]*) ?(.*)", re.DOTALL)
_WAYS = {"i": 1.0, "w": -1.0}
_MOTIONS = {harvard.INFUSING: 1, harvard.WITHDRAWING: -1}


def _harvard(sent: bytes, received: bytes) -> list[Exchange]:
    """Harvard in polling mode. In a chain other pumps may answer for this one, which says nothing about it."""
    match = _TOLD.fullmatch(sent.decode("latin-1").strip().lower())
    if match is None:
        raise BadReply(f"{sent!r} is no command", "look at the cable")
    address, word, data = int(match[1] or 0), match[2], match[3]
    said = Exchange(address)
    if word in ("irate", "wrate") and (rate := re.fullmatch(r"([\d.]+) m/h", data)):
        said = Exchange(address, "rate", float(rate[1]), _WAYS[word[0]], True)
    elif word in ("irun", "wrun"):
        said = Exchange(address, "run", 0.0, _WAYS[word[0]], True)
    elif word in ("stp", "cvolume"):
        said = Exchange(address, {"stp": "stop", "cvolume": "clear"}[word], assumed=True)
    if not received:
        return [said]
    reply = harvard_replies.parse_reply(received)
    if sent and reply.address != address:
        return [said]
    stalled, counted = reply.stalled, dict[Direction, float]()
    text = reply.lines[0] if len(reply.lines) == 1 else ""
    if word == "status" and (state := harvard_replies.parse_status(text)) is not None:
        stalled, counted = stalled or state.stalled, {state.direction: state.volume_ml}
    elif word in ("ivolume", "wvolume") and (volume := harvard_replies.parse_volume_ml(text)) is not None:
        counted = {Direction.INFUSE if word[0] == "i" else Direction.WITHDRAW: volume}
    return [
        replace(
            said,
            motion=_MOTIONS.get(reply.prompt, 0),
            alarm="S" if stalled else None,
            refused=bool(reply.error),
            counted_ml=(counted.get(Direction.INFUSE), counted.get(Direction.WITHDRAW)),
        )
    ]


#: What understands the bytes sent and received, by family. It raises `BadReply` where a reply is none; where nothing
#: was received it tells what was sent.
PARSERS: dict[str, Callable[[bytes, bytes], list[Exchange]]] = {"newera": _newera, "harvard": _harvard}
