"""The verbs of the rig: check, run, stop, log; refill and acknowledge; scan and checkout for first contact."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twin.case import Case, Results
from twin.cli.common import add_verb, opened
from twin.cli.console import Reporter
from twin.errors import BadInput, TwinError
from twin.rig import (
    NotStopped,
    Program,
    Progress,
    RunResult,
    RunStopped,
    Setpoint,
    Volumes,
    check,
    describe,
    emergency_stop,
    latest,
    load_recipe,
    load_setpoint,
    read,
    replay,
    run,
    verify,
)
from twin.rig.commissioning.checkout import checkout
from twin.rig.commissioning.detect import scan
from twin.rig.operation import register
from twin.rig.operation.emergency import stop_places
from twin.rig.operation.runlock import RunLock, holder, last
from twin.rig.planning.limits import SIMULATED, equipment, places
from twin.rig.record.replay import of_run
from twin.units import parse, to_ml

_PUMPS = ("antisolvent", "antisolvent-2", "precursor")


def add_verbs(verbs: Any) -> None:
    """Adds the verbs of this file."""
    parser = verbs.add_parser("rig", help="the physical rig, or its simulator: check, run, stop, log and more")
    actions = parser.add_subparsers(
        dest="action",
        metavar="check|run|stop|log|refill|acknowledge|scan|checkout",
        required=True,
        parser_class=type(parser),
    )
    for name, verb, words in (
        ("check", check_verb, "dry run: the plan, the supply, and every byte that would be sent"),
        ("run", run_verb, "run the setpoint: arm, ramp, hold, stop; every pump is stopped whatever happens"),
    ):
        parser = add_verb(actions, name, verb, words, f"twin rig {name} cases/liang2023")
        parser.add_argument("--setpoint", type=Path, help="a setpoint.json (default: the one of the level)")
        parser.add_argument("--recipe", type=Path, help="a recipe.toml: several steps, resting on the setpoint")
        parser.add_argument("--hold", metavar="T", help='how long to hold, e.g. "20 s" (default: the case\'s own)')
        parser.add_argument("--shorten", action="store_true", help="hold only as long as the syringes last")
        if name == "check":
            parser.add_argument("--all", action="store_true", help="print every byte, also of each step of a ramp")
    add_verb(
        actions,
        "stop",
        stop_verb,
        "stop the pumps of the case, whoever started them, and latch the rig",
        "twin rig stop cases/liang2023",
    )
    parser = add_verb(
        actions, "log", log_verb, "verify a journal, replay it and print it", "twin rig log cases/liang2023"
    )
    parser.add_argument("--journal", type=Path, help="a journal (default: the newest)")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw rates, volumes and readings into a picture")
    parser = add_verb(
        actions,
        "refill",
        refill_verb,
        "say what the syringes hold; the ledger goes on from there",
        'twin rig refill cases/liang2023 --antisolvent "50 mL" --precursor full',
    )
    for name in _PUMPS:
        parser.add_argument(f"--{name}", metavar="V", help='a volume, e.g. "50 mL", or full')
    parser = add_verb(
        actions,
        "acknowledge",
        acknowledge_verb,
        "release a latched rig, once its cause was found",
        'twin rig acknowledge cases/liang2023 --by "A. Chemist" --note "cable replaced"',
    )
    parser.add_argument("--by", required=True, metavar="NAME", help="who has looked at the rig")
    parser.add_argument("--note", default="", help="what was found")
    parser = add_verb(
        actions, "scan", scan_verb, "ask serial ports which pump is there; moves nothing", "twin rig scan", case=False
    )
    parser.add_argument("ports", nargs="*", metavar="PORT", help="device paths or URLs (default: every port present)")
    parser = add_verb(
        actions,
        "checkout",
        checkout_verb,
        "first contact with a real pump: every assumption of the simulator, asked of the pump",
        "twin rig checkout cases/liang2023 --pump precursor --cassette ne1000.jsonl",
    )
    parser.add_argument("--pump", required=True, choices=_PUMPS, help="which pump of the case")
    parser.add_argument("--cassette", required=True, type=Path, help="where every byte is recorded; a new file")


def check_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig check`."""
    case, _, results = opened(arguments)
    setpoint = load_setpoint(arguments.setpoint or results.setpoint, case)
    program = _program(case, setpoint, arguments.recipe, _hold(arguments))
    dry = check(case, setpoint, folder=results.rig, program=program, hold_s=_hold(arguments), shorten=arguments.shorten)
    for line in dry.lines(everything=arguments.all):
        reporter.say(line)
    refused = register.refusal(results.rig, places(case))
    if refused is not None:
        reporter.say(f"A RUN WOULD BE REFUSED: {refused}")
    sent = [{"t_s": entry.t_s, "port": entry.port, "message": entry.message.decode("latin-1")} for entry in dry.sent]
    return {"plan": dry.plan.as_dict(), "sent": sent, "refused": refused.message if refused else None}


