"""An unsteady flow case: marches to its end, keeps a time series, and goes on after an interruption."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from dolfinx import fem

from twin.campaign.flow_frames import Frames
from twin.campaign.flow_problem import FlowProblem, Scales
from twin.campaign.flow_record import Points, Sample, write_csv
from twin.case import Results
from twin.files import digest
from twin.flow.boundaries import Boundaries
from twin.flow.transient import TransientSolver, TransientState, Units

#: What may change without a new start.
_FREE = ("end", "save", "average_from")
CONSTANT = 1e-10  # of its size: what swings less in the series is constant


class March:
    """One unsteady run. Its files: `series.csv`, and `restart.npz` with the fields that the next step needs.

    The series is written before the restart file; a run that goes on drops the rows after the time of that file, so
    each moment is there once, whenever the run was interrupted.
    """

    def __init__(
        self,
        problem: FlowProblem,
        points: Points,
        scales: Scales,
        scale: float,
        boundaries: Boundaries,
        results: Results,
        watch: Any,
    ) -> None:
        assert problem.case.time is not None  # noqa: S101 (the worker's own choice)
        self._time, self._scales = problem.case.time, scales
        self._comm, self._watch = problem.domain.comm, watch
        self._flows = functools.partial(problem.flows, scales, scale)
        moving = functools.partial(problem.boundaries, scales, scale)
        units = Units(scales.time_s, scales.velocity_m_s, "s, m/s and 1/s")
        self._solver = TransientSolver(problem.domain, boundaries, watch=lambda line: None, units=units, moving=moving)
        self.velocity, self.pressure = self._solver.velocity, self._solver.pressure
        self.sample = Sample(problem, points, scales, self.velocity, self.pressure, self._solver.change)
        self._mesh = results.mesh / "junction.msh"
        self._folder = folder = results.point(problem.case.point_name(scale))
        self._fields_every = problem.case.output.fields_every
        self._outlets = list(problem.case.boundaries.outlets)
        data = problem.case.resolved()
        data["time"] = {key: value for key, value in data["time"].items() if key not in _FREE}
        self._restart = folder / f"restart-{digest({'scale': scale, **data})}.npz"
        self._series = folder / "series.csv"
        self._header: list[str] = []
        self._rows: list[list[float]] = []

    def start(self, velocity: fem.Function, pressure: fem.Function) -> None:
        """From these fields at time 0; without, from rest."""
        self._solver.start(velocity, pressure)

    def resume(self) -> bool:
        """Goes on from the restart file of an interrupted run of the same case, where there is one."""
        if not self._comm.bcast(self._restart.exists() and self._series.exists()):
            return False
        self._solver.restart(self._restart, self._mesh)
        now = self._solver.time * self._scales.time_s
        if now > self._time.end * (1 + 1e-9):
            self._solver.start(None, None)
            return False
        header, rows = self._comm.bcast(self._read() if self._comm.rank == 0 else None)
        self._header, self._rows = header, [row for row in rows if row[0] <= now * (1 + 1e-9)]
        self._watch(f"going on from t = {now:g} s")
        return True

    def _read(self) -> tuple[list[str], list[list[float]]]:
        with self._series.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
        return header, [[float(word) for word in row] for row in rows]

    def run(self, write_fields: Callable[[str], None]) -> dict[str, Any]:
        """Marches to the end; returns the summary of the series. `write_fields` writes the present fields by name."""
        time, unit = self._time, self._scales.time_s
        saves = _multiples(time.save or _tenth(time.end, time.step), time.end)
        samples = _multiples(time.sample, time.end) if time.sample else []
        frames = Frames(self._folder, _frame_times(self._fields_every, time.end), write_fields, self._comm)
        if self._solver.time == 0:
            frames.clear()
        for mark in sorted({*saves, *samples, *frames.times}):
            if mark / unit <= self._solver.time * (1 + 1e-9):
                continue
            state = self._solver.advance(
                self._scales.reynolds,
                self._flows,
                mark / unit,
                cfl=time.cfl or 1.0,
                step=None if time.step is None else time.step / unit,
                each=None if time.sample else self._take,
                longest=math.inf if time.step else 0.1,
            )
            if mark in samples:
                self._take(state)
            self._watch(
                f"t = {mark:g} of {time.end:g} s, CFL {state.cfl:.2f}, rate of change {state.rate / unit:.2e} 1/s"
            )
            if mark in frames.times:
                frames.take(mark)
            if mark in saves:
                self._save()
        return self._summary()

    def _take(self, state: TransientState) -> None:
        """One row of the series; every rank takes part."""
        scales = self._scales
        row = {
            "time s": _rounded(state.time * scales.time_s),
            "step s": _rounded(state.step * scales.time_s),
            "rate of change 1/s": state.rate / scales.time_s,
            **self.sample.row(),
        }
        self._header = list(row)
        self._rows.append(list(row.values()))

    def _save(self) -> None:
        if self._comm.rank == 0:
            write_csv(self._series, self._header, self._rows)
        self._solver.save(self._restart, self._mesh)

    def largest_flows(self) -> dict[str, float]:
        """The largest flow either way through each outlet since `average_from`, in m³/s, in 2-D m²/s."""
        unit = "m^3/s" if self._scales.dim == 3 else "m^2/s"
        column = {name: self._header.index(f"flow {name} {unit}") for name in self._outlets}
        table = self._averaged()
        return {name: float(np.max(abs(table[:, index]))) for name, index in column.items()}

    def largest_inflow(self) -> float:
        """The largest sum of what enters through inlets and outlets since `average_from`, in m³/s, in 2-D m²/s."""
        columns = [index for index, name in enumerate(self._header) if name.startswith("flow ")]
        return float(np.max(-np.minimum(self._averaged()[:, columns], 0).sum(axis=1), initial=0.0))

    def _averaged(self) -> np.ndarray:
        """The rows of the series since `average_from`."""
        table: np.ndarray = np.array(self._rows)
        return table[table[:, 0] >= self._time.average_from * (1 - 1e-9)]

    def _summary(self) -> dict[str, Any]:
        """The statistics of all columns since `average_from`."""
        table = self._averaged()
        moments = table[:, 0]
        return {
            "end_s": float(moments[-1]),
            "from_s": self._time.average_from,
            "rows": len(self._rows),
            "rate_of_change": float(table[-1, 2]),
            "statistics": {
                name: statistics(moments, table[:, index]) for index, name in enumerate(self._header) if index > 2
            },
        }


def _rounded(seconds: float) -> float:
    """A time without what changes of unit leave in its last digits."""
    return float(f"{seconds:.12g}")


def _multiples(of: float, end: float) -> list[float]:
    """The multiples of a time up to the end, and the end; rounded, so that those of two times can be the same."""
    count = math.ceil(end / of - 1e-9)
    return [*(float(f"{number * of:.9g}") for number in range(1, count)), end]


def _tenth(end: float, step: float | None) -> float:
    """A tenth of the run, in whole steps: a restart file shall not shorten them."""
    return end / 10 if step is None else math.ceil(end / 10 / step - 1e-9) * step


def _frame_times(every: float | None, end: float) -> list[float]:
    """The multiples of a time; the end is one of them only where it is a multiple as well."""
    times = _multiples(every, end) if every else []
    return times if every and abs(len(times) * every - end) < 1e-9 * end else times[:-1]


def statistics(moments: np.ndarray, column: np.ndarray) -> dict[str, Any]:
    """The extremes of a column of the series and when it has them, its frequency from the upward crossings of its mean,
    and its mean (by the trapezoidal rule): over whole periods where it has a frequency, over all moments otherwise.
    `note` says why it has none. What is constant is extreme at no time.
    """
    window, mean = (moments[0], moments[-1]), _mean(moments, column, moments[0], moments[-1])
    crossings = _crossings(moments, column - mean)
    gaps = np.diff([moments[0], *crossings, moments[-1]])  # those at both ends are parts of a period
    periods = gaps[1:-1]
    frequency, note = None, ""
    lowest, lowest_s = _highest(moments, -column)
    highest, highest_s = _highest(moments, column)
    if np.ptp(column) <= CONSTANT * np.max(abs(column)):
        note = "constant"
    elif len(periods) < 2:
        note = "fewer than 2 periods"
    elif np.ptp(periods) >= 0.2 * periods.mean() or gaps.max() > 1.2 * periods.mean():  # the latter where it drifts
        note = "irregular"
    else:
        frequency, window = float(1 / periods.mean()), (crossings[0], crossings[-1])
        mean = _mean(moments, column, *window)
    return {
        "mean": mean,
        "from_s": float(window[0]),
        "to_s": float(window[1]),
        "lowest": -lowest,
        "lowest_s": None if note == "constant" else lowest_s,
        "highest": highest,
        "highest_s": None if note == "constant" else highest_s,
        "frequency_hz": frequency,
        "note": note,
    }


def _highest(moments: np.ndarray, column: np.ndarray) -> tuple[float, float]:
    """The highest value of a column, (n,) at its moments, (n,), and its moment, by the parabola through the highest
    sample and its neighbours.

    At an end, a kink or a jump, where the curve does not bend alike at the neighbours, that would overshoot: there it
    is the sample.
    """
    top = int(np.argmax(column))
    value, moment = float(column[top]), float(moments[top])
    if not 0 < top < len(column) - 1:
        return value, moment
    first = max(top - 2, 0)
    times, values, here = moments[first : top + 3], column[first : top + 3], top - first
    gaps = np.diff(times)
    slopes = np.diff(values) / gaps
    bends = 2 * np.diff(slopes) / (gaps[:-1] + gaps[1:])
    bend = bends[here - 1]
    if bends.max() >= bend / 4:
        return value, moment
    slope = np.average(slopes[here - 1 : here + 1], weights=gaps[here - 1 : here + 1][::-1])
    return value - float(slope**2 / bend / 2), moment - float(slope / bend)


def _mean(moments: np.ndarray, column: np.ndarray, start: float, end: float) -> float:
    """The mean of a column from one time to another, (n,) at its moments, (n,)."""
    if start == end:
        return float(column[-1])
    times = np.concatenate([[start], moments[(moments > start) & (moments < end)], [end]])
    return float(np.trapezoid(np.interp(times, moments, column), times) / (end - start))


def _crossings(moments: np.ndarray, swing: np.ndarray) -> np.ndarray:
    """When a swing passes 0 upwards."""
    up = np.flatnonzero((swing[:-1] < 0) & (swing[1:] >= 0))
    return moments[up] - swing[up] * (moments[up + 1] - moments[up]) / (swing[up + 1] - swing[up])
