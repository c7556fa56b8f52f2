"""From outside: another process is interrupted or told to stop, and ports that are not what they should be."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import serial

from twin.case import Case
from twin.errors import BadInput
from twin.rig import Clock, RigError, Setpoint, emergency_stop, read, rig_folder, run, verify
from twin.rig.bench import simulated_line
from twin.rig.emergency import _signal_run
from twin.rig.errors import NotStopped
from twin.rig.limits import equipment
from twin.rig.port import open_port
from twin.rig.runlock import NAME, holder
from twin.rig.simulated.line import Fault, SimulatedLine

CHILD = """
import sys
from pathlib import Path
from twin.case import load
from twin.rig import load_setpoint, planning, run

planning.RAMP_S = 0.2
case = load(sys.argv[1])
setpoint = load_setpoint(Path(sys.argv[2]), case)
run(case, setpoint, hold_s=20.0, folder=Path(sys.argv[3]), on_progress=lambda p: print(p.kind, flush=True))
"""


@pytest.fixture
def line(case: Case) -> Iterator[SimulatedLine]:
    """Both pumps of the case in a chain, in real time: for a run they are real pumps on a port."""
    with simulated_line(equipment(case), Clock(1.0)) as simulated:
        yield simulated


@pytest.fixture
def wired(case: Case, line: SimulatedLine, tmp_path: Path) -> Case:
    """The case with its pumps on that port, in a folder."""
    folder = tmp_path / "wired"
    folder.mkdir()
    text = (Path(__file__).parents[2] / "cases" / "liang2023" / "case.toml").read_text(encoding="utf-8")
    for role in ("antisolvent", "precursor"):
        text = text.replace(f"[rig.{role}]", f'[rig.{role}]\nport = "{line.path}"')
    (folder / "case.toml").write_text(text, encoding="utf-8")
    return on_port(case, line.path).model_copy(update={"folder": folder})


def on_port(case: Case, port: str) -> Case:
    changes = {role: getattr(case.rig, role).model_copy(update={"port": port}) for role in ("antisolvent", "precursor")}
    return case.model_copy(update={"rig": case.rig.model_copy(update=changes)})


@contextmanager
def child(case: Case, propose: Callable[..., Path], where: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A run in another process, which holds its setpoint when the block begins."""
    command = [sys.executable, "-c", CHILD, str(case.folder), str(propose()), str(where or rig_folder(case))]
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


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "RunStopped")])
def test_a_signal_to_another_process_stops_both_pumps(
    wired: Case, propose: Callable[..., Path], line: SimulatedLine, number: int, name: str
) -> None:
    with child(wired, propose) as process:
        assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=20)
    assert name in errors
    assert process.returncode != 0
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    (path,) = rig_folder(wired).glob("journal-*.jsonl")
    checked = verify(path)
    assert checked.intact
    assert checked.ended
    assert sum(entry["event"] == "stopped" for entry in read(path)) == 2


def test_emergency_stop_ends_another_process_and_verifies_the_pumps(
    wired: Case, propose: Callable[..., Path], line: SimulatedLine
) -> None:
    with child(wired, propose) as process:
        lock = holder(rig_folder(wired))
        assert lock is not None
        assert (lock["pid"], lock["ports"]) == (process.pid, [line.path])
        said = emergency_stop(wired)
        process.communicate(timeout=20)
    assert f"the run of process {process.pid} was told to stop, and ended" in said
    assert sum("verified stopped" in text for text in said) == 2
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    assert holder(rig_folder(wired)) is None
    assert all(verify(path).ended for path in rig_folder(wired).glob("*.jsonl"))
    assert len(list(rig_folder(wired).glob("stop-*.jsonl"))) == 1


def test_emergency_stop_finds_the_run_of_another_level(
    wired: Case, propose: Callable[..., Path], line: SimulatedLine
) -> None:
    fine = wired.folder / "results" / "fine" / "rig"
    with child(wired, propose, fine) as process:
        said = emergency_stop(wired, folder=wired.folder / "results" / "coarse" / "rig")
        process.communicate(timeout=20)
    assert f"the run of process {process.pid} was told to stop, and ended" in said
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]


def test_emergency_stop_after_a_killed_run(wired: Case, propose: Callable[..., Path], line: SimulatedLine) -> None:
    """A process that is killed can't stop its pumps: its lock is gone with it, and the pumps run on."""
    with child(wired, propose) as process:
        process.kill()
        process.communicate(timeout=20)
    assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
    assert holder(rig_folder(wired)) is None
    said = emergency_stop(wired)
    assert sum("verified stopped" in text for text in said) == 2
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    (path,) = rig_folder(wired).glob("journal-*.jsonl")
    assert not verify(path).ended


