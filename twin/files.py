"""Files that are either whole or not there, and errors about them in words."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from twin.errors import BadInput, Missing, TwinError

_FREE = "free some space and run it again: what was finished is kept"
_ELSEWHERE = "give a folder that can be written with --output"
_REMEDY = {
    errno.ENOSPC: (TwinError, "the disk is full", _FREE),
    errno.EDQUOT: (TwinError, "the disk quota is used up", _FREE),
    errno.EROFS: (BadInput, "it is on a read-only file system", _ELSEWHERE),
    errno.EACCES: (BadInput, "no permission", _ELSEWHERE),
    errno.EPERM: (BadInput, "no permission", _ELSEWHERE),
    errno.ENOENT: (BadInput, "its folder can't be made", _ELSEWHERE),
    errno.ENOTDIR: (BadInput, "a part of its path is a file", _ELSEWHERE),
    errno.EEXIST: (BadInput, "a part of its path is a file", _ELSEWHERE),
    errno.EISDIR: (BadInput, "it is a folder", "move that folder away"),
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns an `OSError` in writing below `path` into an error with a remedy."""
    try:
        yield
    except OSError as error:
        kind, reason, remedy = _REMEDY.get(error.errno or 0, (TwinError, error.strerror or str(error), ""))
        raise kind(f"can't write {error.filename or path}: {reason}", remedy) from error


def folder(path: Path) -> Path:
    """Makes a folder where it is missing, and makes sure that it can be written *before* hours of work."""
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    return path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A scratch file beside `path` that takes its place when the block ends well, and is removed when it does not.

    The scratch name keeps the suffix, by which many writers choose their format.
    """
    folder(path.parent)
    with explained(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        scratch = Path(name)
        try:
            yield scratch
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            scratch.chmod(0o644)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a folder's lock, which ends with its process; waits where another process holds it.

    On file systems that have no locks for folders, as some in a network, it holds nothing.
    """
    import fcntl  # POSIX only, like the pseudo-terminals of the rig's simulator

    with explained(path):
        handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with whole(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Writes JSON, whole or not at all. NaN and infinity are refused: they are not results."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON; raises `BadInput` where the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path} is damaged: {error}", "remove it and run the stage that makes it again") from error


def digest(data: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of bytes, or of any JSON-like data in canonical form."""
    if not isinstance(data, bytes):
        data = json.dumps(data, sort_keys=True, allow_nan=False, default=str).encode()
    return hashlib.sha256(data).hexdigest()[:12]


def checksum(data: Mapping[str, Any]) -> str:
    """The digest of all that a file's data hold but their checksum."""
    return digest({key: value for key, value in data.items() if key != "checksum"})


def sealed(data: dict[str, Any]) -> dict[str, Any]:
    """The data with their checksum, so that a later change by hand is found."""
    return data | {"checksum": checksum(data)}


def read_sealed(path: Path, what: str, first: str, again: str) -> dict[str, Any]:
    """The data of a file of schema 1 that was written `sealed`; `what` they are, for messages.

    Raises `Missing` without the file, with the remedy `first`, and `BadInput` where it is none of these or was changed,
    with the remedy `again`.
    """
    if not path.exists():
        raise Missing(f"there is no {path}", first)
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema") != 1:
        raise BadInput(f"{path} is not {what} of schema 1", again)
    if data.get("checksum") != checksum(data):
        raise BadInput(f"{path} was changed after it was written: its checksum does not fit", again)
    return data
