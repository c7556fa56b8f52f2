"""The concentration in the outlet tube, marched downstream in the velocity of its sections.

    w ∂c/∂z + h u·∇c = ∇·(h∇c)/Pe,   ∂c/∂n = 0 on the wall,   h = 1 + κx, κ = 2 D/D_coil

Lengths are in bores, velocities in U, Pe = U D/D_m; the section is the disc of diameter 1, u is across it, w along the
tube, z the arc length. Diffusion along z, a part 1/Pe, is left out.

Advection and diffusion take turns (Strang). Advection is exact along the paths dx/dz = h u/w, whatever the step: each
node takes the value at the foot of its path, from cubic splines on a polar grid (semi-Lagrangian; Staniforth & Côté
1991). The motion of the paths, smooth on the flow's scale, is kept in Chebyshev polynomials and Fourier modes, and its
velocity is first freed of what divergence interpolation left in it. Diffusion is implicit, of second order in z and
L-stable (SDIRK2), with gradients of fourth order in a symmetric form that conserves ∫w c to the last digit.

All is linear in c, so several fields march together; the mean of two independent, noisy estimates of one field, c₁ and
c₂, costs no bias: ∫w c₁c₂ is free of it, where ∫w c² holds the noise's own variance. What the scheme itself diffuses is
told by the variance budget,
    D_num/D_m = [∫w c² before − ∫w c² after] / (2/Pe ∫∫ h|∇c|² dA dz) − 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import map_coordinates, spline_filter1d

from twin.errors import BadInput, NotConverged

RADIUS = 0.5
SDIRK = 1 - 1 / math.sqrt(2)
SHEAR = 0.4  # most that paths turn or strain in a step, rms: the splitting errs by about a 24th of its square
GROWTH = 1.3  # of a step, at most
_PAD = 16  # columns that continue a periodic field for the splines, which forget by 0.27 a column
_CG_TOLERANCE = 1e-10
_MOST_CG = 200
_COARSER = 2e-3  # of the rms: what a grid of half the nodes may lose for c to move there
_PROJECTIONS = 8
_PARTS = 4  # of a step along a steady path
SPACING = 0.0025  # of the first grid's nodes along the radius, in bores
_ANGLES = 5  # nodes around for each along the radius
_FEWEST = 48  # nodes along the radius, at least

Initial = Callable[[np.ndarray], np.ndarray]


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


@dataclass(frozen=True)
class Station:
    """The mixing where the tube is `bores` long.

    mean         flux of each field over that of the volume, ∫w c / ∫w
    flux_error   what the interpolation has changed of it since the start, and was put right, over the mean, summed
    segregation  I_s = (∫w c_i c_j/∫w − c̄²)/(c̄(1 − c̄)) of each pair; unbiased where the fields' noise is independent
    alone        the same of each field with itself: its noise counts as segregation
    index        M = 1 − √I_s of each pair
    numerical    D_num/D_m of each pair since the station before; NaN at the start
    scale        √(∫w(c − c̄)²/(U∫|∇c|²)) of each pair in bores: the thickness of its striations, over π for a sine
    lowest, highest  of each field
    step         length of the last step, in bores
    spacing      of the grid's nodes along the radius, in bores
    """

    bores: float
    mean: tuple[float, ...]
    flux_error: tuple[float, ...]
    segregation: dict[tuple[int, int], float]
    alone: tuple[float, ...]
    index: dict[tuple[int, int], float]
    numerical: dict[tuple[int, int], float]
    scale: dict[tuple[int, int], float]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    step: float
    spacing: float


# -- the smooth fields of the flow -------------------------------------------------------------------------------------


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


class _Stream:
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
        self._steady: _Stream | None = None

    def sample(self, z: float) -> np.ndarray:
        """(u, v, w) at the modes' points; raises `BadInput` where fluid flows back."""
        sample = np.asarray(self.velocity.at(min(z, self.velocity.steady_from), self.modes.points), dtype=float)
        lowest = float(sample[:, 2].min())
        if not lowest > 0:
            raise BadInput(f"at {z:.3g} bores w = {lowest:.3g} U: marching needs forward flow", "start further down")
        return sample

    def stream(self, z: float, growth: np.ndarray) -> _Stream:
        """The flow at z where w grows at this rate along z, at the modes' points."""
        return _Stream(self.modes, self.sample(z), growth, self.velocity.curvature)

    def between(self, before: float, after: float) -> tuple[_Stream, _Stream, _Stream]:
        """The flow at both ends of a step and in its middle."""
        if before >= self.velocity.steady_from:
            if self._steady is None:
                self._steady = self.stream(before, np.zeros(len(self.modes.points)))
            return self._steady, self._steady, self._steady
        growth = (self.sample(after)[:, 2] - self.sample(before)[:, 2]) / (after - before)
        first, middle, last = (self.stream(z, growth) for z in (before, (before + after) / 2, after))
        return first, middle, last

    def shifts(self, streams: tuple[_Stream, _Stream, _Stream], length: float) -> list[np.ndarray]:
        """The modes of (x, y) of the foot of each path, a step upstream, less those of its head (RK4)."""
        first, middle, last = streams
        head = self.modes.points

        def slope(stream: _Stream, at: np.ndarray) -> np.ndarray:
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


