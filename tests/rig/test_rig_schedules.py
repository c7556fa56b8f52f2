"""Randomised fault schedules, on a clock that takes no time: whatever goes wrong, everything stands, and is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from rig_schedules import SCHEDULES, Broken, Event, Schedule, Tally, play

from twin.case import Case
from twin.rig import Setpoint
from twin.rig.simulated.faults import Fault

quiet = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


pytestmark = pytest.mark.usefixtures("hasty_disk")


def check(case: Case, setpoint: Setpoint, where: Path, count: int, search: bool = True) -> Tally:
    """Plays so many schedules: the same in every run, or with `search` others each time, all of them to the end."""
    tally = Tally()

    @settings(max_examples=count, derandomize=not search, **quiet)
    @given(SCHEDULES)
    def schedules(schedule: Schedule) -> None:
        try:
            tally.add(schedule, play(case, setpoint, schedule, where))
        except Broken as error:
            if not search:
                raise
            tally.add(schedule, error)
        if tally.count % 500 == 0:
            print(tally, flush=True)

    schedules()
    print(tally)
    return tally


def test_every_schedule_of_faults_ends_stopped_latched_and_written(
    case: Case, setpoint: Setpoint, tmp_path: Path
) -> None:
    tally = check(case, setpoint, tmp_path / "rig", 60, search=False)
    assert len(tally.ends) > 3  # they do end in different ways


@pytest.mark.parametrize("link", [Fault.SILENCE, Fault.UNPLUGGED])
def test_a_pump_that_stalled_at_once_and_fell_silent_has_delivered_nothing(
    case: Case, setpoint: Setpoint, tmp_path: Path, link: Fault
) -> None:
    """Its counter at zero is no lost one: it would have told of a power cut, since every command was answered."""
    events = (Event(0.0, 0, Fault.STALL, 1.0), Event(0.0, 0, link, float("inf")))
    outcome = play(case, setpoint, Schedule("short", events), tmp_path / "rig")
    assert outcome.error and not outcome.bounded and outcome.wrong_percent <= 0.5


def test_a_pump_that_ran_on_unheard_and_lost_its_power_is_not_taken_for_one_that_stalled(
    case: Case, setpoint: Setpoint, tmp_path: Path
) -> None:
    strikes = ((0.0, Fault.UNPLUGGED), (0.0927, Fault.RESET), (0.0929, Fault.STALL))
    events = tuple(Event(share, 0, fault, 1.0) for share, fault in strikes)
    assert play(case, setpoint, Schedule("paper", events), tmp_path / "rig").unheard


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_ten_thousand_schedules(case: Case, setpoint: Setpoint, tmp_path: Path) -> None:
    """TWIN_SCHEDULES=1500 plays fewer of them."""
    count = int(os.environ.get("TWIN_SCHEDULES", "10000"))
    tally = check(case, setpoint, tmp_path / "rig", count)
    assert not tally.broken, "\n".join(f"{error}\n  {schedule}" for schedule, error in tally.broken)
    assert tally.count >= count
