"""Mixing read off OpenFOAM's cell values and face fluxes. The last tests run OpenFOAM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from openfoam_mark import needs_openfoam

from twin.errors import TwinError
from twin.verification import finite_volumes, openfoam, openfoam_scalar
from twin.verification.hexahedra import (
    OUTLET_BORES,
    PATCHES,
    Floats,
    HexMesh,
    Ints,
    Section,
    area_vectors,
    hex_mesh,
    mesh_half_junction,
    sweep,
)
from twin.verification.mixing import exact_segregation
from twin.verification.openfoam_scalar import PLANES, SCHEMES, PeerFlow

pytestmark = pytest.mark.field
PECLET = 200.0  # on the width of the channel
LENGTH, DEPTH = 4.0, 0.25


def channel(across: int, along: int) -> HexMesh:
    """A channel of unit width along z and one cell deep, the precursor in its half x > 0."""
    x = np.linspace(-0.5, 0.5, across + 1)
    nodes = np.concatenate([np.column_stack([x, np.full_like(x, y)]) for y in (0.0, DEPTH)])
    first = np.arange(across)
    section = Section(nodes, np.column_stack([first, first + 1, first + across + 2, first + across + 1]))
    layers = np.linspace(0.0, LENGTH, along + 1)
    swept = sweep(section, layers, np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), (0.0, 0.0))

    def patch_of(points: Floats, faces: Ints) -> Ints:
        centre = points[faces].mean(axis=1)
        names = np.full(len(faces), PATCHES.index("wall"))
        names[centre[:, 1] < 1e-9] = PATCHES.index("symmetry")
        names[centre[:, 2] > LENGTH - 1e-9] = PATCHES.index("outlet")
        inlet = centre[:, 2] < 1e-9
        names[inlet & (centre[:, 0] < 0)] = PATCHES.index("antisolvent")
        names[inlet & (centre[:, 0] > 0)] = PATCHES.index("precursor")
        return names

    return hex_mesh(*swept, patch_of, section, layers, LENGTH / along)


def plug(folder: Path, mesh: HexMesh) -> PeerFlow:
    """Plug flow of speed 1 on a mesh, as a flow of OpenFOAM's."""
    openfoam.write_case(folder, mesh, 1.0, 0.5, 1)
    moving = dict.fromkeys(("antisolvent", "precursor"), "type fixedValue; value uniform (0 0 1);")
    others = {"outlet": "type zeroGradient;", "wall": "type slip;", "symmetry": "type symmetryPlane;"}
    text = f"dimensions [0 1 -1 0 0 0 0];\ninternalField uniform (0 0 1);\n{openfoam.boundary_field(moving | others)}"
    openfoam.write_file(folder / "0" / "U", text, kind="volVectorField")
    return PeerFlow(folder, folder / "0", mesh, 0.0, 0.0, 0.0, converged=True)


# -- the mesh and its geometry -----------------------------------------------------------------------------------------


def test_the_layers_at_the_planes_are_flat_and_whole() -> None:
    mesh = mesh_half_junction(8, PLANES)
    centre = mesh.points[mesh.faces]
    for bores in PLANES:
        there = np.abs(centre[:, :, 2] - bores).max(axis=1) < 1e-12
        area = area_vectors(mesh.points, mesh.faces[there])
        assert np.abs(area[:, 2]).sum() == pytest.approx(np.pi / 8, rel=1e-12)


def test_without_planes_the_mesh_is_that_of_the_flow() -> None:
    plain, with_planes = mesh_half_junction(8), mesh_half_junction(8, PLANES)
    assert np.abs(np.diff(plain.outlet_layers, 2)).max() < 0.02  # even, as no plane asks for a jump
    assert abs(with_planes.cells / plain.cells - 1) < 0.1
    assert with_planes.outlet_layers[-1] == OUTLET_BORES


def test_the_geometry_is_that_of_the_polyhedra() -> None:
    mesh = mesh_half_junction(8, PLANES)
    at = finite_volumes.geometry(mesh)
    through = (at.area * at.face).sum(axis=1)
    volume = np.bincount(mesh.owner, through, mesh.cells)
    volume -= np.bincount(mesh.neighbour, through[: at.inside], mesh.cells)
    assert at.volume == pytest.approx(volume / 3, rel=1e-9)
    # The outlet's far half, a half cylinder of 5 bores: its centroid is the sum of those of its cells.
    far = at.cell[:, 2] > 5
    centroid = (at.volume[far, None] * at.cell[far]).sum(axis=0) / at.volume[far].sum()
    assert centroid[[0, 2]] == pytest.approx([0.0, 7.5], abs=1e-9)
    assert centroid[1] == pytest.approx(2 / (3 * np.pi), rel=0.02)
    assert ((at.weight > 0.2) & (at.weight < 0.8)).all()


