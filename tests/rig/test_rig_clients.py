"""Two programs that know nothing of ours: NESP-Lib 2.0.0 and labmcp-new-era 0.1.2.

Their drivers run our simulated pumps, and our driver runs labmcp's simulator. All were written from the manuals apart
from each other, so they disagree where one misread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import nesp_lib
import pytest
from rig_lines import simulated

from twin.rig.clock import Clock
from twin.rig.errors import CommandRefused, PumpAlarm
from twin.rig.port import open_port
from twin.rig.pumps.newera import NewEraPump
from twin.rig.pumps.protocol import Direction, Status
from twin.rig.simulated.line import SimulatedLine

T = TypeVar("T")

HOST = Path(__file__).parents[1] / "support" / "rig_labmcp_host.py"
WHEELS = """\
labmcp==0.1.2 --hash=sha256:ae3d9f4eece550db4e4afae49f6a08c12b489889f40ef325caf7a4431528a98f
labmcp-new-era==0.1.2 --hash=sha256:8fac276de9ee91f5ddfc6878b98152b65eebe27f15fcbae817d8519e30e1404a
"""


def within(seconds: float, action: Callable[[], T]) -> T:
    """What `action` returns; fails where it takes longer. NESP-Lib reads without a timeout."""
    results: list[T] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001  raised again in the test's thread
            problems.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        pytest.fail(f"no answer within {seconds:g} s")
    if problems:
        raise problems[0]
    return results[0]


@pytest.mark.parametrize("guard_s", [0, 1])
def test_nesp_lib_drives_our_pump(guard_s: int) -> None:
    def drive() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with nesp_lib.Port(line.path, 19200) as port:
            pump = nesp_lib.Pump(port, address=1, model_number=1010)  # its first packet acknowledges the reset
            if guard_s:  # it can't choose Safe mode while an alarm is pending: it would wait for a packet for ever
                pump.safe_mode_timeout_s = guard_s
            seen["guard"], seen["version"] = pump.safe_mode_timeout_s, pump.firmware_version
            pump.syringe_diameter_mm = 28.6
            pump.pumping_direction = nesp_lib.PumpingDirection.INFUSE
            pump.pumping_volume_ml = 0.5
            pump.pumping_rate_ml_per_min = 60.0
            seen["rate"], seen["safe"] = pump.pumping_rate_ml_per_min, line.pumps[1].safe
            pump.run()  # until it stops by itself
            pump.pumping_direction = nesp_lib.PumpingDirection.WITHDRAW
            pump.pumping_volume_ml = 0.2
            pump.run()
            seen["volumes"] = pump.volume_infused_ml, pump.volume_withdrawn_ml
            pump.pumping_direction = nesp_lib.PumpingDirection.INFUSE
            pump.pumping_volume_ml = 20.0
            pump.run(wait_while_running=False)
            time.sleep(1.3 * guard_s)  # its heartbeat holds the guard off
            seen["running"] = pump.running
            pump.stop(wait_while_running=False)
            pump.stop(wait_while_running=False)
            seen["status"] = pump.status
            pump.safe_mode_timeout_s = 0
            pump.volume_infused_clear()
            seen["cleared"] = pump.volume_infused_ml
        return seen

    chain = {0: simulated("newera"), 1: simulated("newera")}
    with SimulatedLine(chain, Clock()) as line:
        seen = within(10.0, drive)
        infused, withdrawn = seen.pop("volumes")
        assert (infused, withdrawn) == (pytest.approx(0.5, abs=2e-3), pytest.approx(0.2, abs=2e-3))
        assert seen == {
            "guard": guard_s,
            "version": (3, 923),
            "rate": 60.0,
            "safe": bool(guard_s),
            "running": True,
            "status": nesp_lib.Status.STOPPED,
            "cleared": 0.0,
        }
        assert line.state(0) == ("S", 0.0)
        assert not line.pumps[1].safe


def test_nesp_lib_meets_an_alarm_of_our_pump() -> None:
    def drive() -> None:
        with nesp_lib.Port(line.path, 19200) as port:
            pump = nesp_lib.Pump(port)
            pump.pumping_rate_ml_per_min = 10.0
            pump.run(wait_while_running=False)
            line.pumps[0].stall(line.clock.now())
            pump.status  # noqa: B018

    with SimulatedLine({0: simulated("newera")}, Clock()) as line, pytest.raises(nesp_lib.StatusAlarmException):
        within(5.0, drive)


@pytest.fixture(scope="module")
def labmcp(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with labmcp and labmcp-new-era, whose wheels are known by their checksums."""
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("labmcp-0.1.2") if cache else tmp_path_factory.mktemp("labmcp")
    if (folder / "complete").exists():
        return str(folder)
    wanted = folder / "wheels.txt"
    wanted.write_text(WHEELS, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--no-compile"]
    pip += ["--disable-pip-version-check", "--retries=1", "--upgrade", "--target", str(folder), "-r", str(wanted)]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=120)
    if done.returncode and "HASHES" not in done.stderr:
        pytest.skip(f"the package registry can't be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (folder / "complete").touch()
    return str(folder)


def test_labmcp_drives_our_pump(labmcp: str) -> None:
    with SimulatedLine({0: simulated("newera"), 1: simulated("newera")}, Clock()) as line:
        command = [sys.executable, "-I", str(HOST), labmcp, "driver", line.path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
        assert seen["identity"] == {
            "manufacturer": "New Era Pump Systems", "model": "NE-1010", "firmware": "3.923", "network_address": "1",
        }  # fmt: skip
        assert seen["reset"] is True
        assert (seen["INF"], seen["WDR"], seen["state"]) == ("infusing", "withdrawing", "stopped")
        assert seen["dispensed"] == [pytest.approx(0.2, abs=2e-3), pytest.approx(0.2, abs=2e-3), "ML"]
        assert seen["rate"] == [30.0, "MM"]
        assert seen["stopped"] == "stopped"
        assert line.state(1)[0] == "S"
        assert line.state(0) == ("S", 0.0)


def test_we_drive_the_pump_of_labmcp(labmcp: str) -> None:
    command = [sys.executable, "-I", str(HOST), labmcp, "simulator"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as host:
        assert host.stdin is not None
        assert host.stdout is not None

        def state() -> dict[str, Any]:
            host.stdin.write("state\n")
            return json.loads(host.stdout.readline())

        path = host.stdout.readline().strip()
        port = open_port(path, 19200)
        pump = NewEraPump(port, 0, model_number="1000")
        with pytest.raises(PumpAlarm, match="reset"):
            pump.identify()
        pump.acknowledge()
        assert pump.identify() == "NE1000V3.923"
        with pytest.raises(CommandRefused, match="does not know"):
            pump.guard(5.0)  # it has no Safe mode
        pump.prepare(28.6, fine=True)
        pump.set_rate_ml_h(600.0)
        pump.start()
        assert pump.status() is Status.INFUSING
        pump.set_rate_ml_h(1800.0)
        time.sleep(0.3)
        pump.stop()
        counted = pump.dispensed()
        assert 1800 * 0.3 / 3600 < counted.infused_ml < 1800 * 0.6 / 3600
        assert state() == {"running": False, "INF": pytest.approx(counted.infused_ml, abs=1e-3), "WDR": 0.0}
        pump.set_rate_ml_h(1200.0, Direction.WITHDRAW)
        pump.start()
        assert pump.status() is Status.WITHDRAWING
        NewEraPump(port, 0).stop()  # from outside, in both modes at once
        assert state()["running"] is False
        assert pump.dispensed().withdrawn_ml > 0
        port.close()
        host.stdin.close()
        host.wait(5.0)
