"""Meshes whose element sizes follow a flow."""

import json
from itertools import combinations
from typing import Annotated

import meshio
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from twin.case.schema import IN_ORDER, Level
from twin.errors import BadInput
from twin.meshing.adapt import GROWTH, Metric, following
from twin.meshing.build import _gmsh as gmsh_running
from twin.meshing.build import mesh_connector
from twin.meshing.recipe import connector_grid
from twin.verification.flow import small_connector

pytestmark = pytest.mark.field
EVEN = Level(wall_size=0.14, core_size=0.14)
LARGEST = 0.25


def layer(points, thickness=0.05):
    """A shear layer at z = 0.4 + x/2: what an element of size h misses of it falls with h² only near the layer."""
    away = (points[:, 2] - 0.4 - points[:, 0] / 2) / thickness
    return np.column_stack([np.zeros(len(points)), np.zeros(len(points)), np.tanh(away)])


def solved(where, velocity, status="steady"):
    """The mesh of the level "even" in `where`, with fields as if a point had been solved on it."""
    made = mesh_connector(small_connector(3), EVEN, where / "even" / "mesh")
    mesh = meshio.read(made.vtu)
    mesh.point_data = {"velocity": velocity(mesh.points)}
    folder = where / "even" / "points" / "p"
    folder.mkdir(parents=True, exist_ok=True)
    mesh.write(folder / "fields.vtu")
    record = {"status": status, "provenance": {"mesh_hash": made.hash}}
    (folder / "record.json").write_text(json.dumps(record))
    return mesh


def level(cells, **more):
    return Level(
        wall_size=LARGEST, core_size=LARGEST, follows={"level": "even", "point": "p", "cells": cells}, **more
    )


def missed(mesh, velocity):
    """The L² norm of what the straight cells' second-degree interpolation misses of the gradient along z."""
    cells = mesh.cells_dict["tetra10"]
    corners = mesh.points[cells[:, :4]]
    inverse = np.linalg.inv(corners[:, 1:] - corners[:, :1])[:, 2, :]
    slopes = np.column_stack([-inverse.sum(axis=1), inverse])  # d/dz of the barycentric coordinates
    volume = abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / 6
    total, step = np.zeros(len(cells)), 1e-5
    ends = ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))
    middles = np.stack([(corners[:, i] + corners[:, j]) / 2 for i, j in ends], axis=1)
    nodal = velocity(np.concatenate([corners, middles], axis=1).reshape(-1, 3))[:, 2].reshape(-1, 10)
    share = (5 + 3 * np.sqrt(5)) / 20  # the four-point rule of second degree
    for corner in range(4):
        at = np.full(4, (1 - share) / 3)
        at[corner] = share
        shape = [(4 * at[i] - 1) * slopes[:, i] for i in range(4)]
        shape += [4 * (at[i] * slopes[:, j] + at[j] * slopes[:, i]) for i, j in ends]
        inside = np.einsum("k,mkd->md", at, corners)
        up, down = (velocity(inside + np.array([0, 0, s]))[:, 2] for s in (step, -step))
        exact = (up - down) / (2 * step)
        total += volume / 4 * (sum(nodal[:, k] * one for k, one in enumerate(shape)) - exact) ** 2
    return float(np.sqrt(total.sum()))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    where = tmp_path_factory.mktemp("levels")
    return where, solved(where, layer)


def test_a_mesh_that_follows_a_shear_layer_misses_a_fifth_with_as_many_cells(base):
    where, _ = base
    made = mesh_connector(small_connector(3), level(12_000, core_bores=2), where / "sharp" / "mesh")
    even, size = made, 0.15
    while even is made or even.quality.cells < made.quality.cells:
        even = mesh_connector(small_connector(3), Level(wall_size=size, core_size=size, stretch=1), where / "other")
        size *= 0.9
    assert missed(meshio.read(made.vtu), layer) < 0.2 * missed(meshio.read(even.vtu), layer)


def test_the_number_of_cells_is_about_the_one_asked_for(base):
    where, _ = base
    for cells in (10_000, 20_000):
        made = mesh_connector(small_connector(3), level(cells, core_bores=3), where / "sharp" / "mesh")
        assert 0.7 < made.quality.cells / cells < 1.4


def test_sizes_grow_slowly_and_are_bounded(base):
    _, mesh = base
    field = following(mesh.points, mesh.cells_dict["tetra10"], mesh.point_data["velocity"], 30_000, LARGEST)
    sizes = field.sizes
    assert sizes.max() <= LARGEST * (1 + 1e-9) and sizes.min() < 0.3 * sizes.max()
    for pair in combinations(range(4), 2):
        one, other = field.cells[:, pair].T
        way = np.linalg.norm(field.points[one] - field.points[other], axis=1)
        assert (abs(sizes[one] - sizes[other]) <= GROWTH * way + 1e-3 * LARGEST).all()


