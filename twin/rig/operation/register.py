"""Which rig last used a port: so that two cases that name the same port know of each other.

Latch, ledger and lock lie in the folder of a rig. Here, in a folder of the user (`TWIN_STATE`, else `XDG_STATE_HOME`
or `~/.local/state`, and there `yjunction-twin/ports`), each real port has a list of the folders that may have left its
pumps latched or unverified, and a lock of the operating system that a run holds and that dies with it. An entry that is
out of date does no harm: what counts is what lies in the folder that it names. Simulated ports are not in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from twin.errors import BadInput, TwinError
from twin.files import read_json, write_json
from twin.rig.errors import RigError
from twin.rig.operation.latch import Latch
from twin.rig.operation.runlock import DEAD, died, holder
from twin.rig.operation.stopping import caught
from twin.rig.operation.volume_files import unsettled
from twin.rig.planning.limits import SIMULATED, Place
from twin.rig.record.journal import END, Journal, sync_folder

_NO_PORT = (SIMULATED, "?")
_WRITABLE = "it says which rig uses a port: name a folder that can be written in the environment, TWIN_STATE"


def ports_of(pumps: Iterable[Place]) -> list[str]:
    """The real ports of some pumps, each by one name: that of the device behind `serial://` and symbolic links."""
    names = (pump.port.removeprefix("serial://") for pump in pumps if pump.port not in _NO_PORT)
    return sorted({name if "://" in name else os.path.realpath(name) for name in names})


@contextmanager
def held(where: Path, pumps: Iterable[Place], latch: Latch | None = None) -> Iterator[None]:
    """Around a run in the folder `where`: its ports are held, and none was left latched or unverified by another rig.

    Args:
        where: the folder of the rig.
        pumps: those of the run.
        latch: the one that the run sets: it also knows what could not be written.

    Raises:
        RigError: another run holds a port, or another rig has left it so; nothing was opened.
    """
    where, ports = where.resolve(), ports_of(pumps)
    with ExitStack() as stack:
        for port in ports:
            if not stack.enter_context(_held(_path(port, ".lock"), wait=False)):
                others = [entry for entry in _folders(port) if entry and entry != str(where)]  # its own lock is held
                folders = [entry for entry in others if holder(Path(entry)) is not None]
                raise RigError(
                    f"{port} is in use by a run of another rig, in {' or '.join(folders) or 'a folder unknown'}",
                    "wait for it, or end it with `twin rig stop` of its case",
                )
        for port in ports:
            _check(port, where)
        for port in ports:
            note(port, where)
        try:
            yield
        finally:  # where the process dies, the entries stay
            caught(partial(_settle, ports, where, latch or Latch(where)))  # an entry that stays does no harm


def note(port: str, where: Path) -> None:
    """Enters that the rig of a folder may leave its pumps on this port latched or unverified; on disk at the return."""
    _change(port, add=[str(where.resolve())])


def acknowledge(where: Path, pumps: Iterable[Place], by: str, remark: str = "") -> list[str]:
    """Someone has looked: rigs whose folders are gone hold up the ports of these pumps no longer.

    The entries are written into a journal of the folder `where`, then removed. What has a folder is acknowledged there.

    Returns:
        What was acknowledged, in words.

    Raises:
        BadInput: nobody is named.
    """
    gone = {port: [entry for entry in _folders(port) if _is_gone(entry)] for port in ports_of(pumps)}
    said = [f"{port} was left by {_vanished(entry)}" for port, entries in gone.items() for entry in entries]
    if not by.strip():
        raise BadInput("nobody acknowledges", "give a name with --by")
    if said:
        with Journal.create(where, "acknowledge") as journal:
            journal.write("begin")
            journal.write("acknowledged", by=by.strip(), note=remark, reasons=said)
            journal.write(END, status="completed")
    for port, entries in gone.items():
        if entries:
            _change(port, drop=entries)
    return said


def refusal(where: Path, pumps: Iterable[Place]) -> RigError | None:
    """What would keep a run from starting now, as far as files tell; nothing is changed. None where nothing would."""
    ports = ports_of(pumps)
    if (latched := Latch(where).reason()) is not None:
        return latched
    if ports and died(where):
        return RigError(
            f"the run before did not end: {DEAD}",
            "look at the pumps, then acknowledge it: `twin rig acknowledge CASE --by NAME`",
        )
    try:
        for port in ports:
            _check(port, where.resolve())
    except RigError as error:
        return error
    return None


def _check(port: str, where: Path) -> None:
    """Raises where another rig has left the port latched or unverified, or still needs the counters of its pumps."""
    for entry in _folders(port):
        folder = Path(entry)
        if entry == str(where):
            continue
        if _is_gone(entry):
            raise RigError(
                f"{port} was last used by {_vanished(entry)}: nobody knows how its pumps were left",
                "look at the pumps, then acknowledge it in this case: `twin rig acknowledge CASE --by NAME`",
            )
        latched = Latch(folder).reason()
        reason = latched.message if latched else "its run died, or could not write why it ended" if died(folder) else ""
        if reason:
            raise RigError(
                f"{port} was left by another rig, in {folder}: {reason}",
                "find the cause, then acknowledge it there: `twin rig acknowledge` of its case, --by NAME",
            )
        if names := unsettled(folder):
            raise RigError(
                f"another rig, in {folder}, has yet to ask its pumps ({', '.join(names)}) on {port} what they counted",
                "a run here would set them back: run its case, or say what its syringes hold, `twin rig refill`",
            )


def _settle(ports: Iterable[str], where: Path, latch: Latch) -> None:
    """Takes the entries of a rig out that has left nothing behind."""
    if latch.reason() is None and not unsettled(where):
        for port in ports:
            _change(port, drop=[str(where)])


def _is_gone(entry: str) -> bool:
    return not entry or not Path(entry).is_dir()


def _vanished(entry: str) -> str:
    return f"a rig in {entry}, which is not there any more" if entry else "a rig whose entry is damaged"


def _path(port: str, suffix: str) -> Path:
    home = os.environ.get("TWIN_STATE") or Path(
        os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state", "yjunction-twin"
    )
    return Path(home, "ports", hashlib.sha256(port.encode()).hexdigest()[:16] + suffix)


def _folders(port: str) -> list[str]:
    """The folders of an entry; one without a name where it can't be read."""
    path = _path(port, ".json")
    if not path.exists():
        return []
    try:
        data = read_json(path)
        return [str(entry) for entry in data["folders"]]
    except (TwinError, KeyError, TypeError):
        return [""]


def _change(port: str, add: Sequence[str] = (), drop: Sequence[str] = ()) -> None:
    """Changes an entry, whole or not at all; one process at a time."""
    path = _path(port, ".json")
    try:
        with _held(_path(port, ".change"), wait=True):
            folders = list(dict.fromkeys([*(entry for entry in _folders(port) if entry not in drop), *add]))
            if folders:
                write_json(path, {"port": port, "folders": folders})
            else:
                path.unlink(missing_ok=True)
            sync_folder(path.parent)
    except TwinError as error:
        raise BadInput(error.message, _WRITABLE) from error


@contextmanager
def _held(path: Path, wait: bool) -> Iterator[bool]:
    """A lock of the operating system; yields whether it was got, without `wait` at once."""
    import fcntl  # POSIX only, like the run lock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BadInput(f"can't write {path}: {error.strerror}", _WRITABLE) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            got = True
        except BlockingIOError:
            got = False
        yield got
    finally:
        os.close(handle)
