"""The set-up: whole or not at all, one at a time, made once, and in words when it can't be. Nothing is downloaded here:
the programs that download are stubs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
NEEDED = ("bash", "flock", "mount", "setsid", "setpriv", "unshare")

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not all(map(shutil.which, NEEDED)), reason="the set-up is for Linux"
)
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid")
    or os.geteuid() != 0
    or subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0,
    reason="takes root rights and mounting",
)

# A Python with dolfinx that is a shell script: it answers what the set-up asks, and writes down what it was told to do.
PYTHON = """#!/bin/bash
case "$*" in
  "- "*pyproject.toml) printf '%s\\n' "$0" "$COMPLETE" ;;
  "- "*) cat >/dev/null ;;
  -VV) echo "Python 3.13 of $0" ;;
  "-m venv "*) mkdir -p "${@: -1}/bin"; cp "$0" "${@: -1}/bin/python"; echo venv >>"$CALLS" ;;
  "-m pip "*) echo pip >>"$CALLS"; [ -z "$OFFLINE" ] || { echo "No matching distribution found"; exit 1; } ;;
esac
"""


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    with process:
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, output


class Machine:
    """A machine made of stubs, and a cache folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "a cache"
        self.calls = folder / "calls"
        self.stubs = folder / "stubs"
        self.stubs.mkdir()
        self.calls.touch()
        self.environment = {
            "PATH": f"{self.stubs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "TWIN_CACHE": str(self.cache),
            "CALLS": str(self.calls),
            "COMPLETE": "",
            "OFFLINE": "",
        }

    def stub(self, name: str, text: str) -> Path:
        file = self.stubs / name
        file.write_text(text if text.startswith("#!") else f"#!/bin/bash\n{text}\n", encoding="utf-8")
        file.chmod(0o755)
        return file

    def start(self, commands: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", f"set -euo pipefail\n. '{REPO}/scripts/stack.sh'\n{commands}"],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            start_new_session=True,
        )

    def run(self, commands: str, **environment: str) -> tuple[int, str]:
        return finish(self.start(commands, **environment))

    def called(self) -> list[str]:
        return self.calls.read_text(encoding="utf-8").split()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


MAKER = 'maker() { echo made >>"$CALLS"; mkdir "$1"; sleep "${SLOW:-0}"; echo whole >"$1/content"; }\n'
BUILD = MAKER + 'build "$TWIN_CACHE/thing" maker\n'
# One that hangs, with a child of its own that hangs as well.
HANG = 'maker() { mkdir "$1"; quietly working bash -c "sleep 300 & echo \\$! >\'$TWIN_CACHE/../child\'; wait"; }\n'
HANG += 'build "$TWIN_CACHE/thing" maker\n'


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 20
    while not (file.exists() and file.read_text(encoding="utf-8").strip()):
        assert time.monotonic() < deadline, f"{file} never came"
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether it runs: a zombie that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(process: int) -> bool:
    deadline = time.monotonic() + 5
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(process)


def test_what_is_made_is_made_once(machine: Machine) -> None:
    for _ in range(2):
        status, output = machine.run(BUILD)
        assert status == 0, output
    assert machine.called() == ["made"]
    assert sorted(path.name for path in machine.cache.iterdir()) == ["lock", "thing"]


def test_a_second_one_waits_and_uses_what_the_first_has_made(machine: Machine) -> None:
    first = machine.start(BUILD, SLOW="2")
    wait_for(machine.calls)
    status, output = machine.run(BUILD + 'cat "$TWIN_CACHE/thing/content"')
    assert finish(first)[0] == 0
    assert status == 0
    assert "waiting for another set-up" in output
    assert output.endswith("whole\n")
    assert machine.called() == ["made"]


def test_one_that_waited_for_a_set_up_that_failed_makes_it_itself(machine: Machine) -> None:
    first = machine.start(BUILD.replace("echo whole", "exit 4; echo whole"), SLOW="2")
    wait_for(machine.calls)
    status, output = machine.run(BUILD)
    assert finish(first)[0] == 4
    assert status == 0, output
    assert (machine.cache / "thing" / "content").exists()


def test_a_set_up_that_fails_leaves_nothing(machine: Machine) -> None:
    status, output = machine.run('maker() { mkdir "$1"; touch "$1/half"; return 3; }\nbuild "$TWIN_CACHE/thing" maker')
    assert status == 3, output
    assert not machine.cache.exists()


