"""Spectra: the pure functions against analytic lines, the adapter against a simulated module."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from twin.errors import BadInput
from twin.rig.clock import VirtualClock
from twin.rig.errors import BadReply, RigError
from twin.rig.sensors import decode_spectrum
from twin.rig.sensors.spectrometer import SpectrometerSensor
from twin.rig.sensors.spectrum import Array, encode_spectrum, integral, noise, peak, saturation
from twin.rig.simulated.sensors import SimulatedSeabreeze

WAVELENGTHS = np.linspace(339.0, 1023.0, 2048)
PIXEL_NM = WAVELENGTHS[1] - WAVELENGTHS[0]
Line = Callable[[Array, float, float], Array]


def gaussian(x: Array, centre: float, fwhm: float) -> Array:
    return np.exp(-4 * np.log(2) * ((x - centre) / fwhm) ** 2)


def lorentzian(x: Array, centre: float, fwhm: float) -> Array:
    return 1 / (1 + (2 * (x - centre) / fwhm) ** 2)


@pytest.mark.parametrize("line", [gaussian, lorentzian])
@pytest.mark.parametrize("centre", [515.0, 515.123, 600.07])
@pytest.mark.parametrize("fwhm", [10.0, 20.0, 40.0])
def test_peak_is_found_to_a_hundredth_of_a_pixel_and_fwhm_to_a_thousandth(
    line: Line, centre: float, fwhm: float
) -> None:
    found = peak(WAVELENGTHS, 1e4 * line(WAVELENGTHS, centre, fwhm))
    assert found is not None and found.fwhm_nm is not None
    assert found.wavelength_nm == pytest.approx(centre, abs=0.01 * PIXEL_NM)
    assert found.fwhm_nm == pytest.approx(fwhm, rel=1e-3)
    assert found.height == pytest.approx(1e4, rel=1e-3)


def test_fwhm_converges_with_the_square_of_the_pixel() -> None:
    def error(pixels: int) -> float:
        x = np.linspace(400.0, 650.0, pixels)
        found = [peak(x, gaussian(x, 515.0 + shift, 20.0)) for shift in np.linspace(0.0, 2.0, 9)]
        return float(np.mean([abs(each.fwhm_nm / 20 - 1) for each in found if each and each.fwhm_nm]))

    assert 3.0 < error(400) / error(800) < 5.5


def test_uneven_pixels_do_not_move_the_peak() -> None:
    x = np.linspace(18.0, 32.0, 2048) ** 2  # pixels twice as wide at the red end
    found = peak(x, gaussian(x, 515.3, 20.0))
    assert found is not None
    assert found.wavelength_nm == pytest.approx(515.3, abs=1e-6)
    assert found.fwhm_nm == pytest.approx(20.0, rel=1e-3)


@pytest.mark.parametrize(("height", "wavelength_nm", "fwhm_nm"), [(100.0, 0.03, 0.06), (10.0, 0.15, 0.4)])
def test_noise_scatters_the_peak_and_does_not_shift_it(height: float, wavelength_nm: float, fwhm_nm: float) -> None:
    random = np.random.default_rng(1)
    clean = height * gaussian(WAVELENGTHS, 515.2, 20.0)
    found = [peak(WAVELENGTHS, clean + random.normal(0, 1, 2048)) for _ in range(100)]
    assert all(each is not None and each.fwhm_nm is not None for each in found)
    assert np.mean([each.wavelength_nm for each in found if each]) == pytest.approx(515.2, abs=wavelength_nm)
    assert np.mean([each.fwhm_nm for each in found if each]) == pytest.approx(20.0, abs=fwhm_nm)


def test_noise_alone_has_no_peak() -> None:
    random = np.random.default_rng(2)
    assert all(peak(WAVELENGTHS, random.normal(0, 3, 2048)) is None for _ in range(300))


@pytest.mark.parametrize(
    "signal",
    [
        np.zeros(2048),
        np.full(2048, 1000.0),
        np.linspace(0, 1000, 2048),
        np.where(np.arange(2048) == 700, 5e4, 0.0),
        gaussian(WAVELENGTHS, 1023.0, 20.0),
        -gaussian(WAVELENGTHS, 515.0, 20.0),
        np.array([0.0, 1.0, 0.0]),
        np.array([]),
    ],
    ids=["zero", "flat", "ramp", "hot pixel", "end of the range", "dip", "three pixels", "nothing"],
)
def test_what_is_no_peak_gives_none(signal: Array) -> None:
    assert peak(WAVELENGTHS[: len(signal)], signal) is None


def test_a_hot_pixel_on_a_noisy_level_is_no_peak() -> None:
    signal = 20.0 + np.random.default_rng(5).normal(0, 1, 2048)
    signal[700] = 5e4
    assert peak(WAVELENGTHS, signal) is None


def test_a_flank_that_is_cut_off_leaves_the_peak_without_fwhm() -> None:
    x = WAVELENGTHS[WAVELENGTHS > 508.0]
    found = peak(x, gaussian(x, 515.1, 20.0))
    assert found is not None and found.fwhm_nm is None
    assert found.wavelength_nm == pytest.approx(515.1, abs=0.01)


def test_a_clipped_peak_is_none_and_clipping_elsewhere_does_no_harm() -> None:
    signal = gaussian(WAVELENGTHS, 515.0, 20.0)
    top = signal > 0.9
    assert peak(WAVELENGTHS, np.minimum(signal, 0.9), top) is None
    found = peak(WAVELENGTHS, signal, WAVELENGTHS > 900)
    assert found is not None and found.wavelength_nm == pytest.approx(515.0)


def test_the_higher_of_two_peaks_counts() -> None:
    for other in (450.0, 492.0):  # apart, and with a valley of 40 % between
        found = peak(WAVELENGTHS, 0.8 * gaussian(WAVELENGTHS, other, 10.0) + gaussian(WAVELENGTHS, 515.0, 20.0))
        assert found is not None
        assert found.wavelength_nm == pytest.approx(515.0, abs=0.02)
        assert found.fwhm_nm == pytest.approx(20.0, rel=0.03)


def test_integral_of_a_gaussian_is_its_area() -> None:
    area = 1e4 * 20.0 * np.sqrt(np.pi / (4 * np.log(2)))
    assert integral(WAVELENGTHS, 1e4 * gaussian(WAVELENGTHS, 515.0, 20.0)) == pytest.approx(area, rel=1e-9)


def test_noise_is_measured_beside_a_peak() -> None:
    random = np.random.default_rng(3)
    assert noise(1e4 * gaussian(WAVELENGTHS, 515, 20) + random.normal(0, 7, 2048)) == pytest.approx(7.0, rel=0.1)


def test_saturation_is_the_share_of_pixels_at_the_largest_count() -> None:
    assert saturation(np.array([1.0, 65535.0, 65534.9, 70000.0]), 65535.0) == 0.5


def test_a_spectrum_survives_the_journal_to_seven_digits() -> None:
    values = np.random.default_rng(4).uniform(0, 65535, 2048)
    np.testing.assert_allclose(decode_spectrum(encode_spectrum(values)), values, rtol=1e-7)
    assert encode_spectrum(np.array([1.0])) == "AACAPw=="  # 00 00 80 3f: little-endian


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def bench(clock: VirtualClock) -> SimulatedSeabreeze:
    return SimulatedSeabreeze(clock)


@pytest.fixture
def sensor(clock: VirtualClock, bench: SimulatedSeabreeze) -> SpectrometerSensor:
    made = SpectrometerSensor("pl", clock, integration_s=0.1, seabreeze=bench)
    made.open()
    return made


def test_a_reading_is_the_peak_with_everything_beside_it(sensor: SpectrometerSensor, clock: VirtualClock) -> None:
    reading = sensor.read()
    assert (reading.sensor, reading.unit, reading.t_s) == ("pl", "nm", clock.now())
    assert reading.value == pytest.approx(515.0, abs=0.05)
    assert reading.details["fwhm_nm"] == pytest.approx(20.0, abs=0.1)
    assert reading.details["height"] == pytest.approx(2e4, rel=0.01)
    area = 2e4 * 20.0 * np.sqrt(np.pi / (4 * np.log(2)))
    assert reading.details["integral"] == pytest.approx(area, rel=0.02)
    assert (reading.details["saturation"], reading.details["integration_s"]) == (0.0, 0.1)
    assert decode_spectrum(reading.details["raw"]).shape == (2048,)
    np.testing.assert_allclose(decode_spectrum(reading.details["wavelengths_nm"]), WAVELENGTHS, rtol=1e-6)
    assert reading.details["dark"] is None and reading.details["reference"] is None


def test_spectra_that_were_begun_before_a_change_are_dropped(
    sensor: SpectrometerSensor, bench: SimulatedSeabreeze, clock: VirtualClock
) -> None:
    sensor.read()
    sensor.set_integration_s(0.2)
    before = clock.now()
    reading = sensor.read()
    assert reading.details["height"] == pytest.approx(0.2 * bench.rate, rel=0.01)
    assert clock.now() - before == pytest.approx(2 * 0.1 + 0.2)
    sensor.read()
    assert clock.now() - before == pytest.approx(2 * 0.1 + 2 * 0.2)


def test_without_dropping_them_the_spectrum_would_be_of_the_old_time(
    clock: VirtualClock, bench: SimulatedSeabreeze
) -> None:
    sensor = SpectrometerSensor("pl", clock, integration_s=0.2, discard=0, seabreeze=bench)
    sensor.open()
    assert sensor.read().details["height"] == pytest.approx(0.1 * bench.rate, rel=0.01)


def test_dark_and_reference_are_recorded_and_taken_off(sensor: SpectrometerSensor, bench: SimulatedSeabreeze) -> None:
    rate, bench.rate = bench.rate, 0.0
    sensor.take_dark(50)
    dark = sensor.read()
    assert dark.value is None
    bench.rate = rate
    light = sensor.read()
    np.testing.assert_allclose(decode_spectrum(light.details["dark"]), 1520.0, atol=6)
    assert light.value == pytest.approx(515.0, abs=0.05)
    assert light.details["height"] == pytest.approx(2e4, rel=2e-3)
    bench.rate = 0.5 * rate  # the blank has half of the light
    sensor.take_reference(50)
    bench.rate = rate
    both = sensor.read()
    assert both.details["reference"] is not None
    assert both.details["height"] == pytest.approx(1e4, rel=4e-3)


def test_dark_and_reference_do_not_outlive_their_integration_time(sensor: SpectrometerSensor) -> None:
    sensor.take_dark()
    sensor.take_reference()
    sensor.set_integration_s(0.1)
    assert sensor.dark is not None and sensor.reference is not None
    sensor.set_integration_s(0.2)
    assert sensor.dark is None and sensor.reference is None


def test_no_emission_is_a_reading_without_value(sensor: SpectrometerSensor, bench: SimulatedSeabreeze) -> None:
    bench.rate = 0.0
    reading = sensor.read()
    assert reading.value is None
    assert reading.details["fwhm_nm"] is None and reading.details["height"] is None
    with pytest.raises(BadInput, match="has no value"):
        reading.si("length")


@pytest.mark.parametrize("seconds", [0.325, 1.0])
def test_a_saturated_peak_is_no_value_and_its_share_is_told(
    sensor: SpectrometerSensor, bench: SimulatedSeabreeze, seconds: float
) -> None:
    sensor.set_integration_s(seconds)
    reading = sensor.read()
    clipped = np.mean(bench.truth(seconds) >= bench.largest)
    assert clipped > 0.003
    assert reading.value is None
    assert reading.details["saturation"] == pytest.approx(clipped, abs=2 / 2048)


def test_excitation_outside_the_window_is_not_taken_for_emission(
    clock: VirtualClock, bench: SimulatedSeabreeze
) -> None:
    bench.peak_nm = 405.0
    sensor = SpectrometerSensor("pl", clock, window_nm=(430.0, 700.0), seabreeze=bench)
    sensor.open()
    assert sensor.read().value is None
    bench.peak_nm = 515.0
    assert sensor.read().value == pytest.approx(515.0, abs=0.05)


@pytest.mark.parametrize("seconds", [1e-6, 100.0])
def test_an_integration_time_out_of_range_is_refused_with_the_range(
    clock: VirtualClock, bench: SimulatedSeabreeze, seconds: float
) -> None:
    sensor = SpectrometerSensor("pl", clock, integration_s=seconds, seabreeze=bench)
    with pytest.raises(BadInput, match=r"give 0\.0038 s to 10 s"):
        sensor.open()
    assert not bench.list_devices()[0].is_open


def test_an_unknown_serial_number_names_those_present(clock: VirtualClock, bench: SimulatedSeabreeze) -> None:
    with pytest.raises(BadInput, match=r"no spectrometer FLMS1(.|\n)*present: SIM00515"):
        SpectrometerSensor("pl", clock, "FLMS1", seabreeze=bench).open()


def test_one_that_is_in_use_or_breaks_is_an_error_of_the_rig(
    sensor: SpectrometerSensor, bench: SimulatedSeabreeze, clock: VirtualClock
) -> None:
    with pytest.raises(RigError, match="already opened"):
        SpectrometerSensor("other", clock, "SIM00515", seabreeze=bench).open()
    bench.broken = True
    with pytest.raises(RigError, match="did not give a spectrum: Error: Data transfer error"):
        sensor.read()
    bench.broken = False
    sensor.close()
    sensor.close()
    with pytest.raises(RigError, match="not open"):
        sensor.read()
    sensor.open()
    assert sensor.read().value == pytest.approx(515.0, abs=0.05)


@pytest.mark.parametrize("error", [OSError, RuntimeError, ValueError])
def test_errors_of_the_usb_layer_are_errors_of_the_rig(
    sensor: SpectrometerSensor, bench: SimulatedSeabreeze, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(integration_s: float) -> Array:
        raise error("pipe")

    monkeypatch.setattr(bench, "truth", fail)
    with pytest.raises(RigError, match="did not give a spectrum: pipe"):
        sensor.read()


def test_holes_in_a_spectrum_are_refused(
    sensor: SpectrometerSensor, bench: SimulatedSeabreeze, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "truth", lambda integration_s: np.full(2048, np.nan))
    with pytest.raises(BadReply, match="holes"):
        sensor.read()


def test_without_seabreeze_the_remedy_is_to_install_it(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seabreeze.spectrometers", None)
    with pytest.raises(BadInput, match=r"pip install yjunction-twin\[spectrometer\]"):
        SpectrometerSensor("pl", clock).open()


def test_seabreeze_itself_has_what_the_adapter_needs(clock: VirtualClock) -> None:
    real = pytest.importorskip("seabreeze.spectrometers")
    assert issubclass(real.SeaBreezeError, Exception)
    device = real.Spectrometer
    assert callable(real.list_devices) and callable(device.from_serial_number)
    simulated = SimulatedSeabreeze(clock).list_devices()[0]
    for name in ("wavelengths", "intensities", "integration_time_micros", "integration_time_micros_limits",
                 "max_intensity", "close", "serial_number"):  # fmt: skip
        assert hasattr(device, name) and hasattr(simulated, name), name


def test_the_real_module_reports_a_missing_spectrometer(clock: VirtualClock) -> None:
    pytest.importorskip("seabreeze.spectrometers")
    with pytest.raises(BadInput, match="there is no spectrometer NOT-HERE"):
        SpectrometerSensor("pl", clock, "NOT-HERE").open()
