"""The program that every MPI rank runs for `twin tube`: walkers map a plane of a solved point, and marching goes on.

mpirun -n 2 python -m twin.campaign.tube_worker JOB.json

The ranks share the walkers; then each takes every size-th tube.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from mpi4py import MPI

from twin.campaign.point_worker import PointWorker
from twin.campaign.serving import serve
from twin.campaign.tube import Tube
from twin.campaign.walks import segregations, solved, walkers_mesh
from twin.errors import BadInput, TwinError
from twin.flow.section import Sections
from twin.flow.section_mesh import from_samples
from twin.junction import bore_m
from twin.mixing import Segregation, of_replicates
from twin.transport import Planes, Tetrahedra, Walkers
from twin.transport.marching import March, nodes

CORE_SIZE, WALL_SIZE = 0.05, 0.02  # of the section's mesh, in bores
CHECK = 10.0  # bores, where marching is held against walkers
#: Fields of the plane's concentration, each of walkers of its own: how they differ tells the error.
FIELDS = 4
_MOST_RETURNS = 16  # of a node in each of them
_ROUND = 0.05  # how much area and diameter of the outlet may differ: straight cells cut off a little of a round bore
_RIM = 0.4995  # radius of the outermost places, in bores


class TubeWorker(PointWorker):
    """A solved point, the plane where its junction ends, and the tubes that may follow."""

    def __init__(self, job: dict[str, Any], comm: MPI.Comm) -> None:
        super().__init__(job, comm)
        asked = job["tube"]
        self.tube = Tube(**{**asked, "lengths": tuple(asked["lengths"]), "coils": tuple(asked["coils"])})
        self.bore = bore_m(self.case)
        nodes, fields = solved(self.results, self.point, self.mesh_hash, comm)
        self.mesh = walkers_mesh(nodes, [fields["velocity"]])
        self.walkers = Walkers(self.mesh, comm, watch=lambda line: self.tell("step", text=line))
        self.returned = 0

    def plane(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places (n, 2) across the plane in bores, the velocity there (n, 3), and c at its nodes, in each field.

        x and y are the mesh's; in a coil, +x points away from its axis.
        """
        mesh, walkers = self.mesh, self.walkers
        planes = Planes.at(mesh, (self.tube.start,))
        frame = np.array([[1.0, 0, 0], [0, 1, 0]])
        if not np.allclose(planes.axis, [0, 0, 1], atol=1e-6):
            raise BadInput("the outlet of this mesh is not along z", "turn the mesh, or use a connector")
        _check_round(mesh)
        centre = np.array([0.0, 0.0, planes.positions[0]])
        half = _is_half(mesh)
        places = _spread(self.tube.places, half)
        here = walkers.place(centre + places @ frame)
        velocity = mesh.at(here.cell, here.weights)
        if half:
            places, velocity = (
                np.concatenate([places, places * [1, -1]]),
                np.concatenate([velocity, velocity * [1, -1, 1]]),
            )
        return places, velocity, self._share(centre, frame, half)

    def _share(self, centre: np.ndarray, frame: np.ndarray, half: bool) -> np.ndarray:
        """The concentration at the nodes where marching starts, (FIELDS, nodes).

        Few walkers do for each: their noise cancels in the product of two fields.
        """
        where, around = nodes()
        ring, turn = np.divmod(np.arange(len(where)), around)
        mirror = ring * around + (around - turn) % around
        asked = np.nonzero(where[:, 1] >= -1e-12)[0] if half else np.arange(len(where))
        here = self.walkers.place(centre + where[asked] @ frame)
        start = min(self.reference, key=lambda one: abs(one.bores - self.tube.start))
        mean = self.groups.precursor_fraction
        self.returned = returns(len(asked), mean, start.segregation, self.tube.error)
        share = np.empty((FIELDS, len(where)))
        for number in range(FIELDS):
            found = self.walkers.share(here, "precursor", self.groups.peclet, self.returned, 20 + number)
            share[number, asked] = found
            if half:
                share[number, mirror[asked]] = found
        return share

    @cached_property
    def reference(self) -> list[Segregation]:
        """The segregation there and back at the plane, and at ten bores: what the map and marching must agree with."""
        planes = Planes.at(self.mesh, sorted({self.tube.start, min(CHECK, Planes.of_outlet(self.mesh).positions[-1])}))
        count, peclet = self.case.mixing.walkers, self.groups.peclet
        down = self.walkers.walk(self.walkers.release("precursor", count), peclet, True, planes, purpose=40)
        return segregations(self.walkers, down, planes, peclet, count, self.groups.precursor_fraction, 41)

    def march(self, coil: float | None, plane: tuple[np.ndarray, np.ndarray, np.ndarray]) -> dict[str, Any]:
        """The stations of one tube: mixing at every length, with how far flow and numbers can be trusted."""
        places, velocity, share = plane
        curvature = 0.0 if coil is None else self.bore / coil
        asked = {length / self.bore for length in self.tube.lengths}
        stops = sorted(stop for stop in {*asked, CHECK, 100.0} if stop > self.tube.start)
        sections = Sections(self.groups.reynolds, curvature, core_size=CORE_SIZE, wall_size=WALL_SIZE)
        flow = sections.march(
            lambda at: from_samples(places, velocity, at), begin=self.tube.start, end=stops[-1], first=0.01
        )
        march = March(flow, list(share), self.groups.peclet, begin=self.tube.start)
        stations = []
        for stop in (self.tube.start, *stops):
            at = march.to(stop)
            stations.append({
                **of_replicates(stop, at.segregation).as_dict(), "length_m": stop * self.bore,
                "single": list(at.alone), "mean": sum(at.mean) / len(at.mean),
                # At the start the gradients are those of the walkers' noise.
                "numerical_diffusion": _known(at.numerical) if stop > self.tube.start else None,
                "flux_error": max(at.flux_error, key=abs),
                "scale_bores": _known(at.scale) if stop > self.tube.start else None,
            })  # fmt: skip
            name = "straight" if coil is None else f"coil of {1e3 * coil:.3g} mm"
            self.tell("step", any_rank=True, text=f"{name}: M {stations[-1]['index']:.3f} at {stop:.4g} bores")
        dean = self.groups.reynolds * math.sqrt(curvature)
        return {"coil_m": coil, "dean": dean, "developed_bores": flow.steady_from, "stations": stations}


