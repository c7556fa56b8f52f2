"""The verb `stability`: do steady flows stay steady?"""

from __future__ import annotations

import argparse
from typing import Any

from twin.campaign import climb_to_mesh, solve_below
from twin.campaign.stability import onset, run_flow_stability, run_stability, series_of, unknown_starts
from twin.case import Case, FlowCase, Results
from twin.case.load import load_any
from twin.cli import flow
from twin.cli.common import (
    add_high_reynolds,
    add_ranks,
    add_verb,
    need_field_half,
    point_of,
    ranks_of,
)
from twin.cli.console import Bar, Reporter
from twin.errors import BadInput
from twin.files import folder

Record = dict[str, Any]


def add_verbs(verbs: Any) -> None:
    """Adds the verb of this file."""
    parser = add_verb(
        verbs,
        "stability",
        stability,
        "whether steady flows are stable, or at which Reynolds number they turn unsteady",
        'twin stability cases/liang2023 --antisolvent "5000 mL/h" --precursor "60 mL/h"',
    )
    which = "flow with its unit; without both, every point of the case (a flow case: its own rates)"
    parser.add_argument("--antisolvent", metavar="Q", help=which)
    parser.add_argument("--precursor", metavar="Q", help="the same")
    add_ranks(parser)
    add_high_reynolds(parser)
    parser.add_argument(
        "--reynolds", type=float, nargs="+", default=[], metavar="RE", help="a series at the flow ratio of each point"
    )
    parser.add_argument(
        "--follow", action="store_true", help="go on from the steady flow to which one goes over that is unstable"
    )


def stability(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin stability`."""
    need_field_half("stability")
    if any(not reynolds > 0 for reynolds in arguments.reynolds):
        raise BadInput("a Reynolds number must be positive", "e.g. --reynolds 300 600 900")
    if bool(arguments.antisolvent) != bool(arguments.precursor):
        raise BadInput(
            "an operating point needs --antisolvent and --precursor", "give both, or neither for all points of the case"
        )
    case = load_any(arguments.case)
    if isinstance(case, FlowCase):
        level, results, records = _of_flow_case(case, arguments, reporter)
    else:
        level, results, records = _of_points(case, arguments, reporter)
    rows = []
    for record in records:
        for row in record["rows"]:
            first = row["modes"][0] if row.get("modes") else None
            figures = ["", "", ""]
            if first:
                figures = [f"{first['growth']:+.4f} ± {first['error']:.1g}", f"{first['frequency']:.3f}", first["kind"]]
            reynolds = f"{row['reynolds']:.6g}" if row["reynolds"] else ""
            state = "" if not row["left"] else f"{row['left']}"
            rows.append([record["name"], reynolds, state, row["verdict"], *figures, row.get("reason", "")])
    unit = "U/L" if isinstance(case, FlowCase) else "U/bore"
    title = f"steady or not: {case.name}, level {level}"
    reporter.table(
        title, ["flow", "Re", "left", "verdict", f"growth rate, {unit}", f"frequency, {unit}", "mode", "reason"], rows
    )
    answers = []
    for record in records:
        for row in record["rows"]:
            if "fields" in row:
                path = results.stability(record["name"]).parent / row["fields"]
                reporter.say(f"{record['name']} at Re {row['reynolds']:.6g}, {row['left']} left: {path}")
        turn = onset(record["rows"])
        if turn is not None:
            at = f"near Re {turn[0]:.0f} (steady at {turn[1]:.0f}, not at {turn[2]:.0f})"
            reporter.say(f"{record['name']} changes {at}")
        changes = None if turn is None else dict(zip(("reynolds", "low", "high"), turn, strict=True))
        answers.append({**record, "changes": changes})
    unknown = any(row["verdict"] == "unknown" for record in records for row in record["rows"])
    alone = isinstance(case, FlowCase) or arguments.antisolvent
    return answers[0] if alone else {"points": answers}, 1 if unknown else 0


def _of_points(case: Case, arguments: argparse.Namespace, reporter: Reporter) -> tuple[str, Results, list[Record]]:
    level = arguments.level or next(iter(case.levels))
    results = Results.of(case, level, arguments.output)
    points, ranks = [point_of(arguments, case)] if arguments.antisolvent else case.points, ranks_of(arguments, case)
    for point in points:
        series_of(case, point, arguments.reynolds, arguments.allow_high_reynolds)
    climbing = ranks, reporter.progress, arguments.allow_high_reynolds
    made = climb_to_mesh(case, level, results, *climbing)
    asked = points, arguments.reynolds
    how = arguments.allow_high_reynolds, arguments.follow
    solve_below(case, level, results, unknown_starts(case, results, made, *asked, *how), *climbing)
    each = max(1, len(arguments.reynolds))
    total = None if arguments.follow else each * len(points)
    with reporter.progress(f"leading modes on {ranks} ranks", total) as bar:
        records = run_stability(case, level, results, made, *asked, ranks, _watch(bar, each), *how)
    return level, results, records


def _of_flow_case(
    case: FlowCase, arguments: argparse.Namespace, reporter: Reporter
) -> tuple[str, Results, list[Record]]:
    if arguments.antisolvent:
        raise BadInput("a flow case has its rates in its file", "leave out --antisolvent and --precursor")
    level, ranks = arguments.level or case.level_names[0], ranks_of(arguments, case)
    results = Results.of(case, level, arguments.output)
    folder(results.folder)
    made = flow.make_mesh(case, level, results, reporter)
    each = max(1, len(arguments.reynolds))
    with reporter.progress(f"leading modes on {ranks} ranks", None if arguments.follow else each) as bar:
        how = ranks, _watch(bar, each), arguments.allow_high_reynolds, arguments.follow
        record = run_flow_stability(case, level, results, made, arguments.reynolds, *how)
    return level, results, [record]


def _watch(bar: Bar, each: int) -> Any:
    """Shows the news of a worker: one step for each Reynolds number, however many states the flow goes over there."""

    def watch(event: Any) -> None:
        if event.kind == "reused":
            bar.advance(f"{event.point} reused", each)
        elif event.kind in ("verdict", "left"):
            bar.advance(f"{event.point} {event.text}", 1 if event.kind == "verdict" else 0)
        else:
            bar.note(f"{event.point} {event.text}")

    return watch
