"""Speed as ratios of one run: what a second rank gains, and the time to a given error against OpenFOAM."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twin.case.schema import Level
from twin.errors import TwinError
from twin.verification.convergence import Study, run_levels
from twin.verification.openfoam import PeerResult, Reference, environment, errors, run_openfoam

ERROR = 0.005  # of the pressure drop, and of U in the outlet's velocity (RMS)
POINTS = {348.0: 1 / 17.667, 1662.0: 1 / 84.33}  # Re and the precursor's share: the ends of the paper's first sweep
RANKS = 2
PATIENCE_S = 1800.0  # for one program

Watch = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The meshes of a comparison: ours by level, OpenFOAM's by cells across a bore, the reference's, that of the ranks.

    OpenFOAM's numbers are multiples of four.
    """

    points: tuple[float, ...]
    levels: tuple[Level, ...]
    cells_across: tuple[int, ...]
    reference: Level
    ranks_level: Level


_LEVELS = tuple(
    Level(wall_size=wall, core_size=core, stretch=4)
    for wall, core in ((0.16, 0.24), (0.13, 0.2), (0.10, 0.16), (0.08, 0.13))
)
SHORT = Plan(
    points=(348.0,),
    levels=_LEVELS[:3],
    cells_across=(12, 16, 24),
    reference=Level(wall_size=0.075, core_size=0.12, stretch=3),
    ranks_level=Level(wall_size=0.055, core_size=0.09, stretch=3),
)
FULL = replace(
    SHORT,
    points=tuple(POINTS),
    levels=_LEVELS,
    cells_across=(16, 24, 32, 48),
    reference=Level(wall_size=0.055, core_size=0.09, stretch=3),
)


@dataclass(frozen=True)
class Measured:
    """One solution: what it took from nothing, with and without meshing, and its errors by quantity.

    `cpu_seconds` is the processor time of a rank, which other programs on the machine disturb less than the clock.
    """

    mesh: str
    seconds: float
    seconds_solve: float
    cpu_seconds: float
    pressure_drop: float
    errors: dict[str, float]


def flow(everything: bool = False, watch: Watch = lambda line: None) -> list[dict[str, Any]]:
    """One rank against two on a junction of about 400,000 unknowns, and the time to 0.5 % against OpenFOAM's.

    `everything` takes both Reynolds numbers, more meshes and a finer reference. A machine that does other things makes
    the ratios wrong.
    """
    plan = FULL if everything else SHORT
    rows = ranks_compared(plan, watch)
    for reynolds in plan.points:
        rows += codes_compared(plan, reynolds, watch)
    return rows


# -- ranks -------------------------------------------------------------------------------------------------------------


def ranks_compared(plan: Plan, watch: Watch = lambda line: None) -> list[dict[str, Any]]:
    """The solve on one rank and on two, one after the other. Meshing is serial and left out."""
    reynolds = plan.points[0]
    runs = {}
    for ranks in (1, 2):
        watch(f"{ranks} rank{'s'[: ranks - 1]}")
        runs[ranks] = run_levels(reynolds, POINTS[reynolds], [plan.ranks_level], ranks, PATIENCE_S).runs[0]
    seconds = {ranks: run.seconds_solve for ranks, run in runs.items()}
    title = f"{runs[1].unknowns:,} unknowns at Re {reynolds:.0f}"
    return [
        _row(f"{title}, one rank", 1.0, seconds_solve=seconds[1], cpu_seconds=runs[1].cpu_seconds),
        _row(
            f"{title}, two ranks against one",
            seconds[1] / seconds[2],
            seconds_solve=seconds[2],
            cpu_seconds=runs[2].cpu_seconds,
        ),
    ]


# -- time to an error --------------------------------------------------------------------------------------------------


def codes_compared(plan: Plan, reynolds: float, watch: Watch = lambda line: None) -> list[dict[str, Any]]:
    """Each code on its meshes against the reference, and the ratio of the times to the error. OpenFOAM may be missing.

    The last rows of the answer have the time to 0.5 % in both quantities, by the clock with and without meshing and by
    the processor time, each with OpenFOAM's over ours as the ratio.
    """
    share = POINTS[reynolds]
    watch(f"Re {reynolds:.0f}: the reference")
    finest = run_levels(reynolds, share, [plan.reference], RANKS, PATIENCE_S).runs[0]
    reference = Reference(finest.pressure_drop, np.asarray(finest.outlet_velocity))
    watch(f"Re {reynolds:.0f}: the levels")
    ours = of_study(run_levels(reynolds, share, plan.levels, RANKS, PATIENCE_S), reference)
    rows = [_row(f"Re {reynolds:.0f}: reference, {finest.unknowns:,} unknowns", drop=finest.pressure_drop)]
    rows += [_measured_row(f"Re {reynolds:.0f}: ours, {run.mesh}", run) for run in ours]
    try:
        environment()
    except TwinError as missing:
        watch(f"{missing.message}: what compares with it is left out")
        return rows
    theirs = []
    for cells_across in plan.cells_across:
        watch(f"Re {reynolds:.0f}: OpenFOAM with {cells_across} cells across")
        with tempfile.TemporaryDirectory() as name:
            result = run_openfoam(reynolds, share, cells_across, RANKS, Path(name, "case"), patience_s=PATIENCE_S)
        theirs.append(of_peer(result, cells_across, reference))
    rows += [_measured_row(f"Re {reynolds:.0f}: OpenFOAM, {run.mesh}", run) for run in theirs]
    return rows + times_compared(reynolds, ours, theirs)


