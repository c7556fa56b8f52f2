"""How long the fluid stays, and how soon the precursor meets the antisolvent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Walkers sent back from each sample of a fluid element's history: its φ is good to √(φ(1 − φ)/24).
RETURNS = 24


@dataclass(frozen=True)
class Residence:
    """Moments of a residence-time distribution, in the unit of the times given, and the error of the mean.

    mean, deviation   first moment and the root of the second central one
    skewness          third central moment over the deviation's cube
    quantiles         (times) that 5, 25, 50, 75 and 95 % of the fluid have left by
    """

    mean: float
    mean_error: float
    deviation: float
    skewness: float
    quantiles: tuple[float, ...]


QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def residence(times: np.ndarray) -> Residence:
    """The distribution of the times (n,) that walkers released in proportion to the flux took."""
    deviation = float(times.std())
    skewness = float(((times - times.mean()) ** 3).mean()) / max(deviation**3, 1e-300)
    return Residence(
        float(times.mean()),
        deviation / np.sqrt(len(times)),
        deviation,
        skewness,
        tuple(np.quantile(times, QUANTILES).tolist()),
    )


@dataclass(frozen=True)
class Exposure:
    """When fluid elements that came as precursor have met a share `antisolvent` of antisolvent.

    reached     the share of the elements that did, before they left
    quantiles   times of 5, 25, 50, 75 and 95 % of all elements since each left its own stream; None where fewer than
                that many got there
    """

    antisolvent: float
    reached: float
    quantiles: tuple[float | None, ...]


def exposure(
    times: np.ndarray, composition: np.ndarray, antisolvent: Sequence[float] = (0.1, 0.5, 0.9), pure: float = 0.01
) -> list[Exposure]:
    """The times at which elements reach given shares of antisolvent, by linear interpolation of their histories.

    Args:
        times: (elements, samples), NaN past the end of a history.
        composition: (elements, samples) share of the precursor's liquid φ; NaN likewise.
        antisolvent: the shares 1 − φ asked for.
        pure: the clock of an element starts when 1 − φ first passes this.
    """
    share = 1 - composition
    start = _first_passage(times, share, pure)
    result = []
    for level in antisolvent:
        since = _first_passage(times, share, level) - start
        got = np.isfinite(since)
        ranked = np.where(got, since, np.inf)
        quantiles = np.quantile(ranked, QUANTILES, method="inverted_cdf")
        result.append(
            Exposure(level, float(got.mean()), tuple(float(q) if np.isfinite(q) else None for q in quantiles))
        )
    return result


def _first_passage(times: np.ndarray, share: np.ndarray, level: float) -> np.ndarray:
    """When each element first passes a level, (elements,); NaN where it does not."""
    above = np.nan_to_num(share, nan=-1.0) >= level
    first = np.argmax(above, axis=1)
    row = np.arange(len(times))
    before = np.maximum(first - 1, 0)
    low, high = share[row, before], share[row, first]
    part = np.where(first > 0, (level - low) / np.where(high > low, high - low, 1.0), 1.0)
    passed = times[row, before] + part * (times[row, first] - times[row, before])
    return np.where(above.any(axis=1), passed, np.nan)
