"""Driver of New Era syringe pumps (NE-1000, NE-1010) in Basic mode.

A command is `[address]COMMAND[data] CR`, a reply `STX address status [data] ETX`. A pump with a pending alarm answers
the next command with `A?x` and does not execute it. This driver never repeats such a command by itself, except a stop.

Sources: manuals of the NE-1000 and NE-500 families, firmware 3.9. What no manual states is listed in docs/rig.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from twin.errors import BadInput
from twin.rig.clock import Clock
from twin.rig.errors import BadReply, CommandRefused, NotStopped, PumpAlarm, RigError
from twin.rig.pumps.protocol import Dispensed, Line, Span, Status
from twin.rig.wire.newera import ALARMS, ETX, REFUSALS

_REPLY = re.compile(rb"\x02(\d\d)(?:A\?([A-Z])|([IWSPTUX])([ -~]{0,40}))\x03")
#: At most four digits and a point; the look-ahead counts them.
_NUMBER = r"(?=[\d.]{1,5}(?![\d.]))(?:\d{1,4}\.?|\d{0,3}\.\d{1,3})"
_VERSION = re.compile(r"NE(\d+)X?\d?V\d+\.\d+")
_RATE = re.compile(rf"({_NUMBER})(UM|MM|UH|MH)")
_VOLUME = re.compile(rf"({_NUMBER})(UL|ML)")
_DISPENSED = re.compile(rf"I({_NUMBER})W({_NUMBER})(UL|ML)")
_ML = {"UL": 1e-3, "ML": 1.0}
#: Largest relative error of a number in the pump's format.
PRECISION = 0.005


@dataclass(frozen=True)
class Reply:
    """A reply, taken apart. Exactly one of `status` and `alarm` is there; `refusal` is `?…` in place of the data."""

    address: int
    status: Status | None
    data: str = ""
    alarm: str | None = None
    refusal: str | None = None


def parse_reply(frame: bytes) -> Reply:
    """Takes a whole frame apart, strictly; raises `BadReply` where it is anything else than one reply."""
    match = _REPLY.fullmatch(frame)
    if match is None:
        raise BadReply(
            f"{frame!r} is no reply of a New Era pump", "is this the pump's port, and the pump in Basic mode?"
        )
    address, alarm = int(match[1]), match[2]
    if alarm is not None:
        code = alarm.decode()
        if code not in ALARMS:
            raise BadReply(f"{frame!r} is an unknown alarm", "look at the pump's display")
        return Reply(address, None, alarm=code)
    status, data = Status(match[3].decode()), match[4].decode()
    if not data.startswith("?"):
        return Reply(address, status, data)
    if data not in REFUSALS:
        raise BadReply(f"{frame!r} is an unknown refusal", "look at the pump's display")
    return Reply(address, status, refusal=data)


def _whole(received: bytes) -> bool:
    return received[-1] == ETX


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


class NewEraPump:
    """One pump at one address of a port.

    Args:
        line: the port, which may be shared with other addresses.
        address: 0 to 99.
        name: what messages call it.
        model_number: what it must answer to VER, e.g. "1010"; None takes any.
        clock: what `changed` and the deadlines are told by.
    """

    def __init__(
        self,
        line: Line,
        address: int,
        name: str = "",
        model_number: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name or f"the pump at address {address} on {line.url}"
        self.changed: Span | None = None
        self._line = line
        self._address = address
        self._model_number = model_number
        self._clock = clock or Clock()
        self.alarm: str | None = None
        self._running = False

    def identify(self) -> str:
        """Its model and firmware, e.g. `NE1000V3.923`; raises `BadInput` where it is another model than expected."""
        answer = self._ask("VER").data
        match = _VERSION.fullmatch(answer)
        if match is None:
            raise BadReply(f"{self.name} calls itself {answer!r}: no New Era pump", "is this the pump's port?")
        if self._model_number not in (None, match[1]):
            raise BadInput(
                f"{self.name} answers that it is an NE-{match[1]}, not an NE-{self._model_number}",
                "compare model, address and port in case.toml with the rig: are the two pumps swapped?",
            )
        return answer

    def acknowledge(self) -> str | None:
        """Releases the latch of an alarm and returns its code; only then is a command that changes anything sent."""
        code, self.alarm = self.alarm, None
        return code

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
        self._set_word("DIR", "INF")
        self._change("CLDINF")
        self._change("CLDWDR")
        counted = self.dispensed()
        if counted.infused_ml or counted.withdrawn_ml:
            raise RigError(f"{self.name} did not clear its volume counter: {counted}", "clear it at the pump")

    def set_rate_ml_h(self, rate_ml_h: float) -> None:
        """Sets the rate in mL/h, at rest or while it runs, and reads it back."""
        text = format_number(rate_ml_h)
        # While it runs a pump refuses a unit; it keeps MH, which the reading back makes sure of.
        self._change(f"RAT{text}" if self._running else f"RAT{text}MH", moves=True)
        self._verify("RAT", lambda data: _number_and_unit(_RATE, data) == (float(text), "MH"), f"{text} MH")

    def start(self) -> None:
        """Starts to infuse."""
        self._running = True  # from here on a stop counts as a change of motion, even if no reply comes
        reply = self._change("RUN", moves=True)
        if reply.status is not Status.INFUSING:
            raise RigError(f"{self.name} did not start: status {reply.status}", "look at the pump's display")

    def request_stop(self) -> None:
        """Sends one stop, past any alarm and any stray bytes, without verifying it."""
        self._stp()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Sends STP until it answers S to a plain poll: the first STP pauses a running pump, the second one stops it.

        Args:
            deadline_s: wall time after which `NotStopped` is raised, s.
        """
        end = self._clock.wall() + deadline_s
        while True:
            reason = "it still answers that it runs"
            try:
                if self._stp() is Status.STOPPED and self._poll_insisting() is Status.STOPPED:
                    self._running = False
                    return
            except RigError as error:
                reason = error.message
            if self._clock.wall() >= end:
                raise NotStopped([self.name], reason)
            self._clock.pause(0.01)

    def rate_ml_h(self) -> float:
        """The rate that is set, mL/h."""
        data = self._ask("RAT").data
        value, unit = _number_and_unit(_RATE, data)
        if unit != "MH":
            raise RigError(f"{self.name} answers its rate as {data!r}, not in mL/h", "set it anew")
        return value

    def dispensed(self) -> Dispensed:
        """What it has counted since `prepare`, and its status."""
        reply = self._ask("DIS")
        match = _DISPENSED.fullmatch(reply.data)
        if match is None or reply.status is None:
            raise BadReply(f"{self.name} answers {reply.data!r} to DIS", "look at the cable")
        unit = _ML[match[3]]
        decimals = len(match[1].partition(".")[2])
        infused_ml, withdrawn_ml = (round(float(number) * unit, 9) for number in match.groups()[:2])
        return Dispensed(infused_ml, withdrawn_ml, unit * 10.0**-decimals, reply.status)

    def status(self) -> Status:
        """Its status."""
        return _present(self._ask(""))

    def _ask(self, command: str, insist: bool = False, moves: bool = False) -> Reply:
        before = self._clock.now()
        message = f"{self._address:02d}{command}\r".encode("ascii")
        reply = parse_reply(self._line.exchange(message, _whole, insist))
        if reply.address != self._address:
            raise BadReply(
                f"{self.name}: the reply to {command!r} came from address {reply.address}",
                "look at the addresses of the chain",
            )
        if reply.alarm is not None:
            self.alarm = reply.alarm
            raise PumpAlarm(self.name, reply.alarm)
        if reply.refusal is not None and not (insist and reply.refusal == "?NA"):
            raise CommandRefused(self.name, command, reply.refusal)
        if moves:
            self.changed = Span(before, self._clock.now())
        return reply

    def _change(self, command: str, moves: bool = False) -> Reply:
        if self.alarm is not None:
            raise PumpAlarm(self.name, self.alarm, latched=True)
        return self._ask(command, moves=moves)

    def _set_number(self, command: str, value: float) -> None:
        text = format_number(value)
        self._change(command + text)
        self._verify(command, lambda data: _number(data) == float(text), text)

    def _set_word(self, command: str, word: str) -> None:
        self._change(command + word)
        self._verify(command, lambda data: data == word, word)

    def _verify(self, command: str, fits: Callable[[str], bool], wanted: str) -> None:
        data = self._ask(command).data
        if not fits(data):
            raise RigError(
                f"{self.name} took {command} {wanted} but reads back {data!r}", "look at the pump, then start again"
            )

    def _stp(self) -> Status:
        reply = self._ask("STP", insist=True, moves=self._running)
        status = _present(reply)
        if not status.moving:
            self._running = False
        return status

    def _poll_insisting(self) -> Status:
        return _present(self._ask("", insist=True))


def _present(reply: Reply) -> Status:
    if reply.status is None:
        raise BadReply("a reply without a status", "look at the cable")
    return reply.status


def _number(data: str) -> float | None:
    return float(data) if re.fullmatch(_NUMBER, data) else None


def _number_and_unit(pattern: re.Pattern[str], data: str) -> tuple[float, str]:
    match = pattern.fullmatch(data)
    if match is None:
        raise BadReply(f"{data!r} is no number with its unit", "look at the cable")
    return float(match[1]), match[2]
