"""The case that OpenFOAM gets: a sound mesh, exact flows, and answers read back. Only the last test runs OpenFOAM."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from openfoam_mark import needs_openfoam

from twin.errors import TwinError
from twin.verification import openfoam
from twin.verification.hexahedra import (
    ARM_BORES,
    HALF_ANGLE,
    OUTLET_BORES,
    PATCHES,
    RADIUS,
    Floats,
    HexMesh,
    area_vectors,
    mesh_half_junction,
)
from twin.verification.openfoam_tools import Tools

REYNOLDS, SHARE = 100.0, 0.06


@pytest.fixture(scope="module")
def mesh() -> HexMesh:
    return mesh_half_junction(8)


def cell_sums(mesh: HexMesh, of_faces: Floats) -> Floats:
    """Sums over the faces of each cell, with the sign of the outward normal."""
    sums = np.zeros((mesh.cells, *of_faces.shape[1:]))
    np.add.at(sums, mesh.owner, of_faces)
    np.subtract.at(sums, mesh.neighbour, of_faces[: len(mesh.neighbour)])
    return sums


def test_the_cells_are_closed_and_fill_the_junction(mesh: HexMesh) -> None:
    area = area_vectors(mesh.points, mesh.faces)
    assert np.abs(cell_sums(mesh, area)).max() < 1e-12
    centre = mesh.points[mesh.faces].mean(axis=1)
    volume = cell_sums(mesh, (area * centre).sum(axis=1)) / 3
    assert volume.min() > 0
    # A pipe to the origin less what its mitres cut off: slope × ∫ x dA of a quarter disc, twice.
    slopes = 4 * np.tan(HALF_ANGLE / 2) + 2 / np.tan(HALF_ANGLE)
    exact = np.pi * RADIUS**2 / 2 * (OUTLET_BORES + 2 * ARM_BORES) - slopes * RADIUS**3 / 3
    assert volume.sum() == pytest.approx(exact, rel=1e-3)


def test_the_faces_stand_in_the_order_that_openfoam_wants(mesh: HexMesh) -> None:
    inside = len(mesh.neighbour)
    assert (mesh.owner[:inside] < mesh.neighbour).all()
    order = mesh.owner[:inside] * mesh.cells + mesh.neighbour
    assert (np.diff(order) > 0).all()
    assert np.bincount(np.concatenate([mesh.owner, mesh.neighbour])).tolist() == [6] * mesh.cells
    start = inside
    for name in PATCHES:
        assert mesh.patches[name][0] == start
        start += mesh.patches[name][1]
    assert start == len(mesh.faces)


def test_every_section_has_the_area_of_the_bore(mesh: HexMesh) -> None:
    for name in ("antisolvent", "precursor", "outlet"):
        area = np.linalg.norm(area_vectors(mesh.points, mesh.patch_faces(name)).sum(axis=0))
        assert area == pytest.approx(np.pi / 8, rel=1e-12)


def test_the_mesh_is_as_orthogonal_as_openfoam_likes_it(mesh: HexMesh) -> None:
    inside = len(mesh.neighbour)
    middle = np.zeros((mesh.cells, 3))
    for cells, faces in ((mesh.owner, mesh.faces), (mesh.neighbour, mesh.faces[:inside])):
        np.add.at(middle, cells, mesh.points[faces].mean(axis=1) / 6)
    between = middle[mesh.neighbour] - middle[mesh.owner[:inside]]
    area = area_vectors(mesh.points, mesh.faces[:inside])
    cosine = (between * area).sum(axis=1) / np.linalg.norm(between, axis=1) / np.linalg.norm(area, axis=1)
    assert np.degrees(np.arccos(cosine.min())) < 65  # checkMesh warns from 70


def test_the_inlets_carry_exactly_their_shares(mesh: HexMesh) -> None:
    for name, share in (("antisolvent", 1 - SHARE), ("precursor", SHARE)):
        velocity = openfoam.inlet_velocity(mesh, name, share)
        flow = -(velocity * area_vectors(mesh.points, mesh.patch_faces(name))).sum()
        assert flow == pytest.approx(share * np.pi / 8, rel=1e-12)
        assert np.linalg.norm(velocity, axis=1).max() == pytest.approx(2 * share, rel=0.1)


def test_the_case_is_whole(mesh: HexMesh, tmp_path: Path) -> None:
    openfoam.write_case(tmp_path, mesh, REYNOLDS, SHARE, 2)
    counts = {"points": len(mesh.points), "faces": len(mesh.faces), "owner": len(mesh.owner), "boundary": len(PATCHES)}
    for name, count in counts.items():
        text = (tmp_path / "constant" / "polyMesh" / name).read_text(encoding="ascii")
        assert re.search(rf"\}}\n{count}\n\(\n", text), name
    for path in (
        "system/controlDict",
        "system/fvSchemes",
        "system/fvSolution",
        "system/decomposeParDict",
        "0/p",
        "0/U",
    ):
        text = (tmp_path / path).read_text(encoding="ascii")
        assert text.startswith("FoamFile\n{\n")
        assert text.count("{") == text.count("}")
        assert text.count("(") == text.count(")")
    fields = (tmp_path / "0" / "U").read_text(encoding="ascii")
    assert all(f"\n{name} {{" in fields for name in PATCHES)
    with pytest.raises(TwinError, match="not a field that OpenFOAM has solved"):
        openfoam.read_field(tmp_path / "0" / "p")


def write_answer(file: Path, kind: str, values: Floats) -> None:
    entries = "\n".join(
        "(" + " ".join(map(repr, row)) + ")" if len(row) > 1 else repr(row[0]) for row in values.tolist()
    )
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"internalField   nonuniform List<{kind}> \n{len(values)}\n(\n{entries}\n)\n;\n", encoding="ascii")


def test_developed_flow_is_read_back(tmp_path: Path) -> None:
    mesh = mesh_half_junction(16)
    centre = np.zeros((mesh.cells, 3))
    for cells, faces in ((mesh.owner, mesh.faces), (mesh.neighbour, mesh.faces[: len(mesh.neighbour)])):
        np.add.at(centre, cells, mesh.points[faces].mean(axis=1) / 6)
    speed = 2 * (1 - 4 * (centre[:, :2] ** 2).sum(axis=1))
    write_answer(tmp_path / "200" / "U", "vector", np.column_stack([0 * speed, 0 * speed, speed]))
    along = np.array([-np.sin(HALF_ANGLE), 0, -np.cos(HALF_ANGLE)])
    gradient = 32 / REYNOLDS * (1 - SHARE)
    for time, shift in (("90", 0.1), ("200", 0.0)):
        write_answer(tmp_path / time / "p", "scalar", (gradient * (centre @ along) + shift)[:, None])

    points = openfoam.sample_points()
    found = openfoam.outlet_velocity(tmp_path, mesh, points)
    exact = 2 * (1 - 4 * (points[:, :2] ** 2).sum(axis=1))
    assert np.abs(found[:, 2] - exact).max() < 0.01
    assert np.abs(found[:, :2]).max() < 1e-12
    assert openfoam.pressure_drop(tmp_path, mesh, REYNOLDS, SHARE) == pytest.approx(gradient * ARM_BORES, rel=1e-6)


def test_the_sample_points_lie_in_the_half_outlet() -> None:
    points = openfoam.sample_points()
    assert points.shape == (144, 3)
    assert (points[:, 1] > 0).all()
    assert np.hypot(points[:, 0], points[:, 1]).max() == pytest.approx(0.48)
    assert (points[:, 2] < OUTLET_BORES).all()


def result(velocity: Floats) -> openfoam.PeerResult:
    solved = openfoam.Solved(2.0, 1.9, True, 100, {}, "1912", Path("log"))
    return openfoam.PeerResult(**vars(solved), seconds_mesh=1.0, cells=10, pressure_drop=1.65, outlet_velocity=velocity)


def test_errors_are_relative_and_in_u() -> None:
    velocity = np.ones((4, 3))
    reference = openfoam.Reference(1.65, velocity)
    assert openfoam.errors(result(velocity), reference) == {"pressure_drop": 0.0, "outlet_velocity": 0.0}
    off = replace(result(velocity + np.array([0.0, 0.03, 0.04])), pressure_drop=1.65 * 1.02)
    assert openfoam.errors(off, reference) == pytest.approx({"pressure_drop": 0.02, "outlet_velocity": 0.05})


def test_without_openfoam_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TWIN_OPENFOAM", raising=False)
    with pytest.raises(TwinError, match="no OpenFOAM"):
        openfoam.run_openfoam(REYNOLDS, SHARE, 8, 1, tmp_path / "case")


def test_a_program_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    tools = Tools(tmp_path, 1, {"PATH": "/usr/bin:/bin"}, np.inf)
    with pytest.raises(TwinError, match="OpenFOAM's sh failed") as caught:
        tools.run("sh", "-c", "echo no room; exit 3")
    assert "no room" in caught.value.remedy


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    tools = Tools(tmp_path, 1, {"PATH": "/usr/bin:/bin"}, 0.0)
    with pytest.raises(TwinError, match="sleep took too long"):
        tools.run("sleep", "60")


@needs_openfoam
def test_openfoam_solves_the_case_on_two_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_MCA_mpi_yield_when_idle", "1")  # two ranks that spin starve each other on a busy machine
    answer = openfoam.run_openfoam(REYNOLDS, SHARE, 8, 2, tmp_path / "case", patience_s=120)
    assert answer.converged
    assert answer.cells == mesh_half_junction(8).cells
    # Developed flow alone, 32/Re a bore, gives 4.1; the turn and the development add to it.
    assert 4.0 < answer.pressure_drop < 6.0
    assert np.isfinite(answer.outlet_velocity).all()
    assert answer.outlet_velocity[:, 2].max() == pytest.approx(2.0, rel=0.1)
