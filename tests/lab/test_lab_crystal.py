"""Crystals: analytic moments, saturation, conservation, limits, and an independent solution of the whole model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.crystal import (
    PARAMETERS,
    Check,
    Engulfment,
    Kinetics,
    Optics,
    Templates,
    checks,
    crystallize,
    known_ligand,
    population,
    quantum_yield,
    verification,
)
from twin.crystal.kinetics import MOLAR_VOLUME
from twin.crystal.moments import moment_rates, nodes
from twin.errors import BadInput, NotConverged

FEED = 3.996
FAST = verification.FAST
ZONE = Engulfment.from_mixing_time(60 / 5060, 0.1)
CHECKS = checks()

kinetics = st.builds(
    Kinetics,
    gamma=st.floats(0.005, 0.03), nucleation=st.floats(35, 60).map(math.exp), k_surface=st.floats(-9, -4).map(math.exp),
    diffusivity=st.floats(5e-10, 1.2e-9), solubility_dmf=st.floats(10, 150), antisolvency=st.floats(8, 17),
)
zones = st.builds(Engulfment.from_mixing_time, st.floats(0.002, 0.06), st.floats(0.005, 2.0))


@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_verification(check: Check) -> None:
    assert check.holds, f"{check.computed} against {check.reference}"


def test_a_wrong_equation_fails_the_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(quadrature, growth, birth, birth_size):  # type: ignore[no-untyped-def]
        rates = moment_rates(quadrature, growth, birth, birth_size)
        return rates[0], rates[1], 1.01 * rates[2], rates[3]

    monkeypatch.setattr("twin.crystal.moments.moment_rates", wrong)
    monkeypatch.setattr("twin.crystal.population.moment_rates", wrong)
    failed = {check.name for check in checks() if not check.holds}
    assert {"constant growth, m2", "nucleation and growth, m2", "growth ∝ L, m2", "growth ∝ 1/L, m2",
            "mixed-suspension crystallizer, m2"} <= failed


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.2, 5)), min_size=2, max_size=6))
def test_the_quadrature_has_the_moments(crystals: list[tuple[float, float]]) -> None:
    weights, sizes = np.array(crystals).T
    moments = [float(np.sum(weights * sizes**k)) for k in range(4)]
    w1, w2, l1, l2 = nodes(moments)
    spread = math.sqrt(max(moments[2] / moments[0] - (moments[1] / moments[0]) ** 2, 0.0)) * moments[0] / moments[1]
    assert w1 >= 0 and w2 >= 0
    for k in range(4):
        again = w1 * l1**k + w2 * l2**k
        assert again == pytest.approx(moments[k], rel=1e-6 if spread > 0.03 or k < 3 else 1e-3)


@given(kinetics, st.floats(-50, 0))
def test_nothing_nucleates_at_or_below_saturation(own: Kinetics, ln_s: float) -> None:
    assert own.nucleation_rate(ln_s) == 0
    assert own.template_rate(ln_s, 1e3, 0.3) == 0


@given(kinetics, st.floats(0, 1), st.floats(0.1, 8), st.floats(1.0, 10.0))
def test_a_crystal_of_the_critical_size_does_not_grow_and_a_larger_one_does(
    own: Kinetics, dmf: float, ln_s: float, factor: float
) -> None:
    concentration = math.exp(own.ln_solubility(dmf) + ln_s)
    critical = own.critical_size(ln_s)
    fastest = own.growth_rate(1e3 * critical, concentration, dmf)
    assert own.growth_rate(critical, concentration, dmf) <= 1e-9 * max(fastest, own.k_surface)
    assert own.growth_rate(0.5 * critical, concentration, dmf) == 0
    if factor > 1.01:
        assert own.growth_rate(factor * critical, concentration, dmf) > 0
    assert own.nucleus_size(ln_s) > critical


def test_supersaturation_peaks_where_dmf_is_one_over_the_antisolvency() -> None:
    shares = np.linspace(0.01, 1, 4001)
    driving = [FAST.ln_supersaturation(FEED * share, share) for share in shares]
    assert shares[np.argmax(driving)] == pytest.approx(1 / FAST.antisolvency, abs=5e-4)
    start = population.saturation_time(FAST, ZONE, FEED)
    share = ZONE.dmf_fraction(start)
    assert FAST.ln_supersaturation(FEED * share, share) == pytest.approx(0, abs=1e-9)


@given(zones, st.floats(0.01, 3))
def test_engulfment_solves_its_equation(zone: Engulfment, mixings: float) -> None:
    time, step = mixings / zone.rate, 1e-5 / zone.rate
    slope = (zone.zone_fraction(time + step) - zone.zone_fraction(time - step)) / (2 * step)
    share = zone.zone_fraction(time)
    assert slope == pytest.approx(zone.rate * share * (1 - share), rel=1e-5)
    assert zone.time_at(zone.dmf_fraction(time)) == pytest.approx(time, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(kinetics, zones, st.booleans(), st.floats(1.0, 4.0).map(math.exp), st.floats(0.1, 0.5))
def test_mass_is_conserved_and_bounded(
    own: Kinetics, zone: Engulfment, templated: bool, rate: float, share: float
) -> None:
    templates = Templates(13.5e-9, rate, share) if templated else None
    crystals = crystallize(own, zone, FEED, templates)
    assert crystals.closure <= 1e-10
    assert -1e-12 <= crystals.conversion <= 1 + 1e-9
    if crystals.formed:
        assert crystals.mean_size > 0
        if templated:
            assert crystals.mean_size <= 13.5e-9 * (1 + 1e-3)


def test_a_leak_is_not_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = population._rates

    def leaking(*arguments):  # type: ignore[no-untyped-def]
        rates = honest(*arguments)
        return lambda time, state: [*rates(time, state)[:4], 0.999 * rates(time, state)[4], rates(time, state)[5]]

    monkeypatch.setattr(population, "_rates", leaking)
    with pytest.raises(NotConverged, match="differ from the feed"):
        crystallize(FAST, ZONE, FEED)


def test_an_undersaturated_feed_gives_nothing() -> None:
    crystals = crystallize(FAST, ZONE, 1e-5)
    assert crystals.conversion == 0 and not crystals.formed and math.isnan(crystals.mean_size)


def test_fast_mixing_no_longer_matters_and_slow_mixing_makes_large_crystals() -> None:
    def size(mixing_time: float) -> float:
        zone = Engulfment.from_mixing_time(60 / 5060, mixing_time)
        return crystallize(FAST, zone, FEED).mean_size

    assert size(1e-7) == pytest.approx(size(1e-6), rel=1e-3)
    assert size(0.02) < size(0.1) < size(0.5) < size(1.0)


def test_templates_hold_the_size_where_free_growth_does_not() -> None:
    zones_ = [Engulfment.from_mixing_time(60 / 5060, time) for time in (0.05, 0.5)]
    capped = [crystallize(FAST, zone, FEED, Templates(13.5e-9, 1e3, 0.3)) for zone in zones_]
    free = [crystallize(FAST, zone, FEED) for zone in zones_]
    assert capped[1].mean_size == pytest.approx(capped[0].mean_size, rel=0.01)
    assert free[1].mean_size > 1.2 * free[0].mean_size
    for crystals in capped:
        assert crystals.mean_size == pytest.approx(13.5e-9 * crystals.conversion ** (1 / 3), rel=1e-3)


def _cohorts(own: Kinetics, zone: Engulfment, end: float, steps: int) -> tuple[float, float]:
    """The same physics by cohorts of nuclei, second order in time: conversion and mean size, with no moments."""
    start = population.saturation_time(own, zone, FEED)
    step = (end - start) / steps
    numbers, sizes = np.zeros(steps), np.zeros(steps)
    per_mole = 1.0 / MOLAR_VOLUME

    def growth(lengths: np.ndarray, concentration: float, dmf: float) -> np.ndarray:
        solubility = own.solubility_dmf * math.exp(-own.antisolvency * (1 - dmf))
        excess = concentration - solubility * np.exp(own.capillary_m / lengths)
        return 2 * MOLAR_VOLUME * np.maximum(excess, 0) / (1 / own.k_surface + lengths / (2 * own.diffusivity))

    for i in range(steps):
        here = slice(0, i)
        dmf = zone.dmf_fraction(start + i * step)
        left = FEED - per_mole * float(np.sum(numbers[here] * sizes[here] ** 3))
        first = growth(sizes[here], left * dmf, dmf)
        middle = sizes[here] + 0.5 * step * first
        dmf = zone.dmf_fraction(start + (i + 0.5) * step)
        left = FEED - per_mole * float(np.sum(numbers[here] * middle**3))
        ln_s = math.log(max(left, 1e-30) * dmf / own.solubility_dmf) + own.antisolvency * (1 - dmf)
        sizes[here] += step * growth(middle, left * dmf, dmf)
        sizes[i] = own.capillary_m / ln_s + own.capillary_m / math.sqrt(3 * own.barrier) if ln_s > 0 else 1e-9
        if ln_s > 0:
            numbers[i] = step * own.nucleation * math.exp(-own.barrier / ln_s**2) / dmf
    conversion = per_mole * float(np.sum(numbers * sizes**3)) / FEED
    return conversion, float(np.sum(numbers * sizes) / np.sum(numbers))


def test_the_moments_agree_with_cohorts() -> None:
    end = ZONE.time_at(ZONE.precursor_fraction * 1.001)
    crystals = crystallize(FAST, ZONE, FEED, collection_s=0.0)
    conversion, size = _cohorts(FAST, ZONE, end, 3000)
    assert crystals.conversion == pytest.approx(conversion, rel=1e-3)
    assert crystals.mean_size == pytest.approx(size, rel=0.03)


def test_colours() -> None:
    crystals = crystallize(FAST, ZONE, FEED)
    single = replace(crystals, moments=(1.0, 2.2, 2.2**2, 2.2**3), mean_size=22e-9, size_spread=0.0)
    optics = Optics(2.35, 4.0, 0.08)
    assert optics.peak_nm(single) == pytest.approx(1239.842 / (2.35 + 4.0 / 22**2), rel=1e-6)
    energy = 2.35 + 4.0 / 22**2
    assert optics.fwhm_nm(single) == pytest.approx(1239.842 / energy**2 * 0.08, rel=1e-6)
    assert optics.fwhm_nm(replace(single, size_spread=5e-9)) > optics.fwhm_nm(single)
    small = replace(single, moments=(1.0, 1.0, 1.0, 1.0))
    assert optics.peak_nm(small) < optics.peak_nm(single) < 1239.842 / 2.35


@given(st.floats(0.1, 1), st.floats(1e-3, 10), st.floats(1e-2, 10), st.floats(0, 0.06), st.floats(0, 10))
def test_quantum_yield_is_bounded_and_falls(limit: float, time: float, half: float, dmf: float, quench: float) -> None:
    value = quantum_yield(limit, time, half, dmf, quench)
    assert 0 < value <= limit
    assert quantum_yield(limit, 2 * time, half, dmf, quench) < value
    assert quantum_yield(limit, time, half, dmf + 0.01, quench) <= value


def test_parameters_have_priors_and_sources() -> None:
    for parameter in PARAMETERS.values():
        low, middle, high = (parameter.quantile(share) for share in (0.05, 0.5, 0.95))
        assert low <= middle <= high and middle == pytest.approx(parameter.median)
        assert parameter.source and parameter.meaning
    assert PARAMETERS["gamma"].quantile(0.05) == pytest.approx(0.005, rel=0.05)
    assert PARAMETERS["gamma"].quantile(0.95) == pytest.approx(0.030, rel=0.05)


@pytest.mark.parametrize("wrong", [{"gamma": 0.0}, {"k_surface": -1.0}, {"solubility_dmf": math.nan}])
def test_impossible_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="must be positive"):
        replace(FAST, **wrong)


@pytest.mark.parametrize(("share", "time"), [(0.0, 0.1), (0.95, 0.1), (0.01, 0.0), (0.01, -1.0)])
def test_impossible_mixing_is_refused(share: float, time: float) -> None:
    with pytest.raises(BadInput):
        Engulfment.from_mixing_time(share, time)


def test_an_unknown_ligand_is_refused() -> None:
    assert known_ligand("oa") == "oa"
    with pytest.raises(BadInput, match="not a ligand"):
        known_ligand("oleic")
