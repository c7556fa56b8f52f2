"""Walls that slide in an open flow: what they drag in at inlets, and what they may do."""

import gmsh
import numpy as np
import pytest
from flow_cases import CHANNEL, problem_of, solved, table_of

from twin.errors import BadInput

pytestmark = pytest.mark.field

#: A channel 1 mm high whose top slides with 10 mm/s: half of it is the mean speed of Couette's flow.
COUETTE = CHANNEL.replace(
    'walls = ["bottom", "top"]', 'walls = { bottom = {}, top = { velocity = ["10 mm/s", "0 mm/s"] } }'
).replace('forces = ["bottom"]', 'forces = ["bottom", "top"]')
SHEAR = 1e-3 * 10e-3 / 1e-3  # Pa: viscosity times speed over height


def assert_couette(record):
    """Couette's flow: 5e-6 m²/s, no pressure drop, the same shear on both walls."""
    assert record["boundaries"]["out"]["flow"] == pytest.approx(5e-6)
    assert record["boundaries"]["in"]["pressure_drop_pa"] == pytest.approx(0, abs=1e-7 * SHEAR)
    force = [record["forces"][name]["force"][0] for name in ("bottom", "top")]
    assert force == pytest.approx([2e-3 * SHEAR, -2e-3 * SHEAR], rel=1e-6)
    line = record["lines"]["across"]
    expected = 10 * np.array(line["at_m"])[:, 1]
    assert np.array(line["velocity_m_s"])[:, 0] == pytest.approx(expected, abs=1e-9)


def test_a_profile_in_m_s_beside_a_sliding_wall_is_what_it_says(case_of):
    given = 'formula = "0.01*y"\nscale = false'
    (record,) = solved(case_of(COUETTE, ('mean_velocity = "10 mm/s"', given)))
    assert_couette(record)
    assert record["reference"]["velocity_m_s"] == pytest.approx(5e-3)
    (twice,) = solved(case_of(COUETTE, ('mean_velocity = "10 mm/s"', given)), scales=(2.0,))
    assert twice["boundaries"]["out"]["flow"] == pytest.approx(1e-5)


def test_a_developed_inlet_carries_couette_s_flow_and_poiseuille_s(case_of):
    """Its rate at half the speed of the wall has no pressure drop; another has that of what is more, or less."""
    (record,) = solved(case_of(COUETTE, ('"10 mm/s"\n[boundaries.outlets', '"5 mm/s"\n[boundaries.outlets')))
    assert_couette(record)
    (record,) = solved(case_of(COUETTE))
    drop = 12 * 1e-3 * 5e-3 * 2e-3 / 1e-3**2  # 12 µ ΔU L/H²
    assert record["boundaries"]["in"]["flow"] == pytest.approx(-1e-5)
    assert record["boundaries"]["in"]["pressure_drop_pa"] == pytest.approx(drop, rel=1e-6)
    y = np.linspace(0, 1, 5)
    speeds = np.array(record["lines"]["across"]["velocity_m_s"])[:, 0]
    assert speeds == pytest.approx(10e-3 * y + 30e-3 * y * (1 - y), abs=1e-9)


def test_an_inlet_lets_in_its_rate_while_the_wall_beside_it_starts(tmp_path, case_of):
    (tmp_path / "ramp.csv").write_text("t,factor\n0,0\n0.1,1\n")
    slow = ('"10 mm/s"\n[boundaries.outlets', '"5 mm/s"\n[boundaries.outlets')
    moving = ('"0 mm/s"]', '"0 mm/s"], history = "ramp.csv"')
    case = case_of(COUETTE + '[time]\nend = "2 s"\nstep = "0.04 s"\n', slow, moving)
    (record,) = solved(case)
    header, table = table_of(case, "series.csv")
    assert table[:, header.index("flow in m^2/s")] == pytest.approx(-5e-6)
    speeds = np.array(record["lines"]["across"]["velocity_m_s"])[:, 0]
    assert speeds == pytest.approx(10e-3 * np.linspace(0, 1, 5), abs=2e-5)


def test_a_developed_inlet_follows_a_sliding_wall_in_3d(tmp_path, case_of):
    """The same between two mirrors, where the inlet's section is a rectangle."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    box = gmsh.model.occ.addBox(0, 0, 0, 2, 1, 0.5)
    gmsh.model.occ.synchronize()
    names = {}
    for _, tag in gmsh.model.getEntities(2):
        x, y, z = gmsh.model.occ.getCenterOfMass(2, tag)
        name = {0: "in", 2: "out"}.get(x) or {0: "bottom", 1: "top"}.get(y) or ("back" if z < 0.25 else "front")
        names.setdefault(name, []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(2, tags, name=name)
    gmsh.model.addPhysicalGroup(3, [box], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMin", 0.5)
    gmsh.model.mesh.generate(3)
    gmsh.write(str(tmp_path / "channel.msh"))
    gmsh.finalize()
    text = COUETTE.split("[output]")[0].replace('"0 mm/s"]', '"0 mm/s", "0 mm/s"]')
    case = case_of(text, ("walls = {", 'mirrors = ["back", "front"]\nwalls = {'))
    (record,) = solved(case)
    assert record["mesh"]["dimension"] == 3
    drop = 12 * 1e-3 * 5e-3 * 2e-3 / 1e-3**2
    assert record["boundaries"]["in"]["pressure_drop_pa"] == pytest.approx(drop, rel=1e-6)
    assert record["boundaries"]["out"]["flow"] == pytest.approx(10e-3 * 0.5e-6)


def test_a_wall_that_would_blow_fluid_through_itself_is_refused(case_of):
    with pytest.raises(BadInput, match='the wall "top" does not slide along itself: fluid would pass') as caught:
        problem_of(case_of(COUETTE, ('"10 mm/s", "0 mm/s"]', '"10 mm/s", "1 mm/s"]')))
    assert "make it an inlet" in caught.value.remedy
    mirrored = ("walls = { bottom = {}, ", 'mirrors = ["out"]\nwalls = { bottom = {}, ')
    with pytest.raises(BadInput, match='the wall "top" moves across the mirror plane "out"'):
        problem_of(case_of(COUETTE, mirrored, ("[boundaries.inlets.in]", "[boundaries.outlets.in]"),
                           ('mean_velocity = "10 mm/s"\n[boundaries.outlets.out]\npressure = "5 Pa"', "")))  # fmt: skip
