import basix.ufl
import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI

from twin.fem.forms import compiled
from twin.mixing import mixing_along
from twin.transport import Transport, divergence_free, largest_divergence
from twin.verification.mixing import checks, exact_segregation, two_streams

pytestmark = pytest.mark.field


@pytest.fixture(scope="module")
def solved(small):
    domain, flow = small
    velocity = divergence_free(domain, flow.velocity)
    return domain, flow, velocity, Transport(domain).solve(velocity, 1e5)


def test_two_streams_mix_as_the_closed_form_says():
    for check in checks():
        assert check.holds, check


def test_a_finer_mesh_comes_closer():
    errors = [
        abs(two_streams(MPI.COMM_SELF, 1000.0, across, 2 * across)[-1].segregation / exact_segregation(4, 1000.0) - 1)
        for across in (8, 16)
    ]
    assert errors[1] < errors[0] / 2


def test_the_velocity_has_no_divergence_and_keeps_its_flows(solved):
    domain, flow, velocity, _ = solved
    assert largest_divergence(domain, flow.velocity) > 1e-3  # what Taylor–Hood leaves
    assert largest_divergence(domain, velocity) < 1e-10
    n = ufl.FacetNormal(domain.mesh)
    flows = {name: domain.integral(ufl.dot(velocity, n) * domain.ds(name)) for name in ("precursor", "outlet", "wall")}
    # Facets with a curved edge: the interpolation into BDM1 takes its moments there to about 1e-6 only.
    assert flows["precursor"] == pytest.approx(-0.06 * flows["outlet"], rel=1e-6)
    assert flows["wall"] == pytest.approx(0, abs=1e-12)


def test_the_flux_closes_at_every_plane(solved):
    planes = mixing_along(solved[3].planes, 0.06)
    assert len(planes) == 4
    assert max(abs(plane.flux_error) for plane in planes) < 1e-4


def test_the_variance_budget_closes_by_two_ways(solved):
    """What a plane's ∫c²u_n lacks against the plane before is what the cells and facets between them dissipated."""
    planes = solved[3].planes
    arriving = 0.06 * planes[0].flow
    for plane in planes:
        lost = 2 * (plane.physical + plane.numerical)
        assert arriving - plane.square_flux == pytest.approx(lost, abs=1e-4 * arriving + 1e-12)
        arriving = plane.square_flux


def total_of_both_streams(domain, velocity):
    """The sum of what each stream alone brings: one everywhere, if the scheme keeps a uniform species uniform."""
    tags = {**domain.tags, "precursor": domain.tags["antisolvent"], "antisolvent": domain.tags["precursor"]}
    swapped = type(domain)(domain.mesh, domain.facets, tags)
    fields = [Transport(one).solve(velocity, 1e5).field.x.array for one in (domain, swapped)]
    return fields[0] + fields[1]


def test_uniform_stays_uniform(solved):
    domain, flow, velocity, _ = solved
    assert np.abs(total_of_both_streams(domain, velocity) - 1).max() < 1e-8
    # The check can fail: the velocity of the flow solver itself has sources and sinks in its cells.
    broken = fem.Function(fem.functionspace(domain.mesh, basix.ufl.element("BDM", domain.mesh.basix_cell(), 1)))
    broken.interpolate(flow.velocity)
    assert np.abs(total_of_both_streams(domain, broken) - 1).max() > 1e-2


def test_the_shown_field_keeps_its_bounds_and_pure_liquid_pure(solved):
    """What the scheme's over- and undershoots would add is taken where streams have mixed, not from the pure arms."""
    domain, _, _, found = solved
    assert min(found.highest - 1, -found.lowest) > 1e-3  # the scheme itself goes beyond the bounds
    space = found.field.function_space
    values = found.field.x.array[space.dofmap.list]
    assert values.min() == 0
    assert values.max() == 1
    middles = mesh.compute_midpoints(domain.mesh, 3, np.arange(len(values), dtype=np.int32))
    far = middles[:, 2] < 0.7 * middles[:, 2].min()
    assert values[far & (middles[:, 0] < 0)].max() < 1e-5
    assert values[far & (middles[:, 0] > 0)].min() > 0.999


def test_bounds_are_paid_for_by_share(solved):
    """Pure liquid stays pure, what the field holds is kept, and a trace does not drown in what others gain or lose."""
    transport = Transport(solved[0])
    field = fem.Function(transport._space)
    holds = compiled(field * solved[0].dx(4))
    values = field.x.array
    kinds = {"pure": 0.0, "trace": 0.002, "mixed": 0.4, "all": 1.0, "below": -0.3, "above": 1.2}
    which = np.arange(len(values)) % 40
    parts = dict(zip(kinds, (which < 20, which < 30, which < 36, which < 38, which < 39, which < 40), strict=True))
    left = np.ones(len(values), dtype=bool)
    for name, part in parts.items():
        values[left & part] = kinds[name]
        parts[name], left = left & part, left & ~part
    before = fem.assemble_scalar(holds)
    transport._bound(field)
    assert fem.assemble_scalar(holds) == pytest.approx(before, rel=1e-9)
    for name, kept in (("pure", 0.0), ("below", 0.0), ("all", 1.0), ("above", 1.0)):
        assert (values[parts[name]] == kept).all(), name
    assert values[parts["trace"]] == pytest.approx(0.002, rel=0.2)
    assert values[parts["mixed"]] == pytest.approx(0.4, rel=0.2)
    assert (values[parts["trace"]] != 0.002).all()
