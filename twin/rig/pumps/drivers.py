"""The driver of each family of pumps, and the speed of its line."""

from __future__ import annotations

from twin.errors import BadInput
from twin.rig.clock import Clock
from twin.rig.pumps import harvard_replies, newera_packets
from twin.rig.pumps.harvard import HarvardPump
from twin.rig.pumps.newera import NewEraPump
from twin.rig.pumps.protocol import Line, Pump
from twin.rig.wire import harvard, newera

_NUMBERS = {"newera": newera_packets.format_number, "harvard": harvard_replies.format_number}
_BAUD = {"newera": newera.BAUD, "harvard": harvard.BAUD}


def baud_of(family: str) -> int:
    """The factory's bits a second; raises `BadInput` where there is no such family."""
    if family not in _BAUD:
        raise BadInput(f'there is no driver for pumps of the family "{family}"', f"choose from {', '.join(_BAUD)}")
    return _BAUD[family]


def driver(
    family: str,
    line: Line,
    address: int,
    name: str = "",
    model_number: str | None = None,
    clock: Clock | None = None,
    safe: bool = True,
) -> Pump:
    """The driver of one pump.

    Args:
        family: newera or harvard.
        line: the port, which may be shared with pumps of the same family.
        address: 0 to 99.
        name: what messages call it.
        model_number: what it must say that it is; None takes any.
        clock: what `changed` and the deadlines are told by.
        safe: whether `guard` may use the pump's own timer, where its family has one.
    """
    baud_of(family)
    if family == "newera":
        return NewEraPump(line, address, name, model_number, clock, safe)
    return HarvardPump(line, address, name, model_number, clock)


def told_ml_h(family: str, rate_ml_h: float) -> float:
    """A rate as a pump of the family can be told it, mL/h; raises `BadInput` where that is more than 0.5 % off."""
    return float(_NUMBERS[family](rate_ml_h))
