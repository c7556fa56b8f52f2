"""The program that draws the pictures of a job, in a process of its own: a broken OpenGL ends it and nothing else.

    python -m twin.view.render JOB.json

A job is `{"tasks": [{"kind", "source", "target", …}, …]}`, as `twin.view.scenes` writes it. Lengths are drawn in mm.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyvista as pv

from twin.files import read_json, whole
from twin.view.canvas import STREAMS, WIDTH, Canvas
from twin.view.palette import ANTISOLVENT, OUTLET, PRECURSOR, WALL

Task = dict[str, Any]

#: Where the flat section lies off the symmetry plane, and the last section before the outlet's end, in bores.
_OFF = 1e-3
#: Concentrations over the fully mixed one are coloured from 1/20 to 20.
_LIMITS, _TICKS = (0.05, 20.0), [0.05, 0.2, 1.0, 5.0, 20.0]
_CONCENTRATION = "precursor stream over its mixed share; smeared by the grid"
#: Cross-sections of a picture; streamlines of each inlet, and their radius in bores.
_DISCS = 7
#: The edges on whose middles VTK has the other nodes of a quadratic tetrahedron, in order.
_EDGES = ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))
_LINES = {"antisolvent": (70, 0.008), "precursor": (120, 0.011)}


def load(task: Task) -> Any:
    """The grid of a task in mm, with speed in m/s, pressure in Pa and, where there is one, the concentration over its
    mixed value.
    """
    grid = pv.read(task["source"])
    grid.points = np.asarray(grid.points, float) * task["bore_mm"]
    if "velocity" in grid.point_data:
        velocity = np.asarray(grid["velocity"], float)
        grid["speed"] = np.linalg.norm(velocity, axis=1) * task["velocity_m_s"]
        grid["pressure"] = np.asarray(grid["pressure"], float) * task["pressure_pa"]
    if "concentration" in grid.point_data:
        grid["ratio"] = np.clip(np.asarray(grid["concentration"], float) / task["mean"], 1e-6, None)
    return grid


def middle_plane(grid: Any, task: Task) -> Any:
    """The section through the axes: beside the symmetry plane of a half mesh, through the middle of a whole one."""
    y0, y1 = grid.bounds[2:4]
    height = y0 + _OFF * task["bore_mm"] if task["half"] else (y0 + y1) / 2
    section = grid.slice(normal="y", origin=(0.0, height, 0.0))
    section.points[:, 1] = 0.0
    return section


def mirrored(mesh: Any, task: Task) -> Any:
    """A half body with its mirror image; a whole one as it is."""
    return mesh.merge(mesh.reflect((0, 1, 0), point=(0, 0, 0)), merge_points=False) if task["half"] else mesh


def draw_speed(task: Task) -> Canvas:
    """Speed on the middle plane."""
    section = middle_plane(load(task), task)
    return _flat(task, section, "speed", (0.0, float(np.max(section["speed"]))), "speed, m/s", cmap="viridis")


def draw_pressure(task: Task) -> Canvas:
    """Pressure on the middle plane."""
    section = middle_plane(load(task), task)
    low, high = (float(end) for end in np.percentile(section["pressure"], (0.1, 99.9)))
    return _flat(task, section, "pressure", (low, high), "pressure above the outlet's, Pa", cmap="cividis")


def draw_concentration(task: Task) -> Canvas:
    """Concentration of the precursor stream on the middle plane, over its fully mixed value."""
    section = middle_plane(load(task), task)
    return _flat(task, section, "ratio", _LIMITS, _CONCENTRATION, _TICKS, cmap=STREAMS, log_scale=True)


def _flat(
    task: Task, section: Any, scalars: str, limits: tuple[float, float], title: str,
    ticks: list[float] | None = None, **options: Any,
) -> Canvas:
    canvas = Canvas.flat(section)
    actor = canvas.paint(section, scalars, limits, **options)
    canvas.outline(section)
    canvas.bar(actor, title, ticks)
    canvas.heading(task["heading"])
    bore, (x0, _, _, _, z0, _) = task["bore_mm"], section.bounds
    for role, place in arm_sides(task).items():
        canvas.label(place, task[role], _STREAM[role], "left")
    canvas.ruler((x0 + 0.45 * bore, 0.0, z0 + 5.2 * bore), 2.0, "2 mm")
    return canvas


def draw_plane(task: Task) -> Canvas:
    """A scalar on a plane square to an axis, or all over a 2-D mesh, with the longer edge to the right."""
    grid, axis = load(task), task["axis"]
    if task["cut_mm"] is None:
        section = edge = grid.extract_surface(algorithm="dataset_surface", nonlinear_subdivision=2)
    else:
        section, edge = _cut(grid, axis, task["cut_mm"], task["scalars"]), grid.slice(**_square(axis, task["cut_mm"]))
    x0, x1, y0, y1, z0, z1 = section.bounds
    edges = np.array([x1 - x0, y1 - y0, z1 - z0])
    upward, right = sorted((part for part in range(3) if part != axis), key=lambda part: (edges[part], -part))
    limits = colour_limits(section[task["scalars"]], task)
    canvas = Canvas.plane(section, right, upward)
    actor = canvas.paint(section, task["scalars"], limits, cmap=_MAPS[task["scalars"]])
    canvas.outline(edge)
    canvas.bar(actor, task["bar"])
    canvas.heading(task["heading"], left=True)
    canvas.scale(f"{'xyz'[right]} to the right, {'xyz'[upward]} up")
    return canvas


def colour_limits(values: Any, task: Task) -> tuple[float, float]:
    """Between which values colours differ: a speed begins at 0, and noise about a constant is of one colour."""
    low, high = (float(end) for end in np.percentile(values, (0.1, 99.9)))
    if task["scalars"] == "speed":
        low, high = 0.0, float(np.max(values))
    return low, max(high, low + task["least"])


def _cut(grid: Any, axis: int, at: float, scalars: str) -> Any:
    """The section square to an axis. Its cells are parted first: VTK takes a quadratic one as linear in halves."""
    cells = grid.cells_dict[pv.CellType.QUADRATIC_TETRA]
    places = np.asarray(grid.points)[cells, axis]
    cells = cells[(places.min(axis=1) <= at) & (places.max(axis=1) >= at)]
    corners = _parted(_parted(np.eye(4)[None])).reshape(-1, 4)
    middles = [4 * corners[:, one] * corners[:, other] for one, other in _EDGES]
    shapes = np.column_stack([corners * (2 * corners - 1), *middles])
    points = np.einsum("pn,cnd->cpd", shapes, np.asarray(grid.points)[cells]).reshape(-1, 3)
    parts = pv.UnstructuredGrid({pv.CellType.TETRA: np.arange(len(points)).reshape(-1, 4)}, points)
    parts[scalars] = np.einsum("pn,cn->cp", shapes, np.asarray(grid[scalars])[cells]).ravel()
    return parts.slice(**_square(axis, at))


def _square(axis: int, at: float) -> dict[str, Any]:
    return {"normal": np.eye(3)[axis], "origin": at * np.eye(3)[axis]}


def _parted(tetrahedra: np.ndarray) -> np.ndarray:
    """The eight parts of each tetrahedron, halved along its edges: (n, 4, 4) by barycentric coordinates, (8n, 4, 4)."""
    a, b, c, d = (tetrahedra[:, corner] for corner in range(4))
    ab, bc, ca, ad, bd, cd = ((tetrahedra[:, one] + tetrahedra[:, other]) / 2 for one, other in _EDGES)
    outer = [(a, ab, ca, ad), (ab, b, bc, bd), (ca, bc, c, cd), (ad, bd, cd, d)]
    inner = [(ab, ca, ad, bd), (ab, ca, bc, bd), (ca, ad, bd, cd), (ca, bc, bd, cd)]
    return np.concatenate([np.stack(part, axis=1) for part in outer + inner])


def arm_sides(task: Task, gap: float = 0.25) -> dict[str, tuple[float, float, float]]:
    """A place beside each arm in the middle plane, near its end and on the outlet's side, in mm; `gap` in bores."""
    bore, places = task["bore_mm"], {}
    for role, (x, z) in (task.get("arms") or {}).items():
        beside = 0.5 * np.hypot(x, z) / abs(x) + gap
        places[role] = (bore * 0.86 * x, 0.0, bore * (0.86 * z + beside))
    return places


