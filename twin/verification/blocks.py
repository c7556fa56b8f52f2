"""Simple bodies in tetrahedra, with any velocity: where the answers of walkers are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from twin.transport import Tetrahedra, sampled, tetrahedra

Velocity = Callable[[np.ndarray], np.ndarray]
Where = Callable[[np.ndarray], np.ndarray]


def box(
    lengths: tuple[float, float, float],
    cells: tuple[int, int, int],
    velocity: Velocity,
    openings: Mapping[str, Where],
    outlets: tuple[str, ...] = ("outlet",),
) -> Tetrahedra:
    """A box from the origin along x: six tetrahedra around a diagonal of each cuboid.

    `openings` says by name which middles of outer faces, (faces, 3), belong to an opening; all others are walls.
    """
    axes = [np.linspace(0, length, count + 1) for length, count in zip(lengths, cells, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    nx, ny, nz = cells
    i, j, k = (a.ravel() for a in np.meshgrid(np.arange(nx), np.arange(ny), np.arange(nz), indexing="ij"))

    def corner(a: int, b: int, c: int) -> np.ndarray:
        return ((i + a) * (ny + 1) + j + b) * (nz + 1) + k + c

    ways = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    tets = []
    for way in ways:
        step, path = [0, 0, 0], [corner(0, 0, 0)]
        for axis in way:
            step[axis] = 1
            path.append(corner(*step))
        tets.append(np.column_stack(path))
    return _with(points, np.concatenate(tets), velocity, openings, outlets)


def tube(
    length: float, layers: int, rings: int, velocity: Velocity, openings: Mapping[str, Where], grading: float = 1.0
) -> Tetrahedra:
    """A tube of unit bore along z, from z = 0: rings of 6, 12, 18 … points, prisms cut in three.

    The points of the outermost ring lie on the circle, so the wall is a polygon of 6·rings sides. `grading` below 1
    draws the rings towards the wall.
    """
    disc, triangles = _disc(rings, grading)
    z = np.linspace(0, length, layers + 1)
    points = np.concatenate([np.column_stack([disc, np.full(len(disc), height)]) for height in z])
    ordered = np.sort(triangles, axis=1)
    tets = []
    for layer in range(layers):
        low, high = ordered + layer * len(disc), ordered + (layer + 1) * len(disc)
        # Cut by the order of the vertices: neighbours cut their shared side along the same diagonal.
        tets += [
            np.column_stack([low[:, 0], low[:, 1], low[:, 2], high[:, 2]]),
            np.column_stack([low[:, 0], low[:, 1], high[:, 1], high[:, 2]]),
            np.column_stack([low[:, 0], high[:, 0], high[:, 1], high[:, 2]]),
        ]
    return _with(points, np.concatenate(tets), velocity, openings, ("outlet",))


def _disc(rings: int, grading: float) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial import Delaunay

    points = [np.zeros((1, 2))]
    for ring in range(1, rings + 1):
        angle = 2 * np.pi * (np.arange(6 * ring) + 0.5 * (ring % 2)) / (6 * ring)
        points.append(0.5 * (ring / rings) ** grading * np.column_stack([np.cos(angle), np.sin(angle)]))
    disc = np.concatenate(points)
    return disc, Delaunay(disc).simplices


def _with(
    points: np.ndarray, cells: np.ndarray, velocity: Velocity, openings: Mapping[str, Where], outlets: tuple[str, ...]
) -> Tetrahedra:
    cells = np.sort(cells, axis=1)
    faces = np.concatenate([np.delete(cells, face, axis=1) for face in range(4)])
    _, first, count = np.unique(faces, axis=0, return_index=True, return_counts=True)
    outer = faces[first[count == 1]]
    middles = points[outer].mean(axis=1)
    named = {name: outer[where(middles)] for name, where in openings.items()}
    return tetrahedra(points, cells, [sampled(points, cells, velocity)], named, outlets)
