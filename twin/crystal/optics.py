"""Colour and brightness of the crystals: emission peak, line width, quantum yield."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twin.crystal.parameters import HC_EV_NM
from twin.crystal.population import UNIT_SIZE, Crystals

_UNIT_NM = UNIT_SIZE * 1e9
#: Full width at half maximum over standard deviation of a Gaussian.
_FULL_WIDTH = 2.0 * math.sqrt(2.0 * math.log(2.0))


@dataclass(frozen=True)
class Optics:
    """`emission_bulk` E∞ in eV, `confinement` A in eV nm², `linewidth` Γ_h of one size in eV."""

    emission_bulk: float
    confinement: float
    linewidth: float

    def energy_ev(self, crystals: Crystals) -> float:
        """The mean of E = E∞ + A/L² in eV, each crystal weighted with its volume: E∞ + A m₁/m₃.

        Sizing curves are known for 4 to 11 nm (Maes, J. Phys. Chem. Lett. 2018, 8b01065): 13.5 and 22 nm lie beyond
        them, and there the form with A/L² is an extrapolation.
        """
        _, first, _, third = crystals.moments
        return self.emission_bulk + self.confinement * first / (third * _UNIT_NM**2)

    def peak_nm(self, crystals: Crystals) -> float:
        """Emission peak in nm: hc over the mean energy."""
        return HC_EV_NM / self.energy_ev(crystals)

    def fwhm_nm(self, crystals: Crystals) -> float:
        """Full width at half maximum in nm: FWHM_E² = Γ_h² + (2.355 σ_L · 2 A/L³)² in eV, times λ/E.

        L and σ_L are the mean and the standard deviation by number; holds for σ_L well below L.
        """
        mean_nm, spread_nm = 1e9 * crystals.mean_size, 1e9 * crystals.size_spread
        sizes = _FULL_WIDTH * spread_nm * 2.0 * self.confinement / mean_nm**3
        energy = self.energy_ev(crystals)
        return HC_EV_NM / energy**2 * math.hypot(self.linewidth, sizes)


def quantum_yield(limit: float, mixing_time_s: float, half_time_s: float, dmf_fraction: float, quench: float) -> float:
    """Φ = Φ∞/(1 + τ_mix/τ_Φ) · exp(−k_D φ_D), as a share.

    The first factor leaves out the crystals that slow mixing makes dark, the share τ_mix/(τ_mix + τ_Φ); the second is
    what the DMF of the product, φ_D by volume, quenches. An empirical form: no mechanism was measured.
    """
    return limit / (1.0 + mixing_time_s / half_time_s) * math.exp(-quench * dmf_fraction)