def draw_sections(task: Task) -> Canvas:
    """Concentration on cross-sections down the outlet, each a full disc, seen against the flow."""
    grid, bore = load(task), task["bore_mm"]
    end = grid.bounds[5] / bore
    places = [*(z for z in (0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40) if z < 0.9 * end), end]
    if len(places) > _DISCS:
        places = [places[round(k)] for k in np.linspace(0, len(places) - 1, _DISCS)]
    pitch, discs = 1.25 * bore, pv.MultiBlock()
    for number, z in enumerate(places):
        disc = mirrored(grid.slice(normal="z", origin=(0, 0, (z - (_OFF if z == end else 0)) * bore)), task)
        discs.append(disc.translate((0, -number * pitch, -disc.center[2]), inplace=False))
    row = discs.combine().extract_surface(algorithm="dataset_surface")
    canvas = Canvas.sections(row)
    actor = canvas.paint(row, "ratio", _LIMITS, cmap=STREAMS, log_scale=True)
    for number, z in enumerate(places):
        canvas.outline(pv.Polygon(center=(0, -number * pitch, 0), radius=bore / 2, normal=(0, 0, 1), n_sides=96))
        canvas.label((-0.62 * bore, -number * pitch, 0), f"z = {z * bore:.3g} mm")
    canvas.bar(actor, _CONCENTRATION, _TICKS)
    canvas.heading(task["heading"], left=True)
    return canvas


