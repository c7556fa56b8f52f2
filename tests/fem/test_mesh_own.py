"""Geometry of the user's own: `.msh` in 3-D and 2-D, good and bad, and STEP files."""

import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import gmsh
import meshio
import numpy as np
import pytest

from twin.campaign.flow_unit import port_doubt
from twin.case import load
from twin.case.schema import Level
from twin.errors import BadInput
from twin.meshing import build_mesh, mesh_file
from twin.meshing.core import background, generate
from twin.meshing.step import mesh_step

pytestmark = pytest.mark.field
PAPER = Path(__file__).parents[2] / "cases" / "liang2023"
#: The faces of Gmsh's box, in the order of their tags.
BOX = ["left", "right", "front", "back", "bottom", "top"]


@contextmanager
def drawing(path, version=4.1, order=1, **options):
    """Draw within; the mesh is then made and written."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    gmsh.option.setNumber("Mesh.MshFileVersion", version)
    gmsh.option.setNumber("Mesh.MeshSizeMax", 0.5)
    for option, value in options.items():
        gmsh.option.setNumber(option.replace("_", "."), value)
    yield gmsh.model.occ
    dim = gmsh.model.getDimension()
    gmsh.model.mesh.generate(dim)
    gmsh.model.mesh.setOrder(order)
    gmsh.write(str(path))
    gmsh.finalize()


def box(path, names=BOX, version=4.1, order=1, fluid=True, **options):
    with drawing(path, version, order, **options) as occ:
        occ.addBox(0, 0, 0, 1, 1, 1)
        occ.synchronize()
        groups = {}
        for tag, name in enumerate(names, start=1):
            groups.setdefault(name, []).append(tag)
        for name, tags in groups.items():
            gmsh.model.addPhysicalGroup(2, tags, name=name or "")
        if fluid:
            gmsh.model.addPhysicalGroup(3, [1], name="anything")
    return path


def cylinder_in_channel(path, version=4.1, order=1, around=90):
    """Schäfer and Turek's: a channel with a round hole."""
    with drawing(path, version, order, Mesh_MeshSizeMax=0.1, Mesh_MeshSizeFromCurvature=around) as occ:
        channel, hole = occ.addRectangle(0, 0, 0, 2.2, 0.41), occ.addDisk(0.2, 0.2, 0, 0.05, 0.05)
        occ.cut([(2, channel)], [(2, hole)])
        occ.synchronize()
        names = {}
        for _, tag in gmsh.model.getEntities(1):
            x, y, _ = occ.getCenterOfMass(1, tag)
            sides = {"inflow": x < 1e-6, "outflow": x > 2.2 - 1e-6, "cylinder": 0.1 < y < 0.3}
            names.setdefault(next((name for name, here in sides.items() if here), "walls"), []).append(tag)
        names["walls"] += [tag for tag in names["cylinder"] if gmsh.model.getType(1, tag) == "Line"]
        for name, tags in names.items():
            gmsh.model.addPhysicalGroup(1, tags, name=name)
        gmsh.model.addPhysicalGroup(2, [tag for _, tag in gmsh.model.getEntities(2)], name="fluid")
    return path


@pytest.mark.parametrize("version", [2.2, 4.1])
@pytest.mark.parametrize("order", [1, 2])
def test_a_box_with_names_of_its_own(tmp_path, version, order):
    made = mesh_file(box(tmp_path / "own.msh", version=version, order=order), tmp_path / "mesh")
    assert made.quality.areas == pytest.approx(dict.fromkeys(BOX, 1.0))
    assert made.quality.volume == pytest.approx(1.0) and made.quality.dimension == 3
    mesh = meshio.read(made.vtu)
    cells = mesh.points[mesh.cells_dict["tetra10"]]
    edges = np.array([[0, 1], [1, 2], [0, 2], [0, 3], [1, 3], [2, 3]])  # VTK's order of the mid-edge nodes
    assert np.abs(cells[:, edges].mean(axis=2) - cells[:, 4:]).max() < 1e-12