@pytest.mark.parametrize("name", [name for name in SCHEMES if name != "upwind"])
def test_second_order_schemes_carry_a_linear_profile_exactly(name: str) -> None:
    mesh = channel(8, 8)
    at = finite_volumes.geometry(mesh)
    direction = np.array([0.3, 0.0, 0.7])
    slope = np.tile(direction, (mesh.cells, 1))
    for phi in (np.ones(at.inside), -np.ones(at.inside)):
        found = finite_volumes.carried(mesh, at, at.cell @ direction, slope, phi, SCHEMES[name].limiter)
        assert found == pytest.approx(at.face[: at.inside] @ direction, abs=1e-12)
    through = finite_volumes.diffused(mesh, at, at.cell @ direction, slope)
    assert through == pytest.approx(at.area[: at.inside] @ direction, abs=1e-12)


def test_limiters_fall_back_to_upwind_at_an_extremum() -> None:
    mesh = channel(8, 8)
    at = finite_volumes.geometry(mesh)
    c = (-1.0) ** (np.arange(mesh.cells) // 8)  # a saw along z, whose gradient in a cell is none
    none = np.zeros((mesh.cells, 3))
    for name in ("upwind", "limitedLinear", "vanLeer"):
        found = finite_volumes.carried(mesh, at, c, none, np.ones(at.inside), SCHEMES[name].limiter)
        assert found == pytest.approx(c[mesh.owner[: at.inside]])


def test_the_gradient_of_a_linear_profile_is_exact_within() -> None:
    mesh = channel(8, 8)
    at = finite_volumes.geometry(mesh)
    slope = finite_volumes.gradient(mesh, at, at.cell @ np.array([0.3, 0.0, 0.7]))
    inner = (np.abs(at.cell[:, 0]) < 0.37) & (at.cell[:, 2] > 0.6) & (at.cell[:, 2] < 3.4)
    assert slope[inner] == pytest.approx(np.tile([0.3, 0.0, 0.7], (inner.sum(), 1)), abs=1e-12)


def test_patches_are_read_whether_uniform_or_not(tmp_path: Path) -> None:
    file = tmp_path / "phi"
    file.write_text(
        "internalField uniform 3;\nboundaryField\n{\n"
        "    inlet\n    {\n        type calculated;\n"
        "        value nonuniform List<scalar> \n3\n(\n-1e-3\n2\n4.5\n)\n;\n    }\n"
        "    wall { type calculated; value uniform 0.5; }\n    open { type zeroGradient; }\n}\n",
        encoding="ascii",
    )
    assert openfoam.read_patch(file, "inlet", 3).tolist() == [-1e-3, 2.0, 4.5]
    assert openfoam.read_patch(file, "wall", 2).tolist() == [0.5, 0.5]
    for name in ("open", "let"):
        with pytest.raises(TwinError, match="no values on"):
            openfoam.read_patch(file, name, 1)


def test_a_plane_that_is_no_layer_is_refused(tmp_path: Path) -> None:
    flow = PeerFlow(tmp_path, tmp_path, channel(4, 4), 0.0, 0.0, 0.0, converged=True)
    with pytest.raises(TwinError, match="no layer"):
        openfoam_scalar.scalar_mixing(flow, PECLET, "upwind", [1.5])


# -- with OpenFOAM -----------------------------------------------------------------------------------------------------


@needs_openfoam
@pytest.mark.parametrize("name", ["linearUpwind", "limitedLinear", "vanLeer"])
def test_two_streams_mix_as_the_closed_form_says(name: str, tmp_path: Path) -> None:
    flow = plug(tmp_path / "flow", channel(32, 128))
    answer = openfoam_scalar.scalar_mixing(flow, PECLET, name, [1.0, 2.0, 3.0, LENGTH])
    assert answer.converged
    for plane in answer.planes:
        assert plane.segregation == pytest.approx(exact_segregation(plane.bores, PECLET), rel=0.01)
        assert abs(plane.flux_error) < 1e-5
    assert [plane.bores for plane in answer.planes] == [1.0, 2.0, 3.0, LENGTH]
    assert abs(answer.planes[2].numerical_diffusion) < 0.02
    assert 0.01 < answer.memory_gib < 1
    assert answer.cpu_seconds_scalar > 0
    assert answer.lowest == pytest.approx(0, abs=1e-3)
    assert answer.highest == pytest.approx(1, abs=1e-3)


@needs_openfoam
def test_twice_the_diffusion_is_found_as_numerical(tmp_path: Path) -> None:
    flow = plug(tmp_path / "flow", channel(32, 128))
    openfoam_scalar.scalar_mixing(flow, PECLET / 2, "limitedLinear", [LENGTH])
    (written,) = flow.folder.glob("scalar-*")
    last = openfoam.last_time(written)
    c = openfoam.read_field(last / "T")[:, 0]
    planes = finite_volumes.mixing_of_cells(
        flow.mesh, last / "phi", c, PECLET, SCHEMES["limitedLinear"].limiter, [32, 64, 96, 128]
    )
    assert [plane.numerical_diffusion for plane in planes[1:]] == pytest.approx([1.0] * 3, abs=0.05)


@needs_openfoam
def test_what_has_not_converged_has_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openfoam_scalar, "TOLERANCE", 1e-30)
    answer = openfoam_scalar.scalar_mixing(plug(tmp_path / "flow", channel(8, 16)), PECLET, "vanLeer", [1.0])
    assert not answer.converged
    assert answer.planes == []
    assert np.isnan([answer.lowest, answer.highest]).all()
    assert answer.failure == f"residual {answer.residual:.1e} after {answer.iterations} iterations"


