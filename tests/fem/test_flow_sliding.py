"""Walls that slide in an open flow: what they drag in at inlets, and what they may do."""

import numpy as np
import pytest
from flow_cases import CHANNEL, channel, solved

pytestmark = pytest.mark.field

#: A channel 1 mm high whose top slides with 10 mm/s: half of it is the mean speed of Couette's flow.
COUETTE = CHANNEL.replace(
    'walls = ["bottom", "top"]', 'walls = { bottom = {}, top = { velocity = ["10 mm/s", "0 mm/s"] } }'
).replace('forces = ["bottom"]', 'forces = ["bottom", "top"]')
SHEAR = 1e-3 * 10e-3 / 1e-3  # Pa: viscosity times speed over height


def assert_couette(record):
    """Couette's flow: 5e-6 m²/s, no pressure drop, the same shear on both walls."""
    assert record["boundaries"]["out"]["flow"] == pytest.approx(5e-6)
    assert record["boundaries"]["in"]["pressure_drop_pa"] == pytest.approx(0, abs=1e-7 * SHEAR)
    force = [record["forces"][name]["force"][0] for name in ("bottom", "top")]
    assert force == pytest.approx([2e-3 * SHEAR, -2e-3 * SHEAR], rel=1e-6)
    line = record["lines"]["across"]
    expected = 10 * np.array(line["at_m"])[:, 1]
    assert np.array(line["velocity_m_s"])[:, 0] == pytest.approx(expected, abs=1e-9)


def test_a_profile_in_m_s_beside_a_sliding_wall_is_what_it_says(case_of):
    given = 'formula = "0.01*y"\nscale = false'
    (record,) = solved(case_of(COUETTE, ('mean_velocity = "10 mm/s"', given)))
    assert_couette(record)
    assert record["reference"]["velocity_m_s"] == pytest.approx(5e-3)
    (twice,) = solved(case_of(COUETTE, ('mean_velocity = "10 mm/s"', given)), scales=(2.0,))
    assert twice["boundaries"]["out"]["flow"] == pytest.approx(1e-5)
