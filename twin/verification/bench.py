"""Speed as ratios of one run: what a second rank gains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any

from twin.errors import TwinError

_PROGRAM = """
import json, time
from mpi4py import MPI
from twin.fem.parallel import collect_in_step
from twin.flow import SteadySolver
from twin.verification.flow import small_connector, small_domain, streams
comm = MPI.COMM_WORLD
collect_in_step()
domain = small_domain(small_connector(), 0.11, 0.14, comm)
solver = SteadySolver(domain)
solver.solve(50.0, streams(domain, 0.1))  # compiles the forms
solver.forget()
comm.barrier()
began = time.perf_counter()
solution = solver.solve(200.0, streams(domain, 0.1))
comm.barrier()
if comm.rank == 0:
    print(json.dumps({"seconds": time.perf_counter() - began, "iterations": solution.iterations}))
"""


def flow() -> list[dict[str, Any]]:
    """A steady flow at Re 200 on one rank and on two, one after the other."""
    seconds = {ranks: _timed(ranks) for ranks in (1, 2)}
    return [
        {"what": "one rank", "ratio": 1.0, "seconds": seconds[1]},
        {"what": "two ranks against one", "ratio": seconds[1] / seconds[2], "seconds": seconds[2]},
    ]


def _timed(ranks: int) -> float:
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    if launcher is None:
        raise TwinError("there is no mpirun", "twin doctor says how to get it")
    began = time.perf_counter()
    done = subprocess.run(
        [launcher, "-n", str(ranks), sys.executable, "-c", _PROGRAM],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode:
        raise TwinError(
            f"the benchmark failed on {ranks} ranks after {time.perf_counter() - began:.0f} s",
            done.stderr.strip()[-300:],
        )
    return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])
