"""What our driver never sends, and other programs may: changes of a running rate, and bursts to several pumps."""

from __future__ import annotations

import pytest
from rig_lines import simulated

from twin.rig.simulated.bus import Bus
from twin.rig.simulated.faults import Fault


def bus(pumps: int = 1, **options: object) -> Bus:
    """Pumps in Basic mode, their reset alarms acknowledged, set to 3600 mL/h."""
    made = Bus({address: simulated("newera", ramp_s=0.0, **options) for address in range(pumps)})
    made.power_on(0.0)
    for address in range(pumps):
        for command in ("", "DIA28.6", "RAT3600MH"):
            made.hear(f"{address}{command}\r".encode(), 0.0)
    return made


def answer(made: Bus, command: str, now: float) -> str:
    return made.hear(f"{command}\r".encode(), now)[3:-1].decode()


def test_a_running_rate_is_changed_at_once_and_not_stored() -> None:
    made = bus()
    assert answer(made, "RUN", 0.0) == "I"
    assert answer(made, "RAT C 1800", 1.0) == "I"
    assert answer(made, "RAT", 1.0) == "I1800.MH"
    assert made.state(0, 2.0)[1] == pytest.approx(1.0 + 0.5)
    assert answer(made, "RATC1800MH", 2.0) == "I?NA"  # no unit while it runs
    assert answer(made, "RATC99999", 2.0) == "I?"
    assert answer(made, "RATC9999", 2.0) == "I?OOR"
    assert answer(made, "STP", 3.0) == "P"
    assert answer(made, "STP", 3.0) == "S"
    assert answer(made, "RAT", 3.0) == "S3600.MH"
    assert answer(made, "RATC1800", 3.0) == "S?"  # nothing runs


def test_older_pumps_lack_the_running_change() -> None:
    made = bus(running_change=False)
    answer(made, "RUN", 0.0)
    assert answer(made, "RATC1800", 1.0) == "I?"
    assert answer(made, "RAT1800", 1.0) == "I"


def test_a_burst_starts_pumps_at_the_same_moment_and_its_answers_can_not_be_read() -> None:
    made = bus(3)
    heard = made.hear(b"0RUN*2 RAT C 1*2RUN*\r", 1.0)
    assert heard and not heard.startswith(b"\x02")
    assert [made.state(address, 2.0)[0] for address in range(3)] == ["I", "S", "I"]
    assert made.state(0, 2.0)[1] == made.state(2, 2.0)[1] == pytest.approx(1.0)
    assert [answer(made, str(address), 2.0) for address in range(3)] == ["I", "S", "I"]  # polled again
    assert made.heard[-4] == b"0RUN*2 RAT C 1*2RUN*"


def test_a_burst_to_one_pump_is_answered_as_ever() -> None:
    made = bus(2)
    assert made.hear(b"1RUN*\r", 0.0) == b"\x0201I\x03"
    assert made.hear(b"5RUN*\r", 0.0) == b""
    for fault, status in ((Fault.SILENCE, "S"), (Fault.MUTE, "I")):
        made.inject(fault, 0, 0.0)
        assert made.hear(b"0RUN*1RAT1800*\r", 1.0) == b"\x0201I\x03"
        assert made.state(0, 1.0)[0] == status


def test_what_only_looks_like_a_burst_is_none() -> None:
    made = bus(2)
    assert made.hear(b"0RUN*1RUN\r", 0.0) == b"\x0200S?OOR\x03"
    assert made.hear(b"*ADR1\r", 0.0).count(b"\x02") == 2


def test_a_pump_in_safe_mode_hears_no_burst() -> None:
    made = bus(2)
    made.hear(b"1SAF9\r", 0.0)
    assert made.hear(b"0RUN*1RUN*\r", 0.0) == b"\x0200I\x03"
    assert made.state(1, 1.0)[0] == "S"
