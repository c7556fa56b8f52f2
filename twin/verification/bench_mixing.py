"""Random walkers there and back: their speed, what two ranks gain, and OpenFOAM's mixing beside theirs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twin.case.schema import Level
from twin.errors import TwinError
from twin.mixing.indices import QUOTABLE
from twin.verification import openfoam_scalar
from twin.verification.bench_walks import FAILURE, PILOT, FlowRun, WalkJob, WalkRun, read_walk
from twin.verification.convergence import on_ranks
from twin.verification.openfoam_scalar import Point, ScalarPeer, peers
from twin.verification.openfoam_tools import environment

ERROR = 0.005  # standard error of M at every plane: ±0.01 at 95 %
LIMIT_S, SPEED_UP = 300.0, 1.8  # what is asked of two ranks
RANKS = 2
PATIENCE_S = 3600.0  # for one program
HALF_BORES = tuple(number / 2 for number in range(1, 21))
COARSE = Level(wall_size=0.10, core_size=0.16)  # of cases/liang2023

# Of a step that crosses no face: three velocities (60 each: 6 products, then 9 products and 9 sums a component), four
# barycentric maps (17 each), two walks (a map and 25 more each), and some 60 for the sums of the rule and its bounds.
STEP_FLOPS = 3 * 60 + 4 * 17 + 2 * (17 + 25) + 60
CELL_BYTES = 240 + 72 + 32  # velocity, gradients and neighbours: of the one cell that a step reads at least

Watch = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The walkers' flows and planes, and what OpenFOAM computes beside them."""

    peer: openfoam_scalar.Plan
    level: Level = COARSE
    planes: tuple[float, ...] = HALF_BORES
    error: float = ERROR
    pilot: int = PILOT


SHORT, FULL = Plan(openfoam_scalar.SHORT), Plan(openfoam_scalar.FULL)


@dataclass(frozen=True)
class Walked:
    """The flow, and the walkers in it on two ranks and on one."""

    flow: FlowRun
    two: WalkJob
    one: WalkJob


def mixing(everything: bool = False, watch: Watch = lambda line: None) -> list[dict[str, Any]]:
    """M to ±0.01 at twenty planes by walkers on one rank and on two, and OpenFOAM's M with its numerical diffusion.

    `everything` takes both Reynolds numbers, and more meshes and schemes of OpenFOAM's. A machine that does other
    things makes the ratios wrong.
    """
    plan = FULL if everything else SHORT
    rows = []
    for point in plan.peer.points:
        walked = walked_at(point, plan, watch)
        rows += walker_rows(point, walked, plan.error)
        rows += peer_rows(point, plan, walked.two.run, watch)
    return rows


# -- the walkers -------------------------------------------------------------------------------------------------------


def walked_at(point: Point, plan: Plan, watch: Watch = lambda line: None, ranks: int = RANKS) -> Walked:
    """Solves the flow, lets a pilot choose the number of walkers, and times as many on `ranks` ranks and on one."""
    what = f"Re {point.reynolds:.0f}"
    with tempfile.TemporaryDirectory() as name:
        job = {
            "reynolds": point.reynolds,
            "share": point.precursor_share,
            "peclet": point.peclet,
            "level": plan.level.model_dump(),
            "folder": name,
            "mesh": str(Path(name, "level", "junction.msh")),
            "velocity": str(Path(name, "velocity.npy")),
            "planes": list(plan.planes),
            "pilot": plan.pilot,
            "error": plan.error,
        }
        watch(f"{what}: the flow")
        flow = FlowRun(**_on_ranks({**job, "task": "flow"}, ranks))
        watch(f"{what}: walkers on {ranks} ranks")
        two = read_walk(_on_ranks({**job, "task": "walk"}, ranks))
        watch(f"{what}: {two.run.walkers:,} walkers on one rank")
        one = read_walk(_on_ranks({**job, "task": "walk", "walkers": two.run.walkers}, 1))
    return Walked(flow, two, one)


def _on_ranks(job: dict[str, Any], ranks: int) -> Any:
    try:
        return on_ranks("twin.verification.bench_walks", job, ranks, PATIENCE_S)
    except TwinError as failed:
        why = Path(job["folder"], FAILURE)
        raise TwinError(failed.message, why.read_text(encoding="utf-8") if why.exists() else failed.remedy) from None


