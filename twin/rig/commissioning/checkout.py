"""First contact with a real pump: asks it, in small steps, everything that the simulator only assumes.

At first nothing moves. Then, only where the operator agrees, a little liquid goes into a beaker. Each assumption is one
row of a table, expected against observed, and everything that was said is on a cassette. The pump is stopped, verified,
before this returns, whatever happens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twin.errors import BadInput, TwinError
from twin.rig.clock import Clock
from twin.rig.commissioning.cassette import Recording
from twin.rig.errors import NotStopped
from twin.rig.operation.interrupts import Interrupts
from twin.rig.operation.stopping import caught, words
from twin.rig.port import Device, Port, open_device
from twin.rig.pumps.catalogue import Syringe
from twin.rig.pumps.catalogue import syringe as named_syringe
from twin.rig.pumps.drivers import baud_of, driver
from twin.rig.pumps.protocol import Pump

Ask = Callable[[str], bool]
Say = Callable[[str], None]

#: Flow of the steps with motion, as a share of the syringe an hour.
SHARE_PER_H = 1.2
#: A stop, from the command to a verified rest, takes no longer, s.
STOP_WITHIN_S = 0.5
#: How long the counter is compared with a stopwatch, s; how long a stall is waited for, and looked for so often.
RUN_S, STALL_S, LOOK_S = 10.0, 20.0, 0.2
#: The name of its row.
STALL = "a stall"


@dataclass(frozen=True)
class Finding:
    """One assumption: what the simulator does, what the pump did, and whether that is the same; None: not asked."""

    item: str
    expected: str
    observed: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        """One word for it."""
        return "not asked" if self.holds is None else "as expected" if self.holds else "DIFFERS"


@dataclass(frozen=True)
class CheckoutResult:
    """What came of it. `ok`: no assumption that was asked failed. The cassette holds it all."""

    findings: tuple[Finding, ...]
    cassette: Path

    @property
    def ok(self) -> bool:
        """Whether all that was asked is as the simulator assumes."""
        return all(finding.holds is not False for finding in self.findings)

    def lines(self) -> list[str]:
        """The table, and a verdict."""
        rows = [("assumption", "expected", "observed", ""), *(
            (finding.item, finding.expected, finding.observed, finding.verdict) for finding in self.findings
        )]  # fmt: skip
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        table = ["  ".join(text.ljust(width) for text, width in zip(row, [*widths, 0], strict=True)) for row in rows]
        failed = sum(finding.holds is False for finding in self.findings)
        left = sum(finding.holds is None for finding in self.findings)
        verdict = f"{failed} of {len(rows) - 1} differ, {left} were not asked; the pump was verified as stopped"
        return [*(line.rstrip() for line in table), verdict, f"cassette: {self.cassette}"]

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-like data."""
        return {
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "cassette": str(self.cassette),
        }


class Visit:
    """What the steps have at hand: the port, the clock, the operator, and the table that they fill."""

    def __init__(
        self, port: Port, clock: Clock, family: str, address: int, syringe: Syringe, ask: Ask, say: Say
    ) -> None:
        self.port, self.clock, self.address, self.syringe = port, clock, address, syringe
        self.ask, self.say = ask, say
        self.rate_ml_h = SHARE_PER_H * syringe.volume_ml
        self.findings: list[Finding] = []
        self._family = family

    @property
    def pump(self) -> Pump:
        """A driver that knows nothing yet, and so takes the pump as it is."""
        return driver(self._family, self.port, self.address, "the pump", None, self.clock)

    def expect(self, item: str, command: str, said: str, pattern: str, expected: str = "") -> bool:
        """One more row: what was said to a command, which must fit a pattern, in capitals or not."""
        fits = re.fullmatch(pattern, said, re.IGNORECASE) is not None
        return self.find(f"{item} ({command or 'empty'})", expected or pattern.replace("\\", ""), said, fits)

    def find(self, item: str, expected: str, observed: str, holds: bool | None) -> bool:
        """One more row; returns whether the assumption held."""
        finding = Finding(item, expected, observed, holds)
        self.findings.append(finding)
        self.say(f"{finding.verdict}: {item}: {observed}" + ("" if holds else f" (expected: {expected})"))
        return bool(holds)

    def leave(self, item: str, expected: str, why: str) -> None:
        """One more row, that nobody asked."""
        self.find(item, expected, why, None)

    def agreed(self, item: str, expected: str, question: str) -> bool:
        """Whether the operator agrees to a step; else its row says so."""
        if self.ask(question):
            return True
        self.leave(item, expected, "the operator left it out")
        return False

    def go(self, steps: Sequence[Callable[[Visit], None]], moving: bool = False) -> None:
        """Does steps one after the other; one that fails is a row, and keeps nobody from the next."""
        for step in steps:
            try:
                step(self)
            except TwinError as error:
                self.find(step.__name__.strip("_").replace("_", " "), "an answer", error.message, False)
            if moving:
                self.pump.stop()  # raises where it can't be verified: then nothing more moves

    def time_a_stop(self) -> None:
        """Stops the pump, that runs, and enters how long it took."""
        before = self.clock.now()
        self.pump.stop()
        took = self.clock.now() - before
        expected = f"within {STOP_WITHIN_S:g} s"
        self.find("from the stop to a verified rest", expected, f"{took:.3f} s", took <= STOP_WITHIN_S)

    def compare_volume(self, start: Callable[[], object], counted: Callable[[], float], expected: str) -> float:
        """The pump's counter, mL, against the stopwatch, from a start to a stop that is timed; returns what it said."""
        before = self.clock.now()
        start()
        began = 0.5 * (before + self.clock.now())
        self.clock.sleep(RUN_S)
        before = self.clock.now()
        counted_ml = counted()
        seconds = 0.5 * (before + self.clock.now()) - began
        off = 100 * (counted_ml / (self.rate_ml_h * seconds / 3600) - 1)
        text = f"{counted_ml:.4g} mL in {seconds:.2f} s, {off:+.2f} %"
        self.find("the volume counter against a stopwatch", expected, text, abs(off) <= 2)
        self.time_a_stop()
        return counted_ml

    def await_stall(self, expected: str, start: Callable[[], object], look: Callable[[], str], runs: str) -> str | None:
        """Where the operator agrees: what the pump says when it says no more that it runs; else None."""
        question = (
            "To make it stall: no syringe on it, and a block, never a hand, in the way of the pusher, so that it meets"
            " the block within 10 s of your yes. Shall it run?"
        )
        if not self.agreed(STALL, expected, question):
            return None
        start()
        said, end = runs, self.clock.now() + STALL_S
        while said == runs and self.clock.now() < end:
            self.clock.sleep(LOOK_S)
            said = look()
        return said


