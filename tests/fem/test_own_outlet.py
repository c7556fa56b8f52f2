"""Reactor cases on meshes of the user's own: what their groups, planes and inlets rest on."""

from types import SimpleNamespace

import gmsh
import numpy as np
import pytest
import ufl
from mpi4py import MPI

from twin.campaign import run_points
from twin.campaign.tube_worker import _check_round
from twin.campaign.walks import segregations, walkers_mesh
from twin.campaign.worker import check_outlet
from twin.case import Results, load
from twin.errors import BadInput, TwinError
from twin.fem import storage
from twin.fem.domain import read_domain
from twin.flow import SteadySolver
from twin.meshing.build import mesh_file
from twin.operating import OperatingPoint
from twin.transport import Planes

from .conftest import CASES

pytestmark = pytest.mark.field


def duct(path, begin=0.0, part=0.5):
    """A square duct along z, three units long, both inlets side by side on one face: the antisolvent takes `part`."""
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    occ = gmsh.model.occ
    occ.addBox(-0.5, -0.5, begin, part, 1, 3)
    occ.addBox(part - 0.5, -0.5, begin, 1 - part, 1, 3)
    occ.fragment([(3, 1)], [(3, 2)])
    occ.synchronize()
    names: dict[str, list[int]] = {}
    volumes = gmsh.model.getEntities(3)
    for _, tag in gmsh.model.getBoundary(volumes, combined=True, oriented=False):
        x, _, z = occ.getCenterOfMass(2, tag)
        inlet = "antisolvent" if x < part - 0.5 else "precursor"
        at_end = "outlet" if abs(z - begin - 3) < 1e-6 else "wall"
        names.setdefault(inlet if abs(z - begin) < 1e-6 else at_end, []).append(tag)
    for name, tags in names.items():
        gmsh.model.addPhysicalGroup(2, tags, name=name)
    gmsh.model.addPhysicalGroup(3, [tag for _, tag in volumes], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", 0.35)
    gmsh.model.mesh.generate(3)
    gmsh.model.mesh.optimize("Netgen")
    gmsh.write(str(path))
    gmsh.finalize()
    return path


def domain_of(tmp_path, **shape):
    return read_domain(mesh_file(duct(tmp_path / "own.msh", **shape), tmp_path / "mesh").msh, MPI.COMM_SELF)


def own_case(tmp_path, lines=""):
    folder = tmp_path / "case"
    folder.mkdir()
    text = (CASES / "liang2023" / "case.toml").read_text()
    (folder / "case.toml").write_text(
        text.replace('connector = "ptfe-y-60"', f'mesh = "own.msh"\nbore = "1 mm"\n{lines}')
    )
    return load(folder)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_inlets_side_by_side_let_in_what_was_asked_for(tmp_path, share):
    """At the nodes that both inlets have, their speeds must not add up."""
    domain = domain_of(tmp_path)
    solver = SteadySolver(domain)
    solution = solver.solve(1.0, {"antisolvent": 1 - share, "precursor": share})
    through = ufl.dot(solution.velocity, ufl.FacetNormal(domain.mesh))
    flows = {name: domain.integral(through * domain.ds(name)) for name in ("antisolvent", "precursor", "outlet")}
    assert flows == pytest.approx({"antisolvent": share - 1, "precursor": -share, "outlet": 1.0}, rel=1e-7)
    if share == 0.5:  # then it is the developed flow of the whole duct, 2.096 in its middle, from the inlet on
        assert np.abs(solution.velocity.x.array).max() == pytest.approx(2.096, rel=0.02)


def test_an_outlet_that_the_groups_do_not_count_with_is_refused(tmp_path):
    domain = domain_of(tmp_path)
    with pytest.raises(BadInput, match="area of 1 bore²") as caught:
        check_outlet(own_case(tmp_path), domain)
    assert "outlet_area = 1 " in caught.value.remedy
    (tmp_path / "right").mkdir()
    check_outlet(own_case(tmp_path / "right", "outlet_area = 1"), domain)


@pytest.mark.parametrize("begin", [-3.0, 2.0])
def test_planes_are_counted_from_the_mesh_s_origin(tmp_path, begin):
    with pytest.raises(BadInput, match="from its origin"):
        check_outlet(own_case(tmp_path, "outlet_area = 1"), domain_of(tmp_path, begin=begin))


def test_a_plane_that_walkers_do_not_cross_gives_no_number():
    planes = Planes(np.array([0.0, 0, 1]), np.zeros(3), np.array([1.0, 2.0]), 1.0)
    crossings = SimpleNamespace(
        walker=np.array([0, 0, 1]), plane=np.array([0, 1, 1]), direction=np.ones(3), places=None
    )
    with pytest.raises(TwinError, match="plane at 1 bores is not across the outlet: 1 of 2"):
        segregations(None, SimpleNamespace(crossings=crossings), planes, 1e3, 2, 0.5, 1)


def test_a_tube_needs_a_round_outlet(tiny):
    _, results, _, point = tiny
    nodes = storage.read_nodes(results.mesh / "junction.msh")
    mesh = walkers_mesh(nodes, [storage.read_fields(results.point(point.name) / "fields.vtu")["velocity"]])
    _check_round(mesh)
    mesh.points[:, 0] *= 1.2
    with pytest.raises(BadInput, match="not round and one bore across"):
        _check_round(mesh)


def test_a_species_that_diffuses_as_fast_as_it_flows_is_refused(tmp_path):
    case = own_case(tmp_path)
    slow = OperatingPoint.from_ml_h(0.02, 0.01, case.liquids.temperature)
    with pytest.raises(BadInput, match="for solvent: I_s counts what the flow carries"):
        run_points(case, "coarse", Results.of(case, "coarse", tmp_path), SimpleNamespace(hash=""), [slow], 1)
