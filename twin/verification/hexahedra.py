"""A block-structured hexahedral mesh of the half junction, as a careful user of finite volumes would build it.

Three half pipes meet in mitre planes that hold the y axis. Each is swept from a half disc (square core, rings that get
thinner towards the wall) that is sheared onto its two mitre planes, so the pipes share their nodes there. Lengths are
in bores; the outlet runs along +z, the arms lie at ±30° about −z in the plane y = 0, the half is y ≥ 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

RADIUS = 0.5
HALF_ANGLE = np.pi / 6  # of an arm to the −z axis
ARM_BORES, OUTLET_BORES = 3.0, 10.0
PATCHES = ("antisolvent", "precursor", "outlet", "symmetry", "wall")

_CORE = 0.56  # half diagonal of the core square over the radius
_ROUND = 0.4  # 0 leaves the core's sides straight, 1 makes it a disc
_RING_GROWTH = 0.55  # thickness of the ring at the wall over that of the innermost
_AXIAL = 1.25  # length of a cell where the bores meet, times the cells across
_STRETCH = 3.0  # length of the last cell of the outlet over that
_FINE_BORES = 1.5  # from the origin to where the cells begin to lengthen
_SHEARED_BORES = 2.0  # from the origin to where a layer is a plane disc again; more than the longest mitre, 0.87
_SAME = 1e-9

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Section:
    """A half disc of quadrilaterals: nodes (n, 2) as (across, y), quads (m, 4), counter-clockwise."""

    nodes: Floats
    quads: Ints


@dataclass(frozen=True)
class HexMesh:
    """Points (n, 3) in bores and faces as OpenFOAM orders them: the internal ones first, then patch by patch.

    `faces` (f, 4) have normals from owner to neighbour, or outwards; `patches` gives (first face, faces) by name. The
    cells of the outlet come first, layer by layer between the distances `outlet_layers` and arm by arm after them, so
    that a cell's neighbours have numbers near its own. `inlet_layer` is the thickness of the layer behind an inlet.
    """

    points: Floats
    faces: Ints
    owner: Ints
    neighbour: Ints
    patches: dict[str, tuple[int, int]]
    section: Section
    outlet_layers: Floats
    inlet_layer: float

    @property
    def cells(self) -> int:
        """The number of hexahedra."""
        return int(np.max(self.owner)) + 1

    def patch_faces(self, name: str) -> Ints:
        """The faces (k, 4) of a patch."""
        start, count = self.patches[name]
        return self.faces[start : start + count]


def area_vectors(points: Floats, faces: Ints) -> Floats:
    """Area vectors (k, 3) of quadrilaterals, in bore²."""
    corner = points[faces]
    return 0.5 * np.cross(corner[:, 2] - corner[:, 0], corner[:, 3] - corner[:, 1])


def half_disc(cells_across: int) -> Section:
    """The section of a bore with this many cells along its diameter, a multiple of four."""
    n = cells_across // 4
    core = _core(n)
    # The core's rim from the right side over the top to the left one, as (column, row) of its (2n + 1) × (n + 1) nodes.
    rim = [(2 * n, j) for j in range(n)] + [(i, n) for i in range(2 * n, 0, -1)] + [(0, j) for j in range(n, -1, -1)]
    inner = np.array([core[i, j] for i, j in rim])
    angle = np.linspace(0.0, np.pi, 4 * n + 1)
    # The wall's nodes lie so far out that the polygon has the area of the disc. On the circle itself, the narrower
    # bore would be nearly all of the error in the pressure drop.
    outer = _wall_radius(8 * n) * np.column_stack([np.cos(angle), np.sin(angle)])
    outer[-1, 1] = 0.0
    share = _graded(n, _RING_GROWTH)[1:, None, None]
    rings = inner + share * (outer - inner)

    column = np.arange((2 * n + 1) * (n + 1)).reshape(2 * n + 1, n + 1)
    first = column.size + np.arange(rings[..., 0].size).reshape(rings.shape[:2])
    ring = np.vstack([[column[i, j] for i, j in rim], first])
    quads = np.concatenate([_quads(column), _quads(ring)])
    return Section(np.concatenate([core.reshape(-1, 2), rings.reshape(-1, 2)]), quads)


def _wall_radius(sides: int) -> float:
    """The radius of the corners of a regular polygon with the area of the bore."""
    return RADIUS * float(np.sqrt(2 * np.pi / sides / np.sin(2 * np.pi / sides)))


def _core(n: int) -> Floats:
    """Nodes (2n + 1, n + 1, 2) of the core: a square blended with a disc, so that no corner of it is too sharp."""
    u, v = np.meshgrid(np.linspace(-1, 1, 2 * n + 1), np.linspace(0, 1, n + 1), indexing="ij")
    size = np.maximum(np.abs(u), v)
    safe = np.where(size > 0, size, 1.0)
    # The angle runs evenly along the square's sides, as it does along the wall.
    angle = np.pi / 4 * np.where(v >= np.abs(u), 2 - u / safe, np.where(u > 0, v / safe, 4 - v / safe))
    disc = size[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    square = np.stack([u, v], axis=-1) / np.sqrt(2)
    nodes = _CORE * RADIUS * ((1 - _ROUND) * square + _ROUND * disc) * np.sqrt(2) / (1 + _ROUND * (np.sqrt(2) - 1))
    nodes[:, 0, 1] = 0.0
    return nodes


def _graded(cells: int, last_over_first: float) -> Floats:
    """From 0 to 1 in cells of geometrically changing size."""
    sizes = last_over_first ** (np.arange(cells) / max(1, cells - 1))
    return np.concatenate([[0.0], np.cumsum(sizes) / sizes.sum()])


def _quads(index: Ints) -> Ints:
    """The quads of a grid of node numbers, going up its first index and then its second."""
    return np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1).reshape(-1, 4)


def axial_nodes(length: float, cells_across: int, planes: Sequence[float] = ()) -> Floats:
    """Distances from the origin of the layers of a pipe, in bores: even where the bores meet, longer further out.

    There is one at each of the `planes`, which ascend and lie within the pipe.
    """
    fine = _AXIAL / cells_across
    at = np.linspace(0.0, length, 2001)
    size = fine * (1 + (_STRETCH - 1) * np.clip((at - _FINE_BORES) / (OUTLET_BORES - _FINE_BORES), 0, 1))
    count = np.concatenate([[0.0], np.cumsum(np.diff(at) * 0.5 * (1 / size[1:] + 1 / size[:-1]))])
    ends = np.interp([0.0, *planes, length], at, count)
    layers = [np.linspace(a, b, max(1, round(b - a)) + 1)[:-1] for a, b in pairwise(ends)]
    return np.interp(np.concatenate([*layers, ends[-1:]]), count, at)


def mesh_half_junction(cells_across: int, planes: Sequence[float] = ()) -> HexMesh:
    """The half junction with this many cells along each bore's diameter (a multiple of four).

    `planes` are distances in bores, ascending and from 0.5 to the outlet's end, at which faces lie flat across it.
    """
    section = half_disc(cells_across)
    sin, cos = np.sin(HALF_ANGLE), np.cos(HALF_ANGLE)
    # The mitre plane stands at (180° − 30°)/2 to the axes of an arm and the outlet, and at 30° to those of two arms.
    outer, inner = np.tan(HALF_ANGLE / 2), 1 / np.tan(HALF_ANGLE)
    inside = [plane for plane in planes if plane < OUTLET_BORES - _SAME]
    outlet, arm = axial_nodes(OUTLET_BORES, cells_across, inside), axial_nodes(ARM_BORES, cells_across)
    sheared = min([_SHEARED_BORES, *inside])
    pipes = [
        sweep(section, outlet, np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), (outer, outer), sheared),
        sweep(section, arm, np.array([-sin, 0, -cos]), np.array([cos, 0, -sin]), (outer, inner)),
        sweep(section, arm, np.array([sin, 0, -cos]), np.array([-cos, 0, -sin]), (outer, inner)),
    ]
    starts = np.cumsum([0] + [len(points) for points, _ in pipes])
    points = np.concatenate([points for points, _ in pipes])
    hexes = np.concatenate([hexes + start for (_, hexes), start in zip(pipes, starts, strict=False)])
    points, hexes = _joined(points, hexes)
    return hex_mesh(points, hexes, _patch_of, section, outlet, float(arm[-1] - arm[-2]))


def hex_mesh(
    points: Floats,
    hexes: Ints,
    patch_of: Callable[[Floats, Ints], Ints],
    section: Section,
    outlet_layers: Floats,
    inlet_layer: float,
) -> HexMesh:
    """The mesh of hexahedra (c, 8), a quad of nodes and the one over it each.

    `patch_of` gives the place in `PATCHES` of each of the faces (k, 4) at the boundary; the rest as in `HexMesh`.
    """
    faces = _faces(points, _right_handed(points, hexes), patch_of)
    return HexMesh(points, *faces, section, outlet_layers, inlet_layer)


def sweep(
    section: Section,
    layers: Floats,
    along: Floats,
    across: Floats,
    slopes: tuple[float, float],
    sheared_bores: float = _SHEARED_BORES,
) -> tuple[Floats, Ints]:
    """Points and hexahedra of a half pipe: the section at every layer, sheared onto the mitre planes near the origin.

    `slopes` are the mitres' rise along the axis per distance across it, on the side of −across and of +across; from
    `sheared_bores` on, the layers are plane.
    """
    distance = section.nodes[:, 0]
    mitre = np.abs(distance) * np.where(distance < 0, *slopes)
    fade = np.maximum(0.0, 1 - layers / sheared_bores)[:, None]
    axial = layers[:, None] + fade * mitre
    points = axial[..., None] * along + distance[:, None] * across + section.nodes[:, 1, None] * np.array([0, 1.0, 0])
    count = len(section.nodes)
    base = section.quads[None] + count * np.arange(len(layers) - 1)[:, None, None]
    hexes = np.concatenate([base, base + count], axis=-1).reshape(-1, 8)
    return points.reshape(-1, 3), hexes


def _joined(points: Floats, hexes: Ints) -> tuple[Floats, Ints]:
    """One number for the nodes that two or three pipes share."""
    near = np.flatnonzero(np.linalg.norm(points, axis=1) < 1.2 * RADIUS / np.sin(HALF_ANGLE))
    same = np.arange(len(points))
    for low, high in sorted(cKDTree(points[near]).query_pairs(_SAME)):
        same[near[high]] = min(same[near[low]], same[near[high]])
    kept, number = np.unique(same, return_inverse=True)
    return points[kept], number[hexes]


def _right_handed(points: Floats, hexes: Ints) -> Ints:
    """The hexahedra with the lower quad counter-clockwise when seen from the upper one."""
    corner = points[hexes]
    sign = np.einsum(
        "ij,ij->i", np.cross(corner[:, 1] - corner[:, 0], corner[:, 3] - corner[:, 0]), corner[:, 4] - corner[:, 0]
    )
    return np.where((sign < 0)[:, None], hexes[:, [3, 2, 1, 0, 7, 6, 5, 4]], hexes)


def _faces(
    points: Floats, hexes: Ints, patch_of: Callable[[Floats, Ints], Ints]
) -> tuple[Ints, Ints, Ints, dict[str, tuple[int, int]]]:
    """Faces, owner, neighbour and patches of the hexahedra, in OpenFOAM's order."""
    outward = np.array([[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]])
    faces = hexes[:, outward].reshape(-1, 4)
    cell = np.repeat(np.arange(len(hexes)), 6)
    lowest = np.sort(faces, axis=1)[:, :3]  # three nodes tell a face
    key = (lowest[:, 0] * len(points) + lowest[:, 1]) * len(points) + lowest[:, 2]
    order = np.lexsort((cell, key))
    twice = np.flatnonzero(key[order][1:] == key[order][:-1])
    first, second = order[twice], order[twice + 1]
    single = np.ones(len(faces), dtype=bool)
    single[first] = single[second] = False

    upper = np.lexsort((cell[second], cell[first]))
    first, second = first[upper], second[upper]
    boundary = np.flatnonzero(single)
    groups = patch_of(points, faces[boundary])
    patches, ordered, start = {}, [first], len(first)
    for number, name in enumerate(PATCHES):
        members = boundary[groups == number]
        patches[name] = (start, len(members))
        ordered.append(members)
        start += len(members)
    order = np.concatenate(ordered)
    return faces[order], cell[order], cell[second], patches


def _patch_of(points: Floats, faces: Ints) -> Ints:
    """The place in `PATCHES` of each boundary face."""
    centre = points[faces].mean(axis=1)
    group = np.full(len(faces), PATCHES.index("wall"))
    group[np.abs(centre[:, 1]) < _SAME] = PATCHES.index("symmetry")
    for name, side in (("antisolvent", -1), ("precursor", 1)):
        along = np.array([side * np.sin(HALF_ANGLE), 0, -np.cos(HALF_ANGLE)])
        group[np.abs(centre @ along - ARM_BORES) < _SAME] = PATCHES.index(name)
    group[np.abs(centre[:, 2] - OUTLET_BORES) < _SAME] = PATCHES.index("outlet")
    return group
