"""Conditions the ensemble on the paper's data: what they fix is solved for, what they exclude is left out.

Each draw from the priors is taken through the data of its ligand. A parameter that a datum fixes is solved for, so
that this member gives the datum (with an error drawn for it) under its own values of everything else:

    nucleation prefactor (OA/OAm)   from the mean size: one number for the lumped ratio of nucleation to growth
    size limit (PS)                 from the mean size
    limit of the quantum yield      from the quantum yield, as the mean over its sweep

A member is left out where crystals would not form at a point that emits, where no nucleation rate gives the size,
where the limit of the quantum yield would pass 1, and where the quantum yield is not flat over the sweep on which the
paper finds it flat. With templates, it is also left out where the emission peak would move by more than 2 nm over the
points at which the paper finds it constant. What is left is equally likely. No other trend is used.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from twin.case import Case, ExpectedValue
from twin.case.load import load_expected
from twin.crystal import PARAMETERS, Ligand
from twin.crystal.parameters import LIGANDS
from twin.errors import BadInput, NotConverged, TwinError
from twin.estimate import Label
from twin.operating import OperatingPoint
from twin.process.data import CONSTANT_NM, FLAT, Datum, constant_peak, datum, fitted_data
from twin.process.ensemble import Array, Member, candidates, deviates, errors
from twin.surrogate import Surrogate

MEMBERS = 64
SEED = 2023
LIQUIDS_OF_THE_DATA = "toluene", "DMF"  # solubilities and the paper's product are of these
#: Candidates per member that is wanted.
_CANDIDATES = 64
#: Nucleation prefactors that give the datum are sought within this many standard deviations of the prior, on a grid.
_REACH, _GRID = 3.0, 25
#: The parameter that the mean size of a ligand fixes.
_OWN: dict[Ligand, str] = {"ps": "size_limit", "oa": "nucleation"}


@dataclass(frozen=True, eq=False)
class Calibration:
    """The conditioned ensemble of each ligand, with why candidates were left out, and the data behind it."""

    case: str
    level: str
    surrogate: str
    campaign: str
    feed: float
    temperature_k: float
    seed: int
    data: list[Datum]
    members: dict[Ligand, list[Member]]
    left_out: dict[Ligand, dict[str, int]]

    def label(self, name: str, ligand: Ligand) -> Label:
        """What the data at hand do to a parameter: its own label, or prior-only where the datum is missing."""
        quantity = "size_nm" if name in _OWN.values() else "plqy"
        return PARAMETERS[name].label if datum(self.data, quantity, ligand) else "prior-only"

    def own(self, ligand: Ligand) -> list[str]:
        """The names of the parameters that matter to a ligand."""
        foreign = {"ps": {"nucleation", "shape"}, "oa": {"size_limit", "template_rate", "template_barrier"}}[ligand]
        return [name for name in PARAMETERS if name not in foreign]


#: Mixing times in s by operating point, of one draw.
Times = dict[OperatingPoint, float]


class _RefusedError(Exception):
    """Why a draw does not agree with the data."""


def calibrate(
    case: Case,
    surrogate: Surrogate,
    expected: list[ExpectedValue] | None = None,
    members: int = MEMBERS,
    seed: int = SEED,
    progress: Callable[[float], None] | None = None,
) -> Calibration:
    """The ensembles for both ligands; the same every time. Takes some 10 s; `progress` is called with a share of 1.

    `expected` defaults to the case's own file. Raises `BadInput` for liquids that the model's data are not of, or
    points of the data outside the surrogate's hull, `TwinError` where fewer than half as many draws as wanted agree
    with the data.
    """
    if (case.liquids.antisolvent, case.liquids.precursor) != LIQUIDS_OF_THE_DATA:
        raise BadInput(
            f"the crystal model holds for {' and '.join(LIQUIDS_OF_THE_DATA)}, not for {case.liquids.antisolvent} and"
            f" {case.liquids.precursor}",
            "flow and mixing hold for any liquids: twin solve, sweep, fit, tube, pulse, view, report",
        )
    expected = load_expected(case) if expected is None else expected
    data = fitted_data(case, expected)
    for one in data:
        _reachable(one, surrogate)
    feed = case.precursor.concentration
    ensembles: dict[Ligand, list[Member]] = {}
    left_out: dict[Ligand, dict[str, int]] = {}
    draws, slots = candidates(_CANDIDATES * members, seed), errors(members, seed)
    for part, ligand in enumerate(LIGANDS):
        still = [point for point in constant_peak(case, expected, ligand) if surrogate.hull.contains(*_flows(point))]
        points = sorted({*still, *(point for one in data for point in one.points)})
        times = _mixing_times(draws, points, surrogate)
        kept: list[Member] = []
        reasons: Counter[str] = Counter()
        for draw, row in zip(draws, times, strict=True):
            at = dict(zip(points, row.tolist(), strict=True))
            draw = replace(draw, deviates=draw.deviates | slots[len(kept)])
            try:
                member = _conditioned(draw, ligand, data, at, feed)
                _check_peak(member, ligand, still, at, feed)
                kept.append(member)
            except _RefusedError as reason:
                reasons[str(reason)] += 1
            if progress:
                progress((part + len(kept) / members) / len(LIGANDS))
            if len(kept) == members:
                break
        if len(kept) < members / 2:
            reasons_text = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
            raise TwinError(
                f"of {len(draws)} draws from the priors for {ligand}, only {len(kept)} agree with the data"
                f" ({reasons_text})",
                "the mixing times and the data of the case contradict the model: check both before trusting it",
            )
        ensembles[ligand], left_out[ligand] = kept, dict(reasons)
    dataset = surrogate.dataset
    return Calibration(
        case.name, dataset.level, surrogate.fingerprint, dataset.campaign, feed,
        dataset.temperature_k, seed, data, ensembles, left_out,
    )


def _reachable(one: Datum, surrogate: Surrogate) -> None:
    for point in one.points:
        try:
            surrogate.check(point)
        except BadInput as error:
            raise BadInput(
                f"the campaign does not cover {point.name}, at which {one.quantity} is known ({error.message})",
                "compute that point: twin sweep goes on where it stopped; then fit again",
            ) from error


def _conditioned(draw: Member, ligand: Ligand, data: list[Datum], times: Times, feed: float) -> Member:
    """The draw with what the data fix; raises `_RefusedError` where it can't agree with them."""
    yields, size = datum(data, "plqy", ligand), datum(data, "size_nm", ligand)
    if yields is not None:
        if not all(draw.saturates(point, feed) for point in yields.points):
            raise _RefusedError("crystals would not form at a point that emits")
        draw = _with_yield(draw, yields, times)
    if size is not None:
        solve = _with_size_limit if ligand == "ps" else _with_nucleation
        draw = solve(draw, size, times[size.points[0]], feed)
    return draw


