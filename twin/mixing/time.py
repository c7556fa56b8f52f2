"""The mixing time: one number for how fast the segregation decays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MixingTime:
    """τ of I_s = exp(−2t/τ) in the unit of the times given, with the standard error of its logarithm."""

    tau: float
    log_error: float


def mixing_time(times: Sequence[float], segregation: Sequence[float]) -> MixingTime:
    """Least squares of ln I_s = −2t/τ through the unmixed inlet, I_s(0) = 1.

    Raises `ValueError` where the segregation does not fall: there is no mixing time then.
    """
    t, decay = np.asarray(times, float), -np.log(np.clip(np.asarray(segregation, float), 1e-12, None))
    slope = float(t @ decay / (t @ t))
    if slope <= 0:
        raise ValueError("the segregation does not fall along the outlet")
    spread = float(np.sqrt(((decay - slope * t) ** 2).sum() / max(len(t) - 1, 1) / (t @ t)))
    return MixingTime(2 / slope, spread / slope)