def walker_rows(point: Point, walked: Walked, error: float = ERROR) -> list[dict[str, Any]]:
    """What the flow, the walkers' mesh, the pilot and the walkers took, and what a step did."""
    flow, two, one = walked.flow, walked.two, walked.one
    title = f"Re {point.reynolds:.0f}, Pe {point.peclet:,.0f}"
    ranks = f"{two.ranks} rank{'s'[: two.ranks - 1]}"
    rows = [
        _row(
            f"{title}: flow, {flow.unknowns:,} unknowns, {ranks}",
            seconds=flow.seconds_mesh + flow.seconds_solve,
            seconds_solve=flow.seconds_solve,
            cpu_seconds=flow.cpu_seconds,
        ),
        _row(
            f"{title}: walkers' mesh, {two.cells:,} cells",
            seconds=two.seconds_mesh,
            cpu_seconds=two.cpu_seconds_mesh,
            note="every rank builds it",
        ),
    ]
    if two.pilot:
        note = f"asks for {two.run.walkers:,}: ± {two.pilot.worst.index_error:.3f} at {two.pilot.worst.bores:g} bores"
        rows.append(_walk_row(f"{title}: pilot, {two.pilot.walkers:,} walkers, {ranks}", two.pilot, note=note))
    name, worst = f"{title}: {two.run.walkers:,} walkers there and back", two.run.worst
    total = two.seconds_mesh + two.run.seconds
    rows += [
        _walk_row(f"{name}, one rank", one.run, ratio=1.0, note=step_note(one)),
        _walk_row(
            f"{name}, {ranks} against one",
            two.run,
            ratio=one.run.seconds / two.run.seconds,
            note="; ".join(
                [
                    f"{SPEED_UP:g} asked; {one.run.cpu_seconds / two.run.cpu_seconds:.2f} by processor time",
                    f"with its mesh {total:.0f} s of {LIMIT_S:.0f} asked",
                    f"M ± {worst.index_error:.4f} at worst, at {worst.bores:g} bores ({error:g} asked)",
                ]
            ),
        ),
    ]
    if one.run.planes != two.run.planes:
        rows[-1]["note"] += "; NOT the numbers of one rank"
    return rows


def step_note(job: WalkJob) -> str:
    """What a step needs, and at which rates it got it, beside what a core does at best."""
    ns, (most_flops, most_bytes) = job.run.ns_step, job.rates
    return (
        f"{job.run.returned:,} sent back, {job.run.steps:,} steps; of one: {STEP_FLOPS} flop, {CELL_BYTES} B, thus "
        f"{STEP_FLOPS / ns:.2g} of {most_flops:.2g} GFlop/s (matrix product), "
        f"{CELL_BYTES / ns:.2g} of {most_bytes:.2g} GB/s (copy)"
    )


# -- OpenFOAM ----------------------------------------------------------------------------------------------------------


def peer_rows(point: Point, plan: Plan, walkers: WalkRun, watch: Watch = lambda line: None) -> list[dict[str, Any]]:
    """OpenFOAM's answers at the point, mesh by mesh: one that fails costs its own rows only. It may be missing."""
    title = f"Re {point.reynolds:.0f}"
    try:
        environment()
    except TwinError as missing:
        note = f"left out: {missing.message}; {missing.remedy}, or run scripts/twin bench, which fetches it"
        return [_row(f"{title}: OpenFOAM", note=note)]
    rows = []
    for across in plan.peer.cells_across:
        try:
            for _, _, peer in peers(replace(plan.peer, points=(point,), cells_across=(across,)), watch):
                rows.append(peer_row(f"{title}: OpenFOAM {peer.scheme}, {across} across", peer, walkers))
        except TwinError as failed:
            rows.append(_row(f"{title}: OpenFOAM, {across} across", note=f"failed: {failed.message}"))
    return rows


def peer_row(title: str, peer: ScalarPeer, walkers: WalkRun) -> dict[str, Any]:
    """One scheme on one mesh; without numbers where it failed."""
    what = f"{title}, {peer.cells:,} cells"
    if not peer.converged:
        return _row(what, note=f"failed: {peer.failure}")
    first, last = _at(peer.planes, 1.0), peer.planes[-1]
    ours = _at(walkers.planes, last.bores)
    off = "" if ours is None else f"; M {last.index - ours.index:+.3f} from the walkers'"
    quotable = "quotable" if last.quotable else f"not quotable, D_num/D_m > {QUOTABLE:g}"
    return _row(
        what,
        seconds=peer.seconds_flow + peer.seconds_scalar,
        cpu_seconds=peer.cpu_seconds_flow + peer.cpu_seconds_scalar,
        index=last.index,
        index_first=None if first is None else first.index,
        numerical=_finite(last.numerical_diffusion),
        note=quotable + off,
    )


# -- rows --------------------------------------------------------------------------------------------------------------


def _row(what: str, ratio: float | None = None, **others: Any) -> dict[str, Any]:
    return {"what": what, "ratio": ratio, "seconds": None, **others}


def _walk_row(what: str, run: WalkRun, ratio: float | None = None, note: str = "") -> dict[str, Any]:
    first, last = _at(run.planes, 1.0), run.planes[-1]
    return _row(
        what,
        ratio,
        seconds=run.seconds,
        cpu_seconds=run.cpu_seconds,
        index=last.index,
        index_error=last.index_error,
        index_first=None if first is None else first.index,
        index_first_error=None if first is None else first.index_error,
        ns_step=run.ns_step,
        note=note,
    )


def _at(planes: list[Any], bores: float) -> Any:
    """The plane there, if there is one."""
    return next((plane for plane in planes if abs(plane.bores - bores) < 1e-3), None)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
