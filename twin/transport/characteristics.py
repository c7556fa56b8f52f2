"""Where the paths of a tube's flow lead, from any section to any other, in smooth functions on the disc.

The motion of the paths dx/dz = h u/w, smooth on the flow's scale, is kept in Chebyshev polynomials and Fourier modes,
and its velocity is first freed of what divergence interpolation left in it. Lengths are in bores, velocities in U; the
section is the disc of diameter 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from twin.errors import BadInput
from twin.transport.polar import RADIUS

_PROJECTIONS = 8
_PARTS = 4  # of a step along a steady path


class SectionVelocity(Protocol):
    """What the march must know of the flow."""

    @property
    def curvature(self) -> float:
        """D/D_coil, 0 in a straight tube."""

    @property
    def steady_from(self) -> float:
        """Where the flow ceases to change, in bores."""

    def at(self, z: float, points: np.ndarray) -> np.ndarray:
        """(u, v, w) in U at points of the section, (n, 2) in bores: (n, 3)."""


class Modes:
    """Smooth functions on the disc: Fourier modes in the angle, Chebyshev polynomials of their parity in the radius.

    Sampled at `points`, (radii·angles, 2); the outermost lies inside the disc.
    """

    def __init__(self, radii: int = 24, angles: int = 72) -> None:
        self.radii, self.angles = radii, angles
        self.r = RADIUS * np.cos(np.pi * (np.arange(radii) + 0.5) / (2 * radii))
        theta = 2 * np.pi * np.arange(angles) / angles
        self.points = np.stack([self.r[:, None] * np.cos(theta), self.r[:, None] * np.sin(theta)], axis=-1).reshape(
            -1, 2
        )
        self.shape = 1 - (self.points**2).sum(axis=1) / RADIUS**2
        self.weights = np.repeat(
            self.r * np.sin(np.arccos(self.r / RADIUS)), angles
        )  # of an integral, but for a factor
        self._waves = np.arange(angles // 2 + 1)
        self._odd = self._waves % 2
        self._inverse = [np.linalg.inv(self.radial(self.r, parity)) for parity in (0, 1)]
        self._slope = [self._slopes(self.r, parity) for parity in (0, 1)]
        self._potential = [self._potential_of(int(wave)) for wave in self._waves]

    def radial(self, r: np.ndarray, parity: int) -> np.ndarray:
        """The polynomials of one parity at radii, (n,): (n, radii)."""
        degrees = 2 * np.arange(self.radii) + parity
        return np.cos(np.arccos(np.clip(r / RADIUS, -1, 1))[:, None] * degrees)

    def _slopes(self, r: np.ndarray, parity: int, order: int = 1) -> np.ndarray:
        """The derivatives of `radial` by r, or the second ones."""
        result = np.empty((len(r), self.radii))
        for k, degree in enumerate(2 * np.arange(self.radii) + parity):
            polynomial = np.polynomial.Chebyshev.basis(int(degree)).deriv(order)
            result[:, k] = polynomial(r / RADIUS) / RADIUS**order
        return result

    def _potential_of(self, wave: int) -> np.ndarray:
        """Takes one mode of a density, at the radii, to that of φ with ∇·((1 − 4r²)∇φ) equal to it."""
        parity, r = wave % 2, self.r[:, None]
        first, second = (self._slopes(self.r, parity, order) for order in (1, 2))
        shape = 1 - (r / RADIUS) ** 2
        flat = self.radial(self.r, parity)
        laplacian = shape * (second + first / r - wave**2 / r**2 * flat) - 2 * r / RADIUS**2 * first
        # The constant has no gradient; least squares leaves what no potential can meet.
        return flat @ np.linalg.pinv(laplacian, rcond=1e-10)

    def gradient(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """∂/∂x and ∂/∂y, at `points`, of values there."""
        coefficients = self.fit(values)
        outward = np.zeros((self.radii, len(self._waves)), dtype=complex)
        for parity in (0, 1):
            outward[:, self._odd == parity] = self._slope[parity] @ coefficients[:, self._odd == parity]
        along = np.fft.irfft(outward * self.angles, n=self.angles, axis=1).ravel()
        waves = np.fft.rfft(values.reshape(self.radii, self.angles), axis=1)
        waves[:, -1] = 0.0
        around = np.fft.irfft(1j * self._waves * waves, n=self.angles, axis=1).ravel()
        x, y = self.points.T
        square = x**2 + y**2
        r = np.sqrt(square)
        return along * x / r - around * y / square, along * y / r + around * x / square

    def potential(self, density: np.ndarray) -> np.ndarray:
        """φ at `points` with ∇·((1 − 4r²)∇φ) = density, which has no mean."""
        waves = np.fft.rfft(density.reshape(self.radii, self.angles), axis=1)
        waves[:, -1] = 0.0
        for wave in self._waves[:-1]:
            waves[:, wave] = self._potential[wave] @ waves[:, wave]
        return np.fft.irfft(waves, n=self.angles, axis=1).ravel()

    def fit(self, values: np.ndarray) -> np.ndarray:
        """The coefficients, (radii, angles/2 + 1), of values at `points`."""
        waves = np.fft.rfft(values.reshape(self.radii, self.angles), axis=1) / self.angles
        waves[:, -1] = 0.0
        result = np.empty_like(waves)
        for parity in (0, 1):
            result[:, self._odd == parity] = self._inverse[parity] @ waves[:, self._odd == parity]
        return result

    def smoothed(self, values: np.ndarray) -> np.ndarray:
        """Values at `points` without the highest third of the modes, which holds the kinks of a mesh."""
        coefficients = self.fit(values)
        coefficients[2 * self.radii // 3 :] = 0.0
        coefficients[:, self.angles // 3 :] = 0.0
        return self.on_grid(coefficients, self.r, self.angles).ravel()

    def values(self, coefficients: Sequence[np.ndarray], points: np.ndarray) -> list[np.ndarray]:
        """Several functions at scattered points, (n, 2): (n,) each."""
        r, angle = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0])
        waves = np.exp(1j * angle[:, None] * np.arange(self.angles // 2 + 1))
        waves[:, 1:] *= 2
        basis = [self.radial(r, parity) for parity in (0, 1)]
        results = []
        for one in coefficients:
            total = np.zeros(len(points))
            for parity in (0, 1):
                chosen = self._odd == parity
                total += np.einsum("ij,ij->i", basis[parity] @ one[:, chosen], waves[:, chosen]).real
            results.append(total)
        return results

    def on_grid(self, coefficients: np.ndarray, r: np.ndarray, angles: int) -> np.ndarray:
        """A function on a polar grid, radii (n,) by so many angles from 0: (n, angles)."""
        waves = np.zeros((len(r), angles // 2 + 1), dtype=complex)
        for parity in (0, 1):
            chosen = np.flatnonzero(self._odd == parity)
            waves[:, chosen] = self.radial(r, parity) @ coefficients[:, chosen]
        return np.fft.irfft(waves * angles, n=angles, axis=1)


class Stream:
    """The flow at one z in modes: the slopes of its paths, (h u/w, h v/w), and w.

    `growth` is ∂w/∂z at the modes' points. From the flux h u the gradient of a potential times Poiseuille's shape is
    taken, again and again, until ∇·(h u) + ∂w/∂z = 0 but for a hundredth of what interpolation from a mesh had left of
    it: so the paths keep the flux w dA between them.
    """

    def __init__(self, modes: Modes, sample: np.ndarray, growth: np.ndarray, curvature: float) -> None:
        h = 1 + 2 * curvature * modes.points[:, 0]
        along = modes.smoothed(sample[:, 2])
        slopes = np.column_stack([modes.smoothed(h * sample[:, i] / sample[:, 2]) for i in (0, 1)])
        for _ in range(_PROJECTIONS):
            excess = sum(modes.gradient(slopes[:, i] * along)[i] for i in (0, 1)) + growth
            steps = modes.gradient(modes.potential(excess))
            slopes -= np.column_stack([modes.smoothed(one * modes.shape / sample[:, 2]) for one in steps])
        self.along = modes.fit(along)
        self.slopes = [modes.fit(slopes[:, i]) for i in (0, 1)]
        self.steepest = float(np.abs(slopes).max())
        rates = np.array([modes.gradient(slopes[:, i]) for i in (0, 1)])
        weight = sample[:, 2] * modes.weights
        self.shear = math.sqrt(float(weight @ (rates**2).sum(axis=(0, 1))) / float(weight.sum()))


class Paths:
    """Where the paths of a flow lead from, between any two z."""

    def __init__(self, velocity: SectionVelocity, modes: Modes | None = None) -> None:
        self.velocity, self.modes = velocity, modes or Modes()
        self._steady: Stream | None = None

    def sample(self, z: float) -> np.ndarray:
        """(u, v, w) at the modes' points; raises `BadInput` where fluid flows back."""
        sample = np.asarray(self.velocity.at(min(z, self.velocity.steady_from), self.modes.points), dtype=float)
        lowest = float(sample[:, 2].min())
        if not lowest > 0:
            raise BadInput(f"at {z:.3g} bores w = {lowest:.3g} U: marching needs forward flow", "start further down")
        return sample

    def stream(self, z: float, growth: np.ndarray) -> Stream:
        """The flow at z where w grows at this rate along z, at the modes' points."""
        return Stream(self.modes, self.sample(z), growth, self.velocity.curvature)

    def between(self, before: float, after: float) -> tuple[Stream, Stream, Stream]:
        """The flow at both ends of a step and in its middle."""
        if before >= self.velocity.steady_from:
            if self._steady is None:
                self._steady = self.stream(before, np.zeros(len(self.modes.points)))
            return self._steady, self._steady, self._steady
        growth = (self.sample(after)[:, 2] - self.sample(before)[:, 2]) / (after - before)
        first, middle, last = (self.stream(z, growth) for z in (before, (before + after) / 2, after))
        return first, middle, last

    def shifts(self, streams: tuple[Stream, Stream, Stream], length: float) -> list[np.ndarray]:
        """The modes of (x, y) of the foot of each path, a step upstream, less those of its head (RK4)."""
        first, middle, last = streams
        head = self.modes.points

        def slope(stream: Stream, at: np.ndarray) -> np.ndarray:
            return np.column_stack(self.modes.values(stream.slopes, _inside(at)))

        # Where the flow is steady the shifts are kept, so they may cost more.
        parts = _PARTS if first is last else 1
        part, foot = length / parts, head
        for _ in range(parts):
            one = slope(last, foot)
            two = slope(middle, foot - part / 2 * one)
            three = slope(middle, foot - part / 2 * two)
            four = slope(first, foot - part * three)
            foot = foot - part / 6 * (one + 2 * two + 2 * three + four)
        shift = foot - head
        return [self.modes.fit(shift[:, i]) for i in (0, 1)]


def _inside(points: np.ndarray) -> np.ndarray:
    """Points that rounding left outside the disc are put back on the wall."""
    return points * np.minimum(1, RADIUS / np.maximum(np.hypot(*points.T), 1e-300))[:, None]
