"""The report: one HTML file that holds everything, works offline, and says of every number how far it can be trusted."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jinja2

import twin
from twin.case import Case, Results
from twin.case.load import load_expected
from twin.errors import BadInput, TwinError
from twin.estimate import Estimate
from twin.files import digest, read_json, write_text
from twin.junction import find_connector
from twin.process import ProcessModel, compare, load_calibration
from twin.provenance import provenance
from twin.surrogate import Surrogate, load_surrogate
from twin.view import content_field, content_lab, plots
from twin.view.product_plots import product
from twin.view.rigrun import RigRun, rates_and_volumes
from twin.view.scenes import Picture, pictures
from twin.view.stages import PointState, mesh_quality, point_states
from twin.view.words import LABELS, band_text, value_text

Value = TypeVar("Value")


@dataclass
class Sources:
    """What the stages have left, read once. What is not there has its reason in `problems`, by the stage's name."""

    case: Case
    level: str
    results: Results
    problems: dict[str, str] = field(default_factory=dict)

    def read(self, stage: str, get: Callable[[], Value]) -> Value | None:
        """What `get` returns; None with the reason noted where it fails as a stage's file can fail."""
        try:
            return get()
        except (TwinError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            words = error.message if isinstance(error, TwinError) else f"its file is damaged ({type(error).__name__})"
            self.problems[stage] = without_folders(words, self.case, self.results)
            return None

    def surrogate(self) -> Surrogate | None:
        """The surrogate, if it belongs to the campaign table of now."""
        if not self.results.surrogate.exists():
            return None
        return self.read("surrogate", lambda: load_surrogate(self.results.surrogate, self.results.campaign))

    def model(self, surrogate: Surrogate | None) -> ProcessModel | None:
        """The calibrated model, if it belongs to that surrogate."""
        if surrogate is None or not self.results.process.exists():
            return None
        return self.read("product", lambda: ProcessModel(surrogate, load_calibration(self.results.process)))


#: The command that makes what a section shows.
COMMANDS = {
    "mesh": "twin mesh CASE", "flow": "twin sweep CASE", "mixing": "twin sweep CASE", "pictures": "twin view CASE",
    "surrogate": "twin fit CASE", "product": "twin calibrate CASE", "setpoint": "twin setpoint CASE",
    "rig": "twin rig run CASE",
}


def write_report(case: Case, level: str, results: Results) -> Path:
    """Writes `report.html` from whatever the stages have left, and returns its path.

    A stage that has not run, or whose file is damaged, costs its section, which says so and names the command.
    """
    case.level(level)
    write_text(results.report, render(content(Sources(case, level, results))))
    return results.report


def render(data: dict[str, Any]) -> str:
    """The page of a content; everything in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(data)


def content(sources: Sources) -> dict[str, Any]:
    """Everything that the page says. A section is None where its stage has left nothing."""
    case, results = sources.case, sources.results
    states = sources.read("flow", lambda: point_states(case, results)) or []
    solved = [state for state in states if state.solved]
    quality = sources.read("mesh", lambda: mesh_quality(results))
    surrogate = sources.surrogate()
    model = sources.model(surrogate)
    drawn = sources.read("pictures", lambda: pictures(case, sources.level, results)) if quality else None
    sections = {
        "mesh": sources.read("mesh", lambda: content_field.mesh_section(case, quality)),
        "flow": sources.read("flow", lambda: content_field.flow_section(states)),
        "mixing": sources.read("mixing", lambda: _mixing(case, states, surrogate)),
        "surrogate": sources.read("surrogate", lambda: _surrogate(surrogate)),
        "product": sources.read("product", lambda: _product(case, model)),
        "setpoint": sources.read("setpoint", lambda: _setpoint(results)),
        "rig": sources.read("rig", lambda: _rig(results)),
    }
    return {
        "case": case, "level": sources.level, "version": twin.__version__, "labels": LABELS, "commands": COMMANDS,
        "mesh_picture": [_embedded(picture) for picture in drawn or [] if picture.kind == "mesh"],
        "pictures": _by_point(drawn or []),
        "summary": _summary(states, sections),
        "assumptions": sources.read("assumptions", lambda: _assumptions(case)) or [],
        "provenance": sources.read("provenance", lambda: _provenance(sources, solved)) or [],
        "now": provenance(),
        "counts": {"all": len(states), "solved": len(solved)},
        "problems": sources.problems,
        **sections,
    }


def without_folders(text: str, case: Case, results: Results) -> str:
    """A message without the folders of this machine, which say nothing to a reader elsewhere."""
    for folder in {results.folder, results.folder.resolve(), case.folder, case.folder.resolve()}:
        text = text.replace(f"{folder}/", "")
    return text


def _plot(title: str, alt: str, svg: str) -> dict[str, str]:
    return {"title": title, "alt": alt, "src": _data_uri(svg.encode(), "image/svg+xml")}


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _embedded(picture: Picture) -> dict[str, str]:
    return {"title": picture.title, "alt": picture.alt, "src": _data_uri(picture.path.read_bytes(), "image/png")}


def _by_point(drawn: list[Picture]) -> dict[str, list[dict[str, str]]]:
    points: dict[str, list[dict[str, str]]] = {}
    for picture in drawn:
        if picture.point:
            points.setdefault(picture.point, []).append(_embedded(picture))
    return points


def _mixing(case: Case, states: list[PointState], surrogate: Surrogate | None) -> dict[str, Any] | None:
    section = content_field.mixing_section(states)
    if section is None:
        return None
    records = plots.solved_records(states)
    figures = [
        _plot(
            "Mixing index down the outlet", "Panels, one for each point of the sweeps: the mixing index over the distance"
            " down the outlet, between an upper bound that rises and a lower bound near its foot.",
            plots.mixing_along(case, records),
        ),
        _plot(
            "Mixing time over the sweeps", "The bracket of the mixing time at every point on a logarithmic axis, over the"
            " flow that each sweep varies, with the curve of the surrogate where there is one.",
            plots.mixing_time(case, records, surrogate),
        ),
        _plot(
            "Numerical over molecular diffusion", "The ratio of numerical to molecular diffusion of every point down the"
            " outlet on a logarithmic axis, with a dashed line at the ratio below which the index can be quoted.",
            plots.numerical_diffusion(case, records),
        ),
        _plot(
            "Pressure drop over the sweeps", "The pressure drop from either arm over the flow that each sweep varies.",
            plots.pressure_drop(case, records, surrogate),
        ),
    ]
    return {**section, "figures": figures}


def _surrogate(surrogate: Surrogate | None) -> dict[str, Any] | None:
    if surrogate is None:
        return None
    alt = (
        "Three panels: mixing time, mixing index and pressure drop as predicted without a point over what was computed"
        " there; points on the diagonal are predicted exactly."
    )
    figure = _plot("Every point as predicted without it", alt, plots.leave_one_out(surrogate))
    return {**content_lab.surrogate_section(surrogate), "figures": [figure]}


def _product(case: Case, model: ProcessModel | None) -> dict[str, Any] | None:
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
        "left_out": {ligand: sum(reasons.values()) for ligand, reasons in model.calibration.left_out.items()},
        "members": {ligand: len(members) for ligand, members in model.calibration.members.items()},
        "figures": [_plot("The product over the sweeps, beside the paper", alt, product(case, predictions, expected))],
    }


def _setpoint(results: Results) -> dict[str, Any] | None:
    if not results.setpoint.exists():
        return None
    return content_lab.setpoint_section(read_json(results.setpoint)) | {"data": read_json(results.setpoint)}


def _rig(results: Results) -> dict[str, Any] | None:
    run = RigRun.newest(results)
    if run is None:
        return None
    alt = "Above, the rate of each pump over time; below, the volume that it counted beside what it was told."
    return content_lab.rig_section(run) | {"figures": [_plot("Rates and volumes", alt, rates_and_volumes(run))]}


def _assumptions(case: Case) -> list[dict[str, Any]]:
    lists = [{"title": f"Of the case {case.name}", "rows": list(case.assumptions.items())}]
    if case.junction.connector is not None:
        connector = find_connector(case.junction.connector, case.folder)
        lists.append({"title": f"Of the connector {connector.name}", "rows": list(connector.assumptions.items())})
    return [one for one in lists if one["rows"]]


def _provenance(sources: Sources, solved: list[PointState]) -> list[list[str]]:
    """What each number rests on: a row for each file, with its hash, its time, its versions."""
    results, rows = sources.results, []
    quality = mesh_quality(results)
    if quality:
        rows.append(["mesh", str(quality.get("hash", "")), "", ""])
    for state in solved:
        origin = state.record.get("provenance", {})
        words = f"twin {origin.get('twin', '?')}, source {origin.get('git', '?')}, {origin.get('ranks', '?')} ranks"
        rows.append([f"point {state.name}", str(origin.get("point_hash", "")), str(origin.get("created", "")), words])
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
        rows.append([name, str(own), str(origin.get("created", "")), words])
    return rows


def _summary(states: list[PointState], sections: dict[str, Any]) -> list[str]:
    """The headline result in sentences, only from what is there."""
    solved = [state for state in states if state.solved]
    texts = [f"{len(solved)} of {len(states)} operating points are computed."]
    failed = [state.name for state in states if state.state == "failed"]
    if failed:
        texts.append(f"Without numbers: {', '.join(failed)} failed; the reasons are below.")
    setpoint = sections["setpoint"]
    if setpoint:
        predicted = {name: Estimate.from_dict(one) for name, one in setpoint["data"]["predicted"].items()}
        known = [name for name in ("production", "plqy", "size_nm") if name in predicted]
        words = [
            f"{content_lab.quantity(name).name} {value_text(predicted[name], name)}"
            f" ({band_text(predicted[name], name) or 'no band'}; {predicted[name].label})"
            for name in known
        ]
        texts.append(
            f"To maximize {setpoint['objective']} with {setpoint['ligand']}, the twin proposes antisolvent"
            f" {setpoint['antisolvent']} and precursor {setpoint['precursor']}: {'; '.join(words)}."
        )
    mixing = sections["mixing"]
    if mixing and mixing["quotable"] < mixing["planes"]:
        texts.append(
            f"Mixing is bounded, not resolved: on this mesh, numerical diffusion is {mixing['ratios']} times the"
            f" molecular one, and only {mixing['quotable']} of {mixing['planes']} planes are below {mixing['limit']},"
            " where the index can be quoted."
        )
    comparison = (sections["product"] or {}).get("comparison")
    if comparison:
        texts.append(f"Of {comparison['count']} comparisons with the paper, {comparison['summary']}.")
    return texts
