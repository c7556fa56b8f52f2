import os
import subprocess
import sys

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

from twin.case.schema import Level
from twin.errors import BadInput, NotConverged
from twin.fem.domain import Domain, read_domain
from twin.flow import Boundaries, TransientSolver, transient
from twin.flow.inlets import history
from twin.flow.projection import Projection
from twin.meshing.build import mesh_connector
from twin.verification.flow import small_connector, streams

pytestmark = pytest.mark.field


def outflow(domain, state, name="outlet"):
    return domain.integral(ufl.dot(state.velocity, ufl.FacetNormal(domain.mesh)) * domain.ds(name))


def channel(across=4):
    """A channel of height 1 and length 2 in 2-D."""
    mesh = dmesh.create_rectangle(
        MPI.COMM_SELF,
        [np.zeros(2), np.array([2.0, 1.0])],
        [2 * across, across],
        ghost_mode=dmesh.GhostMode.shared_facet,
    )
    mesh.topology.create_connectivity(1, 2)
    places = {
        "inlet": lambda x: np.isclose(x[0], 0),
        "outlet": lambda x: np.isclose(x[0], 2),
        "floor": lambda x: np.isclose(x[1], 0),
        "lid": lambda x: np.isclose(x[1], 1),
    }
    found = [dmesh.locate_entities_boundary(mesh, 1, place) for place in places.values()]
    facets = np.concatenate(found)
    values = np.repeat(np.arange(1, 5, dtype=np.int32), [len(one) for one in found])
    sort = np.argsort(facets)
    return Domain(
        mesh, dmesh.meshtags(mesh, 1, facets[sort], values[sort]), dict(zip(places, range(1, 5), strict=True))
    )


COUETTE = Boundaries({}, {"outlet": 2.0}, {"floor": (), "lid": (1.0, 0.0)})


def linear(time):
    return lambda x: np.array([x[1], 0 * x[1]])


def test_a_steady_flow_stays_what_it_is(small):
    domain, steady = small
    solver = TransientSolver(domain)
    solver.start(steady.velocity, steady.pressure)
    rates = []
    state = solver.advance(100.0, streams(domain, 0.06), 4.0, each=lambda state: rates.append(state.rate))
    assert rates[-1] < 0.05 * rates[0] and rates[-1] < 2e-3
    area = {name: domain.area(name) for name in ("antisolvent", "outlet")}
    mean = {name: domain.integral(state.pressure * domain.ds(name)) / area[name] for name in area}
    # The steady solver has streamline diffusion on top; this is a very coarse mesh.
    assert mean["antisolvent"] - mean["outlet"] == pytest.approx(steady.pressure_drop["antisolvent"], rel=5e-3)


def test_flow_from_rest_comes_to_the_same_state(small):
    domain, steady = small
    solver = TransientSolver(domain)
    shares = streams(domain, 0.06)

    def ramp(time):
        return {name: flow * history([0.0, 1.0], [0.0, 1.0], time) for name, flow in shares.items()}

    state = solver.advance(100.0, ramp, 14.0, cfl=2.0)
    off = domain.integral(ufl.inner(state.velocity - steady.velocity, state.velocity - steady.velocity) * domain.dx())
    assert off < 1e-4 * 2 * state.kinetic_energy


def test_what_flows_in_flows_out_in_every_step(small):
    domain, _ = small
    shares = streams(domain, 0.1)

    def pulse(time):
        return {"antisolvent": shares["antisolvent"] * (1 + 0.3 * np.sin(6 * time)), "precursor": shares["precursor"]}

    losses = []

    def measure(state):
        came = sum(pulse(state.time).values())
        losses.append((outflow(domain, state) - came) / came)

    TransientSolver(domain).advance(100.0, pulse, 1.0, each=measure)
    assert len(losses) >= 10
    assert np.abs(losses).max() < 1e-8


def test_the_step_follows_the_cfl_number_and_is_kept(small):
    domain, steady = small
    solver = TransientSolver(domain)
    solver.start(steady.velocity, steady.pressure)
    seen = []
    solver.advance(100.0, streams(domain, 0.06), 2.0, cfl=0.5, each=lambda state: seen.append((state.step, state.cfl)))
    steps, crossed = np.array(seen).T
    assert crossed.max() < 0.5 * transient.OFF
    assert crossed[-1] > 0.5 / transient.OFF / transient.OFF
    assert len(np.unique(np.round(steps, 9))) <= 6
    assert (steps[1:] / steps[:-1]).max() < transient.GROWTH * 1.05
    assert solver.time == 2.0


