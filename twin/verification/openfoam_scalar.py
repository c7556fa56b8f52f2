"""The same mixing by OpenFOAM's scalarTransportFoam, in simpleFoam's flow: the peer of `twin bench mixing`.

Set up as its users do: on hexahedra whose layers follow the outlet, bounded second-order schemes, steady with implicit
relaxation, started from the upwind solution. All from the flow that simpleFoam wrote; one rank.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from twin.errors import TwinError
from twin.mixing import PlaneMixing, mixing_along
from twin.verification.hexahedra import Floats, HexMesh, Ints, area_vectors, mesh_half_junction
from twin.verification.openfoam import (
    Tools,
    boundary_field,
    children_seconds,
    environment,
    last_time,
    read_field,
    write_case,
    write_file,
)

PLANES = tuple(float(bores) for bores in range(1, 11))
PATIENCE_S = 3600.0
# Of the initial residual. On 14,496 cells at Re 348 and 1662, 1e-10 moves no mixing index by more than 1e-5.
TOLERANCE = 1e-8
# After so many iterations the relaxation changes where the residual has not fallen to this share of what it was.
STAGE = 500
_FALLS = 0.8

_CONTROL = """application scalarTransportFoam;
startFrom latestTime;
startTime 0;
stopAt endTime;
endTime {last};
deltaT 1;
writeControl timeStep;
writeInterval {last};
writeFormat ascii;
writePrecision 12;
runTimeModifiable false;
"""

_SCHEMES = """ddtSchemes {{ default steadyState; }}
gradSchemes {{ default Gauss linear; }}
divSchemes {{ default none; div(phi,T) bounded Gauss {convection}; }}
laplacianSchemes {{ default Gauss linear corrected; }}
interpolationSchemes {{ default linear; }}
snGradSchemes {{ default corrected; }}
"""

_SOLUTION = """solvers {{ T {{ solver PBiCGStab; preconditioner DILU; tolerance 1e-12; relTol 0.1; }} }}
SIMPLE {{ nNonOrthogonalCorrectors 0; residualControl {{ T {tolerance}; }} }}
relaxationFactors {{ equations {{ T {relaxation}; }} }}
"""


@dataclass(frozen=True)
class Scheme:
    """A scheme of convection: what OpenFOAM calls it, and the relaxations to try, each from where the last one ended.

    `limiter` is the share of the linear interpolation by the ratio r of successive gradients, none for `linearUpwind`,
    which adds the upwind cell's gradient.
    """

    entry: str
    relaxations: tuple[float, ...]
    limiter: Callable[[Floats], Floats] | None


# With a relaxation of 0.7 or more, the limiters switch for ever at residuals of 1e-5 to 1e-3.
SCHEMES = {
    "upwind": Scheme("upwind", (1.0,), np.zeros_like),
    "linearUpwind": Scheme("linearUpwind grad(T)", (0.9, 0.7), None),
    "limitedLinear": Scheme("limitedLinear 1", (0.5, 0.25, 0.1), lambda r: np.clip(2 * r, 0, 1)),
    "vanLeer": Scheme("vanLeer", (0.5, 0.25, 0.1), lambda r: (r + np.abs(r)) / (1 + np.abs(r))),
}


@dataclass(frozen=True)
class Point:
    """A state of the junction; Pe = U·bore/D, with U the mean velocity of the outlet."""

    reynolds: float
    precursor_share: float
    peclet: float


@dataclass(frozen=True)
class Plan:
    """What the peer computes for a comparison; the cells across a bore are multiples of four."""

    points: tuple[Point, ...]
    cells_across: tuple[int, ...]
    schemes: tuple[str, ...]


# The ends of the paper's first sweep: 1000 and 5000 mL/h of antisolvent, 60 of precursor.
_ENDS = (Point(348.0, 1 / 17.667, 96_400.0), Point(1662.0, 1 / 84.33, 4.6e5))
SHORT = Plan(_ENDS[:1], (16, 24, 32), ("upwind", "linearUpwind", "limitedLinear"))  # two minutes
FULL = Plan(_ENDS, (16, 24, 32, 48), tuple(SCHEMES))


@dataclass(frozen=True)
class PeerFlow:
    """A flow of OpenFOAM's: the folder of its case and that with its U and phi, and what it took.

    `seconds` by the clock and `cpu_seconds` are those of potentialFoam and simpleFoam, `memory_gib` the most that one
    of them held.
    """

    folder: Path
    fields: Path
    mesh: HexMesh
    seconds: float
    cpu_seconds: float
    memory_gib: float
    converged: bool


@dataclass(frozen=True)
class ScalarPeer:
    """What scalarTransportFoam answered. Where the iteration has not converged, `failure` says why and no `planes` are.

    `..._scalar` is with the upwind solution that the others start from; processor times are disturbed less by what else
    runs than those by the clock; `memory_gib` is the most that a program held;
    `residual` the last initial one; `lowest` and `highest` those of the cells, 0 and 1 if all is well.
    """

    scheme: str
    peclet: float
    cells: int
    seconds_flow: float
    cpu_seconds_flow: float
    seconds_scalar: float
    cpu_seconds_scalar: float
    memory_gib: float
    iterations: int
    residual: float
    failure: str
    planes: list[PlaneMixing] = field(default_factory=list)
    lowest: float = np.nan
    highest: float = np.nan

    @property
    def converged(self) -> bool:
        """Whether there are figures."""
        return not self.failure


def peers(plan: Plan, watch: Callable[[str], None] = lambda line: None) -> Iterator[tuple[Point, int, ScalarPeer]]:
    """The peer's answers, each with its point and the cells across: by point, mesh and scheme.

    Raises TwinError where OpenFOAM is missing, or simpleFoam fails.
    """
    for point in plan.points:
        for across in plan.cells_across:
            watch(f"Re {point.reynolds:.0f}: OpenFOAM's flow with {across} cells across")
            with tempfile.TemporaryDirectory() as name:
                flow = peer_flow(point.reynolds, point.precursor_share, across, Path(name, "case"))
                for scheme in plan.schemes:
                    watch(f"Re {point.reynolds:.0f}: {scheme} with {across} cells across")
                    yield point, across, scalar_mixing(flow, point.peclet, scheme)


def peer_flow(
    reynolds: float,
    precursor_share: float,
    cells_across: int,
    folder: Path,
    planes: Sequence[float] = PLANES,
    patience_s: float = PATIENCE_S,
) -> PeerFlow:
    """The flow by simpleFoam on a mesh with faces at the planes (bores, from 0.5 on), in a new folder.

    Raises TwinError where OpenFOAM is missing, fails, or takes longer than `patience_s`.
    """
    tools = Tools(folder, 1, environment(), time.perf_counter() + patience_s)
    mesh = mesh_half_junction(cells_across, planes)
    write_case(folder, mesh, reynolds, precursor_share, 1)
    began, used = time.perf_counter(), children_seconds()
    tools.run("potentialFoam")
    log = tools.run("simpleFoam")
    seconds, used = time.perf_counter() - began, children_seconds() - used
    converged = "SIMPLE solution converged" in log.read_text(encoding="utf-8", errors="replace")
    return PeerFlow(folder, last_time(folder), mesh, seconds, used, max(tools.peaks.values()), converged)


def scalar_mixing(
    flow: PeerFlow, peclet: float, scheme: str, planes: Sequence[float] = PLANES, patience_s: float = PATIENCE_S
) -> ScalarPeer:
    """The mixing at planes (bores) of the outlet, each a layer of the mesh, by one of `SCHEMES` at Pe = U·bore/D.

    The case goes into a new folder within the flow's. Raises TwinError where a plane is no layer of the mesh, and where
    OpenFOAM is missing; that it fails, or takes longer than `patience_s`, is in the answer.
    """
    layers = [_layer_at(flow.mesh, bores) for bores in planes]
    folder = flow.folder / f"scalar-{scheme}-{peclet:g}"
    tools = Tools(folder, 1, environment(), time.perf_counter() + patience_s)
    _write_case(folder, flow, peclet)
    began, used = time.perf_counter(), children_seconds()
    iterations, residual, failure = 0, np.inf, "the flow did not converge"
    if flow.converged:
        try:
            iterations, residual, failure = _solve(tools, scheme)
        except TwinError as failed:
            failure = f"{failed.message}: {failed.remedy}"
    seconds, used = time.perf_counter() - began, children_seconds() - used
    answer = ScalarPeer(
        scheme=scheme,
        peclet=peclet,
        cells=flow.mesh.cells,
        seconds_flow=flow.seconds,
        cpu_seconds_flow=flow.cpu_seconds,
        seconds_scalar=seconds,
        cpu_seconds_scalar=used,
        memory_gib=max([flow.memory_gib, *tools.peaks.values()]),
        iterations=iterations,
        residual=residual,
        failure=failure,
    )
    if not answer.converged:
        return answer
    c, phi = read_field(last_time(folder) / "T")[:, 0], last_time(folder) / "phi"
    found = mixing_of_cells(flow.mesh, phi, c, peclet, SCHEMES[scheme], layers)
    return replace(answer, planes=found, lowest=float(np.min(c)), highest=float(np.max(c)))


# -- the case ----------------------------------------------------------------------------------------------------------


def _write_case(folder: Path, flow: PeerFlow, peclet: float) -> None:
    start = folder / "0"
    start.mkdir(parents=True)
    for name in ("U", "phi"):
        if (flow.fields / name).exists():  # without phi, the solver makes it of U
            shutil.copy(flow.fields / name, start)
    (folder / "constant").mkdir()
    (folder / "constant" / "polyMesh").symlink_to((flow.folder / "constant" / "polyMesh").resolve())
    write_file(folder / "constant" / "transportProperties", f"DT {1 / peclet:.15g};\n")
    patches = {name: f"type fixedValue; value uniform {c};" for name, c in _ENTERS.items()}
    patches |= {"outlet": "type zeroGradient;", "wall": "type zeroGradient;", "symmetry": "type symmetryPlane;"}
    text = f"dimensions [0 0 0 0 0 0 0];\ninternalField uniform 0;\n{boundary_field(patches)}"
    write_file(start / "T", text, kind="volScalarField")


_ENTERS = {"antisolvent": 0, "precursor": 1}


def _solve(tools: Tools, scheme: str) -> tuple[int, float, str]:
    """The upwind solution, and from it the scheme's: iterations, the last residual, and why it failed if it did."""
    iterations, converged, residual = 0, False, np.inf
    for stage in dict.fromkeys(("upwind", scheme)):
        for relaxation in SCHEMES[stage].relaxations:
            iterations, converged, residual = _relaxed(tools, SCHEMES[stage].entry, relaxation, iterations)
            if converged:
                break
    return iterations, residual, "" if converged else f"residual {residual:.1e} after {iterations} iterations"


