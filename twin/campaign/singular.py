"""Where a flow is not smooth: at edges that point into the fluid, and where the speed of a boundary jumps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twin.case.boundaries import FlowBoundaries, Wall

BLUNT = 210.0  # degrees of fluid about an edge: with less the order is above 1.5, and facets of a round wall have some
OF_SERIES = ("mean", "lowest", "highest")  # of a quantity over time: they grow where it does
OF_WALLS = ("force", "coefficient", "torque", "largest shear", "shear")

Pair = tuple[str, str]


def edges_into_fluid(boundaries: FlowBoundaries, angles: Mapping[Pair, float]) -> list[Pair]:
    """The pairs of boundaries that meet in an edge which points into the fluid, of their `largest_angles`.

    With its mirror image the fluid beside a mirror plane, and as well that before an outlet, takes twice the angle.
    """
    roles = dict(boundaries.roles)
    ends = {name for name, role in roles.items() if role in ("mirror", "outlet")}
    mirrored = {pair: sum(name in ends for name in pair) for pair in angles}
    return [pair for pair, angle in angles.items() if mirrored[pair] < 2 and angle * (1 + mirrored[pair]) > BLUNT]


def without_limit(
    boundaries: FlowBoundaries, meeting: Iterable[Pair], edges: Iterable[Pair], names: Iterable[str]
) -> list[str]:
    """The quantities, of `names`, that grow without end as the mesh gets finer; `meeting` are all pairs that do.

    Between a plug and the wall at its rim, or between walls of different velocities, the speed jumps. Towards there
    stress and pressure rise as one over the distance, which has no integral: each halving of the cells adds as much as
    the one before. Towards an edge the shear rises more slowly: only its largest value has no limit.
    """
    walls, endless = boundaries.walls, [f"largest shear {name}" for pair in edges for name in pair]
    plugs = {name for name, one in boundaries.inlets.items() if one.profile == "plug"}
    for first, second in meeting:
        for inlet, wall in ((first, second), (second, first)):
            if inlet in plugs and wall in walls:
                endless += [f"pressure drop {inlet}", *(f"{what} {wall}" for what in OF_WALLS)]
        if first in walls and second in walls and _moves(walls[first]) != _moves(walls[second]):
            endless += [f"{what} {wall}" for what in OF_WALLS for wall in (first, second)]
    starts = tuple(f"{start} " for start in endless)
    starts += tuple(f"{kind} {start}" for kind in OF_SERIES for start in starts)
    return [name for name in names if f"{name} ".startswith(starts)]


def _moves(wall: Wall) -> tuple[object, ...]:
    """How a wall moves: equal for walls that move alike.

    A turn is told by its ω and by the velocity ω × (0 − centre) of the origin: centres on one axis are one turn.
    """
    if not wall.moves:
        return ()
    if wall.rotation is None or wall.centre is None:
        return tuple(wall.velocity or ()), wall.history
    x, y, z = (wall.rotation * part for part in wall.turn)
    a, b, c = (*wall.centre, 0.0)[:3]
    return (x, y, z), (z * b - y * c, x * c - z * a, y * a - x * b), wall.history
