"""The recipe of a connector: an unstructured core where the bores meet, layers along the bores beyond it."""

from __future__ import annotations

import math

import gmsh
import numpy as np

from twin.case.schema import Level
from twin.junction import Connector
from twin.meshing.adapt import Metric
from twin.meshing.bodies import Layout, layout
from twin.meshing.core import Core, mesh_core, plane_name
from twin.meshing.grid import EDGES, Grid, oriented
from twin.meshing.sweep import layers, mean_size, sweep


def draw(connector: Connector, level: Level, metric: Metric | None = None) -> None:
    """Puts the mesh of the connector into a new Gmsh model, in bores, with named boundaries. Gmsh must be running."""
    connector_grid(connector, level, metric).to_gmsh()


def connector_grid(connector: Connector, level: Level, metric: Metric | None = None) -> Grid:
    """The mesh of the connector; its core follows a `metric`. Gmsh must be running.

    Every whole bore down the outlet is a plane of facets, so that a conservative scheme has the exact flux through it.
    """
    plan = _plan(connector, level)
    gmsh.model.add("core")
    core = mesh_core(connector, level, plan, metric)
    gmsh.model.remove()
    return _extended(core, plan, level)


def exact_sections(connector: Connector, level: Level) -> dict[str, float]:
    """The exact area in bore² of every inlet, of the outlet and of the cut planes, as meshed (whole or half)."""
    plan = _plan(connector, level)
    share = 0.5 if connector.symmetric_half else 1.0
    areas = {body.name: share * body.area(body.length) for body in plan.bodies}
    for bores in range(1, connector.outlet_bores):
        if bores >= plan.clear:
            areas[plane_name(bores)] = share * plan.outlet.area(bores)
    return areas


def _plan(connector: Connector, level: Level) -> Layout:
    return layout(connector, mean_size(level), level.core_bores)


def _extended(core: Core, plan: Layout, level: Level) -> Grid:
    """The core with the layers of the bores that go on."""
    points, cells = [core.grid.points], [core.grid.cells]
    facets = {name: [nodes] for name, nodes in core.grid.facets.items()}
    size = len(core.grid.points)
    for body in plan.bodies:
        if body.name not in core.caps:
            continue
        cap, start = core.caps[body.name], plan.core[body.name]
        stops = [float(bores) for bores in range(math.floor(start) + 1, math.ceil(body.length))]
        if body is not plan.outlet:
            stops = []
        distances = layers(start, body.length, level, stops)
        part = sweep(body, core.grid.points, cap, _rim(core.grid, cap), distances, size)
        points.append(part.points)
        cells.append(part.cells)
        size += len(part.points)
        for name, sides in part.sides.items():
            facets[name].append(sides)
        facets.setdefault(body.name, []).append(part.ends[-1])
        if body is plan.outlet and start == round(start):
            facets[plane_name(round(start))] = [cap]
        for stop in stops:
            facets[plane_name(round(stop))] = [part.ends[int(np.argmin(abs(distances[1:] - stop)))]]
    everything = np.vstack(points)
    order = sorted(facets, key=lambda name: (name.startswith("plane_"), len(name), name))
    return Grid(everything, oriented(everything, np.vstack(cells)), {name: np.vstack(facets[name]) for name in order})


def _rim(grid: Grid, cap: np.ndarray) -> dict[str, np.ndarray]:
    """The edges (e, 3) of a cap that it shares with the wall or the symmetry plane, by their name."""
    edges = _edges(cap)
    rim: dict[str, np.ndarray] = {}
    for name in ("wall", "symmetry"):
        if name in grid.facets:
            middles = np.unique(grid.facets[name][:, 3:])
            shared = edges[np.isin(edges[:, 2], middles)]
            rim[name] = shared[np.unique(shared[:, 2], return_index=True)[1]]
    return rim


def _edges(triangles: np.ndarray) -> np.ndarray:
    return np.vstack([triangles[:, [*EDGES[2][k], 3 + k]] for k in range(3)])
