"""When the safety itself is hindered: a disk that hangs or is full, a pump that does not obey, an edited case."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from twin.case import Case
from twin.cli.main import main
from twin.errors import BadInput, TwinError
from twin.rig import Clock, Latch, NotStopped, RigError, Setpoint, Tripped, Volumes, rig_folder, run
from twin.rig.operation.drive import Drive
from twin.rig.operation.evidence import Bounds
from twin.rig.operation.latch import Latched
from twin.rig.operation.runlock import RunLock, died, last
from twin.rig.operation.session import Session
from twin.rig.planning.limits import Place, equipment, places
from twin.rig.pumps.newera import NewEraPump
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine

pytestmark = pytest.mark.usefixtures("hasty_disk")


def test_a_pump_that_runs_on_keeps_its_account_open(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What still moves has not been counted to its end."""
    deaf = lambda pump: pump.name.startswith("the antisolvent")  # noqa: E731
    stop, request = NewEraPump.stop, NewEraPump.request_stop

    def refuse(pump: NewEraPump, deadline_s: float = 5.0) -> None:
        if deaf(pump):
            raise NotStopped([pump.name], "it does not obey")
        stop(pump, deadline_s)

    monkeypatch.setattr(NewEraPump, "stop", refuse)
    monkeypatch.setattr(NewEraPump, "request_stop", lambda pump: None if deaf(pump) else request(pump))
    with pytest.raises(NotStopped, match="antisolvent"):
        run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    assert Volumes.open(rig_folder(case)).unsettled == ["antisolvent"]
    monkeypatch.undo()
    clock.sleep(10.0)  # the pump's own timer
    Latch(rig_folder(case)).acknowledge("the operator")
    run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    left = Volumes.open(rig_folder(case)).left("antisolvent")
    assert left is not None and left.left_ml == pytest.approx(line.pumps[0].volume_ml, abs=0.02)


