"""The sections of the report that read the stages' files and hold plots."""

from __future__ import annotations

import base64
from typing import Any

from twin.case import Case, Results
from twin.case.load import load_expected
from twin.errors import BadInput
from twin.files import digest, read_json
from twin.junction import find_connector
from twin.process import ProcessModel, compare
from twin.surrogate import Surrogate
from twin.view import content_field, content_lab, plots
from twin.view.product_plots import product
from twin.view.rigrun import RigRun, rates_and_volumes
from twin.view.scenes import Picture
from twin.view.stages import PointState, mesh_quality
from twin.view.words import LIGANDS, moment, without_folders


def _plot(title: str, alt: str, svg: str, note: str = "") -> dict[str, str]:
    return {"title": title, "alt": alt, "note": note, "src": _data_uri(svg.encode(), "image/svg+xml")}


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def embedded(picture: Picture) -> dict[str, str]:
    """A picture with its bytes in its address."""
    return {"title": picture.title, "alt": picture.alt, "src": _data_uri(picture.path.read_bytes(), "image/png")}


def by_point(drawn: list[Picture]) -> dict[str, list[dict[str, str]]]:
    """The pictures of the points, by the name of the point."""
    points: dict[str, list[dict[str, str]]] = {}
    for picture in drawn:
        if picture.point:
            points.setdefault(picture.point, []).append(embedded(picture))
    return points


def flow_part(
    case: Case, results: Results, states: list[PointState], surrogate: Surrogate | None
) -> dict[str, Any]:
    """The flow of every point, and the pressure drop."""
    records = plots.solved_records(states)
    figure = records and [
        _plot(
            "Pressure drop over the sweeps", "The pressure drop from either arm over the flow that each sweep varies.",
            plots.pressure_drop(case, records, surrogate),
            "The tubes before the arms and after the mesh add their own.",
        )
    ]
    section = content_field.flow_section(states)
    for row in section["unsolved"]:
        row[-1] = without_folders(row[-1], case, results)
    return {**section, "figures": figure}


def mixing_part(case: Case, states: list[PointState], surrogate: Surrogate | None) -> dict[str, Any] | None:
    """The bounds of mixing; None where no point is solved."""
    section = content_field.mixing_section(states)
    if section is None:
        return None
    records = plots.solved_records(states)
    figures = [
        _plot(
            "Mixing index down the outlet", "Panels, one for each point of the sweeps: the mixing index over the"
            " distance down the outlet, between an upper bound that rises and a lower bound near its foot.",
            plots.mixing_along(case, records), "A finer mesh should narrow the gap from both sides.",
        ),
        _plot(
            "Mixing time over the sweeps", "The bracket of the mixing time at every point on a logarithmic axis, over"
            " the flow that each sweep varies, with the curve of the surrogate where there is one.",
            plots.mixing_time(case, records, surrogate),
            "The middle of a bracket is no better founded than any other value in it.",
        ),
        _plot(
            "Numerical over molecular diffusion", "The ratio of numerical to molecular diffusion of every point down"
            " the outlet on a logarithmic axis, with a dashed line at the ratio below which the index can be quoted.",
            plots.numerical_diffusion(case, records),
            "Between each plane and the one before it; grey: the other points.",
        ),
    ]
    return {**section, "figures": figures}


def surrogate_part(surrogate: Surrogate | None) -> dict[str, Any] | None:
    """The surrogate and its left-out errors; None without one."""
    if surrogate is None:
        return None
    alt = (
        "Three panels: mixing time, mixing index and pressure drop as predicted without a point over what was computed"
        " there; points on the diagonal are predicted exactly."
    )
    note = "On the diagonal, the prediction is exact."
    figure = _plot("Every point as predicted without it", alt, plots.leave_one_out(surrogate), note)
    return {**content_lab.surrogate_section(surrogate), "figures": [figure]}


def product_part(case: Case, model: ProcessModel | None) -> dict[str, Any] | None:
    """The product beside the paper, its tables and the calibration; None without a model."""
    if model is None:
        return None
    expected = load_expected(case)
    predictions, refused = content_lab.predictions_of(model, case)
    alt = (
        "Rows of panels for quantum yield, mean size, emission peak, linewidth and production over the flow that each"
        " sweep varies: median and band of both ligands, and diamonds where the paper states a number."
    )
    return {
        "comparison": content_lab.comparison_section(compare(model, case, expected)),
        "tables": content_lab.product_tables(case, predictions), "refused": refused,
        "parameters": content_lab.parameter_tables(model), "confounded": content_lab.confounded(case),
        "left_out": {LIGANDS[ligand]: sum(reasons.values()) for ligand, reasons in model.calibration.left_out.items()},
        "members": {LIGANDS[ligand]: len(members) for ligand, members in model.calibration.members.items()},
        "figures": [
            _plot(
                "The product over the sweeps, beside the paper", alt, product(case, predictions, expected),
                "Bands: the central 90 % of the ensemble, over its parameters, the surrogate, the bounds of mixing.",
            )
        ],
    }


def setpoint_part(case: Case, results: Results, surrogate: Surrogate | None) -> dict[str, Any] | None:
    """The proposal; None without one."""
    if not results.setpoint.exists():
        return None
    data = read_json(results.setpoint)
    return content_lab.setpoint_section(case, data, surrogate) | {"data": data}


def rig_part(results: Results) -> dict[str, Any] | None:
    """The newest run; None without one."""
    run = RigRun.newest(results)
    if run is None:
        return None
    alt = "Above, the rate of each pump over time; below, the volume that it counted beside what it was told."
    note = "Dots are what the pumps counted; the line is the integral of the rates that they were told."
    return content_lab.rig_section(run) | {"figures": [_plot("Rates and volumes", alt, rates_and_volumes(run), note)]}


def assumptions_part(case: Case) -> list[dict[str, Any]]:
    """What the case and its connector assume."""
    lists = [{"title": f"Of the case {case.name}", "rows": list(case.assumptions.items())}]
    if case.junction.connector is not None:
        connector = find_connector(case.junction.connector, case.folder)
        lists.append({"title": f"Of the connector {connector.name}", "rows": list(connector.assumptions.items())})
    return [one for one in lists if one["rows"]]


def provenance_part(results: Results, solved: list[PointState]) -> list[list[str]]:
    """What each number rests on: a row for each file, with its hash, its time, its versions."""
    rows = []
    quality = mesh_quality(results)
    if quality:
        rows.append(["mesh", str(quality.get("hash", "")), "", ""])
    for state in solved:
        origin = state.record.get("provenance", {})
        words = f"twin {origin.get('twin', '?')}, source {origin.get('git', '?')}, {origin.get('ranks', '?')} ranks"
        made = moment(str(origin.get("created", "")))
        rows.append([f"point {state.name}", str(origin.get("point_hash", "")), made, words])
    for name, path in (
        ("campaign table", results.campaign), ("surrogate", results.surrogate), ("calibration", results.process),
        ("setpoint", results.setpoint),
    ):
        if not path.exists():
            continue
        try:
            data = read_json(path)
        except BadInput:
            continue
        origin = data.get("provenance", {})
        words = f"twin {origin.get('twin', '?')}" + (f", source {origin['git']}" if "git" in origin else "")
        own = data.get("fingerprint") or data.get("checksum") or digest(path.read_bytes())
        rows.append([name, str(own), moment(str(origin.get("created", ""))), words])
    return rows
