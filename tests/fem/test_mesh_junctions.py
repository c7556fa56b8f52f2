"""The connectors of the catalogue, and what each of their dimensions does to the mesh."""

import math
from dataclasses import replace
from pathlib import Path

import gmsh
import meshio
import numpy as np
import pytest

from twin.case.load import validated
from twin.case.schema import Level
from twin.errors import BadInput
from twin.junction import Connector, find_connector
from twin.meshing.bodies import bodies_of, layout
from twin.meshing.build import _shape, mesh_connector
from twin.meshing.edges import largest_angles
from twin.meshing.quality import LEAST_QUALITY, LEAST_VALIDITY
from twin.meshing.recipe import connector_grid, exact_sections

pytestmark = pytest.mark.field
MESHES = Path(__file__).parents[2] / "meshes"
ROUGH = Level(wall_size=0.25, core_size=0.3)
CATALOGUE = sorted(path.stem for path in MESHES.glob("*.toml"))


def connector(**changes):
    """Two arms of 60 degrees in the long form, cheap to mesh; a change of None leaves a key out."""
    arms = changes.pop("arms", {"left": {"angle": "-30 deg", "length": 2}, "right": {"angle": "30 deg", "length": 2}})
    plain = {"bore": "1 mm", "outlet_bores": 3, "source": "made for tests", "arms": arms}
    return validated(Connector, {"name": "test", **plain, **changes}, Path("test.toml"))


def two(**dimensions):
    return {
        "left": {"angle": "-30 deg", "length": 2, **dimensions},
        "right": {"angle": "30 deg", "length": 2, **dimensions},
    }


def volume(tmp_path, **changes):
    return mesh_connector(connector(**changes), ROUGH, tmp_path).quality.volume


def sampled_volume(bodies, half):
    """The volume of the union of the bores, by random points."""
    corners = np.vstack([body.rim(s) for body in bodies for s in (0.0, body.length)])
    low, high = corners.min(axis=0) - 0.6, corners.max(axis=0) + 0.6
    low[1] = 0.0 if half else low[1]
    points = np.random.default_rng(1).uniform(low, high, (1_000_000, 3))
    inside = np.zeros(len(points), bool)
    for body in bodies:
        s = (points - body.origin) @ body.axis
        inside |= (body.depth(points) > 0) & (s >= 0) & (s <= body.length)
    return inside.mean() * np.prod(high - low)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_connector_of_the_catalogue_meshes(name, tmp_path):
    shape = find_connector(name, MESHES)
    made = mesh_connector(shape, ROUGH, tmp_path)
    quality = made.quality
    planes = {f"plane_{k}" for k in range(1, shape.outlet_bores)}
    assert set(quality.areas) == {*shape.inlets, "outlet", "wall", *planes} | (
        {"symmetry"} if shape.symmetric_half else set()
    )
    assert set(quality.section_errors) == {*shape.inlets, "outlet", *planes}
    assert max(map(abs, quality.section_errors.values())) < 2e-4
    assert quality.min_jacobian_ratio > LEAST_VALIDITY and quality.min_scaled_jacobian > 0.1
    exact = sampled_volume(bodies_of(shape), shape.symmetric_half)
    more = 0.03 if name in ("arrow", "y-60-fillet") else 0.005  # what a mitre or a fillet adds is not in the sample
    assert exact * 0.995 < quality.volume < exact * (1 + more)
    assert shape.source and shape.assumptions


@pytest.mark.parametrize("name", ["ptfe-y-60", "square-t"])
def test_no_element_has_all_its_corners_on_the_wall(name):
    # There the velocity has no freedom left to answer the pressure.
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    grid = connector_grid(find_connector(name, MESHES), ROUGH)
    gmsh.finalize()
    wall = np.zeros(len(grid.points), bool)
    wall[grid.facets["wall"]] = True
    assert not wall[grid.cells[:, :4]].all(axis=1).any()


def test_the_sections_are_exact_at_the_coarse_level(tmp_path):
    made = mesh_connector(connector(), Level(wall_size=0.10, core_size=0.16), tmp_path)
    assert max(map(abs, made.quality.section_errors.values())) < 1e-5