def test_a_fixed_step_is_kept_and_ends_on_time(small):
    domain, _ = small
    steps = []
    state = TransientSolver(domain).advance(
        100.0, streams(domain, 0.06), 0.2, step=0.06, each=lambda state: steps.append(state.step)
    )
    assert steps == pytest.approx([0.05] * 4) and state.time == 0.2


def test_the_times_of_many_steps_are_no_sum_of_theirs(monkeypatch):
    """2,000 steps of 0.1: their sum is off by up to 7e-12. They solve nothing."""

    def still(self, length, at):
        self.time += length
        fields = self.velocity, self.pressure, self.change
        return transient.TransientState(self.time, length, *fields, 0.0, 0.0, 0.0, 0.0)

    monkeypatch.setattr(TransientSolver, "_advance_by", still)
    monkeypatch.setattr(transient, "COLLECT", 10_000)
    solver, times = TransientSolver(channel(1), COUETTE), []
    solver.advance(1.0, {}, 200.0, step=0.1, each=lambda state: times.append(state.time))
    assert times == pytest.approx(np.arange(1, 2001) / 10, rel=0, abs=1e-13) and times[-1] == solver.time == 200


def test_a_lid_drags_couette_flow_along_and_the_outlet_keeps_its_pressure():
    domain = channel()
    state = TransientSolver(domain, COUETTE, prescribed={"inlet": linear}).advance(10.0, {}, 15.0, step=0.1)
    exact = fem.Function(state.velocity.function_space)
    exact.interpolate(linear(0.0))
    assert np.abs(state.velocity.x.array - exact.x.array).max() < 1e-6
    assert np.abs(state.pressure.x.array - 2).max() < 1e-4
    assert state.rate < 1e-6


def test_a_body_force_along_a_channel_takes_the_place_of_a_pressure_drop():
    def poiseuille(time):
        return lambda x: np.array([4 * x[1] * (1 - x[1]), 0 * x[1]])

    still = Boundaries({}, {"outlet": 0.0}, {"floor": (), "lid": ()})
    solver = TransientSolver(
        channel(),
        still,
        prescribed={"inlet": poiseuille},
        force=lambda time: lambda x: np.array([0.8, 0.0])[:, None] + 0 * x[:2],
    )
    state = solver.advance(10.0, {}, 15.0, step=0.1)
    exact = fem.Function(state.velocity.function_space)
    exact.interpolate(poiseuille(0.0))
    assert np.abs(state.velocity.x.array - exact.x.array).max() < 1e-6
    assert np.abs(state.pressure.x.array).max() < 1e-4


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    return mesh_connector(small_connector(2), Level(wall_size=0.28, core_size=0.3), tmp_path_factory.mktemp("mesh"))


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from mpi4py import MPI
from twin.fem.domain import read_domain
from twin.fem.parallel import collect_in_step
from twin.fem.storage import nodal
from twin.flow import TransientSolver
from twin.verification.flow import streams
collect_in_step()
mesh, restart, result = map(Path, sys.argv[1:])
domain = read_domain(mesh, MPI.COMM_WORLD)
solver = TransientSolver(domain)
solver.restart(restart, mesh)
state = solver.advance(100.0, streams(domain, 0.1), 0.5, step=0.03)
values = nodal(domain, state.velocity)
if domain.comm.rank == 0:
    np.save(result, values)
