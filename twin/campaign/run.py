"""Starts the workers with mpirun, follows their events, and ends them with the user's Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin.campaign.order import nearest_first
from twin.campaign.table import is_solved, solved_flows
from twin.case import Case, FlowCase, Results
from twin.errors import BadInput, TwinError
from twin.files import folder, write_json
from twin.junction import LEAST_PECLET, MOST_REYNOLDS, groups, species_peclet
from twin.operating import OperatingPoint

if TYPE_CHECKING:
    from twin.meshing import MeshFolder


CROWDED = 4  # ranks for each processor: a few may share one, but hundreds wait for each other and take all memory
#: What schedulers and lists of machines set: the ranks then need not run on this one.
ELSEWHERE = (
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "LSB_JOBID",
    "PE_HOSTFILE",
    "PRTE_MCA_prte_default_hostfile",
    "OMPI_MCA_orte_default_hostfile",
    "HYDRA_HOST_FILE",
    "I_MPI_HYDRA_HOST_FILE",
)


@dataclass(frozen=True)
class Event:
    """News of a point: `start`, `step` (with a line of text), `done` (with its status), or `reused`.

    Of stability also, with text: `verdict` at a Reynolds number, or `left` for a state that the flow goes over from
    there.
    """

    kind: str
    point: str
    text: str = ""
    status: str = ""


Follow = Callable[[Event], None]


def run_points(
    case: Case,
    level: str,
    results: Results,
    mesh: MeshFolder,
    points: list[OperatingPoint],
    ranks: int,
    follow: Follow = lambda event: None,
    allow_high_reynolds: bool = False,
    walk: bool = True,
) -> None:
    """Solves the points that have no valid record yet, each started from a near one or from its own on a coarser level.

    Without the walk only their flows are solved, those that are not yet: finer levels follow them and start from them.

    Raises `BadInput` for a rate that implies turbulence (unless that is allowed) and for an impossible number of ranks,
    before anything runs.
    A point that does not converge is recorded as failed; only an error of the machine itself is raised.
    """
    check_ranks(ranks)
    for point in points:
        check_laminar(groups(case, point).reynolds, point.name, allow_high_reynolds)
        if walk:
            check_carried(case, point)
    open_points = []
    for point in points:
        if is_solved(case, level, results, point, mesh.hash, walk):
            follow(Event("reused", point.name))
        else:
            open_points.append(point)
    if not open_points:
        return
    open_points = nearest_first(case, open_points, solved_flows(results).values())
    write_json(results.folder / "case.json", case.model_dump(mode="json", exclude={"folder"}))
    start_workers(
        "twin.campaign.worker",
        results,
        {
            **common_job(case, level, results, mesh),
            "points": [flows_of(point) for point in open_points],
            "walk": walk,
        },
        ranks,
        follow,
    )


def common_job(case: Case | FlowCase, level: str, results: Results, mesh: MeshFolder) -> dict[str, Any]:
    """What the job of every worker says: whose mesh, and where its results are."""
    return {
        "case": str(case.folder.resolve()),
        "level": level,
        "results": str(results.folder.resolve()),
        "mesh_hash": mesh.hash,
    }


def flows_of(point: OperatingPoint) -> list[float]:
    """A point as a job has it: the arguments of `OperatingPoint`."""
    return [point.antisolvent_m3_s, point.precursor_m3_s, point.temperature_k]


def start_workers(module: str, results: Results, job: dict[str, Any], ranks: int, follow: Follow) -> None:
    """Runs a worker module on `ranks` ranks with a job, and follows it to its end; its log is `logs/solver.log`.

    Raises `BadInput` for more ranks than this machine can run, where no scheduler has given others.
    """
    _check_room(ranks)
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    if launcher is None:
        raise TwinError("there is no mpirun", "twin doctor says how to get it")
    logs = folder(results.folder / "logs")
    path = logs / f"job-{os.getpid()}.json"  # another process may solve other points of this folder
    try:
        write_json(path, job)
        _follow([launcher, "-n", str(ranks), sys.executable, "-m", module, str(path)], logs / "solver.log", follow)
    finally:
        path.unlink(missing_ok=True)


def check_ranks(ranks: int) -> None:
    """Raises `BadInput` for a number of ranks that can't run anything."""
    if ranks < 1:
        raise BadInput(f"{ranks} ranks can't run anything", "give --ranks 1 or more")


def _check_room(ranks: int) -> None:
    processors = os.cpu_count() or 1
    if ranks > CROWDED * processors and not any(name in os.environ for name in ELSEWHERE):
        raise BadInput(
            f"{ranks} ranks are too many for the {processors} processors of this machine",
            f"give --ranks {processors} or fewer, or run it within a job of your cluster's scheduler",
        )


def check_laminar(reynolds: float, what: str, allowed: bool = False) -> None:
    """Raises `BadInput` for a Reynolds number at which the flow may be turbulent, unless that is allowed."""
    if reynolds > MOST_REYNOLDS and not allowed:
        raise BadInput(
            f"{what} has Re {reynolds:.6g}: the flow may be turbulent, and this solver is laminar",
            f"stay below Re {MOST_REYNOLDS:.0f}, or say --allow-high-reynolds where the flow is known to be laminar",
        )


def check_carried(case: Case, point: OperatingPoint) -> None:
    """Raises `BadInput` for a species that diffuses about as fast as it flows."""
    for name, peclet in species_peclet(case, point).items():
        if peclet < LEAST_PECLET:
            raise BadInput(
                f"{point.name} has Pe {peclet:.2g} for {name}: I_s counts what the flow carries through a plane, and at"
                " such a Péclet number diffusion carries as much",
                f"raise the flows until Pe is {LEAST_PECLET:g}, or check the diffusivity; 1e-9 m²/s is usual",
            )


def _follow(command: list[str], log: Path, follow: Follow) -> None:
    """Runs a worker command; its events go to `follow`, all that it prints to the log."""
    errors: list[dict[str, Any]] = []
    with log.open("w", encoding="utf-8") as file, _process(command, file) as process:
        for line in process.stdout or ():
            file.write(line)
            file.flush()
            try:
                event = json.loads(line.lstrip("\0"))  # prterun may put a zero byte before what a rank says at its end
            except ValueError:
                continue  # a library's own print
            if not isinstance(event, dict):
                continue
            if event["event"] == "error":
                errors.append(event)
            else:
                text = event.get("text") or event.get("reason", "")
                follow(Event(event["event"], event["point"], text, event.get("status", "")))
        code = process.wait()
    if errors:
        kind = BadInput if errors[0]["exit_code"] == BadInput.exit_code else TwinError
        raise kind(errors[0]["message"], errors[0]["remedy"])
    if code:
        raise TwinError(
            f"the solver ended with status {code}", f"its last words are in {log}; finished points are kept"
        )


@contextmanager
def _process(command: list[str], log: Any) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, which ends with this block, whatever ends it."""
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True, env=environment
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            for patience, number in ((10, signal.SIGTERM), (5, signal.SIGKILL)):
                os.killpg(process.pid, number)
                try:
                    process.wait(patience)
                    break
                except subprocess.TimeoutExpired:
                    continue
        if process.stdout:
            process.stdout.close()
