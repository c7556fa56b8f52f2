"""The verbs that show: view, report, dashboard."""

from __future__ import annotations

import argparse
from typing import Any

from twin.case import Case, FlowCase, Results
from twin.case.load import load_any
from twin.cli import flow
from twin.cli.common import add_verb, need_field_half, opened
from twin.cli.console import Reporter
from twin.errors import BadInput
from twin.view import draw_flow_pictures, draw_pictures, serve, write_report


def add_verbs(verbs: Any) -> None:
    """Adds the verbs of this file."""
    parser = add_verb(
        verbs, "view", view, "draw the pictures of mesh, flow and concentration", "twin view cases/liang2023"
    )
    where = 'of a flow case in 3-D: where it is cut, e.g. "z = 2 mm" (default: the mirror, or the middle)'
    parser.add_argument("--plane", metavar="PLANE", help=where)
    add_verb(verbs, "report", report, "write the self-contained HTML report", "twin report cases/liang2023")
    parser = add_verb(
        verbs, "dashboard", dashboard, "serve the live page on this machine", "twin dashboard cases/liang2023"
    )
    parser.add_argument("--port", type=int, default=8037, help="port on the loopback address (default: 8037)")


def view(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin view`."""
    case = load_any(arguments.case)
    if isinstance(case, FlowCase):
        need_field_half("view of a flow case", "meshio")
        with reporter.progress("pictures") as bar:
            pictures: list[Any] = list(draw_flow_pictures(case, flow.finest(case, arguments), arguments.plane))
            bar.advance(f"{len(pictures)} pictures")
    elif arguments.plane is not None:
        raise BadInput("--plane is for flow cases", "leave it out: a reactor case has its planes")
    else:
        pictures = draw_all(*opened(arguments), reporter)
    for picture in pictures:
        reporter.say(str(picture))
    return {"pictures": pictures}


def draw_all(case: Case, level: str, results: Results, reporter: Reporter) -> list[Any]:
    """Draws all pictures with progress."""
    with reporter.progress("pictures") as bar:
        pictures = draw_pictures(case, level, results)
        bar.advance(f"{len(pictures)} pictures")
    return list(pictures)


def report(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin report`."""
    case, level, results = opened(arguments)
    path = make_report(case, level, results, reporter)
    reporter.say(str(path))
    return {"report": path}


def make_report(case: Case, level: str, results: Results, reporter: Reporter) -> Any:
    """Writes the report with progress."""
    with reporter.progress("report") as bar:
        path = write_report(case, level, results)
        bar.advance(str(path))
    return path


def dashboard(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin dashboard`."""
    case, level, results = opened(arguments)
    serve(case, level, results, arguments.port, lambda address: reporter.log(f"{address} (Ctrl-C ends it)"))
    return {"served": True}
