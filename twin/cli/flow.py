"""What the verbs of the field half do with a flow case."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from twin.campaign import estimate_error, flow_mesh, flow_state, run_flow, show_event
from twin.campaign.flow_case import MESH_ALONE, quantities, turns, unit_m
from twin.campaign.flow_profiles import profile_doubt
from twin.campaign.flow_unit import port_doubt, unit_doubt
from twin.campaign.stability import verdict_on, warning_of
from twin.case import FlowCase, Results
from twin.cli.common import ranks_of
from twin.cli.console import Reporter
from twin.errors import BadInput, TwinError
from twin.files import folder, read_json
from twin.junction import MOST_REYNOLDS

if TYPE_CHECKING:
    from twin.meshing import MeshFolder

Record = dict[str, Any]

STEP_NOT_COVERED = (
    "the bands are of the mesh alone, at these time steps: run once with half the step, on one mesh, and add 4/3 of "
    "the change to them"
)
SHOWN = 3  # meshes in the table of errors: the finest, which the bands rest on
NO_LIMIT = (
    "growing with every finer mesh, at an edge or where the speed of a boundary jumps, so without an error"
)


def mesh(case: FlowCase, arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin mesh`: all meshes of the case, or that of `--level`."""
    rows, faces, answer = [], [], {}
    for level, results in _levels(case, arguments):
        made = make_mesh(case, level, results, reporter)
        quality = made.quality
        unit, dim = unit_m(case, level), quality.dimension
        box = [[unit * low, unit * high] for low, high in made.extent]
        answer[level] = {"hash": made.hash, "reused": made.reused, "msh": made.msh, **quality.as_dict()}
        answer[level]["extent_m"] = box
        extent = ", ".join(f"{low:.4g} … {high:.4g}" for low, high in box)
        rows.append([level, quality.cells, quality.nodes, quality.min_scaled_jacobian, extent])
        for name, area in quality.areas.items():
            faces.append([level, name, f"{area * unit ** (dim - 1):.4g} {'m^2' if dim == 3 else 'm'}"])
    reporter.table(
        f"meshes of {case.name}", ["level", "cells", "nodes", "scaled Jacobian ≥", "extent m, along x, y[, z]"], rows
    )
    reporter.table("boundaries", ["level", "boundary", "area, in 2-D length"], faces)
    return {"levels": answer}


