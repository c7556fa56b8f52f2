import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from dolfinx.fem import petsc
from mpi4py import MPI
from petsc4py import PETSc

from twin.errors import BadInput, NotConverged
from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.linear import DirectSolver
from twin.flow import SteadySolver, preconditioner
from twin.flow.boundaries import Boundaries
from twin.flow.momentum import momentum
from twin.flow.preconditioner import IterativeSolver
from twin.flow.warm import transfer
from twin.verification.flow import small_connector, small_domain, streams

pytestmark = pytest.mark.field


class Step:
    """A Newton step to take at Re 300, from a flow at Re 100 or one carried over from another mesh."""

    def __init__(self, domain, old=None, boundaries=None, flows=None):
        self.steady = steady = SteadySolver(domain, boundaries)
        if old is None:
            steady.solve(100.0, flows or streams(domain, 0.06))
        else:
            for part in (0, 1):
                space, indices = steady.space.sub(part).collapse()
                field = fem.Function(space)
                transfer(old.steady.state.sub(part).collapse(), field)
                steady.state.x.array[indices] = field.x.array
        steady.viscosity.value = 1 / 300
        self.state, self.conditions = steady.state, steady.conditions
        self.inertia, before = fem.Constant(domain.mesh, 0.0), fem.Function(steady.velocities)
        self.solver = IterativeSolver(
            domain, steady.boundaries, steady.space, steady.fluid, lambda u: self.inertia * (u - before), self.inertia
        )
        (u, p), (v, q) = ufl.split(self.state), ufl.TestFunctions(steady.space)
        change = self.inertia * (u - before)
        residual = momentum(domain, steady.boundaries, u, p, v, q, steady.fluid, change, rate=self.inertia)
        self._residual, self._jacobian = compiled(residual), compiled(ufl.derivative(residual, self.state))

    def right(self):
        vector = petsc.assemble_vector(self._residual)
        vector.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        for condition in self.conditions:
            dofs, owned = condition.dof_indices()
            vector.array[dofs[:owned]] = 0.0
        return vector

    def matrix(self):
        return _compat.assemble_matrix(self._jacobian, self.conditions)


@pytest.fixture(scope="module")
def step(small):
    return Step(small[0])


@pytest.fixture(scope="module")
def channel():
    """In 2-D: in at the left, out at the right and at the end of the top, which is a mirror plane; a moving bottom."""
    mesh = dmesh.create_rectangle(MPI.COMM_SELF, [(0.0, 0.0), (3.0, 1.0)], [18, 6], dmesh.CellType.triangle)
    mesh.topology.create_connectivity(1, 2)
    places = {
        "in": lambda x: np.isclose(x[0], 0),
        "out": lambda x: np.isclose(x[0], 3),
        "drain": lambda x: np.isclose(x[1], 1) & (x[0] > 2 - 1e-9),
        "mirror": lambda x: np.isclose(x[1], 1) & (x[0] < 2 + 1e-9),
        "belt": lambda x: np.isclose(x[1], 0),
    }
    found = [dmesh.locate_entities_boundary(mesh, 1, where) for where in places.values()]
    facets = np.concatenate(found)
    values = np.repeat(np.arange(1, len(found) + 1, dtype=np.int32), [len(part) for part in found])
    order = np.argsort(facets)
    tags = {name: number for number, name in enumerate(places, 1)}
    domain = Domain(mesh, dmesh.meshtags(mesh, 1, facets[order], values[order]), tags)
    boundaries = Boundaries({"in": "plug"}, {"out": 0.0, "drain": 0.1}, {"belt": (0.3, 0.0)}, ("mirror",))
    return Step(domain, boundaries=boundaries, flows={"in": 1.0})


@pytest.mark.parametrize("which", ["step", "channel"])
def test_a_newton_step_is_that_of_the_direct_solver(which, request):
    step = request.getfixturevalue(which)
    for inertia in (3.0, 0.0):  # a step of the march in pseudo-time, and a steady one
        step.inertia.value = inertia
        right = step.right()
        direct, iterative = right.duplicate(), right.duplicate()
        with DirectSolver(step.matrix(), "a test") as exact:
            exact.solve(right, direct)
        step.solver.update(step.state)
        step.solver.solve(right, iterative, 1e-11)
        assert np.linalg.norm(iterative.array - direct.array) < 1e-8 * np.linalg.norm(direct.array)


