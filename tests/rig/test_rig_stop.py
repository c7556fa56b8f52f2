"""The emergency stop from outside: whoever started the rig, and whatever hangs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig_wired import SYRINGES, assert_latched, child, standing, until

from twin.case import Case
from twin.cli.main import main
from twin.rig import Clock, emergency_stop, rig_folder, verify
from twin.rig.bench import simulated_pumps
from twin.rig.errors import NotStopped
from twin.rig.operation.emergency import STOP_S, _ended
from twin.rig.operation.runlock import NAME, holder, noted_places
from twin.rig.planning.limits import equipment
from twin.rig.port import open_port
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.line import SimulatedLine


@pytest.fixture
def line(case: Case) -> Iterator[SimulatedLine]:
    """Both pumps of the case in a chain, in real time and at 19200 baud: for a run they are real pumps on a port."""
    with SimulatedLine(simulated_pumps(equipment(case)), Clock(1.0), baud=19200) as simulated:
        yield simulated


@pytest.mark.parametrize("level", ["coarse", "fine"])
def test_emergency_stop_ends_another_process_and_verifies_the_pumps(
    wired: Case, propose: Callable[..., Path], line: SimulatedLine, level: str
) -> None:
    """Whatever mesh the setpoint was computed on: all runs of a case share one folder."""
    with child(wired, propose, level=level) as process:
        lock = holder(rig_folder(wired))
        assert lock is not None
        assert (lock["pid"], {place.port for place in noted_places(lock)}) == (process.pid, {line.path})
        before = len(line.heard)
        began = time.monotonic()
        said = emergency_stop(wired)
        took = time.monotonic() - began
        process.communicate(timeout=20)
    print(f"\nemergency stop of a healthy run: verified after {took:.2f} s")
    assert took < 4
    assert f"the run of process {process.pid} was told to stop, and ended" in said
    assert sum("verified stopped" in text for text in said) == 2
    assert standing(line)
    stop = next(index for index, message in enumerate(line.heard[before:], before) if b"STP" in message)
    assert not [message for message in line.heard[stop:] if b"RUN" in message]
    assert holder(rig_folder(wired)) is None
    assert all(verify(path).ended for path in rig_folder(wired).glob("*.jsonl"))
    assert len(list(rig_folder(wired).glob("stop-*.jsonl"))) == 1
    assert_latched(wired, "emergency stop")


def test_an_emergency_stop_of_healthy_pumps_is_quick(wired: Case, line: SimulatedLine) -> None:
    """From the call to the second pump verified; both run, and nobody holds them."""
    for pump in line.pumps.values():
        pump.execute("", line.clock.now())  # the alarm of being switched on
        for command in ("RAT500MH", "RUN"):
            pump.execute(command, line.clock.now())
    assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
    began = time.monotonic()
    said = emergency_stop(wired)
    took = time.monotonic() - began
    print(f"\nemergency stop of two running pumps at 19200 baud: verified after {took:.3f} s")
    assert took < 2
    assert sum("verified stopped" in text for text in said) == 2
    assert standing(line)


@pytest.mark.parametrize("how", ["frozen", "hangs"])
def test_emergency_stop_of_a_process_that_does_not_answer(
    wired: Case, propose: Callable[..., Path], line: SimulatedLine, how: str
) -> None:
    """The stops go out before anybody waits for the other process, which is killed in the end."""
    with child(wired, propose, *(["hang"] if how == "hangs" else [])) as process:
        if how == "frozen":
            os.kill(process.pid, signal.SIGSTOP)
        assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
        stood: list[float] = []
        began = time.monotonic()

        def watch() -> None:
            until(lambda: not {line.state(address)[0] for address in (0, 1)} & set("IWX"), 10)
            stood.append(time.monotonic() - began)

        watcher = threading.Thread(target=watch)
        watcher.start()
        said = emergency_stop(wired)
        took = time.monotonic() - began
        watcher.join()
        process.communicate(timeout=20)
    print(
        f"\nemergency stop of a process that does not answer ({how}): both pumps stood after {stood[0]:.2f} s,"
        f" verified after {took:.2f} s"
    )
    assert stood[0] < STOP_S  # long before the other process was killed
    assert process.returncode == -signal.SIGKILL
    assert f"the run of process {process.pid} did not answer for {STOP_S:g} s, and was killed" in said
    assert sum("verified stopped" in text for text in said) == 2
    assert standing(line)
    assert_latched(wired, "emergency stop")


def test_emergency_stop_after_a_killed_run(wired: Case, propose: Callable[..., Path], line: SimulatedLine) -> None:
    """A process that is killed can't stop its pumps: its lock is gone with it, and the pumps run on for a while."""
    with child(wired, propose) as process:
        process.kill()
        process.communicate(timeout=20)
    assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
    assert holder(rig_folder(wired)) is None
    said = emergency_stop(wired)
    assert sum("verified stopped" in text for text in said) == 2
    assert standing(line)
    (path,) = rig_folder(wired).glob("journal-*.jsonl")
    assert not verify(path).ended
    assert_latched(wired, "emergency stop")


