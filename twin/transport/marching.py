"""The concentration in the outlet tube, marched downstream in the velocity of its sections.

    w ∂c/∂z + h u·∇c = ∇·(h∇c)/Pe,   ∂c/∂n = 0 on the wall,   h = 1 + κx, κ = 2 D/D_coil

Lengths are in bores, velocities in U, Pe = U D/D_m; the section is the disc of diameter 1, u is across it, w along the
tube, z the arc length. Diffusion along z, a part 1/Pe, is left out.

Advection and diffusion take turns (Strang). Advection is exact along the paths dx/dz = h u/w, whatever the step: each
node takes the value at the foot of its path, from cubic splines on a polar grid (semi-Lagrangian; Staniforth & Côté
1991; the paths are those of `twin.transport.characteristics`). Diffusion is implicit, of second order in z, and
conserves ∫w c to the last digit (`twin.transport.polar`).

All is linear in c, so several fields march together; the mean of two independent, noisy estimates of one field, c₁ and
c₂, costs no bias: ∫w c₁c₂ is free of it, where ∫w c² holds the noise's own variance. What the scheme itself diffuses is
told by the variance budget,
    D_num/D_m = [∫w c² before − ∫w c² after] / (2/Pe ∫∫ h|∇c|² dA dz) − 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from twin.errors import BadInput
from twin.transport.characteristics import Paths, SectionVelocity, Stream
from twin.transport.polar import RADIUS, Field, Grid

SHEAR = 0.4  # most that paths turn or strain in a step, rms: the splitting errs by about a 24th of its square
GROWTH = 1.3  # of a step, at most
_COARSER = 2e-3  # of the rms: what a grid of half the nodes may lose for c to move there
SPACING = 0.0025  # of the first grid's nodes along the radius, in bores
_ANGLES = 5  # nodes around for each along the radius
_FEWEST = 48  # nodes along the radius, at least


@dataclass(frozen=True)
class Station:
    """The mixing where the tube is `bores` long.

    mean         flux of each field over that of the volume, ∫w c / ∫w
    flux_error   what the interpolation has changed of it since the start, and was put right, over the mean, summed
    segregation  I_s = (∫w c_i c_j/∫w − c̄²)/(c̄(1 − c̄)) of each pair; unbiased where the fields' noise is independent
    alone        the same of each field with itself: its noise counts as segregation
    index        M = 1 − √I_s of each pair
    numerical    D_num/D_m since the station before, of the pairs taken together: the fields are estimates of one; NaN
                 at the start, and where it drowns in noise
    scale        √(∫w(c − c̄)²/(U∫|∇c|²)) in bores, likewise: the thickness of the striations, over π for a sine
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
    numerical: float
    scale: float
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    step: float
    spacing: float


def scattered(points: np.ndarray, values: np.ndarray) -> Field:
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
        initial: Sequence[Field | np.ndarray],
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

    def _advect(self, streams: tuple[Stream, Stream, Stream], length: float) -> None:
        if max(one.steepest for one in streams) > 1e-9:
            x, y = self._feet(streams, length)
            self.fields = self.grid.sampled(self.grid.splines(self.fields), x, y)
        if streams[2] is not self._stream:
            self._stream = streams[2]
            self._mass = self._weights(self._stream)
        self._put_mean_right()

    def _feet(self, streams: tuple[Stream, Stream, Stream], length: float) -> tuple[np.ndarray, np.ndarray]:
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

    def _weights(self, stream: Stream) -> np.ndarray:
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
        lost, dissipated = float((self._last_product - product).sum()), float(self._dissipated.sum())
        steepness, apart = float(self._gradients().sum()), float(product.sum())
        known = steepness > 0 and apart > 0
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
            numerical=lost / dissipated - 1 if dissipated > 0 else math.nan,
            scale=math.sqrt(apart * self._mass.sum() / steepness) if known else math.nan,
            lowest=_plain(self.fields.min(axis=0)),
            highest=_plain(self.fields.max(axis=0)),
            step=self._length,
            spacing=self.grid.dr,
        )


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(one) for one in values)
