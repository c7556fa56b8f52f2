from types import SimpleNamespace

import numpy as np
import pytest
from mpi4py import MPI

from twin.errors import NotConverged
from twin.fem import storage
from twin.flow import SteadySolver, steady
from twin.verification.flow import checks, streams

pytestmark = pytest.mark.field


def test_the_outlet_carries_poiseuille_flow():
    for check in checks():
        assert check.holds, check


def test_a_stored_field_is_a_solution_when_it_is_read_back(small, tmp_path):
    domain, solution = small
    velocity = storage.nodal(domain, solution.velocity)
    pressure = storage.nodal(domain, storage.quadratic(domain, solution.pressure))
    solver = SteadySolver(domain)
    solver.start_from_nodal(velocity, pressure, 100.0)
    again = solver.solve(100.0, streams(domain, 0.06))
    assert again.iterations <= 1
    assert again.pressure_drop["antisolvent"] == pytest.approx(solution.pressure_drop["antisolvent"], rel=1e-9)


def test_marching_reaches_the_same_state_as_newton(small, monkeypatch):
    domain, solution = small
    solver = SteadySolver(domain)

    def refuse(reynolds):
        raise NotConverged("Newton is switched off")

    monkeypatch.setattr(solver, "_continue_to", refuse)
    marched = solver.solve(100.0, streams(domain, 0.06))
    assert marched.status == "marched" and solution.status == "steady"
    assert marched.pressure_drop["antisolvent"] == pytest.approx(solution.pressure_drop["antisolvent"], rel=1e-7)


def test_what_does_not_converge_is_an_error_in_words(small, monkeypatch):
    domain, _ = small
    monkeypatch.setattr(steady, "MOST_MARCH", 3)
    with pytest.raises(NotConverged, match="no steady flow was found at Re 100") as caught:
        SteadySolver(domain).solve(100.0, streams(domain, 0.06), enough=0.0)
    assert "finer level" in caught.value.remedy


@pytest.mark.parametrize(
    ("norms", "steps"),
    [([4, 1, 2, 3, 2, 2, 1e-9], 5), ([4, 5, 6, 5, 1, 2, 1e-9], 6), ([4, 1, np.nan, 1e-9], 2), ([4, 1, 51, 1e-9], 2)],
)
def test_newton_goes_on_while_it_gains_within_four_steps(small, monkeypatch, norms, steps):
    """Where it gives up, its best state is left, from which one can march."""
    solver, left, taken = SteadySolver(small[0]), iter(norms), []
    residual = lambda: SimpleNamespace(norm=lambda: float(next(left)), destroy=lambda: None)  # noqa: E731
    monkeypatch.setattr(solver, "_assemble_residual", residual)

    def change(residual):
        taken.append(residual)
        solver.state.x.array[:] = len(taken)

    monkeypatch.setattr(solver, "_change_by", change)
    if steps < len(norms) - 1:
        with pytest.raises(NotConverged, match="did not converge"):
            solver._newton("Re 100", 1e-8)
        assert solver.state.x.array[0] == np.nanargmin(norms[: steps + 1])
    else:
        assert solver._newton("Re 100", 1e-8) == norms[-1]
    assert len(taken) == steps


def test_flow_ratios_mirror(small):
    """The Y is symmetric in its arms: exchanging the shares exchanges the pressure drops."""
    domain, _ = small
    solver = SteadySolver(domain)
    one, other = solver.solve(50.0, streams(domain, 0.25)), solver.solve(50.0, streams(domain, 0.75))
    assert one.pressure_drop["antisolvent"] == pytest.approx(other.pressure_drop["precursor"], rel=2e-2)
    assert one.pressure_drop["precursor"] == pytest.approx(other.pressure_drop["antisolvent"], rel=2e-2)


def test_nodal_values_are_those_of_the_function(small):
    domain, solution = small
    assert domain.comm.size == MPI.COMM_SELF.size
    values = storage.nodal(domain, solution.velocity)
    assert values.shape == (domain.mesh.geometry.x.shape[0], 3)
    assert np.abs(values).max() == pytest.approx(np.abs(solution.velocity.x.array).max())


def test_the_iterative_path_reaches_the_same_flow_as_the_direct_one(small):
    domain, solution = small
    solver = SteadySolver(domain, linear="iterative")
    again = solver.solve(100.0, streams(domain, 0.06))
    assert again.status == "steady"
    assert again.pressure_drop["antisolvent"] == pytest.approx(solution.pressure_drop["antisolvent"], rel=1e-7)


def test_where_the_iterations_stall_factors_take_over_and_the_flow_is_the_same(small, monkeypatch):
    (domain, direct), told = small, []
    monkeypatch.setattr("twin.flow.steady.LEAST_ITERATIVE", 0)
    monkeypatch.setattr("twin.flow.preconditioner.MOST_ITERATIONS", 2)
    solver = SteadySolver(domain, watch=told.append)
    assert solver.linear == "iterative"
    fallen_back = solver.solve(100.0, streams(domain, 0.06))
    assert solver.linear == "direct" and any("factors of the whole" in line for line in told)
    assert fallen_back.pressure_drop["antisolvent"] == pytest.approx(direct.pressure_drop["antisolvent"], rel=1e-7)
    monkeypatch.setattr("twin.flow.steady.MOST_DIRECT", 0)
    with pytest.raises(NotConverged):  # too large for factors: no number
        SteadySolver(domain).solve(100.0, streams(domain, 0.06))


def test_iterations_that_stall_between_two_reynolds_numbers_shorten_the_step(small, monkeypatch):
    domain, _ = small
    solver = SteadySolver(domain, linear="iterative")
    solver.solve(50.0, streams(domain, 0.06))
    tried, newton = [], solver._newton

    def hard(what, enough):
        tried.append(what)
        if tried == ["Re 100"]:
            solver.state.x.array[:] = np.nan  # as far from any flow as can be
            raise steady.Stalled("the iterations stopped")
        return newton(what, enough)

    monkeypatch.setattr(solver, "_newton", hard)
    assert solver.solve(100.0, streams(domain, 0.06)).status == "steady"
    assert tried == ["Re 100", "Re 75", "Re 100"]


def test_factors_begin_where_the_iterations_did(small, monkeypatch):
    """A march that stalls, too, leaves a state that is no flow; the factors must not start from it."""
    domain, _ = small
    solver, told = SteadySolver(domain, linear="iterative"), []
    solver.solve(50.0, streams(domain, 0.06))
    good = solver.state.x.array.copy()
    solver._may_factor = True

    def found(reynolds):
        told.append(solver.state.x.array.copy())
        solver.state.x.array[:], solver._reached = 1e3, 70.0
        if len(told) == 1:
            raise steady.Stalled("the march stopped")
        return "steady", 0.0

    monkeypatch.setattr(solver, "_found", found)
    solver.solve(100.0, streams(domain, 0.06))
    assert np.array_equal(told[1], good) and solver.linear == "direct"