def full_flow(visit: Visit) -> None:
    """A row for what no beaker can tell."""
    visit.leave("its force at full flow through the junction", "holds 83 mL/min of toluene", "needs the junction")


def switched_off(visit: Visit, item: str, expected: str) -> bool:
    """Whether the operator has switched the pump off, and on again; else its row says so."""
    return visit.agreed(item, expected, "Switch the pump off at its switch, and on again. Is it back?")


def checkout(
    port_url: str,
    family: str,
    address: int,
    syringe: Syringe | str,
    *,
    ask: Ask,
    say: Say,
    cassette: Path,
    device: Device | None = None,
    clock: Clock | None = None,
    baud: int | None = None,
) -> CheckoutResult:
    """Asks a pump everything that the simulator assumes of its family.

    Args:
        port_url: its port; what messages call it, where `device` is given.
        family: newera or harvard.
        address: 0 to 99.
        syringe: what is on it, by itself or by its name in the catalogue.
        ask: puts a question to the operator; nothing moves without a yes.
        say: tells the operator something.
        cassette: where everything is recorded; must not be there yet.
        device: what carries the bytes, instead of the port.
        clock: process time; real where it is left out.
        baud: bits a second; those of the family, where it is left out.

    Raises:
        BadInput: there is no such family, syringe or port, or the cassette is there already.
        NotStopped: the pump could not be verified as stopped.
    """
    from twin.rig.commissioning import checkout_harvard, checkout_newera

    speed = baud or baud_of(family)
    script = {"newera": checkout_newera, "harvard": checkout_harvard}[family]
    fitted = named_syringe(syringe) if isinstance(syringe, str) else syringe
    clock = clock or Clock()
    if clock.speed != 1.0:
        raise BadInput("a real pump can't be checked on an accelerated clock", "leave the clock out")
    carrier = device or open_device(port_url, speed)
    try:
        tape = Recording(carrier, clock, cassette, {"family": family, "baud": speed, "syringe": fitted.name})
    except TwinError:
        carrier.close()
        raise
    visit = Visit(Port(tape, port_url, clock=clock), clock, family, address, fitted, ask, say)
    try:
        with Interrupts() as interrupts:
            try:
                interrupts.unshield()
                script.meet(visit)
                visit.go(script.STILL)
                if visit.ask(
                    f"Now the pump moves: {visit.rate_ml_h:g} mL/h, a few times for some seconds, both ways. Is the"
                    f" {fitted.name} half full, its outlet in a beaker of the same liquid, and someone at the pump?"
                ):
                    visit.go(script.MOVING, moving=True)
                else:
                    visit.leave("everything with motion", "", "the operator left it out")
            finally:
                interrupts.shield()
                problem = caught(visit.pump.stop)
                if problem is None:
                    caught(partial(script.leave, visit))
                findings = [asdict(finding) for finding in visit.findings]
                caught(partial(tape.remark, end={"stopped": problem is None, "findings": findings}))
                if problem is not None:
                    raise NotStopped(["the pump"], words(problem)) from problem
    finally:
        tape.close()
    return CheckoutResult(tuple(visit.findings), cassette)
