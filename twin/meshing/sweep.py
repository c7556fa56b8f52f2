"""The straight parts of the bores: a section's triangulation in layers that grow along the flow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from twin.case.schema import Level
from twin.meshing.bodies import Body
from twin.meshing.grid import EDGES

GROWTH = 2.0  # bores from the core on which the layers reach their full thickness
#: The tetrahedra of a prism and the triangles of its side, by corner and end (0 below, 1 above); the corners in order.
_PRISM = np.array(
    [[(0, 0), (1, 0), (2, 0), (2, 1)], [(0, 0), (1, 0), (1, 1), (2, 1)], [(0, 0), (0, 1), (1, 1), (2, 1)]]
)
_SIDE = np.array([[(0, 0), (1, 0), (1, 1)], [(0, 0), (1, 1), (0, 1)]])


def mean_size(level: Level) -> float:
    """The mean element size in a section, in bores."""
    return math.sqrt(level.wall_size * level.core_size)


def layers(start: float, end: float, level: Level, stops: list[float]) -> np.ndarray:
    """The distances of the layers' ends from `start` to `end`, with one at each of `stops`.

    The thickness follows from the place and the level's sizes alone, so that a refined level has similar layers.
    """
    found = [np.array([start])]
    for first, last in zip([start, *stops], [*stops, end], strict=True):
        s = np.linspace(first, last, 400)
        thickness = mean_size(level) * (1 + (level.stretch - 1) * np.minimum(1.0, (s - start) / GROWTH))
        count = np.concatenate([[0.0], np.cumsum(np.diff(s) * (1 / thickness[1:] + 1 / thickness[:-1]) / 2)])
        number = max(1, math.ceil(count[-1] - 0.05))
        found.append(np.interp(np.linspace(0, count[-1], number + 1)[1:], count, s))
    return np.concatenate(found)


@dataclass(frozen=True)
class Sweep:
    """The layers of a body: the new `points`, the `cells` (m, 10), the `sides` (k, 6) by the name of their boundary,
    and for each end of a layer its triangles `ends` (t, 6).
    """

    points: np.ndarray
    cells: np.ndarray
    sides: dict[str, np.ndarray]
    ends: list[np.ndarray]


def sweep(
    body: Body,
    points: np.ndarray,
    triangles: np.ndarray,
    rim: dict[str, np.ndarray],
    distances: np.ndarray,
    new: int,
) -> Sweep:
    """The layers of a body beyond the core.

    `triangles` (t, 6) of the core's cap and the edges `rim` (e, 3) by the name of the boundary that they bear, as rows
    of the core's `points`; `distances` (n + 1) of the layers' ends; `new`, the row that the first new point gets.
    Second-order nodes stand at every half-layer: the map of each tetrahedron is that of the curved section, and as
    valid as the section.
    """
    nodes = np.unique(triangles)
    halves = np.empty(2 * len(distances) - 1)
    halves[::2], halves[1::2] = distances, (distances[:-1] + distances[1:]) / 2
    scale = np.array([body.diameter(s) for s in halves]) / body.diameter(halves[0])
    flat = points[nodes] - body.at(halves[0])
    stack = scale[:, None, None] * flat + np.array([body.at(s) for s in halves])[:, None, :]
    # Rows of points by half-layer and node of the section; the first half-layer is the cap itself.
    rows = np.vstack([nodes, new + np.arange((len(halves) - 1) * len(nodes)).reshape(-1, len(nodes))])
    section = _pairs(np.searchsorted(nodes, triangles), 3)
    edges = {name: _pairs(np.searchsorted(nodes, edge), 2) for name, edge in rim.items()}
    cells: list[np.ndarray] = []
    sides: dict[str, list[np.ndarray]] = {name: [] for name in rim}
    for layer in range(len(distances) - 1):
        here = rows[2 * layer : 2 * layer + 3]
        cells.append(_split(_sorted(section, bool(layer % 2)), _PRISM, here))
        for name, edge in edges.items():
            sides[name].append(_split(_sorted(edge, bool(layer % 2)), _SIDE, here))
    return Sweep(
        stack[1:].reshape(-1, 3),
        np.vstack(cells),
        {name: np.vstack(parts) for name, parts in sides.items()},
        [rows[2 * layer][np.searchsorted(nodes, triangles)] for layer in range(1, len(distances))],
    )


def _pairs(simplices: np.ndarray, corners: int) -> np.ndarray:
    """The node between each two corners of second-order simplices, (n, corners, corners); a corner by itself."""
    table = np.empty((len(simplices), corners, corners), dtype=int)
    for corner in range(corners):
        table[:, corner, corner] = simplices[:, corner]
    for node, (one, other) in enumerate(EDGES[corners - 1], start=corners):
        table[:, one, other] = table[:, other, one] = simplices[:, node]
    return table


def _sorted(pairs: np.ndarray, falling: bool) -> np.ndarray:
    """The table with its corners in the order of their numbers. Neighbours then cut the side between them alike; the
    order turns from layer to layer, so that the diagonals don't wind.
    """
    corners = np.diagonal(pairs, axis1=1, axis2=2)
    order = np.argsort(-corners if falling else corners, axis=1)
    n = np.arange(len(pairs))[:, None, None]
    return pairs[n, order[:, :, None], order[:, None, :]]


def _split(pairs: np.ndarray, pattern: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The second-order simplices of `pattern` on each prism or side; `rows` (3, nodes) below, half way and above."""
    corners = pattern.shape[1]
    ends = np.vstack([np.column_stack([np.arange(corners)] * 2), EDGES[corners - 1]])
    found = []
    for simplex in pattern:
        nodes = [rows[simplex[p, 1] + simplex[q, 1]][pairs[:, simplex[p, 0], simplex[q, 0]]] for p, q in ends]
        found.append(np.column_stack(nodes))
    return np.vstack(found)
