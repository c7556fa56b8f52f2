import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.campaign.record import mixing_record
from twin.case import load
from twin.errors import TwinError
from twin.mixing import mixing_along, mixing_time
from twin.operating import OperatingPoint

from .test_case import PAPER


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


def test_the_mixing_time_of_an_exponential_decay():
    times = [0.1 * k for k in range(1, 11)]
    found = mixing_time(times, [math.exp(-2 * t / 0.37) for t in times])
    assert found.tau == pytest.approx(0.37) and found.log_error < 1e-12


def test_no_decay_has_no_mixing_time():
    with pytest.raises(ValueError, match="does not fall"):
        mixing_time([1, 2], [1.0, 1.0])


def test_the_bracket_holds_the_estimate_and_an_open_flux_is_refused():
    case, point = load(PAPER), OperatingPoint.from_ml_h(5000, 60)
    mean = point.precursor_fraction
    planes = mixing_along([plane(k, mean, 0.8**k, 0.01, 1 - 0.8) for k in (1, 2, 3)], mean)
    record = mixing_record(case, point, planes)
    tau, index = record["time"], record["index_outlet"]
    assert tau["low"] <= tau["value"] <= tau["high"] and tau["label"] == "bounded"
    assert index["high"] == pytest.approx(1 - math.sqrt(0.8**3))
    with pytest.raises(TwinError, match="does not close"):
        mixing_record(case, point, mixing_along([plane(1, mean * 1.01, 0.5, 0.1, 0.4)], mean))