def draw_streamlines(task: Task) -> Canvas:
    """Streamlines from both inlets in the colours of the streams, in a transparent junction."""
    grid, bore = load(task), task["bore_mm"]
    shell = mirrored(grid.extract_surface(algorithm="dataset_surface", nonlinear_subdivision=1), task)
    if task["half"]:  # the cut is inside the whole body
        shell = shell.extract_cells(np.abs(shell.cell_centers().points[:, 1]) > 1e-6 * bore).extract_surface(
            algorithm="dataset_surface"
        )
    canvas = Canvas.solid(shell)
    canvas.body(shell, color=WALL, opacity=0.14, smooth_shading=True, specular=0.2)
    for row, (role, color) in enumerate(_STREAM.items()):
        lines = grid.streamlines_from_source(
            inlet_seeds(task, role), vectors="velocity", integration_direction="forward", max_length=60 * bore,
            max_steps=20000, terminal_speed=1e-9, initial_step_length=0.3, max_step_length=0.6,
        )
        if lines.n_points:
            tubes = mirrored(lines, task).extract_surface(algorithm="dataset_surface").tube(
                radius=_LINES[role][1] * bore, n_sides=8
            )
            canvas.body(tubes, color=color, ambient=0.5, diffuse=0.6, specular=0.2)
        canvas.say(f"from the {role} inlet: {task[role]}", (WIDTH - 14.0, 14.0 + 26 * row), color, 17, "right")
    canvas.heading(task["heading"])
    return canvas


def inlet_seeds(task: Task, role: str) -> Any:
    """Points on the inlet disc of an arm, the same for every operating point: a sunflower, evenly by area."""
    bore, count = task["bore_mm"], _LINES[role][0]
    x, z = task["arms"][role]
    axis = -np.array([x, 0.0, z]) / np.hypot(x, z)
    sideways = np.cross((0.0, 1.0, 0.0), axis)
    radius = 0.48 * bore * np.sqrt((np.arange(count) + 0.5) / count)
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    across, up = radius * np.cos(angle), radius * np.sin(angle)
    start = np.array([x, 0.0, z]) * bore + 0.02 * bore * axis
    points = start + across[:, None] * sideways + up[:, None] * np.array([0.0, 1.0, 0.0])
    return pv.PolyData(points[up > 0.01 * bore] if task["half"] else points)


