"""Walls that turn: Taylor's and Couette's flow between two cylinders, and what does not turn along itself."""

import gmsh
import numpy as np
import pytest
from flow_cases import CHANNEL, problem_of, solved, table_of

from twin.campaign.flow_case import quantities
from twin.campaign.singular import without_limit
from twin.errors import BadInput

pytestmark = pytest.mark.field

INNER, OUTER, RATE, VISCOSITY = 5e-3, 1e-2, 2.0, 1e-2  # m, m, rad/s, Pa s
B = RATE * INNER**2 * OUTER**2 / (OUTER**2 - INNER**2)  # of u = A r + B/r
RING = """
name = "ring"
title = "Taylor and Couette"
[junction]
mesh = "ring.msh"
bore = "1 cm"
[fluid]
density = "1000 kg/m^3"
viscosity = "10 mPa*s"
[boundaries.walls]
outer = {}
inner = { rotation = "2 rad/s", centre = ["30 mm", "10 mm"] }
[flow]
reference_length = "5 mm"
[output]
forces = ["inner", "outer"]
shear = ["inner"]
[output.probes]
middle = ["37.5 mm", "10 mm"]
above = ["30 mm", "16 mm"]
"""


def ring(path, size, sector=False, high=0.0):
    """Cylinders of 0.5 and 1 about (3, 1); a quarter of them, or in 3-D their length `high`. A second order mesh."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    occ, dim = gmsh.model.occ, 3 if high else 2
    occ.cut([(2, occ.addDisk(3, 1, 0, 1, 1))], [(2, occ.addDisk(3, 1, 0, 0.5, 0.5))])
    if sector:
        occ.intersect([(2, 1)], [(2, occ.addRectangle(3, 1, 0, 1, 1))])
    if high:
        occ.extrude([(2, 1)], 0, 0, high, numElements=[2])
    occ.synchronize()
    names = {}
    for _, tag in gmsh.model.getEntities(dim - 1):
        x, y, z = occ.getCenterOfMass(dim - 1, tag)
        low, top = gmsh.model.getParametrizationBounds(dim - 1, tag)
        away = np.hypot(*(gmsh.model.getValue(dim - 1, tag, (low + top) / 2)[:2] - [3, 1]))
        name = "inner" if away < 0.7 else "outer"
        if sector and min(x - 3, y - 1) < 1e-6:
            name = "out" if x - 3 < 1e-6 else "in"
        if high and not 1e-6 < z < high - 1e-6:
            name = "low" if z < 1e-6 else "high"
        names.setdefault(name, []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(dim - 1, tags, name=name)
    gmsh.model.addPhysicalGroup(dim, [tag for _, tag in gmsh.model.getEntities(dim)], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", size)
    gmsh.option.setNumber("Mesh.MeshSizeMin", size)
    gmsh.model.mesh.generate(dim)
    gmsh.model.mesh.setOrder(2)
    gmsh.write(str(path))
    gmsh.finalize()


def around(r):
    return (RATE - B / INNER**2) * r + B / r


def test_a_turning_cylinder_has_taylor_and_couette_s_flow_and_torque(tmp_path, case_of):
    ring(tmp_path / "ring.msh", 0.15)
    record, twice = solved(case_of(RING), (1.0, 2.0))
    assert record["reference"]["velocity_m_s"] == pytest.approx(RATE * INNER)
    assert record["reynolds"] == pytest.approx(1000 * RATE * INNER * 5e-3 / VISCOSITY)
    assert record["probes"]["middle"]["velocity_m_s"] == pytest.approx([0, around(7.5e-3)], abs=2e-3 * 1e-2)
    assert record["probes"]["above"]["velocity_m_s"] == pytest.approx([-around(6e-3), 0], abs=2e-3 * 1e-2)
    torque = 4 * np.pi * VISCOSITY * B
    forces = record["forces"]
    assert forces["inner"]["torque"] == pytest.approx(-torque, rel=5e-4) and "torque" not in forces["outer"]
    assert twice["forces"]["inner"]["torque"] == pytest.approx(-2 * torque, rel=5e-4)
    assert forces["inner"]["force"] == pytest.approx([0, 0], abs=1e-3 * torque / INNER)
    assert record["shear"]["inner"]["mean_pa"] == pytest.approx(2 * VISCOSITY * B / INNER**2, rel=1e-2)
    assert quantities(record)["torque inner"].unit == "N m/m"


def test_two_cylinders_that_turn_alike_carry_the_fluid_as_a_solid(tmp_path, case_of):
    """rpm are read as turns a minute; nothing is sheared, so no torque is left."""
    ring(tmp_path / "ring.msh", 0.3)
    turn = 'rotation = "20 rpm", centre = ["30 mm", "10 mm"]'
    (record,) = solved(case_of(RING, ("outer = {}", f"outer = {{ {turn} }}"), ('"2 rad/s"', '"20 rpm"')))
    omega = 2 * np.pi / 3
    assert record["reference"]["velocity_m_s"] == pytest.approx(omega * OUTER)
    assert record["probes"]["middle"]["velocity_m_s"] == pytest.approx([0, omega * 7.5e-3], abs=2e-3 * 2e-2)
    for one in record["forces"].values():
        assert one["torque"] == pytest.approx(0, abs=1e-3 * 4 * np.pi * VISCOSITY * omega * INNER**2)


def test_a_cylinder_between_mirrors_turns_in_3d(tmp_path, case_of):
    ring(tmp_path / "ring.msh", 0.3, high=0.3)
    text = RING.replace('"16 mm"]', '"16 mm", "1 mm"]').replace('["37.5 mm", "10 mm"]', '["37.5 mm", "10 mm", "1 mm"]')
    text = text.replace('["30 mm", "10 mm"]', '["30 mm", "10 mm", "0 mm"], axis = [0, 0, -3]')
    text = text.replace("[boundaries.walls]", '[boundaries]\nmirrors = ["low", "high"]\n[boundaries.walls]')
    (record,) = solved(case_of(text))
    torque = 4 * np.pi * VISCOSITY * B * 3e-3
    assert record["forces"]["inner"]["torque"] == pytest.approx(-torque, rel=5e-3)  # about its own axis, downwards
    assert record["probes"]["middle"]["velocity_m_s"] == pytest.approx([0, -around(7.5e-3), 0], abs=5e-3 * 1e-2)
    with pytest.raises(BadInput, match='"inner" is not round about its centre'):
        problem_of(case_of(text, ("[0, 0, -3]", "[0.1, 0, -3]")))
    with pytest.raises(BadInput, match='turns about no axis'):
        problem_of(case_of(text, (", axis = [0, 0, -3]", "")))
    turn = 'rotation = "2 rad/s", centre = ["30 mm", "10 mm", "0 mm"], axis = [0, 0, -3]'
    with pytest.raises(BadInput, match='the wall "inner" moves across the mirror plane "low"'):
        problem_of(case_of(text, (turn, 'velocity = ["0 m/s", "0 m/s", "1 m/s"]')))


def test_a_turn_starts_by_its_history_and_goes_on_after_an_interruption(tmp_path, case_of):
    ring(tmp_path / "ring.msh", 0.3)
    (tmp_path / "ramp.csv").write_text("t,factor\n0,0\n1,1\n")
    moving = 'inner = { rotation = "2 rad/s", history = "ramp.csv"'
    time = '[time]\nend = "END s"\nstep = "0.1 s"\nsave = "1 s"\n'
    resting = 'outer = { rotation = "0 rad/s", centre = ["30 mm", "10 mm"] }'
    changes = ('inner = { rotation = "2 rad/s"', moving), ("outer = {}", resting)
    solved(case_of(RING + time, *changes, ("END", "5")))
    case = case_of(RING + time, *changes, ("END", "10"))
    (record,) = solved(case)
    assert any("going on from t = 5 s" in line for line in record["history"])
    torque = 4 * np.pi * VISCOSITY * B
    torques = [record["forces"][name]["torque"] for name in ("inner", "outer")]
    assert torques == pytest.approx([-torque, torque], rel=5e-3)
    header, table = table_of(case, "series.csv")
    assert table[-1, header.index("torque inner N m/m")] == pytest.approx(-torque, rel=5e-3)
    assert "mean torque inner N m/m" in quantities(record)


def test_a_developed_inlet_follows_a_turning_wall(tmp_path, case_of):
    """A quarter of a ring, entered and left square to its radii: what enters is linear, and Poiseuille's."""
    ring(tmp_path / "ring.msh", 0.2, sector=True)
    text = RING.replace("[flow]", '[boundaries.inlets.in]\nflow = "FLOW m^2/s"\n[boundaries.outlets.out]\n[flow]')
    text = text.replace('above = ["30 mm", "16 mm"]', 'gap = ["37.5 mm", "10 mm"]')
    (record,) = solved(case_of(text, ("FLOW", "2.5e-5")))  # the half of the wall's speed times the gap
    assert record["boundaries"]["out"]["flow"] == pytest.approx(2.5e-5)
    assert record["probes"]["gap"]["velocity_m_s"] == pytest.approx([0, RATE * INNER / 2], abs=1e-9)
    (record,) = solved(case_of(text, ("FLOW", "0")))
    assert abs(record["boundaries"]["in"]["flow"]) < 1e-12
    assert record["probes"]["gap"]["velocity_m_s"] == pytest.approx([0, RATE * INNER * (0.5 - 0.75)], abs=1e-9)


