"""What the tube after the junction adds to the mixing: walkers up to a plane, and marching from there on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twin.campaign.run import Follow, common_job, flows_of, start_workers
from twin.case import Case, Results
from twin.errors import BadInput
from twin.files import read_json
from twin.junction import bore_m
from twin.operating import OperatingPoint
from twin.units import to_mm

if TYPE_CHECKING:
    from twin.meshing import MeshFolder

LENGTHS_M = (0.1, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Tube:
    """The question: mixing at `lengths` (m, from the mesh's origin) in tubes of the coil diameters `coils` (m).

    A coil of None is a straight tube. `start` is the plane, in bores down the outlet, where marching takes over from
    the walkers; the velocity there is taken at `places`, and the concentration at each node of marching, by as many
    walkers as leave M an error of about `error` there.
    """

    lengths: tuple[float, ...] = LENGTHS_M
    coils: tuple[float | None, ...] = (None,)
    start: float = 5.0
    places: int = 4000
    error: float = 0.01


def run_tube(
    case: Case,
    level: str,
    results: Results,
    mesh: MeshFolder,
    point: OperatingPoint,
    tube: Tube,
    ranks: int,
    follow: Follow,
) -> dict[str, Any]:
    """The record of a tube on a solved point.

    Raises `BadInput` for a tube that ends before the plane, or a tight coil.
    """
    bore = bore_m(case)
    for length in tube.lengths:
        if length <= tube.start * bore:
            raise BadInput(
                f"a tube of {to_mm(length):.3g} mm ends before marching begins, at {to_mm(tube.start * bore):.3g} mm",
                "ask for a longer one, or begin earlier with --start",
            )
    for coil in tube.coils:
        if coil is not None and coil < 4 * bore:
            raise BadInput(
                f"a coil of {to_mm(coil):.3g} mm is too tight for a bore of {to_mm(bore):.3g} mm",
                f"give a diameter of at least {to_mm(4 * bore):.3g} mm",
            )
    path = results.tube(point.name)
    job = {
        **common_job(case, level, results, mesh),
        "point": flows_of(point),
        "tube": {**vars(tube)},
        "record": str(path.resolve()),
    }
    start_workers("twin.campaign.tube_worker", results, job, ranks, follow)
    return read_json(path)
