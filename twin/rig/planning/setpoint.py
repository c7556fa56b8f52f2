"""Reads `setpoint.json` and refuses it unless it is whole, unedited, fresh, inside its hull and within the rig."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twin.case.schema import Case
from twin.errors import BadInput
from twin.estimate import Estimate
from twin.files import checksum, read_json
from twin.operating import OperatingPoint
from twin.rig.planning import hull
from twin.rig.planning.limits import check_rates
from twin.units import to_ml_per_h

MAX_AGE_DAYS = 7.0
_AGAIN = "propose it again with `twin setpoint CASE`"
_PROVENANCE = ("surrogate", "campaign", "created", "twin")


@dataclass(frozen=True)
class Setpoint:
    """A proposal that has passed every check of the file. Flows and temperature are in `point`, the hull in m³/s."""

    case: str
    level: str
    ligand: str
    point: OperatingPoint
    objective: str
    constraints: tuple[str, ...]
    predicted: dict[str, Estimate]
    created: datetime
    provenance: dict[str, str]
    checksum: str
    path: Path
    hull: tuple[tuple[float, float], ...]


def load_setpoint(
    path: Path | str, case: Case, *, max_age_days: float = MAX_AGE_DAYS, now: datetime | None = None
) -> Setpoint:
    """The setpoint of a file, checked against itself and against the rig of `case`.

    Args:
        path: the `setpoint.json`.
        case: the case whose pumps are to run it.
        max_age_days: how old a proposal may be, days.
        now: the present time, for tests.

    Raises:
        BadInput: the file is damaged, edited, without provenance, of another case, stale, outside its own hull, or
            beyond a pump and its syringe.
    """
    path = Path(path)
    data = _read(path)
    provenance = _provenance(path, data)
    if data["case"] != case.name:
        raise BadInput(f'{path} is for the case "{data["case"]}", not "{case.name}"', _AGAIN)
    created = _created(path, provenance["created"], max_age_days, now or datetime.now(UTC))
    point = _point(path, data)
    _check_hull(path, data, point)
    check_rates(case, point)
    return Setpoint(
        case=data["case"],
        level=data["level"],
        ligand=data["ligand"],
        point=point,
        objective=data["objective"],
        constraints=tuple(str(text) for text in data["constraints"]),
        predicted=_predicted(path, data["predicted"]),
        created=created,
        provenance=provenance,
        checksum=data["checksum"],
        path=path,
        hull=tuple((float(a), float(p)) for a, p in data["hull"]),
    )


def _read(path: Path) -> dict[str, Any]:
    """The keys of the file, each of the right kind, under a checksum that fits."""
    if not path.exists():
        raise BadInput(f"there is no {path}", "make a proposal with `twin setpoint CASE`")
    try:
        data = read_json(path)
    except RecursionError:
        raise BadInput(f"{path} is damaged: nested too deeply", _AGAIN) from None
    if not isinstance(data, dict):
        raise BadInput(f"{path} is damaged: it holds no table", _AGAIN)
    kinds: dict[str, type] = {
        "case": str, "level": str, "ligand": str, "objective": str, "checksum": str,
        "constraints": list, "predicted": dict, "hull": list, "antisolvent_m3_s": float,
        "precursor_m3_s": float, "temperature_k": float,
    }  # fmt: skip
    if data.get("schema") != 1:
        raise BadInput(f"{path} has schema {data.get('schema')!r}; this rig reads 1", _AGAIN)
    wrong = [key for key, kind in kinds.items() if not _is(data.get(key), kind)]
    if wrong:
        raise BadInput(f"{path} is damaged: {', '.join(wrong)} missing or not of the right kind", _AGAIN)
    try:
        expected = checksum(data)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path} is damaged: {error}", _AGAIN) from None
    if data["checksum"] != expected:
        raise BadInput(f"{path} was edited after it was written: its checksum does not fit", _AGAIN)
    return data


def _is(value: object, kind: type) -> bool:
    if kind is float:
        largest = sys.float_info.max  # compared, not converted: an integer may be too long for a float
        return isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest
    return isinstance(value, kind)


def _provenance(path: Path, data: dict[str, Any]) -> dict[str, str]:
    provenance = data.get("provenance")
    if not isinstance(provenance, dict):
        raise BadInput(f"{path} has no provenance: nobody can say what it rests on", _AGAIN)
    missing = [key for key in _PROVENANCE if not (isinstance(provenance.get(key), str) and provenance[key].strip())]
    if missing:
        raise BadInput(f"the provenance of {path} does not name {', '.join(missing)}", _AGAIN)
    return provenance


def _created(path: Path, text: str, max_age_days: float, now: datetime) -> datetime:
    try:
        created = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f'{path} says that it was created at "{text}", which is no time', _AGAIN) from None
    if created.tzinfo is None:
        raise BadInput(f"{path} gives the time of its creation without a zone: {text}", _AGAIN)
    age = now - created
    if age > timedelta(days=max_age_days):
        raise BadInput(
            f"{path} is stale: {age.total_seconds() / 86400:.1f} days old, and {max_age_days:g} are allowed", _AGAIN
        )
    if age < timedelta(minutes=-5):
        raise BadInput(f"{path} was created in the future, at {text}", "set the clock of this computer, then " + _AGAIN)
    return created.astimezone(UTC)


def _point(path: Path, data: dict[str, Any]) -> OperatingPoint:
    try:
        return OperatingPoint(data["antisolvent_m3_s"], data["precursor_m3_s"], data["temperature_k"])
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}", error.remedy or _AGAIN) from None


def _predicted(path: Path, data: dict[str, Any]) -> dict[str, Estimate]:
    try:
        return {name: Estimate.from_dict(entry) for name, entry in data.items()}
    except (BadInput, OverflowError) as error:
        raise BadInput(f"{path} is damaged: {getattr(error, 'message', error)}", _AGAIN) from None


def _check_hull(path: Path, data: dict[str, Any], point: OperatingPoint) -> None:
    corners = data["hull"]
    if not corners or not all(
        isinstance(corner, list) and len(corner) == 2 and all(_is(value, float) for value in corner)
        for corner in corners
    ):
        raise BadInput(f"{path} is damaged: its hull is not a list of pairs of flows", _AGAIN)
    if not hull.contains([(a, p) for a, p in corners], (point.antisolvent_m3_s, point.precursor_m3_s)):
        ranges = [
            f"{name} {to_ml_per_h(min(values)):.4g} to {to_ml_per_h(max(values)):.4g} mL/h"
            for name, values in zip(("antisolvent", "precursor"), zip(*corners, strict=True), strict=True)
        ]
        raise BadInput(
            f"{path} lies outside the hull of the points that it was computed from ({point.name}; the hull lies within"
            f" {' and '.join(ranges)})",
            "extrapolation is refused: widen the sweep, or choose a point inside",
        )


def summary(setpoint: Setpoint) -> str:
    """One line on a setpoint."""
    return (
        f"{setpoint.point.name} of {setpoint.case}/{setpoint.level}, {setpoint.ligand}, for {setpoint.objective},"
        f" {setpoint.created:%Y-%m-%d %H:%M} UTC, checksum {setpoint.checksum}"
    )
