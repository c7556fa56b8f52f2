"""A flow case from its meshes to its records: which points are open, running them, the error of discretization."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from twin.campaign.refinement import FORMAL, LEAST_RATIO, refine
from twin.campaign.run import Event, Follow, check_ranks, common_job, start_workers
from twin.campaign.singular import OF_SERIES, edges_into_fluid, without_limit
from twin.case import Case, FlowCase, Results
from twin.files import digest, read_json, write_json
from twin.junction import bore_m
from twin.provenance import provenance

if TYPE_CHECKING:
    from twin.meshing import MeshFolder

SCHEMA = 2
NO_ESTIMATE = "no error estimate: one mesh"
MESH_ALONE = "mesh alone"  # what a band covers of an unsteady run: the error of its time step is the same on all meshes
ONE_GEOMETRY = 0.02  # by which areas of one geometry may differ from mesh to mesh, for its curved walls


def flow_mesh(case: FlowCase, level: str, where: Path) -> MeshFolder:
    """The mesh of a level; its boundaries may have any names, which the case explains: each of them, and no other."""
    from twin.meshing import build_mesh

    made = build_mesh(_at(case, level), level, where, names=None, outlets=tuple(case.boundaries.outlets))
    case.boundaries.check_names(made.quality.areas)
    return made


def unit_m(case: FlowCase, level: str) -> float:
    """The length of the mesh's unit."""
    return bore_m(_at(case, level))


def _at(case: FlowCase, level: str) -> Case:
    """What the mesher reads of a case: its folder, its levels, its junction with one mesh."""
    return cast(Case, SimpleNamespace(folder=case.folder, level=case.level, junction=case.junction_at(level)))


def flow_hash(case: FlowCase, scale: float, mesh_hash: str, unit: float) -> str:
    """A hash of all that decides the numbers of a flow."""
    return digest({"schema": SCHEMA, "mesh": mesh_hash, "unit": unit, "scale": scale, **case.resolved()})


def flow_state(case: FlowCase, level: str, results: Results, scale: float, mesh_hash: str) -> str:
    """`steady`, `marched`, `unsteady` or `failed` from the record; `open` without one, `outdated` where it is of
    other data.
    """
    path = results.point(case.point_name(scale)) / "record.json"
    if not path.exists():
        return "open"
    record = read_json(path)
    wanted = flow_hash(case, scale, mesh_hash, unit_m(case, level))
    return record["status"] if record["provenance"]["point_hash"] == wanted else "outdated"


def run_flow(
    case: FlowCase,
    level: str,
    results: Results,
    mesh: MeshFolder,
    scales: list[float],
    ranks: int,
    follow: Follow = lambda event: None,
    allow_high_reynolds: bool = False,
) -> list[dict[str, Any]]:
    """Solves the flows that have no valid record yet; returns the records of all.

    Bad input (names that the mesh lacks, a turbulent rate, …) is raised before anything is solved; a flow that does not
    converge is recorded as failed.
    """
    check_ranks(ranks)
    names = {scale: case.point_name(scale) for scale in scales}
    done = ("steady", "marched", "unsteady")
    reused = [scale for scale in scales if flow_state(case, level, results, scale, mesh.hash) in done]
    for scale in reused:
        follow(Event("reused", names[scale]))
    if open_scales := [scale for scale in scales if scale not in reused]:
        write_json(results.folder / "case.json", case.resolved())
        job = flow_job(case, level, results, mesh, open_scales, allow_high_reynolds)
        start_workers("twin.campaign.flow_worker", results, job, ranks, follow)
    return [read_json(results.point(name) / "record.json") for name in names.values()]


def flow_job(
    case: FlowCase, level: str, results: Results, mesh: MeshFolder, scales: list[float], allow_high_reynolds: bool
) -> dict[str, Any]:
    """What the job of every `FlowWorker` says."""
    return {
        **common_job(case, level, results, mesh),
        "unit_m": unit_m(case, level),
        "scales": scales,
        "allow_high_reynolds": allow_high_reynolds,
    }