def solve(case: FlowCase, arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin solve`: the flow on all meshes, or on that of `--level`, and what the meshes say about the error."""
    answers, code = _run(case, arguments, [1.0], reporter)
    return answers["flow"], code


def sweep(case: FlowCase, arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin sweep`: the same for each factor on the rates."""
    if case.sweep is None:
        raise BadInput(f"{case.name} has no table [sweep]", "give it factors on all rates, e.g. scale = [0.5, 1, 2]")
    if arguments.launcher != "local":
        raise BadInput("a flow case has no launcher but local", "call twin sweep inside a job of your own")
    answers, code = _run(case, arguments, case.scales, reporter)
    _show_sweep(case, answers, reporter)
    return {"flows": answers}, code


def status(case: FlowCase, arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin status`: the state of every flow on every mesh."""
    rows = []
    for level, results in _levels(case, arguments):
        for scale in sorted({1.0, *case.scales}):
            path = results.point(case.point_name(scale)) / "record.json"
            record = read_json(path) if path.exists() else {}
            state = flow_state(case, level, results, scale, results.mesh_hash)
            rows.append(
                {
                    "level": level,
                    "flow": case.point_name(scale),
                    "state": state,
                    "verdict": verdict_on(case, results, record) if state != "outdated" else "",
                    "seconds": record.get("seconds"),
                    "reason": record.get("reason", ""),
                }
            )
    reporter.table(
        case.name,
        ["level", "flow", "state", "verdict", "seconds", "reason"],
        [["" if value is None else value for value in row.values()] for row in rows],
    )
    return {"flows": rows}


def finest(case: FlowCase, arguments: argparse.Namespace) -> list[tuple[Results, Record]]:
    """The results and the record of each flow on the finest mesh where it is solved as the case is now."""
    found = []
    for scale in sorted({1.0, *case.scales}):
        solved = []
        for level, results in _levels(case, arguments):
            if flow_state(case, level, results, scale, results.mesh_hash) in ("steady", "marched", "unsteady"):
                solved.append((results, read_json(results.point(case.point_name(scale)) / "record.json")))
        found += sorted(solved, key=lambda pair: pair[1]["mesh"]["size_m"])[:1]
    return found


def _levels(case: FlowCase, arguments: argparse.Namespace) -> list[tuple[str, Results]]:
    chosen = [arguments.level] if arguments.level else case.level_names
    return [(level, Results.of(case, level, arguments.output)) for level in chosen]


def make_mesh(case: FlowCase, level: str, results: Results, reporter: Reporter) -> MeshFolder:
    """The mesh of a level, made or reused, with what to know about it."""
    with reporter.progress(f"mesh {level}") as bar:
        made = flow_mesh(case, level, results.mesh)
        bar.advance(f"{made.quality.cells} cells, {'reused' if made.reused else 'built'}")
    ports = [*case.boundaries.inlets, *case.boundaries.outlets]
    unit = unit_doubt(case, made, unit_m(case, level)) if case.junction.mesh else ""
    port = port_doubt(made, ports) if case.junction.step else ""
    for warning in filter(None, (made.quality.warning, unit, port, profile_doubt(case, made))):
        reporter.log(f"warning: mesh {level}: {warning}")
    return made


def _run(
    case: FlowCase, arguments: argparse.Namespace, scales: list[float], reporter: Reporter
) -> tuple[dict[str, Record], int]:
    """Solves every flow on every mesh; returns the answer for each flow, and the exit code."""
    ranks, levels = ranks_of(arguments, case), _levels(case, arguments)
    meshes = []
    for level, results in levels:
        folder(results.folder)
        meshes.append(make_mesh(case, level, results, reporter))
    solved: dict[str, list[Record]] = {case.point_name(scale): [] for scale in scales}
    for (level, results), made in zip(levels, meshes, strict=True):
        with reporter.progress(f"flow on {level}, {ranks} rank{'s' if ranks > 1 else ''}", len(scales)) as bar:
            records = run_flow(
                case,
                level,
                results,
                made,
                scales,
                ranks,
                lambda event, bar=bar: show_event(event, bar),  # type: ignore[misc]
                arguments.allow_high_reynolds,
            )
        for record in records:
            solved[record["name"]].append(record)
    everywhere = [(level, Results.of(case, level, arguments.output)) for level in case.level_names]
    everywhere += [pair for pair in levels if pair[0] not in case.level_names]
    answers, failed = {}, []
    for scale, (name, records) in zip(scales, solved.items(), strict=True):
        failed += [record for record in records if record["status"] == "failed"]
        good = [record for record in records if record["status"] != "failed"]
        if not good:
            continue
        finest = min(good, key=lambda record: record["mesh"]["size_m"])
        refinement = estimate_error(case, everywhere, scale)
        _show(case, finest, refinement, reporter)
        _, results = next(pair for pair in levels if pair[0] == finest["level"])
        if left := warning_of(case, results, finest):
            reporter.say(left)
        reporter.say(f"{results.point(name) / 'record.json'}")
        answers[name] = {
            **finest,
            "levels": {
                record["level"]: {
                    "status": record["status"],
                    "reason": record["reason"],
                    "cells": record["mesh"]["cells"],
                }
                for record in records
            },
            "refinement": refinement,
        }
    for record in failed:
        reporter.log(failure(record))
    if not answers:
        raise TwinError(
            f"{failed[0]['name']} on {failed[0]['level']} failed: {failure(failed[0])}", failed[0]["remedy"]
        )
    return answers, 1 if failed else 0


def failure(record: Record) -> str:
    """What a failed record has to say: the reason, and the end of the residual history."""
    tail = [line for line in record["history"] if "residual" in line or "t = " in line][-3:]
    return record["reason"] + (f"\n  last: {'; '.join(tail)}" if tail else "")


def _show(case: FlowCase, record: Record, refinement: Record, reporter: Reporter) -> None:
    reference, grid, balance = record["reference"], record["mesh"], record["balance"]
    reporter.table(
        f"{case.name}: {record['name']} on {record['level']}, {record['status']}",
        ["figure", "value"],
        [
            ["Reynolds number", record["reynolds"]],
            ["reference length m, velocity m/s", f"{reference['length_m']:.6g}, {reference['velocity_m_s']:.6g}"],
            *([f"Re of the outlet {name}", value] for name, value in record["outlet_reynolds"].items()),
            ["cells, unknowns", f"{grid['cells']}, {record['unknowns']}"],
            *(
                [["residual, iterations", f"{record['residual']:.1e}, {record['iterations']}"]]
                if "residual" in record
                else []
            ),
            *(
                [["pressure level", "zero mean over the domain"]]
                if case.boundaries.closed
                else [[f"flow in{_at(record)}, {record['units']['flow']}", balance["inflow"]]]
            ),
            [f"net flow out{_at(record)} / {balance['over']}", f"{balance['relative']:.1e}"],
        ],
    )
    for warning in _warnings(record):
        reporter.say(f"warning: {warning}")
    bands = refinement["quantities"]
    units, at = record["units"], _at(record)
    reporter.table(
        f"boundaries{at}",
        [
            "boundary",
            "role",
            f"area {units['area']}",
            f"flow out {units['flow']}",
            "pressure Pa",
            "drop to the outlets' mean Pa",
            "±",
        ],
        [
            [
                name,
                one["role"],
                one["area"],
                one["flow"],
                one.get("pressure_pa", ""),
                one.get("pressure_drop_pa", ""),
                _band(bands, f"pressure drop {name}"),
            ]
            for name, one in record["boundaries"].items()
        ],
    )
    rows = []
    for name, one in record["forces"].items():
        for axis, value, coefficient in zip("xyz", one["force"], one["coefficient"] or [""] * 3, strict=False):
            rows.append([name, axis, value, _band(bands, f"force {name} {axis}"), _digits(coefficient)])
    if rows:
        reporter.table(f"forces on walls{at}", ["wall", "axis", units["force"], "±", "coefficient"], rows)
    rows = [
        [name, one["torque"], _band(bands, f"torque {name}")]
        for name, one in record["forces"].items()
        if "torque" in one
    ]
    if rows:
        columns = ["wall", units["force"].replace("N", "N m"), "±"]
        reporter.table(f"torques on walls that turn, about their axes{at}", columns, rows)
    _show_shear(record, bands, reporter)
    _show_lines(record, bands, reporter)
    if record["probes"]:
        rows = [
            [
                name,
                ", ".join(f"{value:.4g}" for value in one["velocity_m_s"]),
                _digits(one["pressure_pa"]),
                _band(bands, f"pressure {name}"),
            ]
            for name, one in record["probes"].items()
        ]
        reporter.table(f"probes{at}", ["probe", "velocity m/s", "pressure Pa", "±"], rows)
    if record["pressure_differences_pa"]:
        rows = [
            [name, _digits(value), _band(bands, f"pressure difference {name}")]
            for name, value in record["pressure_differences_pa"].items()
        ]
        reporter.table(f"pressure differences{at}", ["between", "Pa", "±"], rows)
    _show_series(record, reporter)
    _show_refinement(record["name"] + _at_and_series(record), refinement, reporter)


def _at(record: Record) -> str:
    """The moment that the numbers of an unsteady run are of, but for its series."""
    return f" at {record['time']['end_s']:g} s" if "time" in record else ""


def _at_and_series(record: Record) -> str:
    """The same in a title of a table that tells of the series as well."""
    return f"{_at(record)} and of its series" if "time" in record else ""


def _show_shear(record: Record, bands: Record, reporter: Reporter) -> None:
    rows, places = [], []
    for name, one in record["shear"].items():
        sizes = (f"{kind} shear {name}" for kind in ("largest", "mean"))
        largest, mean = (_band(bands, size) for size in sizes)
        rows.append([name, _digits(one["largest_pa"]), largest, _digits(one["mean_pa"]), mean])
        for label, turn in turns(one):
            at = turn["at_m"]
            error = ", ".join(_band(bands, f"{label} {name} {axis}") for axis, _ in zip("xyz", at, strict=False))
            places.append([name, label, ", ".join(f"{value:.5g}" for value in at), error.strip(", ")])
    if rows:
        reporter.table(f"shear on walls{_at(record)}", ["wall", "largest Pa", "±", "mean Pa", "±"], rows)
    if places:
        reporter.table(f"where the shear changes its direction{_at(record)}", ["wall", "what", "at m", "± m"], places)


def _show_lines(record: Record, bands: Record, reporter: Reporter) -> None:
    rows = [
        [
            name,
            label,
            _digits(turn["from_start_m"]),
            _band(bands, f"{label} {name}"),
            ", ".join(f"{value:.5g}" for value in turn["at_m"]),
        ]
        for name, one in record["lines"].items()
        for label, turn in turns(one)
    ]
    if rows:
        title = f"where the velocity along a line changes its direction{_at(record)}"
        reporter.table(title, ["line", "what", "m from its start", "± m", "at m"], rows)


def _warnings(record: Record) -> list[str]:
    """What to know before these numbers are believed."""
    found = []
    if record["status"] == "marched":
        found.append("Newton did not get here from below: the steady flow may be unstable, and the real one not steady")
    fastest = max([record["reynolds"], *record["outlet_reynolds"].values()])
    if fastest > MOST_REYNOLDS:
        found.append(f"Re {fastest:.6g} is solved as laminar flow")
    return found


def _show_series(record: Record, reporter: Reporter) -> None:
    if "time" not in record:
        return
    rows = [
        [
            name,
            one["mean"],
            f"{one['from_s']:.4g} to {one['to_s']:.4g}",
            one["lowest"],
            _moment(one, "lowest_s"),
            one["highest"],
            _moment(one, "highest_s"),
            one["note"] or one["frequency_hz"],
        ]
        for name, one in record["time"]["statistics"].items()
    ]
    title = f"from {record['time']['from_s']:g} to {record['time']['end_s']:g} s"
    reporter.table(title, ["series", "mean", "over s", "lowest", "at s", "highest", "at s", "frequency Hz"], rows)


def _moment(statistics: Record, name: str) -> str:
    """When an extreme was: nothing of what is constant, and of a record of before it was told."""
    moment = statistics.get(name)
    return "" if moment is None else f"{moment:.6g}"


def _show_sweep(case: FlowCase, answers: dict[str, Record], reporter: Reporter) -> None:
    """Every number along the factors, each with the band of its own factor."""
    rows: dict[str, list[list[Any]]] = {}
    for record in answers.values():
        bands = record["refinement"]["quantities"]
        for name, (value, unit, *_) in quantities(record).items():
            row = [f"{name} {unit}", f"{record['scale']:g}", record["level"], _digits(value), _band(bands, name)]
            rows.setdefault(name, []).append(row)
    columns = ["quantity", "factor", "mesh", "value", "± error"]
    title = f"sweep of {case.name}{_at_and_series(next(iter(answers.values())))}"
    reporter.table(title, columns, [row for group in rows.values() for row in group])


def _show_refinement(flow: str, refinement: Record, reporter: Reporter) -> None:
    if refinement["note"]:
        reporter.say(refinement["note"])
        return
    rows = [
        [
            f"{name} {one['unit']}",
            *(_digits(value) for value in one["values"][-SHOWN:]),
            "" if one["order"] is None else f"{one['order']:.2f}",
            _digits(one["extrapolated"]),
            f"{one['error']:.2g}",
            "" if one["relative"] is None else f"{one['relative']:.2%}",
            one["note"],
        ]
        for name, one in refinement["quantities"].items()
        if one["relative"] is not None or one["note"] != "same"  # what is zero on all meshes needs no row
    ]
    columns = ["quantity", *refinement["levels"][-SHOWN:], "order", "extrapolated", "± error", "GCI", "note"]
    reporter.table(f"discretization error of {flow} (Celik et al. 2008)", columns, rows)
    if refinement["no_limit"]:
        reporter.say(f"{NO_LIMIT}: {', '.join(refinement['no_limit'])}")
    if refinement["covers"] == MESH_ALONE:
        reporter.say(STEP_NOT_COVERED)


def _band(bands: Record, name: str) -> str:
    return f"{bands[name]['error']:.2g}" if name in bands else ""


def _digits(value: float | str | None) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value or "")
