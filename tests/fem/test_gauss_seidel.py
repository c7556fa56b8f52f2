import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from mpi4py import MPI
from petsc4py import PETSc

from twin.flow.gauss_seidel import GaussSeidel

pytestmark = pytest.mark.field

STEPS = 4


def a_matrix(nodes, width, seed=1):
    """Blocks of numbers that no sign or order is lost in, with unit rows and empty columns as of given velocities."""
    random = np.random.default_rng(seed)
    coupled = random.random((nodes, nodes)) < 0.5
    dense = np.kron(coupled, np.ones((width, width))) * random.standard_normal((nodes * width, nodes * width))
    blocks = np.kron(np.eye(nodes), np.ones((width, width)))
    dense = (1 - blocks) * dense + blocks * random.standard_normal(dense.shape) + 6 * np.eye(len(dense))
    given = random.random(len(dense)) < 0.1
    dense[given], dense[:, given] = 0.0, 0.0
    dense[given, given] = 1.0
    return dense


def of_petsc(dense, nodes_here, width, comm):
    matrix = PETSc.Mat().createAIJ(((nodes_here * width, None), (nodes_here * width, None)), comm=comm)
    first, last = matrix.getOwnershipRange()
    pattern = sp.kron(
        sp.csr_matrix(
            np.add.reduceat(
                np.add.reduceat(abs(dense), np.arange(0, len(dense), width), 0), np.arange(0, len(dense), width), 1
            )
        ),
        np.ones((width, width)),
    )
    rows = pattern.tocsr()[first:last]
    values = dense[first + np.repeat(np.arange(last - first), np.diff(rows.indptr)), rows.indices]
    matrix.setBlockSize(width)
    matrix.setPreallocationCSR((rows.indptr.astype(np.int32), rows.indices.astype(np.int32), values))
    matrix.assemble()
    return matrix.convert("baij")


def reference(dense, right, width, starts, steps=STEPS):
    """By the book, in double precision: the smallest residual, measured after (D + L)⁻¹, in the Krylov space of the
    symmetric sweeps P = (D + L) D⁻¹ (D + U) of each rank."""
    node = np.arange(len(dense)) // width
    rank = np.searchsorted(starts, node, side="right")
    own = rank[:, None] == rank
    diagonal = np.where(node[:, None] == node, dense, 0)
    forth = diagonal + np.where(own & (node[:, None] > node), dense, 0)
    back = diagonal + np.where(own & (node[:, None] < node), dense, 0)
    space = [np.linalg.solve(back, diagonal @ np.linalg.solve(forth, right))]
    for _ in range(steps - 1):
        new = np.linalg.solve(back, diagonal @ np.linalg.solve(forth, dense @ space[-1]))
        space.append(new / np.linalg.norm(new))
    basis = np.linalg.qr(np.array(space).T)[0]
    best = np.linalg.lstsq(np.linalg.solve(forth, dense @ basis), np.linalg.solve(forth, right), rcond=None)[0]
    return basis @ best


def check(comm, width, scale):
    here = 20 + 3 * comm.rank
    starts = np.cumsum(comm.allgather(here))
    dense = a_matrix(int(starts[-1]), width)
    matrix = of_petsc(dense, here, width, comm)
    smoother = GaussSeidel(matrix, STEPS)
    right = scale * np.random.default_rng(2).standard_normal(len(dense))
    vector = matrix.createVecLeft()
    first, last = vector.getOwnershipRange()
    vector.array[:] = right[first:last]
    into = vector.duplicate()
    smoother.update()
    smoother.solve(vector, into)
    expected = reference(dense, right, width, starts)
    found = np.concatenate(comm.allgather(into.array))
    assert np.linalg.norm(right - dense @ expected) > 1e-3 * np.linalg.norm(right)  # it is no exact solution
    assert np.linalg.norm(found - expected) < 2e-5 * np.linalg.norm(expected)
    matrix.scale(2.0)
    smoother.update()
    smoother.solve(vector, into)
    assert np.linalg.norm(np.concatenate(comm.allgather(into.array)) - expected / 2) < 2e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_it_is_gmres_with_symmetric_sweeps(width, scale):
    check(MPI.COMM_SELF, width, scale)


@pytest.mark.parametrize("ranks", [2, 3])
def test_on_ranks_the_sweeps_are_their_own_and_the_product_is_of_all(ranks):
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    command = [launcher, "-n", str(ranks), sys.executable, __file__]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=alone, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_an_exact_sweep_ends_it_and_nothing_stays_nothing():
    matrix = of_petsc(3 * np.eye(30), 10, 3, MPI.COMM_SELF)
    smoother = GaussSeidel(matrix, STEPS)
    smoother.update()
    right = matrix.createVecLeft()
    into = right.duplicate()
    right.array[:] = np.arange(30)
    smoother.solve(right, into)
    assert np.allclose(into.array, np.arange(30) / 3, rtol=1e-6)
    right.set(0.0)
    smoother.solve(right, into)
    assert not into.array.any()


if __name__ == "__main__":
    for width in (2, 3):
        check(MPI.COMM_WORLD, width, 1.0)
