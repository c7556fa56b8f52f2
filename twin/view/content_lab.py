"""What the report says of the surrogate, the product, the setpoint and the rig: tables of text, and sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from twin.case import Case
from twin.crystal.parameters import LIGANDS as LIGAND_NAMES
from twin.errors import TwinError
from twin.estimate import Estimate
from twin.process import ProcessModel, Row, parameter_table
from twin.surrogate import Surrogate
from twin.units import to_celsius, to_ml_per_h
from twin.view.content_field import Table, estimate_cell, table
from twin.view.figures import sweep_lines
from twin.view.product_plots import OUTPUTS, Predictions
from twin.view.rigrun import RigRun
from twin.view.words import LIGANDS, duration, flow_text, number, quantity

#: How each status of a comparison reads, and whether it is good (ok), bad, or neither.
STATUSES = {
    "agrees": "ok", "holds": "ok", "fitted": "plain", "deviates": "bad", "fails": "bad", "unreconciled": "warn",
    "not computed": "plain",
}
_ON_EDGE = 1e-6


def surrogate_section(surrogate: Surrogate) -> dict[str, Any]:
    """The left-out errors, the hull, and the points that could not be used."""
    rows = []
    for target, loo in surrogate.loo.items():
        shown = quantity(target)
        rms = f"{number(100 * loo.rms)} %" if loo.relative else number(loo.rms)
        worst = max(abs(loo.errors.min()), abs(loo.errors.max()))
        largest = f"{number(100 * worst)} %" if loo.relative else number(float(worst))
        rows.append([shown.name, rms, largest, number(loo.inflation)])
    corners = [f"{to_ml_per_h(a):g} / {to_ml_per_h(p):g}" for a, p in surrogate.hull.vertices]
    return {
        "table": table(
            "Leave-one-out errors", ["quantity", "RMS error", "largest error", "factor by which the band was widened"], rows
        ),
        "points": len(surrogate.dataset.names),
        "hull": ", ".join(corners),
        "left_out": list(surrogate.dataset.left_out.items()),
        "hash": surrogate.fingerprint,
    }


def predictions_of(model: ProcessModel, case: Case) -> tuple[Predictions, list[list[str]]]:
    """The product at every point of the sweeps that the campaign covers, and why the others have none."""
    found: Predictions = {}
    refused = []
    for point in case.points:
        for ligand in LIGAND_NAMES:
            try:
                found[point.name, ligand] = model.predict(point, ligand)
            except TwinError as error:
                refused.append([point.name, LIGANDS[ligand], error.message])
    return found, refused


def product_tables(case: Case, predictions: Predictions) -> list[Table]:
    """The product at every point, a table for each ligand."""
    columns = ["point", *(quantity(output).name for output in OUTPUTS)]
    tables = []
    for ligand in LIGAND_NAMES:
        rows = [
            [point.name, *(estimate_cell(predictions[point.name, ligand][output], output) for output in OUTPUTS)]
            for point in case.points
            if (point.name, ligand) in predictions
        ]
        tables.append(table(f"Product at every point, {LIGANDS[ligand]}", columns, rows))
    return tables


def comparison_section(rows: Sequence[Row]) -> dict[str, Any]:
    """The twin beside the paper."""
    shown = [
        {
            "quantity": quantity(row.quantity).name, "ligand": LIGANDS.get(row.ligand, row.ligand),
            "condition": row.condition, "twin": _twin(row), "paper": _paper(row), "status": row.status,
            "kind": STATUSES.get(row.status, "plain"), "verdict": row.verdict, "source": row.source,
        }
        for row in rows
    ]
    counts = Counter(row.status for row in rows)
    words = [f"{counts[status]} {_COUNTED[status]}" for status in STATUSES if counts[status]]
    return {"rows": shown, "summary": ", ".join(words), "count": len(rows)}


_COUNTED = {
    "agrees": "agree within their bands", "holds": "are trends that hold", "fitted": "were used to fit the model",
    "deviates": "deviate", "fails": "are trends that fail", "unreconciled": "can't be reconciled with the paper's own flows",
    "not computed": "could not be computed",
}


def _twin(row: Row) -> dict[str, str]:
    if row.estimate is None:
        return {"value": re.sub(r" 1(?= from |;|$)", "", row.twin), "band": "", "label": ""}
    cell = estimate_cell(row.estimate, row.quantity)
    if "farthest off" in row.twin:
        cell["value"] += " where it is farthest off"
    return cell


def _paper(row: Row) -> str:
    shown = quantity(row.quantity)
    try:
        return f"{shown.factor * float(row.paper):g} {shown.unit}".strip()
    except ValueError:
        return row.paper


def confounded(case: Case) -> list[str]:
    """Where a sweep changes mixing and composition at once, in words."""
    texts = []
    for line in sweep_lines(case):
        if line.role != "antisolvent" or len(line.points) < 2:
            continue
        first, last = line.points[0], line.points[-1]
        texts.append(
            f"As the antisolvent flow rises from {flow_text(first.antisolvent_m3_s)} to"
            f" {flow_text(last.antisolvent_m3_s)}, the share of {case.liquids.precursor} falls from"
            f" {100 * first.precursor_fraction:.3g} to {100 * last.precursor_fraction:.3g} vol %: mixing and composition"
            " change together, and these data can't separate them."
        )
    return texts


def parameter_tables(model: ProcessModel) -> list[Table]:
    """Prior and posterior of each parameter, a table for each ligand."""
    tables = []
    for ligand in LIGAND_NAMES:
        rows = []
        for row in parameter_table(model.calibration, ligand):
            low, middle, high = (number(value) for value in row["prior"])
            posterior = {"value": number(row["median"]), "band": f"{number(row['low'])} … {number(row['high'])}",
                         "label": row["label"]}
            unit = "" if row["unit"] == "1" else row["unit"]
            rows.append([row["meaning"], unit, f"{middle} ({low} … {high})", posterior, row["source"]])
        columns = ["parameter", "unit", "prior, median (90 %)", "after calibration", "source of the prior"]
        tables.append(table(f"Parameters of the crystal model, {LIGANDS[ligand]}", columns, rows))
    return tables


def setpoint_section(data: dict[str, Any]) -> dict[str, Any]:
    """The proposal, with whether it is at the edge of what was computed."""
    rows = [
        [quantity(name).name, estimate_cell(Estimate.from_dict(one), name)] for name, one in data["predicted"].items()
    ]
    flows = (float(data["antisolvent_m3_s"]), float(data["precursor_m3_s"]))
    celsius = to_celsius(float(data["temperature_k"]))
    feasible = {
        "at the band": "every constraint holds at the pessimistic end of its band",
        "at the median": "the constraints hold for the medians only: no point meets them at the pessimistic end",
    }.get(str(data.get("feasible", "")), "the proposal does not say whether the constraints hold at the band")
    return {
        "antisolvent": flow_text(flows[0]), "precursor": flow_text(flows[1]),
        "temperature": f"{celsius:.3g} °C", "ligand": LIGANDS.get(data["ligand"], data["ligand"]),
        "objective": quantity(data["objective"]).name, "constraints": data["constraints"], "feasible": feasible,
        "edge": _on_edge(flows, data["hull"]),
        "table": table("Predicted at the setpoint", ["quantity", "value, band, label"], rows),
        "checksum": data.get("checksum", ""),
    }


def _on_edge(point: tuple[float, float], corners: Sequence[Sequence[float]]) -> bool:
    """Whether a point lies on the edge of a polygon, both axes scaled to the largest corner."""
    scale = [max(abs(corner[axis]) for corner in corners) or 1.0 for axis in (0, 1)]
    x, y = (value / unit for value, unit in zip(point, scale, strict=True))
    places = [(a / scale[0], b / scale[1]) for a, b in corners]
    for (ax, ay), (bx, by) in zip(places, [*places[1:], places[0]], strict=True):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        share = min(max(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0.0), 1.0) if length else 0.0
        if (x - ax - share * (bx - ax)) ** 2 + (y - ay - share * (by - ay)) ** 2 < _ON_EDGE**2:
            return True
    return False


def rig_section(run: RigRun) -> dict[str, Any]:
    """A run: how it ended, the ledger, the supply."""
    plan, end = run.plan, run.end
    rows = [
        [role, f"{number(one['commanded_ml'])} mL", f"{number(one['counted_ml'])} mL",
         f"{one['difference_percent']:+.2f} %".replace("-", "−"), f"± {one['uncertainty_percent']:.2f} %",
         "agrees" if one["agrees"] else "DISAGREES"]
        for role, one in run.balances.items()
    ]
    supply = [
        f"The {one['role']} syringe ({one['syringe']}, {one['filled_ml']:g} mL) lasts {duration(one['lasts_s'])} at"
        f" {one['rate_ml_h']:g} mL/h; this run took {number(one['needed_ml'])} mL."
        for one in plan.get("supply", [])
    ]
    shortest = min((one["lasts_s"] for one in plan.get("supply", [])), default=float("inf"))
    if shortest < 3600:
        supply.append(
            f"So this setpoint can be held for {duration(shortest)} at most. Steady operation needs two alternating pumps"
            " with check valves, or another kind of pump."
        )
    check = run.check
    return {
        "point": plan.get("point", ""), "simulated": run.simulated, "when": run.entries[0].get("utc", ""),
        "hold": duration(plan["hold_s"]) if "hold_s" in plan else "", "speed": run.entries[0].get("speed", 1),
        "result": _ended(run, end), "ledger": table(
            "Ledger: what the pumps were told, and what they counted",
            ["pump", "commanded", "counted", "difference", "resolved to", "verdict"], rows,
        ),
        "supply": supply, "notes": plan.get("notes", []), "journal": run.path.name, "checksum": plan.get("checksum", ""),
        "intact": "the chain of its lines is intact" if check.intact else str(check).partition(": ")[2],
        "whole": check.intact,
    }


def _ended(run: RigRun, end: dict[str, Any] | None) -> str:
    stopped = run.stopped
    both = "both pumps were verified stopped" if len(stopped) == 2 and all(stopped.values()) else (
        "NOT every pump was verified stopped"
    )
    if end is None:
        return f"The journal has no end: the run is under way, or it was cut off; so far, {both}."
    if end.get("status") == "completed":
        volumes = "the counted volumes agree with the commanded ones" if end.get("ok") else "the VOLUMES DISAGREE"
        return f"Completed; {both}, and {volumes}."
    return f"Failed: {end.get('reason', 'no reason given')}; {both}."
