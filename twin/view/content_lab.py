"""What the report says of the surrogate, the product, the setpoint and the rig: tables of text, and sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from twin.case import Case
from twin.crystal.parameters import LIGANDS as LIGAND_NAMES
from twin.errors import BadInput, TwinError
from twin.estimate import Estimate
from twin.files import checksum
from twin.process import ProcessModel, Row, parameter_table
from twin.rig.planning.limits import equipment
from twin.surrogate import Surrogate
from twin.units import to_celsius, to_ml_per_h
from twin.view.content_field import Table, estimate_cell, table
from twin.view.figures import sweep_lines
from twin.view.product_plots import OUTPUTS, Predictions
from twin.view.rigrun import RigRun
from twin.view.words import LIGANDS, duration, flow_text, moment, number, quantity, readable, unit_text, with_unit

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
        worst = max(abs(float(error)) for error in loo.errors)
        largest = f"{number(100 * worst)} %" if loo.relative else number(worst)
        rows.append([shown.name, rms, largest, number(loo.inflation)])
    corners = [f"{to_ml_per_h(a):g} / {to_ml_per_h(p):g}" for a, p in surrogate.hull.vertices]
    return {
        "table": table(
            "Leave-one-out errors",
            ["quantity", "RMS error", "largest error", "factor by which the band was widened"], rows,
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
            "kind": STATUSES.get(row.status, "plain"), "verdict": _PERCENT.sub(_percent, row.verdict),
            "source": row.source,
        }
        for row in rows
    ]
    counts = Counter(str(row.status) for row in rows)
    words = [f"{counts[status]} {_COUNTED[status]}" for status in STATUSES if counts[status]]
    return {"rows": shown, "summary": ", ".join(words), "count": len(rows)}


_COUNTED = {
    "agrees": "within the band", "holds": "in trend", "fitted": "fitted, so made to agree", "deviates": "off the band",
    "fails": "against the trend", "unreconciled": "not reconcilable with the paper's own flows",
    "not computed": "not computed",
}


def _twin(row: Row) -> dict[str, str]:
    if row.estimate is None:
        return {"value": _CHANGE.sub(lambda found: _change(found, row.quantity), row.twin), "band": "", "label": ""}
    cell = estimate_cell(row.estimate, row.quantity)
    if "farthest off" in row.twin:
        cell["value"] += " where it is farthest off"
    return cell


#: A change along a sweep in the text of a comparison, and a percentage in its verdict.
_CHANGE = re.compile(r"(-?[\d.e+-]+) → (-?[\d.e+-]+) (\S+)(?= from )")
_PERCENT = re.compile(r"([+-])(\d+\.\d+)%")


def _change(found: re.Match[str], output: str) -> str:
    """A change in the unit that people read."""
    shown = quantity(output)
    try:
        ends = [number(shown.factor * float(found[end])) for end in (1, 2)]
    except ValueError:
        return found[0]
    return with_unit(" → ".join(ends), shown.unit or unit_text(found[3]))


def _percent(found: re.Match[str]) -> str:
    sign = "" if float(found[2]) == 0 else found[1].replace("-", "−")
    return f"{sign}{found[2]} %"


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
            f" {100 * first.precursor_fraction:.3g} to {100 * last.precursor_fraction:.3g} vol %: mixing and"
            " composition change together, and these data can't separate them."
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
            prior = f"{middle} ({low} … {high})"
            rows.append([row["meaning"], unit_text(row["unit"]), prior, posterior, row["source"]])
        columns = ["parameter", "unit", "prior, median (90 %)", "after calibration", "source of the prior"]
        tables.append(table(f"Parameters of the crystal model, {LIGANDS[ligand]}", columns, rows))
    return tables


def setpoint_section(case: Case, data: dict[str, Any], surrogate: Surrogate | None) -> dict[str, Any]:
    """The proposal, whether it is at the edge of what was computed, and how long the rig can hold it."""
    rows = []
    for name, one in data["predicted"].items():
        cell = estimate_cell(Estimate.from_dict(one), name)
        rows.append([quantity(name).name, cell["value"], cell["band"], cell | {"value": "", "band": ""}])
    whole = data.get("checksum") == checksum(data)
    problems = [] if whole else ["The file was changed after it was written: its checksum does not fit."]
    if surrogate is not None and data.get("provenance", {}).get("surrogate") != surrogate.fingerprint:
        problems.append("It was proposed with another surrogate than the one above: propose again.")
    flows = (float(data["antisolvent_m3_s"]), float(data["precursor_m3_s"]))
    celsius = to_celsius(float(data["temperature_k"]))
    feasible = {
        "at the band": "every constraint holds at the pessimistic end of its band",
        "at the median": "the constraints hold for the medians only: no point meets them at the pessimistic end",
    }.get(str(data.get("feasible", "")), "the proposal does not say whether the constraints hold at the band")
    return {
        "antisolvent": flow_text(flows[0]), "precursor": flow_text(flows[1]),
        "temperature": f"{celsius:.3g} °C", "ligand": LIGANDS.get(data["ligand"], data["ligand"]),
        "objective": quantity(data["objective"]).name,
        "constraints": [readable(text) for text in data["constraints"]], "feasible": feasible,
        "edge": _on_edge(flows, data["hull"]),
        "table": table("Predicted at the setpoint", ["quantity", "value", "band", "label"], rows),
        "checksum": data.get("checksum", ""), "problems": problems, "supply": _supply(case, flows),
    }


def _supply(case: Case, flows: tuple[float, float]) -> list[str]:
    """How long full syringes of the case's rig last at flows in m³/s."""
    lasting = {}
    try:
        pumps = equipment(case)
    except BadInput as error:
        return [f"The rig of the case can't run it: {error.message}."]
    for (role, pump), flow in zip(pumps.items(), flows, strict=True):
        lasting[role] = (pump.syringe, 3600 * pump.syringe.volume_ml / to_ml_per_h(flow))
    texts = [
        f"a full {role} syringe ({syringe.name}, {syringe.volume_ml:g} mL) lasts {duration(seconds)}"
        for role, (syringe, seconds) in lasting.items()
    ]
    return [f"On this rig, {' and '.join(texts)}.", *_too_short(min(seconds for _, seconds in lasting.values()))]


