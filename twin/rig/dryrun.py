"""A dry run: the code of a real run against simulated pumps on a virtual clock. No port is opened, nothing moves."""

from __future__ import annotations

from dataclasses import dataclass

from twin.rig.bench import paper_pumps
from twin.rig.clock import VirtualClock
from twin.rig.operation.interrupts import Interrupts
from twin.rig.operation.session import Session
from twin.rig.planning.schedule import Plan
from twin.rig.record.recorder import Recorder


@dataclass(frozen=True)
class Sent:
    """Bytes that would go out on a port at a process time, s."""

    t_s: float
    port: str
    message: bytes
    poll: bool


@dataclass(frozen=True)
class DryRun:
    """A plan and every byte that it would send. Of the looks at the pumps a real run sends more or fewer."""

    plan: Plan
    sent: tuple[Sent, ...]

    def lines(self) -> list[str]:
        """The plan in words, and the bytes; runs of looks are folded into one line."""
        lines = self.plan.lines()
        folded = 0
        for entry in self.sent:
            if entry.poll:
                folded += 1
                continue
            if folded:
                lines.append(f"             … {folded} looks")
                folded = 0
            lines.append(f"{entry.t_s:8.2f} s  {entry.port}  {entry.message!r}")
        return lines + ([f"             … {folded} looks"] if folded else [])


def dry_run(plan: Plan) -> DryRun:
    """The bytes that a run of this plan would send, in order, to pumps that obey."""
    clock, sent = VirtualClock(), list[Sent]()

    def note(url: str, message: bytes, received: bytes, problem: str) -> None:
        if message:
            sent.append(Sent(clock.now(), url, message, any(word in message for word in (b"DIS", b"status"))))

    Session(plan, paper_pumps(plan.pumps, clock, note), clock, Recorder(None, clock.now)).run(Interrupts())
    return DryRun(plan, tuple(sent))
