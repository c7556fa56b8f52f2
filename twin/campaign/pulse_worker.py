"""The program that every MPI rank runs for `twin pulse`: the periodic flow of a solved point, then walkers in it.

mpirun -n 2 python -m twin.campaign.pulse_worker JOB.json

The steady flow that pulsation is compared with is marched as well, until it rests: with the same scheme, whose steady
state differs a little from that of Newton's.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict
from typing import Any

import numpy as np
from mpi4py import MPI

from twin.campaign.point_worker import PointWorker
from twin.campaign.pulse import Pulse
from twin.campaign.pulse_march import FASTEST, LEAST_STEPS, Flows, PeriodicMarch
from twin.campaign.serving import serve
from twin.campaign.walks import segregations, solved, unit_time_s, walkers_mesh
from twin.fem import storage
from twin.fem.domain import read_domain
from twin.files import digest, read_json
from twin.flow import TransientSolver, shared_flows
from twin.mixing import Segregation, swings
from twin.transport import Planes, Tetrahedra, Walkers

REST = 2.0  # bores/U from one look at a flow that comes to rest to the next
MOST_REST = 100  # looks


class PulseWorker(PointWorker):
    """A solved point, the flow that pulsation makes of it, and what walkers say of both."""

    def __init__(self, job: dict[str, Any], comm: MPI.Comm) -> None:
        super().__init__(job, comm)
        self.tell("start")
        self.pulse = Pulse(**job["pulse"])
        self.period = self.pulse.period / unit_time_s(self.case, self.point)
        self.count = self.pulse.walkers or self.case.mixing.walkers
        self.nodes, fields = solved(self.results, self.point, self.mesh_hash, comm)
        self._mesh_file = self.results.mesh / "junction.msh"
        self._domain = read_domain(self._mesh_file, comm, self.mesh_hash)
        self._solver = TransientSolver(self._domain)
        self._solver.start(*(storage.function(self._domain, fields[name]) for name in ("velocity", "pressure")))

    # -- the flow ----------------------------------------------------------------------------------------------------

    def rest(self) -> PeriodicMarch:
        """The march at constant rates; the solver is then at its end."""
        return self._marched("rest", self._flows(0.0), REST, 1, "at constant rates", MOST_REST)

    def pulsating(self) -> PeriodicMarch:
        """The march with the pulsation, from where the solver is."""
        pulse = self.pulse
        flows = self._flows(pulse.amplitude)
        return self._marched(pulse.name, flows, self.period, pulse.snapshots, "with the pulsation", pulse.periods)

    def _marched(self, name: str, flows: Flows, period: float, snapshots: int, words: str, most: int) -> PeriodicMarch:
        least = max(period * self._solver.crossings() / FASTEST, LEAST_STEPS)
        steps = snapshots * math.ceil(least / snapshots)
        key = digest([self.mesh_hash, self.groups.as_dict(), name, period, snapshots, steps])
        march = PeriodicMarch(
            self._solver, self.groups.reynolds, flows, period, snapshots, steps,
            self.results.pulse(self.point.name, self.pulse.name).with_name(f"{name}-{key}"), self._mesh_file,
            lambda line: self.tell("step", text=line), words,
        )  # fmt: skip
        march.run(most, self.pulse.tolerance)
        return march

    def _flows(self, amplitude: float) -> Flows:
        share = self.groups.precursor_fraction
        mean = shared_flows(self._domain, {"antisolvent": 1 - share, "precursor": share})

        def at(time: float) -> dict[str, float]:
            factor = 1 + amplitude * math.sin(2 * math.pi * time / self.period)
            return {**mean, self.pulse.of: mean[self.pulse.of] * factor}

        return at

    # -- the mixing --------------------------------------------------------------------------------------------------

    def walkers_mesh(self, velocity: np.ndarray | None) -> Tetrahedra:
        """The walkers' mesh of snapshots that rank 0 has, evenly spread over the period."""
        snapshots: np.ndarray = self.comm.bcast(velocity)
        if len(snapshots) == 1:
            return walkers_mesh(self.nodes, list(snapshots))
        times = self.period * np.arange(len(snapshots)) / len(snapshots)
        return walkers_mesh(self.nodes, list(snapshots), times.tolist(), self.period)

    def segregation(self, mesh: Tetrahedra, purpose: int) -> tuple[list[Segregation], list[dict[str, float]]]:
        """I_s at every plane, and the part of it that is a swing in time."""
        walkers, peclet, mean = self._walkers(mesh), self.groups.peclet, self.groups.precursor_fraction
        planes = Planes.of_outlet(mesh, self.case.mixing.spacing)
        start = walkers.release_over_period("precursor", self.count)
        down = walkers.walk(start, peclet, True, planes, purpose=purpose)
        found = segregations(walkers, down, planes, peclet, self.count, mean, purpose + 1)
        if not mesh.period:
            return found, []
        flow = [sum(mesh.flows(name, k).sum() for name in ("antisolvent", "precursor")) for k in range(len(mesh.times))]
        between = (np.array(flow) + np.roll(flow, -1)) / 2
        crossings = down.crossings
        phase = crossings.places.time / self.period % 1.0
        positions = [plane.bores for plane in found]
        shares = between / between.sum()
        swing = swings(positions, self.count, mean, crossings.plane, crossings.direction, phase, shares)
        return found, [asdict(one) for one in swing]

    def _walkers(self, mesh: Tetrahedra) -> Walkers:
        return Walkers(mesh, self.comm, watch=lambda line: self.tell("step", text=line))

    def closure(self, mesh: Tetrahedra, purpose: int) -> dict[str, float]:
        """The flux-weighted mean of c at the outlet over a period, by walkers against the flow; it should be c̄."""
        walkers, mean = self._walkers(mesh), self.groups.precursor_fraction
        back = walkers.walk(
            walkers.release_over_period("outlet", 4 * self.count), self.groups.peclet, False, purpose=purpose
        )
        share = float((back.ended == mesh.openings.index("precursor")).mean())
        return {"share": share, "expected": mean, "error": math.sqrt(mean * (1 - mean) / (4 * self.count))}