def test_faces_that_share_a_name_are_one_boundary(tmp_path):
    made = mesh_file(box(tmp_path / "own.msh", ["in", "out", *["wall"] * 4]), tmp_path / "mesh")
    assert made.quality.areas == pytest.approx({"in": 1.0, "out": 1.0, "wall": 4.0})


@pytest.mark.parametrize("version", [2.2, 4.1])
@pytest.mark.parametrize("order", [1, 2])
def test_a_mesh_in_the_plane(tmp_path, version, order):
    path = cylinder_in_channel(tmp_path / "flat.msh", version, order, around=12 if order == 2 else 90)
    made = mesh_file(path, tmp_path / "mesh")
    quality = made.quality
    assert quality.dimension == 2 and set(quality.areas) == {"inflow", "outflow", "walls", "cylinder"}
    assert quality.areas["cylinder"] == pytest.approx(np.pi * 0.1, rel=1e-3)
    assert quality.volume == pytest.approx(2.2 * 0.41 - np.pi * 0.05**2, rel=1e-5)
    assert meshio.read(made.vtu).cells_dict["triangle6"].shape == (quality.cells, 6)


def test_clockwise_triangles_are_turned(tmp_path):
    good = meshio.read(cylinder_in_channel(tmp_path / "flat.msh", 2.2))
    good.cells_dict["triangle"][::2] = good.cells_dict["triangle"][::2, ::-1]
    meshio.write(tmp_path / "turned.msh", good, file_format="gmsh22", binary=False)
    quality = mesh_file(tmp_path / "turned.msh", tmp_path / "mesh").quality
    assert quality.volume == pytest.approx(2.2 * 0.41 - np.pi * 0.05**2, rel=1e-3) and quality.min_jacobian_ratio > 0.9


def refused(path, tmp_path, words, **more):
    with pytest.raises(BadInput, match=words) as caught:
        mesh_file(path, tmp_path / "mesh", **more)
    assert caught.value.remedy and not (tmp_path / "mesh" / "quality.json").exists()
    return caught.value.remedy


def test_an_outer_facet_without_a_name_is_refused(tmp_path):
    refused(box(tmp_path / "own.msh", BOX[:5]), tmp_path, r"outer facets of .* have no name, the first near \(.*, 1\)")


def test_a_boundary_with_a_number_only_is_refused(tmp_path):
    remedy = refused(box(tmp_path / "own.msh", [*BOX[:5], ""]), tmp_path, "has the number 6 and no name")
    assert "Physical Surface(" in remedy
    with drawing(tmp_path / "flat.msh") as occ:
        occ.addRectangle(0, 0, 0, 1, 1)
        occ.synchronize()
        gmsh.model.addPhysicalGroup(1, [1, 2, 3, 4])
        gmsh.model.addPhysicalGroup(2, [1], name="fluid")
    assert "Physical Curve(" in refused(tmp_path / "flat.msh", tmp_path, "has the number 1 and no name")


def test_a_file_of_format_version_1_is_refused(tmp_path):
    remedy = refused(box(tmp_path / "own.msh", version=1.0), tmp_path, "is a .msh of format version 1, which knows no")
    assert "4.1 or 2.2" in remedy


@pytest.mark.parametrize("dim", [2, 3])
def test_a_fluid_without_a_physical_group_is_asked_for(tmp_path, dim):
    path = tmp_path / "own.msh"
    if dim == 3:
        box(path, fluid=False)
    else:
        with drawing(path) as occ:
            occ.addRectangle(0, 0, 0, 1, 1)
            occ.synchronize()
            gmsh.model.addPhysicalGroup(1, [1, 2, 3, 4], name="wall")
    remedy = refused(path, tmp_path, "without tetrahedra" if dim == 3 else "has no tetrahedra or triangles")
    assert "put the volume (in 2-D the surface) into a physical group too" in remedy


def prism(path, corners, size=0.5, order=1):
    """A duct along z with these corners (x, y); its sides are one boundary."""
    with drawing(path, order=order, Mesh_MeshSizeMin=size, Mesh_MeshSizeMax=size) as occ:
        points = [occ.addPoint(x, y, 0) for x, y in corners]
        lines = [occ.addLine(one, other) for one, other in zip(points, [*points[1:], points[0]], strict=True)]
        occ.extrude([(2, occ.addPlaneSurface([occ.addCurveLoop(lines)]))], 0, 0, 2)
        occ.synchronize()
        gmsh.model.addPhysicalGroup(2, [tag for _, tag in gmsh.model.getEntities(2)], name="wall")
        gmsh.model.addPhysicalGroup(3, [1], name="fluid")
    return path