def _relaxed(tools: Tools, convection: str, relaxation: float, iterations: int) -> tuple[int, bool, float]:
    """Goes on from the last iterate, until it has converged or the residual falls no more; as `_iterate`."""
    converged, falls, residual = False, True, np.inf
    while falls and not converged:
        before = residual
        iterations, converged, residual = _iterate(tools, convection, relaxation, iterations)
        falls = residual < _FALLS * before
    return iterations, converged, residual


def _iterate(tools: Tools, convection: str, relaxation: float, before: int) -> tuple[int, bool, float]:
    """A stage from the last iterate: the iterations since the start, whether it converged, and the last residual."""
    system, last = tools.folder / "system", before + STAGE
    write_file(system / "controlDict", _CONTROL.format(last=last))
    write_file(system / "fvSchemes", _SCHEMES.format(convection=convection))
    write_file(system / "fvSolution", _SOLUTION.format(tolerance=TOLERANCE, relaxation=relaxation))
    name = f"{convection.split()[0]}-{relaxation:g}"
    text = tools.run("scalarTransportFoam", name=name).read_text(encoding="utf-8", errors="replace")
    residuals = re.findall(r"Solving for T, Initial residual = (\S+),", text)
    if not residuals:
        raise TwinError("scalarTransportFoam did not iterate", f"see the logs in {tools.folder}")
    if before:
        shutil.rmtree(tools.folder / str(before))  # on fine meshes, each iterate is large
    return int(last_time(tools.folder).name), "SIMPLE solution converged" in text, float(residuals[-1])


