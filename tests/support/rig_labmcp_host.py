"""labmcp-new-era in a process of its own: its simulator behind a pseudo-terminal, or its driver on a port.

    rig_labmcp_host.py FOLDER simulator        says the path, then answers "state" on its input with a line of JSON
    rig_labmcp_host.py FOLDER driver PORT      drives what is on the port, and says what it saw

Its server needs a web framework; simulator, driver and transports do not, so they are loaded without it. All that is
made up is the base class of its errors.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
import tty
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


def load(folder: str) -> None:
    """Makes `labmcp` and `labmcp_new_era` importable from a folder, without labmcp's server."""
    sys.path.insert(0, folder)
    sys.modules["fastmcp"] = ModuleType("fastmcp")
    sys.modules["fastmcp.exceptions"] = errors = ModuleType("fastmcp.exceptions")
    errors.ToolError = type("ToolError", (Exception,), {})  # type: ignore[attr-defined]
    sys.modules["labmcp"] = package = ModuleType("labmcp")
    package.__path__ = [str(Path(folder) / "labmcp")]
    for name in ("labmcp.errors", "labmcp.transports"):
        package.__dict__.update({k: v for k, v in vars(import_module(name)).items() if k[0].isupper()})


def simulate() -> None:
    simulator: Any = import_module("labmcp_new_era.simulator").NewEraSimulator()
    transport: Any = sys.modules["labmcp"].SimulatedTransport(  # type: ignore[attr-defined]
        simulator, write_termination="\r", read_termination="\x03", encoding="latin-1"
    )
    master, slave = os.openpty()
    tty.setraw(slave)
    print(os.ttyname(slave), flush=True)
    while True:
        ready, _, _ = select.select([master, 0], [], [])
        if 0 in ready:
            if not os.read(0, 100):
                return
            simulator._advance()
            print(json.dumps({"running": simulator.running, **simulator.dispensed}), flush=True)
        if master in ready:
            transport.write_bytes(os.read(master, 1024))
            while transport._out:
                os.write(master, transport._read(1024, 0.0))


def drive(path: str) -> None:
    port = import_module("labmcp.transports.serial").SerialTransport(
        path, baudrate=19200, write_termination="\r", read_termination="\x03", timeout=1.0
    )
    pump: Any = import_module("labmcp_new_era.driver").NewEraPump(port, 1)
    seen: dict[str, Any] = {"identity": pump.identify(), "reset": pump.reset_alarm_seen}
    pump.set_diameter(28.6)
    pump.clear_dispensed()
    for direction in ("INF", "WDR"):
        pump.start_pumping(direction, 0.2, 30.0)
        while (state := pump.status().state) in ("infusing", "withdrawing"):
            seen[direction] = state
            time.sleep(0.02)
    seen["dispensed"], seen["rate"], seen["state"] = pump.dispensed(), pump.rate(), state
    pump.start_pumping("INF", 5.0, 1.0)
    seen["stopped"] = pump.stop().state
    pump.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    load(sys.argv[1])
    simulate() if sys.argv[2] == "simulator" else drive(sys.argv[3])
