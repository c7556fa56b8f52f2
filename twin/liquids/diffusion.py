"""Diffusivities in liquids."""

from __future__ import annotations

from twin.liquids.pure import Liquid


def wilke_chang(solute: Liquid, solvent: Liquid, temperature_k: float) -> float:
    """Diffusivity in m²/s of a dilute solute, good to about ± 15 %.

    D = 7.4e-8 √(φ M) T / (µ V^0.6) with M in g/mol, µ in mPa·s, V in cm³/mol, D in cm²/s.
    Source: Wilke & Chang, AIChE J. 1 (1955) 264.
    """
    numerator = 7.4e-8 * (solvent.association * solvent.molar_mass * 1e3) ** 0.5 * temperature_k
    viscosity_mpa_s = 1e3 * solvent.viscosity_pa_s(temperature_k)
    return 1e-4 * numerator / (viscosity_mpa_s * (solute.boiling_volume * 1e6) ** 0.6)