def _flows(point: OperatingPoint) -> tuple[float, float]:
    return point.antisolvent_m3_s, point.precursor_m3_s


def _mixing_times(draws: list[Member], points: list[OperatingPoint], surrogate: Surrogate) -> Array:
    """The mixing times in s of every draw at every point, shape (draws, points)."""
    if not points:
        return np.empty((len(draws), 0))
    z = deviates(draws, "surrogate"), deviates(draws, "bracket")
    return surrogate.sample("mixing_time_s", points, *z).T


def _check_peak(draw: Member, ligand: Ligand, points: list[OperatingPoint], times: Times, feed: float) -> None:
    """Raises `_RefusedError` where the emission peak moves over points at which it is known to stay."""
    peaks = []
    for point in points:
        crystals = draw.crystals(ligand, point, times[point], feed)
        peaks.append(draw.optics.peak_nm(crystals) if crystals.formed else math.inf)
    if peaks and not max(peaks) - min(peaks) <= CONSTANT_NM:
        raise _RefusedError("the emission peak would not be constant")


def _with_yield(draw: Member, one: Datum, times: Times) -> Member:
    unit = draw.replaced(plqy_limit=1.0)
    shape = np.array([unit.plqy(point, times[point]) for point in one.points])
    if shape.max() > FLAT * shape.min():
        raise _RefusedError("the quantum yield would not be flat over its sweep")
    limit = one.value * (1.0 + one.spread * draw.deviates["plqy"]) / float(shape.mean())
    if not 0 < limit <= 1:
        raise _RefusedError("the limit of the quantum yield would pass 1")
    return draw.replaced(plqy_limit=limit)


