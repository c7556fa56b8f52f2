"""What each MPI rank of `twin bench mixing` runs: the flow of a junction, or the walkers in it.

    mpirun -n 2 python -m twin.verification.bench_walks JOB.json

See `twin.verification.convergence.on_ranks`.
"""

from __future__ import annotations

import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twin.campaign.walks import segregations, walkers_mesh
from twin.mixing import Segregation
from twin.transport import Alone, Comm, Planes, Tetrahedra, Walkers, Walks

PILOT = 1000  # walkers
FAILURE = "failure.txt"  # in the job's folder: why it failed. What mpirun prints of it drowns in its own words
_SEED, _PILOT_SEED = 1, 2
_MARGIN = 1.1  # times the walkers that the pilot asks for: it knows its own errors to a few per cent
_ROUND = 500
_FEW = 64  # walkers that make numba compile all


@dataclass(frozen=True)
class FlowRun:
    """A flow from nothing, by way of a coarser mesh; `cpu_seconds` of a rank, meshing left out."""

    cells: int
    unknowns: int
    seconds_mesh: float
    seconds_solve: float
    cpu_seconds: float


@dataclass(frozen=True)
class WalkRun:
    """Walkers there and back.

    `seconds` by the clock on all ranks; `cpu_seconds` of the busiest rank and `cpu_seconds_sum` of all, without their
    waiting for each other; `steps` of all walkers, there and back; `planes` nearest first.
    """

    walkers: int
    returned: int
    steps: int
    seconds: float
    cpu_seconds: float
    cpu_seconds_sum: float
    planes: list[Segregation]

    @property
    def ns_step(self) -> float:
        """Processor time of a walker's step on its rank, in ns."""
        return 1e9 * self.cpu_seconds_sum / self.steps

    @property
    def worst(self) -> Segregation:
        """The plane with the largest standard error of M."""
        return max(self.planes, key=lambda plane: plane.index_error)


@dataclass(frozen=True)
class WalkJob:
    """All of one program: the walkers' mesh, the pilot where there was one, the walkers.

    `rates` are what one core does at best, GFlop/s of a matrix product and GB/s of a copy.
    """

    ranks: int
    cells: int
    seconds_mesh: float
    cpu_seconds_mesh: float
    pilot: WalkRun | None
    run: WalkRun
    rates: tuple[float, float]


def chosen(pilot: Sequence[Segregation], walkers: int, error: float) -> int:
    """How many walkers bring the standard error of M to `error` at every plane, from a pilot with fewer."""
    worst = max(plane.index_error for plane in pilot)
    return max(_ROUND * math.ceil(_MARGIN * walkers * (worst / error) ** 2 / _ROUND), _ROUND)


def measured(
    mesh: Tetrahedra,
    peclet: float,
    share: float,
    positions: Sequence[float],
    count: int,
    comm: Comm | None = None,
    seed: int = _SEED,
) -> WalkRun:
    """`count` walkers of the precursor, a `share` of the flow, to planes at these bores and back: M and the cost."""
    clock = _Busy(comm or Alone())
    walkers, planes = _Counted(mesh, clock, seed=seed), Planes.at(mesh, positions)
    clock.start()
    down = walkers.walk(walkers.release("precursor", count), peclet, True, planes)
    found = segregations(walkers, down, planes, peclet, count, share, purpose=2)
    seconds, busy = clock.stop()
    crossings = len(down.crossings.walker)
    return WalkRun(count, crossings, walkers.steps, seconds, max(busy), sum(busy), found)


class _Counted(Walkers):
    """Walkers that count their steps."""

    steps = 0

    def walk(self, *arguments: Any, **options: Any) -> Walks:
        walks = super().walk(*arguments, **options)
        self.steps += int(walks.steps.sum())
        return walks


class _Busy:
    """A communicator that knows how long its ranks waited: MPI waits with the processor busy."""

    def __init__(self, comm: Comm) -> None:
        self.comm, self.rank, self.size = comm, comm.rank, comm.size

    def start(self) -> None:
        """Starts both clocks, at the same time on all ranks."""
        self.comm.allgather(None)
        self.waited, self.began, self.used = 0.0, time.perf_counter(), time.process_time()

    def stop(self) -> tuple[float, list[float]]:
        """The clock's time, and by rank the processor's without waiting."""
        busy = time.process_time() - self.used - self.waited
        everyone = self.comm.allgather((busy, time.perf_counter() - self.began))
        return max(wall for _, wall in everyone), [busy for busy, _ in everyone]

    def allgather(self, sendobj: object) -> list:
        """What every rank has."""
        used = time.process_time()
        gathered = self.comm.allgather(sendobj)
        self.waited += time.process_time() - used
        return gathered


