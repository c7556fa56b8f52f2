"""Builds or reuses the mesh of a case: `junction.msh` for the solver, `junction.vtu` for everyone, `quality.json`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gmsh
import meshio
import mmgpy
import numpy as np

from twin.case import Case, Results
from twin.case.schema import Following, Level
from twin.errors import BadInput
from twin.files import digest, explained, folder, read_json, whole, write_json
from twin.junction import BOUNDARIES, Connector, find_connector
from twin.meshing.adapt import Metric, following
from twin.meshing.checks import check_names
from twin.meshing.foreign import read_mesh
from twin.meshing.grid import grid_of_model
from twin.meshing.quality import Quality, assess
from twin.meshing.recipe import draw, exact_sections
from twin.meshing.step import mesh_step

#: Counts up with every change that gives another mesh for the same definition: meshes of before are made anew.
RECIPE = 2


@dataclass(frozen=True)
class MeshFolder:
    """A finished mesh: its folder, the hash of all that defines it, and its quality."""

    path: Path
    hash: str
    quality: Quality
    reused: bool

    @property
    def msh(self) -> Path:
        """The mesh in bores for the solver."""
        return self.path / "junction.msh"

    @property
    def vtu(self) -> Path:
        """The same mesh, node for node, for viewers."""
        return self.path / "junction.vtu"

    @property
    def extent(self) -> list[tuple[float, float]]:
        """The bounding box in bores: the least and the largest of each coordinate."""
        points = meshio.read(self.vtu).points[:, : self.quality.dimension]
        return [(float(part.min()), float(part.max())) for part in points.T]

    def facets(self, name: str) -> np.ndarray:
        """The corners of the facets of a boundary in bores, (m, dim, dim)."""
        dim = self.quality.dimension
        with _gmsh():
            gmsh.open(str(self.msh))
            return grid_of_model(dim).corners(name)


def build_mesh(
    case: Case,
    level_name: str,
    where: Path,
    names: Sequence[str] | None = BOUNDARIES,
    outlets: Sequence[str] = ("outlet",),
) -> MeshFolder:
    """The mesh of a level below the folder `where`; one that was made from the same definition is reused.

    `names` are the boundaries that it must have beside a symmetry plane and cut planes; None for any: the caller then
    knows what each of them is. `outlets` are those through which the fluid leaves.
    """
    level, junction = case.level(level_name), case.junction
    if level.follows and junction.connector is None:
        raise BadInput(
            f'the level "{level_name}" follows a flow, which is for connectors', "leave out its follows, or name one"
        )
    if junction.connector is not None:
        connector = find_connector(junction.connector, case.folder)
        check_names([*connector.inlets, "outlet", "wall"], names, f"the connector {connector.name}")
        return mesh_connector(connector, level, where)
    if junction.mesh is not None:
        return mesh_file(case.folder / junction.mesh, where, names)
    source = case.folder / str(junction.step)
    bore, points = float(junction.bore or 0), {name: list(point) for name, point in junction.faces.items()}
    definition = {"step": _digest(source), "bore": bore, "faces": points, "names": names, "level": _sizes(level)}
    return _reuse_or_make(
        definition, where, lambda: mesh_step(source, bore, junction.faces, level, names, outlets).to_gmsh(), {}
    )


def mesh_connector(connector: Connector, level: Level, where: Path) -> MeshFolder:
    """The mesh of a connector; one that was made from the same definition is reused.

    A level that follows another's flow finds it beside `where`, as `twin.case.Results` lays the levels out.
    """
    definition: dict[str, Any] = {"connector": _shape(connector), "level": _sizes(level) | {"stretch": level.stretch}}
    if level.core_bores:
        definition["core_bores"] = level.core_bores
    sections = exact_sections(connector, level)
    if (follows := level.follows) is None:
        return _reuse_or_make(definition, where, lambda: draw(connector, level), sections)
    fields = _solved_fields(Results(where.parent).beside(follows.level), follows)
    definition["follows"] = {"cells": follows.cells, "flow": digest(fields.read_bytes()), "mmg": mmgpy.MMG_VERSION}
    return _reuse_or_make(
        definition, where, lambda: draw(connector, level, _metric_of(fields, level, follows.cells)), sections
    )


def _solved_fields(solved: Results, follows: Following) -> Path:
    """The fields that a level follows; raises `BadInput` where they are missing, or of another mesh."""
    if fields := solved.flow(follows.point):
        return fields
    raise BadInput(
        f"the level follows the flow of {follows.point} on the level {follows.level}, which is not solved",
        f"solve that point with --level {follows.level} first",
    )


def _metric_of(fields: Path, level: Level, cells: int) -> Metric:
    mesh = meshio.read(fields)
    largest = max(level.wall_size, level.core_size)
    return following(mesh.points, mesh.cells_dict["tetra10"], mesh.point_data["velocity"], cells, largest)


def mesh_file(source: Path, where: Path, names: Sequence[str] | None = None) -> MeshFolder:
    """A mesh of the user's own, 3-D or 2-D; `names` are the boundaries that it must have, None for any."""
    definition = {"mesh": _digest(source), "names": names, "corners": "cut", "facets": "checked"}

    def make() -> float:
        grid, bend = read_mesh(source, names)
        grid.to_gmsh()
        return bend

    return _reuse_or_make(definition, where, make, {})