def test_elements_are_short_across_the_layer_and_long_along_it(base):
    _, mesh = base
    velocity = layer(mesh.points, 0.15)  # as thick as the elements that it is seen through
    metric = following(mesh.points, mesh.cells_dict["tetra10"], velocity, 30_000, LARGEST)
    values, axes = np.linalg.eigh(metric.tensors)
    inside = abs(metric.points[:, 2] - 0.4 - metric.points[:, 0] / 2) < 0.1
    across = np.array([-0.5, 0.0, 1.0]) / np.sqrt(1.25)
    assert np.median(abs(axes[inside, :, 2] @ across)) > 0.97
    assert np.median(np.sqrt(values[inside, 2] / values[inside, 0])) > 3
    assert 1 / np.sqrt(values.min()) <= LARGEST * (1 + 1e-9)


def test_between_its_points_the_metric_is_a_mean_of_logarithms():
    tensors = np.array([np.diag([1.0, 4.0, 16.0])] * 4)
    tensors[:2] *= 4
    metric = Metric(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]), np.array([[0, 1, 2, 3]]), tensors)
    assert np.allclose(metric.at(np.array([[0.5, 0.5, 0.0]]))[0], np.diag([2.0, 8.0, 32.0]))
    assert np.allclose(metric.at(metric.points[:1])[0], tensors[0], rtol=1e-6)


@pytest.mark.parametrize("half", [True, False])
def test_the_stretched_core_keeps_the_geometry(tmp_path, half):
    connector = small_connector(3).model_copy(update={"symmetric_half": half})
    made = mesh_connector(connector, EVEN, tmp_path / "even" / "mesh")
    mesh = meshio.read(made.vtu)
    metric = following(mesh.points, mesh.cells_dict["tetra10"], layer(mesh.points), 8000, LARGEST)
    with gmsh_running():
        level = EVEN.model_copy(update={"core_bores": 3.0})
        before, after = connector_grid(connector, level), connector_grid(connector, level, metric)
    assert set(after.facets) == set(before.facets)
    exact = np.pi / 8 if half else np.pi / 4
    for name in ("plane_2", "outlet"):
        assert flat_area(after, name) == pytest.approx(exact, rel=1e-4)
    on = np.linalg.norm(after.points[np.unique(after.facets["wall"])][:, :2], axis=1)
    down = after.points[np.unique(after.facets["wall"])][:, 2] > 1.5
    assert np.allclose(on[down], 0.5, atol=1e-4)  # the middle nodes too


def test_what_mmg_can_not_make_is_said_in_words(base, monkeypatch):
    where, _ = base

    def fails(*_, **__):
        raise RuntimeError("Remeshing failed")

    monkeypatch.setattr("mmgpy.MmgMesh3D.remesh", fails)
    with pytest.raises(BadInput, match="MMG can't make a mesh that follows the flow"):
        mesh_connector(small_connector(3), level(9_100), where / "sharp" / "mesh")


def flat_area(grid, name):
    """The area of second-order triangles in a plane across z, with the six-point rule exact for their map."""
    rule = [(0.445948490915965, 0.223381589678011), (0.091576213509771, 0.109951743655322)]
    total = 0.0
    for a, weight in rule:
        for r, s in ((a, a), (1 - 2 * a, a), (a, 1 - 2 * a)):
            t = 1 - r - s
            by_r = np.array([1 - 4 * t, 4 * r - 1, 0, 4 * (t - r), 4 * s, -4 * s])
            by_s = np.array([1 - 4 * t, 0, 4 * s - 1, -4 * r, 4 * r, 4 * (t - s)])
            x = grid.points[grid.facets[name]]
            total += weight / 2 * np.linalg.norm(np.cross(by_r @ x, by_s @ x), axis=1).sum()
    return total


def test_it_is_made_anew_when_the_flow_has_changed(base):
    where, _ = base
    first = mesh_connector(small_connector(3), level(9_000), where / "sharp" / "mesh")
    assert mesh_connector(small_connector(3), level(9_000), where / "sharp" / "mesh").reused
    solved(where, lambda points: layer(points, 0.1))
    try:
        assert mesh_connector(small_connector(3), level(9_000), where / "sharp" / "mesh").hash != first.hash
    finally:
        solved(where, layer)


@pytest.mark.parametrize("status", ["failed", None])
def test_a_flow_that_is_not_solved_is_named_with_what_to_do(tmp_path, status):
    if status:
        solved(tmp_path, layer, status)
    with pytest.raises(BadInput, match="p on the level even, which is not solved") as error:
        mesh_connector(small_connector(3), level(9_000), tmp_path / "sharp" / "mesh")
    assert "--level even" in error.value.remedy


def test_too_few_cells_are_refused(base):
    _, mesh = base
    with pytest.raises(BadInput, match="too few"):
        following(mesh.points, mesh.cells_dict["tetra10"], mesh.point_data["velocity"], 500, LARGEST)


def test_a_refined_level_has_cells_in_proportion():
    assert level(10_000).refined(2).follows.cells == 80_000


@pytest.mark.parametrize("names", [("even", "sharp"), ("sharp", "even")])
def test_a_level_follows_one_before_it(names):
    levels = {"even": EVEN.model_dump(), "sharp": level(9_000).model_dump()}
    chosen = {name: levels[name] for name in names}
    if names[0] == "even":
        assert list(TypeAdapter(Annotated[dict[str, Level], IN_ORDER]).validate_python(chosen)) == list(names)
        return
    with pytest.raises(ValidationError, match='sharp follows "even", which is no level before it'):
        TypeAdapter(Annotated[dict[str, Level], IN_ORDER]).validate_python(chosen)
