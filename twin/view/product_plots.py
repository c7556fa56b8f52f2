"""The product over the sweeps, both ligands, beside what the paper says; as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twin.case import Case, ExpectedValue
from twin.errors import BadInput
from twin.estimate import Estimate
from twin.operating import OperatingPoint
from twin.process.data import condition_points, split
from twin.view.figures import Line, chart, legend, styled, sweep_lines
from twin.view.palette import INK, LIGAND
from twin.view.words import LIGANDS, quantity

OUTPUTS = ("plqy", "size_nm", "peak_nm", "fwhm_nm", "production_g_h")

#: The ligands also differ in print.
_MARKS: dict[str, dict[str, Any]] = {
    "ps": {"marker": "o", "markersize": 4, "linestyle": "-"},
    "oa": {"marker": "s", "markersize": 4, "linestyle": (0, (5, 2))},
}

#: What the model says of a point and a ligand, by the point's name and the ligand's.
Predictions = dict[tuple[str, str], dict[str, Estimate]]


@styled
def product(case: Case, predictions: Predictions, expected: Sequence[ExpectedValue]) -> Figure:
    """A row of panels for each output, a column for each line of the sweeps."""
    lines = sweep_lines(case)
    figure, axes = chart(len(OUTPUTS), len(lines), 11.0, 2.35 * len(OUTPUTS) + 0.4, sharey="row")
    for output, row in zip(OUTPUTS, axes, strict=True):
        shown = quantity(output)
        for line, panel in zip(lines, row, strict=True):
            _curves(panel, line, output, predictions)
            _paper(panel, line, output, case, expected)
            panel.set_xlabel(line.label if output == OUTPUTS[-1] else "")
            if output == OUTPUTS[0]:
                panel.set_title(line.title, pad=20)
        row[0].set_ylabel(f"{shown.name}, {shown.unit}")
        if output in ("plqy", "production_g_h"):
            row[0].set_ylim(bottom=0)
    looks: list[tuple[str, dict[str, Any]]] = [
        (f"{LIGANDS[ligand]}: median and 90 % band", {"color": color, **_MARKS[ligand]})
        for ligand, color in LIGAND.items()
    ]
    paper = {"color": INK, "marker": "D", "markersize": 7, "markerfacecolor": "none", "linestyle": "none"}
    legend(figure, [*looks, ("paper (colour of the ligand; black: both)", paper)])
    return figure


def _curves(panel: Axes, line: Line, output: str, predictions: Predictions) -> None:
    factor = quantity(output).factor
    for ligand, color in LIGAND.items():
        rows = [
            (flow, predictions[point.name, ligand][output])
            for flow, point in zip(line.flows_ml_h, line.points, strict=True)
            if output in predictions.get((point.name, ligand), {})
        ]
        if not rows:
            continue
        flows = [flow for flow, _ in rows]
        low, value, high = ([factor * getattr(one, end) for _, one in rows] for end in ("low", "value", "high"))
        panel.fill_between(flows, low, high, color=color, alpha=0.16, linewidth=0)
        panel.plot(flows, value, color=color, **_MARKS[ligand])


def _paper(panel: Axes, line: Line, output: str, case: Case, expected: Sequence[ExpectedValue]) -> None:
    """The paper's numbers as diamonds, and its trends in words."""
    texts = []
    for value in expected:
        name, ligand = split(value.quantity)
        if name != output:
            continue
        try:
            points = condition_points(case, value.condition)
        except BadInput:
            continue
        color = LIGAND.get(ligand, INK)
        if isinstance(value.value, float):
            flows = [flow for flow, point in zip(line.flows_ml_h, line.points, strict=True) if _among(point, points)]
            panel.plot(
                flows, [quantity(output).factor * value.value] * len(flows), color=color, marker="D", markersize=8,
                markerfacecolor="none", linestyle="none", markeredgewidth=1.6, zorder=5,
            )
        elif all(_among(point, points) for point in line.points):
            who = LIGANDS[ligand] or "both"
            texts.append((f"paper, {who}: {_clause(value.value, line.role)}", color))
    for row, (text, color) in enumerate(texts):
        panel.annotate(
            text, (0.0, 1.03 + 0.10 * row), xycoords="axes fraction", color=color, fontsize=8, va="bottom"
        )


def _clause(text: str, role: str) -> str:
    """The part of a trend that speaks of this flow; all of it where none does."""
    parts = [part.strip() for part in text.split(",")]
    return ", ".join(part for part in parts if f"the {role} flow" in part) or text


def _among(point: OperatingPoint, points: Sequence[OperatingPoint]) -> bool:
    return any(point.name == other.name for other in points)
