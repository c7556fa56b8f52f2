"""What a result came from: the code, the versions, the time."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from twin import __version__

_PACKAGES = ("fenics-dolfinx", "petsc4py", "mpi4py", "gmsh", "meshio", "numpy", "scipy", "scikit-learn", "pyvista")


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def versions() -> dict[str, str]:
    """The installed versions of the packages that numbers depend on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_revision() -> str:
    """The commit of the source tree with a `+` where it has changes; "unknown" outside a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


def provenance(**more: Any) -> dict[str, Any]:
    """The provenance record of a file, with what its writer adds."""
    return {"twin": __version__, "git": git_revision(), "created": now(), "versions": versions(), **more}
