"""What the surrogate learns from: the usable points of a campaign table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.errors import BadInput, Missing
from twin.estimate import Estimate, Label
from twin.files import digest, read_json
from twin.operating import OperatingPoint
from twin.units import to_ml_per_h

Array = NDArray[np.float64]

SCHEMA = 2  # of the campaign table
FEWEST = 4
LABELS: tuple[Label, ...] = ("calibrated", "bounded", "prior-only")
#: Ends of the bracket of an index, so that its logit is finite: an index of 0.9999 is mixed, one of 0.0001 is not.
INDEX_ENDS = (1e-4, 1.0 - 1e-4)


@dataclass(frozen=True)
class Dataset:
    """The usable points of a campaign, n of them.

    `antisolvent`, `precursor`: flows in m³/s, shape (n,). `time` and `index`: the mixing time in s and the mixing index
    at the outlet's end, columns value, low, high, shape (n, 3). `pressure_drop` from the arm with the larger one to the
    outlet's end in Pa, shape (n,), with the largest relative discretization error of any of them, `pressure_error`.
    `left_out` names each point that can't be used, with the reason.
    """

    case: str
    level: str
    campaign: str
    temperature_k: float
    names: tuple[str, ...]
    antisolvent: Array
    precursor: Array
    time: Array
    index: Array
    pressure_drop: Array
    pressure_error: float
    labels: dict[str, Label]
    left_out: dict[str, str]
    provenance: dict[str, Any]

    @property
    def points(self) -> list[OperatingPoint]:
        """The operating points, in the order of the arrays."""
        flows = zip(self.antisolvent.tolist(), self.precursor.tolist(), strict=True)
        return [OperatingPoint(*pair, self.temperature_k) for pair in flows]


def read_campaign(path: Path) -> Dataset:
    """The dataset of a `campaign.json`; its hash is that of the file's bytes.

    Failed points, and points whose numbers can't be used, are left out and listed. Raises `Missing` without the file,
    `BadInput` where it is damaged, holds a point twice, mixes temperatures, or has fewer than 4 usable points.
    """
    if not path.exists():
        raise Missing(f"there is no {path}", "compute the campaign first: twin sweep CASE")
    table = read_json(path)
    if not isinstance(table, dict) or table.get("schema") != SCHEMA or not isinstance(table.get("points"), list):
        raise BadInput(f"{path} is not a campaign table of schema {SCHEMA}", "run twin sweep CASE again")
    usable: list[tuple[OperatingPoint, dict[str, Any]]] = []
    left_out: dict[str, str] = {}
    for position, record in enumerate(table["points"]):
        name = str(record.get("name", f"point {position + 1}")) if isinstance(record, dict) else f"point {position + 1}"
        try:
            usable.append(_usable(record))
        except _UnusableError as reason:
            left_out[name] = str(reason)
    _check(path, usable, left_out)
    points, rows = zip(*sorted(usable, key=lambda pair: pair[0]), strict=True)
    return Dataset(
        case=str(table.get("case", "")),
        level=str(table.get("level", "")),
        campaign=digest(path.read_bytes()),
        temperature_k=points[0].temperature_k,
        names=tuple(point.name for point in points),
        antisolvent=np.array([point.antisolvent_m3_s for point in points]),
        precursor=np.array([point.precursor_m3_s for point in points]),
        time=np.array([_triple(row["time"]) for row in rows]),
        index=np.array([_triple(row["index"]) for row in rows]),
        pressure_drop=np.array([row["pressure_drop"] for row in rows]),
        pressure_error=max(row["pressure_error"] for row in rows),
        labels={target: _weakest([row[target].label for row in rows]) for target in ("time", "index")},
        left_out=left_out,
        provenance=dict(table.get("provenance") or {}),
    )


class _UnusableError(Exception):
    """Why a point of a campaign can't be learned from."""


def _usable(record: Any) -> tuple[OperatingPoint, dict[str, Any]]:
    """The point and its numbers, or the reason why not."""
    try:
        if record["status"] == "failed":
            raise _UnusableError(f"failed: {record.get('reason') or 'no reason given'}")
        point = OperatingPoint(*(float(record[key]) for key in ("antisolvent_m3_s", "precursor_m3_s", "temperature_k")))
        time = Estimate.from_dict(record["mixing"]["time"])
        index = Estimate.from_dict(record["mixing"]["index_outlet"])
        pressure_drop = _largest(record["flow"]["pressure_drop_pa"])
        pressure_error = float(record["flow"]["pressure_error"])
    except (KeyError, TypeError, ValueError) as error:
        raise _UnusableError(f"its record is incomplete ({type(error).__name__}: {error})") from error
    except BadInput as error:
        raise _UnusableError(error.message) from error
    if not (time.low > 0 and math.isfinite(time.high)):
        raise _UnusableError(f"its mixing time is {time}")
    if not 0 < index.value < 1:
        raise _UnusableError(f"its mixing index is {index}")
    if not (pressure_drop > 0 and math.isfinite(pressure_drop)):
        raise _UnusableError(f"its pressure drop is {pressure_drop:g} Pa")
    low, high = INDEX_ENDS
    value = min(max(index.value, low), high)
    index = Estimate(value, min(max(index.low, low), value), max(min(index.high, high), value), "", index.label)
    if not 0 <= pressure_error < 1:
        raise _UnusableError(f"the error of its pressure drop is {pressure_error:g}")
    return point, {"time": time, "index": index, "pressure_drop": pressure_drop, "pressure_error": pressure_error}


def _largest(drop: Any) -> float:
    """The pressure drop in Pa: a number, or the larger of those of the two arms."""
    return max(float(value) for value in drop.values()) if isinstance(drop, dict) else float(drop)


def _check(path: Path, usable: list[tuple[OperatingPoint, dict[str, Any]]], left_out: dict[str, str]) -> None:
    points = [point for point, _ in usable]
    if len(points) < FEWEST:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in left_out.items())
        raise BadInput(
            f"{path} has {len(points)} usable points; a surrogate needs {FEWEST}{reasons}",
            "add operating points to the sweeps of the case, or repair the failed ones, and run twin sweep again",
        )
    names = [point.name for point in points]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"{path} holds {', '.join(twice)} twice", "run twin sweep again: it writes each point once")
    temperatures = sorted({point.temperature_k for point in points})
    if temperatures[-1] - temperatures[0] > 0.01:
        raise BadInput(
            f"{path} mixes temperatures from {temperatures[0]:g} to {temperatures[-1]:g} K",
            "a surrogate is for one temperature: give each its own case",
        )
    flows = [to_ml_per_h(flow) for point in points for flow in (point.antisolvent_m3_s, point.precursor_m3_s)]
    if max(flows) > 1e7 or min(flows) < 1e-4:
        raise BadInput(f"{path} has flows of {min(flows):g} to {max(flows):g} mL/h", "flows in it are in m³/s")


def _triple(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _weakest(labels: list[Label]) -> Label:
    return max(labels, key=LABELS.index)
