"""Rates at a point in the mixing zone: supersaturation, classical nucleation, growth.

Everything is SI. Concentrations are moles of CsPbBr3 per m³ of the *mixing zone*; sizes are diameters or edges in m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from twin.crystal.parameters import AVOGADRO, BOLTZMANN, UNIT_VOLUME
from twin.errors import BadInput

#: m³ of crystal per mole.
MOLAR_VOLUME = UNIT_VOLUME * AVOGADRO


@dataclass(frozen=True)
class Kinetics:
    """The material's parameters, by the names of `twin.crystal.parameters`, at a temperature in K.

    Raises `BadInput` where one of them is not positive.
    """

    gamma: float
    nucleation: float
    k_surface: float
    diffusivity: float
    solubility_dmf: float
    antisolvency: float
    temperature_k: float = 293.15

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                raise BadInput(f"the crystal parameter {name} must be positive, not {value:g}")

    @cached_property
    def capillary_m(self) -> float:
        """Capillary length 4 γ v/(k T) in m: a crystal of size L dissolves at c* exp(capillary/L)."""
        return 4.0 * self.gamma * UNIT_VOLUME / (BOLTZMANN * self.temperature_k)

    @cached_property
    def barrier(self) -> float:
        """B = 16 π γ³ v²/(3 (k T)³), dimensionless; the barrier over k T is B/ln² S."""
        energy = BOLTZMANN * self.temperature_k
        return 16.0 * math.pi * self.gamma**3 * UNIT_VOLUME**2 / (3.0 * energy**3)

    def ln_solubility(self, dmf_fraction: float) -> float:
        """The solubility, ln(c*/(mol/m³)) = ln c*_DMF − σ (1 − φ), φ the volume share of DMF, 0 … 1."""
        return math.log(self.solubility_dmf) - self.antisolvency * (1.0 - dmf_fraction)

    def ln_supersaturation(self, concentration: float, dmf_fraction: float) -> float:
        """The driving force ln S = ln(c/c*); −inf where nothing is dissolved. c in mol per m³ of the zone."""
        if concentration <= 0:
            return -math.inf
        return math.log(concentration) - self.ln_solubility(dmf_fraction)

    def nucleation_rate(self, ln_s: float) -> float:
        """J = A_J exp(−B/ln² S) in nuclei per m³ of the zone and s; 0 at and below saturation."""
        return self.nucleation * math.exp(-self.barrier / ln_s**2) if self._nucleates(ln_s) else 0.0

    def template_rate(self, ln_s: float, prefactor: float, share: float) -> float:
        """k_n = `prefactor` exp(−`share` B/ln² S) in 1/s: nucleation in one template; 0 at and below saturation."""
        return prefactor * math.exp(-share * self.barrier / ln_s**2) if self._nucleates(ln_s, share) else 0.0

    def critical_size(self, ln_s: float) -> float:
        """L_c = 4 γ v/(k T ln S) in m, at which a crystal neither grows nor dissolves; inf at or below saturation."""
        return self.capillary_m / ln_s if ln_s > 0 else math.inf

    def nucleus_size(self, ln_s: float) -> float:
        """L_n = L_c + 4 γ v/(k T √(3 B)) in m: the size at which a nucleus has fallen by k T below its barrier.

        Near L_c the barrier is (B/ln² S) (1 − 3 x²) with x = L/L_c − 1. A nucleus put at L_c itself would stay there,
        as its growth rate is zero.
        """
        return self.critical_size(ln_s) + self.capillary_m / math.sqrt(3.0 * self.barrier)

    def growth_rate(self, size: float, concentration: float, dmf_fraction: float) -> float:
        """G = dL/dt = 2 v N_A (c − c_e)/(1/k_s + L/(2 D)) in m/s, c_e = c* exp(4 γ v/(k T L)).

        Diffusion to the crystal and integration at its surface in series. Never negative: crystals below the critical
        size stay as they are, as dissolution and ripening are left out.
        """
        if size <= 0:
            return 0.0
        equilibrium = math.exp(min(self.ln_solubility(dmf_fraction) + self.capillary_m / size, 700.0))
        excess = concentration - equilibrium
        if excess <= 0:
            return 0.0
        return 2.0 * MOLAR_VOLUME * excess / (1.0 / self.k_surface + 0.5 * size / self.diffusivity)

    def _nucleates(self, ln_s: float, share: float = 1.0) -> bool:
        """Whether the solution is supersaturated and the barrier below 200 k T: above that no nucleus is ever seen."""
        return ln_s > 0 and share * self.barrier < 200.0 * ln_s**2
