"""What the verbs share: arguments, the case and its results, the field half where it is installed."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twin.case import Case, FlowCase, Results, load
from twin.cli.console import Reporter
from twin.errors import TwinError
from twin.operating import OperatingPoint
from twin.units import parse

Run = Callable[[argparse.Namespace, Reporter], Any]


def add_verb(
    verbs: Any, name: str, run: Run, help_text: str, example: str, case: bool = True
) -> argparse.ArgumentParser:
    """A verb with its help, an example, `--json`, and where it takes one, the case with its level and output."""
    parser = verbs.add_parser(
        name,
        help=help_text,
        description=help_text[:1].upper() + help_text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout; logs go to stderr")
    if case:
        parser.add_argument("case", type=Path, metavar="CASE", help="a folder with a case.toml")
        add_level(parser)
    return parser


def add_level(parser: argparse.ArgumentParser) -> None:
    """`--level` and `--output`."""
    parser.add_argument("--level", default=None, help="mesh level of the case (default: its first)")
    parser.add_argument("--output", type=Path, help="where results go, instead of CASE/results")


def add_point(parser: argparse.ArgumentParser) -> None:
    """The operating point."""
    parser.add_argument("--antisolvent", required=True, metavar="Q", help='flow with its unit, e.g. "5000 mL/h"')
    parser.add_argument("--precursor", required=True, metavar="Q", help='flow with its unit, e.g. "60 mL/h"')


def add_ranks(parser: argparse.ArgumentParser) -> None:
    """`--ranks`."""
    parser.add_argument("--ranks", type=int, help="MPI ranks (default: those of the case)")


def add_high_reynolds(parser: argparse.ArgumentParser) -> None:
    """`--allow-high-reynolds`."""
    parser.add_argument(
        "--allow-high-reynolds", action="store_true", help="solve above Re 2000 as well: there too as laminar flow"
    )


def opened(arguments: argparse.Namespace) -> tuple[Case, str, Results]:
    """The case of a command with its level and results."""
    case = load(arguments.case)
    level = arguments.level or next(iter(case.levels))
    return case, level, Results.of(case, level, arguments.output)


def ranks_of(arguments: argparse.Namespace, case: Case | FlowCase) -> int:
    """The number of ranks; raises `BadInput` where it is not positive."""
    from twin.campaign.run import check_ranks  # here, for the verbs that need no campaign and are to start at once

    ranks = case.ranks if arguments.ranks is None else arguments.ranks
    check_ranks(ranks)
    return ranks


def point_of(arguments: argparse.Namespace, case: Case) -> OperatingPoint:
    """The operating point of a command."""
    flows = parse(arguments.antisolvent, "flow"), parse(arguments.precursor, "flow")
    return OperatingPoint(*flows, case.liquids.temperature)


def need_field_half(verb: str, *modules: str) -> None:
    """Raises where a verb of the field half is called without dolfinx or Gmsh."""
    missing = [
        name for name in modules or ("dolfinx", "mpi4py", "gmsh", "meshio") if not importlib.util.find_spec(name)
    ]
    if missing:
        raise TwinError(
            f"twin {verb} belongs to the field half, and {', '.join(missing)} is not installed here",
            "run it with scripts/twin, which brings its own stack, or see docs/install.md",
        )
