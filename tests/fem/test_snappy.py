"""snappyHexMesh's junction: the surface that it gets, meshes read back and measured. Only the last test runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openfoam_mark import needs_openfoam

from twin.verification import openfoam, snappy
from twin.verification.hexahedra import ARM_BORES, OUTLET_BORES, RADIUS, HexMesh, area_vectors, mesh_half_junction
from twin.verification.polymesh import PolyMesh, read_polymesh


@pytest.fixture(scope="module")
def hexahedra() -> HexMesh:
    return mesh_half_junction(8)


@pytest.fixture(scope="module")
def mesh(hexahedra: HexMesh, tmp_path_factory: pytest.TempPathFactory) -> PolyMesh:
    folder = tmp_path_factory.mktemp("case")
    openfoam.write_case(folder, hexahedra, 100.0, 0.06, 1)
    return read_polymesh(folder)


def test_a_mesh_is_read_as_it_was_written(hexahedra: HexMesh, mesh: PolyMesh) -> None:
    assert mesh.cells == hexahedra.cells
    assert mesh.patches == hexahedra.patches
    assert mesh.points == pytest.approx(hexahedra.points)
    assert np.array_equal(mesh.corners.reshape(-1, 4), hexahedra.faces)
    assert np.array_equal(mesh.owner, hexahedra.owner)
    assert np.array_equal(mesh.neighbour, hexahedra.neighbour)


def test_the_cells_fill_the_junction(mesh: PolyMesh) -> None:
    """Three half pipes, less what their mitres take from each: the outlet's and the arms' axes are 3 + 3 + 10 long."""
    assert (mesh.cell_volumes > 0).all()
    whole = mesh.cell_volumes.sum()
    assert whole == pytest.approx(((mesh.face_areas * mesh.face_centres).sum(axis=1) / 3)[len(mesh.neighbour) :].sum())
    assert whole < np.pi / 8 * (2 * ARM_BORES + OUTLET_BORES)
    assert np.linalg.norm(mesh.face_areas[mesh.patch("outlet")].sum(axis=0)) == pytest.approx(np.pi / 8)


def test_centres_of_cells_are_those_of_their_volume() -> None:
    """A pyramid: its centre is a quarter of the way up."""
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 2.0]], dtype=float)
    faces = [[0, 3, 2, 1], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]
    starts = np.cumsum([0, *(len(face) for face in faces)])
    made = PolyMesh(
        points, np.concatenate(faces), starts, np.zeros(5, dtype=int), np.zeros(0, dtype=int), {"wall": (0, 5)}
    )
    assert made.cell_volumes == pytest.approx([2 / 3])
    assert made.cell_centres[0] == pytest.approx([0.5, 0.5, 0.5])
    assert made.face_centres[0] == pytest.approx([0.5, 0.5, 0.0])
    assert made.face_areas[0] == pytest.approx([0.0, 0.0, -1.0])


def test_a_mesh_that_broke_off_is_not_read(hexahedra: HexMesh, tmp_path: Path) -> None:
    openfoam.write_case(tmp_path, hexahedra, 100.0, 0.06, 1)
    faces = tmp_path / "constant" / "polyMesh" / "faces"
    lines = faces.read_text(encoding="ascii").splitlines()
    faces.write_text("\n".join([*lines[:-3], ")"]), encoding="ascii")
    with pytest.raises(ValueError, match="faces, and says that it has"):
        read_polymesh(tmp_path)


def test_the_surface_is_closed_but_for_the_plane_of_symmetry(hexahedra: HexMesh, tmp_path: Path) -> None:
    """Its normals lead outwards: with the plane y = 0, which adds nothing, they enclose the volume of the mesh."""
    snappy.write_surface(tmp_path / "junction.stl", hexahedra)
    text = (tmp_path / "junction.stl").read_text(encoding="ascii")
    assert text.count("endsolid") == 4
    corners = np.array([line.split()[1:] for line in text.splitlines() if line.startswith("vertex")], dtype=float)
    first, second, third = corners.reshape(-1, 3, 3).swapaxes(0, 1)
    volume = (np.cross(second - first, third - first) * first).sum() / 6
    outer = hexahedra.points[hexahedra.faces].mean(axis=1) * area_vectors(hexahedra.points, hexahedra.faces)
    assert volume == pytest.approx(outer[len(hexahedra.neighbour) :].sum() / 3, rel=2e-3)


def test_the_box_holds_the_junction_and_has_cubes(hexahedra: HexMesh) -> None:
    text = snappy._block(hexahedra.points, 1 / 16)
    numbers = [tuple(map(float, part.split(")")[0].split())) for part in text.split("(")[2:10]]
    low, high = np.min(numbers, axis=0), np.max(numbers, axis=0)
    assert low[1] == 0.0
    assert (low[[0, 2]] < hexahedra.points.min(axis=0)[[0, 2]]).all()
    assert (high > hexahedra.points.max(axis=0)).all()
    cells = np.array(text.split("hex (0 1 2 3 4 5 6 7) (")[1].split(")")[0].split(), dtype=int)
    assert (high - low) / cells == pytest.approx([1 / 16] * 3)


@needs_openfoam
def test_snappy_solves_the_case_on_two_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_MCA_mpi_yield_when_idle", "1")  # two ranks that spin starve each other on a busy machine
    answer = snappy.run_snappy(100.0, 0.06, 6, 2, tmp_path / "case", patience_s=300)
    assert answer.converged
    mesh = read_polymesh(tmp_path / "case")
    assert answer.cells == mesh.cells
    assert set(mesh.patches) == {"symmetry", "wall", "antisolvent", "precursor", "outlet"}
    assert np.hypot(*mesh.points[mesh.points[:, 2] > 1][:, :2].T).max() == pytest.approx(RADIUS, abs=0.01)
    peer = openfoam.run_openfoam(100.0, 0.06, 8, 2, tmp_path / "hexahedra", patience_s=120)
    assert answer.pressure_drop == pytest.approx(peer.pressure_drop, rel=0.05)
    assert openfoam.errors(answer, peer)["outlet_velocity"] < 0.05
