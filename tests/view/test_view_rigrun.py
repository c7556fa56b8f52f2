"""Pictures of runs: two pumps or three, with sensors, alarms and trips."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from twin.errors import BadInput
from twin.rig.record.journal import Journal
from twin.view.rigrun import RigRun, _draw, picture


def write(path: Path, pumps: list[str], *events: tuple[str, float, dict[str, Any]]) -> Path:
    with Journal(path) as journal:
        plan = {"pumps": {name: {"port": "simulated", "address": n} for n, name in enumerate(pumps)}, "steps": []}
        journal.write("begin", sync=False, t_s=0.0, plan=plan)
        for event, at, fields in events:
            journal.write(event, sync=False, t_s=at, **fields)
    return path


@pytest.fixture
def turns(tmp_path: Path) -> Path:
    """Two pumps take turns, sensors read, and an alarm and a trip end it."""
    return write(
        tmp_path / "journal-turns.jsonl",
        ["antisolvent", "precursor", "antisolvent-2"],
        ("prime", 0.0, {"rates_ml_h": {"antisolvent": 500.0}}),
        ("hold", 2.0, {"rates_ml_h": {"antisolvent": 5000.0, "precursor": 50.0}}),
        ("reading", 3.0, {"sensor": "pressure", "value": 1.5, "unit": "bar"}),
        ("reading", 4.0, {"sensor": "pressure", "value": None, "unit": "bar"}),
        ("reading", 4.0, {"sensor": "temperature", "value": 20.5, "unit": "°C"}),
        ("look", 4.0, {"counted_ml": {"antisolvent": 3.06, "precursor": 0.0, "antisolvent-2": 0.0}}),
        ("look", 4.1, {"counted_ml": {"antisolvent": 3.06, "precursor": 0.03, "antisolvent-2": 0.0}}),
        ("handover", 10.0, {"rates_ml_h": {"antisolvent": -4000.0, "precursor": 50.0, "antisolvent-2": 5000.0}}),
        ("alarm", 15.0, {"role": "antisolvent", "alarm": "S", "reason": "stalled"}),
        ("trip", 15.1, {"rule": "Within", "reason": "pressure is 3.2 bar, above 3 bar"}),
        ("weather", 15.1, {}),
        ("stop", 15.2, {"reason": "stalled"}),
        ("stopped", 15.3, {"role": "precursor"}),
        ("NOT STOPPED", 15.3, {"pump": "antisolvent", "problem": "silence"}),
        ("stopped", 15.4, {"role": "antisolvent"}),
        ("volume", 15.5, {"role": "antisolvent refill", "commanded_ml": 5.6, "counted_ml": 5.6}),
    )


def test_what_a_journal_of_three_pumps_tells(turns: Path) -> None:
    run = RigRun.of(turns)
    assert run.pumps == ["antisolvent", "precursor", "antisolvent-2"]
    assert run.streams == {"antisolvent": ["antisolvent", "antisolvent-2"], "precursor": ["precursor"]}
    assert [at for at, _ in run.rates] == [0.0, 2.0, 10.0, 15.1], "a trip stops them"
    assert run.rates[2][1]["antisolvent"] == -4000.0
    assert run.rates[-1][1] == dict.fromkeys(run.pumps, 0.0)
    assert run.readings[0] == (3.0, "pressure", 1.5, "bar")
    assert math.isnan(run.readings[1][2])
    assert [text.partition(":")[0] for _, text, _ in run.marks] == [
        "alarm antisolvent", "trip", "stop", "NOT STOPPED antisolvent",
    ]  # fmt: skip
    assert [bad for _, _, bad in run.marks] == [True, True, False, True]
    assert run.stopped == {"precursor": True, "antisolvent": True}, "what was said last"
    assert run.last_s == 15.3
    assert list(run.balances) == ["antisolvent refill"]


def test_what_is_drawn_is_what_was_told(turns: Path) -> None:
    panels = {panel.get_title(): panel for panel in _draw(RigRun.of(turns)).axes if panel.get_visible()}
    assert set(panels) == {
        "", "antisolvent", "precursor", "total flow", "flow ratio, antisolvent to precursor", "pressure", "temperature",
    }  # fmt: skip
    rates = {line.get_label(): line for line in panels["antisolvent"].lines}
    assert min(rates["antisolvent"].get_ydata()) == -4000.0
    flows = ("total flow", "flow ratio, antisolvent to precursor")
    total, ratio = (panels[title].lines[0].get_ydata() for title in flows)
    assert list(total) == [500.0, 5050.0, 5050.0, 0.0, 0.0], "a pump that refills adds nothing"
    assert math.isnan(ratio[0])
    assert list(ratio[1:3]) == [100.0, 100.0]
    assert panels["pressure"].get_ylabel() == "bar"


def test_commanded_volumes_end_at_their_integral(turns: Path) -> None:
    figure = _draw(RigRun.of(turns))
    lines = {line.get_label(): line.get_ydata() for panel in figure.axes for line in panel.lines}
    assert lines["commanded, antisolvent"][-1] == pytest.approx((500 * 2 + 5000 * 8) / 3600)
    assert lines["commanded, antisolvent-2"][-1] == pytest.approx(5000 * 5.1 / 3600)
    assert list(lines["counted, antisolvent"]) == [3.06], "a volume that is repeated was not counted again"
    assert list(lines["counted, antisolvent-2"]) == []
    assert list(lines["counted"]) == [0.03]


@pytest.mark.parametrize(
    "pumps", [["antisolvent", "precursor"], ["antisolvent"], ["dye", "dye-2", "antisolvent", "x"], []]
)
def test_a_picture_of_any_number_of_pumps(tmp_path: Path, pumps: list[str]) -> None:
    path = write(
        tmp_path / "j.jsonl", pumps, ("hold", 0.0, {"rates_ml_h": dict.fromkeys(pumps, 10.0)}), ("stop", 9.0, {})
    )
    output = picture(path, tmp_path / "run.png")
    assert output == tmp_path / "run.png"
    height, width, _ = matplotlib.image.imread(output).shape
    assert width == 1650 and height > 500


def test_a_run_that_has_only_just_begun_has_a_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "j.jsonl", ["antisolvent", "precursor"])
    assert picture(path, tmp_path / "run.png").stat().st_size > 1000


def test_the_journal_of_something_else_has_no_picture(tmp_path: Path) -> None:
    with Journal(tmp_path / "stop.jsonl") as journal:
        journal.write("begin")
    with pytest.raises(BadInput, match="not the journal of a run"):
        picture(tmp_path / "stop.jsonl", tmp_path / "run.png")
    assert not (tmp_path / "run.png").exists()
