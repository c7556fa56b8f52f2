"""The verbs of the field half: mesh, solve, sweep, status."""

from __future__ import annotations

import argparse
from typing import Any

from twin.campaign import climb, make_mesh, point_state, submit_sweep, write_table
from twin.campaign.flow_unit import port_doubt
from twin.campaign.stability import verdict_on, warning_of
from twin.case import Case, FlowCase, Results, load_any
from twin.case.schema import SOLVENT
from twin.cli import flow
from twin.cli.common import add_high_reynolds, add_ranks, add_verb, need_field_half, opened, point_of, ranks_of
from twin.cli.console import Reporter
from twin.errors import BadInput, TwinError
from twin.estimate import Estimate
from twin.files import read_json
from twin.junction import BOUNDARIES, bore_m
from twin.mixing.indices import QUOTABLE
from twin.operating import OperatingPoint
from twin.units import to_ml_per_h, to_mm


def add_verbs(verbs: Any) -> None:
    """Adds the verbs of this file."""
    add_verb(verbs, "mesh", mesh, "build or reuse the mesh, print its quality", "twin mesh cases/liang2023")
    parser = add_verb(
        verbs,
        "solve",
        solve,
        "solve one operating point: flow, transport, mixing; of a flow case, its flow on all meshes",
        'twin solve cases/liang2023 --antisolvent "5000 mL/h" --precursor "60 mL/h"\n  twin solve cases/cylinder2d',
    )
    for role in ("antisolvent", "precursor"):
        parser.add_argument(f"--{role}", metavar="Q", help='flow with its unit, e.g. "5000 mL/h"; not for a flow case')
    add_ranks(parser)
    add_high_reynolds(parser)
    parser = add_verb(
        verbs,
        "sweep",
        sweep,
        "solve all points of the case's sweeps; resumable",
        "twin sweep cases/liang2023 --ranks 2",
    )
    add_ranks(parser)
    add_high_reynolds(parser)
    parser.add_argument("--launcher", choices=["local", "slurm"], default="local", help="where it runs")
    add_verb(verbs, "status", status, "the state of every point of the sweeps", "twin status cases/liang2023")


