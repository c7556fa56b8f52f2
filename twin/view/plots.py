"""The plots of flow, mixing and surrogate, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twin.case import Case
from twin.estimate import Z90, Estimate
from twin.junction import bore_m
from twin.mixing.indices import QUOTABLE
from twin.operating import OperatingPoint
from twin.surrogate import Surrogate, Target
from twin.units import to_ml_per_h, to_mm
from twin.view.figures import Line, bracket, chart, legend, plain_log, styled, sweep_lines
from twin.view.palette import ANTISOLVENT, BAND, INK, PRECURSOR, QUIET, WARN
from twin.view.stages import PointState
from twin.view.words import number

_COLUMNS = 6
_CURVE = 41

Solved = dict[str, dict[str, Any]]


def solved_records(states: Sequence[PointState]) -> Solved:
    """The records with numbers, by the name of their point."""
    return {state.name: state.record for state in states if state.solved}


@styled
def mixing_along(case: Case, records: Solved) -> Figure:
    """M down the outlet, and the grid's bound: a panel for each point, a row or more for each line of a sweep."""
    rows = [row for line in sweep_lines(case) for row in _rows(line, records)]
    columns = max((len(points) for _, points in rows), default=1)
    figure, axes = chart(max(len(rows), 1), columns, 11.0, 1.0 + 1.9 * max(len(rows), 1), sharex=True, sharey=True)
    bore = to_mm(bore_m(case))
    for (line, points), panels in zip(rows, axes, strict=False):
        for panel, point in zip(panels, points, strict=False):
            _mixing_panel(panel, records[point.name], bore)
            flow = to_ml_per_h(getattr(point, f"{line.role}_m3_s"))
            panel.set_title(f"{line.role} {flow:g} mL/h", fontsize=8)
        panels[0].set_ylabel(f"mixing index M\n({line.title})")
        for panel in panels[len(points):]:
            panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("z, mm")
    legend(figure, [
        ("random walkers, with their statistical error", {"color": PRECURSOR, "marker": "o", "markersize": 3}),
        ("band: with the error of the flow's mesh", {"facecolor": BAND}),
        ("grid: upper bound", {"color": QUIET, "linewidth": 0.9}),
    ])
    return figure


def _rows(line: Line, records: Solved) -> list[tuple[Line, list[OperatingPoint]]]:
    points = [point for point in line.points if point.name in records]
    return [(line, points[start : start + _COLUMNS]) for start in range(0, len(points), _COLUMNS)]


def _mixing_panel(panel: Axes, record: dict[str, Any], bore_mm: float) -> None:
    mixing = record["mixing"]
    planes, grid = mixing["planes"], mixing["grid"]["planes"]
    z = np.array([plane["bores"] for plane in planes]) * bore_mm
    index = np.array([plane["index"] for plane in planes])
    error = Z90 * np.array([plane["index_error"] for plane in planes])
    spread = np.hypot(error, mixing["mesh_error"])
    panel.fill_between(z, np.clip(index - spread, 0, 1), np.clip(index + spread, 0, 1), color=BAND, linewidth=0)
    panel.plot([plane["bores"] * bore_mm for plane in grid], [plane["index"] for plane in grid], color=QUIET,
               linewidth=0.9)
    panel.errorbar(z, index, yerr=error, color=PRECURSOR, linewidth=1.3, marker="o", markersize=2.2, elinewidth=1.0)
    panel.set_ylim(0, 1)
    panel.set_xlim(0, 1.02 * z[-1])


