"""The paper's highest flow on the levels of its own case, from nothing, as `twin solve` goes up them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from twin.campaign import climb
from twin.case import START, Case, Results
from twin.files import read_json
from twin.operating import OperatingPoint
from twin.verification.convergence import on_ranks
from twin.verification.hexahedra import Floats
from twin.verification.openfoam import Reference, sample_points
from twin.verification.openfoam_tools import children_seconds


@dataclass(frozen=True)
class Rung:
    """The flow on one level, and what it and all below it took from nothing: seconds of the clock, and of a rank."""

    level: str
    cells: int
    seconds: float
    seconds_solve: float
    cpu_seconds: float
    flow: Reference


def climbed(
    case: Case, point: OperatingPoint, levels: Sequence[str], ranks: int, folder: Path, at: Floats | None = None
) -> list[Rung]:
    """The flow of a point on levels of its case, each the way to the next, in an empty folder.

    The flows are those that a finer level starts from: to a residual of 1e-5, without walkers. `at` (k, 3) in bores is
    where the velocity is wanted, `sample_points()` by default.
    """
    points = sample_points() if at is None else at
    clock, rungs = _Clock(), []
    for level in levels:
        results = Results.of(case, level, folder)
        made = climb(case, level, results, [point], ranks, clock.progress, walk=False)
        flow = _flow(results, point, points)
        solving = clock.solving
        rungs.append(Rung(level, made.quality.cells, clock.meshing + solving, solving, clock.processor / ranks, flow))
    return rungs


def _flow(results: Results, point: OperatingPoint, at: Floats) -> Reference:
    """What is compared, from the files of a solved point."""
    folder = results.point(point.name)
    job = {"mesh": str(results.mesh / "junction.msh"), "fields": str(folder / "fields.vtu"), "at": at.tolist()}
    velocity = on_ranks("twin.verification.bench_ladder", job, 1)
    record = read_json(folder / START)
    return Reference(record["flow"]["pressure_drop_rhou2"]["antisolvent"], np.asarray(velocity))


def main(file: Path) -> None:
    """Samples a stored velocity near the outlet. In a program of its own: one that has MPI can't start another."""
    from mpi4py import MPI

    from twin.fem import storage
    from twin.fem.domain import read_domain
    from twin.flow.probes import Probes

    job = json.loads(file.read_text(encoding="utf-8"))
    domain = read_domain(Path(job["mesh"]), MPI.COMM_WORLD)
    velocity = storage.function(domain, storage.read_fields(Path(job["fields"]))["velocity"])
    found = Probes(domain, np.array(job["at"])).sample(velocity)
    Path(job["answer"]).write_text(json.dumps(found.tolist()), encoding="utf-8")


class _Silent:
    def note(self, text: str) -> None: ...

    def advance(self, text: str = "", steps: float = 1) -> None: ...


@dataclass
class _Clock:
    """Adds up the seconds of meshing and of solving, and the processor time of all ranks."""

    meshing: float = field(default=0.0)
    solving: float = field(default=0.0)
    processor: float = field(default=0.0)

    @contextmanager
    def progress(self, title: str, total: int | None = None) -> Iterator[_Silent]:
        began, used = time.perf_counter(), children_seconds()
        yield _Silent()
        seconds = time.perf_counter() - began
        self.processor += children_seconds() - used
        if title.startswith("mesh"):
            self.meshing += seconds
        else:
            self.solving += seconds


if __name__ == "__main__":
    main(Path(sys.argv[1]))
