"""The mixing time and the mixing length: one number each for how fast the segregation decays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MixingTime:
    """τ of I_s = exp(−2t/τ) in the unit of the times given, with the standard error of its logarithm."""

    tau: float
    log_error: float


def mixing_time(
    times: Sequence[float], segregation: Sequence[float], errors: Sequence[float] | None = None
) -> MixingTime:
    """Least squares of ln I_s = −2t/τ through the unmixed inlet, I_s(0) = 1.

    With places in bores instead of times, τ is the mixing length. The error is that of the fit: how far the planes lie
    off one exponential, and with the standard `errors` of the segregation also what these leave of the slope.

    Raises `ValueError` where the segregation does not fall: there is no mixing time then.
    """
    t = np.asarray(times, float)
    error = np.zeros_like(t) if errors is None else np.asarray(errors, float)
    values = np.maximum(np.asarray(segregation, float), np.maximum(error, 1e-12))  # below its error it says no more
    decay = -np.log(values)
    slope = float(t @ decay / (t @ t))
    if slope <= 0:
        raise ValueError("the segregation does not fall along the outlet")
    misfit = float(((decay - slope * t) ** 2).sum() / max(len(t) - 1, 1) / (t @ t))
    sampling = float(t**2 @ (error / values) ** 2) / float(t @ t) ** 2
    return MixingTime(2 / slope, float(np.sqrt(misfit + sampling)) / slope)
