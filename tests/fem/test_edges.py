"""The angles at which the boundaries of a mesh meet."""

import gmsh
import numpy as np
import pytest
from flow_cases import rectangles

from twin.meshing import mesh_file
from twin.meshing.edges import largest_angles

pytestmark = pytest.mark.field


def solid(path, draw, size, named):
    """A mesh of what `draw` makes, its surfaces named by their bounding boxes."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    draw(gmsh.model.occ)
    gmsh.model.occ.synchronize()
    names = {}
    for _, tag in gmsh.model.getEntities(2):
        names.setdefault(named(np.round(gmsh.model.getBoundingBox(2, tag), 3).reshape(2, 3)), []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(2, tags, name=name)
    gmsh.model.addPhysicalGroup(3, [tag for _, tag in gmsh.model.getEntities(3)], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", size)
    gmsh.model.mesh.generate(3)
    gmsh.model.mesh.setOrder(2)
    gmsh.write(str(path))
    gmsh.finalize()


def angles_of(path):
    made = mesh_file(path, path.parent / "mesh")
    return largest_angles(made.msh)


def test_a_step_in_the_plane(tmp_path):
    names = {-1: "in", 2: "out"}
    rectangles(tmp_path / "step.msh", [(-1, 1, 1, 1), (0, 0, 2, 2)], lambda x, y: names.get(x, "wall"), 0.4)
    found = angles_of(tmp_path / "step.msh")
    assert found[("wall", "wall")] == pytest.approx(270)
    assert found[("in", "wall")] == pytest.approx(90) and found[("out", "wall")] == pytest.approx(90)
    assert found[("in", "in")] == pytest.approx(180) and ("in", "out") not in found


def test_a_coarse_round_bore_has_no_edges_but_at_its_ends(tmp_path):
    named = lambda box: {0: "in", 3: "out"}.get(box[0, 2]) if box[0, 2] == box[1, 2] else "wall"  # noqa: E731
    solid(tmp_path / "pipe.msh", lambda occ: occ.addCylinder(0, 0, 0, 0, 0, 3, 0.5), 0.5, named)
    found = angles_of(tmp_path / "pipe.msh")
    assert found[("wall", "wall")] == pytest.approx(180, abs=6)
    assert found[("in", "wall")] == pytest.approx(90, abs=1) and found[("in", "in")] == pytest.approx(180)


def test_a_narrow_bore_in_a_wide_one(tmp_path):
    def draw(occ):
        occ.fuse([(3, occ.addCylinder(0, 0, 0, 0, 0, 1, 0.25))], [(3, occ.addCylinder(0, 0, 1, 0, 0, 1, 0.5))])

    def named(box):
        return "shoulder" if box[0, 2] == box[1, 2] == 1 else "ends" if box[0, 2] == box[1, 2] else "wall"

    solid(tmp_path / "pipe.msh", draw, 0.3, named)
    found = angles_of(tmp_path / "pipe.msh")
    assert found[("shoulder", "wall")] == pytest.approx(270, abs=1.5)
    assert found[("wall", "wall")] < 185
    assert found[("ends", "wall")] == pytest.approx(90, abs=1.5)
