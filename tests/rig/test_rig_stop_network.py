"""Runs, and the emergency stop, through port servers of the network."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import serial
from rig_wired import assert_latched, child, fill, on_port, standing, until

from twin.case import Case
from twin.rig import Clock, RigError, Setpoint, emergency_stop, run
from twin.rig.bench import simulated_pumps
from twin.rig.errors import NotStopped
from twin.rig.operation.emergency import STOP_S
from twin.rig.planning.limits import equipment
from twin.rig.port import open_port
from twin.rig.simulated.line import SimulatedLine


@pytest.fixture
def line(case: Case) -> Iterator[SimulatedLine]:
    """Both pumps of the case in a chain, in real time and at 19200 baud: for a run they are real pumps on a port."""
    with SimulatedLine(simulated_pumps(equipment(case)), Clock(1.0), baud=19200) as simulated:
        yield simulated


def test_emergency_stop_does_not_wait_for_a_port_that_hangs(
    wired: Case, line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    def opened(url: str, *rest: Any, **options: Any) -> Any:
        if url == line.path:
            return open_port(url, *rest, **options)
        heard.append(len(line.heard))  # a host that is not there takes seconds to say so
        raise RigError("it hung", "")

    monkeypatch.setattr("twin.rig.operation.emergency.open_port", opened)
    elsewhere = wired.rig.antisolvent.model_copy(update={"port": "socket://away:1"})
    with pytest.raises(NotStopped):
        emergency_stop(wired.model_copy(update={"rig": wired.rig.model_copy(update={"antisolvent": elsewhere})}))
    assert len(heard) == 1 and heard[0] > 0, "the precursor was told only after the port that hung"


@pytest.fixture
def single(line: SimulatedLine) -> Iterator[str]:
    """A port server in front of the pumps that serves one client at a time, and hangs up on a second one."""
    server, near, ended = socket.create_server(("127.0.0.1", 0)), serial.Serial(line.path, timeout=0.02), False

    def serve() -> None:
        client: socket.socket | None = None
        while not ended:
            ready, _, _ = select.select([server, near, *([client] if client else [])], [], [], 0.05)
            if server in ready:
                one, _ = server.accept()
                if client is None:
                    client = one
                else:
                    one.close()
            elif client in ready:
                data = b""
                with suppress(ConnectionError):  # its process was killed
                    data = client.recv(256)
                if data:
                    near.write(data)
                else:
                    client.close()
                    client = None
            elif near in ready:
                data = near.read(near.in_waiting)
                if client is not None:
                    client.sendall(data)
        if client is not None:
            client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
    finally:
        ended = True
        thread.join(5)
        near.close()
        server.close()


def through(case: Case, line: SimulatedLine, url: str) -> Case:
    """The case, and its file, with both pumps behind a server of the network."""
    path = case.folder / "case.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(line.path, url), encoding="utf-8")
    return on_port(case, url)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pyserial leaves one that was hung up on
def test_emergency_stop_opens_a_server_again_that_served_a_frozen_run_alone(
    wired: Case, propose: Callable[..., Path], line: SimulatedLine, single: str
) -> None:
    away = through(wired, line, single)
    with child(away, propose) as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert not standing(line)
        began = time.monotonic()
        said = emergency_stop(away)
        took = time.monotonic() - began
        process.communicate(timeout=20)
    assert sum("verified stopped" in text for text in said) == 2
    assert standing(line) and any(b"STP" in message for message in line.heard)
    assert took < STOP_S + 2.0


@pytest.mark.parametrize("opens", ["then", "never"])
def test_a_server_that_lets_the_emergency_stop_wait_does_not_hold_up_the_end_of_the_run(
    wired: Case,
    propose: Callable[..., Path],
    line: SimulatedLine,
    single: str,
    opens: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with `rfc2217://`, where a second client waits for some seconds, and has then failed."""
    away = through(wired, line, single)
    tries: list[float] = []
    with child(away, propose) as process:
        began = time.monotonic()

        def opened(url: str, *rest: Any, **options: Any) -> Any:
            tries.append(time.monotonic())
            if len(tries) == 1:
                ended.append(until(lambda: process.poll() is not None, 10))
                time.sleep(max(3.0 - ended[0], 0.0))
            if len(tries) == 1 or opens == "never":
                raise RigError("it serves another client", "")
            return open_port(url, *rest, **options)

        ended: list[float] = []
        monkeypatch.setattr("twin.rig.operation.emergency.open_port", opened)
        if opens == "then":
            said = emergency_stop(away)
            assert f"the run of process {process.pid} was told to stop, and ended" in said
            assert sum("verified stopped" in text for text in said) == 2
        else:
            with pytest.raises(NotStopped, match="serves another client") as caught:
                emergency_stop(away)
            assert caught.value.message.count("verified stopped") == 0
        assert ended[0] < STOP_S and time.monotonic() - began < (5.0 if opens == "then" else 10.0)
        process.communicate(timeout=20)
    assert standing(line)
    assert_latched(away, "emergency stop")


def test_a_run_over_the_network(
    case: Case, setpoint: Setpoint, line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port server in front of the pumps, as `socket://`."""
    monkeypatch.setattr("twin.rig.planning.recipe.RAMP_S", 0.2)
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
        away = on_port(case, url)
        fill(away)
        result = run(away, setpoint, hold_s=1.0)
        assert result.balances["antisolvent"].agrees
        assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    finally:
        thread.join(5)
        near.close()
        server.close()