def _with_size_limit(draw: Member, one: Datum, time: float, feed: float) -> Member:
    """The size limit with which the mean size is the datum, by repeated scaling."""
    wanted = 1e-9 * one.value * (1.0 + one.spread * draw.deviates["size_nm"])
    draw = draw.replaced(size_limit=wanted)
    for _ in range(8):
        size = _mean_size(draw, "ps", one, time, feed)
        if size is None:
            break
        if abs(size / wanted - 1.0) < 1e-6:
            return draw
        draw = draw.replaced(size_limit=draw.parameters["size_limit"] * wanted / size)
    raise _RefusedError("no size limit gives the size")


def _with_nucleation(draw: Member, one: Datum, time: float, feed: float) -> Member:
    """The nucleation prefactor with which the mean size is the datum.

    The size is no monotonic function of the prefactor: slow nucleation goes on after mixing, and fast nucleation starts
    in the barely diluted drop and leaves little for later nuclei. So solutions are sought all over the prior, decade by
    decade, and one is taken at random, by the rank of the drawn prefactor, with the weight that conditioning gives it:
    its prior density over |d ln size/d ln prefactor|.
    """
    wanted = 1e-9 * one.value * (1.0 + one.spread * draw.deviates["size_nm"])

    def miss(ln_prefactor: float, tolerance: float = 1e-7) -> float:
        trial = draw.replaced(nucleation=math.exp(ln_prefactor))
        size = _mean_size(trial, "oa", one, time, feed, tolerance)
        return math.nan if size is None else math.log(size / wanted)

    prior = PARAMETERS["nucleation"]
    middle, spread = math.log(prior.median), math.log(prior.spread)
    grid = np.linspace(middle - _REACH * spread, middle + _REACH * spread, _GRID)
    misses = np.array([miss(place, 1e-5) for place in grid.tolist()])
    roots, weights = [], []
    for i in np.flatnonzero(misses[:-1] * misses[1:] <= 0).tolist():
        low, high = float(grid[i]), float(grid[i + 1])
        ends = miss(low), miss(high)
        if ends[0] * ends[1] > 0:
            continue
        root = brentq(miss, low, high, xtol=1e-7)
        slope = abs((ends[1] - ends[0]) / (high - low))
        roots.append(root)
        weights.append(math.exp(-0.5 * ((root - middle) / spread) ** 2) / slope)
    if not roots:
        raise _RefusedError("no nucleation rate gives the size")
    rank = float(ndtr((math.log(draw.parameters["nucleation"]) - middle) / spread))
    chosen = int(np.searchsorted(np.cumsum(weights) / np.sum(weights), rank).item())
    return draw.replaced(nucleation=math.exp(roots[min(chosen, len(roots) - 1)]))


def _mean_size(
    draw: Member, ligand: Ligand, one: Datum, time: float, feed: float, tolerance: float = 1e-7
) -> float | None:
    """Mean size in m at the datum's point, None where no crystals form."""
    try:
        crystals = draw.crystals(ligand, one.points[0], time, feed, tolerance)
    except NotConverged:
        return None
    return crystals.mean_size if crystals.formed else None
