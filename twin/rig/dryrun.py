"""A dry run: the code of a real run against pumps made of paper. No port is opened, nothing moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twin.rig.clock import VirtualClock
from twin.rig.interrupts import Interrupts
from twin.rig.planning import Plan
from twin.rig.pumps.newera import NewEraPump
from twin.rig.recorder import Recorder
from twin.rig.session import Session


@dataclass(frozen=True)
class Sent:
    """Bytes that would go out on a port at a process time, s."""

    t_s: float
    port: str
    message: bytes


@dataclass(frozen=True)
class DryRun:
    """A plan and every byte that it would send. Of the polls (DIS) a real run sends more or fewer."""

    plan: Plan
    sent: tuple[Sent, ...]

    def lines(self) -> list[str]:
        """The plan in words, and the bytes; runs of polls are folded into one line."""
        lines = self.plan.lines()
        folded = 0
        for entry in self.sent:
            if entry.message.endswith(b"DIS\r"):
                folded += 1
                continue
            if folded:
                lines.append(f"             … {folded} polls (DIS)")
                folded = 0
            lines.append(f"{entry.t_s:8.2f} s  {entry.port}  {entry.message!r}")
        return lines + ([f"             … {folded} polls (DIS)"] if folded else [])


@dataclass
class _PaperPump:
    """Answers a query with what was set last; enough for the reading back of a dry run."""

    version: str
    memory: dict[str, str] = field(default_factory=dict)
    status: str = "S"

    def answer(self, command: str) -> str:
        name, rest = command[:3], command[3:]
        if name == "RUN":
            self.status = "I"
        elif name == "STP":
            self.status = "P" if self.status == "I" else "S"
        elif name == "VER":
            return self.status + self.version
        elif name == "DIS":
            return self.status + "I0.000W0.000" + self.memory["unit"]
        elif rest in ("UL", "ML"):
            self.memory["unit"] = rest
        elif rest:
            self.memory[name] = rest + ("MH" if name == "RAT" and not rest.endswith("MH") else "")
        elif name == "VOL":
            return self.status + self.memory[name] + self.memory["unit"]
        else:
            return self.status + self.memory.get(name, "")
        return self.status


class _PaperLine:
    def __init__(self, url: str, pumps: dict[int, _PaperPump], clock: VirtualClock, sent: list[Sent]) -> None:
        self.url = url
        self._pumps = pumps
        self._clock = clock
        self._sent = sent

    def exchange(
        self,
        message: bytes,
        whole: Callable[[bytes], bool],
        insist: bool = False,
        unasked: Callable[[bytes], None] | None = None,
    ) -> bytes:
        self._sent.append(Sent(self._clock.now(), self.url, message))
        text = message.decode("ascii").rstrip("\r")
        return b"\x02" + text[:2].encode() + self._pumps[int(text[:2])].answer(text[2:]).encode() + b"\x03"


def dry_run(plan: Plan) -> DryRun:
    """The bytes that a run of this plan would send, in order."""
    clock, sent = VirtualClock(), list[Sent]()
    lines = {
        url: _PaperLine(
            url,
            {
                pump.address: _PaperPump(f"NE{pump.model.number}V0.0")
                for pump in plan.pumps.values()
                if pump.port == url
            },
            clock,
            sent,
        )
        for url in dict.fromkeys(pump.port for pump in plan.pumps.values())
    }
    pumps = {
        role: NewEraPump(lines[pump.port], pump.address, pump.name, pump.model.number, clock)
        for role, pump in plan.pumps.items()
    }
    Session(plan, pumps, clock, Recorder(None, clock.now)).run(Interrupts())
    return DryRun(plan, tuple(sent))