def test_what_does_not_turn_along_itself_is_refused(tmp_path, case_of):
    ring(tmp_path / "ring.msh", 0.3)
    with pytest.raises(BadInput, match='"inner" is not round about its centre') as caught:
        problem_of(case_of(RING, ('"30 mm", "10 mm"]', '"30.05 mm", "10 mm"]')))
    assert "correct its centre" in caught.value.remedy
    with pytest.raises(BadInput, match="the mesh is 2-D, and the centre of the wall inner is not"):
        problem_of(case_of(RING, ('"10 mm"] }', '"10 mm", "0 mm"] }')))
    with pytest.raises(BadInput, match="turns about an axis, in the plane"):
        problem_of(case_of(RING, ('"10 mm"] }', '"10 mm"], axis = [0, 0, 1] }')))
    for wrong, words in (
        ('rotation = "2 Hz"', "is not a rotation"),
        ('rotation = "2 rad"', "not a rotation"),
        ('rotation = "2 rad/s", velocity = ["1 m/s", "0 m/s"]', "not both"),
        ("axis = [0, 0, 0], rotation = \"2 rad/s\"", "no direction"),
        ("axis = [0, 0, 1]", "go together"),
        ('rotation = "0 rad/s", history = "none.csv"', "factors on the rotation: give one"),
    ):
        with pytest.raises(BadInput, match=words):
            case_of(RING, ('rotation = "2 rad/s"', wrong))


