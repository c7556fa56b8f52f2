"""What a syringe pump can do, whatever its maker. The session knows pumps only by this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Status(Enum):
    """What a pump says of itself; the values are New Era's letters."""

    INFUSING = "I"
    WITHDRAWING = "W"
    STOPPED = "S"
    PAUSED = "P"
    TIMED_PAUSE = "T"
    WAITING = "U"
    PURGING = "X"

    @property
    def moving(self) -> bool:
        """Whether the plunger moves."""
        return self in (Status.INFUSING, Status.WITHDRAWING, Status.PURGING)


@dataclass(frozen=True)
class Dispensed:
    """What a pump has counted since it was cleared, mL; `resolution_ml` is one unit of its last digit."""

    infused_ml: float
    withdrawn_ml: float
    resolution_ml: float
    status: Status


@dataclass(frozen=True)
class Span:
    """Before and after one exchange, in s of the pump's clock: the command took effect somewhere in between."""

    before_s: float
    after_s: float

    @property
    def middle_s(self) -> float:
        """The middle, s."""
        return 0.5 * (self.before_s + self.after_s)

    @property
    def half_s(self) -> float:
        """Half its length, s."""
        return 0.5 * (self.after_s - self.before_s)


class Line(Protocol):
    """A port on which a message is answered by bytes that end with a known byte."""

    url: str

    def exchange(self, message: bytes, until: int, insist: bool = False) -> bytes:
        """Sends `message` and returns what came, up to and with the byte `until`.

        With `insist` the message goes out even where stray bytes stand in the way, as a stop must.
        """
        ...


class Pump(Protocol):
    """A syringe pump. Every write is read back; every failure is a `RigError`."""

    name: str
    #: When its motion last changed, by its clock.
    changed: Span | None
    #: The alarm that is not yet acknowledged.
    alarm: str | None

    def identify(self) -> str:
        """Its model and firmware."""
        ...

    def acknowledge(self) -> str | None:
        """Releases the latch of an alarm, and returns its code."""
        ...

    def prepare(self, diameter_mm: float, fine: bool) -> None:
        """Sets the syringe's inner diameter, continuous infusion, and the volume counter to zero.

        `fine` counts in µL (up to 9.999 mL) instead of mL.
        """
        ...

    def set_rate_ml_h(self, rate_ml_h: float) -> None:
        """Sets the rate, at rest or while it runs."""
        ...

    def start(self) -> None:
        """Starts to infuse."""
        ...

    def request_stop(self) -> None:
        """Sends one stop, without verifying it."""
        ...

    def stop(self, deadline_s: float = 5.0) -> None:
        """Stops it and verifies that it has stopped; raises `NotStopped` after `deadline_s` of wall time."""
        ...

    def rate_ml_h(self) -> float:
        """The rate that is set, mL/h."""
        ...

    def dispensed(self) -> Dispensed:
        """What it has counted, and its status."""
        ...

    def status(self) -> Status:
        """Its status."""
        ...
