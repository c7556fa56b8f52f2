"""The twin against the paper: one row per expected value and ligand, with a verdict that was computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from twin.case import Case, ExpectedValue
from twin.case.load import load_expected
from twin.crystal.parameters import LIGANDS, Ligand
from twin.errors import BadInput, TwinError
from twin.estimate import Estimate
from twin.junction import groups
from twin.operating import OperatingPoint
from twin.process.data import condition_points, datum, split
from twin.process.model import OUTPUTS, ProcessModel
from twin.process.trends import Trend, judged, trends

Status = Literal["agrees", "fitted", "holds", "deviates", "fails", "unreconciled", "not computed"]


@dataclass(frozen=True)
class Row:
    """One comparison. `twin` and `paper` are texts; `estimate` is there where the twin's side is a single number.

    `status`: agrees · fitted (the model was made to agree) · holds (a trend) · deviates · fails (a trend) ·
    unreconciled (deviates, and the paper's value does not add up) · not computed.
    """

    quantity: str
    ligand: str
    condition: str
    twin: str
    paper: str
    status: Status
    verdict: str
    estimate: Estimate | None = None
    source: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON-like data."""
        return vars(self) | {"estimate": self.estimate.as_dict() if self.estimate else None}


def compare(model: ProcessModel, case: Case, expected: list[ExpectedValue] | None = None) -> list[Row]:
    """A row per expected value, two where it names no ligand and is a property of the crystals.

    `expected` defaults to the case's own file. A value that can't be computed gets a row that says why.
    """
    rows = []
    for value in load_expected(case) if expected is None else expected:
        output, named = split(value.quantity)
        ligands: Sequence[str] = ("",) if output == "reynolds" else ((named,) if named else LIGANDS)
        for ligand in ligands:
            try:
                rows.append(_row(model, case, value, output, ligand))
            except TwinError as error:
                rows.append(Row(output, ligand, value.condition, "–", _paper(value), "not computed", error.message,
                                source=value.source))
    return rows


def _row(model: ProcessModel, case: Case, value: ExpectedValue, output: str, ligand: str) -> Row:
    points = condition_points(case, value.condition)
    if output == "reynolds":
        number = groups(case, points[0]).reynolds
        return _number(value, output, "", [Estimate(number, number, number, "", "calibrated")], fitted=False)
    if output not in OUTPUTS:
        raise BadInput(f"{output} is not an output of the model")
    kind: Ligand = "oa" if ligand == "oa" else "ps"
    if isinstance(value.value, str):
        return _trend(model, value, output, kind, points)
    own = datum(model.calibration.data, output, kind)
    fitted = own is not None and own.value == value.value and own.condition == value.condition
    return _number(value, output, kind, [model.predict(point, kind)[output] for point in points], fitted)


def _number(value: ExpectedValue, output: str, ligand: str, estimates: list[Estimate], fitted: bool) -> Row:
    """Agrees where the paper's number is in the band, widened by what its last digit leaves open, at every point."""
    paper = float(value.value)
    slack = max(_half_digit(paper), 5e-4 * abs(paper))
    worst = max(estimates, key=lambda one: max(one.low - paper, paper - one.high))
    inside = worst.low - slack <= paper <= worst.high + slack
    off = worst.value / paper - 1.0
    status: Status
    if fitted:
        status = "fitted"
        verdict = f"fitted: the worst residual is {off:+.1%}" + ("" if inside else ", outside the band")
    elif inside:
        status, verdict = "agrees", f"agrees within its band ({off:+.1%})"
    elif value.note:
        status, verdict = "unreconciled", f"unreconciled ({off:+.1%}): {value.note}"
    else:
        status, verdict = "deviates", f"deviates by {off:+.1%}"
    if value.note and status in ("fitted", "agrees"):
        verdict += f"; {value.note}"
    text = str(worst) if len(estimates) == 1 else f"{_span(estimates)}; farthest off: {worst}"
    return Row(output, ligand, value.condition, text, _paper(value), status, verdict, worst, value.source)


def _trend(
    model: ProcessModel, value: ExpectedValue, output: str, ligand: Ligand, points: list[OperatingPoint]
) -> Row:
    outlier = re.search(r"point at (\d+(?:\.\d+)?) mL/h is an outlier", f"{value.source} {value.note}")
    excluded = float(outlier[1]) if outlier else None
    texts, verdicts, held = [], [], True
    for trend in trends(str(value.value)):
        line = trend.along(points, excluded)
        values = np.array([model.ensemble(point, ligand)[output] for point in line])
        verdict, holds = judged(trend, values)
        medians = np.nanmedian(values, axis=1)
        texts.append(f"{medians[0]:.4g} → {medians[-1]:.4g} {OUTPUTS[output]} from {line[0].name} to {line[-1].name}")
        verdicts.append(verdict + (f" (without {excluded:g} mL/h)" if excluded and trend.axis == "antisolvent" else ""))
        held = held and holds
    reason = _by_construction(output, ligand, trends(str(value.value)))
    return Row(output, ligand, value.condition, "; ".join(texts), _paper(value), "holds" if held else "fails",
               "; ".join(verdicts) + reason, source=value.source)


def _by_construction(output: str, ligand: str, clauses: list[Trend]) -> str:
    """Says where the model could not have failed a trend."""
    if output == "peak_nm" and ligand == "ps" and clauses[0].word == "constant":
        return "; by construction: a template's load limits the size, and draws whose peak moves are left out"
    if output == "plqy" and clauses[0].word == "rises" and clauses[0].axis == "antisolvent":
        return "; nearly by construction: shorter mixing and less DMF come together, and either lowers the loss"
    return ""


def _half_digit(number: float) -> float:
    """Half a unit of the last digit that a number was given with."""
    digits = repr(number).partition(".")[2]
    return 0.5 * 10.0 ** -(0 if digits in ("", "0") else len(digits))


def _span(estimates: list[Estimate]) -> str:
    values = [one.value for one in estimates]
    return f"{min(values):.4g} to {max(values):.4g} {estimates[0].unit}"


def _paper(value: ExpectedValue) -> str:
    return value.value if isinstance(value.value, str) else f"{value.value:g} {value.unit}".strip()
