"""From outside: another process is interrupted or told to stop, and ports that are not what they should be."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import serial

from twin.case import Case
from twin.cli.main import main
from twin.errors import BadInput
from twin.rig import (
    Clock,
    Latch,
    Latched,
    Progress,
    RigError,
    Setpoint,
    Volumes,
    check,
    emergency_stop,
    load_setpoint,
    read,
    rig_folder,
    run,
    verify,
)
from twin.rig.bench import simulated_pumps
from twin.rig.errors import NotStopped
from twin.rig.operation.emergency import STOP_S, _ended
from twin.rig.operation.runlock import NAME, holder, noted_places
from twin.rig.operation.session import GUARD_S
from twin.rig.planning.limits import equipment
from twin.rig.port import open_port
from twin.rig.simulated.faults import Fault
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


@pytest.fixture
def line(case: Case) -> Iterator[SimulatedLine]:
    """Both pumps of the case in a chain, in real time and at 19200 baud: for a run they are real pumps on a port."""
    with SimulatedLine(simulated_pumps(equipment(case)), Clock(1.0), baud=19200) as simulated:
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
    assert Latch(rig_folder(wired)).reason() is None


def assert_latched(case: Case, words: str) -> None:
    latched = Latch(rig_folder(case)).reason()
    assert latched is not None
    assert words in latched.message
    with pytest.raises(Latched, match=words):
        run(case, load_setpoint(case.folder.parent / "setpoint.json", case))


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


def test_a_cable_that_is_back_within_the_time_of_stopping_serves_the_stop(
    wired: Case, setpoint: Setpoint, line: SimulatedLine
) -> None:
    """It was pulled out in the hold, and is back half a second later: both pumps are told, and verified."""
    pulled: list[float] = []
    back = threading.Timer(0.5, line.plug_in)

    def pull(progress: Progress) -> None:
        if progress.kind == "hold" and not pulled:
            pulled.append(time.monotonic())
            line.unplug()
            back.start()

    with pytest.raises(RigError, match="is gone") as error:
        run(wired, setpoint, hold_s=20.0, on_progress=pull)
    assert not isinstance(error.value, NotStopped)
    assert time.monotonic() - pulled[0] < 2.0 and standing(line)  # before their own timers, 4 s
    back.join()


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


def test_the_pumps_of_a_process_that_was_killed_stop_by_themselves(
    wired: Case, propose: Callable[..., Path], line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their own timer stops them. The next run is refused; once acknowledged, it asks them what they have counted."""
    monkeypatch.setattr("twin.rig.planning.recipe.RAMP_S", 0.2)
    with child(wired, propose) as process:
        process.kill()
        process.communicate(timeout=20)
        assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
        took = until(lambda: standing(line), GUARD_S + 1)
    print(f"\na process that was killed: its pumps stood by themselves after {took:.2f} s")
    assert took > 0.5 * GUARD_S
    assert holder(rig_folder(wired)) is None
    (path,) = rig_folder(wired).glob("journal-*.jsonl")
    assert not verify(path).ended
    true_ml = {role: 50.0 - line.state(address)[1] for address, role in enumerate(SYRINGES)}
    ran = sum(b"RUN" in message for message in line.heard)

    setpoint = load_setpoint(propose(), wired)
    for _ in range(2):
        with pytest.raises(Latched, match="process or computer died"):
            run(wired, setpoint)
    assert sum(b"RUN" in message for message in line.heard) == ran
    Latch(rig_folder(wired)).acknowledge("the operator")

    result = run(wired, setpoint, hold_s=0.5)
    assert result.ok
    counted = {e["role"]: e["left_ml"] for e in read(result.journal) if e["event"] == "reconciled"}
    assert sorted(counted) == sorted(SYRINGES)
    for role, left_ml in counted.items():
        assert left_ml == pytest.approx(true_ml[role], rel=0.005)
        assert 50.0 - left_ml == pytest.approx(50.0 - true_ml[role], rel=0.005, abs=0.011)
    volumes = Volumes.open(rig_folder(wired))
    assert not volumes.unsettled
    for address, role in enumerate(SYRINGES):
        left = volumes.left(role)
        assert left is not None
        assert left.left_ml == pytest.approx(50.0 - line.state(address)[1], rel=0.005)


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
