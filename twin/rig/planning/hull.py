"""Whether a point lies in the convex hull of others, in the plane."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]


def convex_hull(points: Sequence[Point]) -> list[Point]:
    """The corners of the convex hull, counter-clockwise (Andrew's monotone chain); two or one where it is flat.

    Reference: A. M. Andrew, Inf. Process. Lett. 9 (1979) 216.
    """
    ordered = sorted(set(points))
    if len(ordered) < 3:
        return ordered

    def chain(sequence: Sequence[Point]) -> list[Point]:
        corners: list[Point] = []
        for point in sequence:
            while len(corners) > 1 and _turn(corners[-2], corners[-1], point) <= 0:
                corners.pop()
            corners.append(point)
        return corners[:-1]

    return chain(ordered) + chain(ordered[::-1])


def contains(points: Sequence[Point], point: Point, tolerance: float = 1e-6) -> bool:
    """Whether `point` lies in the convex hull of `points`, or within `tolerance` of it.

    Both axes are first divided by their largest magnitude, so the tolerance is relative and the units don't matter.
    """
    if not points:
        return False
    scale = [max(abs(p[axis]) for p in (*points, point)) or 1.0 for axis in (0, 1)]
    corners = convex_hull([(x / scale[0], y / scale[1]) for x, y in points])
    here = (point[0] / scale[0], point[1] / scale[1])
    if len(corners) < 3:
        return _distance(corners[0], corners[-1], here) <= tolerance
    sides = list(zip(corners, corners[1:] + corners[:1], strict=True))
    inside = all(_turn(a, b, here) >= 0 for a, b in sides)
    return inside or min(_distance(a, b, here) for a, b in sides) <= tolerance


def _turn(a: Point, b: Point, c: Point) -> float:
    """Twice the signed area of a triangle: positive where it turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _distance(a: Point, b: Point, point: Point) -> float:
    """Distance of a point to the segment from a to b."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length2 = dx * dx + dy * dy
    share = 0.0 if length2 == 0 else ((point[0] - a[0]) * dx + (point[1] - a[1]) * dy) / length2
    share = min(max(share, 0.0), 1.0)
    x, y = a[0] + share * dx - point[0], a[1] + share * dy - point[1]
    return float((x * x + y * y) ** 0.5)
