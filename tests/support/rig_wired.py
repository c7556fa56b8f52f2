"""A rig on a real port of this computer, and a run on it in another process."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from twin.case import Case
from twin.rig import Latch, Latched, Volumes, load_setpoint, rig_folder, run
from twin.rig.simulated.line import SimulatedLine

CHILD = """
import sys, time
from pathlib import Path
from twin.case import load
from twin.rig import load_setpoint, run
from twin.rig.planning import recipe

def tell(progress):
    print(progress.kind, flush=True)
    while "hang" in sys.argv and progress.kind == "hold":
        try:
            time.sleep(60)
        except BaseException:  # neither a signal nor anything else brings it back
            pass

recipe.RAMP_S = 0.2
case = load(sys.argv[1])
run(case, load_setpoint(Path(sys.argv[2]), case), hold_s=20.0, on_progress=tell)
"""
#: Syringes of the paper's case, 50 mL each.
SYRINGES = {"antisolvent": "steel-50ml", "precursor": "glass-50ml"}


def wired_case(case: Case, line: SimulatedLine, folder: Path) -> Case:
    """The case with its pumps on that port, in a folder."""
    folder.mkdir()
    text = (Path(__file__).parents[2] / "cases" / "liang2023" / "case.toml").read_text(encoding="utf-8")
    for role in ("antisolvent", "precursor"):
        text = text.replace(f"[rig.{role}]", f'[rig.{role}]\nport = "{line.path}"')
    (folder / "case.toml").write_text(text, encoding="utf-8")
    made = on_port(case, line.path).model_copy(update={"folder": folder})
    fill(made)
    return made


def fill(case: Case) -> None:
    """The operator says that both syringes are full."""
    volumes = Volumes.open(rig_folder(case))
    for role, name in SYRINGES.items():
        volumes.refill(role, name, 50.0, by="the operator")


def standing(line: SimulatedLine) -> bool:
    return [line.state(address)[0] for address in (0, 1)] == ["S", "S"]


def until(done: Callable[[], bool], seconds: float) -> float:
    """Waits until it is so, and returns how long that took, s."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() < began + seconds, f"not within {seconds:g} s"
        time.sleep(0.005)
    return time.monotonic() - began


def on_port(case: Case, port: str) -> Case:
    changes = {role: getattr(case.rig, role).model_copy(update={"port": port}) for role in ("antisolvent", "precursor")}
    return case.model_copy(update={"rig": case.rig.model_copy(update=changes)})


@contextmanager
def child(case: Case, propose: Callable[..., Path], *options: str, **changes: Any) -> Iterator[subprocess.Popen[str]]:
    """A run in another process, which holds its setpoint when the block begins; with "hang" it hangs there."""
    command = [sys.executable, "-c", CHILD, str(case.folder), str(propose(**changes)), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        end = time.monotonic() + 60
        output = process.stdout
        while output is not None and time.monotonic() < end:
            ready, _, _ = select.select([output], [], [], 1.0)
            text = output.readline() if ready else ""
            if text.strip() == "hold":
                break
            if process.poll() is not None:
                pytest.fail(process.stderr.read() if process.stderr else "")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def assert_latched(case: Case, words: str) -> None:
    latched = Latch(rig_folder(case)).reason()
    assert latched is not None
    assert words in latched.message
    with pytest.raises(Latched, match=words):
        run(case, load_setpoint(case.folder.parent / "setpoint.json", case))
