"""A polar grid on the section of a tube: cubic splines, diffusion across it, and the solves of that.

Gradients are of fourth order, in a symmetric form that conserves the mean to the last digit; diffusion is implicit, of
second order in z and L-stable (SDIRK2). The section is the disc of diameter 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.ndimage import map_coordinates, spline_filter1d

from twin.errors import NotConverged

RADIUS = 0.5
SDIRK = 1 - 1 / math.sqrt(2)
_PAD = 16  # columns that continue a periodic field for the splines, which forget by 0.27 a column
_CG_TOLERANCE = 1e-10
_MOST_CG = 200

#: A field as a function of points of the section, (n, 2) in bores: (n,).
Field = Callable[[np.ndarray], np.ndarray]


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

    def averaged(self, function: Field, parts: int = 3) -> np.ndarray:
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
