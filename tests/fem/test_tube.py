"""The tube after the junction, through the programs that users run."""

import math

import pytest

from twin.campaign.tube import Tube, run_tube
from twin.campaign.tube_worker import _known, returns
from twin.errors import BadInput
from twin.files import read_json
from twin.junction import bore_m
from twin.operating import OperatingPoint

pytestmark = pytest.mark.field


def test_the_record_of_a_point_holds_the_walkers_and_the_grid(tiny):
    _, results, _, point = tiny
    mixing = read_json(results.point(point.name) / "record.json")["mixing"]
    assert [plane["bores"] for plane in mixing["planes"]] == [1, 2, 3]
    assert all(0 < plane["error"] < 0.05 for plane in mixing["planes"])
    assert mixing["time"]["low"] < mixing["time"]["value"] < mixing["time"]["high"]
    assert set(mixing["species"]) == {"solvent", "polymer", "ions"}
    slow, middle, quick = (mixing["species"][name]["planes"][-1]["index"] for name in ("polymer", "ions", "solvent"))
    assert slow < middle < quick  # a hundred and three times less diffusion
    assert mixing["residence"]["precursor"]["mean"] > mixing["residence"]["antisolvent"]["mean"]
    # The grid's own diffusion is in its index.
    assert mixing["grid"]["planes"][-1]["index"] > mixing["planes"][-1]["index"] + 0.1
    assert not mixing["grid"]["planes"][-1]["quotable"]
    assert (results.point(point.name) / "histories.npz").exists()


def test_marching_goes_on_where_walkers_end(tiny):
    case, results, mesh, point = tiny
    tube = Tube(lengths=(0.01,), coils=(None, 0.03), start=2.0, places=1000)
    record = run_tube(case, "coarse", results, mesh, point, tube, 2, lambda event: None)
    walkers = {plane["bores"]: plane for plane in record["walkers"]}
    straight, coiled = record["tubes"]
    assert straight["coil_m"] is None
    assert coiled["dean"] == pytest.approx(record["groups"]["reynolds"] * math.sqrt(bore_m(case) / 0.03))
    for one in record["tubes"]:
        start = one["stations"][0]
        assert start["bores"] == 2
        # The map of the plane, from walkers of its own, says what walkers there and back say.
        assert start["segregation"] == pytest.approx(walkers[2.0]["segregation"], abs=5 * walkers[2.0]["error"])
        assert all(0 < station["index_error"] < 0.01 for station in one["stations"])
        assert start["mean"] == pytest.approx(record["groups"]["precursor_fraction"], rel=0.02)
        index = [station["index"] for station in one["stations"]]
        assert index == sorted(index)
        assert all(abs(station["numerical_diffusion"]) < 0.2 for station in one["stations"][1:])
    assert coiled["stations"][-1]["index"] > straight["stations"][-1]["index"]  # Dean's flow stirs


@pytest.mark.parametrize(
    ("tube", "words"),
    [(Tube(lengths=(0.001,)), "ends before marching"), (Tube(coils=(0.005,)), "too tight")],
)
def test_a_tube_that_can_not_be(tiny, tube, words):
    case, results, mesh, point = tiny
    with pytest.raises(BadInput, match=words):
        run_tube(case, "coarse", results, mesh, point, tube, 1, lambda event: None)


def test_figures_below_the_noise_of_mixed_fields_are_left_out():
    assert _known(float("nan")) is None and _known(0.1) == 0.1


def test_a_point_that_is_not_solved(tiny):
    case, results, mesh, _ = tiny
    with pytest.raises(BadInput, match="is not solved"):
        run_tube(
            case, "coarse", results, mesh, OperatingPoint.from_ml_h(310, 60, 293.15), Tube(), 1, lambda event: None
        )


def test_thin_and_ill_known_streams_get_more_walkers():
    """Also where the sampled I_s is zero, or below."""
    streams = ((0.06, 0.6), (0.012, 0.2), (0.002, 0.07))  # c̄ and I_s of the paper's, five bores down
    asked = [returns(100_000, mean, segregation, 0.01) for mean, segregation in streams]
    assert asked == sorted(asked) and asked[0] < asked[-1]
    assert returns(100_000, 0.002, 0.07, 0.001) == 16  # the most
    assert all(returns(100_000, 0.002, segregation, 0.01) == 16 for segregation in (0.0, -0.01))
