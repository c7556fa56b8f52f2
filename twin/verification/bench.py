"""Speed as ratios of one run: what a second rank gains, and the time to a given error against OpenFOAM."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twin.campaign.refinement import refine
from twin.case import load
from twin.case.schema import Level
from twin.errors import TwinError
from twin.junction import groups
from twin.operating import OperatingPoint
from twin.verification.bench_ladder import Rung, climbed
from twin.verification.convergence import LOW, Study, run_levels
from twin.verification.openfoam import PeerResult, Reference, errors, run_openfoam
from twin.verification.openfoam_tools import environment
from twin.verification.snappy import run_snappy

#: Of the pressure drop, and of U in the outlet's velocity (RMS): what both codes are to reach.
ERRORS = {"pressure_drop": 0.005, "outlet_velocity": 0.005}
#: The same at Re 1662, where one velocity was 0.0075 U off one reference and 0.0097 U off a finer one.
HIGH_ERRORS = {"pressure_drop": 0.005, "outlet_velocity": 0.01}
HIGH = OperatingPoint.from_ml_h(5000, 60)  # its high end, at Re 1662
CASE = Path(__file__).parents[2] / "cases" / "liang2023"
LADDER = ("coarse", "medium", "adapted", "adapted2", "production", "production@1.5")  # the last is the reference
ENOUGH = 1e-5  # residual at which a flow is compared; OpenFOAM's is as much
RANKS = 2
PATIENCE_S = 1800.0  # for one program

Watch = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The meshes of a comparison: ours by level, OpenFOAM's by cells across a bore, the reference's, that of the ranks.

    Those of `hexahedra` are multiples of four. The numbers beginning with `high` are for Re 1662; with none of them it
    is left out.
    """

    levels: tuple[Level, ...]
    hexahedra: tuple[int, ...]
    snappy: tuple[int, ...]
    reference: Level
    ranks_level: Level
    high_hexahedra: tuple[int, ...] = ()
    high_snappy: tuple[int, ...] = ()


_LEVELS = tuple(
    Level(wall_size=wall, core_size=core, stretch=4)
    for wall, core in ((0.16, 0.24), (0.13, 0.2), (0.10, 0.16), (0.08, 0.13))
)
SHORT = Plan(
    levels=_LEVELS[:3],
    hexahedra=(12, 16, 24),
    snappy=(16, 24),
    reference=Level(wall_size=0.075, core_size=0.12, stretch=3),
    ranks_level=Level(wall_size=0.055, core_size=0.09, stretch=3),
)
FULL = replace(
    SHORT,
    levels=_LEVELS,
    hexahedra=(16, 24, 32, 48),
    snappy=(16, 24, 32),
    reference=Level(wall_size=0.055, core_size=0.09, stretch=3),
    high_hexahedra=(24, 32, 48, 64),
    high_snappy=(24, 32),
)


@dataclass(frozen=True)
class Peer:
    """OpenFOAM's solver on one kind of mesh: a name, and the meshes by their cells across a bore."""

    name: str
    run: Callable[..., PeerResult]
    cells_across: tuple[int, ...]