def of_study(study: Study, reference: Reference) -> list[Measured]:
    """Our runs; the cost of the coarser ones that they start from is in each."""
    found = []
    for run in study.runs:
        as_peer = Reference(run.pressure_drop, np.asarray(run.outlet_velocity))
        found.append(
            Measured(
                mesh=f"{run.level.wall_size:g}/{run.level.core_size:g}, {run.unknowns:,} unknowns",
                seconds=study.seconds(run, meshing=True),
                seconds_solve=study.seconds(run, meshing=False),
                cpu_seconds=study.cpu_seconds(run),
                pressure_drop=run.pressure_drop,
                errors=errors(as_peer, reference),
            )
        )
    return found


def of_peer(result: PeerResult, cells_across: int, reference: Reference) -> Measured:
    """A run of OpenFOAM's."""
    note = "" if result.converged else ", not converged"
    return Measured(
        mesh=f"{cells_across} across, {result.cells:,} cells{note}",
        seconds=result.seconds_mesh + result.seconds_solve,
        seconds_solve=result.seconds_solve,
        cpu_seconds=result.cpu_seconds,
        pressure_drop=result.pressure_drop,
        errors=errors(result, reference),
    )


def times_compared(reynolds: float, ours: Sequence[Measured], theirs: Sequence[Measured]) -> list[dict[str, Any]]:
    """The times at which both errors are at `ERROR`, and OpenFOAM's over ours: how many times faster ours is."""
    rows = []
    clocks: dict[str, Callable[[Measured], float]] = {
        "seconds": lambda run: run.seconds,
        "seconds_solve": lambda run: run.seconds_solve,
        "cpu_seconds": lambda run: run.cpu_seconds,
    }
    names = {"seconds": "with meshing", "seconds_solve": "without meshing", "cpu_seconds": "processor time of a rank"}
    for clock, read in clocks.items():
        mine, my_note = time_to_both(ours, read)
        other, other_note = time_to_both(theirs, read)
        note = "; ".join(f"{who}: {what}" for who, what in (("ours", my_note), ("OpenFOAM", other_note)) if what)
        title = f"Re {reynolds:.0f}: OpenFOAM's time to {ERROR:.1%} over ours, {names[clock]}"
        rows.append(_row(title, other / mine, note=note, **{clock: mine}, **{f"peer_{clock}": other}))
    return rows


def time_to_both(runs: Sequence[Measured], read: Callable[[Measured], float]) -> tuple[float, str]:
    """The time after which every error is at `ERROR`, with a note where it is no interpolation."""
    each = [time_at(ERROR, [read(run) for run in runs], [run.errors[name] for run in runs]) for name in runs[0].errors]
    return max(each)


def time_at(error: float, seconds: Sequence[float], errors_: Sequence[float]) -> tuple[float, str]:
    """When an error is reached, from runs on ever finer meshes: on a straight line of log error over log time.

    Within the runs the line joins the two neighbours between which the error falls below for good; outside it is drawn
    on from the nearest two, and the note says so. Where their error does not fall, the nearest run's time is a bound.
    """
    if len(seconds) < 2:
        raise TwinError("a time to an error takes two meshes at least")
    above = [index for index, value in enumerate(errors_) if value > error]
    last = above[-1] if above else -1
    first = min(max(last, 0), len(seconds) - 2)
    inside = 0 <= last < len(seconds) - 1
    (t1, t2), (e1, e2) = ((math.log(max(v, 1e-12)) for v in values[first : first + 2]) for values in (seconds, errors_))
    if not inside and not (e2 < e1 and t2 > t1):
        return (seconds[-1], "at least: no error falls") if last >= 0 else (seconds[0], "at most: no error falls")
    found = math.exp(t1 + (t2 - t1) * (math.log(error) - e1) / (e2 - e1))
    return found, "" if inside else "extrapolated"


# -- rows --------------------------------------------------------------------------------------------------------------


def _row(what: str, ratio: float | None = None, **others: Any) -> dict[str, Any]:
    return {"what": what, "ratio": ratio, "seconds": None, **others}


def _measured_row(what: str, run: Measured) -> dict[str, Any]:
    return _row(
        what,
        seconds=run.seconds,
        seconds_solve=run.seconds_solve,
        cpu_seconds=run.cpu_seconds,
        drop=run.pressure_drop,
        **{f"{name}_error": value for name, value in run.errors.items()},
    )
