"""The folder of a rig is removed while a run goes on: the pumps stop, and the error says why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twin.case import Case
from twin.cli.main import main
from twin.errors import BadInput, TwinError
from twin.rig import Clock, Latch, Progress, Setpoint, Volumes, read, rig_folder, run, verify
from twin.rig.record.journal import Journal
from twin.rig.simulated.memory import MemoryLine

pytestmark = pytest.mark.usefixtures("hasty_disk")


def at(kind: str, action: Callable[[], Any]) -> Callable[[Progress], None]:
    """Does something at the first report of a kind."""
    todo = [action]

    def report(progress: Progress) -> None:
        if progress.kind == kind and todo:
            todo.pop()()

    return report


@pytest.mark.parametrize("kind", ["armed", "ramp", "hold"])
@pytest.mark.parametrize("whole_case", [False, True])
def test_a_folder_that_is_removed_ends_the_run(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, kind: str, whole_case: bool
) -> None:
    where = rig_folder(case)
    remove = at(kind, lambda: shutil.rmtree(case.folder if whole_case else where))
    with pytest.raises(TwinError, match=r"journal-.*\.jsonl was removed or moved, or its folder was") as error:
        run(case, setpoint, hold_s=5.0, clock=clock, simulator=line, on_progress=remove)
    assert error.value.exit_code == 1
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    assert clock.now() < 20.0
    moved = line.pumps[0].volume_ml < 50.0
    assert moved is (kind != "armed")
    assert (Latch(where).reason() is not None) is moved
    left = Volumes.open(where).left("antisolvent")
    assert left is not None
    assert abs(left.left_ml - line.pumps[0].volume_ml) <= left.uncertain_ml


def test_a_journal_that_is_moved_away_has_its_end_all_the_same(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, tmp_path: Path
) -> None:
    move = at("hold", lambda: rig_folder(case).rename(tmp_path / "elsewhere"))
    with pytest.raises(TwinError, match="was removed or moved"):
        run(case, setpoint, hold_s=5.0, clock=clock, simulator=line, on_progress=move)
    (path,) = (tmp_path / "elsewhere").glob("journal-*.jsonl")
    assert verify(path).intact and verify(path).ended
    assert "was removed or moved" in read(path)[-1]["reason"]


def test_what_can_not_be_written_once_pumps_move_is_no_mistake_of_the_input(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`BadInput`, with its exit code of 2, says that nothing was started."""

    def vanished(*_: Any) -> None:
        raise BadInput("can't write volumes-run.json: its folder can't be made")

    fail = at("hold", lambda: monkeypatch.setattr("twin.rig.operation.volumes.write_counts", vanished))
    with pytest.raises(TwinError, match="its folder can't be made") as error:
        run(case, setpoint, hold_s=5.0, clock=clock, simulator=line, on_progress=fail)
    assert not isinstance(error.value, BadInput) and error.value.exit_code == 1
    assert any("journal" in note for note in error.value.__notes__)
    assert Latch(rig_folder(case)).reason() is not None


def test_a_file_in_the_place_of_the_folder_is_an_error_in_words(tmp_path: Path) -> None:
    volumes = Volumes.open(tmp_path / "rig")
    volumes.refill("precursor", "glass-50ml", 50.0)
    volumes._running = tmp_path / "rig" / "volumes.json" / "x"  # as if it had come between two writes
    with pytest.raises(TwinError, match="a part of its path is a file"):
        volumes.refill("precursor", "glass-50ml", 50.0)


def test_the_command_says_so_and_fails(
    propose: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = Journal.write

    def removing(journal: Journal, event: str, *args: Any, **fields: Any) -> None:
        if event == "hold":
            shutil.rmtree(tmp_path / "results", ignore_errors=True)
        write(journal, event, *args, **fields)

    monkeypatch.setattr(Journal, "write", removing)
    case = str(Path(__file__).parents[2] / "cases" / "liang2023")
    command = ["rig", "run", case, "--setpoint", str(propose()), "--hold", "1 s", "--output", str(tmp_path / "results")]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "was removed or moved" in said and "every pump that was started was verified stopped" in said
