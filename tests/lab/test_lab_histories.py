"""Crystals by the histories of fluid elements: what they share with one zone, and what they add."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.case import Results
from twin.cli.main import main
from twin.crystal import Engulfment, History, Templates, averaged, crystallize, histories_of
from twin.crystal.verification import FAST
from twin.errors import BadInput, Missing
from twin.operating import OperatingPoint
from twin.process import ProcessModel, save_calibration
from twin.process.histories import compare_histories, read_point
from twin.surrogate import save_surrogate

FEED, SHARE = 3.996, 60 / 1060
ZONE = Engulfment.from_mixing_time(SHARE, 0.3)
POINT = OperatingPoint.from_ml_h(1000, 60)


def sampled(zone: Engulfment, end: float = 0.8, count: int = 400) -> History:
    """An element that meets what the zone says, up to a time."""
    times = np.linspace(0, end, count + 1)[1:]
    return History.of_samples(
        times, np.array([zone.dmf_fraction(t) for t in times]), zone.precursor_fraction, zone.rate
    )


def test_an_element_of_the_one_zone_makes_the_crystals_of_the_one_zone() -> None:
    one = crystallize(FAST, ZONE, FEED)
    other = crystallize(FAST, sampled(ZONE), FEED)
    assert other.conversion == pytest.approx(one.conversion, rel=1e-4)
    assert other.mean_size == pytest.approx(one.mean_size, rel=3e-3)
    assert other.size_spread == pytest.approx(one.size_spread, rel=1e-2)
    # A short path goes on by the same law.
    assert crystallize(FAST, sampled(ZONE, 0.1), FEED).mean_size == pytest.approx(one.mean_size, rel=3e-3)


def test_elements_that_differ_spread_the_sizes() -> None:
    parts = [crystallize(FAST, sampled(Engulfment(SHARE, rate)), FEED) for rate in (3.0, 60.0)]
    both = averaged(parts)
    assert both.moments == pytest.approx(np.mean([part.moments for part in parts], axis=0))
    sizes = sorted(part.mean_size for part in parts)
    assert sizes[0] < both.mean_size < sizes[1]
    number = np.array([part.moments[0] for part in parts])
    around = [part.size_spread**2 + (part.mean_size - both.mean_size) ** 2 for part in parts]
    assert both.size_spread**2 == pytest.approx(number @ around / number.sum())
    assert both.conversion == pytest.approx((parts[0].conversion + parts[1].conversion) / 2)
    assert averaged(parts[:1]).mean_size == parts[0].mean_size


def test_templates_and_elements_that_never_saturate() -> None:
    templates = Templates(13.5e-9, 1e3, 0.3)
    crystals = crystallize(FAST, sampled(ZONE), FEED, templates)
    assert crystals.mean_size < 13.5e-9 and crystals.conversion > 0.9
    assert not averaged([crystallize(FAST, sampled(ZONE), 1e-5)]).formed


falls = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30)


@settings(deadline=None)
@given(falls, st.floats(0.1, 100.0))
def test_a_history_falls_from_its_own_stream_to_the_mean(samples: list[float], rate: float) -> None:
    element = History.of_samples(0.01 * np.arange(1, len(samples) + 1), np.array(samples), SHARE, rate)
    clock = np.concatenate([np.linspace(0, 0.4, 101), [1.0, 100.0]])
    shares = np.array([element.dmf_fraction(t) for t in clock])
    assert shares[0] == 1 and np.all(np.diff(shares) <= 1e-12) and np.all(shares >= SHARE - 1e-12)
    assert shares[-1] == pytest.approx(SHARE, abs=1e-3) or rate < 0.2
    for wanted in (0.9, 0.3, 0.06):
        at = element.time_at(wanted)
        assert element.dmf_fraction(at) == pytest.approx(wanted, abs=1e-9)
        assert at == 0 or element.dmf_fraction(0.999 * at) >= wanted - 1e-9


def test_the_clock_starts_where_an_element_leaves_its_stream() -> None:
    element = History.of_samples(np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 1.0, 0.6, 0.7]), SHARE, 5.0)
    np.testing.assert_allclose(element.times, [0.0, 0.1, 0.2])
    np.testing.assert_allclose(element.shares, [1.0, 0.65, 0.65])  # what rises is pooled
    pure = History.of_samples(np.array([0.1, 0.2]), np.array([1.0, 1.0]), SHARE, 5.0)
    assert pure.dmf_fraction(0.0) == 1 and pure.time_at(0.5) == pytest.approx(Engulfment(SHARE, 5.0).time_at(0.5))


def test_paths_of_different_length_end_with_nan() -> None:
    times = np.array([[0.1, 0.2, np.nan], [0.1, 0.2, 0.3]])
    found = histories_of(times, np.array([[0.9, 0.5, np.nan], [0.9, 0.5, 0.2]]), SHARE, 5.0)
    assert [len(one.times) for one in found] == [3, 4]


def test_noise_drawn_again_scatters_as_walkers_do() -> None:
    element, draw = sampled(ZONE, count=80), np.random.default_rng(2)
    again = [element.again(24, draw).dmf_fraction(0.1) for _ in range(200)]
    exact = ZONE.dmf_fraction(0.1)
    assert np.mean(again) == pytest.approx(exact, abs=0.03)
    assert 0.01 < np.std(again) < math.sqrt(exact * (1 - exact) / 24)  # pooling neighbours takes noise out


@pytest.mark.parametrize(
    ("times", "shares", "rate"),
    [([0.0, 0.1], [1.0, 1.1], 5.0), ([0.1, 0.2], [1.0, 0.9], 5.0), ([0.0, 0.0], [1.0, 0.9], 5.0),
     ([0.0, 0.1], [1.0, 0.01], 5.0), ([0.0, 0.1], [1.0, 0.9], 0.0)],
)  # fmt: skip
def test_no_history(times: list[float], shares: list[float], rate: float) -> None:
    with pytest.raises(BadInput):
        History(SHARE, rate, np.array(times), np.array(shares))


@pytest.fixture
def results(tmp_path: Path, model: ProcessModel, campaigns: Any) -> Results:
    """Results of a calibrated campaign with one solved point that has histories: quick elements and slow ones."""
    found = Results(tmp_path / "liang2023" / "coarse")
    folder = found.point(POINT.name)
    folder.mkdir(parents=True)
    table = campaigns()
    campaigns.write(found.folder, table)
    own = next(row for row in table["points"] if row["name"] == POINT.name)
    (folder / "record.json").write_text(json.dumps(own))
    times = np.tile(np.linspace(0.02, 0.6, 30), (8, 1))
    rates = np.geomspace(1.0, 60.0, 8)[:, None]
    np.savez(folder / "histories.npz", time_s=times, composition=SHARE + (1 - SHARE) * np.exp(-rates * times))
    save_surrogate(model.surrogate, found.surrogate)
    save_calibration(model, found.process)
    return found


def test_one_zone_beside_histories(results: Results, model: ProcessModel) -> None:
    zone, elements = read_point(results, POINT)
    assert len(elements) == 8 and elements[0].rate == zone.rate
    found = compare_histories(model, results, POINT, "oa", members=3)
    assert found.members == 3 and found.elements == 8
    assert found.zone["yield"].value == pytest.approx(found.histories["yield"].value, rel=0.05)
    assert found.zone["size_nm"].unit == "nm" and found.zone["spread"].label == "prior-only"
    low, high = found.share["size_nm"][1:]
    assert low <= found.share["size_nm"][0] <= high and abs(found.share["size_nm"][0] - 1) < 0.5


def test_what_is_missing_or_damaged_is_told(results: Results, model: ProcessModel) -> None:
    path = results.point(POINT.name) / "histories.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="is damaged"):
        read_point(results, POINT)
    path.unlink()
    with pytest.raises(Missing, match="has no histories"):
        read_point(results, POINT)
    path.write_bytes(whole)
    record = results.point(POINT.name) / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "failed"}))
    with pytest.raises(BadInput, match="failed"):
        read_point(results, POINT)
    with pytest.raises(BadInput, match="members say nothing"):
        record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "steady"}))
        compare_histories(model, results, POINT, "oa", members=0)


def test_the_verb(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    case = str(Path(__file__).parents[2] / "cases" / "liang2023")
    words = ["crystals", case, "--antisolvent", "1000 mL/h", "--precursor", "60 mL/h", "--members", "2"]
    words += ["--output", str(results.folder.parents[1])]
    assert main([*words, "--ligand", "oa"]) == 0
    text = capsys.readouterr().out
    assert "one zone" in text and "8 fluid elements" in text and "engulfment is assumed" in text
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"point", "ps", "oa"} and answer["ps"]["zone"]["size_nm"]["unit"] == "nm"