#: Blocks of hexahedra, built by hand for this very junction; and cells cut from a box, with layers of prisms.
HEXAHEDRA, SNAPPY = "OpenFOAM", "OpenFOAM with snappyHexMesh"


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

    `everything` takes both ends of the paper's sweep, more meshes and a finer reference. A machine that does other
    things makes the ratios wrong.
    """
    plan = FULL if everything else SHORT
    rows = ranks_compared(plan, watch) + codes_compared(plan, watch)
    return rows + high_compared(plan, watch) if plan.high_hexahedra else rows


# -- ranks -------------------------------------------------------------------------------------------------------------


def ranks_compared(plan: Plan, watch: Watch = lambda line: None) -> list[dict[str, Any]]:
    """The solve on one rank and on two, one after the other. Meshing is serial and left out."""
    reynolds, share = LOW
    runs = {}
    for ranks in (1, 2):
        watch(f"{ranks} rank{'s'[: ranks - 1]}")
        runs[ranks] = run_levels(reynolds, share, [plan.ranks_level], ranks, PATIENCE_S).runs[0]
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


def codes_compared(plan: Plan, watch: Watch = lambda line: None) -> list[dict[str, Any]]:
    """Each code on its meshes against the reference at Re 348, and the ratio of the times to `ERRORS`.

    Ours goes to each level from the coarsest mesh. OpenFOAM may be missing. The last rows of the answer have the time
    at which all errors are reached, by the clock with and without meshing and by the processor time, each with
    OpenFOAM's over ours as the ratio.
    """
    reynolds, share = LOW
    title = f"Re {reynolds:.0f}"
    watch(f"{title}: the reference")
    finest = run_levels(reynolds, share, [plan.reference], RANKS, PATIENCE_S).runs[0]
    reference = Reference(finest.pressure_drop, np.asarray(finest.outlet_velocity))
    ours = []
    for level in plan.levels:
        watch(f"{title}: {level.wall_size:g}/{level.core_size:g}")
        ours += of_study(run_levels(reynolds, share, [level], RANKS, PATIENCE_S, ENOUGH), reference)
    rows = [_row(f"{title}: reference, {finest.unknowns:,} unknowns", drop=finest.pressure_drop)]
    rows += [_measured_row(f"{title}: ours, {run.mesh}", run) for run in ours]
    peers = Peer(HEXAHEDRA, run_openfoam, plan.hexahedra), Peer(SNAPPY, run_snappy, plan.snappy)
    return rows + peers_compared(title, LOW, peers, ours, reference, (ERRORS,), watch)


def high_compared(plan: Plan, watch: Watch = lambda line: None) -> list[dict[str, Any]]:
    """The same at Re 1662 to `HIGH_ERRORS` as well; ours goes up the levels of the case, and beyond for the reference.

    That takes 19 GB.
    """
    case = load(CASE)
    group = groups(case, HIGH)
    title = f"Re {group.reynolds:.0f}"
    watch(f"{title}: the levels of {case.name}")
    with tempfile.TemporaryDirectory() as name:
        *rungs, finest = climbed(case, HIGH, LADDER, RANKS, Path(name))
    ours = [of_rung(rung, finest.flow) for rung in rungs]
    rows = [_row(f"{title}: reference, {finest.level}", seconds=finest.seconds, drop=finest.flow.pressure_drop)]
    error = error_of_production([*rungs, finest])
    rows.append(_row(f"{title}: error of the pressure drop of {rungs[-1].level} {error:.2%}, from three meshes"))
    rows += [_measured_row(f"{title}: ours, {run.mesh}", run) for run in ours]
    point = group.reynolds, group.precursor_fraction
    peers = Peer(HEXAHEDRA, run_openfoam, plan.high_hexahedra), Peer(SNAPPY, run_snappy, plan.high_snappy)
    return rows + peers_compared(title, point, peers, ours, finest.flow, (HIGH_ERRORS, ERRORS), watch)


def error_of_production(rungs: Sequence[Rung]) -> float:
    """The error of the pressure drop on the last level but one, over it.

    It is what the last three tell of the finest, and the distance to that.
    """
    drops = [rung.flow.pressure_drop for rung in rungs[-3:]]
    found = refine(drops, [rung.cells ** (-1 / 3) for rung in rungs[-3:]], "ρU²", edge=True)
    if found is None:
        raise TwinError("the three finest meshes are of one size")
    return (found.error + abs(drops[-1] - drops[-2])) / drops[-2]


def peers_compared(
    title: str,
    point: tuple[float, float],
    peers: Sequence[Peer],
    ours: Sequence[Measured],
    reference: Reference,
    goals: Sequence[Mapping[str, float]],
    watch: Watch,
) -> list[dict[str, Any]]:
    """The peers' runs at Re and a share, and the ratios; nothing where there is no OpenFOAM."""
    try:
        environment()
    except TwinError as missing:
        watch(f"{missing.message}: what compares with it is left out")
        return []
    rows = []
    for peer in peers:
        theirs = []
        for across in peer.cells_across:
            watch(f"{title}: {peer.name}, {across} cells across")
            with tempfile.TemporaryDirectory() as name:
                result = peer.run(*point, across, RANKS, Path(name, "case"), patience_s=PATIENCE_S)
            theirs.append(of_peer(result, across, reference))
        rows += [_measured_row(f"{title}: {peer.name}, {run.mesh}", run) for run in theirs]
        for allowed in goals:
            rows += times_compared(title, ours, theirs, allowed, peer.name)
    return rows


def of_rung(rung: Rung, reference: Reference) -> Measured:
    """Our flow on a level of the case."""
    return Measured(
        mesh=f"{rung.level}, {rung.cells:,} cells",
        seconds=rung.seconds,
        seconds_solve=rung.seconds_solve,
        cpu_seconds=rung.cpu_seconds,
        pressure_drop=rung.flow.pressure_drop,
        errors=errors(rung.flow, reference),
    )


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


def times_compared(
    point: str,
    ours: Sequence[Measured],
    theirs: Sequence[Measured],
    allowed: Mapping[str, float],
    peer: str = HEXAHEDRA,
) -> list[dict[str, Any]]:
    """The times at which all errors are allowed, and the peer's over ours: how many times faster ours is."""
    rows = []
    goal = f"{allowed['pressure_drop']:.1%} of Δp and {allowed['outlet_velocity']:.1%} of U"
    clocks: dict[str, Callable[[Measured], float]] = {
        "seconds": lambda run: run.seconds,
        "seconds_solve": lambda run: run.seconds_solve,
        "cpu_seconds": lambda run: run.cpu_seconds,
    }
    names = {"seconds": "with meshing", "seconds_solve": "without meshing", "cpu_seconds": "processor time of a rank"}
    for clock, read in clocks.items():
        mine, my_note = time_to_all(ours, read, allowed)
        other, other_note = time_to_all(theirs, read, allowed)
        note = "; ".join(f"{who}: {what}" for who, what in (("ours", my_note), (peer, other_note)) if what)
        title = f"{point}: {peer}, time to {goal} over ours, {names[clock]}"
        rows.append(_row(title, other / mine, note=note, **{clock: mine}, **{f"peer_{clock}": other}))
    return rows


def time_to_all(
    runs: Sequence[Measured], read: Callable[[Measured], float], allowed: Mapping[str, float]
) -> tuple[float, str]:
    """The time after which every error is allowed, with a note where it is no interpolation."""
    return max(
        time_at(error, [read(run) for run in runs], [run.errors[name] for run in runs])
        for name, error in allowed.items()
    )


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