def regular(sides):
    turn = 2 * np.pi * np.arange(sides) / sides
    return np.column_stack([np.cos(turn), np.sin(turn)])


def pipe(path, order=1, angle=2 * np.pi):
    with drawing(path, order=order, Mesh_MeshSizeMax=1.0) as occ:
        occ.addCylinder(0, 0, 0, 0, 0, 3, 0.5, angle=angle)
        occ.synchronize()
        gmsh.model.addPhysicalGroup(2, [1], name="wall")
        gmsh.model.addPhysicalGroup(2, [tag for _, tag in gmsh.model.getEntities(2) if tag > 1], name="rest")
        gmsh.model.addPhysicalGroup(3, [1], name="fluid")
    return path


def test_a_curved_wall_in_facets_is_refused(tmp_path):
    remedy = refused(pipe(tmp_path / "own.msh"), tmp_path, r'"wall" of .* is curved, .* by up to 34° from')
    assert "setOrder(2)" in remedy
    path = cylinder_in_channel(tmp_path / "flat.msh", around=16)
    refused(path, tmp_path, r'"cylinder" of .* is curved, .* by up to 23° from')
    refused(pipe(tmp_path / "own.msh", angle=np.pi / 2), tmp_path, "is curved")
    quality = mesh_file(pipe(tmp_path / "own.msh", order=2), tmp_path / "mesh").quality
    assert quality.areas["rest"] == pytest.approx(np.pi / 2, rel=1e-3) and quality.bend == 0


def test_a_curved_wall_in_fine_facets_is_warned_of(tmp_path):
    path = cylinder_in_channel(tmp_path / "flat.msh", around=24)
    for _ in ("built", "reused"):
        assert "facets that bend by up to 15°" in mesh_file(path, tmp_path / "mesh").quality.warning


CHAMFERED = [(0, 0), (1, 0), (1, 0.8), (0.8, 1), (0, 1)]


@pytest.mark.parametrize("merged", [False, True], ids=["faces apart", "faces in one"])
@pytest.mark.parametrize(
    ("corners", "size"),
    [
        (regular(4), 0.7),
        (regular(6), 1.0),
        (regular(6), 0.3),
        (regular(8), 0.3),
        (regular(3), 0.8),  # a wedge of 60°
        ([(0, 0), (2, 0), (2, 0.2)], 0.2),
        (CHAMFERED, 0.3),
        (CHAMFERED, 0.1),
    ],
)
def test_plane_faces_that_meet_at_an_angle_are_no_curve(tmp_path, corners, size, merged):
    path = prism(tmp_path / "own.msh", corners, size)
    if merged:  # as in files from elsewhere, which know physical groups alone
        mesh = meshio.read(path)
        groups = mesh.cell_data["gmsh:physical"]
        plain = meshio.Mesh(mesh.points, mesh.cells, field_data=mesh.field_data)
        plain.cell_data = {"gmsh:physical": groups, "gmsh:geometrical": groups}
        meshio.write(path, plain, file_format="gmsh22", binary=False)
    x, y = np.array(corners).T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert mesh_file(path, tmp_path / "mesh").quality.volume == pytest.approx(2 * area)


def test_the_extent_of_a_mesh(tmp_path):
    made = mesh_file(prism(tmp_path / "own.msh", CHAMFERED), tmp_path / "mesh")
    assert made.extent == [pytest.approx((0, 1)), pytest.approx((0, 1)), pytest.approx((0, 2))]


def test_a_facet_in_two_boundaries_is_refused(tmp_path):
    with drawing(tmp_path / "own.msh") as occ:
        occ.addBox(0, 0, 0, 1, 1, 1)
        occ.synchronize()
        gmsh.model.addPhysicalGroup(2, [1, 2, 3, 4, 5, 6], name="wall")
        gmsh.model.addPhysicalGroup(2, [1], name="inlet")
        gmsh.model.addPhysicalGroup(3, [1], name="fluid")
    refused(tmp_path / "own.msh", tmp_path, 'are in "wall" and in "inlet"')


