"""A search over a convex region of flows: a grid, then a pattern that closes in on the best point."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from twin.operating import OperatingPoint
from twin.surrogate import Hull

#: Points of the grid along each side, and how often the pattern's step is halved.
_GRID = 5
_HALVINGS = 5
_DIRECTIONS = tuple((i, j) for i, j in itertools.product((-1, 0, 1), repeat=2) if (i, j) != (0, 0))


@dataclass(frozen=True)
class Score:
    """How good a point is: a smaller `miss` first (0: feasible), then a larger `objective`."""

    miss: float
    objective: float

    def beats(self, other: Score) -> bool:
        """Whether it is better by more than rounding."""
        if abs(self.miss - other.miss) > 1e-12:
            return self.miss < other.miss
        return self.objective > other.objective + 1e-12 * abs(other.objective)


@dataclass(frozen=True)
class Region:
    """A hull of flows, polygon, segment or point, mapped to the unit square.

    (s, t): s runs over the antisolvent flows, t over the precursor flows that are allowed at that antisolvent flow; so
    the edges of the hull are edges of the square, and optima on them are hit exactly.
    """

    hull: Hull
    temperature_k: float

    def point(self, s: float, t: float) -> OperatingPoint:
        """The operating point at (s, t), both in 0 … 1."""
        flows = [vertex[0] for vertex in self.hull.vertices]
        antisolvent = min(flows) + s * (max(flows) - min(flows))
        bounds = self.hull.precursor_range(antisolvent) or self.hull.vertices[0][1:] * 2
        precursor = bounds[0] + t * (bounds[1] - bounds[0])
        return OperatingPoint(antisolvent, precursor, self.temperature_k)


def best(region: Region, score: Callable[[OperatingPoint], Score]) -> OperatingPoint:
    """The best point found: of the grid, then of the eight neighbours at a step that is halved where none is better.

    A local optimum far from the best grid point is missed; the step ends at 1/128 of the region.
    """
    steps = [i / (_GRID - 1) for i in range(_GRID)]
    places = list(itertools.product(steps, steps))
    here = places[0]
    for place in places[1:]:
        if score(region.point(*place)).beats(score(region.point(*here))):
            here = place
    step = 1.0 / (_GRID - 1)
    for _ in range(_HALVINGS):
        step *= 0.5
        here = _closer(region, score, here, step)
    return region.point(*here)


def _closer(
    region: Region, score: Callable[[OperatingPoint], Score], here: tuple[float, float], step: float
) -> tuple[float, float]:
    """The best of a place and its neighbours at a step."""
    found = here
    for direction in _DIRECTIONS:
        place = tuple(min(max(old + step * sign, 0.0), 1.0) for old, sign in zip(here, direction, strict=True))
        if score(region.point(*place)).beats(score(region.point(*found))):
            found = (place[0], place[1])
    return found
