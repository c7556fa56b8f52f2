"""The paper's numbers as data of the calibration: which output they fix, and at which operating points."""

from __future__ import annotations

import re
from dataclasses import dataclass

from twin.case import Case, ExpectedValue
from twin.errors import BadInput
from twin.operating import OperatingPoint

#: "Flat" is read as: the highest value is at most this many times the lowest.
FLAT = 1.10
#: A "constant" emission peak is read as: within this many nm.
CONSTANT_NM = 2.0
#: A datum holds for flows within this share of its own.
NEAR = 0.05
_POINT = re.compile(r"a(\d+(?:\.\d+)?)-p(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Datum:
    """A number that was measured at some operating points. `ligand` is "" where it is for both.

    `spread` is its standard deviation as a share of the value. The paper states none: these are assumptions.
    """

    quantity: str
    ligand: str
    value: float
    spread: float
    points: tuple[OperatingPoint, ...]
    condition: str
    source: str

    def covers(self, point: OperatingPoint) -> bool:
        """Whether a point is at the datum: inside the box of its flows, widened by 5 %."""
        return all(
            min(flows) * (1.0 - NEAR) <= flow <= max(flows) * (1.0 + NEAR)
            for flow, flows in (
                (point.antisolvent_m3_s, [p.antisolvent_m3_s for p in self.points]),
                (point.precursor_m3_s, [p.precursor_m3_s for p in self.points]),
            )
        )


#: What the model can be fitted to. TEM means are read as good to 5 %, "near 60 %" as 60 ± 3 %.
_SPREADS = {"size_nm": 0.05, "plqy": 0.05}


def split(quantity: str) -> tuple[str, str]:
    """The output and the ligand of a name such as "size_nm.ps"; the ligand is "" where it names none."""
    output, _, ligand = quantity.partition(".")
    return output, ligand


def condition_points(case: Case, condition: str) -> list[OperatingPoint]:
    """The operating points that a condition names: "a5000-p0060", "sweep NAME", or "both sweeps"."""
    match = _POINT.fullmatch(condition)
    if match:
        return [OperatingPoint.from_ml_h(float(match[1]), float(match[2]), case.liquids.temperature)]
    word, _, name = condition.partition(" ")
    if word == "sweep" and name in case.sweeps:
        sweep = case.sweeps[name]
        return [OperatingPoint(a, p, case.liquids.temperature) for a in sweep.antisolvent for p in sweep.precursor]
    if condition in ("both sweeps", "all sweeps"):
        return list(case.points)
    raise BadInput(
        f'the condition "{condition}" names no operating point of the case',
        f'write a point such as "a5000-p0060", "sweep" with one of {", ".join(case.sweeps)}, or "all sweeps"',
    )


def fitted_data(case: Case, expected: list[ExpectedValue]) -> list[Datum]:
    """The expected values that the process model is fitted to: sizes and quantum yields with a number."""
    data = []
    for row in expected:
        output, ligand = split(row.quantity)
        if output in _SPREADS and isinstance(row.value, float):
            points = tuple(condition_points(case, row.condition))
            data.append(Datum(output, ligand, row.value, _SPREADS[output], points, row.condition, row.source))
    return data


def constant_peak(case: Case, expected: list[ExpectedValue], ligand: str) -> list[OperatingPoint]:
    """The points over which the emission peak of a ligand is said to be constant; none where nothing says so."""
    return [
        point
        for row in expected
        if row.quantity == f"peak_nm.{ligand}" and row.value == "constant"
        for point in condition_points(case, row.condition)
    ]


def datum(data: list[Datum], quantity: str, ligand: str) -> Datum | None:
    """The datum of an output for a ligand, if there is one; one for that ligand alone goes first."""
    for wanted in (ligand, ""):
        for one in data:
            if one.quantity == quantity and one.ligand == wanted:
                return one
    return None
