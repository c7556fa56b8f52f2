"""The order in which points are solved, so that Newton starts close to each."""

from __future__ import annotations

import math
from collections.abc import Iterable

from twin.case import Case
from twin.junction import Groups, groups
from twin.operating import OperatingPoint

#: A solution this near is a better start on the same mesh than the point's own on a coarser one.
NEAR = 0.03


def distance(here: Groups, there: Groups) -> float:
    """How far two flows are apart, as Newton sees it: 0 for the same, about the part by which Re changes.

    The share of the precursor counts more than it weighs in the flow: it changes the boundary data of both inlets.
    """
    share = abs(there.precursor_fraction - here.precursor_fraction)
    return abs(math.log(there.reynolds / here.reynolds)) + 5 * share


def nearest_first(case: Case, points: list[OperatingPoint], solved: Iterable[Groups]) -> list[OperatingPoint]:
    """The points in the order in which each is the nearest to one before it, or to a flow that is solved.

    Where nothing is solved, from the lowest Reynolds number up.
    """
    left = sorted(points, key=lambda point: groups(case, point).reynolds)
    there = list(solved)
    found = []
    while left:
        away = [min((distance(groups(case, point), other) for other in there), default=0.0) for point in left]
        found.append(left.pop(away.index(min(away))))
        there.append(groups(case, found[-1]))
    return found


def leaders(case: Case, points: list[OperatingPoint], solved: Iterable[Groups]) -> list[OperatingPoint]:
    """Those of the points that are `NEAR` none before them in that order, nor any that is solved.

    The others start from a neighbour, and need nothing on coarser meshes.
    """
    there = list(solved)
    found = []
    for point in nearest_first(case, points, there):
        here = groups(case, point)
        if all(distance(here, other) > NEAR for other in there):
            found.append(point)
        there.append(here)
    return found
