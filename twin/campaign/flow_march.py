"""An unsteady flow case: marches to its end, keeps a time series, and goes on after an interruption."""

from __future__ import annotations

import csv
import itertools
import math
from typing import Any

import numpy as np
from dolfinx import fem

from twin.campaign.flow_problem import FlowProblem, Scales
from twin.campaign.flow_record import Points, Sample, write_csv
from twin.case import Results
from twin.files import digest
from twin.flow.boundaries import Boundaries
from twin.flow.transient import TransientSolver, TransientState

#: What may change without a new start.
_FREE = ("end", "save", "average_from")


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
        self._flows = problem.flows_at(scales, scale)
        self._solver = TransientSolver(problem.domain, boundaries, watch=lambda line: None)
        self.velocity, self.pressure = self._solver.velocity, self._solver.pressure
        self._sample = Sample(problem, points, scales, self.velocity, self.pressure, self._solver.change)
        self._mesh = results.mesh / "junction.msh"
        folder = results.point(problem.case.point_name(scale))
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

    def numbers(self) -> dict[str, Any]:
        """Those of a record, at the time that is reached."""
        return self._sample.numbers()

    def run(self) -> dict[str, Any]:
        """Marches to the end; returns the summary of the series."""
        time, unit = self._time, self._scales.time_s
        saves = _multiples(time.save or time.end / 10, time.end)
        samples = _multiples(time.sample, time.end) if time.sample else []
        for mark in sorted({*saves, *samples}):
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
            if mark in saves:
                self._save()
        return self._summary()

    def _take(self, state: TransientState) -> None:
        """One row of the series; every rank takes part."""
        scales = self._scales
        row = {
            "time s": state.time * scales.time_s,
            "step s": state.step * scales.time_s,
            "rate of change 1/s": state.rate / scales.time_s,
            **self._sample.row(),
        }
        self._header = list(row)
        self._rows.append(list(row.values()))

    def _save(self) -> None:
        if self._comm.rank == 0:
            write_csv(self._series, self._header, self._rows)
        self._solver.save(self._restart, self._mesh)

    def _summary(self) -> dict[str, Any]:
        """Means over time (by the trapezoidal rule) and extremes of all columns since `average_from`, and the frequency
        of those that swing.
        """
        table = np.array(self._rows)
        table = table[table[:, 0] >= self._time.average_from * (1 - 1e-9)]
        moments, statistics = table[:, 0], {}
        for index, name in enumerate(self._header):
            if index < 3:
                continue
            column = table[:, index]
            span = moments[-1] - moments[0]
            mean = float(np.trapezoid(column, moments) / span) if span > 0 else float(column[-1])
            statistics[name] = {
                "mean": mean,
                "lowest": float(column.min()),
                "highest": float(column.max()),
                "frequency_hz": _frequency(moments, column - mean),
            }
        return {
            "end_s": float(moments[-1]),
            "from_s": self._time.average_from,
            "rows": len(self._rows),
            "rate_of_change": float(table[-1, 2]),
            "statistics": statistics,
        }


def _multiples(of: float, end: float) -> list[float]:
    """The multiples of a time up to the end, and the end; rounded, so that those of two times can be the same."""
    count = math.ceil(end / of - 1e-9)
    return [*(float(f"{number * of:.9g}") for number in range(1, count)), end]


def _frequency(moments: np.ndarray, swing: np.ndarray) -> float | None:
    """The frequency of a swing about 0 from its upward crossings; None with less than three of them, or no swing."""
    if len(swing) < 5 or np.ptp(swing) == 0:
        return None
    up = np.flatnonzero((swing[:-1] < 0) & (swing[1:] >= 0))
    if len(up) < 3:
        return None
    crossings = moments[up] - swing[up] * (moments[up + 1] - moments[up]) / (swing[up + 1] - swing[up])
    gaps = np.array([later - earlier for earlier, later in itertools.pairwise(crossings)])
    return float(1 / gaps.mean()) if np.ptp(gaps) < 0.2 * gaps.mean() else None
