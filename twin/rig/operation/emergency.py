"""Stops the rig of a case from outside: whoever started it, and whatever hangs.

First the bytes, then the questions: every real port is opened without asking who holds it, and a stop goes to each
pump. Only then the process of a run is ended, by SIGTERM, and by SIGKILL where it does not hear; and only then, with
the port to itself, each pump is verified. A port of the network may hang, or serve one client at a time: each has a
thread, which nobody waits for until the run has ended, and which then opens it again where that is needed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
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
from twin.rig.operation.stopping import DEADLINE_S, caught, stop_all, why, words
from twin.rig.operation.volumes import Volumes
from twin.rig.planning.limits import SIMULATED, Place, places
from twin.rig.port import Port, of_network, open_port
from twin.rig.pumps.drivers import driver
from twin.rig.pumps.protocol import Pump
from twin.rig.record.journal import END, Journal
from twin.rig.record.recorder import Recorder

#: Wall time that a run has for its own stop before it is killed, s.
STOP_S = 1.5
#: Wall time that a killed process may take to go, s.
GONE_S = 5.0
#: Wall time between two tries to open a port of the network that a run has held, s.
AGAIN_S = 0.1


class _Line:
    """The pumps on one port: told to stop as soon as it is open, and verified once the run has ended.

    Args:
        places: the pumps, by a name of their own; all are on the same port.
        clock: what the deadlines are told by.
        recorder: takes every exchange.
    """

    def __init__(self, places: dict[str, Place], clock: Clock, recorder: Recorder) -> None:
        self.pumps: dict[str, Pump] = {}
        self.problems: dict[str, BaseException] = {}
        self._places, self._clock, self._recorder = places, clock, recorder
        self._place = next(iter(places.values()))
        self._port: Port | None = None

    @property
    def of_network(self) -> bool:
        """Whether opening it may take seconds."""
        return of_network(self._place.port)

    def tell(self) -> None:
        """Opens the port and sends a stop to each pump; what can't be reached is noted."""
        try:
            port = self._port = self._open()
        except BaseException as error:  # noqa: BLE001  the pumps on other ports must be stopped, whatever this one did
            self.problems = dict.fromkeys(self._places, error)
            return
        self.problems = {}
        for name, place in self._places.items():
            try:
                self.pumps[name] = driver(place.family, port, place.address, place.label, clock=self._clock)
            except TwinError as error:
                self.problems[name] = error
            else:
                caught(self.pumps[name].request_stop)

    def follow(self, free: Future[bool]) -> None:
        """All the way: told now, and verified once the run has ended; `free` then says whether that let the port go.

        A server that serves one client at a time has refused this one, or let it wait in vain, while the run was there.
        """
        self.tell()
        let_go = free.result()
        end = self._clock.wall() + DEADLINE_S
        while let_go and self._port is None and self._clock.wall() < end:
            self._clock.pause(AGAIN_S)
            self.tell()
        self.problems |= stop_all(self.pumps, self._clock, self._recorder)

    def close(self) -> None:
        """Closes the port."""
        if self._port is not None:
            self._port.close()

    def _open(self) -> Port:
        url, baud = self._place.port, self._place.baud
        return open_port(url, baud, self._recorder.note, clock=self._clock, exclusive=False, patient=self.of_network)


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
    real = sorted(
        (place for place in everything if place.port not in (SIMULATED, "?")),
        key=lambda place: place.role != "precursor",
    )
    names = _named(real)
    lines = [
        _Line({name: place for name, place in names.items() if place.port == port}, clock, recorder)
        for port in dict.fromkeys(place.port for place in real)
    ]
    near = [line for line in lines if not line.of_network]
    held = holder(where) is not None
    free = Future[bool]()
    with ExitStack() as stack, Interrupts():  # shielded: Ctrl-C does not end the stop
        pool = stack.enter_context(ThreadPoolExecutor(len(lines) + 1))
        stack.callback(free.cancel)  # whatever happens here, no thread waits for ever
        following = []
        for line in lines:  # the precursor's first
            stack.callback(line.close)
            if line.of_network:
                following.append(pool.submit(line.follow, free))
            else:
                line.tell()
        unended = _ended(where, said)
        free.set_result(held and unended is None)
        problems = stop_all({name: pump for line in near for name, pump in line.pumps.items()}, clock, recorder)
        for one in following:
            one.result()
    for line in lines:
        problems |= line.problems
    bad = {name: why(problems[name]) for name in names if name in problems}
    said += [f"{place.label}: verified stopped" for name, place in names.items() if name not in bad]
    simulated = [place.role for place in everything if place.port == SIMULATED]
    if simulated:
        roles = " and the ".join(simulated)
        said.append(f"the {roles} pump: simulated, so there is no port to open; simulated pumps end with their run")
    if names and unended is None:
        caught(partial(_asked, where))
    if names or unended:
        _write(where, recorder, said, bad, unended, real)
    if bad:
        reasons = "; ".join([*bad.values(), *([unended.message] if unended else []), *said])
        raise NotStopped([names[name].label for name in bad], reasons)
    if unended is not None:
        unended.message = "\n  ".join([unended.message, *said])
        raise unended
    return said


def _named(real: Sequence[Place]) -> dict[str, Place]:
    """The pumps by their roles; where a role has several places, by those."""
    names: dict[str, Place] = {}
    for number, place in enumerate(real, 1):
        other = f"{place.role} at {place.address} on {place.port} ({number})"
        names[place.role if place.role not in names else other] = place
    return names


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
