"""The live page: what the stages have left so far, read anew every two seconds. It shows, and controls nothing."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import twin
from twin.case import Case, Results
from twin.errors import BadInput, TwinError
from twin.estimate import Estimate
from twin.files import read_json
from twin.provenance import now
from twin.units import to_ml_per_h
from twin.view.rigrun import RigRun
from twin.view.stages import PointState, point_states
from twin.view.words import LIGANDS, band_text, banded, moment, number, quantity, readable, value_text, without_folders

HOST = "127.0.0.1"
_LINES = 12
#: Most readings of a sensor in its line.
_TRACE = 150
#: A run writes to its journal several times a second; one that is silent for so long is no longer under way.
_SILENCE_S = 15.0
_PAGE = Path(__file__).with_name("dashboard.html")
#: What a file that is damaged, or is being replaced, can raise.
_UNREADABLE = (TwinError, OSError, KeyError, TypeError, ValueError, AttributeError, IndexError)


def serve(case: Case, level: str, results: Results, port: int, ready: Callable[[str], None]) -> None:
    """Serves the page on this machine until Ctrl-C, and returns then.

    `port` 0 takes a free one; `ready` is called with the address. Raises `BadInput` where the port can't be had.
    """
    with server(case, level, results, port) as running:
        try:
            ready(address(running))
            running.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return


def server(case: Case, level: str, results: Results, port: int) -> ThreadingHTTPServer:
    """The server, bound to its port; `serve_forever` starts it, `shutdown` from another thread ends it."""
    if not 0 <= port <= 65535:
        raise BadInput(f"{port} is not a port", "give --port from 1024 to 65535")
    case.level(level)
    try:
        return Server((HOST, port), partial(Handler, partial(state, case, level, results)))
    except OSError as error:
        reasons = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs more rights than this account has"}
        reason = reasons.get(error.errno or 0, f"can't be opened ({error.strerror})")
        raise BadInput(f"port {port} {reason}", "give another one with --port, or --port 0 for a free one") from error


def address(running: ThreadingHTTPServer) -> str:
    """The address of the page."""
    return f"http://{HOST}:{running.server_address[1]}/"


class Server(ThreadingHTTPServer):
    """Requests in threads that end with the program; a port that another program listens on is never shared."""

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere it would mean sharing


class Handler(BaseHTTPRequestHandler):
    """Answers GET for the page and its data, and nothing else."""

    server_version, sys_version = f"twin/{twin.__version__}", ""

    def __init__(self, read: Callable[[], dict[str, Any]], *arguments: Any, **options: Any) -> None:
        self._read = read
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        """Answers a request. One under another name than this machine's own comes from a foreign page: refused."""
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            nonce = secrets.token_urlsafe(16)
            page = _PAGE.read_text(encoding="utf-8").replace("{{ nonce }}", nonce)
            self._answer(page.encode(), "text/html; charset=utf-8", f"'nonce-{nonce}'")
        elif self.path == "/state.json":
            self._answer(json.dumps(self._read(), allow_nan=False).encode(), "application/json", "'none'")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, body: bytes, kind: str, inline: str) -> None:
        policy = f"default-src 'none'; connect-src 'self'; script-src {inline}; style-src {inline}; base-uri 'none'"
        self.send_response(HTTPStatus.OK)
        for name, value in (
            ("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", policy),
        ):
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the page was closed

    def log_message(self, *_: Any) -> None:
        """Requests are not logged."""


def state(case: Case, level: str, results: Results) -> dict[str, Any]:
    """Everything that the page shows, as JSON-like data. A part that can't be read now says so in `problem`."""
    parts: dict[str, Callable[[], Any]] = {
        "campaign": partial(_campaign, case, level, results),
        "solver": partial(_solver, results),
        "setpoint": partial(_setpoint, results),
        "rig": partial(_rig, results),
    }
    answer: dict[str, Any] = {"case": case.name, "title": case.title, "level": level, "now": moment(now())}
    for name, part in parts.items():
        try:
            answer[name] = part()
        except _UNREADABLE as error:
            words = error.message if isinstance(error, TwinError) else f"{type(error).__name__}: {error}"
            answer[name] = {"problem": without_folders(words, case, results)}
    return answer


def _campaign(case: Case, level: str, results: Results) -> dict[str, Any]:
    states = point_states(case, level, results)
    solved = [state for state in states if state.solved]
    newest = max(solved, key=lambda state: str(state.record["provenance"].get("created", "")), default=None)
    return {
        "points": [_point(state) | {"reason": _reason(state, case, results)} for state in states],
        "counts": Counter(state.state for state in states),
        "done": sum(state.solved or state.state == "failed" for state in states),
        "newest": None if newest is None else _point(newest) | {"made": moment(newest.record["provenance"]["created"])},
    }


def _point(one: PointState) -> dict[str, Any]:
    """A row of the table, in the units that people read."""
    row: dict[str, Any] = {
        "name": one.name, "state": one.state,
        "antisolvent": f"{to_ml_per_h(one.point.antisolvent_m3_s):g}",
        "precursor": f"{to_ml_per_h(one.point.precursor_m3_s):g}",
    }
    if one.solved:
        mixing = one.record["mixing"]
        tau, index = Estimate.from_dict(mixing["time"]), Estimate.from_dict(mixing["index_outlet"])
        row |= {
            "reynolds": number(one.record["groups"]["reynolds"]), "time": banded(tau, "mixing_time_s"),
            "index": banded(index, "mixing_index"), "label": tau.label,
            "seconds": number(one.record.get("seconds", {}).get("all", 0.0)),
        }
    return row


