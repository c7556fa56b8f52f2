"""The product of a solved point by the histories of its fluid elements, beside that of one zone of mixing for all."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twin.case import Results
from twin.crystal import Crystals, Engulfment, History, Ligand, averaged, histories_of
from twin.errors import BadInput, Missing, TwinError
from twin.estimate import Estimate, Label
from twin.files import read_json
from twin.mixing import RETURNS
from twin.operating import OperatingPoint
from twin.process.ensemble import Member
from twin.process.model import BAND, OUTPUTS, ProcessModel

Array = NDArray[np.float64]

#: What is told of the crystals, with units; `spread` is the deviation of the sizes over their mean.
TOLD = {**{name: OUTPUTS[name] for name in ("size_nm", "peak_nm", "fwhm_nm", "yield")}, "spread": ""}
_SEED = 1


@dataclass(frozen=True)
class Compared:
    """The product three ways, each a table of estimates by the names of `TOLD`.

    zone       one engulfment zone with the point's own mixing time
    histories  each fluid element by its own history, and all collected with equal weight
    again      the same with the noise of the walkers drawn once more: as far from `histories` as these from the truth
    share      histories over zone, member by member: median and the ends of the band, of every name
    elements, members   how many
    unmixed    median over the elements of φ at the end of the mesh, after which engulfment is assumed
    """

    zone: dict[str, Estimate]
    histories: dict[str, Estimate]
    again: dict[str, Estimate]
    share: dict[str, list[float]]
    elements: int
    members: int
    unmixed: float


def compare_histories(
    model: ProcessModel,
    results: Results,
    point: OperatingPoint,
    ligand: Ligand,
    members: int = 16,
    progress: Callable[[float], None] = lambda share: None,
) -> Compared:
    """The product of a solved point by one zone and by histories, over `members` of the calibrated ensemble.

    Raises `Missing` without the point's record and histories, `BadInput` where they are damaged, and `TwinError` where
    fewer than half of the members form crystals.
    """
    zone, elements = read_point(results, point)
    chosen = _evenly(model.calibration.members[ligand], members)
    draw = np.random.default_rng(_SEED)
    noisy = [element.again(RETURNS, draw) for element in elements]
    feed, rows = model.calibration.feed, []
    for number, member in enumerate(chosen):

        def collected(paths: Sequence[History], member: Member = member) -> Crystals:
            return averaged([member.crystals_in(path, ligand, point.temperature_k, feed) for path in paths])

        one = member.crystals_in(zone, ligand, point.temperature_k, feed)
        rows.append([_told(member, crystals) for crystals in (one, collected(elements), collected(noisy))])
        progress((number + 1) / len(chosen))
    table = np.array(rows)  # (members, ways, names)
    if np.mean(np.isfinite(table[:, :2, 0]).all(axis=1)) < 0.5:
        raise TwinError(f"at {point.name}, crystals form in less than half of the ensemble", "choose another point")
    ways = [
        {
            name: _estimate(table[:, way, column], unit, model.label(name, ligand, point))
            for column, (name, unit) in enumerate(TOLD.items())
        }
        for way in range(3)
    ]
    ratio = table[:, 1] / table[:, 0]
    share = {name: np.nanpercentile(ratio[:, column], (50.0, *BAND)).tolist() for column, name in enumerate(TOLD)}
    ends = float(np.median([element.shares[-1] for element in elements]))
    return Compared(ways[0], ways[1], ways[2], share, len(elements), len(chosen), ends)


def read_point(results: Results, point: OperatingPoint) -> tuple[Engulfment, Sequence[History]]:
    """The one zone of a solved point, by its own mixing time, and the histories of its fluid elements."""
    folder = results.point(point.name)
    path = folder / "histories.npz"
    if not (folder / "record.json").exists() or not path.exists():
        raise Missing(f"{point.name} has no histories", "solve it first: twin solve CASE with its flows")
    record = read_json(folder / "record.json")
    if record["status"] == "failed":
        raise BadInput(f"{point.name} failed: it has no mixing", "use a finer level or lower flows")
    zone = Engulfment.from_mixing_time(point.precursor_fraction, record["mixing"]["time"]["value"])
    return zone, histories_of(*_read(path), point.precursor_fraction, zone.rate)


def _read(path: Path) -> tuple[Array, Array]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            times, shares = np.asarray(stored["time_s"], float), np.asarray(stored["composition"], float)
        if times.ndim != 2 or times.shape != shares.shape or not len(times):
            raise ValueError("its arrays do not fit each other")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} is damaged: {error}", "solve the point again") from error
    return times, shares


def _evenly(members: list[Member], count: int) -> list[Member]:
    """So many of them, evenly spread."""
    if count < 1:
        raise BadInput(f"{count} members say nothing", "give at least 1")
    return [members[k] for k in np.unique(np.linspace(0, len(members) - 1, count).round().astype(int))]


def _told(member: Member, crystals: Crystals) -> list[float]:
    if not crystals.formed:
        return [np.nan, np.nan, np.nan, crystals.conversion, np.nan]
    optics, size = member.optics, 1e9 * crystals.mean_size
    spread = crystals.size_spread / crystals.mean_size
    return [size, optics.peak_nm(crystals), optics.fwhm_nm(crystals), crystals.conversion, spread]


def _estimate(values: Array, unit: str, label: Label) -> Estimate:
    low, value, high = np.nanpercentile(values, (BAND[0], 50.0, BAND[1])).tolist()
    return Estimate(value, low, high, unit, label)
