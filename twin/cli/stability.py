"""The verb `stability`: does the steady flow of a point stay steady?"""

from __future__ import annotations

import argparse
from typing import Any

from twin.campaign import make_mesh
from twin.campaign.stability import onset, run_stability
from twin.cli.common import (
    add_high_reynolds,
    add_point,
    add_ranks,
    add_verb,
    need_field_half,
    opened,
    point_of,
    ranks_of,
)
from twin.cli.console import Reporter
from twin.files import folder


def add_verbs(verbs: Any) -> None:
    """Adds the verb of this file."""
    parser = add_verb(
        verbs,
        "stability",
        stability,
        "whether the steady flow of a point is stable, or at which Reynolds number it turns unsteady",
        'twin stability cases/liang2023 --antisolvent "5000 mL/h" --precursor "60 mL/h"',
    )
    add_point(parser)
    add_ranks(parser)
    add_high_reynolds(parser)
    parser.add_argument(
        "--reynolds", type=float, nargs="+", default=[], metavar="RE", help="a series at the point's flow ratio"
    )


def stability(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin stability`."""
    need_field_half("stability")
    case, level, results = opened(arguments)
    point, ranks = point_of(arguments, case), ranks_of(arguments, case)
    folder(results.folder)
    made = make_mesh(case, level, results, reporter.progress)
    with reporter.progress(f"leading modes on {ranks} ranks", max(1, len(arguments.reynolds))) as bar:

        def follow(event: Any) -> None:
            (bar.advance if event.text.startswith("Re ") and "Newton" not in event.text else bar.note)(event.text)

        record = run_stability(
            case, level, results, made, point, arguments.reynolds, ranks, follow, arguments.allow_high_reynolds
        )
    rows = []
    for row in record["rows"]:
        first = row["modes"][0] if row.get("modes") else None
        figures = ["", "", ""]
        if first:
            figures = [f"{first['growth']:+.4f} ± {first['error']:.4f}", f"{first['frequency']:.3f}", first["kind"]]
        rows.append([f"{row['reynolds']:.0f}", row["verdict"], *figures, row.get("reason", "")])
    reporter.table(
        f"steady or not: {case.name}, level {level}, flow ratio of {point.name}",
        ["Re", "verdict", "growth rate, U/bore", "frequency, U/bore", "mode", "reason"],
        rows,
    )
    turn = onset(record["rows"])
    if turn is not None:
        reporter.say(f"the flow changes near Re {turn[0]:.0f} (steady at {turn[1]:.0f}, not at {turn[2]:.0f})")
    return {
        **record,
        "changes": None if turn is None else dict(zip(("reynolds", "low", "high"), turn, strict=True)),
    }
