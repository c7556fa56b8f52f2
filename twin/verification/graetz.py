"""Advection–diffusion in developed flow between plates and in a tube, by separation of variables.

    w(s) ∂c/∂x = (1/Pe) (1/m) ∂/∂s (m ∂c/∂s)      m = 1 between plates, s from −½ to ½; m = s in a tube, s from 0 to ½

with the eigenfunctions found in Legendre polynomials: exact to rounding for the low ones. Axial diffusion is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.polynomial import legendre

Profile = Callable[[np.ndarray], np.ndarray]
_MODES = 160


@dataclass(frozen=True)
class Modes:
    """Eigenvalues λ (modes,) of exp(−λ x/Pe); of an inlet profile the squares of its amplitudes, its flow and mean.

    `squares` are normalised so that their sum is ∫ c² w dA of the profile.
    """

    rates: np.ndarray
    squares: np.ndarray
    flow: float
    mean: float

    def segregation(self, distance: float, peclet: float) -> float:
        """I_s at a distance from the inlet, both on the same length as s."""
        decaying = self.squares[1:] @ np.exp(-2 * self.rates[1:] * distance / peclet)
        return float(decaying / (self.flow * self.mean * (1 - self.mean)))

    def survival(self, distance: float, peclet: float) -> float:
        """Flow-weighted mean of a uniform inlet profile at a distance, over that at the inlet."""
        return float(self.squares @ np.exp(-self.rates * distance / peclet) / self.flow)


def plates(profile: Profile, inside: float, outside: float = -0.5) -> Modes:
    """Two streams between insulated plates: c = 1 for `outside` < s < `inside`."""
    return _modes(profile, lambda s: np.ones_like(s), -0.5, (outside, inside), sink=False)


def tube(profile: Profile, inside: float) -> Modes:
    """A core of c = 1 for s < `inside` in an insulated tube."""
    return _modes(profile, lambda s: 2 * np.pi * s, 0.0, (0.0, inside), sink=False)


def tube_with_sink(profile: Profile) -> Modes:
    """A uniform inlet in a tube whose wall takes all that reaches it: the problem of Graetz."""
    return _modes(profile, lambda s: 2 * np.pi * s, 0.0, (0.0, 0.5), sink=True)


def _modes(profile: Profile, measure: Profile, low: float, stream: tuple[float, float], sink: bool) -> Modes:
    middle, half = (low + 0.5) / 2, (0.5 - low) / 2
    node, weight = legendre.leggauss(2 * _MODES)
    s = middle + half * node
    values = legendre.legvander(node, _MODES - 1)
    slopes = np.stack([legendre.legval(node, legendre.legder(row)) for row in np.eye(_MODES)], axis=1) / half
    mass = values.T @ (values * (weight * half * profile(s) * measure(s))[:, None])
    stiffness = slopes.T @ (slopes * (weight * half * measure(s))[:, None])
    basis = np.eye(_MODES)
    if sink:  # every polynomial less the constant (its value at the wall is 1): zero there
        basis = basis[:, 1:] - np.eye(_MODES)[:, :1]
    rates, vectors = scipy.linalg.eigh(basis.T @ stiffness @ basis, basis.T @ mass @ basis)
    a, b = stream
    inner = (a + b) / 2 + (b - a) / 2 * node
    carried = weight * (b - a) / 2 * profile(inner) * measure(inner)
    amplitudes = (carried @ legendre.legvander((inner - middle) / half, _MODES - 1)) @ basis @ vectors
    flow = float((weight * half * profile(s) * measure(s)).sum())
    return Modes(np.maximum(rates, 0.0), amplitudes**2, flow, float(carried.sum()) / flow)