def test_the_count_does_not_grow_on_a_finer_mesh(step):
    finer = Step(small_domain(small_connector(4), 0.16, 0.18, MPI.COMM_SELF), step)
    counts = []
    for one in (step, finer):
        right = one.right()
        one.solver.update(one.state)
        one.solver.solve(right, right.duplicate(), 1e-6)
        counts.append(one.solver.counts[-1])
    assert max(counts) <= 40
    assert counts[1] <= 1.5 * counts[0]


def test_failure_comes_in_words(step, monkeypatch):
    monkeypatch.setattr(preconditioner, "MOST_ITERATIONS", 3)
    right = step.right()
    step.solver.update(step.state)
    with pytest.raises(NotConverged, match="stopped after 3 iterations") as caught:
        step.solver.solve(right, right.duplicate(), 1e-10)
    assert "direct solver" in caught.value.remedy
    assert len(step.solver.history) == 4 and step.solver.history[-1] < step.solver.history[0]


def test_newton_converges_with_inexact_steps(step):
    step.steady.viscosity.value = 1 / 150
    step.solver.counts.clear()
    for _ in range(10):
        right = step.right()
        if right.norm() < 1e-9:
            break
        step.solver.update(step.state)
        change = right.duplicate()
        step.solver.solve(right, change)
        step.state.x.petsc_vec.axpy(-1.0, change)
        step.state.x.scatter_forward()
    assert step.right().norm() < 1e-9
    assert step.solver.counts[0] < max(step.solver.counts)  # the first step is the least exact


def test_it_can_be_freed(channel):
    """Last of those that use the channel."""
    channel.solver.update(channel.state)
    right = channel.right()
    channel.solver.solve(right, right.duplicate())
    channel.solver.destroy()


def test_a_field_is_carried_over_exactly_where_it_can_be():
    def field(x):
        return np.stack([x[0] ** 2 + x[1] * x[2], x[2] ** 2 - x[0], x[1] * x[0]])

    meshes = [dmesh.create_unit_cube(MPI.COMM_SELF, n, n, n) for n in (4, 5)]
    old, new = (fem.Function(fem.functionspace(mesh, ("Lagrange", 2, (3,)))) for mesh in meshes)
    old.interpolate(field)
    transfer(old, new)
    exact = fem.Function(new.function_space)
    exact.interpolate(field)
    assert np.abs(new.x.array - exact.x.array).max() < 1e-12


ON_RANKS = """
import numpy as np
from dolfinx import fem, mesh
from mpi4py import MPI
from twin.flow.warm import transfer
comm = MPI.COMM_WORLD
meshes = [mesh.create_unit_cube(comm, *numbers) for numbers in ((9, 2, 2), (2, 2, 7))]  # cut across x, and across z
old, new = (fem.Function(fem.functionspace(one, ("Lagrange", 2, (3,)))) for one in meshes)
field = lambda x: np.stack([x[0] ** 2 + x[1] * x[2], x[2] ** 2 - x[0], x[1] * x[0]])
old.interpolate(field)
transfer(old, new)
exact = fem.Function(new.function_space)
exact.interpolate(field)
assert np.abs(new.x.array - exact.x.array).max() < 1e-12
"""


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_field_is_carried_over_between_meshes_that_are_spread_differently(ranks):
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    command = [launcher, "-n", str(ranks), sys.executable, "-c", ON_RANKS]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=alone, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_a_field_of_another_domain_is_refused():
    meshes = [dmesh.create_unit_square(MPI.COMM_SELF, 3, 3) for _ in range(2)]
    meshes[1].geometry.x[:, 0] += 5.0
    old, new = (fem.Function(fem.functionspace(mesh, ("Lagrange", 1))) for mesh in meshes)
    with pytest.raises(BadInput, match="reaches out"):
        transfer(old, new)


def test_the_direct_solver_goes_on_after_a_matrix_without_an_inverse():
    """A Newton step that fails so is taken back, and the next one has another matrix of the same pattern."""
    matrix = PETSc.Mat().createAIJ((3, 3), nnz=3, comm=MPI.COMM_SELF)

    def filled(values):
        matrix.setValues(range(3), range(3), values)
        matrix.assemble()

    filled(np.ones((3, 3)))
    right, into = matrix.createVecs()
    right.set(1.0)
    solver = DirectSolver(matrix, "a test")
    for _ in range(2):
        with pytest.raises(NotConverged, match="the direct solver failed in a test"):
            solver.solve(right, into)
        solver.matrix_changed()
    good = np.eye(3) + 0.1
    filled(good)
    solver.matrix_changed()
    solver.solve(right, into)
    assert into.array == pytest.approx(np.linalg.solve(good, np.ones(3)))
