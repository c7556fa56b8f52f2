"""Somebody at the keys of a Harvard pump clears its counters while a run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig_lines import chained
from rig_schedules import KINDS

from twin.case import Case
from twin.errors import BadInput
from twin.rig import Latch, NotStopped, RigError, Setpoint, Volumes, plan, run
from twin.rig.bench import simulated_pumps
from twin.rig.clock import VirtualClock
from twin.rig.operation.session import AHEAD, LATE_S
from twin.rig.planning.limits import equipment
from twin.rig.pumps.drivers import baud_of
from twin.rig.pumps.harvard import HarvardPump
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine

pytestmark = pytest.mark.usefixtures("hasty_disk")


@pytest.mark.parametrize("name", ["antisolvent", "precursor"])
@pytest.mark.parametrize("at_s", [0.45, 0.6, 1.3, 1.34, 2.0, 2.05, 5.0])
def test_a_counter_that_is_cleared_at_the_keys_ends_the_run_and_leaves_an_interval_that_holds(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, name: str, at_s: float
) -> None:
    """The pump goes on until it is stopped: that its counter went back is no sign of a power cut."""
    case = chained(case)
    line = MemoryLine(simulated_pumps(equipment(case)), clock, baud_of("harvard"))
    address = {"antisolvent": 0, "precursor": 1}[name]
    pump = line.pumps[address]

    def clear() -> None:
        task.cancel()
        pump.execute("cvolume", address, clock.now())  # type: ignore[attr-defined]

    task = clock.every(at_s, clear, "keys")
    with pytest.raises(RigError, match=f"the {name} pump .* counts less than before: its counter was cleared at its k"):
        run(case, setpoint, program=KINDS["short"].program, folder=tmp_path, clock=clock, simulator=line)
    assert {line.state(one)[0] for one in (0, 1)} == {"S"}
    assert Latch(tmp_path).reason() is not None
    left = Volumes.open(tmp_path).left(name)
    assert left is not None
    assert pump.volume_ml < 50.0
    assert abs(left.left_ml - pump.volume_ml) <= left.uncertain_ml + 1e-9
    assert left.uncertain_ml < 0.2


@pytest.mark.parametrize(
    ("name", "how"), [("antisolvent", "cleared"), ("precursor", "cleared"), ("precursor", "cut")]
)
def test_a_counter_that_is_cleared_before_the_link_fails_is_not_believed(
    case: Case,
    setpoint: Setpoint,
    clock: VirtualClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    how: str,
) -> None:
    """The pump goes on by its new count, up to its target; one that lost its power stands, and is known as before."""
    case = chained(case)
    line = MemoryLine(simulated_pumps(equipment(case)), clock, baud_of("harvard"))
    address = {"antisolvent": 0, "precursor": 1}[name]
    pump = line.pumps[address]

    def strike() -> None:
        task.cancel()
        if how == "cut":
            line.inject(Fault.RESET, address)
        else:
            pump.execute("cvolume", address, clock.now())  # type: ignore[attr-defined]

    def unplug(pump: HarvardPump) -> None:
        line.unplug()
        raise RigError("nobody hears it", "")

    task = clock.every(5.0, strike, "keys")
    with monkeypatch.context() as patch, pytest.raises(NotStopped):
        patch.setattr(HarvardPump, "request_stop", unplug)
        run(case, setpoint, program=KINDS["short"].program, folder=tmp_path, clock=clock, simulator=line)
    clock.sleep(600.0)
    line.plug_in()
    assert line.state(address)[0] == "S", "it has reached its target"
    Latch(tmp_path).acknowledge("the operator")
    with pytest.raises(BadInput, match="syringe"):  # it settles the account, and does not start
        run(case, setpoint, hold_s=3600.0, folder=tmp_path, clock=clock, simulator=line)
    left = Volumes.open(tmp_path).left(name)
    assert left is not None and left.settled
    assert left.by == "reckoned"
    assert abs(left.left_ml - pump.volume_ml) <= left.uncertain_ml + 1e-9
    if how == "cleared":
        assert (left.left_ml, left.uncertain_ml) == (25.0, 25.0)
    else:
        assert left.uncertain_ml < 0.2


def test_a_cleared_pump_that_is_stopped_late_has_gone_past_its_limit(
    case: Case, setpoint: Setpoint, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hears again just before the stop is given up: by then it has moved more than the run needs."""
    case, program = chained(case), KINDS["short"].program
    line = MemoryLine(simulated_pumps(equipment(case)), clock, baud_of("harvard"))
    pump = line.pumps[0]

    def clear() -> None:
        keys.cancel()
        pump.execute("cvolume", 0, clock.now())  # type: ignore[attr-defined]

    def silenced(pump: HarvardPump) -> None:
        monkeypatch.setattr(HarvardPump, "request_stop", request_stop)
        line.inject(Fault.SILENCE, 0)
        clock.every(3.9, lambda: line.heal(0), "cable")
        request_stop(pump)

    request_stop = HarvardPump.request_stop
    keys = clock.every(5.0, clear, "keys")
    monkeypatch.setattr(HarvardPump, "request_stop", silenced)
    with pytest.raises(RigError, match="its counter was cleared at its keys"):
        run(case, setpoint, program=program, folder=tmp_path, clock=clock, simulator=line)
    planned = plan(case, setpoint, program=program)
    limit_ml = (1 + AHEAD) * planned.needed_ml("antisolvent") + planned.largest_ml_h("antisolvent") * LATE_S / 3600
    assert 50.0 - pump.volume_ml > limit_ml + 0.5
    left = Volumes.open(tmp_path).left("antisolvent")
    assert left is not None and left.settled
    assert abs(left.left_ml - pump.volume_ml) <= left.uncertain_ml + 1e-9
    assert left.uncertain_ml < 4.0, "half of what it can have moved since the last look"
