"""Whole runs on the simulated rig: the volumes, the order, and how often the pumps are looked at."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from rig_lines import chained
from rig_runs import RESOLUTION_ML, Spoiler, assert_stopped_and_written

from twin.case import Case
from twin.errors import BadInput
from twin.rig import Clock, Progress, RigError, RunResult, Setpoint, check, load_setpoint, read, rig_folder, run, verify
from twin.rig.bench import simulated_pumps
from twin.rig.clock import VirtualClock
from twin.rig.planning.limits import ROLES, equipment
from twin.rig.pumps.drivers import baud_of
from twin.rig.record.replay import replay
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine

pytestmark = pytest.mark.usefixtures("hasty_disk")


def test_a_run_delivers_what_it_was_told(case: Case, setpoint: Setpoint) -> None:
    """The default: both pumps simulated, ten times as fast as the wall."""
    seen: list[Progress] = []
    result = run(case, setpoint, on_progress=seen.append)
    assert isinstance(result, RunResult)
    assert result.ok
    assert result.speed == 10.0
    assert result.wall_s > 2.0
    told = {"antisolvent": (5000 * 0.1 * sum(0.1 + 0.9 * n / 50 for n in range(50)) + 5000 * 20) / 3600}
    told["precursor"] = told["antisolvent"] * 60 / 5000
    assert list(result.balances) == list(ROLES)
    for role, balance in result.balances.items():
        assert balance.agrees
        assert balance.commanded_ml == pytest.approx(told[role], rel=0.1)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.85
    assert seen[-1].rates_ml_h == {"antisolvent": 5000.0, "precursor": 60.0}
    assert seen[-1].left_ml["antisolvent"] < 50 - 20
    entries = read(result.journal)
    assert verify(result.journal).ended
    assert entries[0]["plan"]["checksum"] == setpoint.checksum
    assert sum(entry["event"] == "acknowledged" for entry in entries) == 2
    assert "both simulated pumps verified stopped" in "\n".join(result.lines())


def test_the_bytes_of_a_run_are_those_of_the_dry_run(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    """Byte by byte, frames and all, but for the looks: how many of them fit in depends on the clock."""
    dry = [entry.message for entry in check(case, setpoint).sent if not entry.poll]
    result = run(case, setpoint, clock=clock, simulator=line)
    wire = [entry["sent"].encode("latin-1") for entry in read(result.journal) if entry["event"] == "wire"]
    assert [message for message in wire if message and b"DIS" not in message] == dry
    assert len(dry) > 200  # a ramp of fifty steps, two pumps, each rate read back


def test_once_the_timer_is_armed_every_byte_is_in_a_packet(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    result = run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    wire = [entry["sent"].encode("latin-1") for entry in read(result.journal) if entry["event"] == "wire"]
    for address in (b"00", b"01"):
        own = [message for message in wire if address in message[:4]]
        armed, freed = (
            next(index for index, message in enumerate(own) if command in message) for command in (b"SAF4", b"SAF0")
        )
        assert not any(message.startswith(b"\x02") for message in own[: armed + 1])
        assert all(message.startswith(b"\x02") and message.endswith(b"\x03") for message in own[armed + 1 : freed + 1])
        assert {b"RUN", b"STP"} <= {message[4:7] for message in own[armed:freed]}
        assert not any(message.startswith(b"\x02") for message in own[freed + 1 :])


def test_the_antisolvent_starts_first_and_the_precursor_stops_first(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    motions = [message for message in line.heard if message.endswith((b"RUN", b"STP"))]
    assert motions[:4] == [b"00RUN", b"01RUN", b"01STP", b"00STP"]
    assert_stopped_and_written(case, line, "completed")


def test_a_second_run_finds_the_pumps_as_the_first_left_them(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    for _ in range(2):
        assert run(case, setpoint, hold_s=2.0, clock=clock, simulator=line).ok


@pytest.mark.parametrize("precursor", [10.0, 60.0])
def test_the_volumes_agree_within_half_a_percent(
    case: Case, propose: Callable[..., Path], line: MemoryLine, clock: Clock, precursor: float
) -> None:
    result = run(case, load_setpoint(propose(5000.0, precursor), case), clock=clock, simulator=line)
    ramp = 0.1 * sum(0.1 + 0.9 * step / 50 for step in range(50))
    for address, (role, rate) in enumerate({"antisolvent": 5000.0, "precursor": precursor}.items()):
        balance = result.balances[role]
        assert balance.commanded_ml == pytest.approx(rate * (ramp + 20) / 3600, rel=2e-3)
        # The motor needs a moment for each rise: in sum 25 ms of the whole flow, 0.1 % of this volume.
        assert -0.15 < balance.difference_percent < 0.02
        assert abs(balance.difference_percent) < balance.uncertainty_percent < 0.35
        assert line.state(address)[1] == pytest.approx(balance.counted_ml, abs=2 * RESOLUTION_ML[role])


def test_the_ledger_notices_a_slow_pump(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    """The check of the volumes can fail."""
    line.inject(Fault.SLOW, 1)
    result = run(case, setpoint, clock=clock, simulator=line)
    assert not result.ok
    assert result.balances["antisolvent"].agrees
    # 3 % by its clock, and what the motor takes from either pump.
    healthy = result.balances["antisolvent"].difference_percent
    assert result.balances["precursor"].difference_percent == pytest.approx(healthy - 3.0, abs=0.05)
    assert "DISAGREE" in "\n".join(result.lines())


def test_the_pumps_are_looked_at_until_the_end(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    spoil = Spoiler("hold", 1, lambda: line.inject(Fault.MUTE, 1, times=1))
    with pytest.raises(RigError, match="nothing came from"):
        run(case, setpoint, hold_s=0.5, clock=clock, simulator=line, on_progress=spoil)
    assert_stopped_and_written(case, line, latched=True)


def test_each_pump_is_looked_at_five_times_a_second(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    result = run(case, setpoint, hold_s=5.0, clock=clock, simulator=line)
    entries = read(result.journal)
    begin = next(entry["t_s"] for entry in entries if entry["event"] == "start" and entry["role"] == "precursor")
    end = next(entry["t_s"] for entry in entries if entry["event"] == "stop")
    for address in ("00", "01"):
        asked = [e["t_s"] for e in entries if e["event"] == "wire" and f"{address}DIS" in e["sent"]]
        times = [begin, *(at for at in asked if begin < at < end), end]
        assert max(later - earlier for earlier, later in pairwise(times)) < 0.4  # on a ramp new rates come first


@pytest.mark.parametrize("think_s", [0.004, 0.016, 0.04])
@pytest.mark.parametrize("harvard", [False, True])
def test_pumps_that_think_before_they_answer_are_looked_at_in_a_ramp_as_well(
    case: Case, setpoint: Setpoint, clock: VirtualClock, harvard: bool, think_s: float
) -> None:
    """New rates ten times a second then take all the time that there is, and some are left out."""
    case = chained(case) if harvard else case
    baud = baud_of("harvard" if harvard else "newera")
    line = MemoryLine(simulated_pumps(equipment(case)), clock, baud, think_s)
    result = run(case, setpoint, hold_s=3.0, clock=clock, simulator=line)
    assert result.ok, result.lines()
    ramp = [entry["t_s"] for entry in read(result.journal) if entry["event"] == "ramp"]
    for role in ("antisolvent", "precursor"):
        looks = [one["t_s"] for one in read(result.journal) if one["event"] == "look" and role in one["counted_ml"]]
        within = [ramp[0], *(t_s for t_s in looks if ramp[0] < t_s < ramp[-1])]
        assert max(later - earlier for earlier, later in pairwise(within)) < 1.2
    assert replay(result.journal).ok


def test_two_runs_at_once_are_refused(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    caught = []

    def again() -> None:
        try:
            run(case, setpoint)
        except RigError as error:
            caught.append(error.message)

    run(case, setpoint, hold_s=2.0, clock=clock, simulator=line, on_progress=Spoiler("hold", 1, again))
    assert len(caught) == 1
    assert "another run holds this rig: process" in caught[0]


def test_real_pumps_are_not_accelerated(case: Case, setpoint: Setpoint) -> None:
    real = case.model_copy(
        update={
            "rig": case.rig.model_copy(
                update={"antisolvent": case.rig.antisolvent.model_copy(update={"port": "/dev/x"})}
            )
        }
    )
    with pytest.raises(BadInput, match="real pumps"):
        run(real, setpoint, clock=Clock(10.0))
    assert not rig_folder(case).exists()