def test_a_boundary_beside_the_fluid_is_told_by_name(tmp_path):
    with drawing(tmp_path / "own.msh") as occ:
        box, aside = occ.addRectangle(0, 0, 0, 1, 1), occ.addLine(occ.addPoint(2, 0, 0), occ.addPoint(2, 1, 0))
        occ.synchronize()
        gmsh.model.addPhysicalGroup(1, [tag for _, tag in gmsh.model.getEntities(1) if tag != aside], name="wall")
        gmsh.model.addPhysicalGroup(1, [aside], name="aside")
        gmsh.model.addPhysicalGroup(2, [box], name="fluid")
    refused(tmp_path / "own.msh", tmp_path, 'the boundary "aside" of .* hangs loose')


@pytest.mark.parametrize("apart", [1.0, 2.0], ids=["touching", "apart"])
def test_two_pieces_are_refused(tmp_path, apart):
    with drawing(tmp_path / "own.msh") as occ:
        occ.addBox(0, 0, 0, 1, 1, 1)
        occ.addBox(apart, 0, 0, 1, 1, 1)
        occ.synchronize()
        gmsh.model.addPhysicalGroup(2, list(range(1, 13)), name="wall")
        gmsh.model.addPhysicalGroup(3, [1, 2], name="fluid")
    refused(tmp_path / "own.msh", tmp_path, "is in 2 pieces")


@pytest.mark.parametrize(("name", "fine"), [("plane_1", True), ("baffle", False)])
def test_inside_the_fluid_there_are_cut_planes_alone(tmp_path, name, fine):
    with drawing(tmp_path / "own.msh") as occ:
        occ.fragment([(3, occ.addBox(0, 0, 0, 1, 1, 1))], [(3, occ.addBox(1, 0, 0, 1, 1, 1))])
        occ.synchronize()
        between = [tag for _, tag in gmsh.model.getEntities(2) if len(gmsh.model.getAdjacencies(2, tag)[0]) == 2]
        outer = [tag for _, tag in gmsh.model.getEntities(2) if tag not in between]
        gmsh.model.addPhysicalGroup(2, between, name=name)
        gmsh.model.addPhysicalGroup(2, outer, name="wall")
        gmsh.model.addPhysicalGroup(3, [1, 2], name="fluid")
    if fine:
        areas = mesh_file(tmp_path / "own.msh", tmp_path / "mesh").quality.areas
        assert areas == pytest.approx({name: 1.0, "wall": 10.0})
    else:
        refused(tmp_path / "own.msh", tmp_path, 'the boundary "baffle" of .* is inside the fluid')


def test_a_cut_plane_at_the_outside_is_refused(tmp_path):
    refused(box(tmp_path / "own.msh", [*BOX[:5], "plane_1"]), tmp_path, "is not inside the fluid")


def moved(path, tmp_path, change):
    """The mesh with its points changed."""
    mesh = meshio.read(path)
    change(mesh.points)
    meshio.write(tmp_path / "moved.msh", mesh, file_format="gmsh22", binary=False)
    return tmp_path / "moved.msh"


def test_inverted_elements_are_refused(tmp_path):
    def push(points):
        inner = np.flatnonzero(((points > 0.1) & (points < 0.9)).all(axis=1))[0]
        points[inner] += [0.0, 0.0, 0.95]

    path = moved(box(tmp_path / "own.msh", version=2.2), tmp_path, push)
    refused(path, tmp_path, "has inverted tetrahedra: neighbours lie on the same side")


@pytest.mark.parametrize("place", [np.nan, np.inf, 1e200])
def test_a_node_that_is_nowhere_is_refused(tmp_path, place):
    def push(points):
        points[3, 1] = place

    path = moved(box(tmp_path / "own.msh", version=2.2), tmp_path, push)
    refused(path, tmp_path, r"has 1 of \d+ nodes nowhere: a coordinate is no number")


