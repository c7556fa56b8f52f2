"""Segregation there and back: what random walkers tell of mixing, without any numerical diffusion.

Walkers released at the precursor's inlet in proportion to its flux cross a plane with the density c u_n/Q_p. From each
crossing another walker goes back, against the flow; the probability that it ends in the precursor's inlet is c there.
So the mean of that yes-or-no outcome, over all crossings counted with their sign, is p = ∫c² u_n dA/Q_p, and

    I_s = ∫u_n (c − c̄)² dA / [Q c̄ (1 − c̄)] = (p − c̄)/(1 − c̄),   c̄ = Q_p/Q,   M = 1 − √I_s.

What crosses by diffusion alone is left out: O(1/Pe) of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Segregation:
    """I_s at one plane, `bores` down the outlet, with its standard error; M = 1 − √I_s with its own."""

    bores: float
    segregation: float
    error: float

    @property
    def index(self) -> float:
        """M, 0 unmixed, 1 mixed."""
        return 1 - math.sqrt(max(self.segregation, 0.0))

    @property
    def index_error(self) -> float:
        """The standard error of M; where I_s itself drowns in its error, that of √error."""
        return self.error / (2 * math.sqrt(max(self.segregation, self.error / 4, 1e-300)))

    def as_dict(self) -> dict[str, float]:
        """The figures as JSON-like data."""
        return {
            "bores": self.bores, "segregation": self.segregation, "error": self.error,
            "index": self.index, "index_error": self.index_error,
        }  # fmt: skip


def there_and_back(
    positions: Sequence[float],
    walkers: int,
    mean: float,
    walker: np.ndarray,
    plane: np.ndarray,
    direction: np.ndarray,
    returned: np.ndarray,
) -> list[Segregation]:
    """The segregation at every plane.

    Args:
        positions: (planes,) in bores.
        walkers: how many were released.
        mean: c̄, the precursor's share of the flow.
        walker: of each crossing, (k,).
        plane: of each crossing, (k,).
        direction: of each crossing, (k,); +1 is downstream.
        returned: (k,) whether, or in what share, the walkers sent back from it ended in the precursor's inlet.

    The error is that of the mean over walkers, each with the sum of its crossings: two crossings of one walker are not
    independent. No walker's outcome varies less than a single return among them all would make it.
    """
    result = []
    for number, position in enumerate(positions):
        here = plane == number
        each = np.bincount(walker[here], direction[here] * returned[here], minlength=walkers)
        error = max(float(each.std()), 1 / math.sqrt(walkers)) / math.sqrt(walkers)
        result.append(Segregation(float(position), (float(each.mean()) - mean) / (1 - mean), error / (1 - mean)))
    return result


def of_replicates(bores: float, pairs: Mapping[tuple[int, int], float]) -> Segregation:
    """The segregation of one field that is known several times, each with noise of its own: the mean over the pairs.

    Args:
        bores: the plane.
        pairs: I_s of each pair of fields, from the product of the two: their noise has no part in it.

    The error is the jackknife's, from leaving out one field at a time (Efron and Stein 1981); NaN of fewer than three.
    """
    fields = sorted({one for pair in pairs for one in pair})
    mean = float(np.mean(list(pairs.values())))
    if len(fields) < 3:
        return Segregation(bores, mean, math.nan)
    without = [float(np.mean([value for pair, value in pairs.items() if one not in pair])) for one in fields]
    return Segregation(bores, mean, float(np.std(without)) * math.sqrt(len(fields) - 1))


@dataclass(frozen=True)
class Striation:
    """The thickness of the striations between two planes, in bores, with its standard error."""

    bores: float
    thickness: float
    error: float


def striations(planes: Sequence[Segregation], peclet: float) -> list[Striation]:
    """ℓ² = ∫u_n (c − c̄)² dA / [U ∫|∇c|² dA] between neighbouring planes, from how fast the segregation falls.

    The variance budget −dI_s/dx = 2/(Pe Q c̄(1−c̄)) ∫|∇c|² dA (x in bores, Q in bore²U) holds without any map of c, so
    ℓ² = 2 I_s/(−Pe dI_s/dx). Pairs of planes whose difference is below twice its error are left out.
    """
    found = []
    for one, two in pairwise(planes):
        fall, error = one.segregation - two.segregation, math.hypot(one.error, two.error)
        if fall < 2 * error or two.segregation <= 0:
            continue
        middle, length = (one.segregation + two.segregation) / 2, two.bores - one.bores
        thickness = math.sqrt(2 * middle * length / (peclet * fall))
        found.append(Striation((one.bores + two.bores) / 2, thickness, thickness * error / (2 * fall)))
    return found


@dataclass(frozen=True)
class Swing:
    """The part of I_s at one plane that lies between the phases of a period, with its standard error."""

    bores: float
    segregation: float
    error: float


def swings(
    positions: Sequence[float],
    walkers: int,
    mean: float,
    plane: np.ndarray,
    direction: np.ndarray,
    phase: np.ndarray,
    flow: np.ndarray,
) -> list[Swing]:
    """How much of the I_s of a periodic flow is a swing of the whole plane's mixture in time.

    I_s about the mean c̄ of the period is I_s about each moment's own mean m(t), and ∫Q (m − c̄)² dt/[∫Q dt c̄(1 − c̄)]:
    what even a tube of no thickness would have. A part f of the crossings in a part w of the flow says m/c̄ = f/w.

    Args:
        positions: (planes,) in bores.
        walkers: how many were released, over one period, as dense as the precursor's inflow.
        mean: c̄, over the period.
        plane: of each crossing, (k,).
        direction: of each crossing, (k,); +1 is downstream.
        phase: of each crossing, (k,), from 0 up to 1.
        flow: share of the period's flow in each of so many equal parts of the period, (parts,).

    The noise of counting, (parts − 1)/walkers in the mean, is taken away; so a small swing may come out negative.
    """
    parts, found = len(flow), []
    part = np.minimum((phase * parts).astype(int), parts - 1)
    for number, position in enumerate(positions):
        here = plane == number
        share = np.bincount(part[here], direction[here], minlength=parts) / walkers
        excess = float((share**2 / flow).sum()) - 1 - (parts - 1) / walkers
        error = math.sqrt(2 * (parts - 1) / walkers**2 + 4 * max(excess, 0.0) / walkers)
        scale = mean / (1 - mean)
        found.append(Swing(float(position), scale * excess, scale * error))
    return found
