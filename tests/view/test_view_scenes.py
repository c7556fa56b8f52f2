import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from twin.case import Case, Results
from twin.case.schema import Junction
from twin.errors import BadInput, Missing, TwinError
from twin.view import draw_pictures, scenes
from twin.view.render import _cut, boundary_parts, colour_limits, inlet_seeds, load, middle_plane, mirrored
from twin.view.scenes import KINDS, pictures
from twin.view.stages import notable, point_states

POINT = "a5000-p0060"


@pytest.fixture(scope="module")
def drawn(case: Case, grid: Any, make: Any, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A level whose mesh and one point are drawn."""
    results = Results(tmp_path_factory.mktemp("drawn") / "coarse")
    make.solve(case, results, grid)
    draw_pictures(case, "coarse", results, [POINT])
    return results


def test_every_kind_is_a_wide_picture_with_something_on_it(case: Case, drawn: Results) -> None:
    shown = pictures(case, "coarse", drawn, [POINT])
    assert [picture.kind for picture in shown] == ["mesh", *KINDS]
    for picture in shown:
        pixels = imread(picture.path)[..., :3]
        assert pixels.shape[1] == 1200
        assert np.allclose(pixels[0, 0], 1.0), "the paper is white"
        assert np.mean(np.any(pixels < 0.9, axis=2)) > 0.02, f"{picture.kind} is nearly empty"
        assert picture.alt and picture.title


def test_the_concentration_is_orange_above_and_blue_below(case: Case, drawn: Results) -> None:
    pixels = imread(drawn.pictures / f"{POINT}-concentration.png")[..., :3]
    height, width = pixels.shape[:2]
    above, below = pixels[int(0.30 * height), width // 2], pixels[int(0.70 * height), width // 2]
    assert above[0] > above[2] + 0.2, "the +x arm brings the precursor, and is on top"
    assert below[2] > below[0] + 0.1


def test_pictures_are_kept_until_fields_or_texts_change(case: Case, drawn: Results) -> None:
    paths = draw_pictures(case, "coarse", drawn, [POINT])
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert {path: path.stat().st_mtime_ns for path in draw_pictures(case, "coarse", drawn, [POINT])} == before

    fields = drawn.point(POINT) / "fields.vtu"
    later = max(before.values()) + 10**9
    os.utime(fields, ns=(later, later))
    renamed: list[str] = []
    pictures(case, "coarse", drawn, [POINT], renamed.append)
    assert renamed == [f"{POINT}-{kind}.png" for kind in KINDS], "only what shows the new fields is drawn again"

    for path in paths:
        os.utime(path, ns=(later, later))
    renamed.clear()
    other = case.model_copy(update={"name": "other"})
    pictures(other, "coarse", drawn, [POINT], renamed.append)
    assert renamed == ["mesh.png"], "the heading of the mesh names the case"


def test_what_is_not_there_can_not_be_drawn(case: Case, results: Results, grid: Any, make: Any) -> None:
    with pytest.raises(Missing, match="no mesh"):
        draw_pictures(case, "coarse", results)
    make.solve(case, results, grid)
    with pytest.raises(BadInput, match="not solved: a1-p1") as refused:
        draw_pictures(case, "coarse", results, ["a1-p1"])
    assert POINT in refused.value.remedy
    (results.point(POINT) / "fields.vtu").unlink()
    with pytest.raises(Missing, match=r"fields\.vtu"):
        draw_pictures(case, "coarse", results, [POINT])


def test_a_mesh_of_the_users_own_is_drawn_as_it_is(case: Case, results: Results, grid: Any, make: Any) -> None:
    own = case.model_copy(update={"junction": Junction(mesh="own.msh", bore="1 mm")})
    make.solve(own, results, grid)
    shown = [picture.kind for picture in pictures(own, "coarse", results, [POINT])]
    assert shown == ["mesh", "speed", "concentration", "pressure"]


def test_a_cut_of_quadratic_cells_has_their_values(grid: Any) -> None:
    """In quarters of edges a parabola is off by (h/4)²/4 in each direction, in the halves of VTK by four times that."""
    grid["speed"] = grid.points[:, 0] ** 2 + grid.points[:, 2] ** 2
    section = _cut(grid, 1, 0.17, "speed")
    exact = section.points[:, 0] ** 2 + section.points[:, 2] ** 2
    assert section.points[:, 1] == pytest.approx(0.17) and section.area == pytest.approx(4 * 13)
    assert section["speed"] == pytest.approx(exact, abs=2 / 64 + 1e-9)


def test_noise_about_a_constant_has_one_colour() -> None:
    noise = 5 + 1e-12 * np.sin(np.arange(100.0))
    assert colour_limits(noise, {"scalars": "pressure", "least": 1e-3}) == pytest.approx((5, 5.001), abs=1e-9)
    assert colour_limits(noise, {"scalars": "speed", "least": 1e-3}) == pytest.approx((0, 5))


def program(path: Path, body: str) -> str:
    """A program that stands in for Python."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("kill -SEGV $$", "ended by signal 11"),
        ("echo 'libGL is missing' >&2; exit 3", "libGL is missing"),
        ("exit 3", "status 3"),
    ],
)
def test_a_broken_renderer_is_an_error_with_a_remedy(
    case: Case, results: Results, grid: Any, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    body: str, words: str,
) -> None:
    make.solve(case, results, grid)
    monkeypatch.setattr(scenes.sys, "executable", program(tmp_path / "python", body))
    with pytest.raises(TwinError, match=words) as failed:
        draw_pictures(case, "coarse", results, [POINT])
    assert "twin doctor" in failed.value.remedy
    assert not isinstance(failed.value, BadInput)


