"""What a syringe pump can do, whatever its maker. The session knows pumps only by this.

`tests/rig/test_rig_contract.py` holds every driver to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

#: Wall time for which the first stop of each pump waits for an answer, s.
QUICK_S = 0.1


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


class Direction(Enum):
    """Which way the plunger goes."""

    INFUSE = "infuse"
    WITHDRAW = "withdraw"


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
    """A port on which a message is answered; `twin.rig.port.Port` is one."""

    url: str
    #: What those of its pumps call themselves that have taken the order to store no setting: their power takes it.
    forgetful: set[str]

    def exchange(
        self,
        message: bytes,
        whole: Callable[[bytes], bool],
        insist: bool = False,
        unasked: Callable[[bytes], None] | None = None,
        deadline_s: float | None = None,
    ) -> bytes:
        """Sends `message` and returns what came until `whole` was content with it, within `deadline_s` of wall time.

        With `insist` the message goes out even where stray bytes stand in the way, as a stop must. `unasked` takes
        bytes that came before. With a deadline of 0 no answer is waited for.
        """
        ...


class Pump(Protocol):
    """A syringe pump. Every write is read back; every failure is a `RigError`."""

    name: str
    #: When its motion last changed, by its clock.
    changed: Span | None
    #: The alarm that is not yet acknowledged.
    alarm: str | None
    #: When that alarm was heard, by its clock; stays when it is acknowledged.
    alarm_s: float

    @property
    def cut_is_told(self) -> bool:
        """Whether no power cut can have gone unheard, since the counters were cleared or this was made.

        Then it is still to be told, by an alarm, at the next question. False for a family that does not tell of it.
        """
        ...

    @property
    def called(self) -> bool:
        """Whether it said something unasked, heard while another pump was listened to, that is to be asked for."""
        ...

    def identify(self) -> str:
        """Its model and firmware; raises `BadInput` where it is another model than expected."""
        ...

    def acknowledge(self) -> str | None:
        """Releases the latch of an alarm, and returns its code."""
        ...

    def prepare(self, diameter_mm: float, fine: bool) -> None:
        """Sets the syringe's inner diameter, continuous pumping, infusion, and the volume counters to zero.

        `fine` counts in µL (up to 9.999 mL) instead of mL, where the pump knows the difference.
        """
        ...

    def guard(self, seconds: float) -> float | None:
        """Arms the pump's own timer: it stops where it hears nothing for so long, s. Returns what the pump took.

        None: this family has no such timer. 0 disarms it, and leaves the pump as other programs expect it.
        """
        ...

    def limit(self, volume_ml: float | None) -> bool:
        """Makes the pump stop by itself once it has infused so much, mL; None takes that back. At rest only.

        False: this driver leaves that to the timer of `guard`.
        """
        ...

    def limit_stands(self, volume_ml: float) -> bool:
        """Whether it still has this limit; where it has not, its power was cut, and its counters are lost."""
        ...

    @property
    def forgets_limit(self) -> bool:
        """Whether it is known that a power cut takes its limit, so that one that stands proves that there was none."""
        ...

    def set_rate_ml_h(self, rate_ml_h: float, direction: Direction = Direction.INFUSE) -> None:
        """Sets rate and direction. While it runs only the rate may change."""
        ...

    def start(self) -> None:
        """Starts it, in the direction that was last set."""
        ...

    def request_stop(self) -> None:
        """Sends one stop, and waits for its answer no longer than `QUICK_S`: the next pump is to be stopped, too."""
        ...

    def stop(self, deadline_s: float = 5.0) -> None:
        """Stops it and verifies that it has stopped; raises `NotStopped` after `deadline_s` of wall time."""
        ...

    def clear(self) -> None:
        """Sets the volume counters to zero. At rest only."""
        ...

    def rate_ml_h(self) -> float:
        """The rate that is set, mL/h with the syringe that `prepare` was told."""
        ...

    def dispensed(self) -> Dispensed:
        """What it has counted, and its status."""
        ...

    def status(self) -> Status:
        """Its status."""
        ...
