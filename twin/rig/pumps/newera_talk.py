"""Talking with one New Era pump: its mode, its alarms, what may be asked twice, and a stop that needs to know nothing.

A pump with a pending alarm answers the next command with `A?x` and does not execute it. This driver never repeats such
a command by itself, except a stop, and a query after an acknowledged alarm in Safe mode: that alarm may have been
pushed, and a pump that pushed an alarm says it once more.

A pump may be found in either mode: Safe mode outlives the host that chose it, and the power. The frame of its last
reply shows which one it is in; before the first reply, a query tries both, and a stop says it in both at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twin.errors import TwinError
from twin.rig.clock import Clock
from twin.rig.errors import BadReply, CommandRefused, NoReply, NotSent, PumpAlarm
from twin.rig.pumps.newera_packets import (
    DamagedPacket,
    Mode,
    Reply,
    encode,
    frames,
    parse_reply,
    pushed_on,
    readable,
    whole,
)
from twin.rig.pumps.protocol import Line, Span, Status

#: How long the further replies to a stop in both modes may trickle in, wall time, s.
_TRICKLE_S = 0.03


class Talk:
    """The pump at one address of a line.

    Args:
        line: the port, which may be shared with other addresses.
        address: 0 to 99.
        name: what messages call it.
        clock: what `changed` and the deadlines are told by.
    """

    def __init__(self, line: Line, address: int, name: str, clock: Clock | None) -> None:
        self.name = name or f"the pump at address {address} on {line.url}"
        #: When its motion last changed, by its clock.
        self.changed: Span | None = None
        #: The alarm that is not yet acknowledged.
        self.alarm: str | None = None
        #: When it was heard, by its clock.
        self.alarm_s = 0.0
        self._line = line
        self._pushed = pushed_on(line)
        self._address = address
        self._clock = clock or Clock()
        self._mode: Mode | None = None
        self._running = False
        self._echo: str | None = None  # the alarm that it may say once more, though it is acknowledged
        self._unanswered = 0  # commands that it may have answered by an alarm, unheard

    @property
    def cut_is_told(self) -> bool:
        """Whether every command was answered, so that none can have taken the alarm of a power cut unheard."""
        return not self._unanswered

    @property
    def called(self) -> bool:
        """Whether it pushed an alarm while another pump was listened to."""
        return self._address in self._pushed.codes

    def acknowledge(self) -> str | None:
        """Releases the latch of an alarm and returns its code; only then is a command that changes anything sent."""
        code, self.alarm = self.alarm, None
        self._echo = code if self._mode is Mode.SAFE else None
        return code

    def _query(self, command: str) -> Reply:
        """Asks for something that may be asked twice."""
        if self._mode is not None:
            return self._patient(command, self._mode)
        try:
            return self._patient(command, Mode.BASIC)
        except NoReply as silence:
            try:
                return self._patient(command, Mode.SAFE)
            except NoReply:
                raise silence from None
            finally:
                if self._mode is Mode.SAFE:  # in which it took no notice of the first
                    self._unanswered -= 1

    def _patient(self, command: str, mode: Mode) -> Reply:
        """Repeats, once, what arrived damaged, and what was answered by an alarm that is acknowledged already."""
        try:
            return self._ask(command, mode=mode)
        except PumpAlarm as alarm:
            if alarm.code != self._echo:
                raise
            self.alarm = self._echo = None
        except DamagedPacket:
            pass
        except CommandRefused as refusal:
            if refusal.code != "?COM":
                raise
        return self._ask(command, mode=mode)

    def _change(self, command: str, moves: bool = False) -> Reply:
        """Sends, once, what changes something; an alarm that is not acknowledged forbids it."""
        self._unlatched()
        return self._ask(command, moves=moves)

    def _unlatched(self) -> None:
        if self.alarm is not None:
            raise PumpAlarm(self.name, self.alarm, latched=True)

    def _ask(
        self,
        command: str,
        insist: bool = False,
        moves: bool = False,
        mode: Mode | None = None,
        deadline_s: float | None = None,
    ) -> Reply:
        """One exchange. Raises where an alarm stands in the way, also one that was pushed and not yet raised."""
        if (pushed := self._pushed.codes.pop(self._address, None)) is not None:
            code, heard_s = pushed
            self._mode = Mode.SAFE
            self._latch(code, heard_s)
            if not insist:
                raise PumpAlarm(self.name, code)
        before = self._clock.now()
        message = encode(mode or self._mode or Mode.BASIC, self._address, command)
        with self._answered():
            received = self._line.exchange(message, self._whole, insist, self._unasked, deadline_s)
            *others, last = frames(received)
            self._unasked(b"".join(others))
            reply = parse_reply(last)
            if reply.address != self._address:
                raise BadReply(
                    f"{self.name}: the reply to {command!r} came from address {reply.address}",
                    "look at the addresses of the chain",
                )
        self._heed(reply)
        if reply.refusal is not None and not (insist and reply.refusal == "?NA"):
            raise CommandRefused(self.name, command, reply.refusal)
        if moves:
            self.changed = Span(before, self._clock.now())
        return reply

    def _stp(self, deadline_s: float | None = None) -> Status:
        """One stop, past any alarm and any stray bytes."""
        try:
            if self._mode is None:
                reply = self._stop_both_ways(deadline_s)
            else:
                reply = self._ask("STP", insist=True, moves=self._running, deadline_s=deadline_s)
        except NoReply:
            self._mode = None  # the next one goes out in both modes
            raise
        if not (status := present(reply)).moving:
            self._running = False
        return status

    def _stop_both_ways(self, deadline_s: float | None) -> Reply:
        """A stop in Basic and in Safe mode, in one breath.

        A pump in Safe mode takes no notice of the first. What a pump in Basic mode makes of the second does not matter
        any more, and the last byte clears it out of its way.
        """
        before, moves = self._clock.now(), self._running
        stops = encode(Mode.BASIC, self._address, "STP") + encode(Mode.SAFE, self._address, "STP") + b"\r"

        def own(received: bytes) -> list[Reply]:
            return [reply for reply in readable(received) if reply.address == self._address]

        with self._answered():
            received = self._line.exchange(stops, lambda received: bool(own(received)), True, self._unasked, deadline_s)
        self._clock.pause(_TRICKLE_S)
        for reply in readable(received):
            self._keep(reply)
        reply = own(received)[-1]
        self._heed(reply)
        if moves:
            self.changed = Span(before, self._clock.now())
        return reply

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Around an exchange: counts those that the pump may have answered unheard."""
        try:
            yield
        except (NotSent, PumpAlarm):  # nothing went out, or it was heard
            raise
        except BaseException:
            self._unanswered += 1
            raise

    def _whole(self, received: bytes) -> bool:
        return whole(received, self._address)

    def _heed(self, reply: Reply) -> None:
        """Learns the mode from a reply of this pump; raises its alarm."""
        self._mode = reply.mode
        if reply.alarm is not None:
            self._latch(reply.alarm, self._clock.now())
            raise PumpAlarm(self.name, reply.alarm)
        self._echo = None

    def _unasked(self, stray: bytes) -> None:
        """Takes what came unasked: alarms, each for the driver of its pump. Raises for this one's, and at all else."""
        problem: TwinError | None = None
        for frame in frames(stray):
            try:
                reply = parse_reply(frame)
            except BadReply:
                reply = None
            if reply is None or reply.alarm is None or reply.mode is not Mode.SAFE:
                problem = BadReply(
                    f"unasked bytes on {self._line.url}: {stray!r}", "look at the cable, and for a second program"
                )
            elif reply.address != self._address:
                self._keep(reply)
            elif reply.alarm == self._echo:
                self._echo = None
            else:
                self._mode = Mode.SAFE
                self._latch(reply.alarm, self._clock.now())
                problem = problem or PumpAlarm(self.name, reply.alarm)
        if problem is not None:
            raise problem

    def _keep(self, reply: Reply) -> None:
        """Keeps the alarm of another pump for its driver."""
        if reply.alarm is not None and reply.mode is Mode.SAFE and reply.address != self._address:
            self._pushed.codes[reply.address] = reply.alarm, self._clock.now()

    def _latch(self, code: str, heard_s: float) -> None:
        if self.alarm is None:
            self.alarm_s = heard_s
        self.alarm = code


def present(reply: Reply) -> Status:
    """The status of a reply; raises `BadReply` where there is none."""
    if reply.status is None:
        raise BadReply("a reply without a status", "look at the cable")
    return reply.status
