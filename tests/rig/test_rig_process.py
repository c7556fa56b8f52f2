"""Runs in another process that is interrupted or killed, and a cable that comes back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rig_wired import SYRINGES, child, standing, until

from twin.case import Case
from twin.rig import (
    Clock,
    Latch,
    Latched,
    Progress,
    RigError,
    Setpoint,
    Volumes,
    load_setpoint,
    read,
    rig_folder,
    run,
    verify,
)
from twin.rig.bench import simulated_pumps
from twin.rig.errors import NotStopped
from twin.rig.operation.runlock import holder
from twin.rig.operation.session import GUARD_S
from twin.rig.planning.limits import equipment
from twin.rig.simulated.line import SimulatedLine


@pytest.fixture
def line(case: Case) -> Iterator[SimulatedLine]:
    """Both pumps of the case in a chain, in real time and at 19200 baud: for a run they are real pumps on a port."""
    with SimulatedLine(simulated_pumps(equipment(case)), Clock(1.0), baud=19200) as simulated:
        yield simulated


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "RunStopped")])
def test_a_signal_to_another_process_stops_both_pumps(
    wired: Case, propose: Callable[..., Path], line: SimulatedLine, number: int, name: str
) -> None:
    with child(wired, propose) as process:
        assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=20)
    assert name in errors
    assert process.returncode != 0
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    (path,) = rig_folder(wired).glob("journal-*.jsonl")
    checked = verify(path)
    assert checked.intact
    assert checked.ended
    assert sum(entry["event"] == "stopped" for entry in read(path)) == 2
    assert Latch(rig_folder(wired)).reason() is None


def test_a_cable_that_is_back_within_the_time_of_stopping_serves_the_stop(
    wired: Case, setpoint: Setpoint, line: SimulatedLine
) -> None:
    """It was pulled out in the hold, and is back half a second later: both pumps are told, and verified."""
    pulled: list[float] = []
    back = threading.Timer(0.5, line.plug_in)

    def pull(progress: Progress) -> None:
        if progress.kind == "hold" and not pulled:
            pulled.append(time.monotonic())
            line.unplug()
            back.start()

    with pytest.raises(RigError, match="is gone") as error:
        run(wired, setpoint, hold_s=20.0, on_progress=pull)
    assert not isinstance(error.value, NotStopped)
    assert time.monotonic() - pulled[0] < 2.0 and standing(line)  # before their own timers, 4 s
    back.join()


def test_the_pumps_of_a_process_that_was_killed_stop_by_themselves(
    wired: Case, propose: Callable[..., Path], line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their own timer stops them. The next run is refused; once acknowledged, it asks them what they have counted."""
    monkeypatch.setattr("twin.rig.planning.recipe.RAMP_S", 0.2)
    with child(wired, propose) as process:
        process.kill()
        process.communicate(timeout=20)
        assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
        took = until(lambda: standing(line), GUARD_S + 1)
    print(f"\na process that was killed: its pumps stood by themselves after {took:.2f} s")
    assert took > 0.5 * GUARD_S
    assert holder(rig_folder(wired)) is None
    (path,) = rig_folder(wired).glob("journal-*.jsonl")
    assert not verify(path).ended
    true_ml = {role: 50.0 - line.state(address)[1] for address, role in enumerate(SYRINGES)}
    ran = sum(b"RUN" in message for message in line.heard)

    setpoint = load_setpoint(propose(), wired)
    for _ in range(2):
        with pytest.raises(Latched, match="process or computer died"):
            run(wired, setpoint)
    assert sum(b"RUN" in message for message in line.heard) == ran
    Latch(rig_folder(wired)).acknowledge("the operator")

    result = run(wired, setpoint, hold_s=0.5)
    assert result.ok
    counted = {e["role"]: e["left_ml"] for e in read(result.journal) if e["event"] == "reconciled"}
    assert sorted(counted) == sorted(SYRINGES)
    for role, left_ml in counted.items():
        assert left_ml == pytest.approx(true_ml[role], rel=0.005)
        assert 50.0 - left_ml == pytest.approx(50.0 - true_ml[role], rel=0.005, abs=0.011)
    volumes = Volumes.open(rig_folder(wired))
    assert not volumes.unsettled
    for address, role in enumerate(SYRINGES):
        left = volumes.left(role)
        assert left is not None
        assert left.left_ml == pytest.approx(50.0 - line.state(address)[1], rel=0.005)
