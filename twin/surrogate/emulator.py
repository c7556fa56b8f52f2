"""The surrogate of a campaign: mixing time, mixing index and pressure drop at any flows inside its hull."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.special import expit, logit

from twin.errors import BadInput
from twin.estimate import Z90, Estimate, Label
from twin.files import digest
from twin.operating import OperatingPoint
from twin.surrogate.dataset import LABELS, Array, Dataset
from twin.surrogate.gp import Inputs, Process, inflation, learn, leave_one_out
from twin.surrogate.hull import Hull

Target = Literal["mixing_time_s", "mixing_index", "pressure_drop_pa"]
TARGETS: tuple[Target, ...] = ("mixing_time_s", "mixing_index", "pressure_drop_pa")
UNITS: dict[Target, str] = {"mixing_time_s": "s", "mixing_index": "", "pressure_drop_pa": "Pa"}
#: Half widths of a bracket below this, in transformed units, count as this.
_NARROWEST = 1e-3
#: Temperatures in K that count as the campaign's.
_SAME_TEMPERATURE = 1.0


def forward(target: Target, value: Array) -> Array:
    """The scale on which a target is learned: the logit of the index, the logarithm of the others."""
    return np.asarray(logit(value) if target == "mixing_index" else np.log(value))


def backward(target: Target, value: Array) -> Array:
    """Undoes `forward`."""
    return np.asarray(expit(value) if target == "mixing_index" else np.exp(value))


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Left-out predictions of one target in its own unit and their errors, shapes (n,).

    `errors` are ratios less one (time, pressure drop), or differences (index). `deviations` are the processes' own
    standard deviations and `residuals` the errors, both on the scale of `forward`.
    """

    actual: Array
    predicted: Array
    residuals: Array
    deviations: Array
    relative: bool

    @property
    def errors(self) -> Array:
        """The error at each point."""
        return self.predicted / self.actual - 1.0 if self.relative else self.predicted - self.actual

    @property
    def rms(self) -> float:
        """Root mean square of the errors."""
        return float(np.sqrt(np.mean(self.errors**2)))

    @cached_property
    def inflation(self) -> float:
        """The factor that calibrates the standard deviation."""
        return inflation(self.residuals, self.deviations)


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A fitted surrogate: a process per target, and two for the lower and the upper half width of its bracket.

    Those two hold logarithms of half widths on the scale of `forward`.
    """

    dataset: Dataset
    hull: Hull
    processes: dict[Target, Process]
    brackets: dict[Target, tuple[Process, Process]]
    loo: dict[Target, LeaveOneOut]

    @cached_property
    def inputs(self) -> Inputs:
        """The scaling of the flows."""
        return Inputs.of(self.dataset.antisolvent, self.dataset.precursor)

    @cached_property
    def fingerprint(self) -> str:
        """The hash by which later files name this surrogate: of its campaign and its hyper-parameters."""
        return digest([self.dataset.campaign, {target: self.processes[target].theta for target in TARGETS}])

    def check(self, point: OperatingPoint) -> None:
        """Raises `BadInput` outside the hull, or at another temperature than the campaign's."""
        self.hull.check(point)
        if abs(point.temperature_k - self.dataset.temperature_k) > _SAME_TEMPERATURE:
            raise BadInput(
                f"the campaign was computed at {self.dataset.temperature_k:g} K, not at {point.temperature_k:g} K",
                "compute a campaign at that temperature, in a case of its own",
            )

    def predict(self, point: OperatingPoint) -> dict[Target, Estimate]:
        """Every target at a point, by name.

        The band combines the 90 % band of the surrogate (its standard deviation times the leave-one-out factor) and
        the bracket of the campaign's own numbers (of a pressure drop, its discretization error) in quadrature, on the
        scale of `forward`. Raises as `check`.
        """
        self.check(point)
        answer: dict[Target, Estimate] = {}
        for target in TARGETS:
            value, deviation, down, up = (part[0] for part in self._parts(target, [point]))
            ends = [value, value - np.hypot(Z90 * deviation, down), value + np.hypot(Z90 * deviation, up)]
            middle, low, high = backward(target, np.array(ends)).tolist()
            answer[target] = Estimate(middle, low, high, UNITS[target], self.label(target))
        return answer

    def sample(
        self, target: Target, points: Sequence[OperatingPoint], surrogate_z: Array, bracket_z: Array
    ) -> Array:
        """A target at m points for n draws of two standard normal deviates, shape (m, n).

        A draw moves the same way at all points: neither the bracket, which is a systematic error, nor the surrogate's,
        which is smooth, is independent from point to point. ±1.645 of `bracket_z` are the bracket's ends. Raises as
        `check`.
        """
        for point in points:
            self.check(point)
        value, deviation, down, up = (part[:, None] for part in self._parts(target, points))
        bracket = np.where(bracket_z < 0, down, up) * bracket_z / Z90
        return backward(target, value + deviation * surrogate_z + bracket)

    def label(self, target: Target) -> Label:
        """A prediction is at best bounded: the campaign computes, it does not measure."""
        own = {"mixing_time_s": "time", "mixing_index": "index"}.get(target, "")
        return max("bounded", self.dataset.labels.get(own, "bounded"), key=LABELS.index)

    def loo_table(self) -> list[dict[str, Any]]:
        """One row per point and target, then one "RMS" row per target; errors in % (the index: in hundredths)."""
        rows: list[dict[str, Any]] = []
        for target in TARGETS:
            loo = self.loo[target]
            for i, name in enumerate(self.dataset.names):
                rows.append({
                    "target": target, "point": name, "actual": float(loo.actual[i]),
                    "predicted": float(loo.predicted[i]), "error_percent": 100.0 * float(loo.errors[i]),
                    "standardized": float(loo.residuals[i] / loo.deviations[i]),
                })
            rows.append({
                "target": target, "point": "RMS", "error_percent": 100.0 * loo.rms, "inflation": loo.inflation,
            })
        return rows

    def _parts(self, target: Target, points: Sequence[OperatingPoint]) -> tuple[Array, Array, Array, Array]:
        """Value, calibrated standard deviation, lower and upper half width of the bracket on the scale of `forward`.

        The half widths are interpolated by processes of their own, held to the range of the campaign's.
        """
        flows = np.array([(point.antisolvent_m3_s, point.precursor_m3_s) for point in points])
        x = self.inputs.scale(flows[:, 0], flows[:, 1])
        value, deviation = self.processes[target].predict(x)
        calibrated = deviation * self.loo[target].inflation
        if target not in self.brackets:  # the pressure drop, whose error is one number for the whole campaign
            width = np.full(len(points), np.log1p(self.dataset.pressure_error))
            return value, calibrated, width, width
        down, up = (_half_width(process, x) for process in self.brackets[target])
        return value, calibrated, down, up


