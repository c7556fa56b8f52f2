"""Pictures of the mesh, the flow and the concentration, drawn off-screen in a process of their own, and kept."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import twin
from twin.case import Case, Results
from twin.errors import BadInput, Missing, TwinError
from twin.files import digest, folder, read_json, write_json
from twin.junction import bore_m, bulk_velocity_m_s, find_connector, groups, outlet_area
from twin.units import to_ml_per_h, to_mm
from twin.view.stages import PointState, mesh_quality, notable, point_states

#: Kinds of pictures of a point, in the order in which they tell the story.
KINDS = ("speed", "concentration", "sections", "streamlines", "pressure")
#: These need to know where the arms and the outlet are, which a mesh of the user's own does not say.
_KNOWN_AXES = ("sections", "streamlines")
_PATIENCE_S = 180.0  # for a picture
_REMEDY = "twin doctor names the rendering back end and what it lacks; everything but the pictures works without"


@dataclass(frozen=True)
class Picture:
    """A picture on disk with what it shows, and what a caption must add. `point` is "" for the mesh."""

    path: Path
    kind: str
    point: str
    title: str
    alt: str
    note: str = ""


def draw_pictures(
    case: Case,
    level: str,
    results: Results,
    points: Sequence[str] | None = None,
    follow: Callable[[str], None] = lambda name: None,
) -> list[Path]:
    """Draws the pictures of the mesh and of some points (left out: of up to three that span the campaign).

    Pictures that are newer than their fields are kept. `follow` is called with the name of each that was drawn. Raises
    `Missing` without a mesh, `BadInput` for a point that is not solved, `TwinError` where nothing can be rendered.
    """
    return [picture.path for picture in pictures(case, level, results, points, follow)]


def pictures(
    case: Case,
    level: str,
    results: Results,
    points: Sequence[str] | None = None,
    follow: Callable[[str], None] = lambda name: None,
) -> list[Picture]:
    """As `draw_pictures`, with what each picture shows."""
    if not (results.mesh / "junction.vtu").exists():
        raise Missing("there is no mesh to draw", f"run twin mesh {case.folder}")
    states = _chosen(point_states(case, level, results), points)
    jobs = [_mesh_job(case, level, results)]
    jobs += [_point_job(case, results, state, kind) for state in states for kind in KINDS]
    jobs = [(picture, task) for picture, task in jobs if task["arms"] or picture.kind not in _KNOWN_AXES]
    draw(jobs, results, follow)
    return [picture for picture, _ in jobs]


def draw(
    jobs: Sequence[tuple[Picture, dict[str, Any]]], results: Results, follow: Callable[[str], None] = lambda name: None
) -> None:
    """Draws what is not there as its task and its fields are now."""
    known = _known(results)
    stale = [task for _, task in jobs if not _fresh(task, known)]
    if stale:
        folder(results.pictures)
        _render(stale, follow)
        made = {Path(task["target"]).name: _key(task) for _, task in jobs}
        write_json(results.pictures / "index.json", known | made)


def _chosen(states: list[PointState], names: Sequence[str] | None) -> list[PointState]:
    if names is None:
        return notable(states)
    solved = {state.name: state for state in states if state.solved}
    missing = [name for name in names if name not in solved]
    if missing:
        raise BadInput(f"not solved: {', '.join(missing)}", f"solved are {', '.join(solved) or 'none'}")
    return [solved[name] for name in names]


def _known(results: Results) -> dict[str, Any]:
    """What each picture was drawn from, by its name; nothing where that is not known."""
    try:
        data = read_json(results.pictures / "index.json")
    except BadInput:
        return {}
    return data if isinstance(data, dict) else {}


def _key(task: dict[str, Any]) -> str:
    """What a picture was drawn from, wherever that lies."""
    return digest({name: value for name, value in task.items() if name not in ("source", "target")})


def _fresh(task: dict[str, Any], known: dict[str, Any]) -> bool:
    """Whether the picture is newer than its fields and the code, and was drawn from the same task."""
    target = Path(task["target"])
    if not target.exists() or known.get(target.name) != _key(task):
        return False
    sources = [Path(task["source"]), *(Path(__file__).with_name(name) for name in ("canvas.py", "render.py"))]
    return target.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in sources)


def _mesh_job(case: Case, level: str, results: Results) -> tuple[Picture, dict[str, Any]]:
    cells = (mesh_quality(results) or {}).get("cells")
    count = f": {cells:,} second-order tetrahedra".replace(",", " ") if isinstance(cells, int) else ""
    path = results.pictures / "mesh.png"
    picture = Picture(
        path, "mesh", "", "The mesh",
        f"The mesh of the junction, seen from the side, with the edges of its elements{count}. Two inlet arms on the"
        " left join the outlet, which runs to the right.",
    )
    heading = f"{case.name}, level {level}{count}"
    return picture, _task(case, "mesh", results.mesh / "junction.vtu", path, heading)


def _point_job(case: Case, results: Results, state: PointState, kind: str) -> tuple[Picture, dict[str, Any]]:
    point = state.point
    flows = {role: to_ml_per_h(getattr(point, f"{role}_m3_s")) for role in ("antisolvent", "precursor")}
    streams = {role: f"{getattr(case.liquids, role)} {flow:g} mL/h" for role, flow in flows.items()}
    group = groups(case, point)
    speed = bulk_velocity_m_s(bore_m(case), point, outlet_area(case))
    density = case.liquids.of(case.liquids.antisolvent).density_kg_m3(point.temperature_k)
    at = f"{streams['antisolvent']}, {streams['precursor']}, Re {group.reynolds:.0f}"
    path = results.pictures / f"{point.name}-{kind}.png"
    task = _task(
        case, kind, results.point(point.name) / "fields.vtu", path, f"{point.name}: {at}",
        velocity_m_s=speed, pressure_pa=density * speed**2, mean=point.precursor_fraction, **streams,
    )
    title, alt = _WORDS[kind]
    return Picture(path, kind, point.name, title, f"{alt} At {at}.", _NOTES.get(kind, "")), task


#: What each kind of picture is called, and what one sees.
_WORDS = {
    "speed": (
        "Speed in the plane of the axes",
        "The junction cut through its axes; the colour is the speed, from dark at rest to yellow at its largest.",
    ),
    "concentration": (
        "Precursor stream in the plane of the axes",
        "The junction cut through its axes; the colour is the share of the precursor stream over its fully mixed value:"
        " blue is antisolvent, white is mixed, orange is rich in precursor. Numerical diffusion smears its layers.",
    ),
    "sections": (
        "Precursor stream on cross-sections of the outlet",
        "A row of discs, sections of the outlet further and further down, seen against the flow; blue is antisolvent,"
        " white is mixed, orange is rich in precursor. Numerical diffusion smears its layers.",
    ),
    "streamlines": (
        "Streamlines from both inlets",
        "The junction as a transparent body with streamlines, orange from the precursor inlet and blue from the"
        " antisolvent inlet.",
    ),
    "pressure": (
        "Pressure in the plane of the axes",
        "The junction cut through its axes; the colour is the pressure above that at the outlet.",
    ),
}

_SMEARED = "The grid's field, smeared by its numerical diffusion: real layers are thinner."
_NOTES = {"concentration": _SMEARED, "sections": _SMEARED}


def _task(case: Case, kind: str, source: Path, target: Path, heading: str, **more: Any) -> dict[str, Any]:
    """A task of `twin.view.render`. A mesh of the user's own has no known arms, and is taken as a whole body."""
    arms: dict[str, list[float]] | None = None
    half = False
    if case.junction.connector is not None:
        connector = find_connector(case.junction.connector, case.folder)
        across = connector.arm_bores * math.sin(connector.angle / 2)
        along = -connector.arm_bores * math.cos(connector.angle / 2)
        arms = {"antisolvent": [-across, along], "precursor": [across, along]}
        half = connector.symmetric_half
    if not source.exists():
        raise Missing(f"there is no {source}", "remove the record beside it and solve the point again")
    return {
        "kind": kind, "source": str(source.resolve()), "target": str(target.resolve()), "heading": heading,
        "bore_mm": to_mm(bore_m(case)), "half": half, "arms": arms, **more,
    }


