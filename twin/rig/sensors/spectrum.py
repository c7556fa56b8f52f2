"""What an emission spectrum says: where its peak is, how wide, how much light. Pure functions of arrays."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: A peak rises above the noise of one pixel by this factor; the highest of 4000 noisy pixels reaches about 2 once it is
#: smoothed.
CLEAR = 5.0
_SMOOTH = 5
#: Half the width of the window of the fit, in FWHM. Narrow, it lies above 90 % of the height for Gauss and Lorentz
#: alike; wide, it averages more pixels, where noise and not the shape limits the fit.
_NARROW, _WIDE = 0.17, 0.35
#: Heights above this many times the noise are fitted in the narrow window.
_CLEAN = 50.0
#: How far from where the smoothed spectrum passes half its height noise may make it pass again, in FWHM.
_NOISY = 0.15


@dataclass(frozen=True)
class Peak:
    """The highest peak: its wavelength in nm, its height, its FWHM in nm; None where the range cuts a flank off."""

    wavelength_nm: float
    height: float
    fwhm_nm: float | None


def noise(signal: Array) -> float:
    """The standard deviation of one pixel, 1.4826 · MAD of neighbours' differences / √2: blind to what is wide."""
    steps = np.diff(signal)
    return float(1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2))


def saturation(raw: Array, largest: float) -> float:
    """The share of pixels at or above the largest count that the detector gives."""
    return float(np.mean(raw >= largest))


def integral(wavelengths_nm: Array, signal: Array) -> float:
    """∫ I dλ by trapezoids, counts·nm."""
    return float(np.trapezoid(signal, wavelengths_nm))


def peak(wavelengths_nm: Array, signal: Array, clipped: NDArray[np.bool_] | None = None) -> Peak | None:
    """The highest peak of a spectrum from which the level below it was taken off.

    The apex is that of a parabola through ln I around the top, which is exact for a Gaussian. FWHM is the distance
    between the two points, either side of the apex, where the spectrum passes half the height of the apex, with linear
    interpolation between pixels; where noise makes it pass several times, their mean.

    Args:
        wavelengths_nm: rising, shape (n,).
        signal: counts, shape (n,).
        clipped: which pixels are saturated, shape (n,).

    Returns:
        None where nothing rises clearly above the noise, above 3 pixels of width, or off the ends of the range, or
        where the peak is saturated.
    """
    if len(signal) < 4 * _SMOOTH:
        return None
    smooth = np.convolve(signal, np.full(_SMOOTH, 1 / _SMOOTH), "valid")
    skip = _SMOOTH // 2
    top, at = float(np.max(smooth)), int(np.argmax(smooth))
    if not top > CLEAR * noise(signal) or at in (0, len(smooth) - 1):
        return None
    left, right = _below(smooth, at, 0.5 * top)
    if left is None and right is None:
        return None
    # A flank that the range cuts off is taken to be as wide as the other one, as far as there are pixels.
    low = left if left is not None else max(2 * at - (right or at), 0)
    high = right if right is not None else min(2 * at - low, len(smooth) - 1)
    body = slice(low + skip, high + skip + 1)
    if clipped is not None and clipped[body].any():
        return None
    if np.count_nonzero(signal[body] > 0.5 * np.max(signal[body])) < 3:  # a hot pixel
        return None
    width_nm = float(wavelengths_nm[high + skip] - wavelengths_nm[low + skip])
    cap_nm = (_NARROW if top > _CLEAN * noise(signal) else _WIDE) * width_nm
    apex = _apex(wavelengths_nm, signal, at + skip, cap_nm)
    if apex is None:
        return None
    fwhm = None
    if left is not None and right is not None:
        reach = max(_SMOOTH // 2 + 1, round(_NOISY * (right - left)))
        first = _passes(wavelengths_nm, signal, left + skip - reach, min(left + reach, at) + skip, 0.5 * apex[1])
        last = _passes(wavelengths_nm, signal, max(right - reach, at) + skip, right + skip + reach, 0.5 * apex[1])
        fwhm = None if first is None or last is None else last - first
    return Peak(*apex, fwhm)


def _below(values: Array, at: int, level: float) -> tuple[int | None, int | None]:
    """The nearest pixels left and right of `at` that lie below a level."""
    left = np.flatnonzero(values[:at] < level)
    right = np.flatnonzero(values[at:] < level)
    return (int(left[-1]) if len(left) else None), (int(right[0]) + at if len(right) else None)


def _apex(wavelengths_nm: Array, signal: Array, at: int, cap_nm: float) -> tuple[float, float] | None:
    """Wavelength and height of the apex; the window follows it."""
    centre = float(wavelengths_nm[at])
    height = float(signal[at])
    for _ in range(4):
        distance = np.abs(wavelengths_nm - centre)
        near = distance <= cap_nm
        if np.count_nonzero(near) < 4:
            near = distance <= np.sort(distance)[2]
        near &= signal > 0
        if np.count_nonzero(near) < 3:
            return None
        a, b, c = np.polyfit((wavelengths_nm[near] - centre) / cap_nm, np.log(signal[near]), 2)
        if not a < 0 or abs(shift := -0.5 * b / a) > 1.5:
            return None
        centre, height = float(centre + shift * cap_nm), float(np.exp(c + 0.5 * b * shift))
    return centre, height


def _passes(wavelengths_nm: Array, signal: Array, first: int, last: int, level: float) -> float | None:
    """The mean wavelength at which the signal passes a level between two pixels; None where it does not."""
    span = slice(max(first, 0), last + 1)
    x, y = wavelengths_nm[span], signal[span] - level
    i = np.flatnonzero((y[:-1] < 0) != (y[1:] < 0))
    return float(np.mean(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))) if len(i) else None


def encode_spectrum(values: Array) -> str:
    """An array as base64 of little-endian float32, as journals hold it."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode("ascii")


def decode_spectrum(text: str) -> Array:
    """The array of `encode_spectrum`, to the 7 digits of float32."""
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(float)