"""


def test_a_restart_goes_on_with_the_same_numbers(on_disk, tmp_path):
    from twin.fem.storage import nodal

    domain = read_domain(on_disk.msh, MPI.COMM_SELF)
    solver = TransientSolver(domain)
    solver.advance(100.0, streams(domain, 0.1), 0.2, step=0.04)
    solver.save(tmp_path / "restart.npz", on_disk.msh)
    straight = nodal(domain, solver.advance(100.0, streams(domain, 0.1), 0.5, step=0.03).velocity)
    other = TransientSolver(domain)
    other.restart(tmp_path / "restart.npz", on_disk.msh)
    again = nodal(domain, other.advance(100.0, streams(domain, 0.1), 0.5, step=0.03).velocity)
    assert np.abs(again - straight).max() < 1e-10 * np.abs(straight).max()
    with np.load(tmp_path / "restart.npz") as file:  # of before, without what no step needs
        np.savez(tmp_path / "before.npz", **{name: file[name] for name in file if name != "change"})
    other.restart(tmp_path / "before.npz", on_disk.msh)
    again = nodal(domain, other.advance(100.0, streams(domain, 0.1), 0.5, step=0.03).velocity)
    assert np.abs(again - straight).max() < 1e-10 * np.abs(straight).max()
    command = ["mpirun", "-n", "2", sys.executable, "-c", PROGRAM]
    files = [on_disk.msh, tmp_path / "restart.npz", tmp_path / "two.npy"]
    done = subprocess.run(
        [*command, *map(str, files)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    two = np.load(tmp_path / "two.npy")
    assert np.abs(two - straight).max() < 1e-10 * np.abs(straight).max()


def test_a_restart_of_another_mesh_or_a_damaged_one_is_refused(on_disk, small, tmp_path):
    domain, _ = small
    other = TransientSolver(read_domain(on_disk.msh, MPI.COMM_SELF))
    other.save(tmp_path / "restart.npz", on_disk.msh)
    with pytest.raises(BadInput, match="belongs to another mesh"):
        TransientSolver(domain).restart(tmp_path / "restart.npz")
    damaged = (tmp_path / "restart.npz").read_bytes()[:200]
    (tmp_path / "restart.npz").write_bytes(damaged)
    with pytest.raises(BadInput, match="can't read the restart file"):
        other.restart(tmp_path / "restart.npz")


def test_what_does_not_converge_is_an_error_in_words(small, monkeypatch):
    domain, _ = small
    monkeypatch.setattr("twin.fem.linear.MOST_ITERATIONS", 1)
    with pytest.raises(NotConverged, match="was not solved: no convergence after 1 iterations, at time") as caught:
        TransientSolver(domain).advance(100.0, streams(domain, 0.06), 0.2, step=0.1)
    assert "smaller CFL number" in caught.value.remedy


def test_a_flow_that_blows_up_says_so_with_its_history(small, monkeypatch):
    domain, _ = small
    monkeypatch.setattr(transient, "BLOWN_UP", 1e-3)
    with pytest.raises(NotConverged, match=r"blew up at time 0\.1 \(t 0\.1: largest speed"):
        TransientSolver(domain).advance(100.0, streams(domain, 0.06), 0.2, step=0.1)


def test_flow_that_pressure_drives_from_rest_does_not_blow_up():
    """Nothing moves at the boundaries; the flow comes to Poiseuille's Re Δp/(2 length) y (1 − y)."""
    driven = Boundaries({}, {"inlet": 1.0, "outlet": 0.0}, {"floor": (), "lid": ()})
    state = TransientSolver(channel(), driven).advance(0.1, {}, 1.0, step=0.01)
    assert state.velocity.x.array.max() == pytest.approx(0.1 / 16, rel=1e-2)


@pytest.mark.parametrize("boundaries", ["an inlet", "a pressure"])
def test_a_divergence_is_caught_within_a_few_steps(monkeypatch, boundaries):
    """A scheme whose interior doubles in every step, as nothing at the boundaries explains."""
    walls = {"floor": (), "lid": ()}
    driven = {
        "an inlet": Boundaries({"inlet": "developed"}, {"outlet": 0.0}, walls),
        "a pressure": Boundaries({}, {"inlet": 1.0, "outlet": 0.0}, walls),
    }[boundaries]
    project, steps = Projection.project, []

    def doubled(self, *arguments):
        velocity, gained = project(self, *arguments)
        return 2 * velocity, gained

    monkeypatch.setattr(Projection, "project", doubled)
    with pytest.raises(NotConverged, match="blew up at time"):
        TransientSolver(channel(), driven).advance(100.0, {"inlet": 1.0}, 10.0, step=1e-3, each=steps.append)
    assert 2 < len(steps) < 20


def test_nan_is_an_error_in_words():
    solver = TransientSolver(channel(), COUETTE, force=lambda time: lambda x: np.full((2, x.shape[1]), np.nan))
    with pytest.raises(NotConverged, match=r"NaN or infinite values|blew up"):
        solver.advance(10.0, {}, 1.0, step=0.1)


def test_bad_wishes_are_refused(small):
    domain, _ = small
    solver = TransientSolver(domain)
    with pytest.raises(BadInput, match="has no flow"):
        solver.advance(100.0, {"antisolvent": 1.0}, 1.0)
    with pytest.raises(BadInput, match="must be positive"):
        solver.advance(100.0, streams(domain, 0.06), 1.0, cfl=0.0)
    with pytest.raises(BadInput, match="at time 0 already"):
        solver.advance(100.0, streams(domain, 0.06), 0.0)