# -- from cell values and face fluxes to the planes --------------------------------------------------------------------


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
    for name, value in _ENTERS.items():
        start, count = mesh.patches[name]
        on_face[start : start + count] = value
    through = on_face[:, None] * at.area
    return (_cell_sums(mesh, through) - _sums(mesh.neighbour, through[: at.inside], mesh.cells)) / at.volume[:, None]


def carried(mesh: HexMesh, at: Geometry, c: Floats, slope: Floats, phi: Floats, scheme: Scheme) -> Floats:
    """The values (internal faces) with which the scheme carries c through the faces, from those in the cells.

    `slope` (c, 3) is the gradient in the cells, `phi` the flux out of the owner. Source: `NVDTVD.H`,
    `limitedScheme.C`, `linearUpwind.C`.
    """
    owner, neighbour = mesh.owner[: at.inside], mesh.neighbour
    upwind = np.where(phi >= 0, owner, neighbour)
    if scheme.limiter is None:
        return c[upwind] + np.einsum("fi,fi->f", at.face[: at.inside] - at.cell[upwind], slope[upwind])
    difference = c[neighbour] - c[owner]
    in_cell = np.einsum("fi,fi->f", slope[upwind], at.cell[neighbour] - at.cell[owner])
    steep = np.abs(in_cell) >= 1000 * np.abs(difference)
    ratio = np.where(
        steep, 1000 * np.sign(in_cell) * np.sign(difference), in_cell / np.where(difference, difference, 1.0)
    )
    limited = scheme.limiter(2 * ratio - 1)
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


