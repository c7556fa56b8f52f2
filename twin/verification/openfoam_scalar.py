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
from twin.mixing import PlaneMixing
from twin.verification.finite_volumes import ENTERS, Limiter, mixing_of_cells
from twin.verification.hexahedra import HexMesh, mesh_half_junction
from twin.verification.openfoam import boundary_field, last_time, read_field, write_case, write_file
from twin.verification.openfoam_tools import Tools, children_seconds, environment

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

    `limiter` is none for `linearUpwind`, which adds the upwind cell's gradient.
    """

    entry: str
    relaxations: tuple[float, ...]
    limiter: Limiter | None


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
    found = mixing_of_cells(flow.mesh, phi, c, peclet, SCHEMES[scheme].limiter, layers)
    return replace(answer, planes=found, lowest=float(np.min(c)), highest=float(np.max(c)))


def _layer_at(mesh: HexMesh, bores: float) -> int:
    """The number of the layer of the outlet's faces there. Raises TwinError where there is none."""
    nearest = int(np.argmin(np.abs(mesh.outlet_layers - bores)))
    if abs(mesh.outlet_layers[nearest] - bores) > 1e-6 or nearest == 0:
        raise TwinError(f"the mesh has no layer of faces {bores:g} bores down the outlet", "mesh with that plane")
    return nearest


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
    patches = {name: f"type fixedValue; value uniform {c};" for name, c in ENTERS.items()}
    patches |= {"outlet": "type zeroGradient;", "wall": "type zeroGradient;", "symmetry": "type symmetryPlane;"}
    text = f"dimensions [0 0 0 0 0 0 0];\ninternalField uniform 0;\n{boundary_field(patches)}"
    write_file(start / "T", text, kind="volScalarField")


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
