"""How every plot looks, and what they share: figures as SVG text, sweeps as lines over one flow."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from twin.case import Case
from twin.operating import OperatingPoint
from twin.units import to_ml_per_h
from twin.view.palette import GRID, INK, QUIET

Parameters = ParamSpec("Parameters")

STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "axes.titlesize": 10, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.edgecolor": QUIET, "axes.labelcolor": INK, "axes.titlecolor": INK,
    "text.color": INK, "xtick.color": QUIET, "ytick.color": QUIET, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.7,
    "axes.axisbelow": True, "lines.linewidth": 1.8, "legend.frameon": False, "legend.fontsize": 8.5,
    "svg.fonttype": "path", "svg.hashsalt": "twin", "figure.facecolor": "white", "axes.formatter.use_mathtext": True,
}


@dataclass(frozen=True)
class Line:
    """The points of a sweep along which one flow rises and the other stays. `role` is the flow that rises."""

    role: str
    points: tuple[OperatingPoint, ...]

    @property
    def flows_ml_h(self) -> list[float]:
        """The flow that rises, mL/h."""
        return [to_ml_per_h(getattr(point, f"{self.role}_m3_s")) for point in self.points]

    @property
    def title(self) -> str:
        """What stays."""
        other = "precursor" if self.role == "antisolvent" else "antisolvent"
        flow = to_ml_per_h(getattr(self.points[0], f"{other}_m3_s"))
        return f"{other} {flow:g} mL/h"

    @property
    def label(self) -> str:
        """The label of the axis."""
        return f"{self.role} flow, mL/h"


def sweep_lines(case: Case) -> list[Line]:
    """The lines of the case's sweeps: along the antisolvent flow; along the precursor flow where only that varies."""
    lines: list[Line] = []
    for sweep in case.sweeps.values():
        temperature = case.liquids.temperature
        if len(sweep.antisolvent) == 1:
            points = [OperatingPoint(sweep.antisolvent[0], flow, temperature) for flow in sorted(sweep.precursor)]
            lines.append(Line("precursor", tuple(points)))
            continue
        for other in sorted(sweep.precursor):
            points = [OperatingPoint(flow, other, temperature) for flow in sorted(sweep.antisolvent)]
            lines.append(Line("antisolvent", tuple(points)))
    return lines


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, str]:
    """Makes a function that draws a figure return it as SVG text, in the style of all plots, the same every time."""

    @wraps(draw)
    def drawn(*arguments: Parameters.args, **options: Parameters.kwargs) -> str:
        text = io.StringIO()
        with matplotlib.rc_context(STYLE):
            draw(*arguments, **options).savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        return text.getvalue()

    return drawn


def chart(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, list[list[Axes]]]:
    """A figure in inches with a grid of axes; nothing is registered anywhere, so nothing has to be closed."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [list(row) for row in axes]


def bracket(
    axes: Axes, x: Sequence[float], ends: Sequence[tuple[float, float, float]], color: str, label: str,
    marker: str = "o",
) -> Any:
    """Values with bars from low to high; `ends` holds value, low, high."""
    values = [value for value, _, _ in ends]
    below = [value - low for value, low, _ in ends]
    above = [high - value for value, _, high in ends]
    return axes.errorbar(
        x, values, yerr=[below, above], fmt=marker, color=color, markersize=4.5, capsize=3.5, elinewidth=1.3,
        label=label,
    )


def legend(figure: Figure, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """A legend of own entries below the panels: a text, and how its line or patch looks."""
    handles = [
        Patch(label=text, **look) if "facecolor" in look else Line2D([], [], label=text, **look)
        for text, look in entries
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def plain_log(axis: Any, low: float, high: float) -> None:
    """Plain numbers at 1, 2, 5, 10 … on a logarithmic axis; fewer where it spans many decades."""
    decades = high / low
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 50 else (1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
