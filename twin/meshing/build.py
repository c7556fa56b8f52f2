"""Builds or reuses the mesh of a case: `junction.msh` for the solver, `junction.vtu` for everyone, `quality.json`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gmsh
import meshio
import mmgpy
import numpy as np

from twin.case import Case, Results
from twin.case.meshed import FILES, mesh_record, vouched
from twin.case.schema import Following, Level
from twin.errors import BadInput, TwinError
from twin.files import digest, explained, folder, locked, sealed, whole, write_json
from twin.junction import BOUNDARIES, Connector, find_connector
from twin.meshing.adapt import Metric, following
from twin.meshing.bodies import bodies_of, leaves_gap
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
        return self.path / FILES[0]

    @property
    def vtu(self) -> Path:
        """The same mesh, node for node, for viewers."""
        return self.path / FILES[1]

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
    before = _digest(source)
    definition = {"step": before, "bore": bore, "faces": points, "names": names, "level": _sizes(level)}

    def make() -> None:
        mesh_step(source, bore, junction.faces, level, names, outlets).to_gmsh()
        _check_unchanged(source, before)

    return _reuse_or_make(definition, where, make, {})


def mesh_connector(connector: Connector, level: Level, where: Path) -> MeshFolder:
    """The mesh of a connector; one that was made from the same definition is reused.

    A level that follows another's flow finds it beside `where`, as `twin.case.Results` lays the levels out.
    """
    definition: dict[str, Any] = {"connector": _shape(connector), "level": _sizes(level) | {"stretch": level.stretch}}
    if level.core_bores:
        definition["core_bores"] = level.core_bores
    if connector.fillet:
        definition["rounded"] = "walls and starts"  # once the walls alone
    if any(arm.offset for arm in connector.inlets.values()) and leaves_gap(bodies_of(connector)):
        definition["mitre"] = "with offsets"  # once there was none
    sections = exact_sections(connector, level)
    if (follows := level.follows) is None:
        return _reuse_or_make(definition, where, lambda: draw(connector, level), sections)
    fields = _solved_fields(Results(where.parent).beside(follows.level), follows)
    flow = digest(fields.read_bytes())
    definition["follows"] = {"cells": follows.cells, "flow": flow, "mmg": mmgpy.MMG_VERSION}

    def make() -> None:
        metric = _metric_of(fields, level, follows.cells)
        _check_unchanged(fields, flow)
        draw(connector, level, metric)

    return _reuse_or_make(definition, where, make, sections)


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
    before = _digest(source)
    definition = {"mesh": before, "names": names, "corners": "cut", "facets": "checked"}

    def make() -> float:
        grid, bend = read_mesh(source, names)
        _check_unchanged(source, before)
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


def _check_unchanged(source: Path, before: str) -> None:
    """Refuses what was read of a file that had another digest when the mesh got its hash."""
    if digest(source.read_bytes()) != before:
        raise BadInput(f"{source} was changed while the mesh was made", "run it again")


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
    with locked(where):
        if (done := _existing(where, key)) is not None:  # made while this process waited
            return done
        # quality.json vouches for the other two: gone first, written last.
        with explained(where):
            (where / "quality.json").unlink(missing_ok=True)
            for scratch in where.glob(".junction.*"):  # of a process that was killed
                scratch.unlink(missing_ok=True)
        with _gmsh():
            bend = make() or 0.0
            quality = replace(assess(sections), bend=bend)
            quality.check(own="mesh" in definition)
            grid = grid_of_model(quality.dimension).to_meshio()
            writers = gmsh.write, grid.write
            files = {name: _written(where / name, write) for name, write in zip(FILES, writers, strict=True)}
        _seal(where, key, quality, files)
    return MeshFolder(where, key, quality, reused=False)


def _written(path: Path, write: Callable[[str], Any]) -> str:
    """Writes a file of a mesh; returns the digest of what was written, whatever another process puts there."""
    with whole(path) as scratch:
        write(str(scratch))
        return digest(scratch.read_bytes())


def _seal(where: Path, key: str, quality: Quality, files: dict[str, str]) -> None:
    write_json(where / "quality.json", sealed({"schema": 1, "hash": key, "files": files, **quality.as_dict()}))


def _existing(where: Path, key: str) -> MeshFolder | None:
    """The finished mesh of the folder, where it was made from the same definition and its files are whole."""
    record = mesh_record(where)
    if record is None or record["hash"] != key:
        return None
    if "checksum" not in record and (quality := _counted(where, record)) is not None:
        with suppress(TwinError):  # a folder that can't be written is counted again the next time
            _seal(where, key, quality, {name: digest((where / name).read_bytes()) for name in FILES})
        return MeshFolder(where, key, quality, reused=True)
    if vouched(where) is None:
        return None
    return MeshFolder(where, key, Quality(**_figures(record)), reused=True)


def _figures(record: dict[str, Any]) -> dict[str, Any]:
    """What `Quality` holds of a record."""
    return {name: value for name, value in record.items() if name not in ("schema", "hash", "files", "checksum")}


def _counted(where: Path, record: dict[str, Any]) -> Quality | None:
    """The quality of a mesh whose record, as the first ones, has no digests; None unless both files fit its counts."""
    try:
        quality = Quality(**_figures(record))
        for name, read in zip(FILES, (meshio.gmsh.read, meshio.vtu.read), strict=True):
            mesh = read(where / name)
            cells = mesh.cells_dict[{2: "triangle6", 3: "tetra10"}[quality.dimension]]
            if (len(mesh.points), len(cells)) != (quality.nodes, quality.cells):
                return None
    except Exception:  # noqa: BLE001 (on damaged files meshio raises errors of many classes)
        return None
    return quality


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
