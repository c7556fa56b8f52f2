"""The contract of the command line: exit codes, one JSON object, errors of one or two lines with their remedy."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from twin.campaign import run as campaign
from twin.case import Results
from twin.cli.main import VERBS, main
from twin.errors import BadInput

CASES = Path(__file__).parents[2] / "cases"
PAPER = str(CASES / "liang2023")


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, errors = capsys.readouterr()
    return code, out, errors


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    words = [verb, "check"] if verb == "rig" else [verb]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "example:" in text and f"twin {verb}" in text and "--json" in text


def test_the_whole_help_names_every_verb(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "invalid choice"),
        ([], "required"),
        (["status"], "required"),
        (["status", "nowhere"], "there is no case folder nowhere"),
        (["status", PAPER, "--level", "finest"], 'no level "finest"'),
        (["status", PAPER, "--colour"], "unrecognized"),
        (["predict", PAPER, "--antisolvent", "5000", "--precursor", "60 mL/h"], "5000"),
        (["predict", PAPER, "--antisolvent", "5000 mL", "--precursor", "60 mL/h"], "is not a flow"),
        (["predict", PAPER, "--antisolvent=-5 mL/h", "--precursor", "60 mL/h"], "must be positive"),
    ],
)
def test_bad_input_ends_with_2_and_a_remedy(words, message, capsys):
    code, out, errors = run(capsys, *words)
    assert code == 2 and out == ""
    assert errors.startswith("error: ") and message in errors
    assert len(errors.strip().splitlines()) <= 3
    assert "remedy: " in errors


@pytest.mark.parametrize("verb", ["fit", "calibrate", "setpoint", "rig check", "rig run", "rig log"])
def test_a_stage_before_its_feeder_says_which_command_makes_it(verb, tmp_path, capsys):
    code, _, errors = run(capsys, *verb.split(), PAPER, "--output", tmp_path)
    assert code == 2 and "twin " in errors and "remedy: " in errors


def test_json_is_one_object_also_for_an_error(tmp_path, capsys):
    code, out, _ = run(capsys, "status", PAPER, "--output", tmp_path, "--json")
    data = json.loads(out)
    assert code == 0 and len(data["points"]) == 10
    assert {row["state"] for row in data["points"]} == {"open"}
    code, out, _ = run(capsys, "status", "nowhere", "--json")
    data = json.loads(out)
    assert code == data["exit_code"] == 2 and data["remedy"]


def test_a_mistaken_case_file_is_reported_whole(tmp_path, capsys):
    shutil.copytree(PAPER, tmp_path / "case", ignore=shutil.ignore_patterns("results"))
    path = tmp_path / "case" / "case.toml"
    path.write_text(path.read_text().replace("ranks = 2", "rank = 2").replace('"4000 mL/h"', '"4000 mL"'))
    code, _, errors = run(capsys, "status", tmp_path / "case")
    assert code == 2
    assert 'rank: unknown key, did you mean "ranks"?' in errors and "sweeps.antisolvent.antisolvent.3" in errors


def test_the_dry_run_leaves_nothing_behind(tmp_path, capsys):
    run(capsys, "status", PAPER, "--output", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_traceback(tmp_path):
    program = f'"{sys.executable}" -m twin status "{PAPER}" --output "{tmp_path}" | true'
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.field
@pytest.mark.parametrize("ranks", ["0", "-1"])
def test_no_ranks_are_refused(ranks, tmp_path, capsys):
    code, _, errors = run(capsys, "sweep", PAPER, "--output", tmp_path, f"--ranks={ranks}")
    assert code == 2 and "ranks" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.field
def test_a_read_only_folder_is_refused_before_any_work(capsys):
    code, _, errors = run(capsys, "mesh", PAPER, "--output", "/proc/1")
    assert code in (1, 2) and "can't write /proc/1" in errors and "remedy" in errors


@pytest.mark.field
def test_a_full_disk_is_said_and_what_is_there_stays(tmp_path, capsys, monkeypatch):
    import errno

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    run(capsys, "status", PAPER)
    monkeypatch.setattr("twin.meshing.build.gmsh.write", full)
    monkeypatch.setattr("twin.meshing.build.draw", small_draw)
    code, _, errors = run(capsys, "mesh", PAPER, "--output", tmp_path)
    assert code == 1 and "disk is full" in errors
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def small_draw(connector, level):
    """A mesh that is made at once, in the place of the real one."""
    from twin.meshing.recipe import draw

    small = connector.model_copy(update={"arm_bores": 1.5, "outlet_bores": 1})
    draw(small, level.model_copy(update={"wall_size": 0.4}))


@pytest.mark.field
def test_the_slurm_launcher_hands_the_sweep_to_sbatch(tmp_path, capsys, monkeypatch):
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "sbatch"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/asked\necho "no partition" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    code, _, errors = run(capsys, "sweep", PAPER, "--launcher", "slurm", "--output", tmp_path, "--ranks", "3")
    assert code == 1 and "no partition" in errors
    asked = (tmp_path / "asked").read_text()
    assert "--ntasks=3" in asked and "--wait" in asked and "--ranks 3" in asked
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, errors = run(capsys, "sweep", PAPER, "--launcher", "slurm", "--output", tmp_path)
    assert code == 1 and "no sbatch" in errors


def test_a_full_disk_under_the_output_is_told_in_words() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "twin", "status", PAPER], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: can't write the output: the disk is full") and "Traceback" not in done.stderr


def test_more_ranks_than_this_machine_can_run_are_refused_unless_a_scheduler_gave_them(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(campaign, "_follow", lambda command, *_: started.append(command))
    monkeypatch.setattr(campaign.shutil, "which", lambda name: name)
    monkeypatch.setattr(campaign.os, "cpu_count", lambda: 2)
    for name in campaign.ELSEWHERE:
        monkeypatch.delenv(name, raising=False)

    def start(ranks):
        campaign.start_workers("worker", Results(tmp_path), {}, ranks, lambda event: None)

    start(3)
    with pytest.raises(BadInput, match="500 ranks are too many for the 2 processors") as caught:
        start(500)
    assert "scheduler" in caught.value.remedy and len(started) == 1
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    start(500)
    assert started[1][:3] == ["mpirun", "-n", "500"]


def test_two_processes_in_one_folder_each_solve_what_they_were_told(tmp_path, monkeypatch):
    """The second one starts before the ranks of the first have read their job."""
    read = []

    def follow(command, *_):
        if not read and campaign.os.getpid() == 1:
            monkeypatch.setattr(campaign.os, "getpid", lambda: 2)
            start("the second")
        read.append(json.loads(Path(command[-1]).read_text())["points"])

    def start(points):
        campaign.start_workers("worker", Results(tmp_path), {"points": points}, 1, lambda event: None)

    monkeypatch.setattr(campaign, "_follow", follow)
    monkeypatch.setattr(campaign.shutil, "which", lambda name: name)
    monkeypatch.setattr(campaign.os, "getpid", lambda: 1)
    start("the first")
    assert read == ["the second", "the first"] and not list((tmp_path / "logs").glob("job*"))