def test_the_short_form_is_the_long_one(tmp_path):
    short = connector(arms={}, angle="60 deg", arm_bores=2)
    long = connector(
        arms={"antisolvent": {"angle": "-30 deg", "length": 2}, "precursor": {"angle": "30 deg", "length": 2}}
    )
    assert _shape(short) == _shape(long)
    assert (long.angle, long.arm_bores) == (pytest.approx(math.pi / 3), 2)


def test_fillet_taper_bore_and_offset_change_the_volume(tmp_path):
    narrow = volume(tmp_path, arms=two(bore=0.8))
    # The solid's edges stand into the fluid: to round them adds fluid.
    assert narrow < volume(tmp_path, arms=two(bore=0.8), fillet=0.08) < 1.02 * narrow
    assert volume(tmp_path, arms=two(bore=0.8, taper=0.06)) > 1.05 * narrow
    assert volume(tmp_path, arms=two(bore=0.9)) > 1.1 * narrow
    # Arms past each other share less of the fluid.
    beside = {
        "left": {"angle": "-90 deg", "length": 2, "bore": 0.5},
        "right": {"angle": "90 deg", "length": 2, "bore": 0.5},
    }
    straight = volume(tmp_path, arms=beside, symmetric_half=False)
    beside["left"]["offset"], beside["right"]["offset"] = 0.2, -0.2
    assert volume(tmp_path, arms=beside, symmetric_half=False) > 1.001 * straight


@pytest.mark.parametrize("angle", ["170 deg", "-170 deg"])
def test_the_largest_angles_are_taken(angle):
    assert math.degrees(abs(connector(arms={"left": {"angle": angle}}).arms["left"].angle)) == pytest.approx(170)


def test_a_fillet_leaves_no_edge_that_points_into_the_fluid(tmp_path):
    def largest(shape):
        return largest_angles(mesh_connector(shape, ROUGH, tmp_path).msh)["wall", "wall"]

    tee = {name: {"angle": angle, "length": 2, "bore": 0.6} for name, angle in {"l": "-90 deg", "r": "90 deg"}.items()}
    lone = {"arm": {"angle": "0 deg", "length": 2, "bore": 0.8}}
    assert largest(find_connector("y-60-fillet", MESHES)) < 190
    assert largest(connector(arms=tee)) > 265  # the shoulders at z = 0, which OCC makes of both arms
    assert largest(connector(arms=tee, fillet=0.1)) < 190
    assert largest(connector(arms=tee, fillet=0.1, section="square")) < 190
    assert largest(connector(arms=lone)) > 265
    assert largest(connector(arms=lone, fillet=0.08)) < 190


def arrow(left, right):
    return {
        "left": {"angle": "-120 deg", "length": 3, "offset": left},
        "right": {"angle": "120 deg", "length": 3, "offset": right},
    }


@pytest.mark.parametrize("offsets", [(0.0, 0.0), (0.1, 0.0), (0.1, -0.1), (0.1, 0.1), (0.2, -0.2)])
def test_arms_that_lean_to_the_outlet_are_mitred_with_offsets_too(offsets, tmp_path):
    made = mesh_connector(connector(arms=arrow(*offsets), symmetric_half=False), ROUGH, tmp_path)
    straight = volume(tmp_path / "straight", arms=arrow(0.0, 0.0), symmetric_half=False)
    assert straight * 0.9999 <= made.quality.volume < straight * 1.012
    mesh = meshio.read(made.msh)
    number = mesh.field_data["wall"][0]
    wall = np.unique(mesh.cells_dict["triangle6"][mesh.cell_data_dict["gmsh:physical"]["triangle6"] == number])
    # Without the mitre the notch between the arms' ends has its edge through the origin.
    assert np.linalg.norm(mesh.points[wall], axis=1).min() > 0.45 - max(map(abs, offsets))


@pytest.mark.parametrize("offsets", [(0.01, 0.0), (0.03, -0.03), (0.07, 0.0)])
def test_a_mitre_with_a_step_too_narrow_for_elements_is_refused(offsets, tmp_path):
    with pytest.raises(BadInput, match=r"(?s)pass each other by 0\.0.* bores.*pass by 0\.1 bores or more"):
        mesh_connector(connector(arms=arrow(*offsets), symmetric_half=False), ROUGH, tmp_path)


