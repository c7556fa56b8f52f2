import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import twin
from twin.case import Case, Results
from twin.errors import BadInput
from twin.rig.record.journal import Journal
from twin.view import dashboard


@pytest.fixture
def port(case: Case, results: Results, make: Any) -> Iterator[int]:
    """The port of a running dashboard over a solved campaign."""
    make.solve(case, results, None)
    with dashboard.server(case, "coarse", results, 0) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join(5)
        assert not thread.is_alive()


def ask(port: int, path: str, method: str = "GET", host: str | None = None) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_it_serves_a_page_that_loads_nothing_from_elsewhere(port: int) -> None:
    status, headers, page = ask(port, "/")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    nonce = page.split('<script nonce="')[1].split('"')[0]
    assert f"script-src 'nonce-{nonce}'" in headers["Content-Security-Policy"]
    assert "{{" not in page and "http://" not in page and "https://" not in page
    assert nonce != ask(port, "/")[2].split('<script nonce="')[1].split('"')[0]


def test_it_serves_the_state_as_json(port: int, case: Case, results: Results, make: Any) -> None:
    status, headers, body = ask(port, "/state.json")
    assert status == 200 and headers["Cache-Control"] == "no-store"
    state = json.loads(body)
    assert state["campaign"]["done"] == len(state["campaign"]["points"]) == 10
    row = state["campaign"]["points"][0]
    assert (row["name"], row["antisolvent"], row["reynolds"], row["label"]) == ("a1000-p0060", "1000", "348", "bounded")
    assert re.fullmatch(r"\d+ \(\d+ … \d+\) ms", row["time"])
    assert row["index"] == "0.500 (0.100 … 0.800)"
    assert state["setpoint"] is None and state["rig"] is None and state["solver"] is None

    make.journal(results, end=False)
    make.put(results.folder / "logs" / "x.json", {})
    (results.folder / "logs" / "solver.log").write_text(
        '{"event": "step", "point": "a1000-p0060", "text": "Re 348: Newton 2"}\nsome library: hello\n'
    )
    state = json.loads(ask(port, "/state.json")[2])
    assert state["solver"]["text"] == "a1000-p0060 Re 348: Newton 2"
    rig = state["rig"]
    assert rig["state"] == "running" and rig["simulated"]
    assert [(pump["role"], pump["rate"], pump["left"]) for pump in rig["pumps"]] == [
        ("antisolvent", "5000", "48.8"), ("precursor", "60.0", "50.0"),
    ]  # fmt: skip
    assert rig["share"] == pytest.approx(0.9) and "look" in rig["lines"][-1]


def test_a_silent_run_is_not_called_running(case: Case, results: Results, make: Any) -> None:
    path = make.journal(results, end=False)
    old = time.time() - 60
    os.utime(path, (old, old))
    assert dashboard.state(case, "coarse", results)["rig"]["state"] == "cut off, or stuck"
    path.unlink()
    make.journal(results)
    rig = dashboard.state(case, "coarse", results)["rig"]
    assert rig["state"] == "completed"
    assert [(pump["rate"], pump["stopped"]) for pump in rig["pumps"]] == [("0", True), ("0", True)]


def test_the_sensors_of_a_run_are_shown_with_their_limits(case: Case, results: Results) -> None:
    limits = {
        "pressure": {"low": 0.0, "high": 3.0}, "emission": {"low": 500.0, "high": 530.0},
        "flow": {"low": 1.0, "high": None},
        "temperature": {"low": None, "high": None}, "humidity": {"low": None, "high": 60.0},
    }  # fmt: skip
    plan = {"pumps": {}, "steps": [["hold", 0.0, 10.0, {}]], "supply": []}
    with Journal.create(results.rig) as log:
        log.write("begin", t_s=1.0, plan=plan, sensors=limits)
        log.write("hold", t_s=2.0, rates_ml_h={"antisolvent": 1.0})
        for time_s, name, value, unit in (
            (2.0, "pressure", 1.5, "bar"), (3.0, "pressure", 2.0, "bar"), (4.0, "pressure", 3.25, "bar"),
            (4.0, "flow", 0.5, "mL/h"), (4.0, "temperature", 20.5, "°C"), (3.0, "emission", 515.0, "nm"),
            (4.5, "emission", None, "nm"), (4.6, "strange", 1.0, ""),
        ):  # fmt: skip
            log.write("reading", t_s=time_s, sensor=name, value=value, unit=unit, steady=True)
    rows = {one["name"]: one for one in dashboard.state(case, "coarse", results)["rig"]["sensors"]}
    assert {name: (one["value"], one["limits"], one["state"]) for name, one in rows.items()} == {
        "pressure": ("3.25 bar", "from 0 to 3 bar", "above its limit"),
        "emission": ("–", "from 500 to 530 nm", "sees nothing"),
        "flow": ("0.5 mL/h", "from 1 mL/h", "below its limit"),
        "temperature": ("20.5 °C", "none", "no limits"),
        "humidity": ("–", "to 60", "not read yet"),
        "strange": ("1", "none", "no limits"),
    }
    assert rows["pressure"]["trace"] == [(2.0, 1.5), (3.0, 2.0), (4.0, 3.25)] and rows["pressure"]["at"] == "2.0"
    assert rows["emission"]["trace"] == [(3.0, 515.0)]
    with Journal.create(results.rig) as log:
        log.write("begin", t_s=0.0, plan=plan, sensors=limits)
        log.write("reading", t_s=1.0, sensor="pressure", value=1.0, unit="bar")
        log.write("sensor-error", t_s=2.0, sensor="pressure", problem="the cable is out")
        log.write("sensor-error", t_s=2.0, sensor="flow", problem="a moment")
        log.write("reading", t_s=2.5, sensor="flow", value=2.0, unit="mL/h")
    state = dashboard.state(case, "coarse", results)
    rows = {one["name"]: one for one in state["rig"]["sensors"]}
    assert (rows["pressure"]["state"], rows["pressure"]["problem"]) == ("no answer", "the cable is out")
    assert (rows["flow"]["state"], rows["flow"]["problem"]) == ("within its limits", "")
    json.dumps(state, allow_nan=False)


