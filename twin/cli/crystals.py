"""The verb `crystals`: the product by the histories of fluid elements, beside that of one zone of mixing."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from twin.cli.common import add_point, add_verb, opened, point_of
from twin.cli.console import Reporter
from twin.cli.lab import load_model
from twin.crystal.parameters import LIGANDS
from twin.process.histories import Compared, compare_histories


def add_verbs(verbs: Any) -> None:
    """Adds the verb of this file."""
    parser = add_verb(
        verbs,
        "crystals",
        crystals,
        "crystals of a solved point by the histories of its fluid elements, beside one zone of mixing",
        'twin crystals cases/liang2023 --antisolvent "1000 mL/h" --precursor "60 mL/h"',
    )
    add_point(parser)
    parser.add_argument("--ligand", choices=LIGANDS, help="ps or oa (default: both)")
    parser.add_argument(
        "--members", type=int, default=16, metavar="N", help="of the calibrated ensemble, evenly spread (%(default)d)"
    )


def crystals(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin crystals`."""
    case, _, results = opened(arguments)
    point, model = point_of(arguments, case), load_model(results)
    answer = {}
    for ligand in [arguments.ligand] if arguments.ligand else LIGANDS:
        with reporter.progress(f"histories, ligand {ligand}") as bar:
            found = compare_histories(model, results, point, ligand, arguments.members, bar.at)
        show(f"{point.name}, ligand {ligand}", found, reporter)
        answer[ligand] = asdict(found)
    return {"point": point.name} | answer


def show(title: str, found: Compared, reporter: Reporter) -> None:
    """The three ways side by side."""
    rows = []
    for name, zone in found.zone.items():
        middle, low, high = found.share[name]
        rows.append(
            [name, zone, found.histories[name], found.again[name], f"{middle:.3f} ({low:.3f} … {high:.3f})", zone.unit,
             zone.label]
        )  # fmt: skip
    columns = ["quantity", "one zone", "histories", "histories,\nnoise drawn again", "histories over\none zone"]
    reporter.table(
        f"{title}: {found.elements} fluid elements, {found.members} members of the ensemble, bands of 90 %",
        [*columns, "unit", "label"],
        rows,
    )
    reporter.say(
        f"Half of the elements leave the mesh with more than {100 * found.unmixed:.0f} % of the precursor's liquid"
        " around them; from there\non engulfment is assumed, at the point's own rate. Elements exchange neither solute"
        " nor crystals."
    )
