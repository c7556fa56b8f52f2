"""The program that every MPI rank runs for a flow case: one mesh, the flow at each factor on the rates.

mpirun -n 2 python -m twin.campaign.flow_worker JOB.json
"""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

from dolfinx import fem
from mpi4py import MPI

from twin.campaign.flow_case import SCHEMA, flow_hash
from twin.campaign.flow_march import March
from twin.campaign.flow_problem import FlowProblem, Scales
from twin.campaign.flow_record import Points, Sample, write_lines, write_shear
from twin.campaign.serving import Teller, serve
from twin.case import FlowCase, Results
from twin.case.load import load_any
from twin.errors import BadInput, NotConverged, TwinError
from twin.fem import storage
from twin.fem.domain import read_domain
from twin.fem.parallel import collect_in_step
from twin.files import read_json, write_json
from twin.flow import FlowSolution, SteadySolver
from twin.flow.boundaries import Boundaries
from twin.provenance import provenance

HISTORY = 200  # lines of the residual history that a record keeps


class FlowWorker:
    """One mesh and its solver, kept from factor to factor."""

    def __init__(self, case: FlowCase, job: dict[str, Any], comm: MPI.Comm) -> None:
        self.case, self.job, self.comm = case, job, comm
        self.results = Results(Path(job["results"]))
        self.domain = read_domain(self.results.mesh / "junction.msh", comm, job["mesh_hash"])
        self.problem = FlowProblem(case, self.domain, job["unit_m"])
        self.points = Points(self.problem)
        for scale in job["scales"]:
            self.problem.check_laminar(self.problem.scales(scale), scale, job["allow_high_reynolds"])
        self.tell, self._history = Teller(comm), list[str]()
        self._solver: SteadySolver | None = None
        self._solved_for: Boundaries | None = None
        self._reached = 0.0  # the Reynolds number of `steady_at`'s last flow

    def _watch(self, line: str) -> None:
        self._history = [*self._history[-(HISTORY - 1) :], line]
        self.tell("step", text=line)

    def solve(self, scale: float) -> None:
        """Solves the flow at one factor and writes its record, or the reason why it has no numbers."""
        collect_in_step()
        self.tell.point, self._history = self.case.point_name(scale), []
        began = time.perf_counter()
        scales = self.problem.scales(scale)
        record = self._heading(scale, scales)
        self.tell("start")
        try:
            record |= self._unsteady(scale, scales) if self.case.time else self._steady(scale, scales)
        except BadInput:
            raise
        except TwinError as failure:
            if self._solver is not None:
                self._solver.forget()
            record |= {"status": "failed", "reason": failure.message, "remedy": failure.remedy}
        record["history"] = self._history
        record["seconds"] = time.perf_counter() - began
        point_hash = flow_hash(self.case, scale, self.job["mesh_hash"], self.job["unit_m"])
        record["provenance"] = provenance(ranks=self.comm.size, mesh_hash=self.job["mesh_hash"], point_hash=point_hash)
        folder = self.results.point(self.tell.point)
        if self.comm.rank == 0:
            if record["status"] != "failed":
                write_lines(folder, record)
            write_json(folder / "record.json", record)
        self.comm.barrier()
        self.tell("done", status=record["status"], reason=record["reason"], seconds=record["seconds"])

    def _heading(self, scale: float, scales: Scales) -> dict[str, Any]:
        mesh, fluid = self.domain.mesh, self.case.fluid
        cells = mesh.topology.index_map(self.domain.dim).size_global
        measure = self.domain.integral(fem.Constant(mesh, 1.0) * self.domain.dx()) * scales.length_m**self.domain.dim
        depth = "" if self.domain.dim == 3 else "/m"
        return {
            "schema": SCHEMA,
            "case": self.case.name,
            "name": self.tell.point,
            "level": self.job["level"],
            "scale": scale,
            "reynolds": scales.reynolds,
            "outlet_reynolds": {},
            "fluid": {
                "density_kg_m3": fluid.density_kg_m3,
                "kinematic_viscosity_m2_s": fluid.kinematic_viscosity_m2_s,
            },
            "reference": {
                "length_m": scales.length_m,
                "velocity_m_s": scales.velocity_m_s,
                "depth_m": scales.depth_m,
                "pressure_pa": self.problem.base_pa,
                "pressure_level": "zero mean" if self.case.boundaries.closed else "outlets",
                "outlet_hydraulic_diameter_m": self.problem.outlet_diameters_m,
            },
            "mesh": {
                "dimension": self.domain.dim,
                "cells": cells,
                "measure": measure,
                "size_m": (measure / cells) ** (1 / self.domain.dim),
                "unit_m": self.job["unit_m"],
            },
            "units": {
                "measure": f"m^{self.domain.dim}",
                "area": "m^2" if self.domain.dim == 3 else "m",
                "flow": "m^3/s" if self.domain.dim == 3 else "m^2/s",
                "force": f"N{depth}",
            },
            "reason": "",
            "remedy": "",
        }

    def steady_at(self, reynolds: float | None) -> tuple[SteadySolver, float]:
        """The solver, brought to the steady flow at a Reynolds number, None for the case's own; and that number.

        Rates and wall velocities are scaled for it. The first call starts from the flow on disk, later ones from the
        state of the solver, whatever that has become since: a series stays with the flow that it went over to. Raises
        `BadInput` where the flow may be turbulent, `NotConverged`.
        """
        scale = 1.0 if reynolds is None else reynolds / self.problem.scales(1.0).reynolds
        scales = self.problem.scales(scale)
        self.problem.check_laminar(scales, scale, self.job["allow_high_reynolds"])
        before, reached = self._solver, self._reached
        solver, self._reached = self._solver_for(self.problem.boundaries(scales, scale)), 0.0
        if before is None:
            self._start_near(solver, scales)
        elif solver is not before:
            solver.start_from(*before.fields(), reached)
        flow = self._solved(solver, scale, scales)
        flows = self.problem.outlet_flows(scales, flow.velocity)
        self.problem.check_laminar(scales, scale, self.job["allow_high_reynolds"], flows)
        self._reached = scales.reynolds
        return solver, scales.reynolds if reynolds is None else reynolds

    def write_state(self, path: Path, solver: SteadySolver, reynolds: float) -> None:
        """Writes the state of `steady_at`'s solver as the fields of a flow."""
        velocity, pressure = solver.fields()
        if self.case.boundaries.closed:
            pressure.x.array[:] -= self.domain.mean(pressure)
        scales = self.problem.scales(reynolds / self.problem.scales(1.0).reynolds)
        self._write_fields(scales, velocity, pressure, path)

    def _solved(self, solver: SteadySolver, scale: float, scales: Scales) -> FlowSolution:
        try:
            return solver.solve(scales.reynolds, self.problem.flows(scales, scale))
        except NotConverged:
            solver.forget()
            raise

    def _steady(self, scale: float, scales: Scales) -> dict[str, Any]:
        solver = self._solver_for(self.problem.boundaries(scales, scale))
        self._start_near(solver, scales)
        flow = self._solved(solver, scale, scales)
        outlets = self._laminar_outlets(scale, scales, self.problem.outlet_flows(scales, flow.velocity))
        self.tell("step", text="forces, probes, fields")
        folder = self.results.point(self.tell.point)
        self._write_fields(scales, flow.velocity, flow.pressure, folder / "fields.vtu")
        sample = Sample(self.problem, self.points, scales, flow.velocity, flow.pressure)
        return {
            "status": flow.status,
            "iterations": flow.iterations,
            "residual": flow.residual,
            "unknowns": _unknowns(flow.velocity) + _unknowns(flow.pressure),
            "outlet_reynolds": outlets,
            **self._numbers(sample),
        }

    def _unsteady(self, scale: float, scales: Scales) -> dict[str, Any]:
        boundaries = self.problem.boundaries(scales, scale, 0.0)
        march = March(self.problem, self.points, scales, scale, boundaries, self.results, self._watch)
        if not march.resume() and self.case.time is not None and self.case.time.start == "steady":
            solver = self._solver_for(boundaries)
            flow = solver.solve(scales.reynolds, self.problem.flows(scales, scale, 0.0))
            march.start(flow.velocity, flow.pressure)
        folder = self.results.point(self.tell.point)
        write_fields = functools.partial(self._write_fields, scales, march.velocity, march.pressure)
        summary = march.run(lambda name: write_fields(folder / name))
        outlets = self._laminar_outlets(scale, scales, march.largest_flows())
        write_fields(folder / "fields.vtu")
        return {
            "status": "unsteady",
            "unknowns": _unknowns(march.velocity) + _unknowns(march.pressure),
            "outlet_reynolds": outlets,
            "time": summary,
            **self._numbers(march.sample, march.largest_inflow()),
        }

    def _laminar_outlets(self, scale: float, scales: Scales, flows: dict[str, float]) -> dict[str, float]:
        """Re of each outlet with its solved flow in m³/s, in 2-D m²/s. One too high fails this flow, and no other."""
        try:
            self.problem.check_laminar(scales, scale, self.job["allow_high_reynolds"], flows)
        except BadInput as error:
            raise TwinError(error.message, error.remedy) from None
        return self.problem.outlet_reynolds(scales, flows)

    def _numbers(self, sample: Sample, before: float = 0.0) -> dict[str, Any]:
        """Those of a record, with the largest inflow before; the shear on walls has a table of its own beside it."""
        shear = sample.shear()
        if self.comm.rank == 0:
            write_shear(self.results.point(self.tell.point), shear)
        return sample.numbers(shear, before)

    def _solver_for(self, boundaries: Boundaries) -> SteadySolver:
        """The solver of these boundaries: that of before where they are the same in its units."""
        if self._solver is None or boundaries != self._solved_for:
            self._solver = SteadySolver(self.domain, boundaries, watch=self._watch)
            self._solved_for = boundaries
        return self._solver

    def _start_near(self, solver: SteadySolver, scales: Scales) -> None:
        """Starts from the solved flow on disk of this mesh and case that is nearest in Re; from what is solved already
        in this run otherwise.
        """
        path = self.results.point(self.tell.point)
        found: tuple[Any, ...] | None = None
        if self.comm.rank == 0 and (path / "record.json").exists() and (path / "fields.vtu").exists():
            record = read_json(path / "record.json")
            if record["status"] != "failed" and record["provenance"]["mesh_hash"] == self.job["mesh_hash"]:
                unit = record["reference"]["velocity_m_s"]
                same = record["reference"]["length_m"] == scales.length_m
                fields = storage.read_fields(path / "fields.vtu")
                pressure = record["fluid"]["density_kg_m3"] * unit**2
                if same:
                    above = fields["pressure"] - record["reference"]["pressure_pa"]
                    found = fields["velocity"] / unit, above / pressure, record["reynolds"]
        found = self.comm.bcast(found)
        if found is not None:
            solver.start_from_nodal(found[0][:, : self.domain.dim], *found[1:])
            self._watch("starting from the fields of before")

    def _write_fields(self, scales: Scales, velocity: fem.Function, pressure: fem.Function, path: Path) -> None:
        """Velocity in m/s and pressure in Pa, on the mesh in its own unit."""
        fast = fem.Function(velocity.function_space)
        fast.x.array[:] = velocity.x.array * scales.velocity_m_s
        high = storage.quadratic(self.domain, pressure)
        high.x.array[:] = high.x.array * scales.pressure_pa + self.problem.base_pa
        storage.write_fields(self.domain, self.results.mesh / "junction.vtu", path, velocity=fast, pressure=high)


def _unknowns(function: fem.Function) -> int:
    dofmap = function.function_space.dofmap
    return int(dofmap.index_map.size_global * dofmap.index_map_bs)


def run(job: dict[str, Any], comm: MPI.Comm) -> None:
    """The flows of a job on every rank of `comm`."""
    case = load_any(job["case"])
    if not isinstance(case, FlowCase):
        raise BadInput(f"{job['case']} is no flow case any more", "ask for what it is now, a reactor case")
    worker = FlowWorker(case, job, comm)
    for scale in job["scales"]:
        worker.solve(scale)


if __name__ == "__main__":
    serve(run)