def returns(nodes: int, mean: float, segregation: float, error: float) -> int:
    """The walkers from each of `nodes` in each field that leave M an error of about `error`, `_MOST_RETURNS` at most.

    With R walkers at each of N nodes, the product ∫w c² = c̄p of fields of noise has the relative variance
    (4⟨c³(1 − c)⟩/⟨c²⟩ + 2/R)/(RNc̄p), of which the first is at most 1: a thin stream of precursor needs many. `mean` is
    c̄, and p = I_s(1 − c̄) + c̄; that I_s is itself sampled, and may come out at zero or below.
    """
    hits = nodes * mean * (max(segregation, 0.0) * (1 - mean) + mean)
    variance = (2 * error) ** 2 / max(segregation, error)  # of I_s, over I_s²
    least = (1 + math.sqrt(1 + 8 * hits * variance)) / (2 * hits * variance)
    return min(max(math.ceil(least / FIELDS), 1), _MOST_RETURNS)


def _known(value: float) -> float | None:
    """A figure, or None for one that the noise of two all but mixed fields leaves without a meaning."""
    return value if math.isfinite(value) else None


def _check_round(mesh: Tetrahedra) -> None:
    """Raises `BadInput` unless the outlet is a round bore about z, one bore across: marching knows no other section."""
    cell, face = mesh.faces("outlet")
    area = float(np.linalg.norm(mesh.areas(cell, face).sum(axis=0))) * (2 if _is_half(mesh) else 1)
    reach = float(np.linalg.norm(mesh.corners(cell, face)[..., :2], axis=2).max())
    if not (abs(area / (math.pi / 4) - 1) < _ROUND and abs(2 * reach - 1) < _ROUND):
        raise BadInput(
            f"the outlet is not round and one bore across: {area:.4g} bore², up to {reach:.4g} bores from z",
            "tubes are marched behind such an outlet only",
        )


def _is_half(mesh: Tetrahedra) -> bool:
    return bool(mesh.points[:, 1].min() > -1e-9)


def _spread(count: int, half: bool) -> np.ndarray:
    """Places (n, 2) spread evenly over the disc (Vogel's spiral) and around its rim; of a half, those with y ≥ 0."""
    number = np.arange(count)
    radius, angle = _RIM * np.sqrt((number + 0.5) / count), number * math.pi * (3 - math.sqrt(5))
    rim = np.linspace(0, 2 * np.pi, int(math.sqrt(count)) * 2, endpoint=False)
    radius, angle = np.concatenate([radius, np.full(len(rim), _RIM)]), np.concatenate([angle, rim])
    places = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    return places[places[:, 1] >= 0] if half else places


def run(job: dict[str, Any], comm: MPI.Comm) -> None:
    """The tubes of a job on every rank of `comm`; rank 0 writes the record."""
    worker = TubeWorker(job, comm)
    worker.tell("start")
    plane = worker.plane()
    mine = [(number, coil) for number, coil in enumerate(worker.tube.coils) if number % comm.size == comm.rank]
    parts, problem = [], None
    try:
        parts = [(number, worker.march(coil, plane)) for number, coil in mine]
    except TwinError as error:
        problem = error
    problems = [one for one in comm.allgather(problem) if one is not None]
    if problems:
        raise problems[0]
    found = dict(row for part in comm.allgather(parts) for row in part)
    tubes = [found[number] for number in sorted(found)]
    if comm.rank == 0:
        figures = {
            "start_bores": worker.tube.start, "nodes": plane[2].shape[1], "returns": FIELDS * worker.returned,
            "tubes": tubes, "walkers": [one.as_dict() for one in worker.reference],
        }  # fmt: skip
        worker.write(figures)
    worker.tell("done", status="steady")


if __name__ == "__main__":
    serve(run)
