"""The state of a campaign's points, and the table that the lab half reads."""

from __future__ import annotations

from twin.campaign.record import SCHEMA, point_hash, point_of
from twin.case import Case, Results
from twin.errors import Missing
from twin.files import read_json, write_json
from twin.junction import Groups
from twin.operating import OperatingPoint
from twin.provenance import provenance


def point_state(case: Case, level: str, results: Results, point: OperatingPoint, mesh_hash: str) -> str:
    """`steady`, `marched` or `failed` from a point's record; `open` without one; `outdated` where what decides its
    numbers has changed since.
    """
    path = results.point(point.name) / "record.json"
    if not path.exists():
        return "open"
    record = read_json(path)
    if record.get("provenance", {}).get("point_hash") != point_hash(case, level, point, mesh_hash):
        return "outdated"
    return record["status"]


def is_solved(
    case: Case, level: str, results: Results, point: OperatingPoint, mesh_hash: str, walk: bool = True
) -> bool:
    """Whether a point has its numbers; without the walk, whether its flow is there for finer levels to start from."""
    if walk:
        return point_state(case, level, results, point, mesh_hash) in ("steady", "marched")
    return results.flow(point.name) is not None


def solved_flows(results: Results) -> dict[str, Groups]:
    """The flows that are solved on the mesh that is there now, with their numbers or without: the groups by the name.

    They are those that were solved for, whatever the case may say by now.
    """
    names = sorted(folder.name for folder in (results.folder / "points").glob("*"))
    return {name: Groups(**record["groups"]) for name in names if (record := results.flow_record(name))}


def write_table(case: Case, level: str, results: Results, mesh_hash: str) -> int:
    """Writes `campaign.json` from the records of the case's own points and all others of this mesh.

    Returns the number of points with numbers; raises `Missing` where there are none.
    """
    records = []
    for path in sorted((results.folder / "points").glob("*/record.json")):
        record = read_json(path)
        if record["provenance"]["point_hash"] == point_hash(case, level, point_of(record), mesh_hash):
            records.append(record)
    solved = sum(record["status"] != "failed" for record in records)
    if not solved:
        raise Missing("no operating point is solved yet", f"run twin sweep {case.folder}")
    table = {"schema": SCHEMA, "case": case.name, "level": level, "points": records}
    write_json(results.campaign, {**table, "provenance": provenance(mesh_hash=mesh_hash)})
    return solved
