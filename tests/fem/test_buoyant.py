from functools import partial

import gmsh
import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

from twin.campaign.buoyant import CoupledSolver, Settings, arm_states, fluid_of, solve_coupled
from twin.errors import BadInput, NotConverged
from twin.fem.domain import Domain, read_domain
from twin.flow import Boundaries, SteadySolver
from twin.flow.momentum import Fluid
from twin.junction import Groups
from twin.liquids import LIQUIDS
from twin.liquids.mixture import Mixture
from twin.verification.flow import small_connector, small_domain

pytestmark = pytest.mark.field

HEIGHT, LENGTH = 1.0, 2.0


def sides(**where):
    """A plane channel, 0 < x < LENGTH, 0 < y < HEIGHT, with these boundaries."""
    mesh = dmesh.create_rectangle(MPI.COMM_SELF, [(0.0, 0.0), (LENGTH, HEIGHT)], [6, 6], dmesh.CellType.triangle)
    mesh.topology.create_connectivity(1, 2)
    tags = {name: number for number, name in enumerate(where, 1)}
    parts = {name: dmesh.locate_entities_boundary(mesh, 1, on) for name, on in where.items()}
    facets = np.concatenate(list(parts.values()))
    values = np.concatenate([np.full(len(part), tags[name], np.int32) for name, part in parts.items()])
    order = np.argsort(facets)
    return Domain(mesh, dmesh.meshtags(mesh, 1, facets[order], values[order]), tags)


def left(x):
    return np.isclose(x[0], 0)


def right(x):
    return np.isclose(x[0], LENGTH)


def bottom(x):
    return np.isclose(x[1], 0)


def top(x):
    return np.isclose(x[1], HEIGHT)


def layers(domain, below, above):
    """A piecewise constant that steps halfway up."""
    values = fem.Function(fem.functionspace(domain.mesh, ("DG", 0)))
    cells = domain.mesh.topology.index_map(2).size_local
    middle = dmesh.compute_midpoints(domain.mesh, 2, np.arange(cells, dtype=np.int32))
    values.x.array[:cells] = np.where(middle[:, 1] < HEIGHT / 2, below, above)
    return values


def test_layers_at_rest_stay_at_rest():
    """Heavy below light in a basin that is open above: nothing moves, and the pressure is the weight above."""
    domain = sides(wall=lambda x: left(x) | right(x) | bottom(x), outlet=top)
    weight, down = layers(domain, 3.0, 1.0), ufl.as_vector([0.0, -1.0])
    basin = Boundaries({}, walls={"wall": ()})
    solver = SteadySolver(domain, basin, fluid=lambda nu: Fluid(nu, density=1 + weight, force=weight * down))
    solution = solver.solve(100.0, {})
    assert np.abs(solution.velocity.x.array).max() < 1e-10
    depth = HEIGHT - solution.pressure.function_space.tabulate_dof_coordinates()[:, 1]
    exact = np.where(depth < HEIGHT / 2, depth, HEIGHT / 2 + 3.0 * (depth - HEIGHT / 2))
    assert np.abs(solution.pressure.x.array - exact).max() < 1e-9


def two_layer_poiseuille(lower, upper):
    """The speed over y of two equal layers of these viscosities, mean 1, and −dp/dx."""
    g = 1.0  # the stress is tau − g y throughout, and the speed the same from both walls at y = 1/2
    tau = (g / 8 / lower + 3 * g / 8 / upper) / (0.5 / lower + 0.5 / upper)

    def speed(y):
        below = (tau * y - g * y**2 / 2) / lower
        above = -(tau * (1 - y) - g * (1 - y**2) / 2) / upper
        return np.where(y < 0.5, below, above)

    y, weights = np.polynomial.legendre.leggauss(8)
    mean = sum((weights / 4 * speed((y + 1 + 2 * half) / 4)).sum() for half in (0, 1))
    return lambda y: speed(y) / mean, g / mean


def test_two_layers_of_different_viscosity():
    reynolds, ratio = 10.0, 3.0
    domain = sides(inlet=left, outlet=right, wall=lambda x: bottom(x) | top(x))
    viscosity = layers(domain, 1.0, ratio)
    speed, gradient = two_layer_poiseuille(1 / reynolds, ratio / reynolds)
    ends = Boundaries({"inlet": lambda x: speed(x[1])}, walls={"wall": ()})
    solver = SteadySolver(domain, ends, fluid=lambda nu: Fluid(nu * viscosity, excess=nu * (viscosity - 1)))
    solution = solver.solve(reynolds, {"inlet": 1.0})
    assert solution.pressure_drop["inlet"] == pytest.approx(gradient * LENGTH, rel=1e-9)
    points = solver.velocities.tabulate_dof_coordinates()
    assert np.abs(solution.velocity.x.array[0::2] - speed(points[:, 1])).max() < 1e-9
    assert np.abs(solution.velocity.x.array[1::2]).max() < 1e-9


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    """An upright pipe of two bores: an inlet below, the outlet on top."""
    path = tmp_path_factory.mktemp("pipe") / "pipe.msh"
    gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    gmsh.model.occ.addCylinder(0, 0, 0, 0, 0, 2, 0.5)
    gmsh.model.occ.synchronize()
    for _, surface in gmsh.model.getEntities(2):
        height = gmsh.model.occ.getCenterOfMass(2, surface)[2]
        name = "inlet" if height < 0.1 else "outlet" if height > 1.9 else "wall"
        gmsh.model.addPhysicalGroup(2, [surface], name=name)
    gmsh.model.addPhysicalGroup(3, [1], name="fluid")
    gmsh.option.setNumber("Mesh.MeshSizeMax", 0.25)
    gmsh.option.setNumber("Mesh.ElementOrder", 2)
    gmsh.model.mesh.generate(3)
    gmsh.write(str(path))
    gmsh.finalize()
    return read_domain(path, MPI.COMM_SELF)