def draw_mesh(task: Task) -> Canvas:
    """The mesh: walls, inlets, outlet and the cut in the symmetry plane, by colour, with the edges of the elements."""
    grid = load(task)
    if task["half"]:  # so that the cut looks at the camera
        grid = grid.reflect((0, 1, 0), point=(0, 0, 0))
    surface = grid.extract_surface(algorithm="dataset_surface", nonlinear_subdivision=0)
    parts = boundary_parts(surface, task)
    canvas = Canvas.solid(surface, above=0.8)
    shown = [name for name in _BOUNDARY if np.any(parts == name)]
    named = [name for name in shown if name not in _STREAM]
    for name in shown:
        part = surface.extract_cells(np.flatnonzero(parts == name)).extract_surface(algorithm="dataset_surface")
        color = _BOUNDARY[name]
        light = {"lighting": False} if name == "symmetry" else {"ambient": 0.55, "diffuse": 0.5}
        canvas.body(part, color=color, show_edges=True, line_width=0.7, edge_color=_EDGE, **light)
        if name in _STREAM or name == "outlet":  # also where the camera is behind them
            canvas.outline(part, color, 6)
    for row, name in enumerate(reversed(named)):
        text = "cut in the symmetry plane" if name == "symmetry" else name
        canvas.say(text, (WIDTH - 14.0, 14.0 + 24 * row), _BOUNDARY_TEXT.get(name, _BOUNDARY[name]), 16, "right")
    for role, place in arm_sides(task, 0.8).items():
        canvas.label(place, f"{role} inlet", _STREAM[role], "left")
    canvas.heading(task["heading"])
    return canvas


def boundary_parts(surface: Any, task: Task) -> np.ndarray:
    """The name of the boundary that each face of a surface belongs to, read off where its corners lie."""
    bore = task["bore_mm"]
    corners = np.asarray(surface.points)[surface.faces.reshape(-1, 4)[:, 1:]]
    near = 1e-4 * bore
    parts = np.full(surface.n_cells, "wall", dtype=object)
    if task["half"]:
        parts[np.all(np.abs(corners[:, :, 1]) < near, axis=1)] = "symmetry"
    parts[np.all(np.abs(corners[:, :, 2] - surface.bounds[5]) < near, axis=1)] = "outlet"
    for role, place in (task.get("arms") or {}).items():
        end = np.array([place[0], 0.0, place[1]]) * bore
        ahead = (corners - end) @ (end / np.linalg.norm(end))
        close = np.linalg.norm(corners - end, axis=2) < 0.6 * bore
        parts[np.all((np.abs(ahead) < near) & close, axis=1)] = role
    return parts


_STREAM = {"antisolvent": ANTISOLVENT, "precursor": PRECURSOR}
_BOUNDARY = {**_STREAM, "outlet": OUTLET, "wall": WALL, "symmetry": "#f6ecd2"}
_BOUNDARY_TEXT = {"wall": "#6b7885", "symmetry": "#8f7325"}
_EDGE = "#4a5560"

_MAPS = {"speed": "viridis", "pressure": "cividis"}

DRAWERS: dict[str, Callable[[Task], Canvas]] = {
    "mesh": draw_mesh,
    "speed": draw_speed,
    "pressure": draw_pressure,
    "concentration": draw_concentration,
    "sections": draw_sections,
    "streamlines": draw_streamlines,
    "plane": draw_plane,
}


def main() -> None:
    """Draws the tasks of the job file, one whole picture after another, and says each on a line."""
    for task in read_json(Path(sys.argv[1]))["tasks"]:
        target = Path(task["target"])
        with DRAWERS[task["kind"]](task) as canvas, whole(target) as scratch:
            canvas.save(scratch)
        sys.stdout.write(f"{target.name}\n")
        sys.stdout.flush()
    sys.stdout.flush()
    # Some OpenGL libraries crash while they are unloaded, after every picture is safe on disk.
    os._exit(0)


if __name__ == "__main__":
    main()
