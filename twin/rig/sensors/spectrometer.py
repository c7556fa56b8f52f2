"""Ocean Optics spectrometers by `seabreeze`: the peak of the photoluminescence, and the whole spectrum beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from twin.errors import BadInput, TwinError
from twin.rig.clock import Clock
from twin.rig.errors import BadReply, NoReply, RigError
from twin.rig.sensors.protocol import Reading
from twin.rig.sensors.spectrum import Array, encode_spectrum, integral, peak, saturation

#: Spectra that are thrown away after the integration time was changed: they were begun before.
DISCARD = 2
#: Wall time beyond the exposure for which a second caller waits, s.
_PATIENCE_S = 2.0


class SpectrometerSensor:
    """A spectrometer as a sensor: its value is the wavelength of the emission peak, nm; None where there is no peak.

    The level below the peak is, in this order: the `reference`, which is the blank (solvent, excitation on); the `dark`
    (no light at all); the median of the pixels, which is right as long as emission fills less than half of them. Dark
    and reference hold for one integration time and are dropped when it changes.

    seabreeze has no deadline that could be set: what its USB transfers allow is the deadline here. One that hangs for
    good makes itself stale, and nothing else.

    Args:
        name: what messages call it.
        clock: stamps the readings.
        serial_number: None takes the first one that is free.
        integration_s: exposure of one spectrum, s.
        window_nm: where emission may be: keeps scattered excitation out.
        discard: spectra to drop after a change of integration time.
        seabreeze: the module, where it is not `seabreeze.spectrometers`.
    """

    unit = "nm"

    def __init__(
        self,
        name: str,
        clock: Clock,
        serial_number: str | None = None,
        integration_s: float = 0.1,
        window_nm: tuple[float, float] | None = None,
        discard: int = DISCARD,
        seabreeze: Any = None,
    ) -> None:
        self.name, self.serial_number, self.integration_s, self.window_nm = (
            name,
            serial_number,
            integration_s,
            window_nm,
        )
        self.dark: Array | None = None
        self.reference: Array | None = None
        self._clock, self._discard, self._seabreeze = clock, discard, seabreeze
        self._device: Any = None
        self._stale = 0
        self._lock = threading.Lock()

    def open(self) -> None:
        """Finds and opens it.

        Raises:
            BadInput: seabreeze is not installed, there is no such spectrometer, or it can't expose for so long.
            RigError: it does not obey.
        """
        if self._device is not None:
            return
        self._seabreeze = self._seabreeze or _seabreeze()
        with self._obeyed("open"):
            present = [device.serial_number for device in self._seabreeze.list_devices()]
            if not present or self.serial_number not in (None, *present):
                wanted = f" {self.serial_number}" if self.serial_number else ""
                raise BadInput(
                    f"there is no spectrometer{wanted}",
                    "plug it in, and let seabreeze_os_setup give access to it;"
                    f" present: {', '.join(present) or 'none'}",
                )
            self._device = self._seabreeze.Spectrometer.from_serial_number(self.serial_number)
        try:
            with self._alone():
                self._expose(self.integration_s)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets it go. A second call does nothing."""
        device, self._device = self._device, None
        if device is not None:
            with self._obeyed("close"):
                device.close()

    def set_integration_s(self, seconds: float) -> None:
        """Changes the exposure, s; drops dark and reference, which were of another one. Raises `BadInput` on range."""
        with self._alone():
            self._expose(seconds)

    def take_dark(self, count: int = 10) -> None:
        """Takes the mean of so many spectra as the dark: no light may fall in."""
        self.dark = self._mean(count)

    def take_reference(self, count: int = 10) -> None:
        """Takes the mean of so many spectra as the blank: solvent flows, excitation is on."""
        self.reference = self._mean(count)

    def read(self) -> Reading:
        """One spectrum and what it says; the arrays of `details` go through `decode_spectrum`.

        Raises `RigError` where the spectrometer does not obey.
        """
        with self._alone():
            raw = self._spectrum()
            now_s, wall_s, integration_s = self._clock.now(), self._clock.wall(), self.integration_s
            dark, reference = self.dark, self.reference
            with self._obeyed("tell its wavelengths"):
                wavelengths = np.asarray(self._device.wavelengths(), float)
                largest = float(self._device.max_intensity)
        below = reference if reference is not None else dark
        signal = raw - (below if below is not None else np.median(raw))
        inside = self._inside(wavelengths)
        found = peak(wavelengths[inside], signal[inside], raw[inside] >= largest)
        arrays = {"wavelengths_nm": wavelengths, "raw": raw, "dark": dark, "reference": reference}
        details = {
            "integration_s": integration_s,
            "saturation": saturation(raw, largest),
            "fwhm_nm": None if found is None else found.fwhm_nm,
            "height": None if found is None else found.height,
            "integral": integral(wavelengths[inside], signal[inside]),
            **{key: None if array is None else encode_spectrum(array) for key, array in arrays.items()},
        }
        value = None if found is None else found.wavelength_nm
        return Reading(self.name, value, self.unit, now_s, wall_s, details)

    def _inside(self, wavelengths: Array) -> slice:
        low, high = self.window_nm or (-np.inf, np.inf)
        first, last = np.searchsorted(wavelengths, [low, high])
        return slice(int(first), int(last))

    def _mean(self, count: int) -> Array:
        if count < 1:
            raise BadInput(f"a mean of {count} spectra can't be taken", "take 1 or more; 10 is usual")
        with self._alone():
            return np.asarray(np.mean([self._spectrum() for _ in range(count)], axis=0))

    def _expose(self, seconds: float) -> None:
        with self._obeyed("set its integration time"):
            low, high = (1e-6 * limit for limit in self._device.integration_time_micros_limits)
            if not low <= seconds <= high:
                raise BadInput(
                    f"the spectrometer {self.name} can't expose for {seconds:g} s", f"give {low:g} s to {high:g} s"
                )
            self._stale = self._discard  # before the command: where it fails half-way, the next spectra are doubtful
            self._device.integration_time_micros(round(1e6 * seconds))
        if seconds != self.integration_s:
            self.dark = self.reference = None
        self.integration_s = seconds

    def _spectrum(self) -> Array:
        """One spectrum of the present integration time, counts."""
        with self._obeyed("give a spectrum"):
            while self._stale:
                self._device.intensities()
                self._stale -= 1
            raw = np.asarray(self._device.intensities(), float)
        if not np.isfinite(raw).all() or raw.shape != np.shape(self._device.wavelengths()):
            raise BadReply(f"the spectrometer {self.name} gave a spectrum with holes", "look at its cable")
        return raw

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One caller at a time."""
        if not self._lock.acquire(timeout=(2 + self._discard) * self.integration_s + _PATIENCE_S):
            raise NoReply(f"the spectrometer {self.name} is held up by a reading that hangs", "plug it in again")
        try:
            if self._device is None:
                raise RigError(f"the spectrometer {self.name} is not open", "open it first")
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _obeyed(self, what: str) -> Iterator[None]:
        """Whatever seabreeze and its USB layer raise, in words."""
        try:
            yield
        except TwinError:
            raise
        except (self._seabreeze.SeaBreezeError, OSError, RuntimeError, ValueError) as error:
            raise RigError(
                f"the spectrometer {self.name} did not {what}: {error}", "look at its USB cable, or plug it in again"
            ) from error


def _seabreeze() -> Any:
    try:
        import seabreeze.spectrometers
    except ImportError as error:
        raise BadInput("spectrometers need seabreeze", "pip install yjunction-twin[spectrometer]") from error
    return seabreeze.spectrometers
