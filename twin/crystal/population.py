"""Crystals in the mixing zone: moments of their sizes, the dissolved solute, the empty templates.

The balances are written per m³ of *precursor stream*, in which engulfment dilutes nothing: an amount per m³ of the
zone is φ times the one per m³ of precursor, with φ the zone's volume share of DMF. Sizes are in units of 10 nm and
numbers in units of N_ref = c₀ v N_A/(k_v (10 nm)³), so that the third moment is the share of the solute that has
crystallized.

    dμ_k/dt = k Σ w xᵏ⁻¹ g(x) + j x_nᵏ          j = J/(φ N_ref)   or, with templates,   j = k_n ν
    dy/dt   = −dμ₃/dt                           y: dissolved share;  c = c₀ y φ
    dν/dt   = −k_n ν                            ν: empty templates, ν(0) = (10 nm/L_max)³

A template's load makes one crystal of L_max and all solute is loaded: that sets their number, and growth slows as the
load runs out, g·(1 − (L/L_max)³). The factor keeps its sign, so that a node which the quadrature puts beyond L_max by
a rounding error comes back; cut off at zero, it makes the integration chatter. Aggregation, ripening and
dissolution are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from twin.crystal.kinetics import MOLAR_VOLUME, Kinetics
from twin.crystal.moments import Nodes, moment_rates, nodes
from twin.errors import BadInput, NotConverged

#: The unit of size, m.
UNIT_SIZE = 1e-8
#: Numbers below this are no crystals yet.
_NONE = 1e-15
#: Mixing is over when φ is within this share of X₀.
_MIXED = 1e-3
CLOSURE = 1e-10

Rates = Callable[[float, NDArray[np.float64]], list[float]]


class Zone(Protocol):
    """What the balances know of mixing: `Engulfment`, one zone for all, or the `History` of one fluid element."""

    @property
    def precursor_fraction(self) -> float:
        """X₀ = Q_p/Q, to which φ falls."""

    def dmf_fraction(self, time_s: float) -> float:
        """φ at a time in s; never rising."""

    def time_at(self, dmf_fraction: float) -> float:
        """The time in s at which φ has fallen to a value; inf where it never does."""


@dataclass(frozen=True)
class Templates:
    """Star polymers: the largest crystal in m, nucleation per template in 1/s, its share of the barrier."""

    size_limit: float
    rate: float
    barrier_share: float


@dataclass(frozen=True)
class Crystals:
    """What is collected: conversion (share of the feed), mean and standard deviation of the size by number in m.

    `moments` are those of the module, in units of 10 nm, shape (4,). `closure` is |dissolved + crystal − feed| as a
    share of the feed. The sizes are NaN where no crystal formed.
    """

    conversion: float
    mean_size: float
    size_spread: float
    moments: tuple[float, float, float, float]
    closure: float
    evaluations: int

    @property
    def formed(self) -> bool:
        """Whether a millionth of the feed has crystallized."""
        return self.conversion > 1e-6


def saturation_time(kinetics: Kinetics, zone: Zone, feed: float) -> float:
    """The time in s at which the zone becomes supersaturated, if nothing crystallizes; inf where it never does.

    ln S(φ) = ln(c₀/c*_DMF) + ln φ + σ (1 − φ) has its maximum at φ = 1/σ. `feed` is c₀ in mol per m³ of precursor.
    """

    def ln_s(dmf_fraction: float) -> float:
        return kinetics.ln_supersaturation(feed * dmf_fraction, dmf_fraction)

    if ln_s(1.0) > 0:
        return 0.0
    peak = min(1.0, max(1.0 / kinetics.antisolvency, zone.precursor_fraction * (1.0 + _MIXED)))
    if ln_s(peak) <= 0:
        return math.inf
    return zone.time_at(brentq(ln_s, peak, 1.0))


def crystallize(
    kinetics: Kinetics,
    zone: Zone,
    feed: float,
    templates: Templates | None = None,
    shape: float = 1.0,
    collection_s: float = 60.0,
    tolerance: float = 1e-7,
) -> Crystals:
    """The crystals `collection_s` seconds after mixing is over.

    `feed` is c₀ in mol of CsPbBr3 per m³ of precursor stream; `shape` is k_v, the volume over the cube of the size.
    Without `templates` nucleation is homogeneous and growth free (OA/OAm). Raises `NotConverged` where the
    integration fails or solute and crystal do not add up to the feed to 1e-10.
    """
    if not (feed > 0 and shape > 0 and collection_s >= 0):
        raise BadInput(f"the feed and the shape must be positive, not {feed:g} mol/m³ and {shape:g}")
    start = saturation_time(kinetics, zone, feed)
    if math.isinf(start):
        return Crystals(0.0, math.nan, math.nan, (0.0, 0.0, 0.0, 0.0), 0.0, 0)
    rates = _rates(kinetics, zone, feed, templates, shape)
    empty = (UNIT_SIZE / templates.size_limit) ** 3 if templates else 0.0
    state = np.array([0.0, 0.0, 0.0, 0.0, 1.0, empty])
    mixed = max(start, zone.time_at(zone.precursor_fraction * (1.0 + _MIXED)))
    state, evaluations = _integrate(rates, state, start, mixed, tolerance, steps=20)
    state, more = _integrate(rates, state, mixed, mixed + collection_s, tolerance)
    return _collected(state, evaluations + more)


def _rates(kinetics: Kinetics, zone: Zone, feed: float, templates: Templates | None, shape: float) -> Rates:
    """The right-hand side, for the state (μ₀, μ₁, μ₂, μ₃, y, ν)."""
    number = feed * MOLAR_VOLUME / (shape * UNIT_SIZE**3)
    limit = templates.size_limit / UNIT_SIZE if templates else math.inf

    def rates(time: float, state: NDArray[np.float64]) -> list[float]:
        m0, m1, m2, m3, dissolved, empty = state.tolist()
        dmf = zone.dmf_fraction(time)
        concentration = feed * dissolved * dmf
        ln_s = kinetics.ln_supersaturation(concentration, dmf)

        def growth(size: float) -> float:
            rate = kinetics.growth_rate(size * UNIT_SIZE, concentration, dmf) / UNIT_SIZE
            return rate * (1.0 - (size / limit) ** 3)

        if templates is None:
            birth = kinetics.nucleation_rate(ln_s) / (dmf * number)
        else:
            birth = kinetics.template_rate(ln_s, templates.rate, templates.barrier_share) * empty
        birth_size = min(kinetics.nucleus_size(ln_s) / UNIT_SIZE, limit) if birth > 0 else 0.0
        quadrature: Nodes = nodes((m0, m1, m2, m3)) if m0 > _NONE and m1 > 0 else (0.0, 0.0, 0.0, 0.0)
        d0, d1, d2, d3 = moment_rates(quadrature, growth, birth, birth_size)
        return [d0, d1, d2, d3, -d3, 0.0 if templates is None else -birth]

    return rates


def _integrate(
    rates: Rates, state: NDArray[np.float64], start: float, end: float, tolerance: float, steps: int = 0
) -> tuple[NDArray[np.float64], int]:
    """The state at `end`, in at least `steps` steps, so that a burst of nucleation is not stepped over."""
    if end <= start:
        return state, 0
    largest = (end - start) / steps if steps else math.inf
    answer = solve_ivp(rates, (start, end), state, method="LSODA", rtol=tolerance, atol=1e-6 * tolerance,
                       max_step=largest)
    if not answer.success:
        raise NotConverged(f"the crystal model stopped at {answer.t[-1]:.3g} s: {answer.message}",
                           "check the crystal parameters, or loosen the tolerance")
    return np.asarray(answer.y[:, -1]), int(answer.nfev)


def _collected(state: NDArray[np.float64], evaluations: int) -> Crystals:
    m0, m1, m2, m3, dissolved, _ = (float(value) for value in state)
    closure = abs(dissolved + m3 - 1.0)
    if not closure <= CLOSURE:
        raise NotConverged(f"solute and crystal differ from the feed by {closure:.2g} of it, not by {CLOSURE:g}",
                           "tighten the tolerance of the crystal model")
    return _of_moments((m0, m1, m2, m3), closure, evaluations)


def averaged(parts: Sequence[Crystals]) -> Crystals:
    """The crystals of fluid elements that carry equal shares of the precursor, collected together."""
    moments = np.mean([part.moments for part in parts], axis=0).tolist()
    worst = max(part.closure for part in parts)
    return _of_moments(tuple(moments), worst, sum(part.evaluations for part in parts))


def _of_moments(moments: tuple[float, float, float, float], closure: float, evaluations: int) -> Crystals:
    m0, m1, m2, m3 = moments
    if m3 <= 1e-6 or m0 <= _NONE:
        return Crystals(max(m3, 0.0), math.nan, math.nan, moments, closure, evaluations)
    mean = m1 / m0
    spread = math.sqrt(max(m2 / m0 - mean * mean, 0.0))
    return Crystals(m3, mean * UNIT_SIZE, spread * UNIT_SIZE, moments, closure, evaluations)