def estimate_error(case: FlowCase, results: list[tuple[str, Results]], scale: float) -> dict[str, Any]:
    """The discretization error of every number that all solved levels have, and writes it to `refinement.json`, or of
    another factor than 1 to `refinement-xFACTOR.json`.

    Levels are ordered by the size of their cells; records of other data than the case's own don't count. Meshes of
    different geometry have no error in common: the note then says in what they differ.
    """
    rows, meshes = [], {}
    for level, one in results:
        meshes[level] = one.mesh / "junction.msh"
        mesh_hash = one.mesh_hash if meshes[level].exists() else ""
        if flow_state(case, level, one, scale, mesh_hash) in ("steady", "marched", "unsteady"):
            rows.append((level, read_json(one.point(case.point_name(scale)) / "record.json")))
    rows.sort(key=lambda row: -row[1]["mesh"]["size_m"])
    sizes = [record["mesh"]["size_m"] for _, record in rows]
    answer: dict[str, Any] = {
        "levels": [level for level, _ in rows],
        "size_m": sizes,
        "covers": MESH_ALONE if case.time else "all",
        "quantities": {},
        "edges": [],
        "no_limit": [],
        "note": "",
    }
    tables = [quantities(record) for _, record in rows]
    if len(rows) < 2:
        answer["note"] = NO_ESTIMATE
    elif other := _other_geometry(rows):
        answer["note"] = f"no error estimate: the meshes are not of one geometry: {other}"
    elif sizes[-2] / sizes[-1] < LEAST_RATIO:
        answer["note"] = "no error estimate: the two finest meshes differ by less than 10 % in cell size"
    else:
        from twin.meshing.edges import largest_angles

        angles = largest_angles(meshes[rows[-1][0]])
        edges = edges_into_fluid(case.boundaries, angles)
        answer["edges"] = [{"between": list(pair), "degrees": round(angles[pair], 1)} for pair in edges]
        answer["no_limit"] = without_limit(case.boundaries, list(angles), edges, list(tables[-1]))
        for name, (_, unit, large, formal) in tables[-1].items():
            if name not in answer["no_limit"] and all(name in table for table in tables):
                values = [table[name].value for table in tables]
                found = refine(values, sizes, unit, large, formal, bool(edges))
                if found is not None:
                    answer["quantities"][name] = found.as_dict()
    if len(rows) > 1:
        path = results[0][1].refinement(case.point_name(scale))
        write_json(path, {"schema": SCHEMA, **answer, "provenance": provenance()})
    return answer


def _other_geometry(rows: list[tuple[str, dict[str, Any]]]) -> str:
    """In what a mesh differs from the finest one by more than curved walls explain, in words; empty: in nothing."""
    *others, (finest, record) = rows
    sizes = _sizes(record)
    for level, other in others:
        for name, size in _sizes(other).items():
            if abs(size - sizes[name]) > ONE_GEOMETRY * sizes[name]:
                return f"{name} is {size:.4g} on {level} and {sizes[name]:.4g} on {finest}"
    return ""


def _sizes(record: dict[str, Any]) -> dict[str, float]:
    """The measures of a mesh, in SI, by what they are."""
    grid, three = record["mesh"], record["mesh"]["dimension"] == 3
    inside, outside = ("volume", "area") if three else ("area", "length")
    areas = {f"the {outside} of {name}": one["area"] for name, one in record["boundaries"].items()}
    return {"the dimension": grid["dimension"], f"the {inside}": grid["measure"], **areas}


class Quantity(NamedTuple):
    """A number of a record, its unit, what a large one would be, and the order in which the method finds it."""

    value: float
    unit: str
    large: float
    order: float = FORMAL


