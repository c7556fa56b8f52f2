"""What the stages have left on disk, as the pictures, the report and the dashboard read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twin.campaign.record import point_hash
from twin.case import Case, Results
from twin.errors import BadInput
from twin.files import read_json
from twin.operating import OperatingPoint

SOLVED = ("steady", "marched")


@dataclass(frozen=True)
class PointState:
    """An operating point with its record, if there is one.

    `state` is the record's status (`steady`, `marched`, `failed`), `open` without a record, or `outdated` where the
    record is of another mesh, or of other liquids, or of another form.
    """

    point: OperatingPoint
    state: str
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def solved(self) -> bool:
        """Whether there are numbers of this mesh."""
        return self.state in SOLVED

    @property
    def name(self) -> str:
        """The name of the point."""
        return self.point.name


def mesh_quality(results: Results) -> dict[str, Any] | None:
    """The quality record of the mesh, None without one."""
    path = results.mesh / "quality.json"
    data = read_json(path) if path.exists() else None
    return data if isinstance(data, dict) else None


def point_states(case: Case, level: str, results: Results) -> list[PointState]:
    """The points of the case's sweeps and all others that have a record, in the order of rising flow."""
    mesh_hash = str((mesh_quality(results) or {}).get("hash", ""))
    states = {point.name: PointState(point, "open") for point in case.points}
    for path in sorted((results.folder / "points").glob("*/record.json")):
        try:
            record = read_json(path)
            point = OperatingPoint(*(float(record[key]) for key in _FLOWS))
        except (BadInput, KeyError, TypeError, ValueError):
            name = path.parent.name
            if name in states:
                states[name] = PointState(states[name].point, "outdated", {"reason": "its record is damaged"})
            continue
        state = str(record.get("status", "outdated"))
        if record.get("provenance", {}).get("point_hash") != point_hash(case, level, point, mesh_hash):
            state = "outdated"
        states[point.name] = PointState(point, state, record)
    return sorted(states.values(), key=lambda state: state.point)


_FLOWS = ("antisolvent_m3_s", "precursor_m3_s", "temperature_k")


def notable(states: Sequence[PointState]) -> list[PointState]:
    """Up to three solved points that span the campaign: the lowest and the highest Re, and the leanest in precursor."""
    solved = [state for state in states if state.solved]
    if not solved:
        return []
    chosen = [
        min(solved, key=lambda state: (state.point.total_m3_s, -state.point.precursor_m3_s)),
        max(solved, key=lambda state: state.point.total_m3_s),
        min(solved, key=lambda state: state.point.precursor_fraction),
    ]
    return list({state.name: state for state in chosen}.values())
