"""The mixing of a solved point by random walkers: its numbers for the record, and histories for the crystal model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twin.case import Case, Results
from twin.case.meshed import vouched
from twin.case.schema import SOLVENT
from twin.errors import BadInput, TwinError
from twin.estimate import Z90, Estimate
from twin.fem import storage
from twin.files import read_json
from twin.junction import bore_m, bulk_velocity_m_s, groups, outlet_area, species_peclet
from twin.mixing import RETURNS, MixingTime, Segregation, exposure, mixing_time, residence, striations, there_and_back
from twin.operating import OperatingPoint
from twin.transport import MOST_LOST, Comm, Places, Planes, Tetrahedra, Walkers, Walks, split, tetrahedra

INLETS = ("antisolvent", "precursor")
_ELEMENT_PATH = 0.25  # bores between two samples of a history
_MOST_SAMPLES = 80


@dataclass(frozen=True)
class Histories:
    """What fluid elements of the precursor stream met: times (elements, samples) in s since they entered, NaN past the
    end; share of the precursor's liquid φ there, with a binomial error of √(φ(1−φ)/24); and their places in bores.
    """

    time_s: np.ndarray
    composition: np.ndarray
    place: np.ndarray


def solved(
    results: Results, point: OperatingPoint, mesh_hash: str, comm: Comm
) -> tuple[storage.Nodes, dict[str, np.ndarray]]:
    """The nodes of the mesh and the fields of a solved point at them, on every rank.

    Raises `BadInput` where the point is not solved on this mesh.
    """
    path = results.point(point.name)
    read = None
    if comm.rank == 0:
        record: dict[str, Any] = read_json(path / "record.json") if (path / "record.json").exists() else {}
        here = record.get("provenance", {}).get("mesh_hash") == mesh_hash
        if here and record["status"] != "failed" and (path / "fields.vtu").exists():
            read = storage.read_nodes(results.mesh / "junction.msh"), storage.read_fields(path / "fields.vtu")
            if (vouched(results.mesh) or {}).get("hash") != mesh_hash:  # another process put its own there
                read = None
    read = comm.allgather(read)[0]
    if read is None:
        raise BadInput(f"{point.name} is not solved on this mesh", "run twin solve for it first")
    return read


def walkers_mesh(
    nodes: storage.Nodes, velocity: Sequence[np.ndarray], times: Sequence[float] = (0.0,), period: float = 0.0
) -> Tetrahedra:
    """The walkers' mesh of a solved flow: snapshots of the velocity, each (nodes, 3) in U, in the order of `nodes`.

    An unsteady flow gives the times of its snapshots and its period, in bores/U.
    """
    openings = {name: nodes.faces[name] for name in (*INLETS, "outlet")}
    cells, nodal, faces = split(nodes.points, nodes.cells, velocity, openings)
    return tetrahedra(nodes.points, cells, nodal, faces, times=times, period=period)


def walked(
    case: Case,
    level: str,
    point: OperatingPoint,
    mesh: Tetrahedra,
    comm: Comm,
    watch: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Any], Histories]:
    """The mixing of a point as its record has it, and the histories. The same on every rank, and on any number of them.

    `watch` is told how far each walk is. Raises `TwinError` where walkers get lost.
    """
    walkers = Walkers(mesh, comm, watch=watch)
    count, mean = case.mixing.walkers, groups(case, point).precursor_fraction
    planes = Planes.of_outlet(mesh, case.mixing.spacing)
    unit_s = unit_time_s(case, point)
    result: dict[str, Any] = {"walkers": count, "species": {}}
    for number, (name, peclet) in enumerate(species_peclet(case, point).items()):
        down = walkers.walk(start := walkers.release("precursor", count), peclet, True, planes, purpose=10 * number)
        found = segregations(walkers, down, planes, peclet, count, mean, purpose=10 * number + 1)
        result["species"][name] = {"peclet": peclet, **_measures(found, peclet, unit_s)}
        if name == SOLVENT:
            result |= _estimates(found, unit_s, case.level(level).index_error_at(groups(case, point).reynolds))
            other = walkers.walk(walkers.release("antisolvent", count), peclet, True, purpose=5)
            result["residence"] = {
                "precursor": asdict(residence(down.duration * unit_s)),
                "antisolvent": asdict(residence(other.duration * unit_s)),
            }
            few = start[np.arange(0, count, max(count // case.mixing.elements, 1))]
            histories = _histories(walkers, few, peclet, unit_s)
    exposures = exposure(histories.time_s, histories.composition)
    result["exposure"] = {"elements": len(histories.time_s), "times": [asdict(one) for one in exposures]}
    return result, histories


def segregations(
    walkers: Walkers, down: Walks, planes: Planes, peclet: float, count: int, mean: float, purpose: int
) -> list[Segregation]:
    """The segregation at every plane that walkers of the precursor crossed: one is sent back from each crossing.

    Raises `TwinError` for a plane that some do not pass, on balance, just once: it is not across the outlet alone.
    """
    crossings = down.crossings
    for number, position in enumerate(planes.positions):
        here = crossings.plane == number
        passed = np.bincount(crossings.walker[here], crossings.direction[here], minlength=count)
        if (strayed := int((passed != 1).sum())) > MOST_LOST * count:
            raise TwinError(
                f"the plane at {position:.4g} bores is not across the outlet: {strayed} of {count} walkers do not pass"
                " it just once; let the planes begin further down, with a larger spacing in [mixing]"
            )
    back = walkers.walk(crossings.places, peclet, False, purpose=purpose)
    returned = back.ended == walkers.mesh.openings.index("precursor")
    return there_and_back(
        planes.positions.round(6).tolist(),
        count,
        mean,
        crossings.walker,
        crossings.plane,
        crossings.direction,
        returned,
    )


def _measures(found: list[Segregation], peclet: float, unit_s: float) -> dict[str, Any]:
    """Planes, striations and mixing length of one species."""
    measures: dict[str, Any] = {
        "planes": [plane.as_dict() for plane in found],
        "striations": [asdict(one) for one in striations(found, peclet)],
    }
    try:
        fit = mixing_time([p.bores for p in found], [p.segregation for p in found], [p.error for p in found])
    except ValueError:
        return measures  # a slow species may not mix measurably in the mesh
    return {**measures, "length_bores": fit.tau, "time_s": fit.tau * unit_s, "log_error": fit.log_error}


def _estimates(found: list[Segregation], unit_s: float, mesh_error: float) -> dict[str, Any]:
    """Mixing time and index with their bands: sampling, the fit, and the error of the flow's mesh."""
    times, errors = [plane.bores * unit_s for plane in found], [plane.error for plane in found]
    try:
        fit = mixing_time(times, [plane.segregation for plane in found], errors)
    except ValueError:
        # Next to no diffusion: all that is known is that the segregation falls by no more than its error.
        fallen = mixing_time(times, [min(plane.segregation, 1.0) - plane.error for plane in found], errors)
        fit = MixingTime(fallen.tau, max(fallen.log_error, 1.0))
    last = found[-1]
    spread = math.hypot(Z90 * last.index_error, mesh_error)
    # Where the streams are all but mixed, or all but apart, the sample's I_s may lie outside of 0 … 1 by its error.
    value = min(max(last.index, 0.0), 1.0)
    index = Estimate(value, max(value - spread, 0.0), min(value + spread, 1.0), "", "bounded")
    # ln τ moves with M by 2 dM/((1 − M) |ln I_s|).
    inside = min(max(last.segregation, last.error), 1 - last.error)
    sensitivity = 2 / (math.sqrt(inside) * abs(math.log(inside)))
    log_spread = math.hypot(Z90 * fit.log_error, sensitivity * mesh_error)
    tau = Estimate(fit.tau, fit.tau * math.exp(-log_spread), fit.tau * math.exp(log_spread), "s", "bounded")
    return {
        "planes": [plane.as_dict() for plane in found],
        "time": tau.as_dict(),
        "index_outlet": index.as_dict(),
        "fit_error": fit.log_error,
        "mesh_error": mesh_error,
    }


def _histories(walkers: Walkers, start: Places, peclet: float, unit_s: float) -> Histories:
    """Follows fluid elements, and sends walkers back from every sample of their paths."""
    elements = walkers.walk(start, peclet, True, samples=(_ELEMENT_PATH, _MOST_SAMPLES), purpose=7)
    filled = np.arange(_MOST_SAMPLES) < elements.taken[:, None]
    rows = elements.samples[filled]
    places = Places(rows[:, 0].astype(np.int64), rows[:, 1:5], rows[:, 5])
    returned = walkers.share(places, "precursor", peclet, RETURNS, purpose=8)
    time_s, composition = np.full(filled.shape, np.nan), np.full(filled.shape, np.nan)
    place = np.full((*filled.shape, 3), np.nan)
    time_s[filled], composition[filled], place[filled] = places.time * unit_s, returned, places.points(walkers.mesh)
    return Histories(time_s, composition, place)


def unit_time_s(case: Case, point: OperatingPoint) -> float:
    """One bore over U, in s."""
    return bore_m(case) / bulk_velocity_m_s(bore_m(case), point, outlet_area(case))
