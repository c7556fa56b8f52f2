"""How many cells a mesh will have, before it is made: a size that is far too small would fill the memory."""

from __future__ import annotations

import gmsh

from twin.case.schema import Level
from twin.errors import BadInput

MOST_CELLS = 2e6  # several times the largest mesh of the paper's case; far more fill the memory while being made
_CELL = 0.16  # volume of a tetrahedron over the cube of its size, as they come


def check_cells(level: Level, deep: float, what: str, remedy: str) -> None:
    """Raises `BadInput` where the volume of Gmsh's current model would get more than `MOST_CELLS`.

    `deep` is how far from the wall, in bores, cells have their full size.
    """
    volume, surface = (
        sum(gmsh.model.occ.getMass(dim, tag) for _, tag in gmsh.model.getEntities(dim)) for dim in (3, 2)
    )
    cells = expected_cells(level, deep, volume, surface)
    if cells > MOST_CELLS:
        raise BadInput(f"{what} would have about {cells:.0e} cells, and no more than {MOST_CELLS:.0e} are made", remedy)


def expected_cells(level: Level, deep: float, volume: float, surface: float) -> float:
    """About how many cells a body has whose volume and surface are in bores, good to a factor of 2.

    From the wall the size grows evenly to that of the core.
    """
    layer = min(deep, volume / surface)
    wall, core = level.wall_size, level.core_size
    inner = wall + (core - wall) * layer / deep
    # The mean of 1/size³ over a layer in which the size goes evenly from one value to another.
    by_wall = surface * layer * (wall + inner) / (2 * wall**2 * inner**2)
    return (by_wall + (volume - surface * layer) / core**3) / _CELL