@pytest.mark.parametrize(("sent", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_set_up_ends_its_children_and_leaves_nothing(
    machine: Machine, sent: signal.Signals, expected: int
) -> None:
    heard = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # below nohup it is ignored, and children inherit that
    try:
        process = machine.start(HANG)
    finally:
        signal.signal(signal.SIGHUP, heard)
    wait_for(machine.folder / "child")
    os.kill(process.pid, sent)
    status, output = finish(process)
    assert status == expected, output
    assert gone(int((machine.folder / "child").read_text(encoding="utf-8")))
    assert not machine.cache.exists()


def test_what_a_killed_set_up_left_is_cleared_by_the_next(machine: Machine) -> None:
    process = machine.start(BUILD.replace('sleep "${SLOW:-0}"', "quietly working sleep 300"))
    wait_for(machine.calls)
    time.sleep(0.5)
    process.kill()
    finish(process)
    assert (machine.cache / "thing.partial").exists()
    status, output = machine.run(BUILD)
    assert status == 0, output
    assert sorted(path.name for path in machine.cache.iterdir()) == ["lock", "thing"]


@as_root
def test_what_is_mounted_in_leftovers_survives(machine: Machine) -> None:
    precious = machine.folder / "precious"
    precious.mkdir()
    (precious / "data").touch()
    mount_point = machine.cache / "thing.partial" / "tree" / "a home"
    mount_point.mkdir(parents=True)
    script = f"mount --bind '{precious}' '{mount_point}'\n{BUILD}"
    status, output = machine.run(f"unshare --mount bash -c {quoted(script)}")
    assert status == 0, output
    assert (precious / "data").exists()


def quoted(script: str) -> str:
    return "'" + f"set -euo pipefail; . {REPO}/scripts/stack.sh\n{script}".replace("'", "'\\''") + "'"


def test_a_cache_that_cant_be_written_is_said(machine: Machine) -> None:
    machine.cache.write_text("a file", encoding="utf-8")
    status, output = machine.run(BUILD)
    assert status == 1
    assert "can't be written" in output
    assert "TWIN_CACHE" in output


def test_too_little_room_is_said_before_anything_is_made(machine: Machine) -> None:
    machine.stub("df", "printf 'head\\ntmpfs 9 9 1000 9%% /\\n'")
    status, output = machine.run('maker() { room 4; mkdir "$1"; }\nbuild "$TWIN_CACHE/thing" maker')
    assert status == 1
    assert "4 GB are needed" in output
    assert not machine.cache.exists()


def test_a_full_disk_is_told_from_a_missing_network(machine: Machine) -> None:
    maker = "maker() { quietly working sh -c 'echo write: No space left on device; exit 1' || remedy '?'; }\n"
    status, output = machine.run(maker + 'build "$TWIN_CACHE/thing" maker')
    assert status == 1
    assert "too little room" in output
    assert "conda" not in output


# ---- the private root

NO_DOLFINX = "active_python() { return 1; }\n"


def root_machine(machine: Machine, mmdebstrap: str) -> None:
    machine.stub("mmdebstrap", mmdebstrap)
    machine.stub("apt-get", "exit 100")
    machine.stub("apt-config", "exit 0")
    machine.stub("id", "echo 0")
    machine.stub("df", "printf 'head\\ntmpfs 9 9 99999999 9%% /\\n'")
    machine.stub("unshare", 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"')


ROOT_ONLY = NO_DOLFINX + "host_tools() { :; }\nmake_venv() { exit 9; }\nstack"


def test_the_root_is_made_once_and_before_the_venv(machine: Machine) -> None:
    root_machine(machine, 'echo mmdebstrap >>"$CALLS"; mkdir "${@: -1}"; printf "%s\\n" "$@" >"${@: -1}/arguments"')
    for _ in range(2):
        assert machine.run(ROOT_ONLY)[0] == 9
    assert machine.called() == ["mmdebstrap"]
    (root,) = machine.cache.glob("root-*")
    arguments = (root / "arguments").read_text(encoding="utf-8")
    assert "python3-dolfinx-real" in arguments
    assert "libopenblas0-pthread" in arguments
    assert arguments.split("\n")[-3] == "trixie"


def test_another_suite_is_another_root(machine: Machine) -> None:
    root_machine(machine, 'mkdir "${@: -1}"')
    machine.run(ROOT_ONLY)
    machine.run(ROOT_ONLY, TWIN_SUITE="sid")
    assert len(list(machine.cache.glob("root-*"))) == 2


def test_the_proxy_of_apt_reaches_the_root(machine: Machine) -> None:
    root_machine(machine, 'mkdir "${@: -1}"; printf "%s\\n" "$@" >"${@: -1}/arguments"')
    machine.stub("apt-config", 'case $3 in *::http::*) echo "proxy=\'http://proxy:3128\'" ;; esac')
    machine.run(ROOT_ONLY)
    (root,) = machine.cache.glob("root-*")
    assert 'Acquire::http::Proxy "http://proxy:3128"' in (root / "arguments").read_text(encoding="utf-8")


def test_without_network_it_says_what_to_install_and_leaves_nothing(machine: Machine) -> None:
    root_machine(machine, 'mkdir "${@: -1}"; echo "Temporary failure resolving"; exit 1')
    status, output = machine.run(ROOT_ONLY)
    assert status == 1
    assert "Temporary failure resolving" in output
    assert "conda env create -f environment.yml\n    conda activate yjunction-twin" in output
    assert not machine.cache.exists()


@pytest.mark.parametrize(
    ("stub", "reason"),
    [(("id", "echo 1000"), "root rights"), (("unshare", "exit 1"), "may not mount")],
)
def test_without_rights_it_says_what_to_install_and_leaves_nothing(
    machine: Machine, stub: tuple[str, str], reason: str
) -> None:
    root_machine(machine, "exit 1")
    machine.stub(*stub)
    status, output = machine.run(ROOT_ONLY)
    assert status == 1
    assert reason in output
    assert "conda activate" in output
    assert not machine.cache.exists()


@as_root
def test_a_command_in_the_root_finds_the_hosts_files_and_can_change_nothing_else(machine: Machine) -> None:
    """The root is made of this machine's own programs; what matters is what scripts/enter lays over it."""
    root = machine.folder / "root"
    for name in ("usr", "etc", "proc", "dev"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    here = machine.folder / "a case"
    here.mkdir()
    command = 'pwd; touch made; touch /etc/made 2>/dev/null || echo protected; [ "$(echo in | cat)" ]; exit 7'
    status, output = machine.run(
        f"export TWIN_ROOT='{root}' TWIN_CACHE TWIN_REPO\ncd '{here}'\n"
        "unshare --mount bash -c 'mount --rbind /usr \"$TWIN_ROOT/usr\" && exec \"$@\"' - "
        f"bash \"$TWIN_REPO/scripts/enter\" bash -c '{command}'"
    )
    assert output.splitlines() == [str(here), "protected"]
    assert status == 7
    assert (here / "made").exists()


# ---- an active Python that has dolfinx


def test_an_active_python_with_dolfinx_is_used_and_gets_its_venv_once(machine: Machine) -> None:
    python = machine.stub("python3", PYTHON)
    machine.stub("mmdebstrap", 'echo mmdebstrap >>"$CALLS"')
    for offline in ("", "yes"):
        status, output = machine.run('stack; echo "$TWIN_ROOT|$TWIN_BASE|$TWIN_VENV"', OFFLINE=offline)
        assert status == 0, output
    root, base, venv = output.splitlines()[-1].split("|")
    assert (root, base) == ("", str(python))
    assert Path(venv).parent == machine.cache
    assert machine.called() == ["venv", "pip"]


def test_the_lab_venv_is_another_and_lacks_the_field_packages(machine: Machine) -> None:
    machine.stub("python3", PYTHON)
    commands = 'stack\nlab=$(venv_folder "$TWIN_BASE" lab)\n'
    commands += 'make_twice() { make_venv "$@"; grep -E "^(gmsh|meshio|numpy)==" "$TWIN_SCRATCH/wanted"; }\n'
    commands += 'build "$lab" make_twice "$TWIN_BASE" lab; [ "$lab" != "$TWIN_VENV" ]'
    status, output = machine.run(commands)
    assert status == 0, output
    assert "numpy==" in output
    assert "gmsh==" not in output


def test_a_python_that_has_everything_needs_no_venv(machine: Machine) -> None:
    machine.stub("python3", PYTHON)
    status, output = machine.run('stack; echo "$TWIN_PYTHON|$TWIN_VENV"', COMPLETE="/opt/environment")
    assert status == 0, output
    assert output == f"{machine.stubs}/python3|/opt/environment\n"
    assert not machine.cache.exists()


def test_packages_that_cant_be_had_are_said_and_nothing_is_left(machine: Machine) -> None:
    machine.stub("python3", PYTHON)
    status, output = machine.run("stack", OFFLINE="yes")
    assert status == 1
    assert "No matching distribution found" in output
    assert "needs the network once" in output
    assert not machine.cache.exists()


def test_a_closed_standard_input_is_no_obstacle(machine: Machine) -> None:
    status, output = machine.run(f"bash -c {quoted(BUILD + 'cat')} <&-")
    assert status == 0, output