def test_a_heavier_fluid_rises_against_its_weight(pipe):
    """Δp' = 32 (µ/µ₀) L / Re + Ri L, with all fluid heavier by the whole difference."""
    reynolds, richardson, mixture = 20.0, 3.0, Mixture(1.1, 1.5)
    weight = fem.Constant(pipe.mesh, np.array([0.0, 0.0, -richardson]))
    full = fem.Function(fem.functionspace(pipe.mesh, ("Lagrange", 2)))
    full.x.array[:] = 1.0
    ends = Boundaries({"inlet": "developed"}, walls={"wall": ()})
    solution = SteadySolver(pipe, ends, fluid=partial(fluid_of, mixture, full, weight)).solve(
        reynolds, {"inlet": pipe.area("inlet")}
    )
    friction = 32 * 1.5 * 2 / reynolds
    assert solution.pressure_drop["inlet"] == pytest.approx(friction + 2 * richardson, rel=3e-3)


# -- coupled to the concentration ------------------------------------------------------------------------------------


def point(richardson, share=0.1):
    return Groups(
        reynolds=20.0,
        flow_ratio=1 / share - 1,
        precursor_fraction=share,
        schmidt=50.0,
        peclet=1000.0,
        richardson=richardson,
    )


@pytest.fixture(scope="module")
def junction():
    return small_domain(small_connector(3), 0.3, 0.35, MPI.COMM_SELF)


def test_liquids_without_contrast_are_passive(junction):
    """To rounding, whatever gravity: the form of the balance is that of one fluid then."""
    passive = solve_coupled(junction, point(5.0), Mixture(1.0, 1.0))
    same = solve_coupled(junction, point(5.0), Mixture(1.0, 1.0), "properties")
    assert np.abs(same.flow.velocity.x.array - passive.flow.velocity.x.array).max() < 1e-9
    assert np.abs(same.concentration.field.x.array - passive.concentration.field.x.array).max() < 1e-7


def test_a_dense_stream_from_above_sinks_and_one_from_below_does_not(junction):
    mixture, at_once = Mixture(1.1, 1.5), Settings(first_gravity=1.0)
    high = solve_coupled(junction, point(0.4), mixture, "buoyant", [0.0, 0.0, 1.0], at_once)  # the outlet points down
    low = solve_coupled(junction, point(0.4), mixture, "buoyant", [0.0, 0.0, -1.0], at_once)
    for solution, gravity in ((high, [0.0, 0.0, 1.0]), (low, [0.0, 0.0, -1.0])):
        assert solution.history[-1].mixing < 1e-3
        assert max(abs(plane.flux_error) for plane in solution.mixing) < 1e-3
        assert arm_states(junction, solution, gravity=gravity, at=(1.2,), width=0.3)
    # p' lacks the weight of the antisolvent alone, so what the denser fluid weighs shows in the pressure drop.
    assert high.flow.pressure_drop["precursor"] < low.flow.pressure_drop["precursor"] - 0.4


def test_a_rough_flow_is_that_of_the_antisolvent_alone(junction):
    """Even after a solve with gravity; and it is reached in fewer steps than a solution."""
    passive = CoupledSolver(junction, Mixture(1.1, 1.5)).solve(point(0.4)).flow
    solver = CoupledSolver(junction, Mixture(1.1, 1.5), "buoyant", [0.0, 0.0, 1.0], Settings(first_gravity=1.0))
    heavy = solver.solve(point(0.4)).flow
    assert np.abs(heavy.velocity.x.array - passive.velocity.x.array).max() > 0.05
    solver.flow.forget()
    rough = solver.rough_flow(point(0.4))
    assert passive.residual < 1e-8 < rough.residual < 1e-5 and rough.iterations < passive.iterations
    assert np.abs(rough.velocity.x.array - passive.velocity.x.array).max() < 1e-4


def test_properties_of_the_connector_matter_and_are_refused_in_words(junction):
    mixture = Mixture(1.1, 1.5)
    with pytest.raises(BadInput, match="direction of gravity"):
        CoupledSolver(junction, mixture, "buoyant")
    with pytest.raises(BadInput, match="mirror plane"):
        CoupledSolver(junction, mixture, "buoyant", [0.0, 1.0, 0.0])
    with pytest.raises(BadInput, match="no mode"):
        CoupledSolver(junction, mixture, "heavy")


def test_what_does_not_agree_says_so_with_its_history(junction):
    impatient = Settings(velocity=0.0, most=2)
    with pytest.raises(NotConverged, match=r"did not agree after 2 passes \(last: gravity 0"):
        solve_coupled(junction, point(0.4), Mixture(1.1, 1.5), "properties", settings=impatient)


def test_mixture_of_toluene_and_dmf():
    mixture = Mixture.of(LIQUIDS["toluene"], LIQUIDS["DMF"], 293.15)
    assert mixture.excess_density == pytest.approx(0.0948, abs=2e-4)
    assert mixture.viscosity_ratio == pytest.approx(1.478, abs=2e-3)
    assert mixture.log_viscosity(1.0) == pytest.approx(np.log(mixture.viscosity_ratio))
    assert mixture.log_viscosity(0.0) == 0 and mixture.density(0.0) == 1
    with pytest.raises(ValueError, match="viscosity ratio"):
        Mixture(1.0, 0.0)
