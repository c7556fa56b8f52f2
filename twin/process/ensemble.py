"""The members of the ensemble that carries the model's uncertainty: one draw of every parameter each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import qmc

from twin.crystal import (
    PARAMETERS,
    Crystals,
    Engulfment,
    Kinetics,
    Ligand,
    Optics,
    Templates,
    Zone,
    crystallize,
    quantum_yield,
)
from twin.operating import OperatingPoint

Array = NDArray[np.float64]

_KINETICS = ("gamma", "nucleation", "k_surface", "diffusivity", "solubility_dmf", "antisolvency")
_OPTICS = ("emission_bulk", "confinement", "linewidth")
#: Standard normal deviates beside the parameters: of the surrogate and of its bracket ...
DEVIATES = ("surrogate", "bracket")
#: ... and of the errors of the data.
ERRORS = ("size_nm", "plqy")
DRAWN = tuple(name for name, parameter in PARAMETERS.items() if parameter.distribution != "fixed")


@dataclass(frozen=True)
class Member:
    """One draw: every parameter by its name, in the unit of `twin.crystal.PARAMETERS`, and the deviates."""

    parameters: dict[str, float]
    deviates: dict[str, float]

    def replaced(self, **parameters: float) -> Member:
        """The same draw with some parameters set."""
        return Member(self.parameters | parameters, self.deviates)

    def crystals(
        self, ligand: Ligand, point: OperatingPoint, mixing_time_s: float, feed: float, tolerance: float = 1e-7
    ) -> Crystals:
        """The crystals at a point; `feed` in mol per m³ of the precursor stream."""
        zone = Engulfment.from_mixing_time(point.precursor_fraction, mixing_time_s)
        return self.crystals_in(zone, ligand, point.temperature_k, feed, tolerance)

    def crystals_in(
        self, zone: Zone, ligand: Ligand, temperature_k: float, feed: float, tolerance: float = 1e-7
    ) -> Crystals:
        """The crystals of a zone, or of the history of a fluid element."""
        own = self.parameters
        kinetics = Kinetics(**{name: own[name] for name in _KINETICS}, temperature_k=temperature_k)
        if ligand == "ps":
            templates = Templates(own["size_limit"], own["template_rate"], own["template_barrier"])
            return crystallize(kinetics, zone, feed, templates, tolerance=tolerance)
        return crystallize(kinetics, zone, feed, shape=own["shape"], tolerance=tolerance)

    def saturates(self, point: OperatingPoint, feed: float) -> bool:
        """Whether the mixed product is supersaturated before anything crystallizes."""
        own = self.parameters
        share = point.precursor_fraction
        driving = math.log(feed * share / own["solubility_dmf"]) + own["antisolvency"] * (1.0 - share)
        return driving > 0

    def plqy(self, point: OperatingPoint, mixing_time_s: float) -> float:
        """Quantum yield at a point, as a share."""
        own = self.parameters
        return quantum_yield(
            own["plqy_limit"], mixing_time_s, own["plqy_time"], point.precursor_fraction, own["dmf_quench"]
        )

    @property
    def optics(self) -> Optics:
        """Colour of the crystals."""
        return Optics(**{name: self.parameters[name] for name in _OPTICS})


def candidates(count: int, seed: int) -> list[Member]:
    """At least `count` draws from the priors, the next power of 2: scrambled Sobol points of a seed."""
    fixed = {name: parameter.median for name, parameter in PARAMETERS.items() if name not in DRAWN}
    sampler = qmc.Sobol(len(DRAWN) + len(DEVIATES), rng=np.random.default_rng(seed))
    members = []
    for row in sampler.random_base2(max(1, math.ceil(math.log2(count)))):
        shares = np.clip(row, 1e-6, 1.0 - 1e-6)
        drawn = {name: PARAMETERS[name].quantile(float(share)) for name, share in zip(DRAWN, shares, strict=False)}
        normal = {name: float(ndtri(share)) for name, share in zip(DEVIATES, shares[len(DRAWN) :], strict=True)}
        members.append(Member(fixed | drawn, normal))
    return members


def errors(count: int, seed: int) -> list[dict[str, float]]:
    """Errors of the data for `count` members: the medians of as many equal strata, in random order for each datum.

    Their mean and their median are zero, so a fit is not off by the luck of the draw.
    """
    strata = ndtri((np.arange(count) + 0.5) / count)
    rng = np.random.default_rng(seed)
    columns = [rng.permutation(strata) for _ in ERRORS]
    return [dict(zip(ERRORS, map(float, row), strict=True)) for row in zip(*columns, strict=True)]


def deviates(members: Sequence[Member], name: str) -> Array:
    """One deviate of every member, shape (n,)."""
    return np.array([member.deviates[name] for member in members])
