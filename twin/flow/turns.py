"""Where what flows along a curve changes its direction: at the ends of eddies."""

from __future__ import annotations

import numpy as np
from dolfinx import fem

from twin.errors import BadInput
from twin.fem.domain import Domain
from twin.flow.probes import Probes

WEAK = 0.02  # of the mean along a curve: an eddy below it, as in a corner, is none that different meshes agree about
FINER = 33  # points between two samples of which the velocity turns: there it is quadratic, or nearly so


def sign_changes(values: np.ndarray, mean: float, closed: bool = False) -> list[tuple[int, int]]:
    """The numbers of the samples just before and just after each change of sign of `values`, (n,), along a curve, which
    may be closed. Stretches of one sign that stay below `WEAK` times `mean` don't count: the weakest first, each
    becomes a part of those beside it. So a strong stretch keeps the weak arm of its eddy beyond a corner, where the
    shear is zero, and ends where that arm does.
    """
    order = np.arange(len(values))
    if closed:  # opened within its strongest stretch, which is then at both ends
        order = np.append(np.roll(order, -int(np.argmax(abs(values)))), np.argmax(abs(values)))
    signs = np.sign(values[order])
    known = np.maximum.accumulate(np.where(signs != 0, np.arange(len(order)), 0))  # a zero belongs to what is before it
    changes = [int(index) for index in np.flatnonzero(np.diff(signs[known])) + 1]
    peaks = [float(part.max()) for part in np.split(abs(values[order]), changes)]
    while changes and min(peaks) <= WEAK * mean:
        weakest = int(np.argmin(peaks))
        first, end = max(weakest - 1, 0), min(weakest + 2, len(peaks))
        peaks[first:end] = [max(peaks[first:end])]
        del changes[first : end - 1]
    return sorted((int(order[change - 1]), int(order[change])) for change in changes)


def turns_along(
    domain: Domain, velocity: fem.Function, points: np.ndarray, samples: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """Where the velocity along a straight line turns, in order, (dim,): `turn forward` where it goes along the line
    from there on, `turn backward` where it goes against it. What turns between two samples with a body between them
    does not count.

    `points` (n, dim) lie on the line, in the mesh's unit, in order; `samples` (n, dim) is the velocity there.
    """
    direction = (points[-1] - points[0]) / np.linalg.norm(points[-1] - points[0])
    along, mean = samples @ direction, float(np.linalg.norm(samples, axis=1).mean())
    found = []
    for one, other in sign_changes(along, mean):
        between = np.linspace(points[one], points[other], FINER)
        try:
            finer = np.asarray(Probes(domain, between).sample(velocity)) @ direction
        except BadInput:  # on all ranks: a body lies between these samples
            continue
        finer[0], finer[-1] = along[one], along[other]  # computed again they may round to another sign
        first = int(np.flatnonzero(finer * along[other] > 0)[0])
        before, after = finer[first - 1], finer[first]
        place = (after * between[first - 1] - before * between[first]) / (after - before)
        found.append(("turn forward" if along[other] > 0 else "turn backward", place))
    return found
