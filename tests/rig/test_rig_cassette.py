"""Cassettes: what a driver said to a pump, played back to the driver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rig_lines import DIAMETER_MM, simulated

from twin.errors import BadInput
from twin.rig.clock import VirtualClock
from twin.rig.commissioning.cassette import Mismatch, Recording, Replay
from twin.rig.errors import NoReply, PumpAlarm
from twin.rig.port import DEADLINE_S, Port
from twin.rig.pumps.drivers import baud_of, driver
from twin.rig.pumps.protocol import Pump
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine

FAMILIES = ["newera", "harvard"]


def pump_on(device: Any, family: str, clock: VirtualClock) -> Pump:
    return driver(family, Port(device, "memory", deadline_s=DEADLINE_S, clock=clock), 0, "the pump", None, clock)


def story(pump: Pump, clock: VirtualClock, guard_s: float = 5.0) -> list[Any]:
    """What a run does with a pump, and all that it learns."""
    seen: list[Any] = []
    try:
        seen.append(pump.identify())
    except PumpAlarm as alarm:
        seen.append((alarm.code, pump.acknowledge(), pump.identify()))
    seen.append(pump.guard(guard_s))
    pump.prepare(DIAMETER_MM, fine=True)
    pump.set_rate_ml_h(100.0)
    pump.start()
    for rate in (120.0, 150.0):
        clock.sleep(1.0)
        seen.append(pump.dispensed())
        pump.set_rate_ml_h(rate)
    clock.sleep(1.0)
    pump.stop()
    seen += [pump.dispensed(), pump.rate_ml_h(), pump.status(), pump.changed]
    pump.guard(0)
    return seen


def recorded(path: Path, family: str) -> list[Any]:
    clock = VirtualClock()
    line = MemoryLine({0: simulated(family)}, clock, baud_of(family))
    device = Recording(line.device(), clock, path, {"family": family, "model": "x", "baud": baud_of(family)})
    seen = story(pump_on(device, family, clock), clock)
    device.remark(verdict="good")
    device.close()
    device.close()
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_a_driver_learns_the_same_from_a_cassette_as_from_the_pump(family: str, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.jsonl"
    seen = recorded(path, family)
    clock = VirtualClock()
    tape = Replay(path, clock)
    again = story(pump_on(tape, family, clock), clock)
    assert again[:-1] == seen[:-1]
    assert again[-1].middle_s == pytest.approx(seen[-1].middle_s, abs=0.01)
    assert tape.done
    assert {key: tape.header[key] for key in ("family", "model", "baud")} == {
        "family": family, "model": "x", "baud": baud_of(family)
    }  # fmt: skip
    assert "utc" in tape.header
    assert tape.remarks == [{"verdict": "good"}]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_driver_that_says_something_else_is_shown_both(family: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    recorded(path, family)
    path.write_text(path.read_text().replace("120", "121"))
    clock = VirtualClock()
    with pytest.raises(Mismatch) as caught:
        story(pump_on(Replay(path, clock), family, clock), clock)
    assert "120" in caught.value.message
    assert "121" in caught.value.message


def test_nothing_comes_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    recorded(path, "newera")
    clock = VirtualClock()
    pump = pump_on(Replay(path, clock), "newera", clock)
    story(pump, clock)
    with pytest.raises(Mismatch, match="nothing more"):
        pump.status()


def test_a_silence_and_an_alarm_that_was_pushed_are_played_as_they_were(tmp_path: Path) -> None:
    path, told = tmp_path / "a.jsonl", []

    def quiet(pump: Pump, clock: VirtualClock, silence: Any) -> None:
        with pytest.raises(PumpAlarm):
            pump.identify()
        pump.acknowledge()
        pump.guard(2)
        silence()
        with pytest.raises(NoReply):
            pump.status()
        clock.sleep(3.0)
        with pytest.raises(PumpAlarm) as alarm:
            pump.status()
        told.append((alarm.value.code, round(clock.now(), 1)))

    clock = VirtualClock()
    line = MemoryLine({0: simulated("newera")}, clock)
    device = Recording(line.device(), clock, path)
    quiet(pump_on(device, "newera", clock), clock, lambda: line.inject(Fault.SILENCE, 0, times=1))
    device.close()
    again = VirtualClock()
    quiet(pump_on(Replay(path, again), "newera", again), again, lambda: None)
    assert told[0] == told[1]
    assert told[0][0] == "T"


def test_a_cable_that_is_pulled_out_is_played_too(tmp_path: Path) -> None:
    path, clock = tmp_path / "a.jsonl", VirtualClock()
    line = MemoryLine({0: simulated("newera")}, clock)
    device = Recording(line.device(), clock, path)
    line.unplug()
    with pytest.raises(OSError, match="pulled out"):
        device.write(b"00\r")
    device.close()
    tape = Replay(path, VirtualClock())
    tape.write(b"00\r")
    with pytest.raises(OSError, match="pulled out"):
        tape.read(1)


def test_a_cassette_is_never_recorded_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    recorded(path, "newera")
    with pytest.raises(BadInput, match="already"):
        recorded(path, "newera")


def test_a_cassette_that_broke_off_is_good_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    recorded(path, "newera")
    text = path.read_text()
    path.write_text(text[: text.index('"read"') + 12])
    clock = VirtualClock()
    with pytest.raises(Mismatch, match="nothing more"):  # after the silence it is asked in Safe mode
        pump_on(Replay(path, clock), "newera", clock).identify()


@pytest.mark.parametrize("text", ["", "no json\n", "[1]\n", json.dumps({"cassette": 2}) + "\n"])
def test_what_is_no_cassette_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(BadInput):
        Replay(path, VirtualClock())
