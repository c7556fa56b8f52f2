import json
import math
import shutil
from pathlib import Path

import gmsh
import meshio
import numpy as np
import pytest

from twin.case import load
from twin.case.schema import Level
from twin.errors import BadInput
from twin.junction import BOUNDARIES
from twin.meshing import build_mesh
from twin.meshing.build import mesh_connector
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
