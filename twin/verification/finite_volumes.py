"""OpenFOAM's finite volumes, from its cell values and face fluxes to the mixing at planes of the outlet.

OpenFOAM does not tell with what values it carried a scalar through the faces; here its interpolations are done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twin.mixing import PlaneMixing, mixing_along
from twin.transport.eulerian import PlaneBudget
from twin.verification.hexahedra import Floats, HexMesh, Ints, area_vectors
from twin.verification.openfoam import read_field, read_patch

#: What enters with each stream.
ENTERS = {"antisolvent": 0, "precursor": 1}
#: The share of the linear interpolation, the rest being upwind, by the ratio r of successive gradients.
Limiter = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Geometry:
    """The mesh as OpenFOAM's finite volumes see it; `inside` counts the internal faces, which come first.

    Area vectors (f, 3) and centres (f, 3) of the faces, centres (c, 3) and volumes (c) of the cells, in bores; the
    owner's weight (inside) in a linear interpolation onto a face.
    """

    inside: int
    area: Floats
    face: Floats
    cell: Floats
    volume: Floats
    weight: Floats


def geometry(mesh: HexMesh) -> Geometry:
    """Centres and volumes as in OpenFOAM: of the triangles, and of the pyramids, that surround the mean of the nodes.

    Source: `primitiveMeshFaceCentresAndAreas.C`, `primitiveMeshCellCentresAndVols.C`, `surfaceInterpolation.C`.
    """
    inside = len(mesh.neighbour)
    owner, neighbour = mesh.owner[:inside], mesh.neighbour
    area = area_vectors(mesh.points, mesh.faces)
    corner = mesh.points[mesh.faces]
    following = np.roll(corner, -1, axis=1)
    middle = corner.mean(axis=1, keepdims=True)
    triangle = np.cross(following - corner, middle - corner)
    size = np.abs(np.einsum("fti,fi->ft", triangle, area / np.linalg.norm(area, axis=1)[:, None]))
    face = np.einsum("ft,fti->fi", size, corner + following + middle) / 3 / size.sum(axis=1)[:, None]

    def summed(of_face: Floats, of_neighbour: Floats) -> Floats:
        return _cell_sums(mesh, of_face) + _sums(neighbour, of_neighbour, mesh.cells)

    count = summed(np.ones(len(face)), np.ones(inside))
    rough = summed(face, face[:inside]) / count[:, None]
    own = np.einsum("fi,fi->f", area, face - rough[mesh.owner])
    other = np.einsum("fi,fi->f", area[:inside], rough[neighbour] - face[:inside])
    pyramid = 0.75 * face + 0.25 * rough[mesh.owner]
    beyond = 0.75 * face[:inside] + 0.25 * rough[neighbour]
    total = summed(own, other)
    cell = summed(own[:, None] * pyramid, other[:, None] * beyond) / total[:, None]

    to_face = np.einsum("fi,fi->f", area[:inside], face[:inside] - cell[owner])
    onwards = np.einsum("fi,fi->f", area[:inside], cell[neighbour] - face[:inside])
    return Geometry(inside, area, face, cell, total / 3, onwards / (to_face + onwards))


def _sums(cells: Ints, of_face: Floats, count: int) -> Floats:
    """Sums (count, ...) by cell of what the faces have."""
    if of_face.ndim == 1:
        return np.bincount(cells, of_face, count)
    return np.column_stack([np.bincount(cells, column, count) for column in of_face.T])


def _cell_sums(mesh: HexMesh, of_face: Floats) -> Floats:
    return _sums(mesh.owner, of_face, mesh.cells)


def gradient(mesh: HexMesh, at: Geometry, c: Floats) -> Floats:
    """The gradient (c, 3) of cell values, `Gauss linear`, with what enters at the inlets and no change elsewhere."""
    on_face = c[mesh.owner]
    owner = mesh.owner[: at.inside]
    on_face[: at.inside] = at.weight * c[owner] + (1 - at.weight) * c[mesh.neighbour]
    for name, value in ENTERS.items():
        start, count = mesh.patches[name]
        on_face[start : start + count] = value
    through = on_face[:, None] * at.area
    return (_cell_sums(mesh, through) - _sums(mesh.neighbour, through[: at.inside], mesh.cells)) / at.volume[:, None]


def carried(mesh: HexMesh, at: Geometry, c: Floats, slope: Floats, phi: Floats, limiter: Limiter | None) -> Floats:
    """The values (internal faces) with which a scheme carries c through the faces, from those in the cells.

    `slope` (c, 3) is the gradient in the cells, `phi` the flux out of the owner. Source: `NVDTVD.H`,
    `limitedScheme.C`, `linearUpwind.C`.
    """
    owner, neighbour = mesh.owner[: at.inside], mesh.neighbour
    upwind = np.where(phi >= 0, owner, neighbour)
    if limiter is None:
        return c[upwind] + np.einsum("fi,fi->f", at.face[: at.inside] - at.cell[upwind], slope[upwind])
    difference = c[neighbour] - c[owner]
    in_cell = np.einsum("fi,fi->f", slope[upwind], at.cell[neighbour] - at.cell[owner])
    steep = np.abs(in_cell) >= 1000 * np.abs(difference)
    ratio = np.where(
        steep, 1000 * np.sign(in_cell) * np.sign(difference), in_cell / np.where(difference, difference, 1.0)
    )
    limited = limiter(2 * ratio - 1)
    linear = at.weight * c[owner] + (1 - at.weight) * c[neighbour]
    return limited * linear + (1 - limited) * c[upwind]


def diffused(mesh: HexMesh, at: Geometry, c: Floats, slope: Floats) -> Floats:
    """The integral (internal faces) of ∂c/∂n from owner to neighbour over a face, `corrected`, in bores."""
    owner, neighbour = mesh.owner[: at.inside], mesh.neighbour
    size = np.linalg.norm(at.area[: at.inside], axis=1)
    normal = at.area[: at.inside] / size[:, None]
    between = at.cell[neighbour] - at.cell[owner]
    per_distance = 1 / np.einsum("fi,fi->f", normal, between)
    rest = normal - per_distance[:, None] * between
    middle = at.weight[:, None] * slope[owner] + (1 - at.weight)[:, None] * slope[neighbour]
    return size * (per_distance * (c[neighbour] - c[owner]) + np.einsum("fi,fi->f", rest, middle))


def mixing_of_cells(
    mesh: HexMesh, phi_file: Path, c: Floats, peclet: float, limiter: Limiter | None, layers: Sequence[int]
) -> list[PlaneMixing]:
    """The mixing of the values (cells) at faces of the outlet's layers with those numbers, 1 or more, ascending.

    `phi_file` holds the fluxes through all faces. The dissipation D ∫|∇c|² is that of OpenFOAM's Laplacian, half of a
    face's on either side of it, so that what c² loses beyond it is what the scheme of convection makes up.
    """
    at = geometry(mesh)
    phi = read_field(phi_file)[:, 0]
    slope = gradient(mesh, at, c)
    on_face = carried(mesh, at, c, slope, phi, limiter)
    half = diffused(mesh, at, c, slope) * (c[mesh.neighbour] - c[mesh.owner[: at.inside]]) / peclet / 2
    dissipated = _sums(mesh.owner[: at.inside], half, mesh.cells) + _sums(mesh.neighbour, half, mesh.cells)

    inflow = {name: -read_patch(phi_file, name, mesh.patches[name][1]) for name in ENTERS}
    entered = {name: float(flux.sum()) for name, flux in inflow.items()}
    mean = entered["precursor"] / sum(entered.values())
    section = len(mesh.section.quads)
    planes: list[PlaneBudget] = []
    last, square_before = 0, entered["precursor"]
    for layer in layers:
        if layer < len(mesh.outlet_layers) - 1:
            # The outlet's cells come first, so its layers' upper faces are owned by the cells below them.
            below, above = mesh.owner[: at.inside] // section, mesh.neighbour // section
            through = np.flatnonzero((below == layer - 1) & (above == layer))
            flux, value = phi[through], on_face[through]
        else:
            start, count = mesh.patches["outlet"]
            flux, value = read_patch(phi_file, "outlet", count), c[mesh.owner[start : start + count]]
        of_square = float((flux * value**2).sum())
        between = dissipated[last * section : layer * section].sum()
        if not planes:
            between += dissipated[(len(mesh.outlet_layers) - 1) * section :].sum()  # that of the arms
        lost = (square_before - of_square) / 2
        planes.append(
            PlaneBudget(
                bores=float(mesh.outlet_layers[layer]),
                flow=float(flux.sum()),
                flux=float((flux * value).sum()),
                square_flux=of_square,
                physical=float(between),
                numerical=lost - float(between),
            )
        )
        last, square_before = layer, of_square
    return mixing_along(planes, mean)