def test_the_half_is_half_of_the_whole(tmp_path):
    assert 2 * volume(tmp_path) == pytest.approx(volume(tmp_path, symmetric_half=False), rel=1e-4)


def test_an_arm_out_of_the_plane_turns_about_the_outlet(tmp_path):
    arms = {"left": {"angle": "90 deg", "length": 1.5}, "up": {"angle": "90 deg", "turn": "90 deg", "length": 1.5}}
    shape = connector(arms=arms, symmetric_half=False)
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    grid = connector_grid(shape, ROUGH)
    gmsh.finalize()
    assert grid.points[np.unique(grid.facets["up"])][:, 1] == pytest.approx(1.5)
    assert grid.points[np.unique(grid.facets["left"])][:, 0] == pytest.approx(1.5)


def test_stretched_layers_save_cells_at_the_same_wall_size(tmp_path):
    shape, level = connector(outlet_bores=8), Level(wall_size=0.2, core_size=0.25)
    isotropic = mesh_connector(shape, level.model_copy(update={"stretch": 1.0}), tmp_path).quality
    stretched = mesh_connector(shape, level, tmp_path).quality
    assert stretched.cells < 0.75 * isotropic.cells
    assert stretched.volume == pytest.approx(isotropic.volume, rel=1e-9)
    assert stretched.min_jacobian_ratio == pytest.approx(isotropic.min_jacobian_ratio, rel=1e-6)


def test_cut_planes_stand_only_where_the_arms_are_left_behind():
    arms = {"left": {"angle": "-150 deg", "length": 4}, "right": {"angle": "150 deg", "length": 4}}
    shape = connector(arms=arms, outlet_bores=6)
    first = math.ceil(layout(shape, 0.1).clear)
    planes = [name for name in exact_sections(shape, ROUGH) if name.startswith("plane_")]
    assert first > 1 and planes == [f"plane_{k}" for k in range(first, 6)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"angle": "60 deg"}, "not angle as well"),
        ({"angle": "60 deg", "arm_bores": 2}, "give either .* or angle and arm_bores, not both"),
        ({"arms": {}}, "give angle and arm_bores"),
        ({"arms": two(offset=0.1)}, "symmetric_half = false"),
        ({"arms": {"outlet": {"angle": "30 deg"}}}, 'can\'t be called "outlet"'),
        ({"arms": two(taper=-0.5)}, "0.1 is the least"),
        ({"arms": {"left": {"angle": "-30"}}}, "arms.left.angle: an angle needs a unit"),
        ({"arms": {"left": {"angle": "-30 deg", "turn": "30"}}}, "arms.left.turn: an angle needs a unit"),
        ({"arms": {}, "angle": "60", "arm_bores": 2}, "angle: an angle needs a unit"),
        ({"arms": {"left": {"angle": "171 deg"}}}, "arms.left.angle: must be from -170 deg to 170 deg, not 171 deg"),
        ({"arms": {"left": {"angle": "-171 deg"}}}, "to 170 deg, not -171 deg"),
        ({"outlet_width": 2}, 'section = "square"'),
        ({"gravity": [0, 0, 0]}, "gravity needs a direction"),
        ({"filet": 0.1}, 'did you mean "fillet"'),
    ],
)
def test_an_impossible_connector_is_refused_on_reading(changes, words):
    with pytest.raises(BadInput, match=words):
        connector(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": two(length=0.8)}, "runs into its neighbours"),
        ({"arms": two(offset=2), "symmetric_half": False}, "misses the outlet"),
        (
            {"arms": {"a": {"angle": "-160 deg", "length": 5}, "b": {"angle": "90 deg"}}, "outlet_bores": 2},
            "outlet_bores",
        ),
    ],
)
def test_an_impossible_connector_is_refused_on_meshing(changes, words, tmp_path):
    with pytest.raises(BadInput, match=words):
        mesh_connector(connector(**changes), ROUGH, tmp_path)


def test_sizes_that_would_fill_the_memory_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"would have about \de\+0\d cells"):
        mesh_connector(connector(), Level(wall_size=0.001, core_size=0.3), tmp_path)