def test_nothing_starts_once_the_gate_is_shut_however_slow_the_disk(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trip comes while the start of the precursor is being written down."""
    report = Drive._report

    def slow(drive: Drive, rate_ml_h: float) -> None:
        report(drive, rate_ml_h)
        if drive.name == "precursor" and rate_ml_h and not drive.told_ml_h:
            drive._gate.shut("the disk was slow, and the watchdog was not")

    monkeypatch.setattr(Drive, "_report", slow)
    with pytest.raises(RigError, match="the disk was slow"):
        run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    assert not any(b"01RUN" in message for message in line.heard)
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]


def test_a_latch_that_can_not_be_written_hides_nothing(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise TwinError("the disk is full")

    monkeypatch.setattr(Latch, "set", full)
    clock.every(3.0, lambda: line.inject(Fault.STALL, 0), "stall")  # type: ignore[attr-defined]
    with pytest.raises(RigError, match="stalled") as raised:
        run(case, setpoint, hold_s=5.0, clock=clock, simulator=line)
    assert "could not be latched: the disk is full" in raised.value.message


def test_a_trip_in_the_last_moment_is_no_completed_run(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is through when the watchdog speaks."""
    stop = Session._stop

    def late(session: Session, reason: BaseException | None) -> NotStopped | None:
        clock.sleep(0.3)
        return stop(session, reason)

    monkeypatch.setattr(Session, "_stop", late)
    monkeypatch.setattr(Session, "snapshot", lambda session, measured: session)
    monkeypatch.setattr(
        "twin.rig.operation.watchdog.first_broken",
        lambda rules, session: None if session._running else ("late", "a rule was broken at the end"),
    )
    with pytest.raises(Tripped, match="at the end"):
        run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    with pytest.raises(Latched, match="at the end"):
        Latch(rig_folder(case)).check()


def test_who_stops_needs_no_syringe(case: Case) -> None:
    """Places are found in a case whose rig can't be used."""
    broken = case.rig.antisolvent.model_copy(update={"syringe": "steel-51ml", "port": "/dev/x"})
    edited = case.model_copy(update={"rig": case.rig.model_copy(update={"antisolvent": broken})})
    assert [(place.role, place.port, place.address) for place in places(edited)] == [
        ("antisolvent", "/dev/x", 0),
        ("precursor", "simulated", 1),
    ]
    assert [place.baud for place in places(edited)] == [pump.place.baud for pump in equipment(case).values()]


def test_a_stop_reaches_the_run_of_a_case_that_can_not_be_read_any_more(
    tmp_path: Path, line_in_real_time: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock says where the pumps are. (Here the run would be this process, which must not end: nobody holds it.)"""
    from twin.rig.operation.emergency import stop_places

    folder = tmp_path / "case"
    folder.mkdir()
    (folder / "case.toml").write_text("this is no TOML")
    assert main(["rig", "stop", str(folder)]) == 2  # nobody runs: the mistake is what there is to say
    assert "not TOML" in capsys.readouterr().err
    where = [Place("precursor", "the pump", "newera", line_in_real_time, 19200, 1)]
    assert "the pump: verified stopped" in stop_places(where, folder / "results" / "rig")


def test_who_stops_a_pump_may_hear_of_its_power_cut_in_the_place_of_the_next_run(
    tmp_path: Path, line_in_real_time: str
) -> None:
    from twin.rig.operation.emergency import stop_places

    volumes = Volumes.open(tmp_path)
    volumes.refill("precursor", "glass-50ml", 50.0)
    volumes.begin("run", {"precursor": 60.0}, guard_s=4.0)
    volumes.close({}, unheard={"precursor": Bounds((0.0, 0.6), (0.0, 0.0))}, telling=["precursor"])
    stop_places([Place("precursor", "the pump", "newera", line_in_real_time, 19200, 1)], tmp_path)
    assert not Volumes.open(tmp_path).asking("precursor")


def test_a_dead_run_latches_whoever_takes_the_lock_next(tmp_path: Path) -> None:
    """Also a check-out; but saying what a syringe holds leaves it to the next run."""
    (tmp_path / "run.lock").write_text('{"pid": 7}')
    for pumps in (None, None):
        with RunLock(tmp_path, pumps):
            assert Latch(tmp_path).reason() is None
    with RunLock(tmp_path, []), pytest.raises(Latched, match="process 7 did not end"):
        Latch(tmp_path).check()
    assert (tmp_path / "run.lock").read_bytes() == b""


def test_the_pumps_of_a_dead_run_are_known_until_someone_has_acknowledged_it(tmp_path: Path) -> None:
    """However many runs of a changed case were refused meanwhile, or died in being refused."""
    old, new = (Place(role, role, "newera", "/dev/" + role, 19200, 0) for role in ("precursor", "antisolvent"))
    (tmp_path / "run.lock").write_text(json.dumps({"pid": 7, "pumps": [asdict(old)]}))
    with RunLock(tmp_path, None):
        assert last(tmp_path) == [old]
    assert last(tmp_path) == [old] and died(tmp_path)
    for _ in range(2):
        with RunLock(tmp_path, [new]):
            assert set(last(tmp_path)) == {old, new}
            text = (tmp_path / "run.lock").read_bytes()
        assert last(tmp_path) == [old]
    (tmp_path / "run.lock").write_bytes(text)  # the refused run was killed
    assert set(last(tmp_path)) == {old, new} and died(tmp_path)
    with RunLock(tmp_path, []):
        assert set(Latch(tmp_path).pumps()) == {old, new}
        Latch(tmp_path).acknowledge("the operator")
    assert last(tmp_path) == [] and not died(tmp_path)


def test_a_refill_that_was_killed_leaves_no_dead_run(tmp_path: Path) -> None:
    with RunLock(tmp_path, None):
        text = (tmp_path / "run.lock").read_bytes()
    (tmp_path / "run.lock").write_bytes(text)
    assert not died(tmp_path)
    with RunLock(tmp_path, []):
        Latch(tmp_path).check()


def test_a_folder_in_the_place_of_a_latch_keeps_the_rig_latched_and_says_what_to_do(tmp_path: Path) -> None:
    latch = Latch(tmp_path)
    latch.path.mkdir()
    with pytest.raises(Latched, match="can't be read"):
        latch.check()
    with pytest.raises(BadInput, match="it is a folder"):
        latch.acknowledge("the operator")
