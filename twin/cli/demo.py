"""The main job: the verbs one after the other on the paper's case, from mesh to report."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twin.campaign import make_mesh
from twin.case import Results, load
from twin.cli import field, lab, rig, views
from twin.cli.common import add_level, add_ranks, add_verb, need_field_half, ranks_of
from twin.cli.console import Reporter
from twin.files import folder

DEMO = Path(__file__).parents[2] / "cases" / "liang2023"


def add_verbs(verbs: Any) -> None:
    """Adds the verb of this file."""
    parser = add_verb(
        verbs, "demo", demo, "the main job on the paper's case, from mesh to report", "twin demo", case=False
    )
    parser.add_argument("--case", type=Path, default=DEMO, help="another case folder")
    add_level(parser)
    add_ranks(parser)


def demo(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin demo`."""
    need_field_half("demo")
    case = load(arguments.case)
    level = arguments.level or next(iter(case.levels))
    results = Results.of(case, level, arguments.output)
    ranks = ranks_of(arguments, case)
    folder(results.folder)
    stages: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        stages[name] = {"seconds": time.perf_counter() - began, "peak_gib": _peak_gib()}

    with stage("mesh"):
        made = make_mesh(case, level, results, reporter.progress)
        reporter.say(
            f"mesh: {made.quality.cells} curved tetrahedra, scaled Jacobian at least"
            f" {made.quality.min_scaled_jacobian:.2f}, round sections to"
            f" {max(map(abs, made.quality.section_errors.values()), default=0):.0e}"
        )
    with stage("flow and mixing"):
        records = field.run_campaign(case, level, results, case.points, ranks, reporter)
        field.show_points(f"{case.name}, level {level}", records, reporter)
    with stage("surrogate"):
        surrogate = lab.fit_surrogate(results, reporter)
        lab.show_loo(surrogate, reporter)
    with stage("crystals"):
        model = lab.calibrate_model(case, results, surrogate, reporter)
        comparison = lab.show_comparison(model, case, reporter)
    with stage("setpoint"):
        proposal = lab.propose_setpoint(case, results, model, reporter)
        lab.show_proposal(proposal, reporter)
    with stage("rig"):
        done = rig.run_rig(case, results, results.setpoint, reporter, shorten=True)
        for line in (*done.plan.lines(), *done.lines()):
            reporter.say(line)
    with stage("pictures"):
        views.draw_all(case, level, results, reporter)
    with stage("report"):
        report = views.make_report(case, level, results, reporter)
    rows = [[name, f"{one['seconds']:.1f}", f"{one['peak_gib']:.2f}"] for name, one in stages.items()]
    reporter.table("time and memory", ["stage", "seconds", "largest process so far, GiB"], rows)
    failed = [record["name"] for record in records if record["status"] == "failed"]
    reporter.say(f"report: {report}" + (f"; failed points: {', '.join(failed)}" if failed else ""))
    answer = {
        "report": report,
        "stages": stages,
        "failed": failed,
        "comparison": comparison,
        "setpoint": proposal.as_dict(),
    }
    return answer, 1 if failed else 0


def _peak_gib() -> float:
    """The largest resident set of this process and of any child that has ended, in GiB (ranks count singly)."""
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(usage) / 2**20
