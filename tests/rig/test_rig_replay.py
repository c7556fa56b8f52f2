"""The replay of a journal: it agrees with a run that kept the rules, and finds each rule that was broken."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twin.errors import BadInput
from twin.rig.record.journal import Journal
from twin.rig.record.replay import Replay, replay

A, P, B = 0, 1, 2
NAMES = {A: "antisolvent", P: "precursor", B: "antisolvent-2"}
#: An exchange, s.
TOOK = 0.02


class Tale:
    """Writes the journal of two pumps (three with `turns`) on one port, exchange by exchange."""

    def __init__(self, path: Path, *, turns: bool = False, safe: bool = False, ports: bool = False) -> None:
        self.now, self.safe, self.ports, self.booked = 0.0, safe, ports, True
        self.names = NAMES if turns else {A: NAMES[A], P: NAMES[P]}
        self.status, self.rate, self.way = {A: "S", P: "S", B: "S"}, {A: 0.0, P: 0.0, B: 0.0}, {A: 1, P: 1, B: 1}
        self.volume, self.since, self.run = {A: 0.0, P: 0.0, B: 0.0}, {A: 0.0, P: 0.0, B: 0.0}, {A: 0.0, P: 0.0, B: 0.0}
        self.drawn = {A: 0.0, P: 0.0, B: 0.0}
        self.journal = Journal(path)
        pumps = {
            name: {"port": self.port(address), "address": address, "allowed_ml_h": [0.1, 6000.0]}
            for address, name in self.names.items()
        }
        self.event("begin", speed=1.0, plan={"pumps": pumps})

    def port(self, address: int) -> str:
        return f"/dev/tty{address if self.ports else 0}"

    def event(self, name: str, **fields: Any) -> None:
        self.journal.write(name, sync=False, t_s=round(self.now, 4), **fields)

    def frame(self, text: str, reply: bool) -> str:
        if self.safe:
            body = text.encode()
            packet = bytes([2, len(body) + 4]) + body + binascii.crc_hqx(body, 0).to_bytes(2, "big") + b"\x03"
            return packet.decode("latin-1")
        return f"\x02{text}\x03" if reply else f"{text}\r"

    def wire(self, address: int, command: str, answer: str | None = None, **fields: Any) -> None:
        self.now += TOOK
        answer = self.status[address] if answer is None else answer
        received = self.frame(f"{address:02d}{answer}", True) if answer != "none" else ""
        sent = self.frame(f"{address:02d}{command}", False)
        self.event("wire", port=self.port(address), sent=sent, received=received, **fields)

    def book(self, address: int, rate: float, early: float = TOOK / 2, half: float = TOOK / 2) -> None:
        at = self.now - early
        done = self.run[address] * (at - self.since[address]) / 3600
        self.volume[address] += max(done, 0.0)
        self.drawn[address] += max(-done, 0.0)
        self.since[address], self.run[address] = at, rate
        if self.booked:
            self.event("rate", role=self.names[address], rate_ml_h=rate, from_s=at, half_s=half)

    def set(self, address: int, rate: float) -> None:
        running = self.status[address] in "IW"
        self.wire(address, f"RAT{rate:g}" + ("" if running else "MH"))
        self.rate[address] = rate
        if running:
            self.book(address, self.way[address] * rate)

    def turn(self, address: int, way: int) -> None:
        self.wire(address, "DIRINF" if way > 0 else "DIRWDR")
        self.way[address] = way

    def start(self, address: int) -> None:
        self.status[address] = "I" if self.way[address] > 0 else "W"
        self.wire(address, "RUN")
        self.book(address, self.way[address] * self.rate[address])

    def halt(self, address: int) -> None:
        self.status[address] = "P"
        self.wire(address, "STP")
        self.book(address, 0.0)
        self.status[address] = "S"
        self.wire(address, "STP")
        self.wire(address, "")

    def verified(self, address: int) -> None:
        self.event("stopped", role=self.names[address], problem="")

    def settle(self, address: int) -> None:
        for role, told in ((self.names[address], self.volume), (f"{self.names[address]} refill", self.drawn)):
            if told is self.volume or told[address]:
                counted = round(told[address], 3)
                inf, wdr = round(self.volume[address], 3), round(self.drawn[address], 3)
                self.wire(address, "DIS", f"SI{inf:.3f}W{wdr:.3f}ML")
                self.event("volume", role=role, commanded_ml=told[address], counted_ml=counted, uncertainty_ml=0.01)

    def wait(self, seconds: float) -> None:
        """Asks for the status of each pump, five times a second."""
        for _ in range(round(seconds / 0.2)):
            self.now += 0.2 - TOOK * len(self.names)
            for address in self.names:
                self.wire(address, "")

    def go(self) -> None:
        """Arms and starts, the antisolvent first, and ramps."""
        for address in (A, P):
            self.wire(address, "VER", "A?R")
            self.event("acknowledged", pump=f"the {self.names[address]} pump (NE-1010, address {address})", alarm="R")
            self.wire(address, "VER", "SNE1010V3.923")
        self.set(A, 500.0)
        self.set(P, 6.0)
        self.start(A)
        self.start(P)
        self.wait(1.0)
        self.set(A, 5000.0)
        self.set(P, 60.0)
        self.wait(2.0)

    def stop(self, *order: int) -> None:
        order = order or (P, A)
        self.event("stop", reason="")
        for address in order:
            self.halt(address)
            self.verified(address)
        for address in order:
            self.settle(address)

    def end(self, status: str = "completed") -> Replay:
        self.event("end", status=status)
        self.journal.close()
        return replay(self.journal.path)


@pytest.fixture
def tale(tmp_path: Path) -> Tale:
    return Tale(tmp_path / "journal-x.jsonl")


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("booked", [False, True])
@pytest.mark.parametrize("ports", [False, True])
def test_a_run_that_kept_the_rules_is_ok(tmp_path: Path, safe: bool, booked: bool, ports: bool) -> None:
    tale = Tale(tmp_path / "j.jsonl", safe=safe, ports=ports)
    tale.booked = booked
    tale.go()
    tale.stop()
    found = tale.end()
    assert found.ok, found.lines()
    assert found.exchanges == 18 + 2 * 15 and not found.unparsed
    assert [volume.role for volume in found.volumes] == ["precursor", "antisolvent"]
    antisolvent = found.volumes[1]
    told = (500 * (1 + 3 * TOOK) + 5000 * (2 + 4.0 * TOOK)) / 3600
    assert antisolvent.recorded_ml == pytest.approx(told, rel=0.05)
    assert antisolvent.within_ml / told == pytest.approx(1e-6, rel=0.1) if booked else antisolvent.within_ml < 0.25
    assert "kept every rule" in found.lines()[-1]


def test_pumps_that_take_turns_are_followed(tmp_path: Path) -> None:
    tale = Tale(tmp_path / "j.jsonl", turns=True)
    tale.go()
    tale.set(B, 5000.0)
    tale.start(B)
    tale.set(A, 500.0)
    tale.halt(A)
    tale.turn(A, -1)
    tale.set(A, 4000.0)
    tale.start(A)
    tale.wait(3.0)
    tale.halt(A)
    tale.stop(P, B, A)
    found = tale.end()
    assert found.ok, found.lines()
    refill = next(volume for volume in found.volumes if volume.role == "antisolvent refill")
    assert refill.replayed_ml == pytest.approx(4000 * (3 + TOOK) / 3600)


def test_simulated_pumps_are_found_on_a_port_that_no_plan_names(tmp_path: Path) -> None:
    tale = Tale.__new__(Tale)
    names: dict[int, str] = {}
    tale.port = lambda address: "simulated" if not names else "/tmp/pumps/port"  # type: ignore[method-assign]
    tale.__init__(tmp_path / "j.jsonl")  # type: ignore[misc]
    names[0] = "from here on"
    tale.go()
    tale.stop()
    found = tale.end()
    assert found.ok, found.lines()
    assert found.exchanges == 18 + 2 * 15


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda tale: tale.stop(A, P), "antisolvent pump was told to stop before the precursor"),
        (lambda tale: (tale.halt(A), tale.stop()), "precursor flowed without antisolvent"),
        (lambda tale: (tale.wire(A, "DIS", "A?S"), tale.set(P, 50.0), tale.stop()), "told to move after the alarm S"),
        (lambda tale: (tale.event("trip", rule="Within", reason="3 bar"), tale.wait(0.2),
                       tale.set(A, 50.0), tale.stop()), "told to move after the trip (3 bar)"),
        (lambda tale: (tale.event("alarm", role="antisolvent", alarm="S"), tale.wait(0.2),
                       tale.start(A), tale.stop()), "told to move after the alarm"),
        (lambda tale: (tale.wire(A, "DIS", "A?S"), tale.event("acknowledged", role="antisolvent", alarm="S"),
                       tale.stop()), "acknowledged by the run itself"),
        (lambda tale: (tale.set(A, 7000.0), tale.stop()), "told 7000 mL/h; allowed are 0.1 to 6000"),
        (lambda tale: (tale.event("stop"), tale.halt(P), tale.halt(A), tale.verified(P)), "not verified as stopped"),
        (lambda tale: (tale.stop(), tale.event("NOT STOPPED", role="precursor")), "precursor pump was not verified"),
        (lambda tale: (tale.stop(), tale.wire(P, "", "I")), "was not that it stands"),
        (lambda tale: (tale.volume.update({A: 3.0}), tale.stop()), "NOT AS RECORDED"),
        (lambda tale: (tale.stop(), tale.wire(A, "DIS", "SI9.000W0.000ML"), tale.event(
            "volume", role="antisolvent", commanded_ml=tale.volume[A], counted_ml=8.0)), "its pump 9 mL"),
        (lambda tale: (tale.event("rate", role="precursor", rate_ml_h=70.0, from_s=tale.now), tale.stop()),
         "70 mL/h of the precursor pump"),
    ],
)  # fmt: skip
def test_each_rule_that_was_broken_is_found(tale: Tale, spoil: Callable[[Tale], object], words: str) -> None:
    tale.go()
    spoil(tale)
    found = tale.end("failed")
    assert not found.ok
    assert words in "\n".join(found.lines())


@pytest.mark.parametrize(("alarm", "ok"), [("R", True), ("T", True), ("S", False)])
def test_only_a_harmless_alarm_is_acknowledged_before_the_run(tale: Tale, alarm: str, ok: bool) -> None:
    tale.wire(A, "VER", f"A?{alarm}")
    tale.event("acknowledged", role="antisolvent", alarm=alarm)
    tale.go()
    tale.stop()
    assert tale.end().ok is ok


def test_a_move_before_the_alarm_is_acknowledged_is_found(tale: Tale) -> None:
    tale.wire(A, "VER", "A?R")
    tale.start(A)
    tale.stop()
    assert "before its alarm was acknowledged" in "\n".join(tale.end().broken)


def test_a_command_that_was_on_its_way_already_is_no_breach(tmp_path: Path) -> None:
    tale = Tale(tmp_path / "j.jsonl", ports=True)
    tale.go()
    tale.wire(A, "DIS", "A?S")
    tale.set(P, 50.0)
    tale.status[A] = "S"
    tale.stop()
    found = tale.end("failed")
    assert found.ok, found.lines()


def test_a_journal_without_end_is_told(tale: Tale) -> None:
    tale.go()
    tale.stop()
    tale.journal.close()
    found = replay(tale.journal.path)
    assert not found.ok
    assert "no end" in "\n".join(found.broken)


def test_a_journal_that_was_changed_is_not_ok(tale: Tale) -> None:
    tale.go()
    tale.stop()
    assert tale.end().ok
    path = tale.journal.path
    path.write_bytes(path.read_bytes().replace(b"RAT5000", b"RAT5001"))
    found = replay(path)
    assert not found.ok
    assert "BROKEN at line" in found.lines()[0]


@pytest.mark.parametrize(("status", "ok"), [("completed", False), ("failed", True)])
def test_what_cant_be_understood_is_counted(tale: Tale, status: str, ok: bool) -> None:
    tale.go()
    tale.event("wire", port=tale.port(A), sent="00DIS\r", received="\x0200Igarb\xffge\x03")
    tale.event("wire", port=tale.port(A), sent="00DIS\r", received="\x0201I\x03")
    tale.event("wire", port=tale.port(A), sent="00DIS\r", received="", problem="nothing came")
    tale.stop()
    found = tale.end(status)
    assert (len(found.unparsed), found.spoilt, found.ok) == (2, 1, ok)
    assert "address 1 answers" in found.unparsed[1]


def test_a_damaged_packet_that_was_asked_for_again_is_no_fault(tmp_path: Path) -> None:
    tale = Tale(tmp_path / "j.jsonl", safe=True)
    tale.go()
    whole = tale.frame("00I", True)
    tale.event("wire", port=tale.port(A), sent=tale.frame("00DIS", False), received=whole[:3] + "9" + whole[4:])
    tale.stop()
    found = tale.end()
    assert (found.damaged, found.ok) == (1, True)


def test_an_alarm_that_was_pushed_is_heard(tmp_path: Path) -> None:
    tale = Tale(tmp_path / "j.jsonl", safe=True)
    tale.go()
    pushed = tale.frame("00A?T", True)
    tale.event("wire", port=tale.port(A), sent="", received=pushed, problem="the antisolvent pump heard nothing")
    tale.set(A, 100.0)
    tale.stop()
    assert "after the alarm T" in "\n".join(tale.end("failed").broken)


def test_a_port_that_is_gone_does_not_hide_that_its_pump_came_first(tmp_path: Path) -> None:
    tale = Tale(tmp_path / "j.jsonl", ports=True)
    tale.go()
    tale.event("stop", reason="gone")
    tale.event("wire", port=tale.port(P), sent="", received="", problem="the port is gone")
    tale.halt(A)
    tale.verified(A)
    tale.event("NOT STOPPED", role="precursor", problem="gone")
    found = tale.end("failed")
    assert found.broken == ("the precursor pump was not verified as stopped",)


def test_a_stop_without_a_reply_has_stopped_nothing(tale: Tale) -> None:
    tale.go()
    tale.event("stop", reason="")
    tale.wire(P, "STP", "none")
    tale.wire(A, "STP", "none")
    tale.wait(0.4)
    tale.stop()
    found = tale.end()
    assert found.spoilt == 2
    assert found.ok, found.lines()


@pytest.mark.parametrize(("half", "ok"), [(0.4, True), (TOOK / 2, False)])
def test_a_stop_that_waited_for_its_port_is_on_the_wire(tale: Tale, half: float, ok: bool) -> None:
    """When it took effect is known as well as the run says, and no better."""
    tale.go()
    tale.event("stop", reason="")
    tale.status[P] = "P"
    tale.wire(P, "STP")
    tale.book(P, 0.0, early=0.4, half=half)
    tale.status[P] = "S"
    tale.wire(P, "STP")
    tale.wire(P, "")
    tale.verified(P)
    tale.halt(A)
    tale.verified(A)
    found = tale.end("failed")
    assert ("is not on the wire" in " ".join(found.broken)) is not ok, found.lines()


def test_a_pump_that_stalled_is_stopped_though_its_reply_tells_of_it(tmp_path: Path) -> None:
    """A Harvard pump says that it stalled in each prompt, until it moves again."""
    said = [("irate 500 m/h", ":"), ("irun", ">"), ("status", ">"), ("status", "*"), ("stp", "*"), ("status", "*")]
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.write("begin", t_s=0.0, plan={"pumps": {"antisolvent": {"port": "x", "family": "harvard"}}})
        for number, (text, prompt) in enumerate(said):
            if text == "stp":
                journal.write("stop", t_s=0.1 * number, reason="")
            flags = "I....." if prompt == ">" else "i.S..."
            line = f"\n0 0 1000 {flags}\r" if text == "status" else ""
            journal.write("wire", t_s=0.1 * number, port="x", sent=f"{text}\r", received=f"{line}\n{prompt}\x11")
            if text == "irun":
                journal.write("rate", t_s=0.1, role="antisolvent", rate_ml_h=500.0, from_s=0.1, half_s=0.01)
        journal.write("rate", t_s=0.5, role="antisolvent", rate_ml_h=0.0, from_s=0.4, half_s=0.01)
        journal.write("stopped", t_s=0.5, role="antisolvent", problem="")
        journal.write("end", t_s=0.5, status="failed")
    found = replay(tmp_path / "j.jsonl")
    assert found.ok, found.lines()


def test_unknown_events_and_a_foreign_family_are_passed_over(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.write("begin", t_s=0.0, plan={"pumps": {"precursor": {"port": "x", "address": 0, "family": "other"}}})
        journal.write("weather", t_s=0.0, sun=True)
        journal.write("wire", t_s=0.1, port="x", sent="?", received="!")
        journal.write("stopped", t_s=0.2, role="precursor", problem="")
        journal.write("end", t_s=0.3, status="completed")
    found = replay(tmp_path / "j.jsonl")
    assert (found.unread, found.ok) == (1, True)
    assert "not read here" in "\n".join(found.lines())


@pytest.mark.parametrize("first", [{}, {"plan": 3}, {"plan": {}}])
def test_the_journal_of_something_else_is_refused(tmp_path: Path, first: dict[str, Any]) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.write("begin", **first)
    with pytest.raises(BadInput, match="not the journal of a run"):
        replay(tmp_path / "j.jsonl")


def test_an_entry_that_makes_no_sense_is_refused(tale: Tale) -> None:
    tale.journal.write("wire", t_s="noon", port="x")
    with pytest.raises(BadInput, match="can't be understood"):
        tale.end()


def _harvard(rates: list[tuple[float, float]], wrong: str = "") -> list[tuple[float, str, str]]:
    """Two pumps of a chain, of which only the first answers commands: times, sent, received."""
    said: list[tuple[float, str, str]] = []
    now = 0.0

    def tell(address: int, text: str, prompt: str, line: str = "") -> None:
        nonlocal now
        now += 0.01
        head = f"{address:02d}" if address else ""
        silent = address and (text.split()[0] in ("irun", "stp", "cvolume") or " m/h" in text)
        body = f"\n{head}{':' if head else ''}{line}\r" if line else ""
        said.append((now, f"{head}{text}\r", "" if silent else f"{body}\n{head}{prompt}\x11"))

    for address, (low, _) in enumerate(rates):
        tell(address, f"irate {low:g} m/h", ":")
        tell(address, "irate", ":", f"{low:g} ml/hr")
    for address in range(len(rates)):
        tell(address, "irun", ">")
        tell(address, "status", ">", "0 0 0 I...I.")
    now += 1.0
    for address, (_, high) in enumerate(rates):
        tell(address, f"irate {high:g} m/h", ">")
        tell(address, "irate", ">", f"{high:g} ml/hr")
    now += 2.0
    for address in (1, 0):
        tell(address, "stp", ":")
        tell(address, "status", wrong or ":", "0 0 1500000000000 i...i.")
    return said


@pytest.mark.parametrize(("wrong", "ok"), [("", True), (">", False)])
def test_a_chain_of_harvard_pumps_is_followed(tmp_path: Path, wrong: str, ok: bool) -> None:
    told = (500 * 1.04 + 5000 * 2.05) / 3600
    with Journal(tmp_path / "j.jsonl") as journal:
        pumps = {name: {"port": "x", "address": address, "family": "harvard"} for address, name in NAMES.items()}
        del pumps["antisolvent-2"]
        journal.write("begin", t_s=0.0, plan={"pumps": pumps})
        for at, sent, received in _harvard([(500.0, 5000.0), (6.0, 60.0)], wrong):
            if at > 3.0 and sent == "01stp\r":
                journal.write("stop", t_s=at - 0.01, reason="")
            journal.write("wire", t_s=at, port="x", sent=sent, received=received)
        for name in ("precursor", "antisolvent"):
            journal.write("stopped", t_s=at, role=name, problem="")
        journal.write("volume", t_s=at, role="antisolvent", commanded_ml=told, counted_ml=1.5)
        journal.write("end", t_s=at, status="completed")
    found = replay(tmp_path / "j.jsonl")
    assert not found.unparsed, found.lines()
    assert found.ok is ok, found.lines()
    assert found.volumes[0].replayed_ml == pytest.approx(told, rel=0.05)
    assert found.volumes[0].within_ml < 1.0
