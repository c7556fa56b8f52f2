"""Stops the rig of a case from outside: whoever started it, and whatever state it is in."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from twin.case.schema import Case
from twin.errors import TwinError
from twin.rig.clock import Clock
from twin.rig.errors import NotStopped, RigError
from twin.rig.journal import END, Journal
from twin.rig.limits import ROLES, Equipment, equipment
from twin.rig.planning import SIMULATED
from twin.rig.port import open_port
from twin.rig.pumps.newera import NewEraPump
from twin.rig.recorder import Recorder
from twin.rig.runlock import NAME, holder, rig_folder
from twin.rig.wire.newera import BAUD

#: Wall time that another process has for its stop, s.
STOP_S = 20.0


def emergency_stop(case: Case, *, folder: Path | None = None) -> list[str]:
    """Stops the rig of a case, whoever started it, and says in words what was done.

    A run in another process is told to stop (SIGTERM) and awaited. Then every real port of the case is opened, and the
    pumps at the addresses of the case are stopped, verified.

    Raises:
        NotStopped: a pump could not be verified.
        RigError: a port could not be opened, or another run did not end.
    """
    pumps = equipment(case)
    where = rig_folder(case, folder)
    said, failed = [], list[TwinError]()
    for place in _places(case, where):
        try:
            said += _signal_run(place)
        except TwinError as error:
            failed.append(error)
    if not said and not failed:
        said.append(f"no run of {case.name} is under way")
    by_port: dict[str, list[Equipment]] = {}
    for role in reversed(ROLES):  # the precursor first
        by_port.setdefault(pumps[role].port, []).append(pumps[role])
    if SIMULATED in by_port:
        names = " and the ".join(pump.role for pump in by_port.pop(SIMULATED))
        said.append(f"the {names} pump: simulated, so there is no port to open; simulated pumps end with their run")
    for url, chain in by_port.items():
        try:
            _stop_port(url, chain, where, said)
        except TwinError as error:
            failed.append(error)
    if failed:
        worst = next((error for error in failed if isinstance(error, NotStopped)), failed[0])
        others = [error.message for error in failed if error is not worst]
        worst.message = "\n  ".join([worst.message, *others, *said])
        raise worst
    return said


def _places(case: Case, where: Path) -> list[Path]:
    """Where the lock of a run may lie: the folder at hand, and those of every level of the case."""
    results = case.folder / "results"
    locks = sorted([*results.glob(f"rig/{NAME}"), *results.glob(f"*/rig/{NAME}")])
    return list(dict.fromkeys([where, *(lock.parent for lock in locks)]))


def _signal_run(where: Path) -> list[str]:
    """Ends the run that holds the lock of a folder, and waits until it has; says nothing where there is none."""
    other = holder(where)
    if other is None:
        return []
    pid = other.get("pid")
    if not isinstance(pid, int):
        raise RigError(
            f"a run holds {where}, but does not say which process it is", "switch the pumps off at the mains"
        )
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return [f"the run of process {pid} has just ended"]
    except PermissionError:
        raise RigError(
            f"no permission to end the run of process {pid}", "ask who started it, or switch the pumps off"
        ) from None
    end = time.monotonic() + STOP_S
    while time.monotonic() < end:
        if holder(where) is None:
            return [f"the run of process {pid} was told to stop, and ended"]
        time.sleep(0.05)
    raise RigError(f"the run of process {pid} does not end within {STOP_S:g} s", "switch the pumps off at the mains")


def _stop_port(url: str, chain: list[Equipment], where: Path, said: list[str]) -> None:
    """Stops what is at the addresses of one port; the journal of it is written once the pumps stand."""
    clock = Clock()
    recorder = Recorder(None, clock.now)
    recorder.hold_back()
    problems: dict[str, str] = {}
    port = open_port(url, BAUD, recorder.note)
    try:
        pumps = [NewEraPump(port, pump.address, pump.name, clock=clock) for pump in chain]
        for pump in pumps:  # first one quick stop to each: a silent pump must not delay the other
            with suppress(RigError):
                pump.request_stop()
        for pump in pumps:
            try:
                pump.stop()
                said.append(f"{pump.name}: verified stopped")
            except NotStopped as error:
                problems[pump.name] = error.message
    finally:
        port.close()
    try:
        with Journal.create(where, "stop") as journal:
            recorder.attach(journal)
            recorder.release()
            recorder.event(END, status="failed" if problems else "completed", problems=problems)
    except TwinError as error:
        said.append(f"no journal of the stop: {error.message}")
    if problems:
        raise NotStopped(list(problems), "; ".join(problems.values()))
