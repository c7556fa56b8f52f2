"""Simulated sensors that a test can spoil: a value of time, a pressure that follows the pumps, a spectrometer, text."""

from __future__ import annotations

import math
import os
import select
import threading
import tty
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.case.rig import Sensor as SensorEntry
from twin.errors import BadInput
from twin.rig.clock import Clock
from twin.rig.errors import BadReply, NoReply
from twin.rig.sensors.protocol import Reading, Sensor
from twin.units import parse

#: Of the simulated outlet, Pa·s/m³: 1 m of 1.5875 mm bore with toluene at 20 °C.
OUTLET_PA_S_M3 = 128 * 0.588e-3 * 1.0 / (math.pi * 1.5875e-3**4)


class SensorFault(Enum):
    """What can be made to go wrong with a sensor."""

    SILENCE = "silence"  #: it does not answer within its deadline
    GARBAGE = "garbage"  #: it answers nonsense
    HANG = "hang"  #: it does not come back; for clocks of the wall only


class SimulatedSensor:
    """A sensor whose value is a function of process time.

    Args:
        name: what messages call it.
        unit: of the value.
        value: the truth at a time, s.
        clock: process time.
        deadline_s: wall time after which it is found silent, s.
    """

    def __init__(
        self, name: str, unit: str, value: Callable[[float], float | None], clock: Clock, deadline_s: float = 0.5
    ) -> None:
        self.name, self.unit, self.opened, self.closed = name, unit, 0, 0
        self._value, self._clock, self._deadline_s = value, clock, deadline_s
        self._fault: SensorFault | None = None
        self._drift_per_s, self._drifts_since = 0.0, 0.0
        self._healed = threading.Event()

    def inject(self, fault: SensorFault) -> None:
        """Spoils every reading from now on."""
        self._healed.clear()
        self._fault = fault

    def drift(self, per_s: float) -> None:
        """From now on it shows more and more, unit/s, and says nothing of it."""
        self._drift_per_s, self._drifts_since = per_s, self._clock.now()

    def heal(self) -> None:
        """Ends faults and drift; a reading that hangs comes back."""
        self._fault, self._drift_per_s = None, 0.0
        self._healed.set()

    def open(self) -> None:
        """Counts."""
        self.opened += 1

    def close(self) -> None:
        """Counts."""
        self.closed += 1

    def read(self) -> Reading:
        """The value of now, or what the fault makes of it."""
        if self._fault is SensorFault.HANG:
            self._healed.wait()
        elif self._fault is SensorFault.SILENCE:
            self._clock.pause(self._deadline_s)
            raise NoReply(f"the sensor {self.name} is silent", "it is simulated: heal it")
        elif self._fault is SensorFault.GARBAGE:
            raise BadReply(f"the sensor {self.name} says '#!?'", "it is simulated: heal it")
        now_s = self._clock.now()
        value = self._value(now_s)
        if value is not None:
            value += self._drift_per_s * (now_s - self._drifts_since)
        return Reading(self.name, value, self.unit, now_s, self._clock.wall())


def resistance_pa_s_m3(viscosity_pa_s: float, length_m: float, bore_m: float) -> float:
    """Of a tube to laminar flow, Δp/Q = 128 μL/(πd⁴), Pa·s/m³ (Hagen–Poiseuille)."""
    return 128 * viscosity_pa_s * length_m / (math.pi * bore_m**4)


class Poiseuille:
    """The pressure before a tube, Pa above what it ends in, as a function of time.

    Q is what the pumps have truly delivered since the last look, over that time: a stalled pump shows.

    Args:
        delivered_ml: all that the pumps have delivered so far, mL.
        resistance: of the tube, Pa·s/m³.
    """

    def __init__(self, delivered_ml: Callable[[], float], resistance: float = OUTLET_PA_S_M3) -> None:
        self._delivered_ml, self._resistance = delivered_ml, resistance
        self._then: tuple[float, float] | None = None
        self._pressure_pa = 0.0

    def __call__(self, now_s: float) -> float:
        """The pressure at a time, s; the first look gives 0."""
        volume = self._delivered_ml()
        if self._then is not None and now_s > self._then[0]:
            flow_m3_s = 1e-6 * (volume - self._then[1]) / (now_s - self._then[0])
            self._pressure_pa = self._resistance * flow_m3_s
        if self._then is None or now_s > self._then[0]:
            self._then = (now_s, volume)
        return self._pressure_pa


def simulator(clock: Clock, delivered_ml: Callable[[], float] | None = None) -> Callable[[str, SensorEntry], Sensor]:
    """What `twin.rig.sensors.sensors` asks for simulated sensors.

    One shows its `value`; where its unit is one of pressure, and the pumps are known by `delivered_ml`, that is at rest
    and the drop of a Poiseuille tube comes on top.
    """

    def make(name: str, entry: SensorEntry) -> Sensor:
        rest, drop, unit_pa = entry.value or 0.0, None, 1.0
        with suppress(BadInput):
            unit_pa = parse(f"1 {entry.unit}", "pressure")
            drop = Poiseuille(delivered_ml) if delivered_ml is not None else None
        return SimulatedSensor(
            name, entry.unit, lambda now_s: rest + (drop(now_s) / unit_pa if drop is not None else 0.0), clock
        )

    return make


