"""The verbs of the rig, as the command line gives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twin.cli.main import main
from twin.rig import Latch, Volumes

CASE = str(Path(__file__).parents[2] / "cases" / "liang2023")


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def twin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Runs a verb with --json below a folder of the test; its exit code and answer."""

    def call(*words: str) -> tuple[int, dict[str, Any]]:
        code = main(["rig", words[0], CASE, "--output", str(tmp_path / "out"), "--json", *words[1:]])
        text = capsys.readouterr().out
        return code, json.loads(text) if text.strip() else {}

    return call


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    return tmp_path / "out" / "liang2023" / "rig"


def test_a_run_its_log_and_its_picture(
    twin: Callable[..., tuple[int, dict[str, Any]]], propose: Callable[..., Path], tmp_path: Path, rig: Path
) -> None:
    code, done = twin("run", "--setpoint", str(propose()), "--hold", "2 s")
    assert code == 0 and done["ok"]
    assert Path(done["journal"]).parent == rig
    picture = tmp_path / "run.png"
    code, log = twin("log", "--plot", str(picture))
    assert code == 0 and log["intact"] and log["replay"]["ok"]
    assert picture.stat().st_size > 10_000


def test_a_recipe_runs_and_a_bad_one_is_refused(
    twin: Callable[..., tuple[int, dict[str, Any]]], propose: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[[steps]]\nhold = "1 s"\n'
        '[[steps]]\nantisolvent = "4000 mL/h"\nprecursor = "50 mL/h"\nramp = "1 s"\nhold = "1 s"\n'
    )
    setpoint = str(propose())
    code, plan = twin("check", "--setpoint", setpoint, "--recipe", str(recipe))
    assert code == 0
    assert plan["plan"]["steps"][-1][3] == {"antisolvent": 4000.0, "precursor": 50.0}
    assert any("RUN" in entry["message"] for entry in plan["sent"])
    recipe.write_text('[[steps]]\nhold = "1"\n[[steps]]\nantisolvent = "4000 mL/h"\nhold = "1 s"\nhodl = "2 s"\n')
    code, _ = twin("check", "--setpoint", setpoint, "--recipe", str(recipe))
    assert code == 2


def test_refilling_tells_the_ledger(twin: Callable[..., tuple[int, dict[str, Any]]], rig: Path) -> None:
    code, said = twin("refill", "--antisolvent", "40 mL", "--precursor", "full")
    assert (code, said) == (0, {"antisolvent": 40.0, "precursor": 50.0})
    left = Volumes.open(rig).left("antisolvent")
    assert left is not None and left.left_ml == 40.0
    for words in (["--antisolvent", "60 mL"], ["--antisolvent-2", "10 mL"], ["--precursor", "2 m"], []):
        assert twin("refill", *words)[0] == 2
    assert twin("refill", "--antisolvent", "50 mL")[0] == 0  # as much as it takes, to the last bit


def test_a_latched_rig_runs_again_once_somebody_has_acknowledged_it(
    twin: Callable[..., tuple[int, dict[str, Any]]], propose: Callable[..., Path], rig: Path
) -> None:
    Latch(rig).set("the precursor pump stalled", "run")
    run = ("run", "--setpoint", str(propose()), "--hold", "1 s")
    assert twin(*run)[0] == 1
    assert twin("acknowledge", "--by", " ")[0] == 2
    code, said = twin("acknowledge", "--by", "A. Chemist", "--note", "freed the plunger")
    assert code == 0 and "stalled" in said["acknowledged"][0]
    assert twin(*run)[0] == 0
    assert list(rig.glob("acknowledge-*.jsonl"))


def test_stopping_a_simulated_rig_latches_nothing(
    twin: Callable[..., tuple[int, dict[str, Any]]], rig: Path
) -> None:
    code, said = twin("stop")
    assert code == 0 and "no run of this rig is under way" in said["said"]
    assert Latch(rig).reason() is None