def quantities(record: dict[str, Any]) -> dict[str, Quantity]:
    """The numbers of a record that a finer mesh may change, by name.

    Integrals over boundaries converge with order 4 where the flow is smooth, twice as fast as the fields in the energy
    norm. Velocities at a point, and where they turn, do so with order 3 and pressures with 2, those of quadratic
    and linear interpolation; shear with 2, as the gradient of a quadratic. What is told of a time series, its mean, its
    extremes and its frequency, counts with 2, the least of the numbers in it: it sums up what the mesh did to the flow
    at all times before, such as how soon eddies are shed, and so has no higher order of its own.
    """
    found: dict[str, Quantity] = {}
    units, boundaries, reference = record["units"], record["boundaries"], record["reference"]
    speed, viscous = reference["velocity_m_s"], max(1.0, 1 / record["reynolds"])  # a slow flow has pressures of µU/L
    pressure = record["fluid"]["density_kg_m3"] * speed**2 * viscous
    force = pressure * reference["length_m"] ** (record["mesh"]["dimension"] - 1)
    inflow = record["balance"]["largest_inflow"]
    torque = force * reference["length_m"]
    large = {
        "pressure": pressure,
        "flow": inflow,
        "force": force,
        "torque": torque,
        "coefficient": viscous,
        "velocity": speed,
    }
    outlets = [name for name, one in boundaries.items() if one["role"] == "outlet"]
    for name, one in boundaries.items():
        if one["role"] == "inlet":
            found[f"pressure drop {name}"] = Quantity(one["pressure_drop_pa"], "Pa", pressure)
        if name in outlets and len(outlets) > 1:
            found[f"flow {name}"] = Quantity(one["flow"], units["flow"], inflow)
    for name, one in record["forces"].items():
        for kind, unit in (("force", units["force"]), ("coefficient", "")):
            values = one[kind] or ()
            for axis, value in zip("xyz", values, strict=False):
                found[f"{kind} {name} {axis}"] = Quantity(value, unit, max(large[kind], *map(abs, values)))
        if "torque" in one:
            unit = units["force"].replace("N", "N m")
            found[f"torque {name}"] = Quantity(one["torque"], unit, max(torque, abs(one["torque"])))
    for name, one in record["shear"].items():
        found[f"largest shear {name}"] = Quantity(one["largest_pa"], "Pa", pressure, 2)
        found[f"mean shear {name}"] = Quantity(one["mean_pa"], "Pa", pressure, 2)
        for label, turn in turns(one):  # named with their number, so that meshes of other numbers are not compared
            for axis, value in zip("xyz", turn["at_m"], strict=False):
                found[f"{label} {name} {axis}"] = Quantity(value, "m", reference["length_m"], 2)
    for name, one in record["lines"].items():
        for label, turn in turns(one):
            found[f"{label} {name}"] = Quantity(turn["from_start_m"], "m", reference["length_m"], 3)
    for name, one in record["probes"].items():
        found[f"pressure {name}"] = Quantity(one["pressure_pa"], "Pa", pressure, 2)
        for axis, value in zip("xyz", one["velocity_m_s"], strict=False):
            found[f"velocity {name} {axis}"] = Quantity(value, "m/s", speed, 3)
    for name, value in record["pressure_differences_pa"].items():
        found[f"pressure difference {name}"] = Quantity(value, "Pa", pressure, 2)
    for name, one in record.get("time", {}).get("statistics", {}).items():
        swing = max(abs(one["lowest"]), abs(one["highest"]))
        for kind in OF_SERIES:
            found[f"{kind} {name}"] = Quantity(one[kind], "", max(large[name.split()[0]], swing), 2)
        if (frequency := one["frequency_hz"]) is not None:
            alone = name if name.startswith("coefficient ") else name.rpartition(" ")[0]  # without its unit
            found[f"frequency {alone}"] = Quantity(frequency, "Hz", frequency, 2)
    return found


def turns(curve: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Where the shear on a wall of a record, or the velocity along a line, turns: each kind counted along the curve, as
    in `attachment 1 of 2`.
    """
    kinds = [one["kind"] for one in curve["turns"]]
    return [
        (f"{one['kind']} {kinds[: index + 1].count(one['kind'])} of {kinds.count(one['kind'])}", one)
        for index, one in enumerate(curve["turns"])
    ]
