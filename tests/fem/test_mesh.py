import fcntl
import json
import math
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import gmsh
import meshio
import numpy as np
import pytest
from mpi4py import MPI

from twin.case import load
from twin.case.schema import Level
from twin.errors import BadInput
from twin.fem.domain import read_domain
from twin.junction import BOUNDARIES
from twin.meshing import build_mesh
from twin.meshing.build import mesh_connector
from twin.meshing.foreign import read_mesh
from twin.verification.flow import small_connector

pytestmark = pytest.mark.field
PAPER = Path(__file__).parents[2] / "cases" / "liang2023"
LEVEL = Level(wall_size=0.3, core_size=0.3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return mesh_connector(small_connector(3), LEVEL, tmp_path_factory.mktemp("mesh"))


def test_the_mesh_has_its_boundaries_and_round_sections(made):
    assert set(BOUNDARIES) | {"symmetry", "plane_1", "plane_2"} == set(made.quality.areas)
    assert max(map(abs, made.quality.section_errors.values())) < 1e-3
    assert made.quality.min_scaled_jacobian > 0.1


def test_the_volume_is_that_of_three_bores(made):
    # Two arms of 1.5 bores and an outlet of 3, less what they share: the exact union lies between these.
    bore = math.pi / 8
    assert bore * 3 < made.quality.volume < bore * (3 + 2 * 1.5)


def test_the_vtu_is_the_same_mesh(made):
    mesh = meshio.read(made.vtu)
    assert len(mesh.points) == made.quality.nodes
    cells = mesh.cells_dict["tetra10"]
    corners = mesh.points[cells]
    edges = np.array([[0, 1], [1, 2], [0, 2], [0, 3], [1, 3], [2, 3]])  # VTK's order of the mid-edge nodes
    middles = corners[:, edges].mean(axis=2)
    assert np.abs(middles - corners[:, 4:]).max() < 0.05  # on the straight edge, or curved off it by little


def test_a_mesh_is_reused_until_its_definition_changes(made):
    again = mesh_connector(small_connector(3), LEVEL, made.path)
    assert again.reused and again.hash == made.hash
    other = mesh_connector(small_connector(3, math.pi / 2), LEVEL, made.path)
    assert not other.reused and other.hash != made.hash
    assert not mesh_connector(small_connector(3), LEVEL, made.path).reused


def test_an_interrupted_build_is_not_taken_for_a_mesh(tmp_path, monkeypatch):
    mesh_connector(small_connector(1), LEVEL, tmp_path)
    monkeypatch.setattr("twin.meshing.build.draw", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mesh_connector(small_connector(2), LEVEL, tmp_path)
    assert not (tmp_path / "quality.json").exists()


def small(where, outlet_bores=1):
    return mesh_connector(small_connector(outlet_bores), LEVEL, where)


def quality_of(where, change):
    path = where / "quality.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def of_before(record):
    """A quality.json as it was without digests."""
    return {name: value for name, value in record.items() if name not in ("files", "checksum")}


DAMAGES = {
    "no object": lambda where: quality_of(where, lambda _: []),
    "null": lambda where: quality_of(where, lambda _: None),
    "half a file": lambda where: (where / "quality.json").write_text('{"hash": '),
    "no schema": lambda where: quality_of(where, lambda data: {k: v for k, v in data.items() if k != "schema"}),
    "the hash alone": lambda where: quality_of(where, lambda data: {"schema": 1, "hash": data["hash"]}),
    "one more": lambda where: quality_of(where, lambda data: {**data, "more": 1}),
    "another number": lambda where: quality_of(where, lambda data: {**data, "volume": 1.0}),
    **{
        f"{name} {how}": lambda where, name=name, kept=kept: (where / name).write_bytes(
            (where / name).read_bytes()[: int(kept * (where / name).stat().st_size)]
        )
        for name in ("junction.msh", "junction.vtu")
        for how, kept in {"empty": 0.0, "cut off": 0.5}.items()
    },
}


SEALED = ("no schema", "another number")  # what is found by the digests alone


@pytest.mark.parametrize(
    ("damage", "first"), [(one, first) for one in DAMAGES for first in (False, True) if not (first and one in SEALED)]
)
def test_a_damaged_mesh_is_made_anew(tmp_path, damage, first):
    made = small(tmp_path)
    if first:
        quality_of(tmp_path, of_before)
    DAMAGES[damage](tmp_path)
    again = small(tmp_path)
    assert not again.reused and again.quality.as_dict() == made.quality.as_dict()
    assert small(tmp_path).reused


@pytest.mark.parametrize("name", ["junction.msh", "junction.vtu"])
@pytest.mark.parametrize("first", [False, True], ids=["with digests", "without"])
def test_a_file_of_another_mesh_is_not_taken(tmp_path, name, first):
    # As where two processes make different meshes in one folder, and one of them ends between its files.
    small(tmp_path / "other", 2)
    small(tmp_path / "mesh")
    if first:
        quality_of(tmp_path / "mesh", of_before)
    shutil.copy(tmp_path / "other" / name, tmp_path / "mesh" / name)
    assert not small(tmp_path / "mesh").reused


def test_a_mesh_without_digests_stays_and_gets_them(tmp_path):
    made = small(tmp_path)
    before = made.msh.stat().st_ino
    quality_of(tmp_path, of_before)
    again = small(tmp_path)
    assert again.reused and again.msh.stat().st_ino == before
    assert json.dumps(again.quality.as_dict()) == json.dumps(made.quality.as_dict())
    assert "junction.msh" in json.loads((tmp_path / "quality.json").read_text())["files"]


def test_one_process_at_a_time_makes_the_mesh_of_a_folder(tmp_path, monkeypatch):
    def lock():
        handle = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)

    def drawing(*_):
        with pytest.raises(BlockingIOError):
            lock()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("twin.meshing.build.draw", drawing)
        small(tmp_path)
    lock()


def test_what_another_process_made_meanwhile_is_reused(tmp_path, monkeypatch):
    theirs = small(tmp_path / "theirs")

    @contextmanager
    def waits(where):
        shutil.copytree(theirs.path, where, dirs_exist_ok=True)
        yield

    monkeypatch.setattr("twin.meshing.build.locked", waits)
    assert small(tmp_path / "mine").reused


def test_scratch_files_of_a_killed_process_are_cleared(tmp_path):
    for name in (".junction.abcd.msh", ".junction.efgh.vtu", "own.msh"):
        (tmp_path / name).write_text("half")
    small(tmp_path)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["junction.msh", "junction.vtu", "own.msh", "quality.json"]


def test_a_solver_refuses_the_mesh_that_another_run_has_put_there(tmp_path):
    made, other = small(tmp_path), small(tmp_path / "other", 2)
    read_domain(made.msh, MPI.COMM_SELF, made.hash)
    for name in ("junction.msh", "quality.json"):
        shutil.copy(other.path / name, made.path / name)
        with pytest.raises(BadInput, match="by another run"):
            read_domain(made.msh, MPI.COMM_SELF, made.hash)


def test_a_mesh_that_changes_while_it_is_read_is_refused(own_mesh, tmp_path, monkeypatch):
    def changes(source, names):
        read = read_mesh(source, names)
        source.write_text("another")
        return read

    foreign(own_mesh / "own.msh", list(BOUNDARIES))
    monkeypatch.setattr("twin.meshing.build.read_mesh", changes)
    with pytest.raises(BadInput, match="was changed while"):
        build_mesh(load(own_mesh), "coarse", tmp_path / "mesh")
    assert not (tmp_path / "mesh" / "quality.json").exists()


def foreign(path, names):
    """A box with as many of its faces named; the last of four names is that of the rest."""
    gmsh.initialize()
    gmsh.option.setNumber("General.Terminal", 0)
    gmsh.model.occ.addBox(0, 0, 0, 1, 1, 1)
    gmsh.model.occ.synchronize()
    for tag, name in enumerate(names, start=1):
        gmsh.model.addPhysicalGroup(2, [tag] if tag < 4 else [4, 5, 6], name=name)
    gmsh.model.addPhysicalGroup(3, [1], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", 0.5)
    gmsh.option.setNumber("Mesh.SaveAll", 1)
    gmsh.model.mesh.generate(3)
    gmsh.write(str(path))
    gmsh.finalize()


@pytest.fixture
def own_mesh(tmp_path):
    folder = tmp_path / "case"
    shutil.copytree(PAPER, folder, ignore=shutil.ignore_patterns("results"))
    path = folder / "case.toml"
    path.write_text(path.read_text().replace('connector = "ptfe-y-60"', 'mesh = "own.msh"\nbore = "1 mm"'))
    return folder


def test_a_mesh_of_the_user_s_own_is_taken(own_mesh, tmp_path):
    foreign(own_mesh / "own.msh", list(BOUNDARIES))
    made = build_mesh(load(own_mesh), "coarse", tmp_path / "mesh")
    assert made.quality.cells > 0 and set(made.quality.areas) == set(BOUNDARIES)


@pytest.mark.parametrize("names", [["inlet", "outlet"], [], ["antisolvent", "precursor", "outlet"]])
def test_a_foreign_mesh_without_the_names_is_refused(own_mesh, tmp_path, names):
    foreign(own_mesh / "own.msh", names)
    with pytest.raises(BadInput, match="name physical surfaces antisolvent, precursor, outlet, wall"):
        build_mesh(load(own_mesh), "coarse", tmp_path / "mesh")


def test_a_missing_or_broken_mesh_is_refused(own_mesh, tmp_path):
    with pytest.raises(BadInput, match="no mesh file"):
        build_mesh(load(own_mesh), "coarse", tmp_path / "mesh")
    (own_mesh / "own.msh").write_text("$MeshFormat\n4.1 0 8\n")
    with pytest.raises(BadInput, match=r"can't read|no tetrahedra"):
        build_mesh(load(own_mesh), "coarse", tmp_path / "mesh")


def test_quality_is_kept_beside_the_mesh(made):
    mesh_connector(small_connector(3), LEVEL, made.path)
    stored = json.loads((made.path / "quality.json").read_text())
    assert stored["cells"] == made.quality.cells