def _reason(one: PointState, case: Case, results: Results) -> str:
    """Why a point has no numbers; "" where it has."""
    return "" if one.solved else without_folders(str(one.record.get("reason", "")), case, results)


def _solver(results: Results) -> dict[str, Any] | None:
    """The solver's last words, with their age in s; None where it has said nothing yet."""
    log = results.folder / "logs" / "solver.log"
    if not log.exists():
        return None
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            text = " ".join(str(event[key]) for key in ("point", "text", "status", "message") if event.get(key))
            return {"text": text, "age_s": max(0, round(time.time() - log.stat().st_mtime))}
    return None


def _setpoint(results: Results) -> dict[str, Any] | None:
    if not results.setpoint.exists():
        return None
    data = read_json(results.setpoint)
    predicted = {name: Estimate.from_dict(one) for name, one in data["predicted"].items()}
    return {
        "antisolvent": f"{to_ml_per_h(data['antisolvent_m3_s']):g}",
        "precursor": f"{to_ml_per_h(data['precursor_m3_s']):g}",
        "ligand": LIGANDS.get(data["ligand"], data["ligand"]), "objective": quantity(data["objective"]).name,
        "constraints": [readable(text) for text in data["constraints"]],
        "feasible": data.get("feasible", ""), "checksum": data.get("checksum", ""),
        "made": moment(data.get("provenance", {}).get("created", "")),
        "predicted": [
            {"name": quantity(name).name, "value": value_text(one, name), "band": band_text(one, name)}
            | {"label": one.label}
            for name, one in predicted.items()
        ],
    }


def _rig(results: Results) -> dict[str, Any] | None:
    run = RigRun.newest(results)
    if run is None:
        return None
    rates, counted = run.rates, run.counted
    last_s = max([run.begin_s, *(time_s for time_s, _ in (*rates[-1:], *counted[-1:]))])
    elapsed, left = last_s - run.begin_s, run.left
    now_ml_h = rates[-1][1] if rates else {}
    total = max((float(step[2]) for step in run.plan.get("steps", [])), default=0.0)
    pumps = [
        {
            "role": one["role"], "rate": number(now_ml_h.get(one["role"], 0.0)), "setpoint": f"{one['rate_ml_h']:g}",
            "syringe": one["syringe"], "filled": f"{one['filled_ml']:g}",
            "left": number(left[one["role"]]), "share": min(1.0, max(0.0, left[one["role"]] / one["filled_ml"])),
            "stopped": run.stopped.get(one["role"]),
        }
        for one in run.plan.get("supply", [])
    ]
    return {
        "point": run.plan.get("point", ""), "simulated": run.simulated, "state": _run_state(run),
        "elapsed": f"{elapsed:.1f}", "total": f"{total:g}", "share": min(1.0, elapsed / total) if total else 0.0,
        "pumps": pumps, "sensors": _sensors(run), "lines": run.lines(_LINES), "journal": run.path.name,
    }


def _sensors(run: RigRun) -> list[dict[str, Any]]:
    """What each sensor says: its last reading, its limits, and the readings before as a line."""
    readings: dict[str, list[tuple[float, float, str]]] = {name: [] for name in (*run.limits, *run.sensor_problems)}
    for time_s, name, value, unit in run.readings:
        readings.setdefault(name, []).append((time_s, value, unit))
    return [_sensor(run, name, found[-_TRACE:]) for name, found in readings.items()]


def _sensor(run: RigRun, name: str, readings: list[tuple[float, float, str]]) -> dict[str, Any]:
    low, high = run.limits.get(name, (None, None))
    time_s, value, unit = readings[-1] if readings else (0.0, math.nan, "")
    seen = [(at, one) for at, one, _ in readings if not math.isnan(one)]
    if name in run.sensor_problems:
        state = "no answer"
    elif math.isnan(value):
        state = "sees nothing" if readings else "not read yet"
    elif high is not None and value > high:
        state = "above its limit"
    elif low is not None and value < low:
        state = "below its limit"
    else:
        state = "within its limits" if (low, high) != (None, None) else "no limits"
    bounds = [f"{way} {bound:g} {unit}".rstrip() for way, bound in (("from", low), ("to", high)) if bound is not None]
    return {
        "name": name, "value": "–" if math.isnan(value) else f"{value:.4g} {unit}".strip(), "state": state,
        "limits": " ".join(bounds).replace(f" {unit} to", " to") or "none", "low": low, "high": high,
        "problem": run.sensor_problems.get(name, ""),
        "at": f"{time_s - run.begin_s:.1f}" if readings else "", "trace": seen,
    }


def _run_state(run: RigRun) -> str:
    """How the run stands. The lock of the rig is not touched to find out: that could make a run fail to start."""
    if run.end is not None:
        return str(run.end.get("status", "ended"))
    return "running" if time.time() - run.path.stat().st_mtime < _SILENCE_S else "cut off, or stuck"