def every_other(mesh: Tetrahedra) -> Tetrahedra:
    """The mesh of a periodic flow with half of its snapshots."""
    return dataclasses.replace(mesh, velocity=np.ascontiguousarray(mesh.velocity[::2]), times=mesh.times[::2])


def less(found: list[Segregation], other: list[Segregation]) -> list[dict[str, float]]:
    """I_s and M of one run less those of another, with their errors; the two are independent."""
    return [
        {
            "bores": one.bores,
            "segregation": one.segregation - two.segregation,
            "error": math.hypot(one.error, two.error),
            "index": one.index - two.index,
            "index_error": math.hypot(one.index_error, two.index_error),
        }
        for one, two in zip(found, other, strict=True)
    ]


def _swing(rest: np.ndarray, pulsating: np.ndarray) -> dict[str, float]:
    """How far the flow swings about its mean, the most in a period, and how far that mean is from rest; relative."""
    mean = pulsating.mean(axis=0)
    size = float(np.linalg.norm(rest[0]))
    most = max(float(np.linalg.norm(one - mean)) for one in pulsating)
    return {"most": most / size, "mean": float(np.linalg.norm(mean - rest[0])) / size}


def run(job: dict[str, Any], comm: MPI.Comm) -> None:
    """The pulsation of a job on every rank of `comm`; rank 0 writes the record."""
    worker = PulseWorker(job, comm)
    rest = worker.rest()
    pulsating = worker.pulsating()
    worker.tell("step", text="random walkers")
    mesh = worker.walkers_mesh(pulsating.last)
    steady, _ = worker.segregation(worker.walkers_mesh(rest.last), 50)
    unsteady, swing = worker.segregation(mesh, 52)
    halved, _ = worker.segregation(every_other(mesh), 54)
    closure = worker.closure(mesh, 56)
    if comm.rank == 0 and rest.last is not None and pulsating.last is not None:
        pulse, reynolds = worker.pulse, worker.groups.reynolds
        solved_record = read_json(worker.results.point(worker.point.name) / "record.json")
        figures = {
            "pulse": asdict(pulse),
            "period_bores": worker.period, "womersley": math.sqrt(2 * math.pi * reynolds / worker.period) / 2,
            "march": {
                "steps": pulsating.steps, "periods": pulsating.done, "changes": pulsating.changes,
                "distance": pulsating.distance, "rest_distance": rest.distance,
            },
            "flow": _swing(rest.last, pulsating.last), "imbalance": mesh.imbalance, "walkers": worker.count,
            "newton": solved_record["mixing"]["planes"],
            "steady": [plane.as_dict() for plane in steady], "pulsating": [plane.as_dict() for plane in unsteady],
            "difference": less(unsteady, steady), "in_time": swing, "halved": less(halved, unsteady),
            "closure": closure,
        }  # fmt: skip
        worker.write(figures)
    worker.tell("done", status="unsteady")


if __name__ == "__main__":
    serve(run)
