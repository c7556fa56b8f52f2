"""Randomised fault schedules, on a clock that takes no time: whatever goes wrong, everything stands, and is written."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from statistics import median

import pytest
from hypothesis import HealthCheck, given, settings
from rig_schedules import SCHEDULES, Event, Schedule, play

from twin.case import Case
from twin.rig import Setpoint
from twin.rig.simulated.faults import Fault

quiet = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk: that it is waited for is a test of the journal."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def check(case: Case, setpoint: Setpoint, where: Path, count: int, search: bool = True) -> Counter[str]:
    """Plays so many schedules: the same in every run, or with `search` others each time."""
    ends: Counter[str] = Counter()
    halves: list[float] = []

    @settings(max_examples=count, derandomize=not search, **quiet)
    @given(SCHEDULES)
    def schedules(schedule: Schedule) -> None:
        outcome = play(case, setpoint, schedule, where)
        ends[outcome.error or "completed"] += 1
        ends["bounded"] += bool(outcome.bounded)
        halves.extend(outcome.bounded)

    schedules()
    widths = f"half an interval: {median(halves):.2g} %, at most {max(halves):.2g} %" if halves else ""
    print(dict(ends), widths)
    return ends


def test_every_schedule_of_faults_ends_stopped_latched_and_written(
    case: Case, setpoint: Setpoint, tmp_path: Path
) -> None:
    ends = check(case, setpoint, tmp_path / "rig", 60, search=False)
    assert len(ends) > 3  # they do end in different ways


def test_a_pump_that_stalled_at_once_and_fell_silent_has_delivered_nothing(
    case: Case, setpoint: Setpoint, tmp_path: Path
) -> None:
    """Its counter at zero is no lost one: the stall that it tells at the next start says that it had its power."""
    events = (Event(0.0, 0, Fault.STALL, 1.0), Event(0.0, 0, Fault.SILENCE, float("inf")))
    outcome = play(case, setpoint, Schedule("short", events), tmp_path / "rig")
    assert outcome.error and not outcome.bounded and outcome.wrong_percent <= 0.5


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_ten_thousand_schedules(case: Case, setpoint: Setpoint, tmp_path: Path) -> None:
    """TWIN_SCHEDULES=1500 plays fewer of them."""
    count = int(os.environ.get("TWIN_SCHEDULES", "10000"))
    ends = check(case, setpoint, tmp_path / "rig", count)
    assert sum(ends.values()) >= count
