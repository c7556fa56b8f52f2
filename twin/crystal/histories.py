"""What one fluid element of the precursor met on its way, in the place of a zone that stands for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from twin.errors import BadInput

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class History:
    """The share φ of the precursor's liquid around a fluid element: linear between samples, then engulfment.

    times   in s since it left its own stream, from 0 on, rising; (n,)
    shares  φ there, from 1 on, never rising, never below X₀ = `precursor_fraction`; (n,)
    rate    E in 1/s of dφ/dt = −E (φ − X₀) after the last sample, as in `Engulfment`

    The element keeps its solute and its crystals: nothing but liquid is exchanged with others.
    """

    precursor_fraction: float
    rate: float
    times: Array
    shares: Array

    def __post_init__(self) -> None:
        t, share = self.times, self.shares
        if not (len(t) == len(share) >= 1 and t[0] == 0 and share[0] == 1 and np.all(np.diff(t) > 0)):
            raise BadInput("a history begins at 0 s in its own stream, and its times rise", "solve the point again")
        if np.any(np.diff(share) > 0) or share[-1] < self.precursor_fraction or not 0 < self.precursor_fraction < 1:
            raise BadInput("the share of a history falls from 1 to the precursor's share of the flow at least")
        if not self.rate > 0:
            raise BadInput(f"the engulfment rate must be positive, not {self.rate:g} 1/s")

    @classmethod
    def of_samples(cls, times: Array, shares: Array, precursor_fraction: float, rate: float) -> History:
        """From noisy samples, times (n,) in s rising and φ (n,): the nearest history that never rises.

        Isotonic regression takes most of the noise out without a choice of how smooth to be. That φ never rises is
        engulfment's own assumption, made for each element by itself.
        """
        falling = np.clip(isotonic_regression(shares, increasing=False).x, precursor_fraction, 1.0)
        own = int(np.argmax(falling < 1.0)) if np.any(falling < 1.0) else len(falling)
        start = float(times[own - 1]) if own else 0.0
        return cls(
            precursor_fraction,
            rate,
            np.concatenate([[0.0], times[own:] - start]),
            np.concatenate([[1.0], falling[own:]]),
        )

    def again(self, returns: int, draw: np.random.Generator) -> History:
        """The same history as `returns` walkers a sample might have told it: what their noise does can be seen."""
        told = draw.binomial(returns, self.shares[1:]) / returns
        return History.of_samples(self.times[1:], told, self.precursor_fraction, self.rate)

    def dmf_fraction(self, time_s: float) -> float:
        """φ at a time in s."""
        last = float(self.times[-1])
        if time_s <= last:
            return float(np.interp(time_s, self.times, self.shares))
        left = float(self.shares[-1]) - self.precursor_fraction
        return self.precursor_fraction + left * math.exp(-self.rate * (time_s - last))

    def time_at(self, dmf_fraction: float) -> float:
        """The time in s at which φ has first fallen to `dmf_fraction`; inf where it never does."""
        if dmf_fraction >= self.shares[-1]:
            k = int(np.argmax(self.shares <= dmf_fraction))
            if k == 0:
                return 0.0
            before, after = float(self.shares[k - 1]), float(self.shares[k])
            part = (before - dmf_fraction) / (before - after)
            return float(self.times[k - 1] + part * (self.times[k] - self.times[k - 1]))
        left = dmf_fraction - self.precursor_fraction
        if left <= 0:
            return math.inf
        return float(self.times[-1]) + math.log((float(self.shares[-1]) - self.precursor_fraction) / left) / self.rate


def histories_of(times: Array, shares: Array, precursor_fraction: float, rate: float) -> Sequence[History]:
    """The histories of all elements: times and φ, (elements, samples), NaN past the end of a path."""
    found = []
    for time, share in zip(times, shares, strict=True):
        there = np.isfinite(time) & np.isfinite(share)
        found.append(History.of_samples(time[there], share[there], precursor_fraction, rate))
    return found
