"""The sections of the report that read the stages' files and hold plots."""

from __future__ import annotations

import base64
import math
from typing import Any

from twin.case import Case, Results
from twin.case.load import load_expected
from twin.errors import BadInput
from twin.files import digest, read_json
from twin.junction import find_connector
from twin.mixing import RETURNS
from twin.process import ProcessModel, compare
from twin.surrogate import Surrogate
from twin.view import content_field, content_lab, plots
from twin.view.histories import compositions, histories_of
from twin.view.product_plots import product
from twin.view.rigrun import RigRun, rates_and_volumes
from twin.view.scenes import Picture
from twin.view.stages import PointState, mesh_quality
from twin.view.words import LIGANDS, moment, without_folders

#: √(φ(1 − φ)/n) at φ = ½, of the walkers sent back from each sample of a history.
_SHARE_ERROR = 0.5 / math.sqrt(RETURNS)


def _plot(title: str, alt: str, svg: str, note: str = "") -> dict[str, str]:
    return {"title": title, "alt": alt, "note": note, "src": _data_uri(svg.encode(), "image/svg+xml")}


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def embedded(picture: Picture) -> dict[str, str]:
    """A picture with its bytes in its address."""
    src = _data_uri(picture.path.read_bytes(), "image/png")
    return {"title": picture.title, "alt": picture.alt, "note": picture.note, "src": src}


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


def mixing_part(
    case: Case, results: Results, states: list[PointState], surrogate: Surrogate | None
) -> dict[str, Any] | None:
    """What walkers say of mixing, and the grid beside them; None where no point is solved."""
    section = content_field.mixing_section(case, states)
    if section is None:
        return None
    records = plots.solved_records(states)
    told, problems = histories_of(results, states)
    mixed = {state.name: state.point.precursor_fraction for state in states}
    figures = [
        _plot(
            "Mixing index down the outlet", "Panels, one for each point of the sweeps: the mixing index of the random"
            " walkers over the distance down the outlet, with error bars in a wider band; above it, a thin line of the"
            " grid's upper bound.",
            plots.mixing_along(case, records),
            "Bars: 90 % of the walkers' statistical error; band: with the error of the flow's mesh. The thin line has"
            " the grid's own diffusion in it.",
        ),
        _plot(
            "Mixing time over the sweeps", "The mixing time of the random walkers with its band at every point on a"
            " logarithmic axis, over the flow that each sweep varies, with the curve of the surrogate where there is"
            " one.",
            plots.mixing_time(case, records, surrogate),
            "The band holds the walkers' statistical error, how far the planes lie off one exponential, and the error"
            " of the flow's mesh.",
        ),
        _plot(
            "Numerical over molecular diffusion of the grid", "The grid's ratio of numerical to molecular diffusion at"
            " every point down the outlet on a logarithmic axis, with a dashed line at the ratio below which the grid's"
            " index can be quoted.",
            plots.numerical_diffusion(case, records),
            "Between each plane and the one before it; grey: the other points. The walkers have none.",
        ),
    ]
    if told:
        figures.append(
            _plot(
                "What the precursor meets", "For the lowest and the highest flow, the share of the precursor's liquid"
                " around fluid elements of the precursor over time on a logarithmic axis: the median over the elements"
                " in two bands, a dashed line at the fully mixed share, and a dotted line where half have left.",
                compositions(told, mixed),
                "The lowest and the highest flow. An element that has left counts with the share it left with. Each"
                f" share is known to ± {_SHARE_ERROR:.2g} at most, which widens the bands.",
            )
        )
    return {**section, "figures": figures, "problems": problems}


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
                "Bands: the central 90 % of the ensemble, over its parameters, the surrogate, the bands of mixing.",
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
    alt = (
        "Above, the rate of each pump over time; then the volume that it counted beside what it was told; below, the"
        " total flow, the flow ratio and the sensors."
    )
    note = "Dots are what the pumps counted; the line is the integral of the rates that they were told."
    if any(limit is not None for limits in run.limits.values() for limit in limits):
        note += " Dotted lines are the limits of a sensor."
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
