"""The verb `pulse`: what a pulsating pump does to the mixing."""

from __future__ import annotations

import argparse
from typing import Any

from twin.campaign import make_mesh
from twin.campaign.pulse import STREAMS, Pulse, run_pulse
from twin.cli.common import add_point, add_ranks, add_verb, need_field_half, opened, point_of, ranks_of
from twin.cli.console import Reporter
from twin.files import folder
from twin.units import parse


def add_verbs(verbs: Any) -> None:
    """Adds the verb of this file."""
    parser = add_verb(
        verbs,
        "pulse",
        pulse,
        "mixing of a solved point where a pump pulsates",
        'twin pulse cases/liang2023 --antisolvent "1000 mL/h" --precursor "60 mL/h" \\\n'
        '      --amplitude "5 %" --period "40 ms"',
    )
    add_point(parser)
    add_ranks(parser)
    parser.add_argument("--amplitude", required=True, metavar="A", help='of the rate about its mean, e.g. "5 %%"')
    parser.add_argument("--period", required=True, metavar="T", help='of the pulsation, e.g. "40 ms"')
    parser.add_argument("--of", choices=STREAMS, default=STREAMS[0], help="the stream that pulsates (%(default)s)")
    parser.add_argument(
        "--snapshots", type=int, default=Pulse.snapshots, metavar="K", help="of the flow in a period (%(default)d)"
    )
    parser.add_argument(
        "--periods", type=int, default=Pulse.periods, metavar="N", help="the most that are marched (%(default)d)"
    )
    parser.add_argument(
        "--tolerance", type=float, default=Pulse.tolerance, help="on the flow's distance from periodic (%(default)g)"
    )
    parser.add_argument("--walkers", type=int, metavar="N", help="sent out with the precursor (default: the case's)")


def pulse(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin pulse`."""
    need_field_half("pulse")
    case, level, results = opened(arguments)
    point, ranks = point_of(arguments, case), ranks_of(arguments, case)
    question = Pulse(
        of=arguments.of,
        amplitude=parse(arguments.amplitude, "share"),
        period=parse(arguments.period, "time"),
        snapshots=arguments.snapshots,
        periods=arguments.periods,
        tolerance=arguments.tolerance,
        walkers=arguments.walkers,
    )
    folder(results.folder)
    made = make_mesh(case, level, results, reporter.progress)
    with reporter.progress(f"periodic flow and walkers on {ranks} ranks") as bar:
        record = run_pulse(case, level, results, made, point, question, ranks, lambda event: bar.note(event.text))
    show(record, reporter)
    return record


def show(record: dict[str, Any], reporter: Reporter) -> None:
    """The planes beside the steady ones, and how periodic the flow is."""
    asked = record["pulse"]
    rows = []
    for steady, unsteady, both, swing, half in zip(
        *(record[key] for key in ("steady", "pulsating", "difference", "in_time", "halved")), strict=True
    ):
        rows.append(
            [
                f"{steady['bores']:g}",
                f"{steady['index']:.4f} ± {steady['index_error']:.4f}",
                f"{unsteady['index']:.4f} ± {unsteady['index_error']:.4f}",
                f"{both['index']:+.4f} ± {both['index_error']:.4f}",
                f"{unsteady['segregation']:.4f} ± {unsteady['error']:.4f}",
                f"{swing['segregation']:.1e} ± {swing['error']:.0e}",
                f"{half['index']:+.4f} ± {half['index_error']:.4f}",
            ]
        )
    title = f"{record['name']}, {asked['of']} ± {100 * asked['amplitude']:g} % at {1e3 * asked['period']:g} ms"
    reporter.table(
        f"{title}, {record['walkers']} random walkers, ± standard error",
        [
            "bores", "M steady", "M pulsating", "difference", "I_s pulsating", "of it in time",
            "half the\nsnapshots: M",
        ],
        rows,
    )  # fmt: skip
    march, flow, closure = record["march"], record["flow"], record["closure"]
    reporter.say(
        f"period {record['period_bores']:.3g} d/U, Womersley {record['womersley']:.2g}; after {march['periods']}"
        f" periods of {march['steps']} steps the flow is {march['distance']:.1e} from a periodic one.\nIt swings by"
        f" {100 * flow['most']:.2g} % about its mean, which lies {100 * flow['mean']:.2g} % off the steady flow. Mean c"
        f" at the outlet: {closure['share']:.4f} ± {closure['error']:.4f}, fed {closure['expected']:.4f}.\n"
        f"M has the flow mesh's error besides, ± {record['mesh_error']:.2g} (bounded), both times the same."
    )
