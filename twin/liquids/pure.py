"""Density, viscosity and relative permittivity of the pure liquids."""

from __future__ import annotations

import math
from dataclasses import dataclass

T_REFERENCE_K = 293.15
NEAR_K = 0.5  # around the temperature at which a liquid was measured


@dataclass(frozen=True)
class Liquid:
    """A pure liquid: linear density, Andrade viscosity.

    ρ = `density` + `density_slope` (T − 293.15 K)   [kg/m³]
    µ = exp(`andrade_a` + `andrade_b` / T) mPa·s
    """

    name: str
    density: float
    density_slope: float
    andrade_a: float
    andrade_b: float
    permittivity: float
    molar_mass: float
    association: float
    boiling_volume: float
    range_k: tuple[float, float]
    source: str

    @classmethod
    def measured(cls, name: str, density: float, viscosity: float, temperature_k: float, source: str) -> Liquid:
        """A liquid by its density in kg/m³ and viscosity in Pa·s at the one temperature where they were measured.

        What Wilke and Chang ask for beside them is not known, NaN.
        """
        unknown, log_mpa_s = math.nan, math.log(1e3 * viscosity)
        near = temperature_k - NEAR_K, temperature_k + NEAR_K
        return cls(name, density, 0.0, log_mpa_s, 0.0, unknown, unknown, unknown, unknown, near, source)

    def check(self, temperature_k: float) -> None:
        """Raises `ValueError` outside the range of the data, K."""
        low, high = self.range_k
        if not low <= temperature_k <= high:
            raise ValueError(
                f"{temperature_k - 273.15:g} °C is outside {low - 273.15:g} to {high - 273.15:g} °C,"
                f" the range of the data for {self.name}"
            )

    def density_kg_m3(self, temperature_k: float) -> float:
        """Density at a temperature in K."""
        self.check(temperature_k)
        return self.density + self.density_slope * (temperature_k - T_REFERENCE_K)

    def viscosity_pa_s(self, temperature_k: float) -> float:
        """Dynamic viscosity at a temperature in K."""
        self.check(temperature_k)
        return 1e-3 * math.exp(self.andrade_a + self.andrade_b / temperature_k)

    def kinematic_viscosity_m2_s(self, temperature_k: float) -> float:
        """Kinematic viscosity at a temperature in K."""
        return self.viscosity_pa_s(temperature_k) / self.density_kg_m3(temperature_k)


_FITS = "fits over 283–313 K to the correlations of the package `thermo`"

#: `association` is the solvent's factor and `boiling_volume` (m³/mol) the molar volume at the boiling point, both for
#: Wilke–Chang; the latter by Le Bas's increments.
LIQUIDS = {
    liquid.name: liquid
    for liquid in (
        Liquid(
            "toluene",
            866.99,
            -0.931,
            -4.185,
            1071.3,
            2.38,
            92.14e-3,
            1.0,
            118.2e-6,
            (283.15, 313.15),
            f"{_FITS}; µ checked against Nikam & Kharat, J. Chem. Eng. Data 50 (2005) 455",
        ),
        Liquid("DMF", 949.14, -0.919, -3.842, 1085.3, 38.25, 73.09e-3, 1.0, 82.4e-6, (283.15, 313.15), _FITS),
    )
}
