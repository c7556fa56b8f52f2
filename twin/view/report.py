"""The report: one HTML file that holds everything, works offline, and says how far each number can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jinja2

import twin
from twin.case import Case, Results
from twin.errors import TwinError
from twin.estimate import Estimate
from twin.files import write_text
from twin.process import ProcessModel, load_calibration
from twin.provenance import now, provenance
from twin.surrogate import Surrogate, load_surrogate
from twin.view import content_field, sections
from twin.view.scenes import pictures
from twin.view.stages import PointState, mesh_quality, point_states
from twin.view.words import LABELS, band_text, moment, quantity, value_text, without_folders

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
    states = sources.read("flow", lambda: point_states(case, sources.level, results)) or []
    solved = [state for state in states if state.solved]
    quality = sources.read("mesh", lambda: mesh_quality(results))
    surrogate = sources.surrogate()
    model = sources.model(surrogate)
    drawn = sources.read("pictures", lambda: pictures(case, sources.level, results)) if quality else None
    parts = {
        "mesh": sources.read("mesh", lambda: content_field.mesh_section(case, quality)),
        "flow": sources.read("flow", lambda: sections.flow_part(case, results, states, surrogate)),
        "mixing": sources.read("mixing", lambda: sections.mixing_part(case, results, states, surrogate)),
        "surrogate": sources.read("surrogate", lambda: sections.surrogate_part(surrogate)),
        "product": sources.read("product", lambda: sections.product_part(case, model)),
        "setpoint": sources.read("setpoint", lambda: sections.setpoint_part(case, results, surrogate)),
        "rig": sources.read("rig", lambda: sections.rig_part(results)),
    }
    return {
        "case": case, "level": sources.level, "version": twin.__version__, "labels": LABELS, "commands": COMMANDS,
        "mesh_picture": [sections.embedded(picture) for picture in drawn or [] if picture.kind == "mesh"],
        "pictures": sections.by_point(drawn or []),
        "summary": _summary(states, parts),
        "assumptions": sources.read("assumptions", lambda: sections.assumptions_part(case)) or [],
        "provenance": sources.read("provenance", lambda: sections.provenance_part(results, solved)) or [],
        "now": provenance(), "made": moment(now()),
        "counts": {"all": len(states), "solved": len(solved)},
        "problems": sources.problems,
        **parts,
    }


def _summary(states: list[PointState], parts: dict[str, Any]) -> list[str]:
    """The headline result in sentences, only from what is there."""
    solved = [state for state in states if state.solved]
    texts = [f"{len(solved)} of {len(states)} operating points are computed."]
    failed = [state.name for state in states if state.state == "failed"]
    if failed:
        texts.append(f"Without numbers: {', '.join(failed)} failed; the reasons are below.")
    setpoint = parts["setpoint"]
    if setpoint:
        predicted = {name: Estimate.from_dict(one) for name, one in setpoint["data"]["predicted"].items()}
        known = [name for name in ("production", "plqy", "size_nm") if name in predicted]
        words = [
            f"{quantity(name).name} {value_text(predicted[name], name)}"
            f" ({band_text(predicted[name], name) or 'no band'}; {predicted[name].label})"
            for name in known
        ]
        texts.append(
            f"To maximize {setpoint['objective']} with {setpoint['ligand']}, the twin proposes antisolvent"
            f" {setpoint['antisolvent']} and precursor {setpoint['precursor']}: {'; '.join(words)}."
        )
    mixing = parts["mixing"]
    if mixing:
        texts.append(
            f"Random walkers, free of numerical diffusion, measure the mixing: M at the end of the mesh is"
            f" {mixing['index']}, the mixing time {mixing['time']}. The statistical standard error of M is"
            f" {mixing['index_error']} at most, that of the flow's mesh at most ± {mixing['mesh_error']}."
        )
    if mixing and mixing["quotable"] < mixing["planes"]:
        texts.append(
            f"The grid's index is an upper bound: its numerical diffusion is {mixing['ratios']} times the molecular"
            f" one, and {mixing['few']} planes are below {mixing['limit']}, where that index can be quoted."
        )
    comparison = (parts["product"] or {}).get("comparison")
    if comparison:
        texts.append(f"Beside the paper ({comparison['count']} comparisons): {comparison['summary']}.")
    return texts
