import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.campaign.record import grid_record
from twin.errors import TwinError
from twin.mixing import Segregation, exposure, mixing_along, mixing_time, residence, striations, there_and_back
from twin.operating import OperatingPoint


def plane(bores, mean, segregation, physical, numerical, flow=0.4):
    unmixed = flow * mean * (1 - mean)
    return SimpleNamespace(
        bores=bores,
        flow=flow,
        flux=flow * mean,
        square_flux=flow * mean**2 + segregation * unmixed,
        physical=physical * unmixed / 2,
        numerical=numerical * unmixed / 2,
    )


@given(st.floats(1e-3, 0.5), st.floats(0.0, 1.0))
def test_the_index_runs_from_unmixed_to_mixed(mean, segregation):
    [found] = mixing_along([plane(1, mean, segregation, 0.1, 0.1)], mean)
    assert found.segregation == pytest.approx(segregation, abs=1e-9)
    assert found.index == pytest.approx(1 - math.sqrt(segregation), abs=1e-4)
    assert found.flux_error == pytest.approx(0, abs=1e-12)


def test_an_index_that_is_the_scheme_s_own_is_not_quotable():
    first, second = mixing_along([plane(1, 0.1, 0.8, 0.19, 0.01), plane(2, 0.1, 0.5, 0.1, 0.2)], 0.1)
    assert first.quotable and not second.quotable
    assert second.numerical_diffusion == pytest.approx(2)
    assert second.segregation_physical == pytest.approx(1 - 0.29)


def test_what_the_scheme_mixed_upstream_stays_in_the_index():
    """A resolved stretch behind one where numerical diffusion did most of the mixing."""
    planes = [plane(1, 0.1, 0.6, 0.1, 0.3), plane(2, 0.1, 0.5, 0.1, 0.005)]
    last = mixing_along(planes, 0.1)[-1]
    assert last.numerical_diffusion == pytest.approx(0.05)
    assert last.numerical_before == pytest.approx(0.305 / 0.2) and not last.quotable


def test_the_mixing_time_of_an_exponential_decay():
    times = [0.1 * k for k in range(1, 11)]
    found = mixing_time(times, [math.exp(-2 * t / 0.37) for t in times])
    assert found.tau == pytest.approx(0.37) and found.log_error < 1e-12


def test_the_error_of_a_mixing_time_holds_the_scatter_and_the_errors_of_the_planes():
    times = [0.1 * k for k in range(1, 11)]
    values = [math.exp(-2 * t / 0.37) for t in times]
    assert mixing_time(times, values, [0.01 * value for value in values]).log_error > 1e-4
    assert mixing_time(times, [value * (1.1 if k % 2 else 0.9) for k, value in enumerate(values)]).log_error > 1e-3


def test_no_decay_has_no_mixing_time():
    with pytest.raises(ValueError, match="does not fall"):
        mixing_time([1, 2], [1.0, 1.0])


def test_the_grid_keeps_its_bound_and_an_open_flux_is_refused():
    mean = OperatingPoint.from_ml_h(5000, 60).precursor_fraction
    planes = mixing_along([plane(k, mean, 0.8**k, 0.01, 1 - 0.8) for k in (1, 2, 3)], mean)
    record = grid_record(planes, -0.5, 1.5)
    assert [found["bores"] for found in record["planes"]] == [1, 2, 3]
    assert record["planes"][-1]["index"] == pytest.approx(1 - math.sqrt(0.8**3))
    assert (record["lowest"], record["highest"]) == (-0.5, 1.5)
    with pytest.raises(TwinError, match="does not close"):
        grid_record(mixing_along([plane(1, mean * 1.01, 0.5, 0.1, 0.4)], mean), 0, 1)


@pytest.mark.parametrize("segregation", [0.9, 0.2, 0.0])
def test_walkers_there_and_back_find_the_segregation_within_their_error(segregation):
    mean, count, rng = 0.1, 20_000, np.random.default_rng(3)
    returned = rng.random(count) < mean + segregation * (1 - mean)
    ones, walker = np.ones(count), np.arange(count)
    [found] = there_and_back([2.0], count, mean, walker, np.zeros(count, int), ones, returned)
    assert found.bores == 2 and abs(found.segregation - segregation) < 4 * found.error
    assert found.error == pytest.approx(float(returned.std()) / (0.9 * math.sqrt(count)))
    assert found.index == 1 - math.sqrt(max(found.segregation, 0.0)) and math.isfinite(found.index_error)


def test_crossings_back_through_a_plane_are_taken_off():
    """One walker crosses the first plane forth, back and forth again; another one once; nobody reaches the second."""
    walker, where = np.array([0, 0, 0, 1]), np.zeros(4, int)
    direction, returned = np.array([1.0, -1.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0, 1.0])
    first, second = there_and_back([1.0, 2.0], 2, 0.5, walker, where, direction, returned)
    assert first.segregation == pytest.approx((0.5 - 0.5) / 0.5)
    assert first.error > 0 and second.segregation == pytest.approx(-1.0)


def test_striations_follow_from_the_fall_of_the_segregation():
    """An exponential fall over a length has one thickness everywhere; a fall within its error has none."""
    peclet, length = 1e4, 20.0
    planes = [Segregation(float(k), math.exp(-2 * k / length), 1e-4) for k in range(1, 5)]
    found = striations(planes, peclet)
    assert [one.bores for one in found] == [1.5, 2.5, 3.5]
    for one in found:
        assert one.thickness == pytest.approx(math.sqrt(length / peclet), rel=1e-3) and one.error < 1e-3
    assert striations([Segregation(1.0, 0.5, 0.1), Segregation(2.0, 0.45, 0.1)], peclet) == []


def test_residence_and_exposure_of_known_histories():
    times = np.linspace(0, 2, 20_001)
    found = residence(times)
    assert found.mean == pytest.approx(1) and found.deviation == pytest.approx(2 / math.sqrt(12), rel=1e-3)
    assert found.skewness == pytest.approx(0, abs=1e-6) and found.quantiles[2] == pytest.approx(1)
    time = np.tile(np.arange(5.0), (3, 1))
    share = np.array([[1, 1, 0.75, 0.5, 0.25], [1, 1, 1, 0.75, np.nan], [1, 1, 1, 1, 1]])
    half, most = exposure(time, share, (0.5, 0.9))
    assert half.reached == pytest.approx(1 / 3) and most.reached == 0
    assert half.quantiles[0] == pytest.approx(3 - 1.04) and half.quantiles[-1] is None
    assert most.quantiles == (None,) * 5