@needs_openfoam
def test_a_flow_that_has_not_converged_carries_no_scalar(tmp_path: Path) -> None:
    flow = replace(plug(tmp_path / "flow", channel(8, 16)), converged=False)
    answer = openfoam_scalar.scalar_mixing(flow, PECLET, "upwind", [1.0])
    assert answer.failure == "the flow did not converge"
    assert answer.planes == []


@needs_openfoam
def test_a_solver_that_breaks_down_is_told(tmp_path: Path) -> None:
    flow = plug(tmp_path / "flow", channel(8, 16))
    (flow.fields / "U").write_text("no field", encoding="ascii")
    answer = openfoam_scalar.scalar_mixing(flow, PECLET, "upwind", [1.0])
    assert answer.failure.startswith("OpenFOAM's upwind-1 failed")
    assert answer.planes == []


@needs_openfoam
def test_a_plan_is_computed_by_point_mesh_and_scheme() -> None:
    point = openfoam_scalar.Point(50.0, 0.1, 1e3)
    told: list[str] = []
    found = list(openfoam_scalar.peers(openfoam_scalar.Plan((point,), (8,), ("upwind", "vanLeer")), told.append))
    assert [where for *where, _ in found] == [[point, 8]] * 2
    assert [answer.scheme for *_, answer in found] == ["upwind", "vanLeer"]
    assert all(answer.converged and len(answer.planes) == len(PLANES) for *_, answer in found)
    assert len(told) == 3


@pytest.fixture(scope="module")
def junction(tmp_path_factory: pytest.TempPathFactory) -> PeerFlow:
    return openfoam_scalar.peer_flow(100.0, 0.06, 8, tmp_path_factory.mktemp("peer") / "flow", patience_s=120)


@needs_openfoam
@pytest.mark.parametrize("name", list(SCHEMES))
def test_face_values_are_those_that_openfoam_balanced(name: str, junction: PeerFlow) -> None:
    peclet = 20.0  # low, so that diffusion and its correction for skew cells count
    assert openfoam_scalar.scalar_mixing(junction, peclet, name, patience_s=120).converged
    last = openfoam.last_time(junction.folder / f"scalar-{name}-20")
    mesh, at = junction.mesh, finite_volumes.geometry(junction.mesh)
    c, phi = openfoam.read_field(last / "T")[:, 0], openfoam.read_field(last / "phi")[:, 0]
    slope = finite_volumes.gradient(mesh, at, c)
    owner, neighbour = mesh.owner[: at.inside], mesh.neighbour
    # `bounded` takes c ∇·u off, so each cell balances what differs from its own value.
    value = finite_volumes.carried(mesh, at, c, slope, phi, SCHEMES[name].limiter)
    diffusing = finite_volumes.diffused(mesh, at, c, slope) / peclet
    balance = np.bincount(owner, phi * (value - c[owner]) - diffusing, mesh.cells)
    balance -= np.bincount(neighbour, phi * (value - c[neighbour]) - diffusing, mesh.cells)
    scale = np.bincount(owner, np.abs(phi), mesh.cells).mean()
    inner = np.ones(mesh.cells, dtype=bool)
    for patch in ("antisolvent", "precursor"):
        start, count = mesh.patches[patch]
        inner[mesh.owner[start : start + count]] = False
    assert np.abs(balance[inner]).max() < 1e-6 * scale


@needs_openfoam
def test_in_the_junction_the_flux_closes_and_upwind_is_the_worst(junction: PeerFlow) -> None:
    assert junction.converged
    index = {}
    for name in SCHEMES:
        answer = openfoam_scalar.scalar_mixing(junction, 1e5, name, patience_s=120)
        assert answer.converged, name
        assert max(abs(plane.flux_error) for plane in answer.planes) < 1e-4
        segregation = [plane.segregation for plane in answer.planes]
        assert (np.diff(segregation) < 0).all()
        made_up = [plane.numerical_diffusion for plane in answer.planes]
        assert min(made_up[:2]) > 5
        assert min(made_up) > -0.5  # linearUpwind sharpens what is smooth
        assert all(plane.segregation_physical > plane.segregation for plane in answer.planes)
        index[name] = answer.planes[-1].index
    assert max(index, key=lambda name: index[name]) == "upwind"