def _shape(connector: Connector) -> dict[str, Any]:
    """What of a connector defines its mesh, which is in bores: the same for its short and its long form."""
    aside = {"name", "bore", "angle", "arm_bores", "arms", "gravity", "source", "assumptions"}
    arms = {
        name: {**arm.model_dump(), "section": arm.section or connector.section}
        for name, arm in connector.inlets.items()
    }
    return connector.model_dump(exclude=aside) | {"arms": arms}


def _sizes(level: Level) -> dict[str, float]:
    return {
        "wall_size": level.wall_size,
        "core_size": level.core_size,
        "crotch_size": level.crotch_size or level.wall_size,
    }


def _digest(source: Path) -> str:
    if not source.is_file():
        raise BadInput(
            f"there is no mesh file {source}" if source.suffix == ".msh" else f"there is no file {source}",
            "give its path relative to the case folder",
        )
    return digest(source.read_bytes())


def _reuse_or_make(
    definition: dict[str, Any], where: Path, make: Callable[[], float | None], sections: dict[str, float]
) -> MeshFolder:
    """The finished mesh of a folder, or a new one that `make` leaves in Gmsh's current model.

    `make` may return by how many degrees the straight facets of a curved boundary bend.
    """
    key = digest({**definition, "recipe": RECIPE, "gmsh": gmsh.__version__})
    if (done := _existing(where, key)) is not None:
        return done
    folder(where)
    # quality.json holds the key and vouches for the other two: gone first, written last.
    with explained(where):
        (where / "quality.json").unlink(missing_ok=True)
    with _gmsh():
        bend = make() or 0.0
        quality = replace(assess(sections), bend=bend)
        quality.check(own="mesh" in definition)
        with whole(where / "junction.msh") as scratch:
            gmsh.write(str(scratch))
        with whole(where / "junction.vtu") as scratch:
            grid_of_model(quality.dimension).to_meshio().write(scratch)
    write_json(where / "quality.json", {"schema": 1, "hash": key, **quality.as_dict()})
    return MeshFolder(where, key, quality, reused=False)


def _existing(where: Path, key: str) -> MeshFolder | None:
    """The finished mesh of the folder, where it was made from the same definition."""
    record = where / "quality.json"
    if not (record.exists() and (where / "junction.msh").exists() and (where / "junction.vtu").exists()):
        return None
    data = read_json(record)
    if data.pop("hash", None) != key:
        return None
    data.pop("schema")
    return MeshFolder(where, key, Quality(**data), reused=True)


@contextmanager
def _gmsh() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    gmsh.initialize(interruptible=False)
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():  # Gmsh puts its own in their place
            signal.signal(number, handler)
    gmsh.option.setNumber("General.Terminal", 0)
    try:
        yield
    finally:
        gmsh.finalize()
