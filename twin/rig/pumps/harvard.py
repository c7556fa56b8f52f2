"""Driver of the Harvard family: Pump 11 Elite, PHD Ultra, KDS Legato.

A command is `[address]name [arguments]` and a CR. The prompt that ends a reply looks like the start of one (`12:` may
be pump 12 at rest, or the head of its next line), so the pump is put into polling mode first: there each reply ends
with XON, and nothing comes unasked. A pump that lost its power forgets that, so it is noticed as silent.

In a chain only the first pump, that at address 0, answers commands that set something, and sometimes under another's
address. The answer to such a command therefore proves nothing, and may be missing: what proves it is the value that is
read back. Behind the first pump no such answer is waited for, and one that comes all the same is passed over: a chain
is as fast as a pump by itself, and a stop is sent to all before it is verified at any.

Sources: the manuals in `twin.rig.wire.harvard`, and replies as other drivers record them. In no manual at hand: `load
qs`, `nvram none`, whether `poll on` itself is answered with XON, and what a Legato answers to `ver`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

from twin.errors import BadInput
from twin.rig.clock import Clock
from twin.rig.errors import BadReply, CommandRefused, NoReply, PumpAlarm, RigError
from twin.rig.pumps.harvard_replies import (
    Counted,
    Refused,
    Reply,
    close,
    format_number,
    last_digit_ml,
    only_settles,
    parse_mm,
    parse_rate_ml_h,
    parse_reply,
    parse_status,
    parse_volume_ml,
    same,
)
from twin.rig.pumps.protocol import QUICK_S, Direction, Dispensed, Line, Span, Status
from twin.rig.pumps.stop import until_stopped
from twin.rig.wire import harvard as wire

_VERSION = re.compile(r"([A-Za-z0-9][A-Za-z0-9 /-]{0,40}?) v?\d+(?:\.\d+)+", re.ASCII)
#: Wall time in which a command must take effect: a start has been seen to need up to a second, s.
PATIENCE_S = 2.0
_AGAIN_S = 0.05
#: Wall time that a pump behind the first one is given for a command before anything else goes out on the line, s.
SETTLE_S = 0.01
_LETTERS = {Direction.INFUSE: "i", Direction.WITHDRAW: "w"}
_MOVING = {Direction.INFUSE: Status.INFUSING, Direction.WITHDRAW: Status.WITHDRAWING}
_STATUSES = {wire.INFUSING: Status.INFUSING, wire.WITHDRAWING: Status.WITHDRAWING}


class _NotTaken(RigError):
    """What was read back is not what was sent."""


class HarvardPump:
    """One pump at one address of a port.

    Args:
        line: the port, which may be shared with other addresses.
        address: 0 to 99; the first pump of a chain must be 0.
        name: what messages call it.
        model_number: what its answer to `ver` must hold, e.g. "11 ELITE"; None takes any.
        clock: what `changed` and the deadlines are told by.
    """

    def __init__(
        self, line: Line, address: int, name: str = "", model_number: str | None = None, clock: Clock | None = None
    ) -> None:
        self.name = name or f"the pump at address {address} on {line.url}"
        self.changed: Span | None = None
        self.alarm: str | None = None
        self.alarm_s = 0.0
        self._line = line
        self._address = address
        self._model_number = model_number
        self._clock = clock or Clock()
        self._polling = self._running = self._stalled = False
        self._told_s: float | None = None  # when the first stop went out that is not yet verified
        self._direction = Direction.INFUSE
        self._diameter_mm: float | None = None
        self._counting = set(Direction)  # whose counters may be above zero
        self._version = ""

    @property
    def cut_is_told(self) -> bool:
        """False: back in power it waits, silent or not, as if nothing had been."""
        return False

    @property
    def called(self) -> bool:
        """False: in polling mode nothing comes unasked."""
        return False

    def identify(self) -> str:
        """Its model and firmware, e.g. `11 ELITE I/W Single 3.0.4`; raises `BadInput` where it is another model.

        That it stalled some time ago is no alarm here: its prompt says so until it moves again, even where somebody has
        acknowledged it.
        """
        if not self._running:
            self._stalled = True
        answer = self._query("ver")
        match = _VERSION.fullmatch(answer)
        if match is None:
            raise BadReply(f"{self.name} calls itself {answer!r}: no Harvard pump", "is this the pump's port?")
        wanted = self._model_number
        if wanted is not None and not re.search(rf"\b{re.escape(wanted)}\b", match[1], re.IGNORECASE):
            raise BadInput(
                f"{self.name} answers that it is a {match[1]}, not a {wanted}",
                "compare model, address and port in case.toml with the rig: are the two pumps swapped?",
            )
        self._version = answer
        return answer

    def acknowledge(self) -> str | None:
        """Releases the latch of an alarm and returns its code; only then is a command that changes anything sent."""
        code, self.alarm = self.alarm, None
        return code

    def prepare(self, diameter_mm: float, fine: bool) -> None:
        """Sets the syringe, a run without a target, infusion, and the counters to zero; each is read back.

        Args:
            diameter_mm: inner diameter of the syringe, mm.
            fine: makes no difference: these pumps count to the femtolitre.
        """
        text = format_number(diameter_mm)
        # Each write to the pump's memory wears it out; and it takes settings on the screen of Quick Start only.
        if self._prefer("nvram none", "nvram off") == "nvram none":
            self._line.forgetful.add(self._version)
        self._prefer("load qs iw", "load qs i")
        self._set("cttime", "ttime", lambda answer: same(answer, wire.NO_TARGET_TIME), "no target time")
        self.limit(None)
        self._set(f"diameter {text}", "diameter", lambda answer: close(parse_mm(answer), float(text)), f"{text} mm")
        self._diameter_mm = float(text)
        self._direction = Direction.INFUSE
        self.clear()

    def guard(self, seconds: float) -> float | None:
        """None: this family has no such timer. `limit` is what is left."""
        return None

    def limit(self, volume_ml: float | None) -> bool:
        """Makes it stop by itself once it has counted so much, mL; None takes that back. At rest only."""
        self._check_rest()
        if volume_ml is None:
            self._set("ctvolume", "tvolume", lambda answer: same(answer, wire.NO_TARGET_VOLUME), "no target volume")
            return True
        text = format_number(volume_ml)
        command = f"tvolume {text} ml"
        try:
            self._set(command, "tvolume", lambda answer: close(parse_volume_ml(answer), float(text)), f"{text} ml")
        except Refused as error:
            if error.code != "?OOR":
                raise
            hint = "; a target can't exceed the syringe volume that is set at the pump"
            raise Refused(self.name, command, wire.OUT_OF_RANGE, hint) from error
        return True

    def limit_stands(self, volume_ml: float) -> bool:
        """Whether it still has this limit, or one that prints the same."""
        return close(parse_volume_ml(self._query("tvolume")), float(format_number(volume_ml)))

    @property
    def forgets_limit(self) -> bool:
        """Whether it took `nvram none`; or, not heard, whether the first of its chain did with the same firmware."""
        return self._version in self._line.forgetful

    def set_rate_ml_h(self, rate_ml_h: float, direction: Direction = Direction.INFUSE) -> None:
        """Sets rate and direction, and reads the rate back. While it runs only the rate may change."""
        if direction is not self._direction:
            self._check_rest()
        text, name = format_number(rate_ml_h), f"{_LETTERS[direction]}rate"
        before, command = self._clock.now(), f"{name} {text} m/h"
        try:
            self._set(command, name, lambda answer: close(parse_rate_ml_h(answer), float(text)), f"{text} mL/h")
        except (Refused, _NotTaken) as error:
            if isinstance(error, Refused) and error.code != "?OOR":
                raise
            printed, low, high = self._limits(name)
            # In a chain the refusal may be lost, and only the old rate tells of it.
            if isinstance(error, _NotTaken) and low <= rate_ml_h <= high:
                raise
            hint = f"; with this syringe it takes {printed} ({low:.4g} to {high:.6g} mL/h)"
            raise Refused(self.name, command, wire.OUT_OF_RANGE, hint) from error
        self._direction = direction
        self.changed = Span(before, self._clock.now())

    def start(self) -> None:
        """Starts it in the direction that was last set, and waits until it says that it moves."""
        self._check_latch()
        before, wanted = self._clock.now(), _MOVING[self._direction]
        self._running, self._told_s = True, None  # from here on a stop counts as a change of motion, answered or not
        self._counting.add(self._direction)
        self._tell(f"{_LETTERS[self._direction]}run")
        end = self._clock.wall() + PATIENCE_S
        while (status := self.status()) is not wanted:
            if self._clock.wall() >= end:
                if self._stalled:  # since before: that it stalled is known, and that it still does is news
                    raise self._stall()
                raise RigError(f"{self.name} did not start: status {status}", "look at the pump's display")
            self._clock.pause(_AGAIN_S)
        self.changed = Span(before, self._clock.now())

    def request_stop(self) -> None:
        """Sends one stop, past any alarm and any stray bytes, without verifying it."""
        self._told_s = self._clock.now() if self._told_s is None else self._told_s
        reply = self._command("stp", insist=True, deadline_s=QUICK_S)
        self._stood(reply is not None and reply.address == self._address and reply.prompt not in _STATUSES)

    def stop(self, deadline_s: float = 5.0) -> None:
        """Sends `stp` until the prompt says that it stands.

        Args:
            deadline_s: wall time after which `NotStopped` is raised, s.
        """
        until_stopped(self.name, self._clock, self._stands, deadline_s)

    def _stands(self) -> bool:
        """Tells it to stop, and asks whether it stands."""
        self.request_stop()
        if not self._polling:
            self._command("poll on", insist=True)
        stands = self._ask("status", insist=True).prompt not in _STATUSES
        self._stood(stands)
        return stands

    def _stood(self, stands: bool) -> None:
        """After a stop: if it moved, it ended between the first stop and now."""
        if self._running and self._told_s is not None:
            self.changed = Span(self._told_s, self._clock.now())
        if stands:
            self._running, self._told_s = False, None

    def clear(self) -> None:
        """Sets the volume counters to zero, and reads them back. At rest only."""
        self._check_rest()
        self._set("cvolume", "ivolume", lambda answer: parse_volume_ml(answer) == 0.0, "0 ul")
        counted = self.dispensed()
        if counted.infused_ml or counted.withdrawn_ml:
            raise RigError(f"{self.name} did not clear its volume counter: {counted}", "clear it at the pump")
        self._counting.clear()

    def rate_ml_h(self) -> float:
        """The rate that is set for its direction, mL/h, from whatever unit it prints.

        It is that with the syringe which `prepare` was told, also where the pump has forgotten that one.
        """
        answer = self._query(f"{_LETTERS[self._direction]}rate")
        rate_ml_h = parse_rate_ml_h(answer)
        if rate_ml_h is None:
            raise BadReply(f"{self.name} answers its rate as {answer!r}", "look at the cable")
        if self._diameter_mm is None:
            return rate_ml_h
        diameter_mm = parse_mm(answer := self._query("diameter"))
        if not diameter_mm:
            raise BadReply(f"{self.name} answers its diameter as {answer!r}", "look at the cable")
        return rate_ml_h * (self._diameter_mm / diameter_mm) ** 2

    def dispensed(self) -> Dispensed:
        """What it has counted since it was cleared, and its status.

        `status` tells the counter of the present direction. The other one is asked for only where it may be above
        zero.
        """
        state, status = self._state()
        counted, resolution_ml = {state.direction: state.volume_ml}, 1.0 / wire.FL_PER_ML
        for direction in self._counting - {state.direction}:
            counted[direction], digit_ml = self._printed_volume(direction)
            resolution_ml = max(resolution_ml, digit_ml)
        infused_ml, withdrawn_ml = (counted.get(direction, 0.0) for direction in Direction)
        return Dispensed(infused_ml, withdrawn_ml, resolution_ml, status)

    def status(self) -> Status:
        """Its status."""
        return self._state()[1]

    def _state(self) -> tuple[Counted, Status]:
        reply = self._ask("status")
        answer = self._one_line(reply, "status")
        counted = parse_status(answer)
        if counted is None:
            raise BadReply(f"{self.name} answers {answer!r} to status", "look at the cable")
        self._see_stall(reply.stalled or counted.stalled)
        # By the prompt: the flags of a PHD Ultra don't tell whether it moves.
        return counted, _STATUSES.get(reply.prompt, Status.STOPPED)

    def _printed_volume(self, direction: Direction) -> tuple[float, float]:
        """A counter in mL, and one unit of its last digit; zero where a pump that only infuses has none."""
        try:
            answer = self._query(f"{_LETTERS[direction]}volume")
        except CommandRefused:
            if direction is Direction.WITHDRAW:
                return 0.0, 0.0
            raise
        volume_ml = parse_volume_ml(answer)
        if volume_ml is None:
            raise BadReply(f"{self.name} answers a volume as {answer!r}", "look at the cable")
        return volume_ml, last_digit_ml(answer) if volume_ml else 0.0

    def _limits(self, name: str) -> tuple[str, float, float]:
        """The range of a rate as the pump prints it, and in mL/h."""
        printed = self._query(f"{name} lim")
        low, _, high = printed.partition(" to ")
        low_ml_h, high_ml_h = parse_rate_ml_h(low), parse_rate_ml_h(high)
        if low_ml_h is None or high_ml_h is None:
            raise BadReply(f"{self.name} answers its limits as {printed!r}", "look at the cable")
        return printed, low_ml_h, high_ml_h

    def _check_latch(self) -> None:
        if self.alarm is not None:
            raise PumpAlarm(self.name, self.alarm, latched=True)

    def _check_rest(self) -> None:
        if self._running:
            raise RigError(f"{self.name} runs, and this is for a pump at rest", "stop it first")

    def _set(self, command: str, query: str, fits: Callable[[str], bool], wanted: str) -> None:
        """Sends a command that sets something; what `query` answers must then fit."""
        self._check_latch()
        self._tell(command)
        end = self._clock.wall() + PATIENCE_S
        while not fits(answer := self._query(query)):
            if self._clock.wall() >= end:
                raise _NotTaken(
                    f"{self.name} was told {wanted} but answers {answer!r} to {query}",
                    "look at the pump, then start again",
                )
            self._clock.pause(_AGAIN_S)

    def _prefer(self, *commands: str) -> str | None:
        """Sends commands until one is not refused, and returns it; None where that is not known.

        None can be read back, and not every firmware knows them.
        """
        self._check_latch()
        if self._address:  # whose refusals are not heard: it is told all, so that the best that it knows comes last
            commands = commands[::-1]
        for command in commands:
            with suppress(Refused):
                if self._tell(command):
                    return command
        return None

    def _tell(self, command: str) -> bool:
        """Sends a command whose effect is read back: a missing or an odd answer to it is no failure by itself.

        Returns whether it was heard to take it.
        """
        self._converse()
        reply = self._command(command)
        if reply is not None and reply.address == self._address:
            self._see_stall(reply.stalled)
        if reply is not None and reply.error:
            raise Refused(self.name, command, reply.error)
        return reply is not None and reply.address == self._address

    def _command(self, command: str, insist: bool = False, deadline_s: float | None = None) -> Reply | None:
        """Sends what sets something, and returns what it answers; None where that can't be known."""
        if self._address:
            self._send(command, _whole, insist, 0.0)
            self._clock.pause(SETTLE_S)
            return None
        with suppress(NoReply, BadReply):
            return parse_reply(self._send(command, _whole, insist, deadline_s))
        return None

    def _query(self, command: str) -> str:
        return self._one_line(self._ask(command), command)

    def _ask(self, command: str, insist: bool = False) -> Reply:
        """Sends a query. Its answer must come, and from this pump."""
        if not insist:
            self._converse()
        try:
            reply = parse_reply(self._send(command, _answered if self._address else _whole, insist))
        except NoReply:
            self._polling = False  # it may have lost its power, and with it the polling mode
            raise
        if reply.address != self._address:
            raise BadReply(
                f"{self.name}: the reply to {command!r} came from address {reply.address}",
                "look at the addresses of the chain",
            )
        self._polling = self._polling or insist  # it ended with XON
        if command != "status":  # whose flags may tell more
            self._see_stall(reply.stalled)
        elif insist:  # nothing may hold up a stop, so the alarm is only noted
            with suppress(PumpAlarm):
                self._see_stall(reply.stalled)
        if reply.error:
            raise Refused(self.name, command, reply.error)
        return reply

    def _one_line(self, reply: Reply, command: str) -> str:
        if len(reply.lines) != 1:
            raise BadReply(f"{self.name} answers {len(reply.lines)} lines to {command!r}", "look at the cable")
        return reply.lines[0]

    def _converse(self) -> None:
        """Puts the pump into polling mode, without echo, and makes sure of it."""
        if self._polling:
            return
        for command in ("poll on", "echo off"):
            self._command(command)
        self._polling = True
        if not same(answer := self._query("poll"), wire.POLLING):
            self._polling = False
            raise RigError(f"{self.name} is not in polling mode: {answer!r}", "look at the pump's display")

    def _see_stall(self, stalled: bool) -> None:
        """Raises a stall as an alarm, once. It stays in the prompt until the pump moves again."""
        new, self._stalled = stalled and not self._stalled, stalled
        if new:
            raise self._stall()

    def _stall(self) -> PumpAlarm:
        self.alarm, self.alarm_s = "S", self._clock.now()
        return PumpAlarm(self.name, "S")

    def _send(
        self, command: str, whole: Callable[[bytes], bool], insist: bool, deadline_s: float | None = None
    ) -> bytes:
        prefix = f"{self._address:02d}" if self._address else ""
        message = f"{prefix}{command}\r".encode("ascii")
        return self._line.exchange(message, whole, insist, self._unasked, deadline_s)

    def _unasked(self, stray: bytes) -> None:
        if not (self._address and only_settles(stray)):
            raise RigError(f"{self.name}: unasked bytes {stray!r}", "look at the cable, and for a second program")


def _whole(received: bytes) -> bool:
    return received[-1] == wire.XON


def _answered(received: bytes) -> bool:
    """Whether a question is answered: a prompt by itself is the late answer to the command before."""
    return received[-1] == wire.XON and b"\r" in received