@pytest.mark.parametrize("changed", ["no = = TOML", f"deep = {'[' * 5000}", "elsewhere"], ids=["TOML", "deep", "port"])
def test_emergency_stop_after_a_killed_run_reaches_its_pumps_though_the_case_has_changed(
    wired: Case, propose: Callable[..., Path], line: SimulatedLine, changed: str
) -> None:
    with child(wired, propose) as process:
        process.kill()
        process.communicate(timeout=20)
    path = wired.folder / "case.toml"
    path.write_text(path.read_text().replace(line.path, "/dev/nowhere") if changed == "elsewhere" else changed)
    assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
    assert main(["rig", "stop", str(wired.folder)]) == (1 if changed == "elsewhere" else 0)
    assert standing(line) and any(b"STP" in message for message in line.heard)
    assert_latched(wired, "emergency stop")


def test_emergency_stop_says_what_it_can_not_verify(
    wired: Case, line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin.rig.operation.stopping.stop_all.__defaults__", (0.5,))
    line.inject(Fault.SILENCE, 1)
    with pytest.raises(NotStopped, match="precursor pump") as caught:
        emergency_stop(wired)
    assert "antisolvent pump (NE-1010, address 0 on" in caught.value.message
    assert caught.value.message.count("NOT VERIFIED") == 1
    assert caught.value.message.count("verified stopped") == 1


@pytest.mark.parametrize(("baud", "expected"), [(None, 19200), (9600, 9600)])
def test_emergency_stop_speaks_as_fast_as_the_case_says(
    wired: Case, line: SimulatedLine, baud: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []

    def opened(url: str, speed: int, *rest: Any, **options: Any) -> Any:
        used.append(speed)
        return open_port(url, speed, *rest, **options)

    monkeypatch.setattr("twin.rig.operation.emergency.open_port", opened)
    changes = {role: getattr(wired.rig, role).model_copy(update={"baud": baud}) for role in SYRINGES}
    emergency_stop(wired.model_copy(update={"rig": wired.rig.model_copy(update=changes)}))
    assert used == [expected]


def test_emergency_stop_of_a_simulated_rig_says_that_there_is_nothing(case: Case) -> None:
    said = "\n".join(emergency_stop(case))
    assert "no run of this rig is under way" in said
    assert "simulated, so there is no port to open" in said


def test_emergency_stop_works_without_a_place_for_its_journal(
    wired: Case, line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(wired.folder / "results")
    (wired.folder / "results").write_text("in the way")
    said = emergency_stop(wired)
    assert sum("verified stopped" in text for text in said) == 2
    assert any("NOT LATCHED" in text for text in said)
    assert any("no journal" in text for text in said)


def test_a_lock_of_nobody_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps({"pid": 1}))
    assert holder(tmp_path) is None
    said: list[str] = []
    assert _ended(tmp_path, said) is None
    assert said == ["no run of this rig is under way"]
