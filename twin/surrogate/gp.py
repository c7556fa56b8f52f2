"""One Gaussian process for one quantity over two flows, with a leave-one-out error that re-learns everything."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.estimate import Z90

Array = NDArray[np.float64]

#: Share of the points that the band is to hold.
COVERAGE = 0.9
_SEED = 0


@dataclass(frozen=True)
class Inputs:
    """The inputs x = (ln Q − centre)/half range of both flows, so that the campaign fills [−1, 1]².

    An input that the campaign holds constant has half range 1 and tells nothing.
    """

    centre: tuple[float, float]
    half_range: tuple[float, float]

    @classmethod
    def of(cls, antisolvent: Array, precursor: Array) -> Inputs:
        """The scaling of some flows in m³/s."""
        logs = np.log(np.column_stack([antisolvent, precursor]))
        low, high = logs.min(axis=0), logs.max(axis=0)
        half = np.where(high - low > 1e-6, 0.5 * (high - low), 1.0)
        centre = 0.5 * (low + high)
        return cls((float(centre[0]), float(centre[1])), (float(half[0]), float(half[1])))

    def scale(self, antisolvent: Array, precursor: Array) -> Array:
        """Scaled inputs, shape (n, 2), of flows in m³/s, shapes (n,)."""
        logs = np.log(np.column_stack([antisolvent, precursor]))
        return np.asarray((logs - np.array(self.centre)) / np.array(self.half_range))


@dataclass(frozen=True, eq=False)
class Process:
    """A Gaussian process over scaled inputs `x`, shape (n, 2), of values `y`, shape (n,).

    Kernel, of y less its mean and over its standard deviation: 4 (1 + x·x′), the linear trend, which in logarithms is a
    power law of the flows; plus a Matérn 5/2 with one length per input; plus white noise. `theta` holds the logarithms
    of the free hyper-parameters in scikit-learn's order: amplitude, two lengths, noise.
    """

    x: Array
    y: Array
    theta: tuple[float, ...]

    @cached_property
    def _moments(self) -> tuple[float, float]:
        spread = float(np.std(self.y))
        return float(np.mean(self.y)), spread if spread > 1e-12 else 1.0

    @cached_property
    def _regressor(self) -> Any:
        return _regress(self.x, self._standardized, self.theta)

    @property
    def _standardized(self) -> Array:
        mean, spread = self._moments
        return (self.y - mean) / spread

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (noise included, not yet calibrated) at scaled inputs of shape (m, 2)."""
        mean, spread = self._moments
        value, deviation = self._regressor.predict(x, return_std=True)
        return mean + spread * value, spread * np.maximum(deviation, 1e-12)


def learn(x: Array, y: Array, restarts: int = 4) -> Process:
    """The process whose hyper-parameters maximise the marginal likelihood; the same every time."""
    spread = float(np.std(y))
    standardized = (y - np.mean(y)) / (spread if spread > 1e-12 else 1.0)
    fitted = _regress(x, standardized, None, restarts)
    return Process(x, y, tuple(float(value) for value in fitted.kernel_.theta))


def leave_one_out(x: Array, y: Array) -> tuple[Array, Array]:
    """Prediction and standard deviation at each point by a process that never saw it, shapes (n,).

    Hyper-parameters, mean and standard deviation are learned anew without the point, so that nothing leaks.
    """
    predictions = []
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        predictions.append(learn(x[others], y[others], restarts=1).predict(x[i : i + 1]))
    values, deviations = zip(*predictions, strict=True)
    return np.concatenate(values), np.concatenate(deviations)


def inflation(residuals: Array, deviations: Array) -> float:
    """The factor on the standard deviation with which the 90 % band holds 90 % of the left-out points.

    The ⌈0.9 (n + 1)⌉-th smallest |residual|/deviation over 1.645 (the conformal quantile; below 9 points the largest),
    and at least 1: a band is never made narrower than the process's own. Source of the quantile: Vovk, Gammerman &
    Shafer, Algorithmic Learning in a Random World (2005).
    """
    scores = np.sort(np.abs(residuals) / deviations)
    rank = min(len(scores), math.ceil(COVERAGE * (len(scores) + 1)))
    return max(1.0, float(scores[rank - 1]) / Z90)


def _regress(x: Array, y: Array, theta: tuple[float, ...] | None, restarts: int = 0) -> Any:
    """A fitted regressor: with `theta` as it is, or with the hyper-parameters optimised."""
    from sklearn.exceptions import ConvergenceWarning  # loading scikit-learn takes a second
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

    trend = ConstantKernel(4.0, "fixed") * DotProduct(1.0, "fixed")
    smooth = ConstantKernel(0.1, (1e-4, 10.0)) * Matern([1.0, 1.0], (0.3, 30.0), nu=2.5)
    kernel = trend + smooth + WhiteKernel(1e-4, (1e-8, 1.0))
    if theta is not None:
        kernel = kernel.clone_with_theta(np.array(theta))
        return GaussianProcessRegressor(kernel, optimizer=None).fit(x, y)
    regressor = GaussianProcessRegressor(kernel, n_restarts_optimizer=restarts, random_state=_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a smooth target puts a hyper-parameter at its bound
        return regressor.fit(x, y)
