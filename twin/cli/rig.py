"""The verbs of the rig: check, run, stop, log."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from twin.case import Case, Results
from twin.cli.common import add_verb, opened
from twin.cli.console import Reporter
from twin.rig import (
    Progress,
    RunResult,
    check,
    describe,
    emergency_stop,
    latest,
    load_setpoint,
    read,
    run,
    verify,
)
from twin.units import parse


def add_verbs(verbs: Any) -> None:
    """Adds the verbs of this file."""
    parser = verbs.add_parser("rig", help="the physical rig, or its simulator: check, run, stop, log")
    actions = parser.add_subparsers(
        dest="action", metavar="check|run|stop|log", required=True, parser_class=type(parser)
    )
    for name, verb, words in (
        ("check", check_verb, "dry run: the plan, the supply, and every byte that would be sent"),
        ("run", run_verb, "run the setpoint: arm, ramp, hold, stop; both pumps are stopped whatever happens"),
    ):
        parser = add_verb(actions, name, verb, words, f"twin rig {name} cases/liang2023")
        parser.add_argument("--setpoint", type=Path, help="a setpoint.json (default: the one of the level)")
        parser.add_argument("--hold", metavar="T", help='how long to hold, e.g. "20 s" (default: the case\'s own)')
        parser.add_argument("--shorten", action="store_true", help="hold only as long as the syringes last")
    add_verb(
        actions, "stop", stop_verb, "stop the pumps of the case, whoever started them", "twin rig stop cases/liang2023"
    )
    parser = add_verb(actions, "log", log_verb, "verify a journal and print it", "twin rig log cases/liang2023")
    parser.add_argument("--journal", type=Path, help="a journal (default: the newest of the level)")


def check_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig check`."""
    case, _, results = opened(arguments)
    setpoint = load_setpoint(arguments.setpoint or results.setpoint, case)
    dry = check(case, setpoint, hold_s=_hold(arguments), shorten=arguments.shorten)
    for line in dry.lines():
        reporter.say(line)
    sent = [{"t_s": entry.t_s, "port": entry.port, "message": entry.message.decode("ascii")} for entry in dry.sent]
    return {"plan": dry.plan.as_dict(), "sent": sent}


def run_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig run`."""
    case, _, results = opened(arguments)
    path = arguments.setpoint or results.setpoint
    done = run_rig(case, results, path, reporter, _hold(arguments), arguments.shorten)
    for line in done.lines():
        reporter.say(line)
    answer = {
        "ok": done.ok,
        "journal": done.journal,
        "plan": done.plan.as_dict(),
        "ledger": {role: balance.as_dict() for role, balance in done.balances.items()},
    }
    return answer, 0 if done.ok else 1


def run_rig(
    case: Case, results: Results, path: Path, reporter: Reporter, hold_s: float | None = None, shorten: bool = False
) -> RunResult:
    """Runs a setpoint with progress."""
    setpoint = load_setpoint(path, case)
    with reporter.progress(f"rig run of {setpoint.point.name}") as bar:

        def show(progress: Progress) -> None:
            rates = " + ".join(f"{rate:.4g}" for rate in progress.rates_ml_h.values())
            bar.at(progress.fraction, f"{progress.kind}, {rates} mL/h")

        done = run(case, setpoint, hold_s=hold_s, shorten=shorten, folder=results.rig, on_progress=show)
        bar.at(1.0, "both pumps verified stopped")
    return done


def stop_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig stop`."""
    case, _, results = opened(arguments)
    said = emergency_stop(case, folder=results.rig)
    for line in said:
        reporter.say(line)
    return {"said": said}


def log_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig log`."""
    _, _, results = opened(arguments)
    path = arguments.journal or latest(results.rig)
    found = verify(path)
    entries = read(path)
    for entry in entries:
        reporter.say(describe(entry))
    reporter.say(str(found))
    answer = {
        "journal": path,
        "intact": found.intact,
        "lines": found.lines,
        "broken_line": found.broken_line,
        "reason": found.reason,
        "truncated": found.truncated,
        "ended": found.ended,
        "entries": entries,
    }
    return answer, 0 if found.intact else 1


def _hold(arguments: argparse.Namespace) -> float | None:
    return None if arguments.hold is None else parse(arguments.hold, "time")