def test_a_look_at_one_pump_leaves_the_other_one_as_it_was(case: Case, results: Results) -> None:
    supply = [
        {"role": role, "syringe": "s", "filled_ml": 50.0, "rate_ml_h": 1.0} for role in ("antisolvent", "precursor")
    ]
    with Journal.create(results.rig) as log:
        log.write("begin", t_s=0.0, plan={"pumps": {}, "steps": [["hold", 0.0, 10.0, {}]], "supply": supply})
        log.write("hold", t_s=30.0, rates_ml_h={"antisolvent": 5000.0, "precursor": 60.0})
        log.write("look", t_s=32.0, counted_ml={"antisolvent": 10.0}, left_ml={"antisolvent": 42.0})  # it has refilled
        log.write("look", t_s=32.1, counted_ml={"precursor": 0.5})
    rig = dashboard.state(case, "coarse", results)["rig"]
    assert [(pump["left"], pump["share"]) for pump in rig["pumps"]] == [("42.0", 0.84), ("49.5", 0.99)]
    assert rig["elapsed"] == "2.1", "since the first step"


def test_damaged_files_are_a_problem_of_their_part_only(case: Case, results: Results, make: Any) -> None:
    make.solve(case, results, None)
    results.setpoint.write_text("{")
    (results.mesh / "quality.json").write_text("[]")
    make.put(results.rig / "a.jsonl", {"event": "begin", "plan": {"supply": [3]}})
    state = dashboard.state(case, "coarse", results)
    assert "damaged" in state["setpoint"]["problem"] and str(results.folder) not in state["setpoint"]["problem"]
    assert "problem" in state["rig"]
    assert state["campaign"]["counts"] == {"outdated": 10}
    json.dumps(state, allow_nan=False)


@pytest.mark.parametrize(("path", "method", "host", "status"), [
    ("/etc/passwd", "GET", None, 404), ("/../case.toml", "GET", None, 404), ("/", "POST", None, 501),
    ("/state.json", "GET", "example.org:80", 403), ("/", "GET", "example.org", 403), ("/", "PUT", None, 501),
])  # fmt: skip
def test_nothing_else_is_answered(port: int, path: str, method: str, host: str | None, status: int) -> None:
    assert ask(port, path, method, host)[0] == status


def test_it_listens_on_this_machine_only(port: int) -> None:
    with socket.socket() as other, pytest.raises(OSError):
        other.connect(("127.0.0.2", port))  # another address of this machine, as the network's would be


def test_a_port_in_use_or_out_of_range_is_bad_input(case: Case, results: Results, port: int) -> None:
    with pytest.raises(BadInput, match=f"port {port} is in use") as refused:
        dashboard.serve(case, "coarse", results, port, lambda address: None)
    assert "--port" in refused.value.remedy
    for wrong in (-1, 65536):
        with pytest.raises(BadInput, match="not a port"):
            dashboard.serve(case, "coarse", results, wrong, lambda address: None)
    with pytest.raises(BadInput, match="no level"):
        dashboard.serve(case, "finest", results, 0, lambda address: None)


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_ctrl_c_ends_it(case: Case, results: Results, tmp_path: Path, number: int) -> None:
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\nfrom twin.case import Results, load\nfrom twin.view import serve\n"
        f"serve(load({str(case.folder)!r}), 'coarse', Results(Path({str(results.folder)!r})), 0,"
        " lambda address: print(address, flush=True))\nprint('ended')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(twin.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        assert ask(int(address.rstrip("/").rpartition(":")[2]), "/state.json")[0] == 200
        process.send_signal(number)
        out, errors = process.communicate(timeout=10)
    assert (process.returncode, out, errors) == (0, "ended\n", "")