@styled
def mixing_time(case: Case, records: Solved, surrogate: Surrogate | None) -> Figure:
    """The mixing time with its band over each line of the sweeps, and the surrogate's curve where there is one."""
    lines = [line for line in sweep_lines(case) if any(point.name in records for point in line.points)]
    figure, (panels,) = chart(1, max(len(lines), 1), 11.0, 3.8, sharey=True)
    for line, panel in zip(lines, panels, strict=False):
        curve = _surrogate_curve(line, surrogate, "mixing_time_s") if surrogate is not None else []
        if curve:
            x, value, low, high = (np.array(curve) * (1.0, 1e3, 1e3, 1e3)).T  # ms
            panel.fill_between(x, low, high, color=BAND, linewidth=0)
            panel.plot(x, value, color=PRECURSOR)
        points = [point for point in line.points if point.name in records]
        times = [records[point.name]["mixing"]["time"] for point in points]
        ends = [(1e3 * time["value"], 1e3 * time["low"], 1e3 * time["high"]) for time in times]
        bracket(panel, Line(line.role, tuple(points)).flows_ml_h, ends, INK, "campaign")
        panel.set_yscale("log")
        plain_log(panel.yaxis, min(low for _, low, _ in ends), max(high for _, _, high in ends))
        panel.set_xlabel(line.label)
        panel.set_title(line.title)
    panels[0].set_ylabel("mixing time τ, ms")
    entries: list[tuple[str, dict[str, Any]]] = [
        ("random walkers, with the band of sampling, fit and mesh", {"color": INK, "marker": "o", "markersize": 4.5})
    ]
    if surrogate is not None:
        entries += [("surrogate", {"color": PRECURSOR}), ("its band", {"facecolor": BAND})]
    legend(figure, entries)
    return figure


def _surrogate_curve(line: Line, surrogate: Surrogate, target: Target) -> list[list[float]]:
    """Flow in mL/h, value, low and high along a line, where it is inside the hull: one list for each point."""
    flows = [getattr(point, f"{line.role}_m3_s") for point in line.points]
    first = line.points[0]
    rows = []
    for flow in np.linspace(min(flows), max(flows), _CURVE).tolist():
        pair = (flow, first.precursor_m3_s) if line.role == "antisolvent" else (first.antisolvent_m3_s, flow)
        if not surrogate.hull.contains(*pair):
            continue
        point = OperatingPoint(pair[0], pair[1], surrogate.dataset.temperature_k)
        one = surrogate.predict(point)[target]
        rows.append([to_ml_per_h(flow), one.value, one.low, one.high])
    return rows


@styled
def numerical_diffusion(case: Case, records: Solved) -> Figure:
    """D_num/D_m of the grid at every point down the outlet, with the ratio above which its M can't be quoted: the
    larger of that since the plane before and that since the inlets.
    """
    figure, ((panel,),) = chart(1, 1, 11.0, 3.6)
    bore = to_mm(bore_m(case))
    ordered = sorted(records.values(), key=lambda record: record["groups"]["peclet"])
    largest = 1.0
    for rank, record in enumerate(ordered):
        planes = record["mixing"]["grid"]["planes"]
        z = [plane["bores"] * bore for plane in planes]
        ratio = [max(plane["numerical_diffusion"], plane.get("numerical_before", 0.0), 1e-3) for plane in planes]
        largest = max(largest, *ratio)
        edge = {0: ANTISOLVENT, len(ordered) - 1: PRECURSOR}.get(rank)
        panel.plot(z, ratio, color=edge or QUIET, linewidth=2.0 if edge else 0.9, alpha=1.0 if edge else 0.55,
                   zorder=3 if edge else 2)
        if edge:
            pe = record["groups"]["peclet"]
            text = f"{record['name']}, Pe {number(float(f'{pe:.2g}'))}"
            panel.annotate(text, (z[-1], ratio[-1]), xytext=(6, 0), color=edge, textcoords="offset points",
                           va="center", fontsize=8.5, annotation_clip=False)
    panel.axhline(QUOTABLE, color=WARN, linewidth=1.4, linestyle=(0, (5, 3)))
    panel.annotate(f"the grid's M can be quoted below {QUOTABLE:g}", (0.01, QUOTABLE), xytext=(0, -5), color=WARN,
                   xycoords=("axes fraction", "data"), textcoords="offset points", va="top", fontsize=8.5)
    panel.set_yscale("log")
    panel.set_ylim(0.05, 2 * largest)
    plain_log(panel.yaxis, 0.05, largest)
    panel.set_xlabel("z, mm")
    panel.set_ylabel("numerical over molecular\ndiffusion, D_num/D_m")
    return figure