def test_the_software_renderer_is_tried_where_the_first_fails(
    case: Case, results: Results, grid: Any, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.solve(case, results, grid)
    log = tmp_path / "log"
    body = f'echo "window=$VTK_DEFAULT_OPENGL_WINDOW" >> {log}; [ -n "$VTK_DEFAULT_OPENGL_WINDOW" ]'
    monkeypatch.setattr(scenes.sys, "executable", program(tmp_path / "python", body))
    monkeypatch.delenv("VTK_DEFAULT_OPENGL_WINDOW", raising=False)
    draw_pictures(case, "coarse", results, [POINT])
    assert log.read_text().split() == ["window=", "window=vtkOSOpenGLRenderWindow"]


def test_a_renderer_that_hangs_is_ended(
    case: Case, results: Results, grid: Any, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.solve(case, results, grid)
    monkeypatch.setattr(scenes, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(scenes.sys, "executable", program(tmp_path / "python", "exec sleep 60"))
    with pytest.raises(TwinError, match="no end after"):
        draw_pictures(case, "coarse", results, [POINT])


def task(case: Case, results: Results) -> dict[str, Any]:
    """The task of the mesh."""
    return scenes._task(case, "mesh", results.point(POINT) / "fields.vtu", results.pictures / "x.png", "", mean=0.5,
                        velocity_m_s=2.0, pressure_pa=3.0)


def test_fields_are_scaled_and_halves_are_mirrored(case: Case, drawn: Results) -> None:
    job = task(case, drawn)
    made = load(job)
    assert made.bounds[5] == pytest.approx(10 * 1.5875)
    assert float(made["speed"].max()) == pytest.approx(2.0)
    assert float(made["pressure"].max()) == pytest.approx(3.0 * 1.3)
    assert set(np.unique(made["ratio"])) == {1e-6, 2.0}
    assert mirrored(made, job).bounds[2] == pytest.approx(-made.bounds[3])
    assert mirrored(made, job | {"half": False}).bounds[2] == 0.0
    for half in (True, False):
        assert middle_plane(made, job | {"half": half}).n_cells > 0


def test_boundaries_are_told_apart_and_seeds_lie_in_the_arm(case: Case, drawn: Results) -> None:
    job = task(case, drawn)
    surface = load(job).extract_surface(algorithm="dataset_surface", nonlinear_subdivision=0)
    parts = boundary_parts(surface, job)
    assert set(parts) == {"symmetry", "outlet", "wall"}
    outlet = surface.cell_centers().points[parts == "outlet"]
    assert np.allclose(outlet[:, 2], 10 * 1.5875)
    for role, side in (("antisolvent", -1), ("precursor", 1)):
        points = np.asarray(inlet_seeds(job, role).points)
        assert np.all(side * points[:, 0] > 0) and np.all(points[:, 1] > 0)
        end = np.array([job["arms"][role][0], 0.0, job["arms"][role][1]]) * 1.5875
        assert np.all(np.linalg.norm(points - end, axis=1) < 0.5 * 1.5875)


def test_the_points_shown_span_the_campaign(case: Case, drawn: Results) -> None:
    shown = [state.name for state in notable(point_states(case, "coarse", drawn))]
    assert shown == ["a1000-p0060", "a5000-p0060", "a5000-p0010"]
    assert notable([]) == []


def test_records_of_another_mesh_or_liquid_are_outdated(case: Case, results: Results, make: Any) -> None:
    make.solve(case, results, None)
    first, second, third = case.points[:3]
    old = make.record(case, first)
    make.put(results.point(first.name) / "record.json", old | {"provenance": {"point_hash": "other"}})
    make.put(results.point(second.name) / "record.json", make.record(case, second) | {"provenance": {}})
    (results.point(third.name) / "record.json").write_text("{")
    (results.point(case.points[3].name) / "record.json").unlink()
    states = {state.name: state.state for state in point_states(case, "coarse", results)}
    assert [states[point.name] for point in case.points[:5]] == ["outdated"] * 3 + ["open", "steady"]