# -- the grid ----------------------------------------------------------------------------------------------------------


class Grid:
    """A polar grid with its nodes in the middles of cells, and what acts on fields, (radii·angles, fields)."""

    def __init__(self, radii: int, angles: int, curvature: float) -> None:
        self.radii, self.angles, self.curvature = radii, angles, curvature
        self.dr, self.da = RADIUS / radii, 2 * math.pi / angles
        self.r = (np.arange(radii) + 0.5) * self.dr
        angle = np.arange(angles) * self.da
        self.x = (self.r[:, None] * np.cos(angle)).ravel()
        self.y = (self.r[:, None] * np.sin(angle)).ravel()
        self.volume = np.repeat(self.r * self.dr * self.da, angles)
        self.shape = 1 - (self.x**2 + self.y**2) / RADIUS**2
        self.stiffness = self._stiffness()
        # Of the preconditioner: second differences in the radius, the stiffness' own symbol in the angle.
        self._between = np.arange(1, radii) * self.da  # r Δr Δα/Δr² on the faces inside
        wave = np.arange(angles // 2 + 1) * self.da
        symbol = ((27 * 2 * np.sin(wave / 2) - 2 * np.sin(3 * wave / 2)) / 24 / self.da) ** 2
        self._around = self.dr * self.da / self.r[:, None] * symbol

    def _stiffness(self) -> sparse.csr_matrix:
        """∫ h ∇a·∇b of two fields: gradients on the faces from four nodes each, to fourth order."""
        i, j = np.meshgrid(np.arange(self.radii), np.arange(self.angles), indexing="ij")

        def node(i: np.ndarray, j: np.ndarray) -> np.ndarray:
            j = np.where(i < 0, j + self.angles // 2, j) % self.angles  # across the centre
            i = np.where(i < 0, -1 - i, i)
            i = np.where(i >= self.radii, 2 * self.radii - 1 - i, i)  # mirrored in the wall
            return (i * self.angles + j).ravel()

        total = sparse.csr_matrix((i.size, i.size))
        for di, dj in ((1, 0), (0, 1)):
            columns = [node(i + k * di, j + k * dj) for k in (-1, 0, 1, 2)]
            ahead = (np.arange(self.radii)[:, None] + 1) * self.dr if di else self.r[:, None]
            angle = (np.arange(self.angles) + dj / 2) * self.da
            distance = self.dr if di else self.r[:, None] * self.da
            values = np.array([1.0, -27.0, 27.0, -1.0])[:, None, None] / (24 * distance) * np.ones(i.shape)
            rows = np.tile(np.arange(i.size), 4)
            gradient = sparse.csr_matrix((values.ravel(), (rows, np.concatenate(columns))), shape=(i.size, i.size))
            weight = ahead * self.dr * self.da * (1 + 2 * self.curvature * ahead * np.cos(angle))
            if di:
                weight[-1] = 0.0  # nothing through the wall
            part = gradient.T @ sparse.diags(np.broadcast_to(weight, i.shape).ravel()) @ gradient
            total = total + part
        return total.tocsr()

    def averaged(self, function: Initial, parts: int = 3) -> np.ndarray:
        """The means over the cells of a function of points, (n, 2): (n,), from so many points squared in each."""
        total = np.zeros(len(self.x))
        for i, j in np.ndindex(parts, parts):
            r = np.repeat(self.r + ((i + 0.5) / parts - 0.5) * self.dr, self.angles)
            angle = np.tile((np.arange(self.angles) + (j + 0.5) / parts - 0.5) * self.da, self.radii)
            total += np.asarray(function(np.column_stack([r * np.cos(angle), r * np.sin(angle)])), dtype=float)
        return total / parts**2

    def splines(self, fields: np.ndarray) -> list[np.ndarray]:
        """The coefficients of each field's cubic spline, for `sampled`."""
        results = []
        for field in fields.T:
            square = field.reshape(self.radii, self.angles)
            beyond = np.roll(square[:_PAD], self.angles // 2, axis=1)[::-1]
            padded = np.pad(np.vstack([beyond, square]), ((0, 0), (_PAD, _PAD)), mode="wrap")
            for axis in (0, 1):
                padded = spline_filter1d(padded, order=3, axis=axis, mode="reflect")
            results.append(padded)
        return results

    def sampled(self, splines: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The fields of some splines at points: (n, fields)."""
        rows = np.minimum(np.hypot(x, y), RADIUS) / self.dr - 0.5 + _PAD
        columns = np.arctan2(y, x) / self.da % self.angles + _PAD
        where = np.stack([rows, columns])
        found = [map_coordinates(one, where, order=3, mode="reflect", prefilter=False) for one in splines]
        return np.stack(found, axis=-1)

    def factored(self, mass: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The factors of mass + rate · stiffness with both averaged over the angle, mode by mode."""
        mean = mass.reshape(self.radii, self.angles).mean(axis=1)
        diagonal = mean[:, None] + rate * self._around
        diagonal[1:] += rate * self._between[:, None]
        diagonal[:-1] += rate * self._between[:, None]
        for i in range(1, self.radii):
            diagonal[i] -= (rate * self._between[i - 1]) ** 2 / diagonal[i - 1]
        return 1 / diagonal, rate * self._between, np.sqrt(np.repeat(mean, self.angles) / mass)

    def precondition(self, factors: tuple[np.ndarray, np.ndarray, np.ndarray], field: np.ndarray) -> np.ndarray:
        """Solves approximately with `factored`; w's variation around the axis is scaled out."""
        inverse, off, scale = factors
        waves = np.fft.rfft((scale * field).reshape(self.radii, self.angles), axis=1)
        ratio = inverse[:-1] * off[:, None]
        for i in range(1, self.radii):
            waves[i] += ratio[i - 1] * waves[i - 1]
        waves *= inverse
        for i in range(self.radii - 2, -1, -1):
            waves[i] += ratio[i] * waves[i + 1]
        return scale * np.fft.irfft(waves, n=self.angles, axis=1).ravel()

    def diffused(self, fields: np.ndarray, mass: np.ndarray, rate: float) -> np.ndarray:
        """The fields, (n, fields), after mass · dc = −rate · stiffness · c has acted: SDIRK2, one pair of factors."""
        inner = SDIRK * rate
        factors = self.factored(mass, inner)
        result = np.empty_like(fields)
        for i, field in enumerate(fields.T):
            stage = self._solved(factors, mass, inner, field, field)
            ahead = field + (1 - SDIRK) / SDIRK * (stage - field)
            result[:, i] = self._solved(factors, mass, inner, ahead, stage)
        return result

    def _solved(
        self,
        factors: tuple[np.ndarray, np.ndarray, np.ndarray],
        mass: np.ndarray,
        rate: float,
        field: np.ndarray,
        guess: np.ndarray,
    ) -> np.ndarray:
        """(mass + rate · stiffness)⁻¹ mass · field, by conjugate gradients."""
        result, right = guess.copy(), mass * field
        rest = right - mass * result - rate * (self.stiffness @ result)
        goal = _CG_TOLERANCE**2 * float(right @ right)
        direction, product = np.zeros_like(rest), 1.0
        for _ in range(_MOST_CG):
            if float(rest @ rest) <= goal:
                return result
            near = self.precondition(factors, rest)
            new = float(rest @ near)
            direction = near + new / product * direction
            product = new
            image = mass * direction + rate * (self.stiffness @ direction)
            length = new / float(direction @ image)
            result += length * direction
            rest -= length * image
        raise NotConverged("diffusion across the tube does not converge", "take shorter steps")


# -- the march ---------------------------------------------------------------------------------------------------------


def scattered(points: np.ndarray, values: np.ndarray) -> Initial:
    """A start from values, (n,), at points of the section, (n, 2) in bores: linear between them, nearest outside.

    Linear in the values, so noise that is independent in two sets of values stays so.
    """
    points, values = np.asarray(points, dtype=float), np.asarray(values, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or values.shape != (len(points),):
        raise BadInput("a start from samples takes (n, 2) points and (n,) values", "check their shapes")
    inner, outer = LinearNDInterpolator(points, values), NearestNDInterpolator(points, values)

    def value(at: np.ndarray) -> np.ndarray:
        found = inner(at)
        return np.where(np.isnan(found), outer(at), found)

    return value


def nodes(spacing: float = SPACING) -> tuple[np.ndarray, int]:
    """Where a march with this spacing wants its start: (nodes, 2) in bores, ring by ring, and the nodes of a ring."""
    radii = _radii(spacing)
    grid = Grid(radii, _ANGLES * radii, 0.0)
    return np.column_stack([grid.x, grid.y]), grid.angles


def _radii(spacing: float) -> int:
    return max(_FEWEST, 8 * math.ceil(RADIUS / spacing / 8))


class March:
    """One march of several fields from `begin` bores; `to` takes it to a station, `fields` is what is there.

    initial   c of each field: a function of points (n, 2), taken as means over the grid's cells, or values at `nodes`
    peclet    U D/D_m
    spacing   of the first grid's nodes along the radius, in bores; later grids are coarser where that loses nothing
    first     length of the first step, bores; steps grow by no more than `GROWTH`
    drop      share of its variance that a field may lose in a step
    shear     most that paths may turn or strain in a step, rms; twice that where the flow is steady
    step      makes all steps equal, but for the last before a station
    fields    (nodes, fields) at the nodes (grid.x, grid.y)
    """

    def __init__(
        self,
        velocity: SectionVelocity,
        initial: Sequence[Initial | np.ndarray],
        peclet: float,
        begin: float,
        spacing: float = SPACING,
        first: float = 0.01,
        drop: float = 0.04,
        shear: float = SHEAR,
        step: float | None = None,
        coarsen: bool = True,
    ) -> None:
        self.peclet, self._begin = peclet, begin
        self._paths = Paths(velocity)
        self._steady_from = velocity.steady_from
        radii = _radii(spacing)
        self.grid = Grid(radii, _ANGLES * radii, velocity.curvature)
        self.z, self._pending, self._length = begin, 0.0, step or first
        self._first, self._drop, self._shear, self._fixed, self._coarsen = first, drop, shear, step, coarsen
        self.fields = np.stack(
            [self.grid.averaged(one) if callable(one) else np.asarray(one, float) for one in initial], axis=-1
        )
        if len(self.fields) != len(self.grid.x):
            raise BadInput("the start does not fit the grid", "give its values at `nodes(spacing)`, or a function")
        if not np.isfinite(self.fields).all():
            raise BadInput("the concentration at the start is not finite", "check the samples it is made of")
        self.steps = 0
        self._stream = self._paths.stream(begin, np.zeros(len(self._paths.modes.points)))
        self._mass = self._weights(self._stream)
        self._mean = self._means()
        self._put_right = np.zeros(self.fields.shape[1])
        count = self.fields.shape[1]
        self._pairs = [(i, j) for i in range(count) for j in range(i + 1, count)] or [(0, 0)]
        self._last_product, self._dissipated = self._products(), np.zeros(len(self._pairs))
        self._moved: tuple[tuple[float, int], np.ndarray, np.ndarray] | None = None

    def to(self, z: float) -> Station:
        """Marches to z and reports."""
        if z < self.z:
            raise BadInput(f"{z:g} bores lies before {self.z:g}", "give the stations in rising order, after the start")
        while self.z < z - 1e-12 * max(z, 1):
            streams = None
            left = z - self.z
            length = left / math.ceil(left / self._length - 1e-9)
            while streams is None:
                streams = self._paths.between(self.z, self.z + length)
                bend = self._shear * (2 if streams[0] is streams[2] else 1)  # a steady path is followed in parts
                if self._fixed is None and length * streams[1].shear > 1.05 * bend:
                    length, streams = left / math.ceil(left * streams[1].shear / bend), None
            self._diffuse(self._pending + length / 2)
            self._advect(streams, length)
            self._pending = length / 2
            self.z += length
            self.steps += 1
            if self._coarsen and self.steps % 8 == 0:
                self._try_coarser()
        self._diffuse(self._pending)
        self._pending = 0.0
        return self._report()

    # -- the steps ---------------------------------------------------------------------------------------------------

    def _diffuse(self, length: float) -> None:
        if length == 0:
            return
        before, variance = self._gradients(), self._variance()
        self.fields = self.grid.diffused(self.fields, self._mass, length / self.peclet)
        after = self._gradients()
        # In between, the gradients decay about exponentially: the logarithmic mean is exact for that.
        ratio = np.log(np.maximum(before, 1e-300) / np.maximum(after, 1e-300))
        curved = (np.abs(ratio) > 1e-6) & (np.minimum(before, after) > 0)
        mean = np.where(curved, (before - after) / np.where(ratio == 0, 1, ratio), (before + after) / 2)
        self._dissipated += 2 * length / self.peclet * mean / self._mass.sum()
        if self._fixed is None:
            rate = float(np.max(np.log(variance / self._variance()))) / length if variance.min() > 0 else 0.0
            self._length = max(self._first, min(GROWTH * self._length, self._drop / max(rate, 1e-300)))

    def _advect(self, streams: tuple[_Stream, _Stream, _Stream], length: float) -> None:
        if max(one.steepest for one in streams) > 1e-9:
            x, y = self._feet(streams, length)
            self.fields = self.grid.sampled(self.grid.splines(self.fields), x, y)
        if streams[2] is not self._stream:
            self._stream = streams[2]
            self._mass = self._weights(self._stream)
        self._put_mean_right()

    def _feet(self, streams: tuple[_Stream, _Stream, _Stream], length: float) -> tuple[np.ndarray, np.ndarray]:
        """Where the paths to the nodes come from."""
        key = (length, self.grid.radii)
        if streams[0] is streams[2] and self._moved is not None and self._moved[0] == key:
            return self._moved[1], self._moved[2]
        grid, shifts = self.grid, self._paths.shifts(streams, length)
        dx, dy = (self._paths.modes.on_grid(one, grid.r, grid.angles).ravel() for one in shifts)
        x, y = grid.x + dx, grid.y + dy
        self._moved = (key, x, y) if streams[0] is streams[2] else None
        return x, y

    def _try_coarser(self) -> None:
        """Takes the fields to a grid of half the nodes each way where that loses next to nothing."""
        old = self.grid
        if old.radii % 4 or old.radii // 2 < _FEWEST:
            return
        new = Grid(old.radii // 2, old.angles // 2, old.curvature)
        fewer = old.sampled(old.splines(self.fields), new.x, new.y)
        back = new.sampled(new.splines(fewer), old.x, old.y)
        lost = np.sqrt(self._mass @ (back - self.fields) ** 2 / self._mass.sum())
        if (lost <= _COARSER * np.sqrt(np.maximum(self._variance(), 0))).all():
            self.grid, self.fields, self._moved = new, fewer, None
            self._mass = self._weights(self._stream)
            self._put_mean_right()

    def _put_mean_right(self) -> None:
        """Interpolation conserves the flux only nearly; a constant, the same everywhere, makes up for it."""
        wrong = self._means() - self._mean
        self._put_right += wrong
        self.fields -= wrong

    # -- what is told ------------------------------------------------------------------------------------------------

    def _weights(self, stream: _Stream) -> np.ndarray:
        """∫w over each cell of the grid."""
        along = self._paths.modes.on_grid(stream.along, self.grid.r, self.grid.angles).ravel()
        # The samples are positive; next to the wall their continuation might not be, by its rounding.
        return np.maximum(along, 0.01 * self.grid.shape) * self.grid.volume

    def _means(self) -> np.ndarray:
        return self._mass @ self.fields / self._mass.sum()

    def _variance(self) -> np.ndarray:
        return self._mass @ (self.fields - self._means()) ** 2 / self._mass.sum()

    def _products(self) -> np.ndarray:
        """∫w (c_i − c̄_i)(c_j − c̄_j)/∫w of each pair: the variance that their noise has no part in."""
        apart = self.fields - self._means()
        return np.array([self._mass @ (apart[:, i] * apart[:, j]) for i, j in self._pairs]) / self._mass.sum()

    def _gradients(self) -> np.ndarray:
        """∫h ∇c_i·∇c_j of each pair."""
        stiff = self.grid.stiffness @ self.fields
        return np.array([self.fields[:, i] @ stiff[:, j] for i, j in self._pairs])

    def _report(self) -> Station:
        mean, product, variance = self._means(), self._products(), self._variance()
        share = np.array([(mean[i] + mean[j]) / 2 for i, j in self._pairs])
        segregation = product / (share * (1 - share))
        lost = self._last_product - product
        numerical = lost / np.where(self._dissipated > 0, self._dissipated, np.nan) - 1
        steepness = np.maximum(self._gradients(), 1e-300)
        scale = np.sqrt(np.maximum(product, 0.0) * self._mass.sum() / steepness)
        self._last_product, self._dissipated = product, np.zeros(len(self._pairs))

        def by_pair(values: np.ndarray) -> dict[tuple[int, int], float]:
            return dict(zip(self._pairs, _plain(values), strict=True))

        return Station(
            bores=self.z,
            mean=_plain(mean),
            flux_error=_plain(self._put_right / mean),
            segregation=by_pair(segregation),
            alone=_plain(variance / (mean * (1 - mean))),
            index=by_pair(1 - np.sqrt(np.maximum(segregation, 0.0))),
            numerical=by_pair(numerical),
            scale=by_pair(scale),
            lowest=_plain(self.fields.min(axis=0)),
            highest=_plain(self.fields.max(axis=0)),
            step=self._length,
            spacing=self.grid.dr,
        )


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(one) for one in values)
