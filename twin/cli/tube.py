"""The verb `tube`: what a straight or coiled tube after the junction adds to the mixing."""

from __future__ import annotations

import argparse
from typing import Any

from twin.campaign import make_mesh
from twin.campaign.tube import LENGTHS_M, Tube, run_tube
from twin.cli.common import add_point, add_ranks, add_verb, need_field_half, opened, point_of, ranks_of
from twin.cli.console import Reporter
from twin.files import folder
from twin.junction import bore_m
from twin.units import parse, to_mm


def add_verbs(verbs: Any) -> None:
    """Adds the verb of this file."""
    parser = add_verb(
        verbs,
        "tube",
        tube,
        "mixing down the straight or coiled tube after the junction, of a solved point",
        'twin tube cases/liang2023 --antisolvent "5000 mL/h" --precursor "60 mL/h" --coil "30 mm"',
    )
    add_point(parser)
    add_ranks(parser)
    lengths = ", ".join(f"{length:g} m" for length in LENGTHS_M)
    parser.add_argument("--length", nargs="+", default=[], metavar="L", help=f"where mixing is asked for ({lengths})")
    parser.add_argument(
        "--coil", nargs="+", default=[], metavar="D", help="diameters of coils, axis to axis, beside the straight tube"
    )
    parser.add_argument(
        "--start", type=float, default=Tube.start, metavar="BORES", help="plane where marching begins (%(default)g)"
    )


def tube(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin tube`."""
    need_field_half("tube")
    case, level, results = opened(arguments)
    point, ranks = point_of(arguments, case), ranks_of(arguments, case)
    question = Tube(
        lengths=tuple(parse(text, "length") for text in arguments.length) or LENGTHS_M,
        coils=(None, *(parse(text, "length") for text in arguments.coil)),
        start=arguments.start,
    )
    folder(results.folder)
    made = make_mesh(case, level, results, reporter.progress)
    with reporter.progress(f"walkers to {question.start:g} bores, marching beyond") as bar:
        record = run_tube(case, level, results, made, point, question, ranks, lambda event: bar.note(event.text))
    reporter.table(
        f"{point.name}, walkers there and back in the junction",
        ["bores", "M ±", "I_s ±"],
        [
            [
                f"{at['bores']:g}",
                f"{at['index']:.4f} ± {at['index_error']:.4f}",
                f"{at['segregation']:.4f} ± {at['error']:.4f}",
            ]
            for at in record["walkers"]
        ],
    )
    bore = to_mm(bore_m(case))
    for one in record["tubes"]:
        rows = [
            [
                f"{at['length_m']:.4g}", f"{at['bores']:.4g}", f"{at['index']:.4f} ± {at['index_error']:.4f}",
                f"{at['segregation']:.4g}",
                "" if at["scale_bores"] is None else f"{1e3 * at['scale_bores'] * bore:.0f}",
                "" if at["numerical_diffusion"] is None else f"{at['numerical_diffusion']:.3f}",
                f"{at['flux_error']:.0e}",
            ]
            for at in one["stations"]
        ]  # fmt: skip
        coiled = "straight" if one["coil_m"] is None else f"coil of {to_mm(one['coil_m']):g} mm, De {one['dean']:.0f}"
        reporter.table(
            f"{point.name}, {coiled}",
            ["tube m", "bores", "M ±", "I_s", "striation µm", "D_num/D_m", "flux put right"],
            rows,
        )
    reporter.say(
        "± is one standard error of sampling; M has the flow mesh's error besides,"
        f" ± {record['mesh_error']:.2g} (bounded); the walkers' table is the check of the start and of marching"
    )
    return record