def _half_width(process: Process, x: Array) -> Array:
    lowest, highest = float(np.min(process.y)), float(np.max(process.y))
    return np.asarray(np.exp(np.clip(process.predict(x)[0], lowest, highest)))


def learned(dataset: Dataset) -> dict[Target, tuple[Array, Array | None, Array | None]]:
    """What each target learns from: values, and ln of the lower and upper half widths, shapes (n,), transformed."""

    def bracketed(target: Target, columns: Array) -> tuple[Array, Array, Array]:
        value, low, high = (forward(target, column) for column in columns.T)
        return value, np.log(np.maximum(value - low, _NARROWEST)), np.log(np.maximum(high - value, _NARROWEST))

    return {
        "mixing_time_s": bracketed("mixing_time_s", dataset.time),
        "mixing_index": bracketed("mixing_index", dataset.index),
        "pressure_drop_pa": (forward("pressure_drop_pa", dataset.pressure_drop), None, None),
    }


def fit(dataset: Dataset) -> Surrogate:
    """The surrogate of a dataset, with its leave-one-out errors. Takes a few seconds; the same every time."""
    hull = Hull.around(list(zip(dataset.antisolvent.tolist(), dataset.precursor.tolist(), strict=True)))
    x = Inputs.of(dataset.antisolvent, dataset.precursor).scale(dataset.antisolvent, dataset.precursor)
    processes: dict[Target, Process] = {}
    brackets: dict[Target, tuple[Process, Process]] = {}
    loo: dict[Target, LeaveOneOut] = {}
    for target, (value, down, up) in learned(dataset).items():
        processes[target] = learn(x, value)
        if down is not None and up is not None:
            brackets[target] = (learn(x, down, restarts=1), learn(x, up, restarts=1))
        loo[target] = compared(target, value, *leave_one_out(x, value))
    return Surrogate(dataset, hull, processes, brackets, loo)


def compared(target: Target, value: Array, predicted: Array, deviation: Array) -> LeaveOneOut:
    """The leave-one-out errors of a target from its left-out predictions on the scale of `forward`."""
    actual = backward(target, value)
    relative = target != "mixing_index"
    return LeaveOneOut(actual, backward(target, predicted), predicted - value, deviation, relative)
