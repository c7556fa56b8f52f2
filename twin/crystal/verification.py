"""The crystal model against cases with a known solution, for ``twin verify crystal``."""

from __future__ import annotations

import math

from scipy.integrate import quad

from twin.check import Check
from twin.crystal.engulfment import Engulfment
from twin.crystal.kinetics import Kinetics
from twin.crystal.moments import ORDERS, evolve
from twin.crystal.population import CLOSURE, Templates, crystallize

_HULBURT = "Hulburt & Katz, Chem. Eng. Sci. 19 (1964) 555"
_RANDOLPH = "Randolph & Larson, Theory of Particulate Processes (1988)"


#: Fast kinetics, with which mixing decides the size: 20 nm at a mixing time of 0.1 s.
FAST = Kinetics(
    gamma=0.0122, nucleation=1e21, k_surface=1e-2, diffusivity=8e-10, solubility_dmf=40.0, antisolvency=12.0
)


def checks() -> list[Check]:
    """Every row. Takes well below a second."""
    return [*_growth(), *_nucleation(), *_proportional(), *_inverse(), *_msmpr(), *_engulfment(), *_coupled()]


def _rows(name: str, computed: list[float], reference: list[float], tolerance: float, source: str) -> list[Check]:
    return [
        Check(f"{name}, m{order}", float(value), float(exact), tolerance, source)
        for order, (value, exact) in enumerate(zip(computed, reference, strict=True))
    ]


def _growth() -> list[Check]:
    """Constant growth shifts the distribution: m_k(t) = Σ binom(k, j) (G t)^{k−j} m_j(0)."""
    start, shift = _exponential(), 1.5
    exact = [sum(math.comb(k, j) * shift ** (k - j) * start[j] for j in range(k + 1)) for k in range(ORDERS)]
    return _rows("constant growth", list(evolve(start, 3.0, lambda _: 0.5)), exact, 1e-8, _HULBURT)


def _nucleation() -> list[Check]:
    """Constant nucleation at size 0 and constant growth: m_k = B Gᵏ t^{k+1}/(k+1)."""
    birth, rate, time = 2.0, 0.5, 3.0
    exact = [birth * rate**k * time ** (k + 1) / (k + 1) for k in range(ORDERS)]
    computed = evolve([0.0] * ORDERS, time, lambda _: rate, birth)
    return _rows("nucleation and growth", list(computed), exact, 1e-7, _HULBURT)


def _proportional() -> list[Check]:
    """Growth proportional to size, G = g L: m_k = m_k(0) e^{k g t}."""
    start, exponent = _exponential(), 0.9
    exact = [start[k] * math.exp(k * exponent) for k in range(ORDERS)]
    return _rows("growth ∝ L", list(evolve(start, 3.0, lambda size: 0.3 * size)), exact, 1e-8, _HULBURT)


def _inverse() -> list[Check]:
    """Growth by diffusion, G = K/L: m_k = ∫ (L² + 2 K t)^{k/2} n₀ dL. Here the closure is approximate."""
    mean, spread, gain = 1.0, 0.1, 2.0

    def density(size: float) -> float:
        return math.exp(-0.5 * ((size - mean) / spread) ** 2) / (spread * math.sqrt(2.0 * math.pi))

    def moment(order: int, shift: float) -> float:
        return quad(lambda size: (size * size + shift) ** (order / 2) * density(size), 0.2, 1.8, epsabs=1e-13)[0]

    start = [moment(k, 0.0) for k in range(ORDERS)]
    computed = evolve(start, 2.0, lambda size: 0.5 / size)
    return _rows("growth ∝ 1/L", list(computed), [moment(k, gain) for k in range(ORDERS)], 1e-4, _HULBURT)


def _msmpr() -> list[Check]:
    """Steady mixed-suspension crystallizer: n = (B/G) e^{−L/(G τ)}, m_k = k! B τ (G τ)ᵏ."""
    birth, rate, residence = 2.0, 0.5, 1.5
    exact = [math.factorial(k) * birth * residence * (rate * residence) ** k for k in range(ORDERS)]
    computed = evolve([0.0] * ORDERS, 60.0 * residence, lambda _: rate, birth, residence=residence)
    return _rows("mixed-suspension crystallizer", list(computed), exact, 1e-6, _RANDOLPH)


def _engulfment() -> list[Check]:
    zone = Engulfment.from_mixing_time(0.012, 0.1)
    source = "Bałdyga & Bourne, Chem. Eng. Sci. 44 (1989) 2897"
    return [
        Check("engulfed share when the index is 0.99", zone.zone_fraction(0.1 * math.log(100.0)), 0.99, 1e-12, source),
        Check("DMF share when mixed", zone.dmf_fraction(100.0), 0.012, 1e-12, source),
    ]


def _coupled() -> list[Check]:
    kinetics, zone, feed = FAST, Engulfment.from_mixing_time(0.012, 0.1), 3.996
    free = crystallize(kinetics, zone, feed)
    capped = crystallize(kinetics, zone, feed, Templates(13.5e-9, 1e3, 0.3))
    poor = crystallize(kinetics, zone, 1e-4)
    mixed, richest = (
        1.0 - math.exp(-kinetics.ln_supersaturation(feed * dmf, dmf))
        for dmf in (zone.precursor_fraction, 1.0 / kinetics.antisolvency)
    )
    return [
        Check("solute and crystal against the feed, OA/OAm", free.closure, 0.0, CLOSURE, "conservation of mass"),
        Check("solute and crystal against the feed, PS", capped.closure, 0.0, CLOSURE, "conservation of mass"),
        Check("conversion of an undersaturated feed", poor.conversion, 0.0, 0.0, "no nucleation below saturation"),
        Check(
            "conversion of OA/OAm at equilibrium",
            free.conversion,
            0.5 * (mixed + richest),
            0.5 * (richest - mixed),
            "solubility when mixed, and where the supersaturation peaks",
        ),
        Check(
            "size of a template's crystal, nm",
            1e9 * capped.mean_size,
            13.5 * capped.conversion ** (1 / 3),
            1e-3,
            "every load is one crystal",
        ),
    ]


def _exponential() -> list[float]:
    """Moments of n₀ = e^{−L}: m_k = k!."""
    return [float(math.factorial(k)) for k in range(ORDERS)]
