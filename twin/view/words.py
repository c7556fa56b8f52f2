"""Names, units and numbers as people read them: in mL/h, ms, %, nm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from twin.case import Case, Results
from twin.estimate import Estimate
from twin.units import to_ml_per_h

LIGANDS = {"ps": "star polymer (PS)", "oa": "OA/OAm", "": ""}
#: What the three labels of an estimate mean.
LABELS = {
    "calibrated": "a datum of the paper fixes it here",
    "bounded": "computed errors, a bracket, or a datum elsewhere confine it",
    "prior-only": "no datum touches it: the band is the spread of the literature",
}
STATES = {
    "steady": "steady flow, converged",
    "marched": "steady flow, reached by marching in pseudo-time",
    "failed": "no numbers: see the reason",
    "open": "not computed yet",
    "outdated": "computed for another mesh, for other liquids, or by an older twin",
}


@dataclass(frozen=True)
class Quantity:
    """An output as people read it: `factor` takes its own unit to `unit`."""

    name: str
    unit: str
    factor: float = 1.0


QUANTITIES = {
    "plqy": Quantity("quantum yield (PLQY)", "%", 100.0),
    "size_nm": Quantity("mean size", "nm"),
    "peak_nm": Quantity("emission peak", "nm"),
    "fwhm_nm": Quantity("linewidth (FWHM)", "nm"),
    "yield": Quantity("share of the feed that crystallizes", "%", 100.0),
    "production_g_h": Quantity("production", "g/h"),
    "production": Quantity("production", "g/h"),
    "mixing_time_s": Quantity("mixing time τ", "ms", 1e3),
    "mixing_index": Quantity("mixing index M at the outlet", ""),
    "pressure_drop_pa": Quantity("pressure drop", "Pa"),
    "reynolds": Quantity("Reynolds number", ""),
}


def quantity(name: str) -> Quantity:
    """The quantity of an output's name; one without an entry keeps its name."""
    return QUANTITIES.get(name, Quantity(name.replace("_", " "), ""))


def number(value: float) -> str:
    """Three significant digits, all digits before the point; powers of ten below 0.001 and from a million on."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) < 9.995e-4 or abs(value) >= 999_999.5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.replace('-', '−')}\u00a0×\u00a010{str(int(exponent)).translate(_SUPERSCRIPT)}"
    if abs(value) >= 99.95:
        text = f"{value:.0f}"
        return (f"{value:,.0f}".replace(",", "\u202f") if len(text.lstrip("-")) > 4 else text).replace("-", "−")
    digits = max(0, 2 - math.floor(math.log10(abs(float(f"{value:.2e}")))))
    return f"{value:.{digits}f}".replace("-", "−")


_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def span(values: Sequence[float]) -> str:
    """From the least to the largest; one number where they read the same."""
    ends = [number(min(values)), number(max(values))]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def with_error(value: float, error: float) -> str:
    """A value and its standard error, with the decimals of the value."""
    text = number(value)
    if "×" in text or "\u202f" in text or not math.isfinite(error):
        return f"{text} ± {number(error)}"
    decimals = len(text.partition(".")[2])
    shown = f"{error:.{decimals}f}"
    return f"{text} ± {shown if float(shown) else f'{error:.1g}'}"


def with_unit(text: str, unit: str) -> str:
    """A number and its unit; a share of 1 has none."""
    return f"{text} {unit}".strip()


def value_text(one: Estimate, name: str) -> str:
    """The value of an estimate of the output `name`, with its unit."""
    shown = quantity(name)
    return with_unit(number(shown.factor * one.value), shown.unit or unit_text(one.unit))


def band_text(one: Estimate, name: str) -> str:
    """Its band, with its unit; "" where the band is the value."""
    if one.low == one.high:
        return ""
    shown = quantity(name)
    ends = " … ".join(number(shown.factor * end) for end in (one.low, one.high))
    return with_unit(ends, shown.unit or unit_text(one.unit))


def banded(one: Estimate, name: str) -> str:
    """Value and band in a line: 326 (210 … 507) ms."""
    shown, factor = quantity(name), quantity(name).factor
    value, low, high = (number(factor * part) for part in (one.value, one.low, one.high))
    return with_unit(value if one.low == one.high else f"{value} ({low} … {high})", shown.unit or unit_text(one.unit))


def flow_text(flow_m3_s: float) -> str:
    """A flow in mL/h."""
    return f"{to_ml_per_h(flow_m3_s):g} mL/h"


def unit_text(unit: str) -> str:
    """A unit with its exponents raised; nothing for a share of 1."""
    return "" if unit == "1" else unit.replace("^2", "²").replace("^3", "³")


def without_folders(text: str, case: Case, results: Results) -> str:
    """A message without the folders of this machine, which say nothing to a reader elsewhere."""
    for folder in (results.folder, results.folder.resolve(), case.folder, case.folder.resolve()):
        text = text.replace(f"{folder}/", "")
    return text


def readable(constraint: str) -> str:
    """A constraint with the signs of print."""
    return constraint.replace("<=", "≤").replace(">=", "≥")


def moment(text: str) -> str:
    """A time of ISO 8601 as people read it, in UTC; what is no such time stays as it is."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    time = time.astimezone(UTC) if time.tzinfo else time
    return f"{time.day} {time:%b %Y, %H:%M}" + (" UTC" if time.tzinfo else "")


def duration(seconds: float) -> str:
    """A time in s, min or h."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
