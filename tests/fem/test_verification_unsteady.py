import numpy as np
import pytest

from twin.verification import unsteady
from twin.verification.unsteady import checks, exact_pressure, exact_velocity, heavy_checks

pytestmark = pytest.mark.field


def test_the_exact_solution_solves_navier_stokes():
    viscosity, time, h = 0.3, 0.37, 1e-3
    points = np.random.default_rng(1).uniform(-1, 1, (3, 40))

    def slope(f, axis):
        e = np.zeros((3, 1))
        e[axis] = h
        return lambda x: (8 * (f(x + e) - f(x - e)) - (f(x + 2 * e) - f(x - 2 * e))) / (12 * h)

    def velocity(x, at=time):
        return np.array(exact_velocity(x, at, viscosity))

    change = (velocity(points, time + h) - velocity(points, time - h)) / (2 * h)
    gradient = [slope(velocity, axis) for axis in range(3)]
    convection = sum(velocity(points)[axis] * gradient[axis](points) for axis in range(3))
    friction = viscosity * sum(slope(gradient[axis], axis)(points) for axis in range(3))
    push = np.array([slope(lambda x: exact_pressure(x, time, viscosity), axis)(points) for axis in range(3)])
    assert np.abs(change + convection - friction + push).max() < 1e-6 * np.abs(convection).max()
    assert np.abs(sum(gradient[axis](points)[axis] for axis in range(3))).max() < 1e-9


def test_the_quick_checks_hold():
    for check in checks():
        assert check.holds, check


def test_a_first_order_scheme_would_not_pass(monkeypatch):
    """The check of the order can fail: implicit Euler, which every first step is, has order one."""
    advance = unsteady.TransientSolver.advance

    def forgetful(self, *arguments, **options):
        self._last = 0.0
        return advance(self, *arguments, **options)

    monkeypatch.setattr(unsteady.TransientSolver, "advance", forgetful)
    assert unsteady.order(unsteady.differences_in_time(unsteady.COUNTS, 1.0, 0.5)) < 1.3


@pytest.mark.slow
def test_the_heavy_checks_hold():
    for check in heavy_checks():
        assert check.holds, check
