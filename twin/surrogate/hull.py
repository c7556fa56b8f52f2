"""The flows that a campaign covers: the convex hull of its points, and the refusal of everything outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin.errors import BadInput
from twin.operating import OperatingPoint
from twin.units import to_ml_per_h

Flows = tuple[float, float]
#: Slack of the tests, as a share of the hull's extent: rounding of the units, not extrapolation.
_SLACK = 1e-9


@dataclass(frozen=True)
class Hull:
    """A convex polygon of (antisolvent, precursor) flows in m³/s, counter-clockwise; two vertices are a segment."""

    vertices: tuple[Flows, ...]

    @classmethod
    def around(cls, flows: Sequence[Flows]) -> Hull:
        """The convex hull of some flows (monotone chain; Andrew, Inf. Process. Lett. 9 (1979) 216).

        Raises `BadInput` where they are all the same point.
        """
        points = sorted({(float(a), float(p)) for a, p in flows})
        if len(points) < 2:
            raise BadInput("the campaign covers a single operating point", "add operating points to its sweeps")
        scale = _scale(points)
        vertices = tuple(_chain(points, scale)[:-1] + _chain(points[::-1], scale)[:-1])
        return cls(vertices)

    def contains(self, antisolvent: float, precursor: float) -> bool:
        """Whether flows in m³/s are inside or on the edge, up to rounding."""
        slack = self._slack()
        bounds = self.precursor_range(antisolvent)
        return bounds is not None and bounds[0] - slack[1] <= precursor <= bounds[1] + slack[1]

    def check(self, point: OperatingPoint) -> None:
        """Raises `BadInput` with the allowed range where a point would be an extrapolation."""
        antisolvent, precursor = point.antisolvent_m3_s, point.precursor_m3_s
        if self.contains(antisolvent, precursor):
            return
        across, along = self.precursor_range(antisolvent), self.antisolvent_range(precursor)
        allowed = [
            f"at antisolvent {to_ml_per_h(antisolvent):g} mL/h, precursor {_text(across)}",
            f"at precursor {to_ml_per_h(precursor):g} mL/h, antisolvent {_text(along)}",
        ]
        corners = ", ".join(f"{to_ml_per_h(a):g}/{to_ml_per_h(p):g}" for a, p in self.vertices)
        raise BadInput(
            f"{to_ml_per_h(antisolvent):g}/{to_ml_per_h(precursor):g} mL/h is outside the campaign, whose corners are"
            f" {corners} mL/h; allowed: {'; '.join(allowed)}",
            "choose flows in that range, or add points to the sweeps of the case and run twin sweep and twin fit",
        )

    def precursor_range(self, antisolvent: float) -> Flows | None:
        """The lowest and the highest precursor flow inside at an antisolvent flow, m³/s; None where there is none."""
        return self._range(antisolvent, 0)

    def antisolvent_range(self, precursor: float) -> Flows | None:
        """The lowest and the highest antisolvent flow inside at a precursor flow, m³/s; None where there is none."""
        return self._range(precursor, 1)

    def cut(self, weights: Flows, limit: float) -> Hull | None:
        """The part where weights · (antisolvent, precursor) ≤ limit (Sutherland–Hodgman); None where nothing is left.

        A part may be a single vertex.
        """
        values = [weights[0] * a + weights[1] * p for a, p in self.vertices]
        slack = _SLACK * max(max(abs(value) for value in values), abs(limit))
        kept: list[Flows] = []
        count = len(self.vertices)
        for i, (here, value) in enumerate(zip(self.vertices, values, strict=True)):
            if value <= limit + slack:
                kept.append(here)
            following, next_value = self.vertices[(i + 1) % count], values[(i + 1) % count]
            if count > 1 and (value - limit - slack) * (next_value - limit - slack) < 0:
                share = (limit - value) / (next_value - value)
                share = min(max(share, 0.0), 1.0)
                kept.append((here[0] + share * (following[0] - here[0]), here[1] + share * (following[1] - here[1])))
        unique: list[Flows] = []
        for vertex in kept:
            if not any(self._same(vertex, other) for other in unique):
                unique.append(vertex)
        return Hull(tuple(unique)) if unique else None

    def _range(self, value: float, axis: int) -> Flows | None:
        slack = self._slack()[axis]
        found: list[float] = []
        for here, following in zip(self.vertices, self.vertices[1:] + self.vertices[:1], strict=True):
            low, high = sorted((here[axis], following[axis]))
            if not low - slack <= value <= high + slack:
                continue
            if high - low <= slack:
                found += [here[1 - axis], following[1 - axis]]
                continue
            share = min(max((value - here[axis]) / (following[axis] - here[axis]), 0.0), 1.0)
            found.append(here[1 - axis] + share * (following[1 - axis] - here[1 - axis]))
        return (min(found), max(found)) if found else None

    def _same(self, one: Flows, other: Flows) -> bool:
        return all(abs(a - b) <= slack for a, b, slack in zip(one, other, self._slack(), strict=True))

    def _slack(self) -> Flows:
        largest = np.max(np.abs(np.array(self.vertices)), axis=0)
        return float(_SLACK * largest[0]), float(_SLACK * largest[1])


def _scale(points: Sequence[Flows]) -> Flows:
    largest = np.max(np.abs(np.array(points)), axis=0)
    return float(largest[0]), float(largest[1])


def _chain(points: Sequence[Flows], scale: Flows) -> list[Flows]:
    """One side of the hull; points within rounding of a straight line between others are dropped."""
    chain: list[Flows] = []
    for point in points:
        while len(chain) > 1 and _turn(chain[-2], chain[-1], point, scale) <= _SLACK:
            chain.pop()
        chain.append(point)
    return chain


def _turn(a: Flows, b: Flows, c: Flows, scale: Flows) -> float:
    """Twice the area of the triangle a, b, c in units of `scale`; positive for a turn to the left."""
    (ax, ay), (bx, by), (cx, cy) = ((x / scale[0], y / scale[1]) for x, y in (a, b, c))
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


def _text(bounds: Flows | None) -> str:
    if bounds is None:
        return "is not covered at all"
    low, high = (to_ml_per_h(bound) for bound in bounds)
    return f"is {low:g} mL/h" if abs(high - low) <= 1e-6 * high else f"{low:g} to {high:g} mL/h"
