"""The estimates of a point's record where the streams are all but mixed, or all but apart."""

import pytest

from twin.campaign.walks import _estimates
from twin.mixing import Segregation

pytestmark = pytest.mark.field


@pytest.mark.parametrize("last", [-0.001, 0.0, 1e-6, 0.4, 0.999])
def test_estimates_stay_within_bounds(last):
    found = [Segregation(1.0, 0.99, 0.005), Segregation(2.0, last, 0.005)]
    estimates = _estimates(found, 0.01, 0.01)
    index, tau = estimates["index_outlet"], estimates["time"]
    assert 0 <= index["low"] <= index["value"] <= index["high"] <= 1
    assert 0 < tau["low"] < tau["value"] < tau["high"] < float("inf")


@pytest.mark.parametrize("apart", [1.0, 1.002])
def test_streams_that_stay_apart_have_a_long_mixing_time(apart):
    """With next to no diffusion no walker finds the other stream: the right limit, not a failure."""
    time = _estimates([Segregation(float(k), apart, 1e-3) for k in (1, 2, 3)], 0.01, 0.001)["time"]
    assert 10 < time["value"] < 100 and time["high"] > 4 * time["value"]


def test_a_sample_beyond_one_is_unmixed():
    found = [Segregation(1.0, 0.9, 0.005), Segregation(2.0, 1.001, 0.005)]
    assert _estimates(found, 0.01, 0.01)["index_outlet"]["value"] == 0
