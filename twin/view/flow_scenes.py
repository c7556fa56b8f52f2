"""Pictures of flow cases: speed and pressure on a plane, of each flow on the finest mesh that has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import meshio
import numpy as np

from twin.case import FlowCase, Results
from twin.errors import BadInput, Missing
from twin.units import parse, to_mm
from twin.view.scenes import Picture, draw

#: Kinds of pictures, with the text of their bar.
KINDS = {"speed": "speed, m/s", "pressure": "pressure, Pa"}
_LEAST = 1e-6  # of a large speed or pressure: colours that differ by less are noise
_EXAMPLE = 'e.g. --plane "z = 2 mm"'

Plane = tuple[int, float]


def flow_pictures(
    case: FlowCase, solved: Sequence[tuple[Results, dict[str, Any]]], plane: str | None = None
) -> list[Picture]:
    """Draws speed and pressure of flows, each from its results and its record, on a plane such as "z = 2 mm".

    In 3-D and without a plane that of the first mirror is taken, without mirrors the middle one across the shortest
    edge of the mesh. Pictures that are fresh are kept. Raises `Missing` without a flow, `BadInput` for a plane that
    does not meet the mesh.
    """
    asked = None if plane is None else parse_plane(plane)
    if not solved:
        raise Missing("there is no flow to draw", f"run twin solve {case.folder}")
    found: list[Picture] = []
    for results, record in solved:
        jobs = _jobs(case, results, record, asked)
        draw(jobs, results)
        found += [picture for picture, _ in jobs]
    return found


def parse_plane(text: str) -> Plane:
    """The axis that a plane is square to, 0 to 2, and its place on it in m, from "z = 2 mm"."""
    axis, equals, place = (part.strip() for part in text.partition("="))
    if axis not in ("x", "y", "z") or not equals:
        raise BadInput(f'"{text}" is no plane square to an axis', _EXAMPLE)
    return "xyz".index(axis), parse(place, "length")


def _jobs(
    case: FlowCase, results: Results, record: dict[str, Any], asked: Plane | None
) -> list[tuple[Picture, dict[str, Any]]]:
    """A picture and its task for each kind."""
    grid, fields = record["mesh"], results.point(record["name"]) / "fields.vtu"
    if not fields.exists():
        raise Missing(f"there is no {fields}", "remove the record beside it and solve the flow again")
    axis, cut_m, where = 2, None, ""
    if grid["dimension"] == 3:
        points = meshio.read(fields).points * grid["unit_m"]
        axis, at_m = asked or _plane(case, results, points, grid["unit_m"])
        cut_m, where = _inside(points[:, axis], "xyz"[axis], at_m), f"{'xyz'[axis]} = {at_m:.4g} m"
    elif asked:
        raise BadInput(f"{case.name} is 2-D, and drawn as a whole", "leave out --plane")
    when = f"t = {record['time']['end_s']:g} s" if "time" in record else ""
    flow = f"{case.name}, level {record['level']}, {record['name']}: Re {record['reynolds']:.4g}"
    heading = ", ".join(part for part in (flow, when, where) if part)
    speed = record["reference"]["velocity_m_s"]
    pressure = record["fluid"]["density_kg_m3"] * speed**2 * max(1.0, 1 / record["reynolds"])  # µU/L of a slow flow
    jobs = []
    for kind, bar in KINDS.items():
        path = results.pictures / f"{record['name']}-{kind}.png"
        task = {
            "kind": "plane", "source": str(fields.resolve()), "target": str(path.resolve()), "heading": heading,
            "scalars": kind, "bar": bar, "bore_mm": to_mm(grid["unit_m"]), "velocity_m_s": 1.0, "pressure_pa": 1.0,
            "least": _LEAST * (speed if kind == "speed" else pressure),
            "axis": axis, "cut_mm": None if cut_m is None else to_mm(cut_m),
        }  # fmt: skip
        title = f"{kind.capitalize()} at {where}" if where else kind.capitalize()
        jobs.append((Picture(path, kind, record["name"], title, f"{bar} by colour: {heading}."), task))
    return jobs


def _plane(case: FlowCase, results: Results, points: np.ndarray, unit: float) -> Plane:
    """That of the first mirror, whose nodes lie in it; otherwise the middle across the shortest edge."""
    if case.boundaries.mirrors:
        mesh = meshio.read(results.mesh / "junction.msh")
        tag, dim = mesh.field_data[next(iter(case.boundaries.mirrors))]
        blocks = zip(mesh.cells, mesh.cell_data["gmsh:physical"], strict=True)
        facets = [block.data[tags == tag].ravel() for block, tags in blocks if block.dim == dim]
        points = mesh.points[np.concatenate(facets)] * unit
    low, high = points.min(axis=0), points.max(axis=0)
    axis = int(np.argmin(high - low))
    return axis, float((low + high)[axis] / 2)


def _inside(places: np.ndarray, axis: str, at_m: float) -> float:
    """Where to cut for a plane, in m, from the places of the nodes along its axis: one on the surface just inside."""
    low, high = float(places.min()), float(places.max())
    edge = 1e-4 * (high - low)
    if not low - edge <= at_m <= high + edge:
        raise BadInput(
            f"the plane {axis} = {at_m:g} m does not meet the mesh",
            f"which reaches from {low:.4g} to {high:.4g} m there",
        )
    return min(max(at_m, low + edge), high - edge)