@dataclass(frozen=True)
class _Budget:
    """Of one plane, as in `twin.mixing.indices.Budget`."""

    bores: float
    flow: float
    flux: float
    square_flux: float
    physical: float
    numerical: float


def mixing_of_cells(
    mesh: HexMesh, phi_file: Path, c: Floats, peclet: float, scheme: Scheme, layers: Sequence[int]
) -> list[PlaneMixing]:
    """The mixing of the values (cells) at faces of the outlet's layers with those numbers, 1 or more, ascending.

    The dissipation D ∫|∇c|² is that of OpenFOAM's Laplacian, half of a face's on either side of it, so that what c²
    loses beyond it is what the scheme of convection makes up.
    """
    at = geometry(mesh)
    phi = read_field(phi_file)[:, 0]
    slope = gradient(mesh, at, c)
    on_face = carried(mesh, at, c, slope, phi, scheme)
    half = diffused(mesh, at, c, slope) * (c[mesh.neighbour] - c[mesh.owner[: at.inside]]) / peclet / 2
    dissipated = _sums(mesh.owner[: at.inside], half, mesh.cells) + _sums(mesh.neighbour, half, mesh.cells)

    inflow = {name: -read_patch(phi_file, name, mesh.patches[name][1]) for name in _ENTERS}
    entered = {name: float(flux.sum()) for name, flux in inflow.items()}
    mean = entered["precursor"] / sum(entered.values())
    section = len(mesh.section.quads)
    planes: list[_Budget] = []
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
            _Budget(
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


def _layer_at(mesh: HexMesh, bores: float) -> int:
    """The number of the layer of the outlet's faces there. Raises TwinError where there is none."""
    nearest = int(np.argmin(np.abs(mesh.outlet_layers - bores)))
    if abs(mesh.outlet_layers[nearest] - bores) > 1e-6 or nearest == 0:
        raise TwinError(f"the mesh has no layer of faces {bores:g} bores down the outlet", "mesh with that plane")
    return nearest


def read_patch(file: Path, patch: str, count: int) -> Floats:
    """The scalars (count) on a patch of a field that OpenFOAM wrote as text."""
    _, _, text = file.read_text(encoding="ascii").partition("boundaryField")
    found = re.search(rf"\b{patch}\s*\{{[^}}]*?\bvalue\s+(uniform|nonuniform List<scalar>\s*\d+\s*\()([^);]*)", text)
    if found is None:
        raise TwinError(f"{file.name} has no values on {patch}", f"see the logs beside {file.parent}")
    values = np.array(found.group(2).split(), dtype=float)
    return np.broadcast_to(values, count).copy()
