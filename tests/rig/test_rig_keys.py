"""Somebody at the keys of a Harvard pump clears its counters while a run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig_lines import chained
from rig_schedules import KINDS

from twin.case import Case
from twin.rig import Latch, RigError, Setpoint, Volumes, run
from twin.rig.bench import simulated_pumps
from twin.rig.clock import VirtualClock
from twin.rig.planning.limits import equipment
from twin.rig.pumps.drivers import baud_of
from twin.rig.simulated.memory import MemoryLine


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


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
