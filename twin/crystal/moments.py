"""Moments of a size distribution under growth, nucleation and washout, closed by two-node quadrature.

m_k = ∫ Lᵏ n dL for k = 0 … 3, in any consistent unit of size and per any volume that does not change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from twin.errors import NotConverged

ORDERS = 4
#: Below this relative variance the skewness is noise of the integration and fades out.
_NARROW = 1e-6

Nodes = tuple[float, float, float, float]


def nodes(moments: Sequence[float]) -> Nodes:
    """Weights and sizes (w₁, w₂, L₁, L₂) of the two-node quadrature that has these four moments.

    L = μ + σ (s/2 ± √(1 + s²/4)), with the mean μ, the spread σ and the skewness s of the distribution; exact for
    every polynomial in L up to degree 3. Below a relative spread of 0.1 % the skewness fades out, and the nodes go to
    the mean. Source: closed form of the product-difference algorithm (McGraw, Aerosol Sci. Technol. 27 (1997) 255).
    """
    number, first, second, third = moments
    mean = first / number
    variance = second / number - mean * mean
    if variance <= 0 or mean <= 0:
        return 0.5 * number, 0.5 * number, mean, mean
    spread = math.sqrt(variance)
    width = (variance / (_NARROW * mean * mean)) ** 2
    half = 0.5 * (third / number - 3.0 * mean * variance - mean**3) / spread**3 * width / (1.0 + width)
    root = math.sqrt(1.0 + half * half)
    upper = 0.5 * (1.0 - half / root)
    return number * (1.0 - upper), number * upper, mean + spread * (half - root), mean + spread * (half + root)


def moment_rates(
    quadrature: Nodes, growth: Callable[[float], float], birth: float, birth_size: float
) -> tuple[float, float, float, float]:
    """dm_k/dt = k Σ w L^{k−1} G(L) + B L_nᵏ for k = 0 … 3.

    Exact where G is a constant or proportional to L; else as good as the quadrature. `birth` is per unit volume and
    time, and `birth_size` in the unit of size of the moments.
    """
    w1, w2, l1, l2 = quadrature
    f1, f2 = w1 * growth(l1), w2 * growth(l2)
    s, s2 = birth_size, birth_size * birth_size
    return (
        birth,
        f1 + f2 + birth * s,
        2.0 * (f1 * l1 + f2 * l2) + birth * s2,
        3.0 * (f1 * l1 * l1 + f2 * l2 * l2) + birth * s2 * s,
    )


def evolve(
    start: Sequence[float],
    time: float,
    growth: Callable[[float], float],
    birth: float = 0.0,
    birth_size: float = 0.0,
    residence: float = math.inf,
    tolerance: float = 1e-10,
) -> NDArray[np.float64]:
    """The four moments after `time` at constant rates, with washout −m_k/`residence`; shape (4,).

    `tolerance` is relative, and absolute for moments of order 1. Raises `NotConverged` where the integration fails.
    """

    def rates(_: float, moments: NDArray[np.float64]) -> list[float]:
        m = moments.tolist()
        quadrature = nodes(m) if m[0] > 0 else (0.0, 0.0, 0.0, 0.0)
        gains = moment_rates(quadrature, growth, birth, birth_size)
        return [gain - moment / residence for gain, moment in zip(gains, m, strict=True)]

    answer = solve_ivp(rates, (0.0, time), np.asarray(start, float), method="LSODA", rtol=tolerance, atol=tolerance)
    if not answer.success:
        raise NotConverged(f"the moments could not be integrated: {answer.message}", "loosen the tolerance")
    return np.asarray(answer.y[:, -1])