def test_emergency_stop_says_what_it_can_not_verify(
    wired: Case, line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin.rig.pumps.newera.NewEraPump.stop.__defaults__", (0.3,), raising=False)
    line.inject(Fault.SILENCE, 1)
    with pytest.raises(NotStopped, match="precursor pump") as caught:
        emergency_stop(wired)
    assert "antisolvent pump (NE-1010, address 0 on" in caught.value.message
    assert caught.value.message.count("verified stopped") == 1


def test_emergency_stop_of_a_simulated_rig_says_that_there_is_nothing(case: Case) -> None:
    said = "\n".join(emergency_stop(case))
    assert "no run of liang2023 is under way" in said
    assert "simulated, so there is no port to open" in said


def test_emergency_stop_works_without_a_place_for_its_journal(
    wired: Case, line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (wired.folder / "results").write_text("in the way")
    said = emergency_stop(wired)
    assert sum("verified stopped" in text for text in said) == 2
    assert any("no journal" in text for text in said)


def test_a_lock_of_nobody_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps({"pid": 1}))
    assert holder(tmp_path) is None
    assert _signal_run(tmp_path) == []


def test_a_port_that_is_not_there_is_refused(case: Case, setpoint: Setpoint) -> None:
    missing = on_port(case, "/dev/ttyNOT_THERE")
    with pytest.raises(BadInput, match="there is no port /dev/ttyNOT_THERE"):
        run(missing, setpoint)
    with pytest.raises(BadInput, match="there is no port"):
        emergency_stop(missing)
    (path,) = rig_folder(case).glob("journal-*.jsonl")
    assert read(path)[-1]["status"] == "failed"
    assert verify(path).ended


def test_what_is_no_serial_port_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", Path("/dev/null"), tmp_path):
        with pytest.raises(BadInput, match="is no serial port"):
            open_port(str(path), 19200)
    for url in ("nonsense://x", "socket://nowhere"):
        with pytest.raises((BadInput, RigError)):
            open_port(url, 19200)


def test_a_port_in_use_is_refused(wired: Case, setpoint: Setpoint, line: SimulatedLine) -> None:
    held = open_port(line.path, 19200)
    try:
        with pytest.raises(RigError, match="in use by another program"):
            run(wired, setpoint)
    finally:
        held.close()


def test_no_permission_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise serial.SerialException(13, "could not open port: Permission denied")

    monkeypatch.setattr("serial.serial_for_url", denied)
    with pytest.raises(BadInput, match="no permission"):
        open_port("/dev/ttyUSB0", 19200)


@pytest.fixture
def echo() -> Iterator[str]:
    """A device that is no pump: it sends back what it hears."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(1024):
                connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"socket://127.0.0.1:{server.getsockname()[1]}"
    thread.join(5)
    server.close()


def test_a_wrong_device_is_refused(case: Case, setpoint: Setpoint, echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin.rig.pumps.newera.NewEraPump.stop.__defaults__", (0.3,), raising=False)
    monkeypatch.setattr("twin.rig.bench.open_port", partial(open_port, deadline_s=0.1))
    with pytest.raises(RigError, match="came from socket") as caught:
        run(on_port(case, echo), setpoint)
    assert not isinstance(caught.value, NotStopped)  # it was never started


def test_swapped_pumps_are_refused(case: Case, setpoint: Setpoint, line: SimulatedLine) -> None:
    swapped = on_port(case, line.path)
    rig = swapped.rig
    addresses = {
        "antisolvent": rig.antisolvent.model_copy(update={"address": 1}),
        "precursor": rig.precursor.model_copy(update={"address": 0}),
    }
    swapped = swapped.model_copy(update={"rig": rig.model_copy(update=addresses)})
    with pytest.raises(BadInput, match="are the two pumps swapped"):
        run(swapped, setpoint)
    assert b"00RUN" not in line.heard
    assert b"01RUN" not in line.heard


def test_a_run_over_the_network(
    case: Case, setpoint: Setpoint, line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port server in front of the pumps, as `socket://`."""
    monkeypatch.setattr("twin.rig.planning.RAMP_S", 0.2)
    server = socket.create_server(("127.0.0.1", 0))
    near = serial.Serial(line.path, timeout=0.02)

    def bridge() -> None:
        connection, _ = server.accept()
        with connection:
            while True:
                ready, _, _ = select.select([connection, near], [], [], 1.0)
                if connection in ready:
                    data = connection.recv(256)
                    if not data:
                        return
                    near.write(data)
                if near in ready:
                    connection.sendall(near.read(near.in_waiting))

    thread = threading.Thread(target=bridge)
    thread.start()
    try:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        result = run(on_port(case, url), setpoint, hold_s=1.0)
        assert result.balances["antisolvent"].agrees
        assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    finally:
        thread.join(5)
        near.close()
        server.close()
