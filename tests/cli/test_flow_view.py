"""Pictures of a flow case in space."""

import json

import numpy as np
import pytest
from command_line import run
from matplotlib.image import imread

from twin.case import Results, load_any


def box_with_a_mirror(where):
    """Half of a channel, 4 × 1 × 0.5: in at x = 0, out at x = 4, its mirror at z = 0."""
    import gmsh

    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    occ = gmsh.model.occ
    occ.addBox(0, 0, 0, 4, 1, 0.5)
    occ.synchronize()
    names = {}
    for _, tag in gmsh.model.getEntities(2):
        x, _, z = occ.getCenterOfMass(2, tag)
        names.setdefault({0: "in", 4: "right"}.get(round(x, 6)) or ("wall" if z > 1e-6 else "middle"), []).append(tag)
    for boundary, tags in names.items():
        gmsh.model.addPhysicalGroup(2, tags, name=boundary)
    gmsh.model.addPhysicalGroup(3, [1], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", 0.4)
    gmsh.model.mesh.generate(3)
    gmsh.write(str(where / "box.msh"))
    gmsh.finalize()


BOX = """
name = "box"
title = "Half of a channel"
ranks = 1
[junction]
mesh = "box.msh"
bore = "1 mm"
[fluid]
density = "1000 kg/m^3"
viscosity = "1 mPa*s"
[boundaries]
walls = ["wall"]
mirrors = ["middle"]
[boundaries.inlets.in]
mean_velocity = "1 mm/s"
[boundaries.outlets.right]
"""


@pytest.mark.field
def test_a_flow_in_space_is_drawn_on_its_mirror_or_on_any_plane(tmp_path, capsys):
    from twin.view.flow_scenes import flow_pictures  # needs meshio

    where = tmp_path
    (where / "case.toml").write_text(BOX)
    code, _, errors = run(capsys, "view", where)
    assert code == 2 and "there is no flow to draw" in errors and "twin solve" in errors
    box_with_a_mirror(where)
    assert run(capsys, "solve", where)[0] == 0
    drawn = where / "results" / "box" / "pictures" / "flow-speed.png"
    for words, title in (([], "Speed at z = 0 m"), (["--plane", "y = 0.25 mm"], "Speed at y = 0.00025 m")):
        code, out, errors = run(capsys, "view", where, *words)
        assert code == 0 and out.split()[0] == str(drawn), errors
        (record,) = [json.loads(path.read_text()) for path in where.glob("results/box/points/*/record.json")]
        solved = [(Results(where / "results" / "box"), record)]
        assert flow_pictures(load_any(where), solved, words[1] if words else None)[0].title == title
        pixels = imread(drawn)[..., :3]
        rows = np.flatnonzero(np.any(pixels[45:-85, 600] < 0.9, axis=1)) + 45
        wall, middle = pixels[rows[0] + 4, 600], pixels[int(rows.mean()), 600]
        assert wall[1] < 0.2 and wall[2] > 0.25, "at rest it is dark"
        assert middle[1] > 0.6, "the fastest is green or yellow"
    code, _, errors = run(capsys, "view", where, "--plane", "x = 5 mm")
    assert code == 2 and "the plane x = 0.005 m does not meet the mesh" in errors and "from 0 to 0.004 m" in errors
    for wrong in ("w = 1 mm", "x", "x = 1"):
        code, _, errors = run(capsys, "view", where, "--plane", wrong)
        assert code == 2 and "remedy: " in errors
