import pytest

from twin.estimate import Estimate
from twin.view.words import (
    band_text,
    banded,
    duration,
    moment,
    number,
    quantity,
    readable,
    span,
    unit_text,
    value_text,
    with_error,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (13.4999, "13.5"), (0.156, "0.156"), (99.96, "100"), (1661.3, "1661"), (20644, "20\u202f644"),
        (-1.0, "−1.00"), (0.00829, "0.00829"), (2.02e-5, "2.0\u00a0×\u00a010⁻⁵"), (1.4e17, "1.4\u00a0×\u00a010¹⁷"),
        (9.996, "10.0"), (9.99e-4, "1.0\u00a0×\u00a010⁻³"), (float("nan"), "–"), (float("inf"), "–"),
    ],
)  # fmt: skip
def test_numbers_keep_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_an_estimate_is_shown_in_the_unit_of_people() -> None:
    plqy = Estimate(0.585, 0.541, 0.631, "1", "calibrated")
    assert value_text(plqy, "plqy") == "58.5 %"
    assert band_text(plqy, "plqy") == "54.1 … 63.1 %"
    assert band_text(Estimate(0.142, 0.007, 2.905, "s", "bounded"), "mixing_time_s") == "7.00 … 2905 ms"
    assert band_text(Estimate(1.0, 1.0, 1.0, "nm", "calibrated"), "size_nm") == ""
    assert value_text(Estimate(2.0, 1.0, 3.0, "kg", "bounded"), "load_kg") == "2.00 kg"
    assert quantity("load_kg").name == "load kg"


def test_a_band_an_error_and_a_span_in_a_line() -> None:
    assert banded(Estimate(0.326, 0.21, 0.507, "s", "bounded"), "mixing_time_s") == "326 (210 … 507) ms"
    assert banded(Estimate(0.5, 0.5, 0.5, "", "bounded"), "mixing_index") == "0.500"
    assert with_error(30.595, 0.628) == "30.6 ± 0.6" and with_error(418.1, 14.2) == "418 ± 14"
    assert with_error(0.268, 0.0051) == "0.268 ± 0.005" and with_error(0.268, 0.0002) == "0.268 ± 0.0002"
    assert with_error(2e6, 3e4).startswith("2.0") and with_error(0.0, 0.001) == "0 ± 0.001"
    assert span([0.2, 0.5, 0.3]) == "0.200 to 0.500" and span([0.2, 0.2001]) == "0.200"


def test_times_units_and_constraints_in_words() -> None:
    assert moment("2026-11-22T18:31:03.004+01:00") == "22 Nov 2026, 17:31 UTC"
    assert moment("yesterday") == "yesterday"
    assert duration(36) == "36 s" and duration(3000) == "50 min" and duration(7200) == "2 h"
    assert unit_text("mol/m^3") == "mol/m³" and unit_text("1") == ""
    assert readable("plqy >= 0.5") == "plqy ≥ 0.5"
