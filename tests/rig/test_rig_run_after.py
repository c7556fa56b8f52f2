"""After a run that failed or died: the rig is latched, and its volumes are settled by the next one."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial

import pytest
from rig_runs import RESOLUTION_ML, Spoiler, assert_stopped_and_written, interrupted, only_journal

from twin.case import Case
from twin.errors import BadInput
from twin.rig import Clock, Latch, Latched, PumpAlarm, Setpoint, Volumes, rig_folder, run
from twin.rig.operation.session import GUARD_S, Session
from twin.rig.planning.limits import ROLES, Place
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine

pytestmark = pytest.mark.usefixtures("hasty_disk")


def test_a_failed_run_latches_the_rig_until_someone_has_looked(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    spoil = Spoiler("hold", 1, partial(line.inject, Fault.STALL, 1))
    with pytest.raises(PumpAlarm):
        run(case, setpoint, clock=clock, simulator=line, on_progress=spoil)
    assert_stopped_and_written(case, line, latched=True)
    started = line.heard.count(b"00RUN")
    for _ in range(2):
        with pytest.raises(Latched, match=r"the rig is latched: .*precursor pump .* stalled") as caught:
            run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
        assert only_journal(case).name in caught.value.message
    assert line.heard.count(b"00RUN") == started
    latch = Latch(rig_folder(case))
    with pytest.raises(BadInput, match="nobody"):
        latch.acknowledge(" ")
    assert len(latch.acknowledge("the operator")) == 1
    assert run(case, setpoint, hold_s=1.0, clock=clock, simulator=line).ok


@pytest.mark.parametrize("later_s", [0.0, 2.0, 60.0])
def test_a_run_after_one_that_could_not_stop_settles_what_the_pumps_have_counted(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, later_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process died at once. The next one finds the pumps running, or stopped by their own timers."""
    with monkeypatch.context() as dying:
        dying.setattr(Session, "_stop", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            run(case, setpoint, clock=clock, simulator=line, on_progress=Spoiler("hold", 9, interrupted))
    clock.sleep(later_s)
    assert line.state(0)[0] == ("S" if later_s > GUARD_S else "I")
    assert Volumes.open(rig_folder(case)).unsettled == list(ROLES)
    assert run(case, setpoint, hold_s=1.0, clock=clock, simulator=line).ok
    volumes = Volumes.open(rig_folder(case))
    for address, role in enumerate(ROLES):
        left = volumes.left(role)
        assert left is not None
        assert left.left_ml == pytest.approx(50.0 - line.state(address)[1], abs=2.5 * RESOLUTION_ML[role])


def test_the_volumes_of_a_pump_that_is_gone_from_the_case_are_asked_for(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    volumes = Volumes.open(rig_folder(case))
    volumes.refill("antisolvent-2", "steel-50ml", 50.0)
    volumes.begin("a run that died", {"antisolvent-2": 5000.0}, 4.0)
    with pytest.raises(BadInput, match="antisolvent-2 syringe are not settled"):
        run(case, setpoint, clock=clock, simulator=line)


def noted(port: str) -> str:
    """What a run leaves in its lock: its process, and where its pump is."""
    return json.dumps({"pid": 7, "pumps": [asdict(Place("precursor", "a pump", "newera", port, 19200, 0))]})


@pytest.mark.parametrize(
    ("noted", "latches"),
    [(noted("/dev/x"), True), (noted("simulated"), False), ('{"pid": 7}', True), ("half a li", True)],
)
def test_a_run_that_died_on_a_real_port_latches_whatever_comes_next(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, noted: str, latches: bool
) -> None:
    rig_folder(case).mkdir(parents=True)
    (rig_folder(case) / "run.lock").write_text(noted)
    if not latches:
        assert run(case, setpoint, hold_s=0.5, clock=clock, simulator=line).ok
        return
    for _ in range(2):
        with pytest.raises(Latched, match="process or computer died"):
            run(case, setpoint, hold_s=0.5, clock=clock, simulator=line)
    assert not line.heard