def test_walls_that_turn_alike_have_forces_with_a_limit(case_of):
    names, meeting = ["torque inner", "force outer x"], [("inner", "outer")]
    turn = 'rotation = "2 rad/s", centre = ["30 mm", "10 mm", "HIGH"], axis = [0, 0, AXIS]'
    flat = 'rotation = "2 rad/s", centre = ["30 mm", "10 mm"]'
    both = lambda high, axis: case_of(  # noqa: E731
        RING,
        (flat, turn.replace("HIGH", "0 mm").replace("AXIS", "1")),
        ("outer = {}", f"outer = {{ {turn} }}".replace("HIGH", high).replace("AXIS", axis)),
    ).boundaries
    assert without_limit(both("5 mm", "2"), meeting, [], names) == []
    assert without_limit(both("5 mm", "-2"), meeting, [], names) == names
    assert without_limit(case_of(RING).boundaries, meeting, [], names) == names


def test_the_level_of_the_pressure_counts_for_the_torque_on_a_flap(case_of):
    """A wall at rest that is not round: slow fluid at 5 Pa presses on the bottom of a channel, about one end of it."""
    about = '{ bottom = { rotation = "0 rad/s", centre = ["0 mm", "0 mm"] }, top = {} }'
    (record,) = solved(case_of(CHANNEL, ('["bottom", "top"]', about), ('"10 mm/s"', '"1 um/s"')))
    assert record["forces"]["bottom"]["torque"] == pytest.approx(-5 * (2e-3) ** 2 / 2, rel=1e-5)
