"""Proposes an operating point: the best one that meets the constraints, inside what the campaign covers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import twin
from twin.crystal import Ligand, known_ligand
from twin.errors import BadInput, TwinError
from twin.estimate import Estimate
from twin.files import sealed, write_json
from twin.operating import OperatingPoint
from twin.process.constraints import ALIASES, Constraint, parse_constraint, pump_limit
from twin.process.model import ProcessModel
from twin.process.search import Region, Score, best
from twin.surrogate import Hull
from twin.units import to_ml_per_h

Objective = Literal["production", "plqy"]
Feasible = Literal["at the band", "at the median"]
OBJECTIVES: tuple[Objective, ...] = ("production", "plqy")
#: What the other objective counts for: 1 % of quantum yield as 0.3 % of production; e-fold production as 1 % of quantum
#: yield.
WEIGHTS: dict[Objective, tuple[str, float]] = {"production": ("plqy", 0.3), "plqy": ("production_g_h", 0.01)}


@dataclass(frozen=True)
class Proposal:
    """A setpoint with what is predicted there.

    `feasible` is "at the band" where every constraint on a predicted quantity holds at the pessimistic end of its
    band, "at the median" where no point does that, and this one meets them with its values only.
    """

    case: str
    level: str
    ligand: Ligand
    point: OperatingPoint
    objective: Objective
    constraints: tuple[str, ...]
    feasible: Feasible
    predicted: dict[str, Estimate]
    hull: Hull
    surrogate: str
    campaign: str

    def as_dict(self) -> dict[str, Any]:
        """The content of `setpoint.json`, its checksum included."""
        shown = {full: short for short, full in ALIASES.items()}
        data: dict[str, Any] = {
            "schema": 1,
            "case": self.case,
            "level": self.level,
            "ligand": self.ligand,
            "antisolvent_m3_s": self.point.antisolvent_m3_s,
            "precursor_m3_s": self.point.precursor_m3_s,
            "temperature_k": self.point.temperature_k,
            "objective": self.objective,
            "constraints": list(self.constraints),
            "feasible": self.feasible,
            "predicted": {shown.get(name, name): one.as_dict() for name, one in self.predicted.items()},
            "hull": [list(vertex) for vertex in self.hull.vertices],
            "provenance": {
                "surrogate": self.surrogate,
                "campaign": self.campaign,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "twin": twin.__version__,
            },
        }
        return sealed(data)


def propose(
    model: ProcessModel,
    maximize: str,
    subject_to: Sequence[str],
    ligand: str,
    max_antisolvent_m3_s: float | None = None,
    max_precursor_m3_s: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Proposal:
    """The point with the largest median of "production" or "plqy" under constraints such as "plqy >= 0.5".

    The other objective counts a little (`WEIGHTS`), since the model can't tell differences of a few tenths of a percent
    apart: the search maximizes ln(objective) + weight · ln(other).
    The flows of the pumps, in m³/s, count as constraints too. Constraints on flows cut the hull exactly; those on
    predicted quantities are to hold at the pessimistic end of the band. `progress` is called with the number of points
    computed so far (some 60, at below half a second each). Raises `BadInput` on a constraint that can't be read, and
    where no point is feasible, with the constraint that binds and by how much the best point misses it.
    """
    kind = known_ligand(ligand)
    objective = _objective(maximize)
    constraints = [parse_constraint(text) for text in subject_to]
    pumps = (("antisolvent", max_antisolvent_m3_s), ("precursor", max_precursor_m3_s))
    constraints += [pump_limit(quantity, flow) for quantity, flow in pumps if flow is not None]
    region = Region(_allowed(model.surrogate.hull, constraints), model.calibration.temperature_k)
    soft = [constraint for constraint in constraints if not constraint.exact]
    scores = _Scores(model, kind, objective, soft, progress)
    feasible: Feasible = "at the band"
    point = best(region, scores)
    if scores(point).miss > 0:
        feasible, scores.pessimistic = "at the median", False
        point = best(region, scores)
        if scores(point).miss > 0:
            raise _infeasible(point, model.predict(point, kind), soft)
    point = _snapped(point, constraints)
    calibration = model.calibration
    return Proposal(
        calibration.case, calibration.level, kind, point, objective, tuple(one.text for one in constraints), feasible,
        model.predict(point, kind), model.surrogate.hull, calibration.surrogate, calibration.campaign,
    )


def write_setpoint(proposal: Proposal, path: Path) -> None:
    """Writes `setpoint.json`."""
    write_json(path, proposal.as_dict())


class _Scores:
    """Scores of points, each computed once."""

    def __init__(
        self, model: ProcessModel, ligand: Ligand, objective: Objective, soft: list[Constraint],
        progress: Callable[[int], None] | None,
    ) -> None:
        self.pessimistic = True
        self._model, self._ligand = model, ligand
        self._objective = ALIASES.get(objective, objective)
        self._other, self._weight = WEIGHTS[objective]
        self._soft, self._progress = soft, progress
        self._known: dict[OperatingPoint, dict[str, Estimate] | None] = {}

    def __call__(self, point: OperatingPoint) -> Score:
        predicted = self._predicted(point)
        if predicted is None:
            return Score(math.inf, -math.inf)
        misses = [_relative(one, one.miss(predicted[one.quantity], self.pessimistic)) for one in self._soft]
        value, other = (max(predicted[name].value, 1e-30) for name in (self._objective, self._other))
        return Score(max([0.0, *misses]), math.log(value) + self._weight * math.log(other))

    def _predicted(self, point: OperatingPoint) -> dict[str, Estimate] | None:
        """The prediction, or None where no crystals form."""
        if point not in self._known:
            try:
                self._known[point] = self._model.predict(point, self._ligand)
            except BadInput:
                raise
            except TwinError:
                self._known[point] = None
            if self._progress:
                self._progress(len(self._known))
        return self._known[point]


def _relative(constraint: Constraint, miss: float) -> float:
    """A miss as a share of the limit, so that those of different quantities compare."""
    return miss / abs(constraint.limit) if constraint.limit else miss


def _objective(name: str) -> Objective:
    for known in OBJECTIVES:
        if name == known:
            return known
    raise BadInput(f'"{name}" can\'t be maximized', f"choose from {', '.join(OBJECTIVES)}")


def _allowed(hull: Hull, constraints: list[Constraint]) -> Hull:
    """The part of the hull that the constraints on flows leave; raises `BadInput` where that is nothing."""
    part = hull
    for constraint in constraints:
        if not constraint.exact:
            continue
        rest = part.cut(*constraint.half_plane)
        if rest is None:
            nearest = min(constraint.flow_miss(OperatingPoint(*vertex)) for vertex in part.vertices)
            corners = ", ".join(f"{to_ml_per_h(a):g}/{to_ml_per_h(p):g}" for a, p in part.vertices)
            raise BadInput(
                f'no point is left by "{constraint.text}": the best one misses it by {constraint.amount(nearest)};'
                f" the corners of what was left before are {corners} mL/h",
                "relax it, or extend the campaign to those flows",
            )
        part = rest
    return part


def _snapped(point: OperatingPoint, constraints: list[Constraint]) -> OperatingPoint:
    """The point without the rounding errors by which it passes a limit on one of its flows."""
    flows = {"antisolvent": point.antisolvent_m3_s, "precursor": point.precursor_m3_s}
    for one in constraints:
        if one.quantity in flows and one.flow_miss(point) > 0:
            flows[one.quantity] = one.limit
    return OperatingPoint(flows["antisolvent"], flows["precursor"], point.temperature_k)


def _infeasible(point: OperatingPoint, predicted: dict[str, Estimate], soft: list[Constraint]) -> BadInput:
    """Why nothing is feasible, at the point that misses least."""
    binding = max(soft, key=lambda one: _relative(one, one.miss(predicted[one.quantity], pessimistic=False)))
    estimate = predicted[binding.quantity]
    flows = f"{to_ml_per_h(point.antisolvent_m3_s):.5g}/{to_ml_per_h(point.precursor_m3_s):.4g} mL/h"
    return BadInput(
        f'no operating point meets "{binding.text}" with the other constraints: the best one, {flows}, misses it by'
        f" {binding.amount(binding.miss(estimate, pessimistic=False))}; there it is {estimate}",
        "relax that constraint or another one, or extend the campaign",
    )