def run_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig run`."""
    case, _, results = opened(arguments)
    path = arguments.setpoint or results.setpoint
    done = run_rig(case, results, path, reporter, _hold(arguments), arguments.shorten, arguments.recipe)
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
    case: Case,
    results: Results,
    path: Path,
    reporter: Reporter,
    hold_s: float | None = None,
    shorten: bool = False,
    recipe: Path | None = None,
) -> RunResult:
    """Runs a setpoint, or a recipe that rests on it, with progress."""
    setpoint = load_setpoint(path, case)
    program = _program(case, setpoint, recipe, hold_s)
    with reporter.progress(f"rig run of {setpoint.point.name}") as bar:

        def show(progress: Progress) -> None:
            rates = " + ".join(f"{rate:.4g}" for rate in progress.rates_ml_h.values())
            bar.at(progress.fraction, f"{progress.kind}, {rates} mL/h")

        try:
            done = run(
                case, setpoint, program=program, hold_s=hold_s, shorten=shorten, folder=results.rig, on_progress=show
            )
        except KeyboardInterrupt as stopped:
            raise _stopped(stopped, "Ctrl-C") from None
        except RunStopped as stopped:
            raise _stopped(stopped, stopped.message) from None
        except TwinError as error:
            error.message = "\n  ".join([error.message, *getattr(error, "__notes__", [])])
            raise
        bar.at(1.0, "every pump verified stopped")
    return done


def _stopped(error: BaseException, by: str) -> RunStopped:
    notes = getattr(error, "__notes__", [])  # there is a journal from the moment on in which something might move
    every = "every pump that was started" if len(notes) > 1 else "every pump"  # the other notes name the others
    what = f"{every} was verified stopped" if notes else "nothing had moved"
    return RunStopped("\n  ".join([f"{by}: {what}", *notes]), "nothing goes on by itself: the same command begins anew")


def stop_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig stop`."""
    try:
        case, _, results = opened(arguments)
    except BadInput as error:  # what the run itself has noted is enough to stop it
        where = (arguments.output / arguments.case.name if arguments.output else arguments.case / "results") / "rig"
        if holder(where) is None and not last(where):
            raise
        said = [*stop_places([], where), f"the case can't be read: {error.message}"]
    else:
        said = emergency_stop(case, folder=results.rig)
    for line in said:
        reporter.say(line)
    return {"said": said}


def log_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig log`."""
    _, _, results = opened(arguments)
    path = arguments.journal or latest(results.rig, "journal")
    found = verify(path)
    entries = read(path)
    for entry in entries:
        reporter.say(describe(entry))
    again = replay(path) if of_run(entries) else None
    for line in again.lines() if again else [str(found), "no run is in it, so there is nothing to replay"]:
        reporter.say(line)
    answer = {
        "journal": path,
        "intact": found.intact,
        "lines": found.lines,
        "broken_line": found.broken_line,
        "reason": found.reason,
        "truncated": found.truncated,
        "ended": found.ended,
        "replay": {"ok": again.ok, "lines": again.lines()} if again else None,
        "entries": entries,
    }
    if arguments.plot is not None:
        from twin.view.rigrun import picture

        picture(path, arguments.plot)
        reporter.say(f"picture: {arguments.plot}")
        answer["picture"] = arguments.plot
    return answer, 0 if found.intact and (again.ok if again else found.ended) else 1