def mesh(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin mesh`."""
    need_field_half("mesh", "gmsh", "meshio")
    flow_case = load_any(arguments.case)
    if isinstance(flow_case, FlowCase):
        return flow.mesh(flow_case, arguments, reporter)
    case, level, results = opened(arguments)
    made = make_mesh(case, level, results, reporter.progress)
    quality = made.quality
    kind, unit = {3: ("tetrahedra", "bore³"), 2: ("triangles", "bore²")}[quality.dimension]
    reporter.table(
        f"mesh of {case.name}, level {level} ({'reused' if made.reused else 'built'}, {made.hash})",
        ["figure", "value"],
        [
            [f"cells (second-order {kind})", quality.cells],
            ["nodes", quality.nodes],
            ["validity: least ratio of Jacobians in an element", f"{quality.min_jacobian_ratio:.3f}"],
            ["scaled Jacobian, min / mean", f"{quality.min_scaled_jacobian:.3f} / {quality.mean_scaled_jacobian:.3f}"],
            [f"volume, {unit}", quality.volume],
            ["exact sections, largest area error", f"{max(map(abs, quality.section_errors.values()), default=0):.1e}"],
        ],
    )
    port = port_doubt(made, BOUNDARIES[:3]) if case.junction.step else ""
    for warning in filter(None, (quality.warning, port)):
        reporter.say(f"warning: {warning}")
    reporter.say(f"{made.msh}\n{made.vtu}")
    return {"hash": made.hash, "reused": made.reused, "msh": made.msh, "vtu": made.vtu, **quality.as_dict()}


def solve(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin solve`."""
    need_field_half("solve")
    flow_case = load_any(arguments.case)
    if isinstance(flow_case, FlowCase):
        if arguments.antisolvent or arguments.precursor:
            raise BadInput("a flow case has its rates in its file", "leave out --antisolvent and --precursor")
        return flow.solve(flow_case, arguments, reporter)
    if not (arguments.antisolvent and arguments.precursor):
        raise BadInput(
            "an operating point needs --antisolvent and --precursor",
            'e.g. --antisolvent "5000 mL/h" --precursor "60 mL/h"',
        )
    case, level, results = opened(arguments)
    point, ranks = point_of(arguments, case), ranks_of(arguments, case)
    run_campaign(case, level, results, [point], ranks, reporter, arguments.allow_high_reynolds)
    record = read_json(results.point(point.name) / "record.json")
    if record["status"] == "failed":
        raise TwinError(f"{point.name} failed: {record['reason']}", "use a finer level or lower flows")
    show_points(f"{case.name}, level {level}", [record], reporter)
    _show_left(case, results, [record], reporter)
    show_mixing(case, record["mixing"], reporter)
    return record


def sweep(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin sweep`."""
    need_field_half("sweep")
    flow_case = load_any(arguments.case)
    if isinstance(flow_case, FlowCase):
        return flow.sweep(flow_case, arguments, reporter)
    case, level, results = opened(arguments)
    ranks = ranks_of(arguments, case)
    if arguments.launcher == "slurm":
        with reporter.progress("waiting for the Slurm job") as bar:
            submit_sweep(case, level, results, ranks, arguments.output, arguments.allow_high_reynolds)
            bar.advance("the job has ended")
        records = [read_json(results.point(point.name) / "record.json") for point in case.points]
    else:
        records = run_campaign(case, level, results, case.points, ranks, reporter, arguments.allow_high_reynolds)
    show_points(f"{case.name}, level {level}", records, reporter)
    _show_left(case, results, records, reporter)
    reporter.say(f"{results.campaign}")
    failed = [record["name"] for record in records if record["status"] == "failed"]
    return {"campaign": results.campaign, "points": records, "failed": failed}, 1 if failed else 0


def run_campaign(
    case: Case,
    level: str,
    results: Results,
    points: list[OperatingPoint],
    ranks: int,
    reporter: Reporter,
    allow_high_reynolds: bool = False,
) -> list[dict[str, Any]]:
    """Meshes, solves the points that are open, writes the table; returns the records of the points."""
    made = climb(case, level, results, points, ranks, reporter.progress, allow_high_reynolds)
    records = [read_json(results.point(point.name) / "record.json") for point in points]
    if any(record["status"] != "failed" for record in records):
        write_table(case, level, results, made.hash)
    return records


def show_points(title: str, records: list[dict[str, Any]], reporter: Reporter) -> None:
    """A table of records; below it, why points have no numbers."""
    rows = []
    for record in records:
        flows = " / ".join(f"{to_ml_per_h(record[key]):g}" for key in ("antisolvent_m3_s", "precursor_m3_s"))
        head = [record["name"], flows, f"{record['groups']['reynolds']:.0f}", record["status"]]
        if record["status"] == "failed":
            rows.append([*head, "", "", "", ""])
            continue
        mixing = record["mixing"]
        tau, index = Estimate.from_dict(mixing["time"]), Estimate.from_dict(mixing["index_outlet"])
        planes = mixing["grid"]["planes"]
        worst = max(abs(plane["flux_error"]) for plane in planes)
        rows.append(
            [
                *head,
                f"{record['flow']['pressure_drop_pa']['antisolvent']:.1f}",
                f"{_ms(tau.value)} ({_ms(tau.low)}…{_ms(tau.high)})",
                f"{index.value:.2f} ({index.low:.2f}…{index.high:.2f})",
                f"{planes[-1]['numerical_diffusion']:.2g}, {worst:.0e}",
            ]
        )
    columns = [
        "point",
        "Q_a / Q_p\nmL/h",
        "Re",
        "status",
        "Δp Pa",
        "τ_mix ms\n(band)",
        "M at outlet\n(band)",
        "grid:\nD_num/D_m,\nflux error",
    ]
    reporter.table(title, columns, rows)
    for record in records:
        if record["status"] == "failed":
            reporter.say(f"{record['name']} failed: {record['reason']}")


def _show_left(case: Case, results: Results, records: list[dict[str, Any]], reporter: Reporter) -> None:
    """Which of these steady flows a real one leaves."""
    for record in records:
        if left := warning_of(case, results, record):
            reporter.say(left)


def show_mixing(case: Case, mixing: dict[str, Any], reporter: Reporter) -> None:
    """The mixing of one point: down the outlet, and in numbers of its own."""
    bore = bore_m(case)
    grid = {round(plane["bores"], 3): plane for plane in mixing["grid"]["planes"]}
    layers = {round(one["bores"], 3): one for one in mixing["species"][SOLVENT]["striations"]}
    rows, before = [], 0.0
    for plane in mixing["planes"]:
        position = plane["bores"]
        layer, bound = layers.get(round((before + position) / 2, 3)), grid.get(round(position, 3))
        rows.append(
            [
                f"{position:g}",
                f"{plane['index']:.3f} ± {plane['index_error']:.3f}",
                f"{plane['segregation']:.3f}",
                f"{1e6 * bore * layer['thickness']:.1f} ± {1e6 * bore * layer['error']:.1f}" if layer else "",
                f"{bound['index']:.3f}" if bound else "",
                f"{bound['numerical_diffusion']:.2g}" if bound else "",
                ("yes" if bound["quotable"] else "no") if bound else "",
            ]
        )
        before = position
    reporter.table(
        f"mixing down the outlet by {mixing['walkers']} random walkers, ± standard error",
        ["bores", "M", "I_s", "striations µm", "grid: M ≤", "D_num/D_m", "quotable"],
        rows,
    )
    reporter.say(
        f"M has the flow mesh's error besides, ± {mixing['mesh_error']:.2g}. The grid's M has its own diffusion in"
        f" it:\nan upper bound, quotable where D_num/D_m is {QUOTABLE:g} or less, there and from the inlets to there."
    )
    reporter.table("species, residence, exposure", ["figure", "value"], _figures(mixing, bore))


def _figures(mixing: dict[str, Any], bore: float) -> list[list[str]]:
    """Mixing of the species, residence times, and when the precursor meets the antisolvent; `bore` in m."""
    rows = []
    for name, one in mixing["species"].items():
        last, text = one["planes"][-1], "too long to measure"
        if (length := one.get("length_bores")) is not None:
            error = length * one["log_error"]
            text = f"{length:.3g} ± {error:.2g} bores, {to_mm(length * bore):.3g} ± {to_mm(error * bore):.2g} mm"
        index = f"{last['index']:.3f} ± {last['index_error']:.3f}"
        rows += [[f"{name}, Pe {one['peclet']:.2g}: M at outlet", index], [f"{name}: mixing length", text]]
    for role, times in mixing["residence"].items():
        mean, *ends = (_ms(time) for time in (times["mean"], times["quantiles"][0], times["quantiles"][-1]))
        text = f"{mean} ± {1e3 * times['mean_error']:.2g} ms; {' … '.join(ends)} ms"
        rows.append([f"residence of the {role}: mean; 5 to 95 %", text])
    for one in mixing["exposure"]["times"]:
        median = one["quantiles"][len(one["quantiles"]) // 2]
        text = "half do not get there" if median is None else f"{_ms(median)} ms"
        share = f"{100 * one['antisolvent']:g} %"
        name = f"precursor until it meets {share} antisolvent: median; reached by"
        rows.append([name, f"{text}; {100 * one['reached']:.0f} %"])
    return rows


def _ms(time_s: float) -> str:
    """A time in ms, three digits or all before the point."""
    return f"{1e3 * time_s:.3g}" if time_s < 0.9995 else f"{1e3 * time_s:.0f}"


def status(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin status`."""
    flow_case = load_any(arguments.case)
    if isinstance(flow_case, FlowCase):
        return flow.status(flow_case, arguments, reporter)
    case, level, results = opened(arguments)
    rows = []
    for point in case.points:
        state = point_state(case, level, results, point, results.mesh_hash)
        path = results.point(point.name) / "record.json"
        record = read_json(path) if path.exists() else {}
        rows.append(
            {
                "point": point.name,
                "state": state,
                "verdict": verdict_on(case, results, record) if state != "outdated" else "",
                "seconds": record.get("seconds", {}).get("all"),
                "reason": record.get("reason", ""),
            }
        )
    seconds = ["" if row["seconds"] is None else f"{row['seconds']:.0f}" for row in rows]
    reporter.table(
        f"{case.name}, level {level}",
        ["point", "state", "verdict", "seconds", "reason"],
        [list({**row, "seconds": text}.values()) for row, text in zip(rows, seconds, strict=True)],
    )
    return {"level": level, "points": rows}
