"""A case, proposals for it, and simulated pumps that a test can spoil."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rig_wired import wired_case

from twin.case import Case, load
from twin.files import digest
from twin.rig import Setpoint, load_setpoint
from twin.rig.bench import simulated_pumps
from twin.rig.clock import Clock, VirtualClock
from twin.rig.planning.limits import equipment
from twin.rig.simulated.line import SimulatedLine
from twin.rig.simulated.memory import MemoryLine
from twin.units import from_ml_per_h

CASE = Path(__file__).parents[2] / "cases" / "liang2023"
HULL_ML_H = [(1000, 60), (5000, 60), (5000, 10)]


def proposal(antisolvent: float = 5000.0, precursor: float = 60.0, **changes: Any) -> dict[str, Any]:
    """A setpoint file's data, flows in mL/h; `changes` replace keys before the checksum is made."""
    data: dict[str, Any] = {
        "schema": 1,
        "case": "liang2023",
        "level": "coarse",
        "ligand": "ps",
        "antisolvent_m3_s": from_ml_per_h(antisolvent),
        "precursor_m3_s": from_ml_per_h(precursor),
        "temperature_k": 293.15,
        "objective": "production",
        "constraints": ["plqy >= 0.5"],
        "predicted": {"production": {"value": 0.139, "low": 0.13, "high": 0.14, "unit": "g/h", "label": "calibrated"}},
        "hull": [[from_ml_per_h(a), from_ml_per_h(p)] for a, p in HULL_ML_H],
        "provenance": {
            "surrogate": "0123456789ab",
            "campaign": "ba9876543210",
            "created": datetime.now(UTC).isoformat(),
            "twin": "0.1.0",
        },
    }
    data.update(changes)
    data = {key: value for key, value in data.items() if value is not None}
    return {**data, "checksum": digest(data)}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Which rig uses a port is kept in a folder of the test."""
    monkeypatch.setenv("TWIN_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def hasty_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk: that it is waited for is a test of the journal."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """The paper's case, with its results in a folder of the test."""
    return load(CASE).model_copy(update={"folder": tmp_path / "case"})


@pytest.fixture
def propose(tmp_path: Path) -> Callable[..., Path]:
    """Writes a proposal and returns its path."""

    def write(*args: float, **changes: Any) -> Path:
        path = tmp_path / "setpoint.json"
        path.write_text(json.dumps(proposal(*args, **changes)), encoding="utf-8")
        return path

    return write


@pytest.fixture
def setpoint(case: Case, propose: Callable[..., Path]) -> Setpoint:
    """The paper's point, 5000 and 60 mL/h."""
    return load_setpoint(propose(), case)


@pytest.fixture
def clock() -> VirtualClock:
    """Moves only when someone sleeps: a run does the same on a busy machine, and takes no longer than its exchanges."""
    return VirtualClock()


@pytest.fixture
def line(case: Case, clock: VirtualClock) -> MemoryLine:
    """Both pumps of the case in a chain, just switched on."""
    return MemoryLine(simulated_pumps(equipment(case)), clock)


@pytest.fixture
def line_in_real_time(case: Case) -> Iterator[str]:
    """The path of both pumps of the case on a pseudo-terminal."""
    with SimulatedLine(simulated_pumps(equipment(case)), Clock()) as line:
        yield line.path


@pytest.fixture
def wired(case: Case, line: SimulatedLine, tmp_path: Path) -> Case:
    """The case with its pumps on a port, in a folder: where a test's own `line` has one."""
    return wired_case(case, line, tmp_path / "wired")
