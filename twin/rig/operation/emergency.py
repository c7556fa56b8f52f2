"""Stops the rig of a case from outside: whoever started it, and whatever hangs.

First the bytes, then the questions: every real port is opened without asking who holds it, and a stop goes to each
pump. Only then the process of a run is ended, by SIGTERM, and by SIGKILL where it does not hear; and only then, with
the port to itself, each pump is verified.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from twin.case.schema import Case
from twin.errors import TwinError
from twin.rig.clock import Clock
from twin.rig.errors import NotStopped, RigError
from twin.rig.operation.interrupts import Interrupts
from twin.rig.operation.latch import Latch
from twin.rig.operation.register import note, ports_of
from twin.rig.operation.runlock import holder, last, rig_folder
from twin.rig.operation.stopping import caught, stop_all, why, words
from twin.rig.operation.volumes import Volumes
from twin.rig.planning.limits import SIMULATED, Place, places
from twin.rig.port import Port, open_port
from twin.rig.pumps.drivers import driver
from twin.rig.pumps.protocol import Pump
from twin.rig.record.journal import END, Journal
from twin.rig.record.recorder import Recorder

#: Wall time that a run has for its own stop before it is killed, s.
STOP_S = 1.5
#: Wall time that a killed process may take to go, s.
GONE_S = 5.0


@dataclass
class _Rig:
    """The real pumps of a case on their ports, and what went wrong with which."""

    pumps: dict[str, Pump] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    failed: dict[str, TwinError] = field(default_factory=dict)


def emergency_stop(case: Case, *, folder: Path | None = None) -> list[str]:
    """Stops the rig of a case, whoever started it, and says in words what was done. A rig of real pumps is latched.

    Raises:
        NotStopped: a pump could not be verified, or its port could not be opened.
        RigError: another run could not be ended.
    """
    return stop_places(places(case), rig_folder(case, folder))


def stop_places(known: Sequence[Place], where: Path) -> list[str]:
    """The same for pumps at given places, and for those of the last run that has not ended: a case may have changed."""
    clock = Clock()
    recorder = Recorder(None, clock.now)
    recorder.hold_back()
    said: list[str] = []
    everything = list(dict.fromkeys([*last(where), *known]))
    real = [place for place in everything if place.port not in (SIMULATED, "?")]
    with ExitStack() as stack, Interrupts() as interrupts:
        interrupts.shield()  # a second Ctrl-C does not end the stop
        rig = _stopped(real, clock, recorder, stack)
        unended = _ended(where, said)
        problems = stop_all(rig.pumps, clock, recorder)
        said += [f"{rig.names[name]}: verified stopped" for name in rig.pumps if name not in problems]
    bad = {**{name: words(error) for name, error in rig.failed.items()}, **{n: why(e) for n, e in problems.items()}}
    simulated = [place.role for place in everything if place.port == SIMULATED]
    if simulated:
        names = " and the ".join(simulated)
        said.append(f"the {names} pump: simulated, so there is no port to open; simulated pumps end with their run")
    if rig.names and unended is None:
        caught(partial(_asked, where))
    if rig.names or unended:
        _write(where, recorder, said, bad, unended, real)
    if bad:
        reasons = "; ".join([*bad.values(), *([unended.message] if unended else []), *said])
        raise NotStopped([rig.names[name] for name in bad], reasons)
    if unended is not None:
        unended.message = "\n  ".join([unended.message, *said])
        raise unended
    return said


def _stopped(real: Sequence[Place], clock: Clock, recorder: Recorder, stack: ExitStack) -> _Rig:
    """Every real pump that can be reached, each told to stop; what can't is noted, and keeps nobody from the others.

    The precursor first, and each as soon as its port is open: that of the next one may hang for seconds.
    """
    rig = _Rig()
    ports: dict[str, Port] = {}
    for place in sorted(real, key=lambda place: place.role != "precursor"):
        name = place.role if place.role not in rig.names else f"{place.role} at {place.address} on {place.port}"
        rig.names[name] = place.label
        try:
            if place.port not in ports:
                ports[place.port] = open_port(place.port, place.baud, recorder.note, clock=clock, exclusive=False)
                stack.callback(ports[place.port].close)
            rig.pumps[name] = driver(place.family, ports[place.port], place.address, place.label, clock=clock)
            caught(rig.pumps[name].request_stop)
        except TwinError as error:
            rig.failed[name] = error
    return rig


def _ended(where: Path, said: list[str]) -> RigError | None:
    """Ends the run that holds the rig, one way or the other; returns what kept it from ending."""
    other = holder(where)
    if other is None:
        said.append("no run of this rig is under way")
        return None
    pid = other.get("pid")
    if not isinstance(pid, int):
        return RigError(
            f"a run holds {where}, but does not say which process it is", "switch the pumps off at the mains"
        )
    try:
        os.kill(pid, signal.SIGTERM)
        if _waits(lambda: holder(where) is None, STOP_S):
            said.append(f"the run of process {pid} was told to stop, and ended")
            return None
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        said.append(f"the run of process {pid} has just ended")
        return None
    except PermissionError:
        return RigError(f"no permission to end the run of process {pid}", "ask who started it, or switch the pumps off")
    if _waits(lambda: holder(where) is None, GONE_S):
        said.append(f"the run of process {pid} did not answer for {STOP_S:g} s, and was killed")
        return None
    return RigError(f"the run of process {pid} can't be killed", "switch the pumps off at the mains")


def _asked(where: Path) -> None:
    """The pumps may have told of a power cut here, and tell it once: the ledger must not wait for it any more."""
    volumes = Volumes.open(where)
    for name in volumes.unsettled:
        volumes.asking(name)


def _waits(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.02)
    return done()


def _write(
    where: Path,
    recorder: Recorder,
    said: list[str],
    bad: dict[str, str],
    unended: RigError | None,
    real: Sequence[Place],
) -> None:
    """Latch and journal, once the pumps stand; a full disk is no reason to call the stop a failed one."""
    try:
        Latch(where).set("emergency stop", "stop")
        for port in ports_of(real):
            note(port, where)  # so that another case on these ports knows of the latch
    except TwinError as error:
        said.append(f"THE RIG IS NOT LATCHED for sure: {error.message}")
    try:
        with Journal.create(where, "stop") as journal:
            recorder.attach(journal)
            recorder.release()
            status = "failed" if bad or unended else "completed"
            recorder.event(END, status=status, problems=bad, unended=words(unended))
    except TwinError as error:
        said.append(f"no journal of the stop: {error.message}")
