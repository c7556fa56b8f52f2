"""Ports, devices and syringes that are not what they should be are refused, and nothing moves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import serial
from rig_wired import fill, on_port

from twin.case import Case
from twin.errors import BadInput
from twin.rig import Clock, Latch, RigError, Setpoint, Volumes, check, emergency_stop, rig_folder, run
from twin.rig.bench import simulated_pumps
from twin.rig.errors import NotStopped
from twin.rig.planning.limits import equipment
from twin.rig.port import open_port
from twin.rig.simulated.line import SimulatedLine


@pytest.fixture
def line(case: Case) -> Iterator[SimulatedLine]:
    """Both pumps of the case in a chain, in real time and at 19200 baud: for a run they are real pumps on a port."""
    with SimulatedLine(simulated_pumps(equipment(case)), Clock(1.0), baud=19200) as simulated:
        yield simulated


def test_a_port_that_is_not_there_is_refused(case: Case, setpoint: Setpoint) -> None:
    missing = on_port(case, "/dev/ttyNOT_THERE")
    fill(missing)
    with pytest.raises(BadInput, match="there is no port /dev/ttyNOT_THERE"):
        run(missing, setpoint)
    assert not list(rig_folder(case).glob("journal-*.jsonl"))  # nothing was begun
    assert Latch(rig_folder(case)).reason() is None
    with pytest.raises(NotStopped, match="there is no port"):
        emergency_stop(missing)


def test_real_syringes_that_nobody_told_of_are_refused(
    case: Case, setpoint: Setpoint, line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin.rig.planning.recipe.RAMP_S", 0.2)
    real = on_port(case, line.path)
    with pytest.raises(
        BadInput, match="nobody has said what the antisolvent and the precursor syringes hold"
    ) as caught:
        run(real, setpoint)
    assert "twin rig refill" in caught.value.remedy
    Volumes.open(rig_folder(real)).refill("antisolvent", "steel-50ml", 50.0)
    with pytest.raises(BadInput, match="what the precursor syringe holds"):
        run(real, setpoint)
    assert not [message for message in line.heard if b"RUN" in message]
    fill(real)
    assert run(real, setpoint, hold_s=0.5).ok
    left = Volumes.open(rig_folder(real)).left("antisolvent")
    assert left is not None
    assert left.left_ml == pytest.approx(line.pumps[0].volume_ml, abs=0.011)


def test_an_empty_syringe_is_refused_in_words_by_a_dry_run_too(wired: Case, setpoint: Setpoint) -> None:
    Volumes.open(rig_folder(wired)).refill("antisolvent", "steel-50ml", 50.0, left_ml=0.0)
    for action in (check, run):
        with pytest.raises(BadInput, match="nothing is for certain in the syringe of the antisolvent pump"):
            action(wired, setpoint)


def test_what_is_no_serial_port_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", Path("/dev/null"), Path("/dev/random"), tmp_path):
        with pytest.raises(BadInput, match="is no serial port"):
            open_port(str(path), 19200)
    for url in ("nonsense://x", "socket://nowhere", "rfc2217://nowhere", "socket://nowhere:99999"):
        with pytest.raises(BadInput, match="HOST:PORT"):
            open_port(url, 19200)


def test_a_port_in_use_is_refused(wired: Case, setpoint: Setpoint, line: SimulatedLine) -> None:
    held = open_port(line.path, 19200)
    try:
        with pytest.raises(RigError, match="in use by another program"):
            run(wired, setpoint)
    finally:
        held.close()
    assert not line.heard


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
    monkeypatch.setattr("twin.rig.operation.stopping.stop_all.__defaults__", (0.3,))
    monkeypatch.setattr("twin.rig.bench.open_port", partial(open_port, deadline_s=0.1))
    wrong = on_port(case, echo)
    fill(wrong)
    with pytest.raises(RigError, match=r"is no reply of a New Era pump|came from socket") as caught:
        run(wrong, setpoint)
    assert not isinstance(caught.value, NotStopped)  # it was never started


def test_swapped_pumps_are_refused(case: Case, setpoint: Setpoint, line: SimulatedLine) -> None:
    swapped = on_port(case, line.path)
    rig = swapped.rig
    addresses = {
        "antisolvent": rig.antisolvent.model_copy(update={"address": 1}),
        "precursor": rig.precursor.model_copy(update={"address": 0}),
    }
    swapped = swapped.model_copy(update={"rig": rig.model_copy(update=addresses)})
    fill(swapped)
    with pytest.raises(BadInput, match="are the two pumps swapped"):
        run(swapped, setpoint)
    assert Latch(rig_folder(case)).reason() is None
    assert b"00RUN" not in line.heard
    assert b"01RUN" not in line.heard
