"""The paper's junction on meshes of several sizes: what its answers cost, and how far they are from the limit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twin.campaign.refinement import Refinement, refine
from twin.case.schema import Level
from twin.check import Check
from twin.errors import TwinError

CONNECTOR = "ptfe-y-60"
#: Where the levels take their start from, each from the one before. The continuation in Re is on this mesh alone.
START = Level(wall_size=0.2, core_size=0.3, stretch=5)
STEPS = (348.0, 800.0)  # Reynolds numbers to pass on the way up
COARSEST = Level(wall_size=0.1, core_size=0.16)  # of the three meshes for the error of the pressure drop
LOW = 348.0, 1 / 17.667  # Re and the precursor's share: the low end of the paper's first sweep
ERROR = 0.005  # of a pressure drop, that the production level may have


@dataclass(frozen=True)
class MeshRun:
    """The steady flow on one mesh: pressure drop of the antisolvent in ρU², velocities (k, 3) at the outlet in U.

    `seconds_mesh` holds Gmsh and the reading of its mesh, `seconds_solve` all else, from the set-up of the forms on.
    What led to the start of the solve is not in it.
    """

    level: Level
    cells: int
    unknowns: int
    pressure_drop: float
    outlet_velocity: list[list[float]]
    seconds_mesh: float
    seconds_solve: float
    cpu_seconds: float  # of a rank, meshing left out; the clock's time where nothing else runs
    iterations: int

    @property
    def size(self) -> float:
        """The mean size of the elements in a section, in bores."""
        return float(np.sqrt(self.level.wall_size * self.level.core_size))


@dataclass(frozen=True)
class Study:
    """`start` and the runs, coarse to fine, each begun from the one before it.

    `seconds_launch` is from the command to the first mesh.
    """

    reynolds: float
    precursor_share: float
    ranks: int
    seconds_launch: float
    cpu_seconds_launch: float
    start: MeshRun
    runs: list[MeshRun]

    def seconds(self, run: MeshRun, meshing: bool) -> float:
        """Time to the solution of a run from nothing: with that of all before it, and with or without meshing."""
        return self.seconds_launch + sum(
            one.seconds_solve + (one.seconds_mesh if meshing else 0.0) for one in self._up_to(run)
        )

    def cpu_seconds(self, run: MeshRun) -> float:
        """The processor time of a rank to the solution of a run from nothing, without meshing."""
        return self.cpu_seconds_launch + sum(one.cpu_seconds for one in self._up_to(run))

    def _up_to(self, run: MeshRun) -> list[MeshRun]:
        return [self.start, *self.runs[: self.runs.index(run) + 1]]


def pressure_drop_study(
    reynolds: float, precursor_share: float, levels: Sequence[Level], ranks: int = 2
) -> tuple[Study, Refinement | None]:
    """The pressure drop on each level, coarse to fine, and its discretization error on the finest (see `refine`).

    The crotch is an edge that points into the fluid.
    """
    study = run_levels(reynolds, precursor_share, levels, ranks)
    sizes = [run.size for run in study.runs]
    return study, refine([run.pressure_drop for run in study.runs], sizes, "ρU²", edge=True)


def heavy_checks() -> list[Check]:
    """The error of the pressure drop that three similar meshes of the paper's junction tell, at its lowest flow."""
    study, found = pressure_drop_study(*LOW, [COARSEST.refined(factor) for factor in (1.0, 1.29, 1.67)])
    if found is None:
        raise TwinError("the three meshes of the junction are of one size")
    value = study.runs[-1].pressure_drop
    cells = ", ".join(f"{run.cells:,}" for run in study.runs)
    what = f"junction at Re {LOW[0]:.0f}: error of Δp = {value:.4f} ρU² / Δp"
    return [Check(what, found.error / value, 0.0, ERROR, f"meshes of {cells} cells, past an edge")]


def run_levels(
    reynolds: float,
    precursor_share: float,
    levels: Sequence[Level],
    ranks: int = 2,
    patience_s: float = 3600.0,
    enough: float | None = None,
) -> Study:
    """Solves on each level, from `START` on, in a program of its own on so many ranks.

    `enough` is the residual at which a flow is good; None for the solver's own.
    """
    job = {
        "reynolds": reynolds,
        "share": precursor_share,
        "enough": enough,
        "levels": [level.model_dump() for level in levels],
    }
    answer = on_ranks("twin.verification.convergence", job, ranks, patience_s)
    runs = [MeshRun(**{**run, "level": Level(**run["level"])}) for run in answer["runs"]]
    return Study(
        reynolds, precursor_share, ranks, answer["seconds_launch"], answer["cpu_seconds_launch"], runs[0], runs[1:]
    )


