"""The program that every MPI rank runs: the operating points of a job, one after another.

    mpirun -n 2 python -m twin.campaign.worker JOB.json

Rank 0 prints one JSON event a line. A point that fails is recorded, and the rest go on.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from dolfinx import fem
from mpi4py import MPI

from twin.campaign.buoyant import CoupledSolver
from twin.campaign.order import NEAR, distance
from twin.campaign.record import gravity, grid_record, heading, point_hash, pressure_unit_pa
from twin.campaign.serving import Teller, serve
from twin.campaign.table import solved_flows
from twin.campaign.walks import walked, walkers_mesh
from twin.case import START, Case, Results, load
from twin.errors import BadInput, TwinError
from twin.fem import storage
from twin.fem.domain import Domain, read_domain
from twin.fem.parallel import collect_in_step
from twin.files import write_json
from twin.flow import SteadySolver
from twin.junction import groups, outlet_area
from twin.liquids.mixture import Mixture
from twin.operating import OperatingPoint
from twin.provenance import provenance
from twin.transport import largest_divergence

OUTLET_FITS = 0.03  # how much the area of an outlet may differ: straight facets cut off 2 %
ORIGIN_FITS = 0.5  # bores


class Worker:
    """One mesh and its solvers, kept from point to point."""

    def __init__(self, case: Case, level: str, results: Results, mesh_hash: str, comm: MPI.Comm) -> None:
        self.case, self.level, self.results, self.mesh_hash, self.comm = case, level, results, mesh_hash, comm
        self.domain: Domain = read_domain(results.mesh / "junction.msh", comm, mesh_hash)
        check_outlet(case, self.domain)
        self.tell = Teller(comm)
        self._coarser: Domain | None = None
        self._nodes: storage.Nodes | None = None
        liquids = case.liquids
        mixture = Mixture.of(liquids.of(liquids.antisolvent), liquids.of(liquids.precursor), liquids.temperature)
        direction = gravity(case) if case.coupling == "buoyant" else None
        watch = lambda line: self.tell("step", text=line)  # noqa: E731
        self.coupled = CoupledSolver(self.domain, mixture, case.coupling, direction, watch=watch)
        self.flow = self.coupled.flow

    def start_from_coarser(self, point: OperatingPoint) -> bool:
        """Starts from the point's own solution on the next coarser level, if that is solved; says whether it is."""
        level = self.case.coarser(self.level)
        if level is None:
            return False
        there = self.results.beside(level)
        path = self.comm.bcast(there.flow(point.name) if self.comm.rank == 0 else None)
        if path is None:
            return False
        if self._coarser is None:
            self._coarser = read_domain(there.mesh / "junction.msh", self.comm)
        fields = self.comm.bcast(storage.read_fields(path) if self.comm.rank == 0 else None)
        velocity, pressure = (storage.function(self._coarser, fields[name]) for name in ("velocity", "pressure"))
        self.flow.start_from(velocity, pressure, groups(self.case, point).reynolds)
        self.tell("step", text=f"starting from the level {level}")
        return True

    def start_near(self, point: OperatingPoint, within: float = np.inf) -> bool:
        """Starts from the nearest point that is solved on this mesh, if there is one `within` a `distance`; says so."""
        chosen = self.comm.bcast(self._nearest(point, within) if self.comm.rank == 0 else None)
        if chosen is None:
            return False
        path, reynolds = chosen
        fields = self.comm.bcast(storage.read_fields(path) if self.comm.rank == 0 else None)
        self.flow.start_from_nodal(fields["velocity"], fields["pressure"], reynolds)
        self.tell("step", text=f"starting from {path.parent.name}")
        return True

    def _nearest(self, point: OperatingPoint, within: float) -> tuple[Path, float] | None:
        """The fields of the nearest solved point, and its Reynolds number."""
        mine = groups(self.case, point)
        found = [(distance(mine, theirs), name, theirs) for name, theirs in solved_flows(self.results).items()]
        if not found or not min(found)[0] < within:
            return None
        _, name, theirs = min(found)
        return self.results.point(name) / "fields.vtu", theirs.reynolds

    def solve(self, point: OperatingPoint, walk: bool = True) -> None:
        """Solves one point and writes its record, or the reason why it has no numbers.

        Without the walk its flow becomes a start for finer levels, and what its record says of another mesh is gone.
        """
        collect_in_step()
        self.tell.point = point.name
        began = time.perf_counter()
        record = heading(self.case, point)
        self.tell("start")
        try:
            record |= self._numbers(point) if walk else self._rough(point)
        except TwinError as failure:
            self.coupled.forget()
            record |= {"status": "failed", "reason": failure.message}
        record["provenance"] = provenance(
            ranks=self.comm.size,
            mesh_hash=self.mesh_hash,
            point_hash=point_hash(self.case, self.level, point, self.mesh_hash),
        )
        record.setdefault("seconds", {})["all"] = time.perf_counter() - began
        if self.comm.rank == 0:
            write_json(self.results.point(point.name) / ("record.json" if walk else START), record)
        self.comm.barrier()
        self.tell("done", status=record["status"], reason=record["reason"], seconds=record["seconds"]["all"])

    def _rough(self, point: OperatingPoint) -> dict[str, Any]:
        """The flow alone, for finer levels."""
        flow = self.coupled.rough_flow(groups(self.case, point))
        if self.comm.rank == 0:
            (self.results.point(point.name) / "record.json").unlink(missing_ok=True)
        self.write_fields(self.results.point(point.name) / "fields.vtu", flow.velocity, flow.pressure)
        return {
            "status": flow.status,
            "reason": "",
            "flow": {
                "pressure_drop_rhou2": flow.pressure_drop,
                "iterations": flow.iterations,
                "residual": flow.residual,
            },
        }

    def _numbers(self, point: OperatingPoint) -> dict[str, Any]:
        clock = [time.perf_counter()]
        group = groups(self.case, point)
        solution = self.coupled.solve(group)
        flow, planes = solution.flow, solution.mixing
        clock.append(time.perf_counter())
        grid = grid_record(planes, solution.concentration.lowest, solution.concentration.highest)
        self.write_fields(
            self.results.point(point.name) / "fields.vtu",
            flow.velocity,
            flow.pressure,
            concentration=storage.smoothed(self.domain, solution.concentration.field),
        )
        clock.append(time.perf_counter())
        mixing = self._walked(point, flow.velocity)
        clock.append(time.perf_counter())
        unit = pressure_unit_pa(self.case, point)
        return {
            "status": flow.status,
            "reason": "",
            "flow": {
                "pressure_drop_pa": {name: drop * unit for name, drop in flow.pressure_drop.items()},
                "pressure_drop_rhou2": flow.pressure_drop,
                "pressure_error": self.case.level(self.level).pressure_error,
                "iterations": flow.iterations,
                "residual": flow.residual,
                "divergence": largest_divergence(self.domain, solution.velocity),
            },
            "mixing": {**mixing, "grid": grid},
            "seconds": dict(zip(("solving", "writing", "walking"), np.diff(clock).tolist(), strict=True)),
        }

    def _walked(self, point: OperatingPoint, velocity: fem.Function) -> dict[str, Any]:
        """The mixing by random walkers; writes the histories of fluid elements."""
        self.tell("step", text="random walkers")
        if self._nodes is None:
            path = self.results.mesh / "junction.msh"
            self._nodes = self.comm.bcast(storage.read_nodes(path) if self.comm.rank == 0 else None)
        nodal = self.comm.bcast(storage.nodal(self.domain, velocity))
        mesh = walkers_mesh(self._nodes, [nodal])
        watch = lambda line: self.tell("step", text=line)  # noqa: E731
        mixing, histories = walked(self.case, self.level, point, mesh, self.comm, watch)
        if self.comm.rank == 0:
            storage.write_arrays(self.results.point(point.name) / "histories.npz", **asdict(histories))
        return mixing

    def write_state(self, path: Path, solver: SteadySolver, reynolds: float) -> None:
        """Writes the state of a solver as the fields of a flow; in their units they are without the Reynolds number."""
        self.write_fields(path, *solver.fields())

    def write_fields(self, path: Path, velocity: fem.Function, pressure: fem.Function, **others: fem.Function) -> None:
        """Velocity in U and pressure in ρU², and what else there is, on the mesh in bores."""
        high = storage.quadratic(self.domain, pressure)
        mesh = self.results.mesh / "junction.vtu"
        storage.write_fields(self.domain, mesh, path, velocity=velocity, pressure=high, **others)


