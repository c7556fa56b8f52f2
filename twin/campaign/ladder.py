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

    That is the flow which the mesh itself follows, and the own flow of each point that has no near one to start from:
    from there Newton needs a few steps on the fine mesh instead of many. Without the walk the points have flows only.
    Raises what `run_points` and the meshing raise.
    """

    def flows_below(coarser: str, wanted: list[OperatingPoint]) -> None:
        below = results.beside(coarser)
        climb(case, coarser, below, wanted, ranks, progress, allow_high_reynolds, walk=False)

    folder(results.folder)
    follows = case.level(level).follows
    if follows:
        flows_below(follows.level, [point for point in case.points if point.name == follows.point])
    made = make_mesh(case, level, results, progress)
    coarser = case.coarser(level)
    followed = follows.point if follows and follows.level == coarser else ""  # there already, solved for the mesh
    unsolved = [point for point in points if not is_solved(case, level, results, point, made.hash, walk)]
    waiting = [point for point in leaders(case, unsolved, solved_flows(results).values()) if point.name != followed]
    if coarser is not None and waiting:
        flows_below(coarser, waiting)
    what = "flow and mixing" if walk else "flow"
    with progress(f"{what} on {ranks} ranks, level {level}", len(points)) as bar:
        follow = lambda event: show_event(event, bar)  # noqa: E731
        run_points(case, level, results, made, points, ranks, follow, allow_high_reynolds, walk)
    return made


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
