"""Builds or reuses the mesh of a case: `junction.msh` for the solver, `junction.vtu` for everyone, `quality.json`."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gmsh
import meshio
import numpy as np

from twin import __version__
from twin.case import Case
from twin.case.schema import Level
from twin.errors import BadInput
from twin.files import digest, explained, folder, read_json, whole, write_json
from twin.junction import BOUNDARIES, Connector, find_connector
from twin.meshing.quality import TETRA10, Quality, assess, round_area
from twin.meshing.recipe import draw, plane_name

#: Gmsh numbers the last two nodes of a tetrahedron the other way round than VTK does.
GMSH_TO_VTK = [0, 1, 2, 3, 4, 5, 6, 7, 9, 8]


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


def build_mesh(case: Case, level_name: str, where: Path) -> MeshFolder:
    """The mesh of a level below the folder `where`; one that was made from the same definition is reused."""
    level = case.level(level_name)
    if case.junction.mesh is None:
        return mesh_connector(find_connector(str(case.junction.connector), case.folder), level, where)
    source = case.folder / case.junction.mesh
    if not source.is_file():
        raise BadInput(f"there is no mesh file {source}", "give its path relative to the case folder")
    definition = {"mesh": digest(source.read_bytes())}
    return _reuse_or_make(definition, where, lambda: _read_foreign(source), {})


def mesh_connector(connector: Connector, level: Level, where: Path) -> MeshFolder:
    """The mesh of a connector; one that was made from the same definition is reused."""
    definition = {"connector": connector.model_dump(exclude={"source", "assumptions"}), "level": level.model_dump()}
    exact = round_area(connector.symmetric_half)
    planes = [plane_name(bores) for bores in range(1, connector.outlet_bores)]
    sections = dict.fromkeys(["antisolvent", "precursor", "outlet", *planes], exact)
    return _reuse_or_make(definition, where, lambda: draw(connector, level), sections)


def _reuse_or_make(
    definition: dict[str, Any], where: Path, make: Callable[[], None], sections: dict[str, float]
) -> MeshFolder:
    """The finished mesh of a folder, or a new one that `make` leaves in Gmsh's current model."""
    key = digest({**definition, "recipe": __version__, "gmsh": gmsh.__version__})
    if (done := _existing(where, key)) is not None:
        return done
    folder(where)
    # quality.json holds the key and vouches for the other two: gone first, written last.
    with explained(where):
        (where / "quality.json").unlink(missing_ok=True)
    with _gmsh():
        make()
        quality = assess(sections)
        quality.check()
        with whole(where / "junction.msh") as scratch:
            gmsh.write(str(scratch))
        with whole(where / "junction.vtu") as scratch:
            _as_meshio().write(scratch)
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


def _read_foreign(source: Path) -> None:
    """Loads a mesh of the user's own, raises it to second order, and checks that its boundaries are named."""
    try:
        gmsh.open(str(source))
    except Exception as error:  # noqa: BLE001 (Gmsh raises bare Exceptions)
        raise BadInput(f"Gmsh can't read {source}: {error}", "save it from Gmsh as .msh, version 4.1") from None
    if not gmsh.model.mesh.getElementsByType(4)[0].size and not gmsh.model.mesh.getElementsByType(TETRA10)[0].size:
        raise BadInput(f"{source} has no tetrahedra", "mesh the volume in Gmsh before saving it")
    named = {gmsh.model.getPhysicalName(2, group) for _, group in gmsh.model.getPhysicalGroups(2)}
    missing = [name for name in BOUNDARIES if name not in named]
    strange = [name for name in named if name not in (*BOUNDARIES, "symmetry") and not re.fullmatch(r"plane_\d+", name)]
    if missing or strange:
        raise BadInput(
            f"the boundaries of {source} are " + ", ".join(sorted(named) or ["unnamed"]),
            f"name physical surfaces {', '.join(BOUNDARIES)}; optional are symmetry and cut planes plane_1, plane_2, …",
        )
    gmsh.model.mesh.setOrder(2)
    gmsh.model.mesh.renumberNodes()


def _as_meshio() -> meshio.Mesh:
    """The tetrahedra of the current model with its nodes in the order of their tags."""
    tags, coordinates, _ = gmsh.model.mesh.getNodes()
    order = np.argsort(tags)
    points = np.asarray(coordinates).reshape(-1, 3)[order]
    position = np.empty(int(tags.max()) + 1, dtype=np.int64)
    position[tags[order]] = np.arange(len(order))
    _, nodes = gmsh.model.mesh.getElementsByType(TETRA10)
    cells = position[np.asarray(nodes).reshape(-1, 10)][:, GMSH_TO_VTK]
    return meshio.Mesh(points, [("tetra10", cells)])
