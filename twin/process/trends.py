"""Trends in words, such as "falls with the antisolvent flow", held against ensembles of values."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from twin.errors import BadInput
from twin.operating import OperatingPoint
from twin.process.data import CONSTANT_NM, FLAT
from twin.units import to_ml_per_h

Word = Literal["rises", "falls", "constant", "flat"]
_CLAUSE = re.compile(r"(?:about )?(rises|falls|constant|flat)(?: with the (antisolvent|precursor) flow)?")


@dataclass(frozen=True)
class Trend:
    """What happens (`word`) as one flow rises; `axis` is "" where it is said of every point."""

    word: Word
    axis: str

    def along(self, points: list[OperatingPoint], excluded_ml_h: float | None = None) -> list[OperatingPoint]:
        """The points in the order of the flow `axis`: those that share the other flow, most of them at once.

        A point whose antisolvent flow is `excluded_ml_h` is left out of a trend with that flow.
        """
        if not self.axis:
            return sorted(points)
        lines: dict[float, list[OperatingPoint]] = defaultdict(list)
        for point in points:
            own, other = point.antisolvent_m3_s, point.precursor_m3_s
            if self.axis == "antisolvent" and excluded_ml_h and abs(to_ml_per_h(own) - excluded_ml_h) < 0.5:
                continue
            lines[round(to_ml_per_h(other if self.axis == "antisolvent" else own), 6)].append(point)
        line = max(lines.values(), key=len, default=[])
        if len(line) < 2:
            raise BadInput(f"a trend with the {self.axis} flow needs two points that differ in it alone")
        return sorted(line)


def trends(text: str) -> list[Trend]:
    """The trends of a text, clause by clause; raises `BadInput` where one can't be read."""
    answer = []
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause.strip())
        if match is None or (match[1] in ("rises", "falls") and not match[2]):
            raise BadInput(
                f'the trend "{clause.strip()}" can\'t be read',
                'write e.g. "rises with the antisolvent flow", "flat with the precursor flow", or "constant"',
            )
        answer.append(Trend(cast(Word, match[1]), match[2] or ""))
    return answer


def judged(trend: Trend, values: NDArray[np.float64]) -> tuple[str, bool]:
    """Whether a trend holds for values of shape (points, members), and in words: for how many of the members.

    rises, falls: strictly from point to point. flat: the highest is at most 1.10 times the lowest. constant: within
    2 nm. It holds where at least half of the members do so, and for rises and falls where the median of
    their changes does from each point to the next. Members with a NaN are left out.
    """
    whole = values[:, np.all(np.isfinite(values), axis=0)]
    if whole.shape[1] == 0:
        return f"{trend.word}: no member of the ensemble has crystals at every point", False
    share = float(np.mean([_follows(trend.word, column) for column in whole.T]))
    holds = share >= 0.5
    if trend.word in ("rises", "falls"):
        changes = np.median(np.diff(whole, axis=0), axis=1)
        holds = holds and bool(np.all(changes > 0 if trend.word == "rises" else changes < 0))
    axis = f" with the {trend.axis} flow" if trend.axis else ""
    return f"{trend.word}{axis}: {'holds' if holds else 'does not hold'}, in {share:.0%} of the ensemble", holds


def _follows(word: Word, line: NDArray[np.float64]) -> bool:
    if word == "rises":
        return bool(np.all(np.diff(line) > 0))
    if word == "falls":
        return bool(np.all(np.diff(line) < 0))
    if word == "flat":
        return bool(np.max(line) <= FLAT * np.min(line))
    return bool(np.ptp(line) <= CONSTANT_NM)
