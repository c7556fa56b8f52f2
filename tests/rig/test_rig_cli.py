"""The verbs of the rig, as the command line gives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twin.cli.main import main
from twin.cli.rig import _agreed
from twin.rig import Latch, NotStopped, Volumes

CASE = str(Path(__file__).parents[2] / "cases" / "liang2023")


pytestmark = pytest.mark.usefixtures("hasty_disk")


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


def test_a_dry_run_says_that_a_run_would_be_refused(
    twin: Callable[..., tuple[int, dict[str, Any]]], propose: Callable[..., Path], rig: Path
) -> None:
    check = ("check", "--setpoint", str(propose()), "--hold", "1 s")
    assert twin(*check)[1]["refused"] is None
    Latch(rig).set("the precursor pump stalled", "run")
    code, said = twin(*check)
    assert code == 0 and "stalled" in said["refused"]


def test_the_log_is_that_of_the_newest_run_and_reads_an_acknowledgement_too(
    twin: Callable[..., tuple[int, dict[str, Any]]], propose: Callable[..., Path], rig: Path
) -> None:
    _, done = twin("run", "--setpoint", str(propose()), "--hold", "1 s")
    Latch(rig).set("the precursor pump stalled", "run")
    twin("acknowledge", "--by", "A. Chemist")
    code, log = twin("log")
    assert code == 0 and log["journal"] == done["journal"]
    code, log = twin("log", "--journal", str(next(rig.glob("acknowledge-*.jsonl"))))
    assert code == 0 and log["intact"] and log["replay"] is None


def test_a_run_that_is_interrupted_has_its_own_exit_code(
    twin: Callable[..., tuple[int, dict[str, Any]]], propose: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("twin.cli.rig.run", interrupted)
    code, said = twin("run", "--setpoint", str(propose()))
    assert code == 130 and said["exit_code"] == 130


def test_who_has_gone_agrees_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", gone)
    assert not _agreed("Shall it move?")


@pytest.mark.parametrize(
    ("raised", "expected", "latched"),
    [(NotStopped(["the pump"], "it is silent"), 1, True), (KeyboardInterrupt(), 130, False)],
)
def test_a_check_out_that_ends_early_latches_where_its_pump_may_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, expected: int, latched: bool
) -> None:
    def ends(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr("twin.cli.rig.checkout", ends)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    text = (Path(CASE) / "case.toml").read_text().replace("address = 1", 'address = 1\nport = "/dev/nowhere"')
    (tmp_path / "case.toml").write_text(text)
    words = ["--pump", "precursor", "--cassette", str(tmp_path / "new.jsonl")]
    assert main(["rig", "checkout", str(tmp_path), *words]) == expected
    assert (Latch(tmp_path / "results" / "rig").reason() is not None) == latched


def test_stopping_a_simulated_rig_latches_nothing(
    twin: Callable[..., tuple[int, dict[str, Any]]], rig: Path
) -> None:
    code, said = twin("stop")
    assert code == 0 and "no run of this rig is under way" in said["said"]
    assert Latch(rig).reason() is None
