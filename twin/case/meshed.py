"""The folder of a mesh: `quality.json` says of which definition it is, and vouches for the two files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twin.errors import BadInput
from twin.files import checksum, digest, read_json

#: The mesh in bores for the solver, and the same, node for node, for viewers.
FILES = ("junction.msh", "junction.vtu")


def mesh_record(folder: Path) -> dict[str, Any] | None:
    """What `quality.json` says of the mesh in a folder; None without one, or where it is damaged."""
    try:
        data = read_json(folder / "quality.json")
    except BadInput:
        return None
    return data if isinstance(data, dict) and isinstance(data.get("hash"), str) else None


def mesh_hash(folder: Path) -> str:
    """The hash of the definition of the mesh in a folder; empty where there is none."""
    return str((mesh_record(folder) or {}).get("hash", ""))


def vouched(folder: Path) -> dict[str, Any] | None:
    """The record of a folder whose files are, byte for byte, those that it was written for; else None.

    Without this a file that was cut off, or that another process put there, would pass for the mesh of the record.
    """
    data = mesh_record(folder)
    if data is None or data.get("checksum") != checksum(data):
        return None
    try:
        found = {name: digest((folder / name).read_bytes()) for name in FILES}
    except OSError:
        return None
    return data if data.get("files") == found else None