@styled
def pressure_drop(case: Case, records: Solved, surrogate: Surrogate | None) -> Figure:
    """The pressure drop from either arm to the outlet over each line of the sweeps."""
    lines = [line for line in sweep_lines(case) if any(point.name in records for point in line.points)]
    figure, (panels,) = chart(1, max(len(lines), 1), 11.0, 3.2, sharey=True)
    for line, panel in zip(lines, panels, strict=False):
        curve = _surrogate_curve(line, surrogate, "pressure_drop_pa") if surrogate is not None else []
        if curve:
            x, value, low, high = np.array(curve).T
            panel.fill_between(x, low, high, color=BAND, linewidth=0)
            panel.plot(x, value, color=QUIET, linewidth=1.2, label="surrogate")
        points = [point for point in line.points if point.name in records]
        drops = [pressure_drops(records[point.name]) for point in points]
        x_points = Line(line.role, tuple(points)).flows_ml_h
        for role, color, marker in (("antisolvent", ANTISOLVENT, "o"), ("precursor", PRECURSOR, "s")):
            ends = [(drop[role].value, drop[role].low, drop[role].high) for drop in drops]
            bracket(panel, x_points, ends, color, f"from the {role} arm", marker)
        panel.set_ylim(bottom=0)
        panel.set_xlabel(line.label)
        panel.set_title(line.title)
        panel.legend(loc="lower right")
    panels[0].set_ylabel("pressure drop, Pa")
    return figure


def pressure_drops(record: dict[str, Any]) -> dict[str, Estimate]:
    """The pressure drop in Pa from each arm to the outlet, with the discretization error of the mesh level."""
    drops, spread = record["flow"]["pressure_drop_pa"], 1 + record["flow"]["pressure_error"]
    return {role: Estimate(drop, drop / spread, drop * spread, "Pa", "bounded") for role, drop in drops.items()}


@styled
def leave_one_out(surrogate: Surrogate) -> Figure:
    """What the surrogate predicts for each point when it was fitted without it."""
    targets: tuple[tuple[Any, str, float, str], ...] = (
        ("mixing_time_s", "mixing time", 1e3, "ms"),
        ("mixing_index", "mixing index at the outlet", 1.0, ""),
        ("pressure_drop_pa", "pressure drop", 1.0, "Pa"),
    )
    figure, (panels,) = chart(1, len(targets), 11.0, 3.6)
    for panel, (target, name, unit, symbol) in zip(panels, targets, strict=True):
        loo = surrogate.loo[target]
        actual, predicted = unit * loo.actual, unit * loo.predicted
        both = np.concatenate([actual, predicted])
        low, high = float(both.min()), float(both.max())
        room = 0.1 * (high - low) or 0.1
        ends = (low / 1.15, high * 1.15) if loo.relative else (low - room, high + room)
        panel.plot(ends, ends, color=QUIET, linewidth=1.0)
        panel.plot(actual, predicted, "o", color=PRECURSOR, markersize=5.5, markeredgecolor="white")
        if loo.relative:
            panel.set_xscale("log")
            panel.set_yscale("log")
            for axis in (panel.xaxis, panel.yaxis):
                plain_log(axis, *ends)
        panel.set_xlim(*ends)
        panel.set_ylim(*ends)
        error = f"{100 * loo.rms:.2g} %" if loo.relative else f"{loo.rms:.2g}"
        panel.set_title(f"{name}: RMS error {error}")
        text = f", {symbol}" if symbol else ""
        panel.set_xlabel(f"computed{text}")
        panel.set_ylabel(f"predicted without the point{text}")
        panel.set_box_aspect(1)
    return figure
