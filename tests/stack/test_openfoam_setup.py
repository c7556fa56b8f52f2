"""OpenFOAM for `twin bench`: fetched once beside the private root, done without where it can't be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not all(map(shutil.which, ("bash", "flock"))), reason="it is for Linux"
)


def openfoam(folder: Path, maker: str, root: str = "/a/root") -> tuple[int, list[str]]:
    """What the set-up says with this body of `make_openfoam`, and whether it goes on: its status and its lines."""
    commands = f"set -euo pipefail\n. '{REPO}/scripts/stack.sh'\nTWIN_ROOT='{root}'\nmake_openfoam() {{ {maker}; }}\n"
    commands += 'openfoam\necho "goes on with ${TWIN_OPENFOAM:-none}"'
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TWIN_CACHE": str(folder / "cache")}
    done = subprocess.run(
        ["bash", "-c", commands],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_it_is_fetched_once(tmp_path: Path) -> None:
    answers = [openfoam(tmp_path, 'echo fetched; mkdir "$1"') for _ in range(2)]
    folders = sorted(path.name for path in (tmp_path / "cache").iterdir() if path.name != "lock")
    assert len(folders) == 1
    line = f"goes on with {tmp_path / 'cache' / folders[0]}"
    assert answers == [(0, ["fetched", line]), (0, [line])]


def test_where_the_fetch_fails_it_goes_on_without(tmp_path: Path) -> None:
    status, lines = openfoam(tmp_path, 'mkdir "$1"; return 1')
    assert status == 0
    assert lines[0].startswith("note: OpenFOAM can't be had")
    assert lines[1] == "goes on with none"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("status", [129, 130, 143])
def test_an_interruption_ends_all(status: int, tmp_path: Path) -> None:
    assert openfoam(tmp_path, f'mkdir "$1"; exit {status}') == (status, [])
    assert not (tmp_path / "cache").exists()


def test_without_a_private_root_the_path_decides(tmp_path: Path) -> None:
    assert openfoam(tmp_path, "echo fetched", root="") == (0, ["goes on with none"])
    assert not (tmp_path / "cache").exists()


def test_only_bench_asks_for_it() -> None:
    launcher = (REPO / "scripts" / "twin").read_text(encoding="utf-8")
    assert 'if [ "${1:-}" = bench ]; then openfoam; fi' in launcher