def on_ranks(module: str, job: dict[str, Any], ranks: int, patience_s: float = 3600.0) -> Any:
    """Runs a module's program on so many ranks with a job, and returns its answer."""
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    if launcher is None:
        raise TwinError("there is no mpirun", "twin doctor says how to get it")
    with tempfile.TemporaryDirectory() as name:
        file, answer = Path(name, "job.json"), Path(name, "answer.json")
        file.write_text(json.dumps({**job, "began": time.time(), "answer": str(answer)}), encoding="utf-8")
        try:
            done = subprocess.run(
                [launcher, "-n", str(ranks), sys.executable, "-m", module, str(file)],
                capture_output=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                check=False,
                timeout=patience_s,
            )
        except subprocess.TimeoutExpired:
            raise TwinError(f"{module} took more than {patience_s:.0f} s on {ranks} ranks") from None
        if done.returncode or not answer.exists():
            raise TwinError(f"{module} failed on {ranks} ranks", done.stderr.strip()[-400:])
        return json.loads(answer.read_text(encoding="utf-8"))


# -- on the ranks ------------------------------------------------------------------------------------------------------


def main(file: Path) -> None:
    """Solves the job on the ranks of this program."""
    from mpi4py import MPI

    from twin.fem.parallel import collect_in_step

    comm = MPI.COMM_WORLD
    job = json.loads(comm.bcast(file.read_text(encoding="utf-8") if comm.rank == 0 else None))
    launch = {"seconds_launch": comm.bcast(time.time()) - job["began"], "cpu_seconds_launch": time.process_time()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(comm.bcast(name))
        runs: list[MeshRun] = []
        start = None
        for number, level in enumerate([START, *(Level(**level) for level in job["levels"])]):
            collect_in_step()
            solver, run = _solved(comm, level, job, folder / str(number), start)
            start = solver
            runs.append(run)
            if comm.rank == 0:
                sys.stderr.write(_line(run) + "\n")
        comm.barrier()
    if comm.rank == 0:
        answer = {**launch, "runs": [asdict(run) | {"level": run.level.model_dump()} for run in runs]}
        Path(job["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def _solved(comm: Any, level: Level, job: dict[str, Any], folder: Path, start: Any) -> tuple[Any, MeshRun]:
    """The flow on a level, from that of another solver, or from rest by way of `STEPS`."""
    from twin.fem.domain import read_domain
    from twin.flow import SteadySolver
    from twin.flow.probes import Probes
    from twin.flow.steady import TOLERANCE
    from twin.junction import find_connector
    from twin.meshing.build import mesh_connector
    from twin.verification.flow import streams
    from twin.verification.openfoam import sample_points

    reynolds, enough = job["reynolds"], job["enough"] or TOLERANCE
    comm.barrier()
    began = time.perf_counter()
    if comm.rank == 0:
        mesh_connector(find_connector(CONNECTOR, Path()), level, folder)
    comm.barrier()
    domain = read_domain(folder / "junction.msh", comm)
    comm.barrier()
    meshed, processor = time.perf_counter(), time.process_time()
    solver = SteadySolver(domain)
    flows = streams(domain, job["share"])
    if start is None:
        steps = 0
        for step in STEPS:
            if step < reynolds:
                steps += solver.solve(step, flows, enough).iterations
    else:
        steps = 0
        velocity, pressure = start.fields()
        solver.start_from(velocity, pressure, reynolds)
    solution = solver.solve(reynolds, flows, enough)
    velocity = Probes(domain, sample_points()).sample(solution.velocity)
    comm.barrier()
    seconds = time.perf_counter() - meshed
    processor = max(comm.allgather(time.process_time() - processor))
    cells = domain.mesh.topology.index_map(domain.dim).size_global
    unknowns = solver.space.dofmap.index_map.size_global * solver.space.dofmap.index_map_bs
    run = MeshRun(
        level=level,
        cells=int(cells),
        unknowns=int(unknowns),
        pressure_drop=solution.pressure_drop["antisolvent"],
        outlet_velocity=velocity.tolist(),
        seconds_mesh=meshed - began,
        seconds_solve=seconds,
        cpu_seconds=processor,
        iterations=steps + solution.iterations,
    )
    return solver, run


def _line(run: MeshRun) -> str:
    level = f"{run.level.wall_size:.4g}/{run.level.core_size:.4g}"
    cost = f"{run.seconds_mesh:.1f} + {run.seconds_solve:.1f} s, {run.iterations} steps"
    return f"{level}: {run.unknowns} unknowns, Δp {run.pressure_drop:.6g}, {cost}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
