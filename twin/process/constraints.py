"""Constraints in words, such as "plqy >= 0.5" or "antisolvent <= 5000 mL/h"."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass

from twin.errors import BadInput
from twin.estimate import Estimate
from twin.operating import OperatingPoint
from twin.process.model import OUTPUTS
from twin.units import parse, to_ml_per_h

#: Flows and the share of the precursor stream, which are known exactly.
FLOWS = ("antisolvent", "precursor", "total")
SHARE = "dmf_fraction"
ALIASES = {"production": "production_g_h"}
KNOWN = (*FLOWS, SHARE, *OUTPUTS, *ALIASES)
_SYNTAX = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=)\s*(\S.*?)\s*")
_EXAMPLE = 'write e.g. "plqy >= 0.5", "size_nm <= 15" or "antisolvent <= 5000 mL/h"'


@dataclass(frozen=True)
class Constraint:
    """`quantity` ≤ `limit` (`sense` +1) or ≥ `limit` (`sense` −1), in SI for flows and the output's unit otherwise."""

    text: str
    quantity: str
    sense: int
    limit: float

    @property
    def exact(self) -> bool:
        """Whether it is on the flows alone, and so without a band."""
        return self.quantity in (*FLOWS, SHARE)

    @property
    def half_plane(self) -> tuple[tuple[float, float], float]:
        """Weights of (antisolvent, precursor) and a limit with weights · flows ≤ limit, for an exact constraint."""
        if self.quantity == SHARE:  # q_p − f (q_a + q_p) ≤ 0
            weights, limit = (-self.limit, 1.0 - self.limit), 0.0
        else:
            weights = {"antisolvent": (1.0, 0.0), "precursor": (0.0, 1.0), "total": (1.0, 1.0)}[self.quantity]
            limit = self.limit
        return (self.sense * weights[0], self.sense * weights[1]), self.sense * limit

    def miss(self, estimate: Estimate, pessimistic: bool) -> float:
        """By how much an estimate misses the limit, in the quantity's unit; 0 or less where it holds.

        Pessimistic: the far end of the band counts; else its value.
        """
        end = (estimate.high if self.sense > 0 else estimate.low) if pessimistic else estimate.value
        return self.sense * (end - self.limit)

    def flow_miss(self, point: OperatingPoint) -> float:
        """By how much a point misses an exact constraint, in m³/s (or as a share)."""
        value = {
            "antisolvent": point.antisolvent_m3_s, "precursor": point.precursor_m3_s, "total": point.total_m3_s,
            SHARE: point.precursor_fraction,
        }[self.quantity]
        return self.sense * (value - self.limit)

    def amount(self, miss: float) -> str:
        """A miss in words."""
        if self.quantity in FLOWS:
            return f"{to_ml_per_h(miss):.4g} mL/h"
        unit = OUTPUTS.get(self.quantity, "")
        return f"{miss:.3g}" if unit == "" else f"{miss:.3g} {unit}"


def parse_constraint(text: str) -> Constraint:
    """Reads "QUANTITY <= LIMIT" or ">=".

    A flow needs a unit. Another quantity takes a plain number in the unit that its name says, or with that unit; a
    share also takes a percentage. Raises `BadInput` with what is known.
    """
    match = _SYNTAX.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise BadInput(f'"{text}" can\'t be read as a constraint', _EXAMPLE)
    name, sign, limit = match.groups()
    if name not in KNOWN:
        near = difflib.get_close_matches(name, KNOWN, 1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise BadInput(f'"{name}" in "{text}" is not a quantity of the twin', f"{hint}known are {', '.join(KNOWN)}")
    name = ALIASES.get(name, name)
    value = parse(limit, "flow") if name in FLOWS else _plain(text, limit, OUTPUTS.get(name, ""))
    return Constraint(" ".join((match[1], sign, limit)), name, 1 if sign == "<=" else -1, value)


def pump_limit(quantity: str, highest_m3_s: float) -> Constraint:
    """A pump's highest flow as a constraint."""
    if not (math.isfinite(highest_m3_s) and highest_m3_s > 0):
        raise BadInput(f"the highest {quantity} flow of a pump must be positive, not {highest_m3_s:g} m³/s")
    return Constraint(f"{quantity} <= {to_ml_per_h(highest_m3_s):.6g} mL/h", quantity, 1, highest_m3_s)


def _plain(text: str, limit: str, unit: str) -> float:
    number, _, given = limit.replace("%", " %").partition(" ")
    given = given.strip()
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f'"{limit}" in "{text}" is not a number', _EXAMPLE)
    if given == "%" and unit == "":
        return value / 100.0
    if given not in ("", unit):
        expected = "none, or %" if unit == "" else unit
        raise BadInput(f'the unit "{given}" in "{text}" does not fit', f"the unit of that quantity is {expected}")
    return value