class SimulatedSeabreeze:
    """Looks like the module `seabreeze.spectrometers`, with a green Gaussian emission before every spectrometer.

    Counts = offset + t · (dark current + `rate` · Gaussian) + noise, rounded and clipped. A spectrometer runs freely:
    after a change of the integration time, the next `stale` spectra are still of the time before. What a test may
    change while it runs: `peak_nm`, `fwhm_nm`, `rate` (0: no emission), `noise`, `broken` (every call fails).
    """

    class SeaBreezeError(Exception):  # noqa: D106
        pass

    def __init__(self, clock: Clock, serial_numbers: Sequence[str] = ("SIM00515",), seed: int = 0) -> None:
        self.clock = clock
        self.wavelengths: NDArray[np.float64] = np.linspace(339.0, 1023.0, 2048)
        self.peak_nm, self.fwhm_nm, self.rate, self.noise = 515.0, 20.0, 2e5, 8.0
        self.offset, self.dark_current, self.largest, self.stale = 1500.0, 200.0, 65535.0, 2
        self.broken = False
        self.random = np.random.default_rng(seed)
        self._devices = {serial_number: _Device(self, serial_number) for serial_number in serial_numbers}
        self.Spectrometer = _Opener(self)

    def list_devices(self) -> list[Any]:
        """The spectrometers that are plugged in; `unplug` takes one away."""
        return list(self._devices.values())

    def unplug(self, serial_number: str) -> None:
        """Takes a spectrometer away."""
        self._devices.pop(serial_number).present = False

    def check(self, well: bool = True) -> None:
        """Raises what seabreeze raises, where something is broken."""
        if self.broken or not well:
            raise self.SeaBreezeError("Error: Data transfer error")

    def truth(self, integration_s: float) -> NDArray[np.float64]:
        """The counts without noise, before they are clipped."""
        shape = np.exp(-4 * math.log(2) * ((self.wavelengths - self.peak_nm) / self.fwhm_nm) ** 2)
        return np.asarray(self.offset + integration_s * (self.dark_current + self.rate * shape))


class _Opener:
    """Stands for the class `Spectrometer`."""

    def __init__(self, module: SimulatedSeabreeze) -> None:
        self._module = module

    def from_serial_number(self, serial: str | None = None) -> _Device:
        for device in self._module.list_devices():
            if serial in (None, device.serial_number):
                if device.is_open:
                    raise self._module.SeaBreezeError("Device already opened.")
                device.is_open = True
                return device
        raise self._module.SeaBreezeError("No unopened device found.")


class _Device:
    integration_time_micros_limits = (3800, 10_000_000)

    def __init__(self, module: SimulatedSeabreeze, serial_number: str) -> None:
        self.serial_number, self.is_open, self.present = serial_number, False, True
        self._module = module
        self._exposures_s = [0.1]  # the ones under way, and then the one that was set last

    @property
    def max_intensity(self) -> float:
        return self._module.largest

    def wavelengths(self) -> NDArray[np.float64]:
        return self._module.wavelengths

    def integration_time_micros(self, integration_time_micros: int) -> None:
        self._module.check(self.present)
        low, high = self.integration_time_micros_limits
        if not low <= integration_time_micros <= high:
            raise self._module.SeaBreezeError("[Fix] Specified integration time is out of range.")
        self._exposures_s = [self._exposures_s[0]] * self._module.stale + [1e-6 * integration_time_micros]

    def intensities(self) -> NDArray[np.float64]:
        module = self._module
        module.check(self.present and self.is_open)
        exposure_s = self._exposures_s.pop(0) if len(self._exposures_s) > 1 else self._exposures_s[0]
        module.clock.pause(exposure_s)
        counts = module.truth(exposure_s) + module.random.normal(0.0, module.noise, len(module.wavelengths))
        return np.clip(np.round(counts), 0.0, module.largest)

    def close(self) -> None:
        self.is_open = False


class SimulatedText:
    """A sensor of text on a pseudo-terminal, `path`: prints a line every `period_s` of the wall, or answers `query`.

    Args:
        says: the next bytes to send; none is silence.
        query: what it answers to; empty where it prints by itself.
        period_s: from line to line, s.
    """

    def __init__(self, says: Callable[[], bytes], query: bytes = b"", period_s: float = 0.02) -> None:
        self.says = says
        self.heard = bytearray()
        self._query, self._period_s = query, period_s
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._wake_out, self._wake_in = os.pipe()
        self._thread = threading.Thread(target=self._serve, name=f"simulated sensor on {self.path}", daemon=True)
        self._thread.start()

    def __enter__(self) -> SimulatedText:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread and closes everything. A second call does nothing."""
        if self._master < 0:
            return
        os.write(self._wake_in, b".")
        self._thread.join()
        for handle in (self._master, self._slave, self._wake_out, self._wake_in):
            os.close(handle)
        self._master = -1

    def _serve(self) -> None:
        pending = bytearray()
        while True:
            ready, _, _ = select.select([self._master, self._wake_out], [], [], None if self._query else self._period_s)
            if self._wake_out in ready:
                return
            if self._master in ready:
                came = os.read(self._master, 1024)
                self.heard += came
                pending += came
            if not self._query and not ready:
                self._send()
            while self._query and (at := pending.find(self._query)) >= 0:
                del pending[: at + len(self._query)]
                self._send()

    def _send(self) -> None:
        with suppress(BlockingIOError):  # nobody reads: a serial line loses bytes, too
            os.write(self._master, self.says())
