"""Looking for pumps: what answers, and that nothing is changed by asking."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from rig_lines import simulated

from twin.errors import BadInput
from twin.rig.clock import Clock, VirtualClock
from twin.rig.commissioning.detect import BAUDS, Found, scan
from twin.rig.errors import RigError
from twin.rig.port import Note, Port
from twin.rig.pumps.drivers import baud_of
from twin.rig.simulated.line import SimulatedLine
from twin.rig.simulated.memory import MemoryLine


class Deaf:
    """At the wrong speed a device hears noise, and what it says is noise; `says` makes it answer anything."""

    def __init__(self, clock: VirtualClock, says: bytes = b"") -> None:
        self._clock, self._says = clock, says
        self._rest = b""

    def read(self, size: int = 1, /) -> bytes:
        data, self._rest = self._rest[:size], self._rest[size:]
        if not data:
            self._clock.pass_by(0.05)
        return data

    def write(self, data: bytes, /) -> int:
        self._rest += self._says
        return len(data)

    @property
    def in_waiting(self) -> int:
        return len(self._rest)

    def close(self) -> None:
        pass


def opener(line: MemoryLine, baud: int) -> Callable[[str, int, Note], Port]:
    def opened(url: str, speed: int, note: Note) -> Port:
        device: Any = line.device() if speed == baud else Deaf(line.clock)
        return Port(device, url, note, deadline_s=0.2, clock=line.clock)

    return opened


def chain(family: str, *addresses: int) -> MemoryLine:
    clock = VirtualClock()
    return MemoryLine({address: simulated(family) for address in addresses}, clock, baud_of(family))


def known(line: MemoryLine) -> MemoryLine:
    """Takes the alarms of being switched on."""
    for address in line.pumps:
        line._bus.hear(b"%02d\r" % address, line.clock.now())
    return line


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("baud", BAUDS["newera"])
def test_a_chain_of_new_era_is_found_at_any_speed_in_either_mode(baud: int, safe: bool) -> None:
    line = known(chain("newera", 0, 2))
    if safe:
        for address in line.pumps:
            line._bus.hear(b"%02dSAF9\r" % address, line.clock.now())
    found = scan(["P"], opener=opener(line, baud))
    mode = "safe" if safe else "basic"
    assert found == [Found("P", "newera", address, baud, mode, "NE-1010 V3.923", "stopped") for address in (0, 2)]
    assert "NE-1010" in str(found[0])


@pytest.mark.parametrize("polling", [False, True])
@pytest.mark.parametrize("baud", BAUDS["harvard"])
def test_a_harvard_pump_is_found_at_any_speed(baud: int, polling: bool) -> None:
    line = chain("harvard", 0)
    line.pumps[0].polling = polling
    (found,) = scan(["P"], opener=opener(line, baud))
    assert (found.family, found.address, found.baud, found.status) == ("harvard", 0, baud, "stopped")
    assert found.model == "11 ELITE I/W Single 3.0.4"
    assert line.pumps[0].polling is polling


def test_a_chain_of_harvard_is_found() -> None:
    line = chain("harvard", 0, 3)
    assert [found.address for found in scan(["P"], opener=opener(line, 115200))] == [0, 3]


def test_an_alarm_is_told() -> None:
    line = chain("newera", 1)
    (found,) = scan(["P"], opener=opener(line, 19200))
    assert found.model == "NE-1010 V3.923"
    assert "A?R" in found.status


@pytest.mark.parametrize("family", ["newera", "harvard"])
def test_asking_moves_and_changes_nothing(family: str) -> None:
    line = known(chain(family, 0))
    pump: Any = line.pumps[0]
    kept = {key: copy.deepcopy(value) for key, value in vars(pump).items() if not key.startswith(("_then", "ear"))}
    line.heard.clear()
    scan(["P"], opener=opener(line, baud_of(family)))
    for key, value in kept.items():
        now = getattr(pump, key)
        assert vars(now) == vars(value) if hasattr(value, "__dict__") else now == value, key
    said = {command.lstrip(b"0123\x02").upper() for command in line.heard}
    assert said <= {b"VER", b""}, said


def test_a_pump_that_runs_is_seen_to_run_and_goes_on() -> None:
    line = known(chain("newera", 0))
    line._bus.hear(b"00RAT100MH\r00RUN\r", line.clock.now())
    (found,) = scan(["P"], opener=opener(line, 19200))
    assert found.status == "infusing"
    assert line.state(0)[0] == "I"


@pytest.mark.parametrize("says", [b"garbage\r\n", b"\x02", b"\n11 ELITE\r\n:", b"x" * 400, b"\x02\xff\xff\xff\x03"])
def test_a_device_that_babbles_is_an_unknown_one(says: bytes) -> None:
    clock = VirtualClock()

    def opened(url: str, baud: int, note: Note) -> Port:
        return Port(Deaf(clock, says), url, note, deadline_s=0.2, clock=clock)

    (found,) = scan(["P"], opener=opened)
    assert found.family is None
    assert "unknown device" in found.status


@pytest.mark.parametrize("error", [BadInput("no permission to open P"), RigError("P is in use by another program")])
def test_a_port_that_can_not_be_opened_does_not_hide_the_others(error: Exception) -> None:
    line = known(chain("newera", 0))

    def opened(url: str, baud: int, note: Note) -> Port:
        if url == "bad":
            raise error
        return opener(line, 19200)(url, baud, note)

    bad, good = scan(["bad", "P"], opener=opened)
    assert bad.status == str(error).splitlines()[0]
    assert good.family == "newera"


def test_a_silent_port_is_told_within_seconds() -> None:
    clock, notes = VirtualClock(), []

    def opened(url: str, baud: int, note: Note) -> Port:
        return Port(Deaf(clock), url, note, deadline_s=0.2, clock=clock)

    (found,) = scan(["P"], note=lambda *entry: notes.append(entry), opener=opened)
    assert found.status == "nothing answers"
    assert clock.now() < 10
    assert len(notes) == 4 * (2 * 2 + 5)


def test_a_real_port_is_scanned(tmp_path: Any) -> None:
    with SimulatedLine({1: simulated("newera")}, Clock()) as line:
        missing = str(tmp_path / "none")
        found = scan([line.path, missing], addresses=[1])
    assert [entry.family for entry in found] == ["newera", None]
    assert "there is no port" in found[1].status
