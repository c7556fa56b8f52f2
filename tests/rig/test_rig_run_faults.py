"""What every fault in a run ends in: both pumps stopped, and all of it written."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig_runs import OF_THE_LINK, Spoiler, assert_stopped_and_written, only_journal

from twin.case import Case
from twin.rig import Clock, Latch, NotStopped, Progress, PumpAlarm, RigError, Setpoint, read, rig_folder, run, verify
from twin.rig.operation.session import GUARD_S, Session
from twin.rig.planning.limits import ROLES
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine

pytestmark = pytest.mark.usefixtures("hasty_disk")


@pytest.mark.parametrize("address", [0, 1])
@pytest.mark.parametrize("fault", [Fault.STALL, Fault.RESET, *OF_THE_LINK])
def test_every_fault_stops_both_pumps(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, fault: Fault, address: int
) -> None:
    spoil = Spoiler("ramp", 3, lambda: line.inject(fault, address, times=3))
    with pytest.raises(RigError) as caught:
        run(case, setpoint, clock=clock, simulator=line, on_progress=spoil)
    assert not isinstance(caught.value, NotStopped)
    if fault in (Fault.STALL, Fault.RESET):
        assert isinstance(caught.value, PumpAlarm)
        assert ROLES[address] in caught.value.message
    entries = assert_stopped_and_written(case, line, latched=True)
    assert caught.value.message in (entry.get("reason") for entry in entries)
    assert entries[-1]["reason"] == caught.value.message


@pytest.mark.parametrize("address", [0, 1])
def test_a_pump_that_is_silent_at_arming_is_named(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, address: int
) -> None:
    """Nobody has started it, so there is nothing to latch; but nobody knows what it does either."""
    line.inject(Fault.SILENCE, address)
    with pytest.raises(RigError, match="nothing came") as caught:
        run(case, setpoint, clock=clock, simulator=line)
    assert not isinstance(caught.value, NotStopped)
    (note,) = [text for text in caught.value.__notes__ if "not verified" in text]
    assert f"the {ROLES[address]} pump" in note and "did not start it" in note
    assert Latch(rig_folder(case)).reason() is None


@pytest.mark.parametrize("address", [0, 1])
def test_one_damaged_reply_is_asked_for_again(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, address: int
) -> None:
    """A checksum tells damage from a lie, so that asking twice does no harm. A change is never sent twice."""
    spoil = Spoiler("hold", 3, lambda: line.inject(Fault.BAD_CRC, address, times=1))
    assert run(case, setpoint, hold_s=2.0, clock=clock, simulator=line, on_progress=spoil).ok
    entries = assert_stopped_and_written(case, line, "completed")
    assert sum("checksum" in entry.get("problem", "") for entry in entries) <= 1


def test_a_cable_that_is_pulled_out_ends_the_run_and_the_pumps_stop_by_themselves(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    with pytest.raises(NotStopped, match=r"the precursor pump .* and the antisolvent pump") as caught:
        run(case, setpoint, clock=clock, simulator=line, on_progress=Spoiler("hold", 1, line.unplug))
    assert "is gone" in caught.value.message
    clock.sleep(GUARD_S)
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    assert Latch(rig_folder(case)).reason() is not None


@pytest.mark.parametrize("fault", OF_THE_LINK)
def test_a_pump_that_goes_for_good_does_not_keep_the_other_from_stopping(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, fault: Fault
) -> None:
    spoil = Spoiler("hold", 1, lambda: line.inject(fault, 1))
    with pytest.raises(NotStopped, match="NOT VERIFIED AS STOPPED: the precursor pump") as caught:
        run(case, setpoint, clock=clock, simulator=line, on_progress=spoil)
    assert "antisolvent" not in caught.value.message
    assert line.state(0)[0] == "S"
    assert line.state(1)[0] == "S"  # one that hears nothing stops by its own timer
    checked = verify(only_journal(case))
    assert checked.intact
    assert checked.ended
    events = [entry["event"] for entry in read(checked.path)]
    assert "NOT STOPPED" in events
    assert "stopped" in events


def test_a_syringe_that_runs_out_stops_both(case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock) -> None:
    line.pumps[0].volume_ml = 20.0
    with pytest.raises(PumpAlarm, match=r"antisolvent pump .* stalled"):
        run(case, setpoint, clock=clock, simulator=line)
    assert_stopped_and_written(case, line, latched=True)
    assert line.state(0)[1] == pytest.approx(20.0)


def test_an_alarm_as_late_as_the_stop_is_told(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Session._stop

    def stalled(self: Session, reason: BaseException | None) -> NotStopped | None:
        line.inject(Fault.STALL, 1)
        return plain(self, reason)

    monkeypatch.setattr(Session, "_stop", stalled)
    with pytest.raises(PumpAlarm, match=r"precursor pump .* stalled"):
        run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    assert_stopped_and_written(case, line, latched=True)


def test_a_pump_that_was_stopped_at_its_keys_ends_the_run(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    def press() -> None:
        line.pumps[1].status = "P"

    with pytest.raises(RigError, match=r"precursor pump .* does something else than it was told: it says paused"):
        run(case, setpoint, clock=clock, simulator=line, on_progress=Spoiler("hold", 3, press))
    assert_stopped_and_written(case, line, latched=True)


def test_a_pump_that_runs_already_is_stopped_and_refused(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    line.pumps[1].execute("", 0.0)
    line.pumps[1].status = "I"
    with pytest.raises(RigError, match="was not at rest"):
        run(case, setpoint, clock=clock, simulator=line)
    assert_stopped_and_written(case, line, latched=True)


def test_an_alarm_other_than_of_switching_on_needs_the_operator(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    line.pumps[0].execute("", 0.0)
    line.inject(Fault.STALL, 0)
    with pytest.raises(PumpAlarm, match="stalled"):
        run(case, setpoint, clock=clock, simulator=line)
    assert b"00RUN" not in line.heard
    assert_stopped_and_written(case, line, latched=True)


@pytest.mark.parametrize(
    "error", [ValueError("a broken progress bar"), OSError("no space"), KeyboardInterrupt(), SystemExit(3)]
)
@pytest.mark.parametrize("kind", ["armed", "ramp", "hold"])
def test_whatever_is_raised_stops_both_and_comes_out(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, error: BaseException, kind: str
) -> None:
    """A fault latches the rig once a pump may have moved; what ends the program is the operator's own."""

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run(case, setpoint, clock=clock, simulator=line, on_progress=Spoiler(kind, 1, fail))
    assert caught.value is error
    assert any("journal" in note for note in error.__notes__)
    assert_stopped_and_written(case, line, latched=isinstance(error, Exception) and kind != "armed")
    del error.__notes__


def test_an_error_says_that_the_pumps_stand(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, tmp_path: Path
) -> None:
    def spoil(progress: Progress) -> None:
        if progress.kind == "hold":
            line.inject(Fault.STALL, 1)

    with pytest.raises(PumpAlarm, match="stalled") as caught:
        run(case, setpoint, hold_s=5, folder=tmp_path, clock=clock, simulator=line, on_progress=spoil)
    assert "every pump that was started was verified stopped" in caught.value.__notes__