def check_outlet(case: Case, domain: Domain) -> None:
    """Raises `BadInput` unless the mesh has the outlet that the case's groups, times and distances are counted with."""
    meshed = domain.area("outlet") * (2 if "symmetry" in domain.tags else 1)
    area = outlet_area(case)
    if abs(meshed / area - 1) > OUTLET_FITS:
        raise BadInput(
            f"the outlet of the mesh has an area of {meshed:.5g} bore², and the case counts with {area:.5g}: Re, Pe and"
            " every time would be wrong",
            f"write outlet_area = {meshed:.5g} in [junction], or give a mesh whose outlet is one unit of length across",
        )
    axis = domain.normal("outlet")
    nodes = domain.mesh.geometry.x @ axis
    begin = domain.comm.allreduce(float(nodes.min()), op=MPI.MIN)
    end = float(domain.centre("outlet") @ axis)
    if begin > ORIGIN_FITS or end < ORIGIN_FITS:
        raise BadInput(
            f"along the outlet the mesh reaches from {begin:.3g} to {end:.3g} bores, and planes stand at distances from"
            " its origin",
            "move the mesh: its origin belongs where the streams meet",
        )


def run(job: dict[str, Any], comm: MPI.Comm) -> None:
    """The points of a job on every rank of `comm`."""
    case = load(job["case"])
    worker = Worker(case, job["level"], Results(Path(job["results"])), job["mesh_hash"], comm)
    for flows in job["points"]:
        point = OperatingPoint(*flows)
        _ = worker.start_near(point, NEAR) or worker.start_from_coarser(point) or worker.start_near(point)
        worker.solve(point, job["walk"])


if __name__ == "__main__":
    serve(run)