def _render(tasks: list[dict[str, Any]], follow: Callable[[str], None]) -> None:
    """Draws in another process; where that fails, once more with the software renderer."""
    first = _attempt(tasks, {})
    problem = first
    if first is not None:
        problem = _attempt(tasks, {"VTK_DEFAULT_OPENGL_WINDOW": "vtkOSOpenGLRenderWindow", "DISPLAY": ""})
    if problem is not None:
        raise TwinError(f"the pictures can't be drawn: {first}", _REMEDY)
    for task in tasks:
        follow(Path(task["target"]).name)


def _attempt(tasks: list[dict[str, Any]], environment: dict[str, str]) -> str | None:
    """Why the pictures could not be drawn, None where they were."""
    package = str(Path(twin.__file__).parents[1])
    paths = os.pathsep.join(path for path in (package, os.environ.get("PYTHONPATH", "")) if path)
    with tempfile.TemporaryDirectory(prefix="twin-pictures-") as scratch:
        job = Path(scratch) / "job.json"
        write_json(job, {"tasks": tasks})
        try:
            done = subprocess.run(
                [sys.executable, "-m", "twin.view.render", str(job)],
                env={**os.environ, "PYTHONPATH": paths, "PYVISTA_OFF_SCREEN": "true", **environment},
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                timeout=_PATIENCE_S * len(tasks), text=True, errors="replace", check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no end after {_PATIENCE_S * len(tasks):.0f} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"the renderer was ended by signal {-done.returncode}, as a broken OpenGL does"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"the renderer ended with status {done.returncode}"
