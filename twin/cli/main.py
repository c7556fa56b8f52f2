"""`twin VERB CASE …`: exit code 0 done, 1 failed, 2 bad input, 130 interrupted."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import json
import os
import signal
import sys
from typing import Any, NoReturn

from twin import __version__
from twin.cli.console import Reporter
from twin.errors import BadInput, TwinError

#: The module of each verb. Only the one that is asked for is imported: some libraries take a second to load.
VERBS = {
    "doctor": "tools",
    "demo": "demo",
    "mesh": "field",
    "solve": "field",
    "sweep": "field",
    "stability": "stability",
    "tube": "tube",
    "pulse": "pulse",
    "status": "field",
    "fit": "lab",
    "predict": "lab",
    "crystals": "crystals",
    "calibrate": "lab",
    "setpoint": "lab",
    "rig": "rig",
    "view": "views",
    "report": "views",
    "dashboard": "views",
    "verify": "tools",
    "bench": "tools",
}


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are `BadInput`, like every other one of the user's."""

    def error(self, message: str) -> NoReturn:
        """Raises `BadInput`; the remedy is the verb's help."""
        raise BadInput(message, f"{self.prog} --help shows how")


def build_parser(asked: list[str]) -> Parser:
    """The command line: the verb that is asked for, or all of them."""
    parser = Parser(prog="twin", description="The digital twin of a Y-junction flow reactor.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"twin {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    chosen = [VERBS[word] for word in asked[:1] if word in VERBS]
    for group in chosen or dict.fromkeys(VERBS.values()):
        importlib.import_module(f"twin.cli.{group}").add_verbs(verbs)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    as_json = "--json" in argv
    try:
        arguments = build_parser(argv).parse_args(argv)
        reporter = Reporter(as_json)
        result: Any = arguments.run(arguments, reporter)
        code = 0
        if isinstance(result, tuple):
            result, code = result
        reporter.result(result)
        sys.stdout.flush()
    except TwinError as error:
        return _refuse(error, as_json)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted: what was finished is kept; the same command goes on from there\n")
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone: nothing more to say, and nothing to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the rest of the text fails at the exit
        return _refuse(TwinError("can't write the output: the disk is full", "free some space"), as_json=False)
    else:
        return code


def _refuse(error: TwinError, as_json: bool) -> int:
    sys.stderr.write(f"error: {error}\n")
    if as_json:
        data = {"error": error.message, "remedy": error.remedy, "exit_code": error.exit_code}
        with contextlib.suppress(OSError):
            sys.stdout.write(json.dumps(data) + "\n")
    return error.exit_code


def entry() -> NoReturn:
    """The program: an end by SIGTERM or a closed terminal is handled like Ctrl-C."""

    def interrupt(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    sys.exit(main())
