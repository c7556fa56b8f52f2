"""Asks whether steady flows stay steady, each at its own Reynolds number or along a series of them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from twin.campaign.flow_case import flow_hash, flow_job, unit_m
from twin.campaign.order import nearest_first
from twin.campaign.run import Event, Follow, check_laminar, common_job, flows_of, start_workers
from twin.campaign.table import solved_flows
from twin.case import Case, FlowCase, Results
from twin.files import digest, read_json
from twin.junction import groups
from twin.operating import OperatingPoint

if TYPE_CHECKING:
    from twin.meshing import MeshFolder

SCHEMA = 3
LEFT = ("unsteady", "asymmetric", "unstable")  # verdicts on a steady flow that a real one leaves


def series_of(case: Case, point: OperatingPoint, reynolds: list[float], allow_high_reynolds: bool) -> list[float]:
    """The Reynolds numbers at a point's flow ratio, rising: those that are asked for, or its own.

    Raises `BadInput` where the flow may be turbulent, unless that is allowed.
    """
    series = sorted(reynolds) or [groups(case, point).reynolds]
    check_laminar(series[-1], point.name, allow_high_reynolds)
    return series


def run_stability(
    case: Case,
    level: str,
    results: Results,
    mesh: MeshFolder,
    points: list[OperatingPoint],
    reynolds: list[float],
    ranks: int,
    watch: Follow,
    allow_high_reynolds: bool = False,
    follow: bool = False,
) -> list[dict[str, Any]]:
    """The records of the verdicts at the flow ratio of each point; without `reynolds` at the point's own.

    Asked to `follow`, a series goes on from the steady flow that a mode which only grows leads to, and writes its
    fields. What is on disk already is not computed again.
    """
    asked = _asked(case, results, mesh, points, reynolds, allow_high_reynolds, follow)
    _run({**common_job(case, level, results, mesh), "asked": asked}, results, ranks, watch)
    return [read_json(results.stability(point.name)) for point in points]


def unknown_starts(
    case: Case,
    results: Results,
    mesh: MeshFolder,
    points: list[OperatingPoint],
    reynolds: list[float],
    allow_high_reynolds: bool = False,
    follow: bool = False,
) -> list[OperatingPoint]:
    """The flows at which those verdicts of `run_stability` begin that are not known yet."""
    asked = _asked(case, results, mesh, points, reynolds, allow_high_reynolds, follow)
    return [OperatingPoint(*one["start"]) for one in asked if not _is_known(one, results)]


def _asked(
    case: Case,
    results: Results,
    mesh: MeshFolder,
    points: list[OperatingPoint],
    reynolds: list[float],
    allow_high_reynolds: bool,
    follow: bool,
) -> list[dict[str, Any]]:
    """What a worker is to know of each point, in the order in which it judges them."""
    asked = []
    for point in nearest_first(case, points, solved_flows(results).values()):
        series, group = series_of(case, point, reynolds, allow_high_reynolds), groups(case, point)
        lowest = point.scaled(series[0] / group.reynolds) if reynolds else point
        asked.append(
            {
                "name": point.name,
                "start": flows_of(lowest),
                "reynolds": series,
                "follow": follow,
                "hash": _hash(mesh, group.as_dict(), series, follow),
            }
        )
    return asked


def run_flow_stability(
    case: FlowCase,
    level: str,
    results: Results,
    mesh: MeshFolder,
    reynolds: list[float],
    ranks: int,
    watch: Follow,
    allow_high_reynolds: bool = False,
    follow: bool = False,
) -> dict[str, Any]:
    """The same of a flow case, whose rates and wall velocities a series of Reynolds numbers scales."""
    name = case.point_name(1.0)
    what = {"unit": unit_m(case, level), **case.resolved()}
    series = sorted(reynolds)
    one = {"name": name, "reynolds": series, "follow": follow, "hash": _hash(mesh, what, series, follow)}
    one["flow_hash"] = flow_hash(case, 1.0, mesh.hash, unit_m(case, level))
    job = flow_job(case, level, results, mesh, [], allow_high_reynolds)
    _run({**job, "asked": [one]}, results, ranks, watch)
    return read_json(results.stability(name))


def _hash(mesh: MeshFolder, what: dict[str, Any], series: list[float], follow: bool) -> str:
    return digest({"schema": SCHEMA, "mesh": mesh.hash, "series": series, "follow": follow, **what})


def _run(job: dict[str, Any], results: Results, ranks: int, watch: Follow) -> None:
    """Runs the workers for what a job asks and the disk does not know."""
    still = []
    for one in job["asked"]:
        if _is_known(one, results):
            watch(Event("reused", one["name"]))
        else:
            still.append(one)
    if still:
        start_workers("twin.campaign.stability_worker", results, {**job, "asked": still}, ranks, watch)


def _is_known(one: dict[str, Any], results: Results) -> bool:
    """Whether the verdicts that are asked for are on disk, with the fields of the flows that were followed."""
    path = results.stability(one["name"])
    if not path.exists():
        return False
    record = read_json(path)
    if record["provenance"].get("point_hash") != one["hash"] or not record["complete"]:
        return False
    there = all((path.parent / row["fields"]).exists() for row in record["rows"] if "fields" in row)
    return there and all(row["verdict"] != "unknown" for row in record["rows"])


def verdict_on(case: Case | FlowCase, results: Results, record: dict[str, Any]) -> str:
    """The verdict on the very flow of a record; empty where there is none, or the flow is not steady.

    Of a series that is the verdict at its first Reynolds number. What feels its concentration is another flow than the
    passive one that is judged.
    """
    if record.get("status") not in ("steady", "marched") or not (path := results.stability(record["name"])).exists():
        return ""
    found = read_json(path)
    if isinstance(case, FlowCase):
        own, same = record["reynolds"], found["provenance"]["flow_hash"] == record["provenance"]["point_hash"]
    else:
        group, fraction = record["groups"], found["precursor_fraction"]
        own, same = group["reynolds"], math.isclose(fraction, group["precursor_fraction"], rel_tol=1e-9)
        same &= found["provenance"]["mesh_hash"] == record["provenance"]["mesh_hash"] and case.coupling == "passive"
    first = found["rows"][0]
    same = same and bool(first.get("modes")) and math.isclose(first["reynolds"], own, rel_tol=1e-9)
    return first["verdict"] if same else ""


def warning_of(case: Case | FlowCase, results: Results, record: dict[str, Any]) -> str:
    """What to know of a flow whose verdict is that a real one leaves it; empty without."""
    word = verdict_on(case, results, record)
    if word not in LEFT:
        return ""
    return f"warning: {record['name']}: twin stability found this steady flow {word}: a real one leaves it"


def onset(rows: list[dict[str, Any]]) -> tuple[float, float, float] | None:
    """Where the leading growth rate changes sign: (Re, last Re that decays, first Re that grows), Re linear between.

    None where it does not change sign in the series, or only from one state of the flow to another.
    """
    known = [(row["reynolds"], row["modes"][0]["growth"], row["left"]) for row in rows if row.get("modes")]
    for (below, decays, left), (above, grows, later) in pairwise(known):
        if decays < 0 <= grows and left == later:
            return below + (above - below) * decays / (decays - grows), below, above
    return None
