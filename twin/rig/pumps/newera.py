"""Driver of New Era syringe pumps (NE-1000, NE-1010 and their kin; WPI Aladdin) in Basic and in Safe mode.

Sources: manuals of the NE-1000 and NE-500 families, firmware 3.9. What no manual states is listed in docs/rig.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from twin.errors import BadInput
from twin.rig.clock import Clock
from twin.rig.errors import BadReply, NoReply, RigError
from twin.rig.pumps.newera_packets import Mode, Reply, format_number, parse_reply
from twin.rig.pumps.newera_talk import Talk, present
from twin.rig.pumps.protocol import QUICK_S, Direction, Dispensed, Line, Status
from twin.rig.pumps.stop import until_stopped
from twin.rig.wire.newera import LONGEST_S

__all__ = ["NewEraPump", "Reply", "format_number", "parse_reply"]

#: At most four digits and a point; the look-ahead counts them.
_NUMBER = r"(?=[\d.]{1,5}(?![\d.]))(?:\d{1,4}\.?|\d{0,3}\.\d{1,3})"
_VERSION = re.compile(r"NE(\d+)X?\d?V\d+\.\d+")
_RATE = re.compile(rf"({_NUMBER})(UM|MM|UH|MH)")
_VOLUME = re.compile(rf"({_NUMBER})(UL|ML)")
_DISPENSED = re.compile(rf"I({_NUMBER})W({_NUMBER})(UL|ML)")
_ML = {"UL": 1e-3, "ML": 1.0}
_WORDS = {Direction.INFUSE: "INF", Direction.WITHDRAW: "WDR"}
_RUNS = {Direction.INFUSE: Status.INFUSING, Direction.WITHDRAW: Status.WITHDRAWING}


class NewEraPump(Talk):
    """One pump at one address of a port.

    Args:
        line: the port, which may be shared with other addresses.
        address: 0 to 99.
        name: what messages call it.
        model_number: what it must answer to VER, e.g. "1010"; None takes any.
        clock: what `changed` and the deadlines are told by.
        safe: whether `guard` may put it into Safe mode.
    """

    def __init__(
        self,
        line: Line,
        address: int,
        name: str = "",
        model_number: str | None = None,
        clock: Clock | None = None,
        safe: bool = True,
    ) -> None:
        super().__init__(line, address, name, clock)
        self._model_number = model_number
        self._safe = safe
        self._direction: Direction | None = None  # as far as it is known

    def identify(self) -> str:
        """Its model and firmware, e.g. `NE1000V3.923`; raises `BadInput` where it is another model than expected."""
        answer = self._query("VER").data
        match = _VERSION.fullmatch(answer)
        if match is None:
            raise BadReply(f"{self.name} calls itself {answer!r}: no New Era pump", "is this the pump's port?")
        if self._model_number not in (None, match[1]):
            raise BadInput(
                f"{self.name} answers that it is an NE-{match[1]}, not an NE-{self._model_number}",
                "compare model, address and port in case.toml with the rig: are the two pumps swapped?",
            )
        return answer

    def prepare(self, diameter_mm: float, fine: bool) -> None:
        """Sets the syringe, phase 1 as continuous infusion, and the volume counter to zero, each read back.

        Args:
            diameter_mm: inner diameter of the syringe, mm.
            fine: count in µL, which holds up to 9.999 mL, instead of mL.
        """
        self._set_number("DIA", diameter_mm)
        # RUN starts at phase 1, but RAT, VOL and DIR act on the phase that is selected.
        self._change("PHN1")
        self._verify("PHN", lambda data: data.isdigit() and int(data) == 1, "1")
        self._set_word("FUN", "RAT")
        unit = "UL" if fine else "ML"
        self._change(f"VOL{unit}")
        self._change("VOL0")
        self._verify("VOL", lambda data: _number_and_unit(_VOLUME, data) == (0.0, unit), f"0 {unit}")
        self._set_direction(Direction.INFUSE)
        self.clear()

    def guard(self, seconds: float) -> float | None:
        """Puts it into Safe mode: it stops where no packet reaches it for so long. 0 puts it back into Basic mode.

        Args:
            seconds: 0 to 255 s, of which the pump takes the next whole number.

        Returns:
            What the pump took, s; None where the driver was told to leave Safe mode alone.
        """
        if not self._safe:
            return None
        if not 0 <= seconds <= LONGEST_S:
            raise BadInput(f"a pump can't watch for {seconds:g} s", f"give 0 to {LONGEST_S} s")
        taken = math.ceil(seconds)
        self._unlatched()
        try:
            self._query(f"SAF{taken}")  # as often as need be: twice does the same as once
        except NoReply:
            self._mode = None  # it may have changed its mode all the same
        # Whether its reply came in the old mode or in the new one: the next one comes in the new one.
        self._mode = self._mode and (Mode.SAFE if taken else Mode.BASIC)
        self._verify("SAF", lambda data: data.isdigit() and int(data) == taken, f"{taken}")
        return float(taken)

    def limit(self, volume_ml: float | None) -> bool:
        """Leaves that to the timer of `guard`."""
        return False

    def limit_stands(self, volume_ml: float) -> bool:
        """False: it has none."""
        return False

    @property
    def forgets_limit(self) -> bool:
        """False: it has none."""
        return False

    def set_rate_ml_h(self, rate_ml_h: float, direction: Direction = Direction.INFUSE) -> None:
        """Sets the rate in mL/h, at rest or while it runs, and at rest the direction; reads both back."""
        text = format_number(rate_ml_h)
        self._unlatched()
        if direction is not self._direction:
            if self._running:
                raise RigError(f"{self.name} runs, and can't turn round on the way", "stop it first")
            self._set_direction(direction)
        # While it runs a pump refuses a unit; it keeps MH, which the reading back makes sure of.
        reply = self._change(f"RAT{text}" if self._running else f"RAT{text}MH", moves=True)
        if self._running:
            self._runs(reply)
        self._verify("RAT", lambda data: _number_and_unit(_RATE, data) == (float(text), "MH"), f"{text} MH")

    def start(self) -> None:
        """Starts it, in the direction that was last set."""
        self._running = True  # from here on a stop counts as a change of motion, even if no reply comes
        self._runs(self._change("RUN", moves=True))

    def request_stop(self) -> None:
        """Sends one stop, past any alarm and any stray bytes, without verifying it."""
        self._stp(QUICK_S)

    def stop(self, deadline_s: float = 5.0) -> None:
        """Sends STP until it answers S to a plain poll: the first STP pauses a running pump, the second one stops it.

        Args:
            deadline_s: wall time after which `NotStopped` is raised, s.
        """
        until_stopped(self.name, self._clock, self._stands, deadline_s)

    def _stands(self) -> bool:
        """Tells it to stop, and asks whether it stands."""
        if self._stp() is Status.STOPPED and present(self._ask("", insist=True)) is Status.STOPPED:
            self._running = False
            return True
        return False

    def clear(self) -> None:
        """Sets the volume counters to zero, and reads them back."""
        self._change("CLDINF")
        self._change("CLDWDR")
        counted = self.dispensed()
        if counted.infused_ml or counted.withdrawn_ml:
            raise RigError(f"{self.name} did not clear its volume counter: {counted}", "clear it at the pump")
        self._unanswered = 0

    def rate_ml_h(self) -> float:
        """The rate that is set, mL/h."""
        data = self._query("RAT").data
        value, unit = _number_and_unit(_RATE, data)
        if unit != "MH":
            raise RigError(f"{self.name} answers its rate as {data!r}, not in mL/h", "set it anew")
        return value

    def dispensed(self) -> Dispensed:
        """What it has counted since `clear`, and its status."""
        reply = self._query("DIS")
        match = _DISPENSED.fullmatch(reply.data)
        if match is None or reply.status is None:
            raise BadReply(f"{self.name} answers {reply.data!r} to DIS", "look at the cable")
        unit = _ML[match[3]]
        decimals = min(len(number.partition(".")[2]) for number in match.groups()[:2])
        infused_ml, withdrawn_ml = (round(float(number) * unit, 9) for number in match.groups()[:2])
        return Dispensed(infused_ml, withdrawn_ml, unit * 10.0**-decimals, reply.status)

    def status(self) -> Status:
        """Its status."""
        return present(self._query(""))

    def _latch(self, code: str, heard_s: float) -> None:
        super()._latch(code, heard_s)
        self._direction = None  # a reset may have changed it: it is set anew

    def _set_number(self, command: str, value: float) -> None:
        text = format_number(value)
        self._change(command + text)
        self._verify(command, lambda data: _number(data) == float(text), text)

    def _set_word(self, command: str, word: str) -> None:
        self._change(command + word)
        self._verify(command, lambda data: data == word, word)

    def _runs(self, reply: Reply) -> None:
        """Raises where it answers that it does not run, although it was started."""
        status = present(reply)
        if status is not _RUNS[self._direction or Direction.INFUSE]:
            raise RigError(
                f"{self.name} does not run: it says {status.name.lower()}",
                "was it stopped at its keys? Look at it, then run again",
            )

    def _set_direction(self, direction: Direction) -> None:
        self._direction = None
        self._set_word("DIR", _WORDS[direction])
        self._direction = direction

    def _verify(self, command: str, fits: Callable[[str], bool], wanted: str) -> None:
        data = self._query(command).data
        if not fits(data):
            raise RigError(
                f"{self.name} took {command} {wanted} but reads back {data!r}", "look at the pump, then start again"
            )


def _number(data: str) -> float | None:
    return float(data) if re.fullmatch(_NUMBER, data) else None


def _number_and_unit(pattern: re.Pattern[str], data: str) -> tuple[float, str]:
    match = pattern.fullmatch(data)
    if match is None:
        raise BadReply(f"{data!r} is no number with its unit", "look at the cable")
    return float(match[1]), match[2]