def test_folded_curved_elements_are_refused(tmp_path):
    def push(points):
        # The node in the middle of an inner edge, three quarters of an edge off its place.
        away = np.linalg.norm(points - [0.5, 0.5, 0.5], axis=1)
        points[np.argsort(away)[1]] += [0.3, 0.0, 0.0]

    path = moved(box(tmp_path / "own.msh", version=2.2, order=2), tmp_path, push)
    remedy = refused(path, tmp_path, r"folds or nearly so: .* near \(0\.\d+, 0\.\d+, 0\.\d+\)")
    assert "level" not in remedy


def test_flat_elements_are_refused(tmp_path):
    def flatten(points):
        points[:, 2] = 0.0

    refused(moved(box(tmp_path / "own.msh", version=2.2), tmp_path, flatten), tmp_path, "tetrahedra without volume")


def test_bricks_and_surfaces_and_pictures_are_refused(tmp_path):
    with drawing(tmp_path / "bricks.msh") as occ:
        base = occ.addRectangle(0, 0, 0, 1, 1)
        occ.extrude([(2, base)], 0, 0, 1, numElements=[2], recombine=True)
        occ.synchronize()
        gmsh.model.addPhysicalGroup(2, [1, 2, 3, 4, 5, 6], name="wall")
        gmsh.model.addPhysicalGroup(3, [1], name="fluid")
    refused(tmp_path / "bricks.msh", tmp_path, "elements of other kinds: Prism")
    with drawing(tmp_path / "shell.msh") as occ:
        occ.addSphere(0, 0, 0, 1)
        occ.synchronize()
        gmsh.model.addPhysicalGroup(2, [1], name="wall")
        occ.remove([(3, 1)])
        occ.synchronize()
    refused(tmp_path / "shell.msh", tmp_path, "is a surface in space")
    (tmp_path / "empty.msh").write_text("$MeshFormat\n4.1 0 8\n$EndMeshFormat\n")
    refused(tmp_path / "empty.msh", tmp_path, "has no tetrahedra or triangles")
    refused(tmp_path / "none.msh", tmp_path, "no mesh file")


def test_names_are_demanded_where_they_matter(tmp_path):
    path = box(tmp_path / "own.msh", ["hot", "cold", "outlet", "wall", "wall", "symmetry"])
    refused(path, tmp_path, "the boundaries of .* are cold, hot", names=("hot", "outlet", "wall"))
    assert mesh_file(path, tmp_path / "mesh", names=("hot", "cold", "outlet", "wall")).quality.cells


# -- STEP --------------------------------------------------------------------------------------------------------------

#: A T of 2 mm bores along x, its leg along z, in mm.
T_FACES = {"antisolvent": (-6e-3, 0.0, 0.0), "precursor": (6e-3, 0.0, 0.0), "outlet": (0.0, 0.0, 8e-3)}
LEVEL = Level(wall_size=0.3, core_size=0.35)


def step_t(path, spare=0.0, leg=1.0):
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    occ = gmsh.model.occ
    occ.fuse([(3, occ.addCylinder(-6, 0, 0, 12, 0, 0, 1))], [(3, occ.addCylinder(0, 0, 0, 0, 0, 8, leg))])
    if spare:
        occ.addBox(20, 0, 0, spare, spare, spare)
    occ.synchronize()
    gmsh.write(str(path))
    gmsh.finalize()
    return path


def labelled(path, names):
    """The file with labels on its plane faces, by a point of their planes in mm."""
    text = path.read_text().replace("\n", "")

    def body(number):
        return re.search(rf"#{number} = \w+\(''?,?(.*?)\);", text)[1]

    def label(face):
        place = re.search(r"#(\d+)", body(face[2]))[1] if f"#{face[2]} = PLANE(" in text else None
        at = body(re.search(r"#(\d+)", body(place))[1]) if place else ""
        point = tuple(float(value) for value in at.strip("()").split(",")) if at else None
        return f"ADVANCED_FACE('{names.get(point, '')}',{face[1]},#{face[2]}"

    path.write_text(re.sub(r"ADVANCED_FACE\('',(\(.*?\)),#(\d+)", label, text))
    return path


@contextmanager
def running():
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    try:
        yield
    finally:
        gmsh.finalize()


