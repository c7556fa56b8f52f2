"""Every parameter of the crystal model: its prior, its spread, its source, and what the paper's data do to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy.special import ndtri

from twin.errors import BadInput
from twin.estimate import Label

#: J/K and 1/mol, exact by the definition of the SI; hc in eV nm.
BOLTZMANN = 1.380649e-23
AVOGADRO = 6.02214076e23
HC_EV_NM = 1239.841984

#: kg/mol of CsPbBr3.
MOLAR_MASS = 0.5798
#: m³ per formula unit of CsPbBr3: the pseudo-cubic cell of 0.587 nm.
UNIT_VOLUME = 0.202e-27

Distribution = Literal["lognormal", "normal", "uniform", "fixed"]
Ligand = Literal["ps", "oa"]
LIGANDS: tuple[Ligand, ...] = ("ps", "oa")


@dataclass(frozen=True)
class Parameter:
    """One parameter in SI units, unless its name says another.

    `spread` is one standard deviation: a factor for "lognormal", an amount for "normal", the half width for
    "uniform", 0 for "fixed". `label` says what the paper's data do: calibrated, bounded, prior-only.
    """

    name: str
    unit: str
    median: float
    distribution: Distribution
    spread: float
    label: Label
    meaning: str
    source: str

    def quantile(self, probability: float) -> float:
        """The value below which the prior has this probability, 0 < probability < 1."""
        if self.distribution == "fixed":
            return self.median
        if self.distribution == "uniform":
            return self.median + self.spread * (2.0 * probability - 1.0)
        deviation = float(ndtri(probability))
        if self.distribution == "normal":
            return self.median + self.spread * deviation
        return self.median * math.exp(deviation * math.log(self.spread))


_LARP = "no measurement found; rates at which LARP crystals are seen to form (Ng, J. Mater. Chem. C 2021, D0TC04519E)"

#: The priors, by name. The data that `twin.process.calibrate` conditions on are named in `meaning`.
PARAMETERS: dict[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("gamma", "J/m^2", 0.0122, "lognormal", 1.73, "prior-only",
                  "interfacial energy of crystal and solution", "range of 5 to 30 mJ/m², read as 90 %"),
        Parameter("nucleation", "1/(m^3 s)", 1e20, "lognormal", 1e4, "calibrated",
                  "prefactor of homogeneous nucleation, OA/OAm; fixed by 22 nm once the other parameters are drawn",
                  "decades; only its ratio to growth is seen"),
        Parameter("k_surface", "m/s", 1e-3, "lognormal", 5.0, "prior-only",
                  "surface integration of the growth rate", _LARP),
        Parameter("diffusivity", "m^2/s", 8e-10, "lognormal", 1.2, "prior-only",
                  "diffusivity of the solute complex", "Stokes–Einstein, radius 0.4 nm, 0.7 mPa·s; ± 20 %"),
        Parameter("solubility_dmf", "mol/m^3", 40.0, "lognormal", 2.0, "bounded",
                  "solubility of CsPbBr3 in DMF; crystals must form at every point of the sweeps",
                  "room-temperature LARP feeds of about 0.04 mol/L"),
        Parameter("antisolvency", "1", 12.0, "lognormal", 1.2, "bounded",
                  "fall of ln solubility from DMF to toluene; crystals must form at every point of the sweeps",
                  "no measurement found"),
        Parameter("template_rate", "1/s", 1e3, "lognormal", 5.0, "prior-only",
                  "prefactor of nucleation per star-polymer template, PS", _LARP),
        Parameter("template_barrier", "1", 0.3, "uniform", 0.2, "prior-only",
                  "nucleation barrier in a template as a share of the homogeneous one, PS",
                  "heterogeneous nucleation lowers it; by how much is not known"),
        Parameter("size_limit", "m", 13.5e-9, "lognormal", 1.5, "calibrated",
                  "largest crystal that the load of one template makes, PS; fixed by 13.5 nm",
                  "Liang, Nanoscale Adv. 5 (2023) 2038"),
        Parameter("shape", "1", 1.0, "fixed", 0.0, "prior-only",
                  "volume over the cube of the size, OA/OAm: cubes", "habit of CsPbBr3"),
        Parameter("emission_bulk", "eV", 2.35, "normal", 0.02, "prior-only",
                  "emission energy of a large crystal", "literature; the paper's text gives no wavelength"),
        Parameter("confinement", "eV nm^2", 4.0, "lognormal", 1.45, "prior-only",
                  "A in E = E_inf + A/L²", "effective masses: 2.2 to 3.9; ± 1.5; curves known for 4 to 11 nm only"
                  " (Maes, J. Phys. Chem. Lett. 2018, 8b01065)"),
        Parameter("linewidth", "eV", 0.080, "normal", 0.010, "prior-only",
                  "full width of one size at room temperature", "literature; the paper's text gives no width"),
        Parameter("plqy_limit", "1", 0.7, "uniform", 0.3, "calibrated",
                  "quantum yield with instant mixing and no DMF; fixed by 60 % on the precursor sweep",
                  "Liang, Nanoscale Adv. 5 (2023) 2038"),
        Parameter("plqy_time", "s", 0.2, "lognormal", 5.0, "bounded",
                  "mixing time at which half of the crystals are dark; the limit of the quantum yield is at most 1",
                  "mixers of 23 ms to 2 s, cuboids from 0.2 s on (Ng, J. Mater. Chem. C 2021, D0TC04519E)"),
        Parameter("dmf_quench", "1", 5.0, "uniform", 5.0, "bounded",
                  "loss of ln quantum yield per volume share of DMF; the precursor sweep is flat",
                  "no loss at all, up to what a flat precursor sweep excludes (10 % over 1 vol %)"),
    )
}


def known_ligand(ligand: str) -> Ligand:
    """The ligand of that name; raises `BadInput` on any other."""
    for known in LIGANDS:
        if ligand == known:
            return known
    raise BadInput(f'"{ligand}" is not a ligand of the twin', 'choose "ps" (star polymer) or "oa" (OA/OAm)')