def refill_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig refill`."""
    case, _, results = opened(arguments)
    pumps = equipment(case)
    asked = {name: text for name in _PUMPS if (text := getattr(arguments, name.replace("-", "_"))) is not None}
    unknown = [name for name in asked if name not in pumps]
    if unknown or not asked:
        what = f"the case has no {unknown[0]} pump" if unknown else "nothing was said"
        raise BadInput(what, f"give a volume for {', '.join(f'--{name}' for name in pumps)}")
    said = []
    with RunLock(results.rig, None):
        volumes = Volumes.open(results.rig)
        for name, text in asked.items():
            syringe = pumps[name].syringe
            left = syringe.volume_ml if text == "full" else round(to_ml(parse(text, "volume")), 9)
            said.append(volumes.refill(name, syringe.name, syringe.volume_ml, left_ml=left))
            reporter.say(f"{name}: {said[-1]}")
    return {name: left.left_ml for name, left in zip(asked, said, strict=True)}


def acknowledge_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig acknowledge`."""
    case, _, results = opened(arguments)
    with RunLock(results.rig, []) as lock:
        said = [str(reason) for reason in lock.latch.acknowledge(arguments.by, arguments.note)]
        said += register.acknowledge(results.rig, places(case), arguments.by, arguments.note)
    for reason in said:
        reporter.say(f"acknowledged: {reason}")
    if not said:
        reporter.say("the rig was not latched")
    return {"acknowledged": said}


def scan_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig scan`."""
    with reporter.progress("asking the ports"):
        found = scan(arguments.ports or None)
    for one in found:
        reporter.say(str(one))
    if not found:
        reporter.say("there is no serial port here")
    return {"found": [asdict(one) for one in found]}


def checkout_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin rig checkout`."""
    case, _, results = opened(arguments)
    pumps = equipment(case)
    if arguments.pump not in pumps or pumps[arguments.pump].port == SIMULATED:
        raise BadInput(
            f"the {arguments.pump} pump of this case is not a real one", "give its port in case.toml; `twin rig scan`"
        )
    if not sys.stdin.isatty():
        raise BadInput("a check-out asks before anything moves, and nobody is there to answer", "run it in a terminal")
    pump = pumps[arguments.pump]
    with RunLock(results.rig, [pump.place]) as lock, register.held(results.rig, [pump.place], lock.latch):
        lock.latch.check()
        volumes = Volumes.open(results.rig)
        if volumes.unsettled:
            raise BadInput(
                "a run has left its volumes unsettled, and a check-out would clear the counters that tell them",
                "run the rig once, or say what the syringes hold: `twin rig refill CASE`",
            )
        if volumes.left(arguments.pump) is not None:  # it moves, and nobody books what
            size = pump.syringe.volume_ml
            volumes.refill(arguments.pump, pump.syringe.name, size, by="checkout", left_ml=0.0, uncertain_ml=size)
        try:
            done = checkout(
                pump.port,
                pump.model.family,
                pump.address,
                pump.syringe,
                ask=_agreed,
                say=reporter.say,
                cassette=arguments.cassette,
                baud=pump.baud,
            )
        except NotStopped as error:
            lock.latch.set_by(error, "checkout")
            raise
        except (KeyboardInterrupt, RunStopped) as error:
            raise RunStopped(
                f"{getattr(error, 'message', 'Ctrl-C')}: the check-out was ended, and nothing moves",
                "begin anew, with another --cassette",
            ) from None
    for line in done.lines():
        reporter.say(line)
    return done.as_dict(), 0 if done.ok else 1


def _agreed(question: str) -> bool:
    """Whether the operator says yes; who has gone (Ctrl-D, a closed terminal) does not."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _program(case: Case, setpoint: Setpoint, recipe: Path | None, hold_s: float | None) -> Program | None:
    if recipe is None:
        return None
    if hold_s is not None:
        raise BadInput("a recipe says itself how long it holds", "leave --hold out, or the recipe")
    return load_recipe(recipe, case, setpoint)


def _hold(arguments: argparse.Namespace) -> float | None:
    return None if arguments.hold is None else parse(arguments.hold, "time")
