"""Whether the points of a measured profile lie where its inlet is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import Delaunay, cKDTree

from twin.case import FlowCase
from twin.case.tables import read_profile
from twin.errors import BadInput

if TYPE_CHECKING:
    from twin.meshing import MeshFolder

NEAR = 0.5  # widths of the inlet: none of the points of a profile that is meant for it is further off
SIZES = (0.15, 7.0)  # times the inlet's size: a profile beyond is in another unit
COVERED = 0.8  # of the inlet: with less, much of the profile is made up
BESIDE = 0.7  # of the points' own extent: with more outside of the inlet, they belong to a wider one
_SAMPLES = 12  # along each edge of a facet


def profile_doubt(case: FlowCase, made: MeshFolder) -> str:
    """What is doubtful about the points of measured profiles, in words; empty where nothing is.

    Raises `BadInput` for a profile that is of another dimension, off its inlet, or of far another size.
    """
    found = []
    for name, inlet in case.boundaries.inlets.items():
        if not inlet.profile.endswith(".csv"):
            continue
        table, dim = read_profile(case.folder / inlet.profile), made.quality.dimension
        if table.dim == dim:  # the solver refuses the other
            words = _held_against(made.facets(name), table.points[:, :dim], f"the points of {inlet.profile}", name)
            found += [words] if words else []
    return "; ".join(found)


def _held_against(facets: np.ndarray, points: np.ndarray, what: str, name: str) -> str:
    """The doubt about points (n, dim) on an inlet of facets with the corners (m, dim, dim), in the mesh's unit."""
    dim = points.shape[1]
    corners = facets.reshape(-1, dim)
    centre = corners.mean(axis=0)
    axes = np.linalg.svd(corners - centre, full_matrices=False)[2][: dim - 1]  # of the plane, or line, of the inlet
    inside, own = (corners - centre) @ axes.T, (points - centre) @ axes.T
    width, height = _extents(inside)[[0, -1]]
    misfit = BadInput(
        f'{what} span {_span(points)}, and the inlet "{name}" spans {_span(corners)}',
        "give them in the mesh's unit and its frame, on the inlet",
    )
    if cKDTree(corners).query(points)[0].min() > NEAR * width:
        raise misfit
    long, narrow = _extents(own)[[0, -1]]
    if narrow < SIZES[0] * height or long > SIZES[1] * width:
        raise misfit
    samples, weights = _samples(facets)
    at = (samples - centre) @ axes.T
    if dim == 2:
        among = (at >= np.min(own) - 1e-9) & (at <= np.max(own) + 1e-9)
        extent = float(long)
    else:
        hull = Delaunay(own)
        among = hull.find_simplex(at, tol=1e-9) >= 0
        extent = float(_measures(own[hull.simplices]).sum())
    covered = float(weights @ among.ravel())
    if covered < COVERED * weights.sum():
        share = 100 * covered / weights.sum()
        return f'{what} cover {share:.0f} % of the inlet "{name}": elsewhere the speed of the nearest one holds'
    if covered < (1 - BESIDE) * extent:
        return f'{what} reach far beyond the inlet "{name}": only {100 * covered / extent:.0f} % of them is on it'
    return ""


def _extents(points: np.ndarray) -> np.ndarray:
    """How far points (n, k) reach along their own axes, (k,), of which the first has the widest spread."""
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
    along = points @ axes.T
    return np.asarray(along.max(axis=0) - along.min(axis=0))


def _samples(facets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, dim) all over the facets, and the length or area that each stands for, (n,)."""
    dim = facets.shape[1]
    steps = np.arange(_SAMPLES)
    if dim == 2:
        u = (steps + 0.5) / _SAMPLES
        shares = np.column_stack([u, 1 - u])
    else:  # the middles of alike triangles, those that stand as the facet does and those upside down
        i, j = (part.ravel() for part in np.meshgrid(steps, steps))
        corner = np.column_stack([i, j])
        upright, turned = corner[i + j < _SAMPLES] + 1 / 3, corner[i + j < _SAMPLES - 1] + 2 / 3
        u, v = np.vstack([upright, turned]).T / _SAMPLES
        shares = np.column_stack([u, v, 1 - u - v])
    weights = np.repeat(_measures(facets) / len(shares), len(shares))
    return np.einsum("sc,mcd->msd", shares, facets).reshape(-1, dim), weights


def _measures(facets: np.ndarray) -> np.ndarray:
    """The lengths of lines (m, 2, ·), or the areas of triangles (m, 3, ·)."""
    spans = facets[:, 1:] - facets[:, :1]
    gram = spans @ spans.transpose(0, 2, 1)
    return np.sqrt(np.maximum(np.linalg.det(gram), 0)) / (facets.shape[1] - 1)


def _span(points: np.ndarray) -> str:
    """The extent of points, in words."""
    return ", ".join(f"{part.min():.4g} … {part.max():.4g}" for part in points.T)