def core_rates() -> tuple[float, float]:
    """GFlop/s of a matrix product, and GB/s of a copy beyond the caches, each the best of five."""
    size, length = 800, 8_000_000
    a, long = np.random.default_rng(1).random((size, size)), np.ones(length)
    product, copy = np.empty_like(a), np.zeros(length)
    spent: list[tuple[float, float]] = []
    for _ in range(5):
        began = time.perf_counter()
        np.matmul(a, a, out=product)
        multiplied = time.perf_counter()
        np.copyto(copy, long)
        spent.append((multiplied - began, time.perf_counter() - multiplied))
    multiply, move = (min(each) for each in zip(*spent, strict=True))
    return 2 * size**3 / multiply / 1e9, 2 * long.nbytes / move / 1e9


# -- the program -------------------------------------------------------------------------------------------------------


def walk_job(job: dict[str, Any], comm: Any) -> WalkJob:
    """The walkers' mesh of the job's flow and its walkers, as many as it says, or as the pilot finds."""
    from twin.fem import storage

    nodes, velocity = comm.bcast(
        (storage.read_nodes(Path(job["mesh"])), np.load(job["velocity"])) if comm.rank == 0 else None
    )
    clock = _Busy(comm)
    clock.start()
    mesh = walkers_mesh(nodes, [velocity])
    seconds_mesh, cpu = clock.stop()
    what = (mesh, job["peclet"], job["share"], job["planes"])
    measured(*what, _FEW, comm)
    count, pilot = job.get("walkers"), None
    if count is None:
        pilot = measured(*what, job["pilot"], comm, seed=_PILOT_SEED)
        count = chosen(pilot.planes, job["pilot"], job["error"])
    run = measured(*what, count, comm)
    return WalkJob(comm.size, len(mesh.cells), seconds_mesh, max(cpu), pilot, run, core_rates())


def flow_job(job: dict[str, Any], comm: Any) -> FlowRun:
    """Solves the flow on the job's level and leaves its mesh and its velocity at the nodes in the job's folder."""
    from twin.case.schema import Level
    from twin.fem import storage
    from twin.fem.domain import read_domain
    from twin.fem.parallel import collect_in_step
    from twin.flow import SteadySolver
    from twin.junction import find_connector
    from twin.meshing.build import mesh_connector
    from twin.verification.convergence import CONNECTOR, START, STEPS
    from twin.verification.flow import streams

    folder, reynolds = Path(job["folder"]), job["reynolds"]
    last, seconds_mesh, seconds_solve, cpu = None, 0.0, 0.0, 0.0
    for name, level in (("start", START), ("level", Level(**job["level"]))):
        collect_in_step()
        comm.barrier()
        began = time.perf_counter()
        if comm.rank == 0:
            mesh_connector(find_connector(CONNECTOR, Path()), level, folder / name)
        comm.barrier()
        domain = read_domain(folder / name / "junction.msh", comm)
        meshed, used = time.perf_counter(), time.process_time()
        solver, flows = SteadySolver(domain), streams(domain, job["share"])
        if last is None:
            for step in STEPS:
                if step < reynolds:
                    solver.solve(step, flows)
        else:
            solver.start_from(*last.fields(), reynolds)
        solution = solver.solve(reynolds, flows)
        comm.barrier()
        seconds_mesh, seconds_solve = seconds_mesh + meshed - began, seconds_solve + time.perf_counter() - meshed
        cpu += max(comm.allgather(time.process_time() - used))
        last = solver
    values = storage.nodal(domain, solution.velocity)
    if values is not None:
        np.save(folder / "velocity.npy", values)
    cells = domain.mesh.topology.index_map(domain.dim).size_global
    unknowns = solver.space.dofmap.index_map.size_global * solver.space.dofmap.index_map_bs
    return FlowRun(int(cells), int(unknowns), seconds_mesh, seconds_solve, cpu)


_TASKS: dict[str, Callable[[dict[str, Any], Any], FlowRun | WalkJob]] = {"flow": flow_job, "walk": walk_job}


def main(file: Path) -> None:
    """Does the job's task on the ranks of this program. The error of one rank ends them all."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    job = json.loads(comm.bcast(file.read_text(encoding="utf-8") if comm.rank == 0 else None))
    try:
        answer = _TASKS[job["task"]](job, comm)
        if comm.rank == 0:
            Path(job["answer"]).write_text(json.dumps(asdict(answer)), encoding="utf-8")
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
        Path(job["folder"], FAILURE).write_text(str(error) or repr(error), encoding="utf-8")
        comm.Abort(1)


def read_walk(answer: dict[str, Any]) -> WalkJob:
    """The answer of `walk_job` from JSON."""
    runs = {
        key: answer[key] and WalkRun(**{**answer[key], "planes": [Segregation(**one) for one in answer[key]["planes"]]})
        for key in ("pilot", "run")
    }
    return WalkJob(**{**answer, **runs, "rates": tuple(answer["rates"])})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
