"""The way up: the flow of each point on ever finer meshes, every one the start of the next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from twin.campaign.order import leaders
from twin.campaign.run import Event, run_points
from twin.campaign.table import is_solved, solved_flows
from twin.case import Case, Results
from twin.files import folder
from twin.operating import OperatingPoint

if TYPE_CHECKING:
    from twin.meshing import MeshFolder


class Bar(Protocol):
    """Shows how far a long step is."""

    def note(self, text: str) -> None:
        """Says what is going on."""

    def advance(self, text: str = "", steps: float = 1) -> None:
        """Completes steps."""


#: Opens a bar for a step with its title and how much there is to do.
Progress = Callable[[str, int | None], AbstractContextManager[Bar]]


def climb(
    case: Case,
    level: str,
    results: Results,
    points: list[OperatingPoint],
    ranks: int,
    progress: Progress,
    allow_high_reynolds: bool = False,
    walk: bool = True,
) -> MeshFolder:
    """Solves points on a level, with all that they wait for on the coarser ones; returns the level's mesh.

    Without the walk the points have flows only. Raises what `run_points` and the meshing raise.
    """
    made = climb_to_mesh(case, level, results, ranks, progress, allow_high_reynolds)
    unsolved = [point for point in points if not is_solved(case, level, results, point, made.hash, walk)]
    solve_below(case, level, results, unsolved, ranks, progress, allow_high_reynolds)
    what = "flow and mixing" if walk else "flow"
    with progress(f"{what} on {ranks} ranks, level {level}", len(points)) as bar:
        follow = lambda event: show_event(event, bar)  # noqa: E731
        run_points(case, level, results, made, points, ranks, follow, allow_high_reynolds, walk)
    return made


def climb_to_mesh(
    case: Case, level: str, results: Results, ranks: int, progress: Progress, allow_high_reynolds: bool = False
) -> MeshFolder:
    """The mesh of a level, made or reused; the flow that it follows is solved first, on the coarser level."""
    folder(results.folder)
    if follows := case.level(level).follows:
        followed = [point for point in case.points if point.name == follows.point]
        below = results.beside(follows.level)
        climb(case, follows.level, below, followed, ranks, progress, allow_high_reynolds, walk=False)
    return make_mesh(case, level, results, progress)


def solve_below(
    case: Case,
    level: str,
    results: Results,
    points: list[OperatingPoint],
    ranks: int,
    progress: Progress,
    allow_high_reynolds: bool = False,
) -> None:
    """Solves, on the next coarser level, the own flow of each point that has no near one to start from on this level.

    From there Newton needs a few steps on the fine mesh instead of many.
    """
    coarser, follows = case.coarser(level), case.level(level).follows
    there = follows.point if follows and follows.level == coarser else ""  # already, solved for the mesh
    waiting = [point for point in leaders(case, points, solved_flows(results).values()) if point.name != there]
    if coarser is not None and waiting:
        climb(case, coarser, results.beside(coarser), waiting, ranks, progress, allow_high_reynolds, walk=False)


def make_mesh(case: Case, level: str, results: Results, progress: Progress) -> MeshFolder:
    """The mesh of a level, made or reused."""
    from twin.meshing import build_mesh

    with progress(f"mesh, level {level}", None) as bar:
        made = build_mesh(case, level, results.mesh)
        bar.advance(f"{made.quality.cells} cells, {'reused' if made.reused else 'built'}")
    return made


def show_event(event: Event, bar: Bar) -> None:
    """Shows the news of a worker."""
    if event.kind in ("done", "reused"):
        bar.advance(f"{event.point} {event.status or event.kind}" + (f": {event.text}" if event.text else ""))
    else:
        bar.note(f"{event.point} {event.text}")
