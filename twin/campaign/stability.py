"""Asks whether the steady flow of a point stays steady, at its own Reynolds number or along a series of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from twin.campaign.run import Follow, check_laminar, common_job, flows_of, start_workers
from twin.case import Case, Results
from twin.files import read_json
from twin.junction import groups
from twin.operating import OperatingPoint

if TYPE_CHECKING:
    from twin.meshing import MeshFolder


def run_stability(
    case: Case,
    level: str,
    results: Results,
    mesh: MeshFolder,
    point: OperatingPoint,
    reynolds: list[float],
    ranks: int,
    follow: Follow,
    allow_high_reynolds: bool = False,
) -> dict[str, Any]:
    """The record of the verdicts, at the flow ratio of a point; without `reynolds` at the point's own.

    Raises `BadInput` for a Reynolds number at which the flow may be turbulent, unless that is allowed.
    """
    series = sorted(reynolds) or [groups(case, point).reynolds]
    check_laminar(series[-1], point.name, allow_high_reynolds)
    path = results.stability(point.name)
    job = {
        **common_job(case, level, results, mesh),
        "point": flows_of(point),
        "reynolds": series,
        "record": str(path.resolve()),
    }
    start_workers("twin.campaign.stability_worker", results, job, ranks, follow)
    return read_json(path)


def onset(rows: list[dict[str, Any]]) -> tuple[float, float, float] | None:
    """Where the leading growth rate changes sign: (Re, last Re that decays, first Re that grows), Re linear between.

    None where it does not change sign in the series.
    """
    known = [(row["reynolds"], row["modes"][0]["growth"]) for row in rows if row.get("modes")]
    for (below, decays), (above, grows) in pairwise(known):
        if decays < 0 <= grows:
            return below + (above - below) * decays / (decays - grows), below, above
    return None