def test_a_fillet_that_occ_can_t_make_is_refused(tmp_path, monkeypatch):
    def fails(*_):
        raise Exception("Could not compute fillet")  # as Gmsh does

    monkeypatch.setattr(gmsh.model.occ, "fillet", fails)
    with pytest.raises(BadInput, match=r"can't be rounded with a radius of 0.1 bores: Could not(.|\n)*another fillet"):
        mesh_connector(connector(fillet=0.1), ROUGH, tmp_path)


def test_a_wrong_section_is_refused(tmp_path):
    quality = mesh_connector(connector(outlet_bores=1), ROUGH, tmp_path).quality
    quality.check()
    with pytest.raises(BadInput, match="the area of outlet is off by"):
        replace(quality, section_errors={"outlet": -0.02}).check()


SHAPE = {
    "outlet_bores": 4, "section": "square", "fillet": 0.05, "symmetric_half": False,
    "arms": {"left": {"angle": "-30 deg", "length": 2}, "right": {"angle": "31 deg", "length": 2}},
}  # fmt: skip
ARM = {"length": 2.5, "bore": 0.9, "taper": 0.01, "offset": 0.1, "turn": "5 deg", "section": "square"}


def test_the_hash_follows_what_defines_the_mesh_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("twin.meshing.build._reuse_or_make", lambda definition, *_: str(definition))

    def key(shape, level=ROUGH):
        return mesh_connector(shape, level, tmp_path)

    base = key(connector())
    keys = [key(connector(**{name: value})) for name, value in SHAPE.items()]
    keys += [key(connector(arms=two(**{name: value}), symmetric_half=False)) for name, value in ARM.items()]
    keys += [
        key(connector(), ROUGH.model_copy(update={name: value}))
        for name, value in {"wall_size": 0.2, "core_size": 0.2, "crotch_size": 0.1, "stretch": 2.0}.items()
    ]
    assert len({base, *keys}) == 1 + len(keys)
    assert "mitre" not in base and "rounded" not in base
    assert "rounded" in key(connector(fillet=0.05))
    bent = {"left": {"angle": "90 deg", "length": 2}}
    assert "mitre" not in key(connector(arms=bent))
    bent["left"]["offset"] = 0.1
    assert "mitre" in key(connector(arms=bent, symmetric_half=False))
    same = connector(name="other", source="elsewhere", bore="2 mm", gravity=[0, 0, 1], assumptions={"a": "b"})
    assert key(same) == base
    assert key(connector(), ROUGH.model_copy(update={"pressure_error": 0.01, "crotch_size": 0.25})) == base


def test_a_level_is_refined_as_a_whole():
    level = Level(wall_size=0.2, core_size=0.3, crotch_size=0.1, pressure_error=0.02)
    finer = level.refined(2)
    assert (finer.wall_size, finer.core_size, finer.crotch_size) == (0.1, 0.15, 0.05)
    assert (finer.stretch, finer.pressure_error) == (level.stretch, 0.02)
    with pytest.raises(BadInput, match="give a factor"):
        level.refined(0)
    with pytest.raises(BadInput, match="too coarse"):
        level.refined(0.5)


def test_three_refined_meshes_are_similar(tmp_path):
    cells = [mesh_connector(connector(), ROUGH.refined(f), tmp_path).quality.cells for f in (1, 1.5, 2.25)]
    assert cells[1] / cells[0] == pytest.approx(1.5**3, rel=0.3)
    assert cells[2] / cells[1] == pytest.approx(1.5**3, rel=0.3)


@pytest.mark.parametrize(("limit", "least"), [("LEAST_VALIDITY", LEAST_VALIDITY), ("LEAST_QUALITY", LEAST_QUALITY)])
def test_a_mesh_below_the_stated_quality_is_refused(limit, least, tmp_path, monkeypatch):
    monkeypatch.setattr(f"twin.meshing.quality.{limit}", 0.99)
    with pytest.raises(BadInput, match="choose other element sizes"):
        mesh_connector(connector(outlet_bores=1), ROUGH, tmp_path)
    assert least > 0 and not (tmp_path / "junction.msh").exists()