def _too_short(seconds: float) -> list[str]:
    """What steady operation would take, where syringes last less than an hour."""
    if seconds >= 3600:
        return []
    return [
        f"So it can hold this setpoint for {duration(seconds)} at most: steady operation needs two alternating pumps"
        " with check valves, or another kind of pump."
    ]


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
        f" {one['rate_ml_h']:g} mL/h; the plan was to take {number(one['needed_ml'])} mL."
        for one in plan.get("supply", [])
    ]
    check = run.check
    return {
        "point": plan.get("point", ""), "simulated": run.simulated, "when": moment(str(run.entries[0].get("utc", ""))),
        "hold": duration(plan["hold_s"]) if "hold_s" in plan else "", "speed": f"{run.entries[0].get('speed', 1):g}",
        "result": _ended(run, end), "ledger": table(
            "Ledger: what the pumps were told, and what they counted",
            ["pump", "commanded", "counted", "difference", "resolved to", "verdict"], rows,
        ),
        "supply": supply, "notes": plan.get("notes", []),
        "journal": run.path.name, "checksum": plan.get("checksum", ""),
        "intact": "the chain of its lines is intact" if check.intact else str(check).partition(": ")[2],
        "whole": check.intact,
    }


def _ended(run: RigRun, end: dict[str, Any] | None) -> str:
    stopped = run.stopped
    names = "both pumps were" if len(run.pumps) == 2 else "every pump was"
    whole = set(run.pumps) <= set(stopped) and all(stopped.values())
    both = f"{names} verified stopped" if whole else "NOT every pump was verified stopped"
    if end is None:
        return f"The journal has no end: the run is under way, or it was cut off; so far, {both}."
    if end.get("status") == "completed":
        volumes = "the counted volumes agree with the commanded ones" if end.get("ok") else "the VOLUMES DISAGREE"
        return f"Completed; {both}, and {volumes}."
    return f"Failed: {end.get('reason', 'no reason given')}; {both}."
