"""OpenFOAM's programs: where they are, and how they are run."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from twin.errors import TwinError

_LOOKS_S = 0.05  # between looks at the memory of a program that runs


def environment() -> dict[str, str]:
    """The environment that runs OpenFOAM: that of the PATH, else the one that the set-up has put into its cache.

    Raises TwinError where there is neither.
    """
    if shutil.which("simpleFoam"):
        return dict(os.environ)
    unpacked = Path(os.environ.get("TWIN_OPENFOAM", "/nonexistent"), "usr")
    if not (unpacked / "bin" / "simpleFoam").exists():
        raise TwinError("there is no OpenFOAM here", "install it so that simpleFoam is in the PATH")
    libraries = [unpacked / "lib" / "openmpi-system", unpacked / "lib", *unpacked.glob("lib/*-linux-gnu")]
    return {
        **os.environ,
        "PATH": f"{unpacked / 'bin'}:{os.environ.get('PATH', '')}",
        "LD_LIBRARY_PATH": ":".join(map(str, [*libraries, os.environ.get("LD_LIBRARY_PATH", "")])).rstrip(":"),
        "WM_PROJECT_DIR": str(unpacked / "share" / "openfoam"),
    }


def children_seconds() -> float:
    """The processor time of the programs that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Tools:
    """Runs OpenFOAM's programs in a case, each with a log of its own there, until a point of `time.perf_counter`.

    By the names of the logs `seconds` gets how long each took, and `peaks` the most memory in GiB that it held; of
    several ranks, mpirun's own.
    """

    folder: Path
    ranks: int
    environment: dict[str, str]
    deadline: float
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    def run(self, *command: str, name: str = "") -> Path:
        """Runs a program of OpenFOAM; returns its log. Raises TwinError if it fails or takes too long."""
        name = name or command[0]
        log, began = self.folder / f"log.{name}", time.perf_counter()
        try:
            with log.open("wb") as out:
                status, self.peaks[name] = self._wait(command, out)
            self.seconds[name] = time.perf_counter() - began
        except subprocess.TimeoutExpired:
            raise TwinError(f"OpenFOAM's {name} took too long", "compare on a coarser mesh") from None
        except FileNotFoundError:
            raise TwinError(f"{command[0]} is not there, which OpenFOAM needs", "twin doctor says more") from None
        if status:
            tail = log.read_text(encoding="utf-8", errors="replace").strip()[-400:]
            raise TwinError(f"OpenFOAM's {name} failed", tail)
        return log

    def _wait(self, command: tuple[str, ...], out: BinaryIO) -> tuple[int, float]:
        """The exit status and the peak of the memory in GiB."""
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        ) as process:
            try:
                return self._watch(process)
            finally:
                process.terminate()  # not kill: mpirun then still ends its ranks

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[int, float]:
        patience, peak = time.perf_counter() + max(1.0, self.deadline - time.perf_counter()), 0.0
        while True:
            # The kernel keeps the peak, but forgets it with the process; and what Python sums up has no peaks of one.
            peak = max(peak, _peak_gib(process.pid))
            try:
                return process.wait(_LOOKS_S), peak
            except subprocess.TimeoutExpired:
                if time.perf_counter() > patience:
                    raise

    def run_parallel(self, name: str, *options: str) -> Path:
        """Runs a program on all ranks."""
        if self.ranks == 1:
            return self.run(name, *options)
        return self.run("mpirun", "-n", str(self.ranks), name, "-parallel", *options, name=name)


def _peak_gib(process: int) -> float:
    """The most memory that a running process has held, in GiB; 0 where the kernel does not tell."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(encoding="ascii"))
    except OSError:
        return 0.0
    return int(found.group(1)) / 2**20 if found else 0.0