@pytest.fixture
def own_step(tmp_path):
    folder = tmp_path / "case"
    shutil.copytree(PAPER, folder, ignore=shutil.ignore_patterns("results"))
    step_t(folder / "t.step")
    path = folder / "case.toml"
    points = "\n".join(
        f'{name} = ["{x * 1e3} mm", "{y * 1e3} mm", "{z * 1e3} mm"]' for name, (x, y, z) in T_FACES.items()
    )
    text = path.read_text().replace(
        'connector = "ptfe-y-60"', f'step = "t.step"\nbore = "2 mm"\n\n[junction.faces]\n{points}'
    )
    path.write_text(text.replace("wall_size = 0.10", "wall_size = 0.3").replace("core_size = 0.16", "core_size = 0.35"))
    return folder


def test_a_step_file_with_points_on_its_faces(own_step, tmp_path):
    case = load(own_step)
    assert case.junction.faces["outlet"] == pytest.approx((0, 0, 8e-3))
    made = build_mesh(case, "coarse", tmp_path / "mesh")
    areas = {name: made.quality.areas[name] for name in T_FACES}
    assert areas == pytest.approx(dict.fromkeys(T_FACES, np.pi / 4), rel=1e-3)
    # Two bores of 6 and 4 bore lengths, less half of what two crossing cylinders share (16 r³/3).
    assert made.quality.volume == pytest.approx(np.pi / 4 * (6 + 4) - 8 / 3 * 0.5**3, rel=2e-3)
    again = build_mesh(case, "coarse", tmp_path / "mesh")
    assert again.reused and list(again.quality.curved) == ["wall"]
    assert port_doubt(again, T_FACES) == "" and port_doubt(again, ["outlet", "wall"]).startswith("not plane: wall;")


def test_a_step_file_with_labels(tmp_path):
    path = labelled(step_t(tmp_path / "t.step"), {(-6, 0, 0): "a", (6, 0, 0): "b", (0, 0, 8): "exit"})
    with running():
        grid = mesh_step(path, 2e-3, {}, LEVEL, None)
    assert set(grid.facets) == {"a", "b", "exit", "wall"}
    assert grid.points[np.unique(grid.facets["a"])][:, 0] == pytest.approx(-3)
    assert grid.points[np.unique(grid.facets["exit"])][:, 2] == pytest.approx(4)


def test_a_step_file_whose_walls_all_have_names(tmp_path):
    path = step_t(tmp_path / "t.step")
    walls = {"leg": (1e-3, 0.0, 5e-3), "main": (-3e-3, 0.0, -1e-3)}
    with running():
        grid = mesh_step(path, 2e-3, T_FACES | walls, LEVEL, None, ("outlet",))
    assert set(grid.facets) == {*T_FACES, *walls}


def test_a_solid_that_no_sizes_mesh_is_to_be_healed(tmp_path, monkeypatch):
    path, tried = step_t(tmp_path / "t.step"), []

    def fails(grid, source):
        tried.append(source)
        raise BadInput("it has inverted tetrahedra", "mesh it again, or untangle it (Gmsh)")

    monkeypatch.setattr("twin.meshing.step.check_grid", fails)
    words = refused_step(path, "t.step can't be meshed: it has inverted tetrahedra")
    assert "heal the solid" in words.remedy and "mesh it again" not in words.remedy and len(tried) == 2


def test_a_step_file_that_won_t_do_is_refused(tmp_path):
    path = step_t(tmp_path / "t.step")
    with running(), pytest.raises(BadInput, match=r"0\.5 bores from every face"):
        mesh_step(path, 2e-3, {"outlet": (0, 0, 9e-3)}, LEVEL, None)
    with running(), pytest.raises(BadInput, match=r"the boundaries of .* are outlet, wall"):
        mesh_step(path, 2e-3, {"outlet": (0, 0, 8e-3)}, LEVEL, ("inlet", "outlet", "wall"))
    refused_step(path, r"2e\+06 are made[^Z]* spans -0.006 … 0.006,", level=Level(wall_size=0.001, core_size=0.3))
    step_t(tmp_path / "two.step", spare=1.0)
    with running(), pytest.raises(BadInput, match="has 2 solids"):
        mesh_step(tmp_path / "two.step", 2e-3, {}, LEVEL, None)
    (tmp_path / "bad.step").write_text("no STEP")
    with running(), pytest.raises(BadInput, match=r"can't read .*bad\.step"):
        mesh_step(tmp_path / "bad.step", 2e-3, {}, LEVEL, None)


