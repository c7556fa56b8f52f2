import numpy as np
import pytest

from twin.verification import benchmarks

pytestmark = pytest.mark.field


def test_the_manufactured_solution_converges_at_the_orders_of_the_elements():
    for check in benchmarks._orders(2, 8, 16):
        assert check.holds, check


@pytest.mark.slow
def test_the_steady_solver_meets_its_benchmarks():
    for check in benchmarks.checks():
        assert check.holds, check


def test_whites_friction_is_that_of_a_straight_pipe_at_his_lower_limit():
    assert benchmarks.white_friction(11.6) == pytest.approx(1.0)
    assert np.all(np.diff([benchmarks.white_friction(de) for de in (20, 50, 100, 500)]) > 0)
