"""A dry run: the code of a real run against simulated pumps on a virtual clock. No port is opened, nothing moves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from twin.rig.bench import paper_pumps
from twin.rig.clock import VirtualClock
from twin.rig.operation.interrupts import Interrupts
from twin.rig.operation.session import Session
from twin.rig.planning.schedule import Plan
from twin.rig.planning.steps import Step
from twin.rig.record.recorder import Recorder
from twin.rig.wire.newera import STX

#: So many steps that send the same, but for the numbers, are shown one by one; of more the first, a middle, the last.
SHOWN = 3
_NUMBER = re.compile(rb"[\d.]+")


@dataclass(frozen=True)
class Sent:
    """Bytes that would go out on a port at a process time, s, in a step of the plan: -1 while it is armed."""

    t_s: float
    port: str
    message: bytes
    poll: bool
    step: int


@dataclass(frozen=True)
class DryRun:
    """A plan and every byte that it would send. Of the looks at the pumps a real run sends more or fewer."""

    plan: Plan
    sent: tuple[Sent, ...]

    def lines(self, everything: bool = False) -> list[str]:
        """The plan in words, and the bytes; runs of looks are folded into one line.

        Of a long run of steps, as in a ramp, the first, a middle and the last one are shown; all with `everything`.
        """
        lines = self.plan.lines()
        for batch in self._batches():
            count = len(batch)
            shown = range(count) if everything or count <= SHOWN + 1 else (0, count // 2, count - 1)
            before = -1
            for index in shown:
                if (left_out := index - before - 1) > 0:
                    lines.append(f"             … {left_out} more such steps")
                lines += _in_words(batch[index])
                before = index
        return lines

    def _batches(self) -> Iterator[list[list[Sent]]]:
        """What is sent in each step, in batches of consecutive steps that send the same but for the numbers."""
        steps = [list(group) for _, group in groupby(self.sent, key=lambda entry: entry.step)]
        for _, batch in groupby(steps, key=_pattern):
            yield list(batch)


def _pattern(step: list[Sent]) -> tuple[tuple[str, bytes], ...]:
    """What a step sends, without its looks, its numbers, and the frames of packets."""
    texts = ((entry, entry.message[2:-3] if entry.message[0] == STX else entry.message) for entry in step)
    return tuple((entry.port, _NUMBER.sub(b"", text)) for entry, text in texts if not entry.poll)


def _in_words(step: list[Sent]) -> list[str]:
    """The bytes of a step; runs of looks are one line."""
    lines = []
    for poll, entries in groupby(step, key=lambda entry: entry.poll):
        if poll:
            count = len(list(entries))
            lines.append(f"             … {count} look{'s' if count > 1 else ''}")
        else:
            lines += [f"{entry.t_s:8.2f} s  {entry.port}  {entry.message!r}" for entry in entries]
    return lines


def dry_run(plan: Plan) -> DryRun:
    """The bytes that a run of this plan would send, in order, to pumps that obey."""
    clock, sent, number = VirtualClock(), list[Sent](), -1

    def steps() -> Iterator[Step]:
        nonlocal number
        for number, step in enumerate(plan.steps):  # noqa: B007  `note` reads it
            yield step
        number += 1  # the stop

    def note(url: str, message: bytes, received: bytes, problem: str) -> None:
        if message:
            poll = any(word in message for word in (b"DIS", b"status"))
            sent.append(Sent(clock.now(), url, message, poll, number))

    pumps = paper_pumps(plan.pumps, clock, note)
    Session(plan, pumps, clock, Recorder(None, clock.now), steps=steps()).run(Interrupts())
    return DryRun(plan, tuple(sent))