def refused_step(path, words, bore=2e-3, faces=T_FACES, level=LEVEL):
    with running(), pytest.raises(BadInput, match=words) as caught:
        mesh_step(path, bore, faces, level, None, ("outlet",))
    return caught.value


@pytest.mark.parametrize("bore", [2e-4, 2e-2, 25.4e-3, 2.0], ids=str)
def test_a_bore_in_the_wrong_unit_is_refused(tmp_path, bore):
    words = refused_step(step_t(tmp_path / "t.step"), f"is 0.002 m wide at outlet, and the bore is {bore:.3g} m", bore)
    assert "spans -0.006 … 0.006, -0.001 … 0.001, -0.001 … 0.008 m" in words.remedy


def test_a_bore_in_the_wrong_unit_is_refused_without_ports(tmp_path):
    refused_step(step_t(tmp_path / "t.step"), r"m wide at its faces, and the bore is 2 m", 2.0, {})


def test_two_points_on_one_face_are_refused(tmp_path):
    faces = T_FACES | {"other": (1e-4, 0.0, 8e-3)}
    words = r'"outlet" and "other" are on one face .* around \(0, 0, 0.008\) m'
    refused_step(step_t(tmp_path / "t.step"), words, faces=faces)


def test_a_point_between_two_faces_is_refused(tmp_path):
    faces = T_FACES | {"outlet": (1e-3, 0.0, 8e-3)}  # on the rim
    refusal = refused_step(step_t(tmp_path / "t.step"), '"outlet" is on two faces of', faces=faces)
    assert "one of 3.14e-06 m^2 around (0, 0, 0.008) m" in refusal.message


def test_a_bore_that_is_narrower_than_the_sizes_gets_its_own(tmp_path):
    faces = {"left": T_FACES["antisolvent"], "outlet": T_FACES["precursor"], "narrow": T_FACES["outlet"]}
    path = step_t(tmp_path / "t.step", leg=0.1)
    with running():
        grid = mesh_step(path, 2e-3, faces, LEVEL, None, ("outlet",))
    narrow = grid.points[np.unique(grid.facets["narrow"])]
    assert len(narrow) > 16 and np.linalg.norm(narrow[:, :2], axis=1).max() == pytest.approx(0.05, rel=1e-3)


def in_coarse_cells(shape, size=0.25):
    """Meshes the solid that `shape` draws with cells of one size, whatever comes of it."""
    with running():
        shape(gmsh.model.occ)
        gmsh.model.occ.synchronize()
        field = gmsh.model.mesh.field.add("MathEval")
        gmsh.model.mesh.field.setString(field, "F", str(size))
        background(field)
        generate()
        return len(gmsh.model.mesh.getElementsByType(11)[0])


def test_an_optimiser_that_misses_its_goal_doesn_t_end_the_process():
    def small(occ, s=1 / 25.4):
        for limit in ("PassMax", "IterMax"):  # it would give up after longer, too
            gmsh.option.setNumber(f"Mesh.HighOrder{limit}", 1)
        arms = [(3, occ.addCylinder(0, 0, 0, x * s, 0, 0, r * s)) for x, r in ((-3, 0.5), (3, 0.25))]
        occ.fuse([(3, occ.addCylinder(0, 0, 0, 0, 0, 6 * s, 0.5 * s))], arms)

    assert in_coarse_cells(small)


def test_cells_too_coarse_for_any_are_refused():
    def tiny(occ, s=0.01):
        leg = occ.addCylinder(0, 0, 0, 0, 0, 3 * s, s / 2)
        occ.fuse([(3, occ.addCylinder(-3 * s, 0, 0, 6 * s, 0, 0, s / 4))], [(3, leg)])

    with pytest.raises(BadInput, match="too coarse to put any"):
        in_coarse_cells(tiny)
