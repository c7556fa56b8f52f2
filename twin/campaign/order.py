"""The order in which points are solved, so that Newton starts close to each."""

from __future__ import annotations

import math

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


def nearest_chain(case: Case, points: list[OperatingPoint]) -> list[OperatingPoint]:
    """The points in the order in which each is the nearest to the one before it, from the lowest Reynolds number up."""
    left = sorted(points, key=lambda point: groups(case, point).reynolds)
    chain = [left.pop(0)] if left else []
    while left:
        here = groups(case, chain[-1])
        away = [distance(here, groups(case, point)) for point in left]
        chain.append(left.pop(away.index(min(away))))
    return chain


def leaders(case: Case, points: list[OperatingPoint], solved: list[OperatingPoint]) -> list[OperatingPoint]:
    """Those of the points, in the order of their chain, that are `NEAR` neither the one before nor any that is solved.

    The others start from a neighbour, and need nothing on coarser meshes.
    """
    there = [groups(case, point) for point in solved]
    found = []
    for point in nearest_chain(case, points):
        here = groups(case, point)
        if all(distance(here, other) > NEAR for other in there):
            found.append(point)
        there.append(here)
    return found
