"""First contact: every assumption holds of the simulators, and a spoilt one is told; the pump never stays running."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twin.errors import BadInput
from twin.rig.clock import VirtualClock
from twin.rig.commissioning.cassette import Replay
from twin.rig.commissioning.checkout import CheckoutResult, checkout
from twin.rig.errors import NotStopped
from twin.rig.pumps.drivers import baud_of
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.harvard import SimulatedHarvard
from twin.rig.simulated.memory import MemoryLine
from twin.rig.simulated.newera import SimulatedNewEra

FAMILIES = ["newera", "harvard"]
NEWERA = ("1010", 0.00841, 18.37 * 60, 50.0)
HARVARD = ("11 ELITE", 2.54 / 368640 / 27 * 3600, 2.54 / 368640 / 26e-6 * 3600, 50.0)


def no_text(text: str) -> None:
    pass


class Operator:
    """Says yes to everything, or to what holds a word, and does at the pump what is asked."""

    def __init__(self, line: MemoryLine, yes: Callable[[str], bool] = lambda question: True) -> None:
        self.line, self.yes = line, yes
        self.questions: list[str] = []

    def __call__(self, question: str) -> bool:
        self.questions.append(question)
        if not self.yes(question):
            return False
        if "Switch the pump off" in question:
            self.line.inject(Fault.RESET, 0)
        if "To make it stall" in question:
            blocked = self.line.clock.every(1.0, lambda: self._block(), "a hand on the pusher")
            self.blocked = blocked
        return True

    def _block(self) -> None:
        if self.line.state(0)[0] == "I":
            self.line.inject(Fault.STALL, 0)
            self.blocked.cancel()


def line_of(family: str, pump: Any = None) -> MemoryLine:
    made = pump or {"newera": lambda: SimulatedNewEra(*NEWERA), "harvard": lambda: SimulatedHarvard(*HARVARD)}[family]()
    return MemoryLine({0: made}, VirtualClock(), baud_of(family))


def checked(
    line: MemoryLine, family: str, path: Path, ask: Callable[[str], bool] | None = None, device: Any = None
) -> CheckoutResult:
    return checkout(
        "memory", family, 0, "steel-50ml", ask=ask or Operator(line), say=no_text, cassette=path,
        device=device or line.device(), clock=line.clock,
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_every_assumption_holds_of_the_simulator(family: str, tmp_path: Path) -> None:
    line = line_of(family)
    result = checked(line, family, tmp_path / "a.jsonl")
    assert [finding for finding in result.findings if finding.holds is False] == []
    assert [finding.item for finding in result.findings if finding.holds is None] == [
        "its force at full flow through the junction"
    ]
    assert len(result.findings) >= 35
    assert line.state(0)[0] == "S"
    assert "0 of" in result.lines()[-2]
    assert result.as_dict()["ok"]


@pytest.mark.parametrize("answers", [False, True])
def test_a_harvard_pump_behind_the_first_of_a_chain_is_asked_what_it_answers(answers: bool, tmp_path: Path) -> None:
    pumps = {address: SimulatedHarvard(*HARVARD, answers=answers) for address in (0, 1)}
    line = MemoryLine(pumps, VirtualClock(), baud_of("harvard"))
    result = checkout(
        "memory", "harvard", 1, "steel-50ml", ask=lambda question: "Switch" not in question and "stall" not in question,
        say=no_text, cassette=tmp_path / "a.jsonl", device=line.device(), clock=line.clock,
    )  # fmt: skip
    wrong = [finding.item for finding in result.findings if finding.holds is False]
    assert wrong == (["behind the first pump a command is answered"] if answers else [])
    assert any(finding.item.startswith("10 ms after a command") and finding.holds for finding in result.findings)
    assert len(result.findings) >= 30
    assert (line.state(0), line.state(1)[0]) == (("S", 0.0), "S")
    assert line.state(1)[1] > 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_moves_without_a_yes(family: str, tmp_path: Path) -> None:
    line = line_of(family)
    operator = Operator(line, lambda question: False)
    result = checked(line, family, tmp_path / "a.jsonl", operator)
    assert line.state(0)[1] == 0.0
    assert not any(b"run" in command.lower() for command in line.heard)
    assert sum("Now the pump moves" in question for question in operator.questions) == 1
    assert result.ok
    assert any(finding.item == "everything with motion" and finding.holds is None for finding in result.findings)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cassette_ends_with_the_table_and_can_be_played(family: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    result = checked(line_of(family), family, path)
    clock = VirtualClock()
    tape = Replay(path, clock)
    assert tape.header["family"] == family
    assert tape.remarks[-1]["end"]["stopped"] is True
    assert tape.remarks[-1]["end"]["findings"] == [vars(finding) for finding in result.findings]
    assert json.loads(path.read_text().splitlines()[-1]) == tape.remarks[-1]
    again = checkout(
        "memory", family, 0, "steel-50ml", ask=lambda question: True, say=no_text, cassette=tmp_path / "b.jsonl",
        device=tape, clock=clock,
    )  # fmt: skip
    assert [(found.item, found.holds) for found in again.findings] == [
        (found.item, found.holds) for found in result.findings
    ]
    assert tape.done


class OneStop(SimulatedNewEra):
    def _set_stp(self, rest: str) -> str:
        self._halt("S")
        return ""


class AnyUnit(SimulatedNewEra):
    def _set_rat(self, rest: str) -> str:
        return super()._set_rat(rest.removesuffix("MH") if self._moves else rest)


class NoTimer(SimulatedNewEra):
    def execute(self, command: str, now_s: float) -> str:
        body = super().execute(command, now_s)
        self._due = float("inf")
        return body


class Wide(SimulatedNewEra):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, max_diameter_mm=80.0)


class Slow(SimulatedNewEra):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._plunger.share = 0.95


class Unheard(SimulatedNewEra):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, packets_in_basic=False)


class Sluggish(SimulatedHarvard):
    """Its first stop is not heard."""

    deaf = True

    def execute(self, command: str, address: int, now_s: float) -> list[str]:
        if command.strip() == "stp" and self.status != "S" and self.deaf:
            self.deaf = False
            return []
        return super().execute(command, address, now_s)


class NoTarget(SimulatedHarvard):
    def run(self, side: str) -> None:
        self.settings.target = None
        super().run(side)


@pytest.mark.parametrize(
    ("family", "pump", "words"),
    [
        ("newera", OneStop(*NEWERA), "the first stop pauses"),
        ("newera", AnyUnit(*NEWERA), "its own unit on the way"),
        ("newera", NoTimer(*NEWERA), "it stood after 2 s of silence"),
        ("newera", Wide(*NEWERA), "beyond it (DIA50.1)"),
        ("newera", Slow(*NEWERA), "the volume counter against a stopwatch"),
        ("newera", Unheard(*NEWERA), "safe mode"),
        ("newera", SimulatedNewEra("1000", *NEWERA[1:]), "its highest rate with this syringe"),
        ("harvard", Sluggish(*HARVARD), "one stop is enough (stp)"),
        ("harvard", NoTarget(*HARVARD), "it stops there by itself (empty)"),
        ("harvard", SimulatedHarvard(*HARVARD[:2], 500.0, 50.0), "its limits with this syringe (irate lim)"),
    ],
)
def test_an_assumption_that_is_wrong_is_told(family: str, pump: Any, words: str, tmp_path: Path) -> None:
    line = line_of(family, pump)
    result = checked(line, family, tmp_path / "a.jsonl")
    wrong = [finding.item for finding in result.findings if finding.holds is False]
    assert any(item.startswith(words) for item in wrong), wrong
    assert not result.ok
    assert "DIFFERS" in "\n".join(result.lines())
    assert line.state(0)[0] == "S"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_interrupt_at_any_exchange_leaves_it_stopped(family: str, tmp_path: Path) -> None:
    class Struck:
        """Raises at one of its writes."""

        def __init__(self, device: Any, at: int) -> None:
            self._device, self._left = device, at

        def __getattr__(self, name: str) -> Any:
            return getattr(self._device, name)

        def write(self, data: bytes) -> Any:
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt
            return self._device.write(data)

    struck = 0
    for at in range(1, 400, 13):
        line = line_of(family)
        try:
            checked(line, family, tmp_path / f"{at}.jsonl", device=Struck(line.device(), at))
        except KeyboardInterrupt:
            struck += 1
        assert line.state(0)[0] == "S", at
    assert struck >= 8


def test_a_pump_that_can_not_be_stopped_is_named(tmp_path: Path) -> None:
    line = line_of("newera")

    def ask(question: str) -> bool:
        if "Now the pump moves" in question:
            line.inject(Fault.SILENCE, 0)
        return True

    with pytest.raises(NotStopped, match="NOT VERIFIED AS STOPPED"):
        checked(line, "newera", tmp_path / "a.jsonl", ask)
    tape = Replay(tmp_path / "a.jsonl", VirtualClock())
    assert tape.remarks[-1]["end"]["stopped"] is False


def test_what_can_not_be_checked_out_is_refused(tmp_path: Path) -> None:
    line, path = line_of("newera"), tmp_path / "a.jsonl"
    path.write_text("something\n")
    with pytest.raises(BadInput, match="already"):
        checked(line, "newera", path)
    with pytest.raises(BadInput, match="family"):
        checked(line, "peristaltic", tmp_path / "b.jsonl")
    with pytest.raises(BadInput, match="there is no port"):
        checkout(
            str(tmp_path / "none"), "newera", 0, "steel-50ml", ask=Operator(line), say=no_text,
            cassette=tmp_path / "c.jsonl",
        )  # fmt: skip
    assert not (tmp_path / "c.jsonl").exists()
