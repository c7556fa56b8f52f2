"""The same steady flow by OpenFOAM's simpleFoam, on block-structured hexahedra: the peer of `twin bench flow`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import CloughTocher2DInterpolator

from twin.errors import TwinError
from twin.verification.hexahedra import (
    OUTLET_BORES,
    RADIUS,
    Floats,
    HexMesh,
    area_vectors,
    mesh_half_junction,
)
from twin.verification.openfoam_tools import Tools, children_seconds, environment

MOST_ITERATIONS = 4000
# Of the initial residuals, as OpenFOAM normalises them. On 48,000 cells at Re 348 and 1662, 1e-7 moves the pressure
# drop by less than 0.01 % and the outlet's velocity by 1e-4 U.
TOLERANCE = 1e-5
SAMPLE_DISTANCE = OUTLET_BORES - 0.1
_RINGS, _SPOKES, _OUTERMOST = 12, 12, 0.48

_HEADER = """FoamFile
{{
    version 2.0;
    format ascii;
    class {kind};
    object {name};{note}
}}
"""

# Without function objects: those of Debian's build stop with an error of their checksum.
_CONTROL = """application simpleFoam;
startFrom startTime;
startTime 0;
stopAt endTime;
endTime {iterations};
deltaT 1;
writeControl timeStep;
writeInterval {iterations};
writeFormat ascii;
writePrecision 12;
runTimeModifiable false;
"""

_SCHEMES = """ddtSchemes { default steadyState; }
gradSchemes { default Gauss linear; }
divSchemes
{
    default none;
    div(phi,U) bounded Gauss linearUpwind grad(U);
    div((nuEff*dev2(T(grad(U))))) Gauss linear;
    div(div(phi,U)) Gauss linear;
}
laplacianSchemes { default Gauss linear corrected; }
interpolationSchemes { default linear; }
snGradSchemes { default corrected; }
"""

# With no correction for the 60° at the mitre between the arms, the iteration does not settle.
_SOLUTION = """solvers
{{
    p {{ solver GAMG; smoother DICGaussSeidel; tolerance 1e-9; relTol 0.05; }}
    Phi {{ $p; relTol 0.01; }}
    U {{ solver smoothSolver; smoother symGaussSeidel; tolerance 1e-10; relTol 0.1; }}
}}
potentialFlow {{ nNonOrthogonalCorrectors 3; }}
SIMPLE
{{
    consistent yes;
    nNonOrthogonalCorrectors 1;
    residualControl {{ p {tolerance}; U {tolerance}; }}
}}
relaxationFactors {{ equations {{ U 0.9; }} }}
"""


@dataclass(frozen=True)
class Solved:
    """How potentialFoam and simpleFoam went: seconds of the clock, and of a rank's processor."""

    seconds_solve: float
    cpu_seconds: float
    converged: bool
    iterations: int
    residuals: dict[str, float]
    version: str
    log: Path


@dataclass(frozen=True)
class PeerResult(Solved):
    """What simpleFoam answered, in the units of our solver: U, ρU², bores.

    `seconds_mesh` holds mesh, case and decomposition. `outlet_velocity` (k, 3) is at the points that were asked for.
    """

    seconds_mesh: float
    cells: int
    pressure_drop: float
    outlet_velocity: Floats


@dataclass(frozen=True)
class Reference:
    """The flow on a mesh that is much finer than those compared: pressure drop in ρU², velocities (k, 3) in U."""

    pressure_drop: float
    outlet_velocity: Floats


def sample_points() -> Floats:
    """Points (144, 3) just before the outlet, in bores: twelve rings that stand for equal areas, twelve spokes."""
    radius = _OUTERMOST * np.sqrt((np.arange(_RINGS) + 1) / _RINGS)
    angle = np.pi * (np.arange(_SPOKES) + 0.5) / _SPOKES
    r, a = (grid.ravel() for grid in np.meshgrid(radius, angle, indexing="ij"))
    return np.column_stack([r * np.cos(a), r * np.sin(a), np.full(r.size, SAMPLE_DISTANCE)])


def errors(result: PeerResult | Reference, reference: Reference) -> dict[str, float]:
    """Relative error of the pressure drop, and RMS error of the outlet's velocity over U."""
    difference = result.outlet_velocity - reference.outlet_velocity
    return {
        "pressure_drop": abs(result.pressure_drop / reference.pressure_drop - 1),
        "outlet_velocity": float(np.sqrt((difference**2).sum(axis=1).mean())),
    }


def run_openfoam(
    reynolds: float,
    precursor_share: float,
    cells_across: int,
    ranks: int,
    folder: Path,
    points: Floats | None = None,
    patience_s: float = 3600.0,
) -> PeerResult:
    """Meshes and solves the half junction with this many cells across a bore (a multiple of four) in a new folder.

    `points` (k, 3) in bores are where the velocity is wanted, `sample_points()` by default. Raises TwinError where
    OpenFOAM is missing, fails, or takes longer than `patience_s`.
    """
    tools = Tools(folder, ranks, environment(), time.perf_counter() + patience_s)
    began = time.perf_counter()
    mesh = mesh_half_junction(cells_across)
    write_case(folder, mesh, reynolds, precursor_share, ranks)
    if ranks > 1:
        tools.run("decomposePar")
    seconds_mesh = time.perf_counter() - began
    solved = solve(tools)
    return PeerResult(
        seconds_mesh=seconds_mesh,
        cells=mesh.cells,
        pressure_drop=pressure_drop(folder, mesh, reynolds, precursor_share),
        outlet_velocity=outlet_velocity(folder, mesh, sample_points() if points is None else points),
        **vars(solved),
    )


def solve(tools: Tools) -> Solved:
    """Runs potentialFoam and simpleFoam on a case that is ready."""
    began, used = time.perf_counter(), children_seconds()
    tools.run_parallel("potentialFoam")
    log = tools.run_parallel("simpleFoam")
    seconds, used = time.perf_counter() - began, children_seconds() - used
    if tools.ranks > 1:
        tools.run("reconstructPar")
    text = log.read_text(encoding="utf-8", errors="replace")
    version = re.search(r"Version:\s+(\S+)", text)
    return Solved(
        seconds_solve=seconds,
        cpu_seconds=used / tools.ranks,
        converged="SIMPLE solution converged" in text,
        iterations=int(last_time(tools.folder).name),
        residuals={name: float(value) for name, value in re.findall(r"for (\w+), Initial residual = (\S+),", text)},
        version=version.group(1) if version else "unknown",
        log=log,
    )


# -- the case ----------------------------------------------------------------------------------------------------------


def write_case(folder: Path, mesh: HexMesh, reynolds: float, precursor_share: float, ranks: int) -> None:
    """Writes a simpleFoam case in our units: density 1, mean velocity of the outlet 1, bore 1, viscosity 1/Re."""
    _write_mesh(folder / "constant" / "polyMesh", mesh)
    write_control(folder, reynolds, ranks)
    write_fields(
        folder,
        {
            name: inlet_velocity(mesh, name, share)
            for name, share in (("antisolvent", 1 - precursor_share), ("precursor", precursor_share))
        },
    )


def write_control(folder: Path, reynolds: float, ranks: int) -> None:
    """Writes how the flow is to be solved, all but its mesh and its first fields."""
    system, constant = folder / "system", folder / "constant"
    write_file(system / "controlDict", _CONTROL.format(iterations=MOST_ITERATIONS))
    write_file(system / "fvSchemes", _SCHEMES)
    write_file(system / "fvSolution", _SOLUTION.format(tolerance=TOLERANCE))
    # The parts get equal numbers of cells by their height: one plane across the outlet is all that ranks share.
    cut = f"numberOfSubdomains {ranks};\nmethod simple;\nsimpleCoeffs {{ n (1 1 {ranks}); delta 0.001; }}\n"
    write_file(system / "decomposeParDict", cut)
    write_file(constant / "transportProperties", f"transportModel Newtonian;\nnu {1 / reynolds:.15g};\n")
    write_file(constant / "turbulenceProperties", "simulationType laminar;\n")


def write_fields(folder: Path, inflow: Mapping[str, Floats]) -> None:
    """Writes the first fields; `inflow` holds the velocity (k, 3) at the faces of each inlet."""
    write_file(folder / "0" / "p", _pressure_field(inflow), kind="volScalarField")
    write_file(folder / "0" / "U", _velocity_field(inflow), kind="volVectorField")


def inlet_velocity(mesh: HexMesh, name: str, share: float) -> Floats:
    """Developed flow (k, 3) at the face centres of an inlet, in U, scaled to exactly this share of the flow."""
    faces = mesh.patch_faces(name)
    return developed(mesh.points[faces].mean(axis=1), area_vectors(mesh.points, faces), share)


def developed(centre: Floats, area: Floats, share: float) -> Floats:
    """The same at faces (k, 3) with these area vectors, of half a round bore whose axis goes through the origin."""
    outward = area.sum(axis=0) / np.linalg.norm(area.sum(axis=0))
    away2 = (centre**2).sum(axis=1) - (centre @ outward) ** 2
    velocity = -np.maximum(0.0, 1 - away2 / RADIUS**2)[:, None] * outward
    inflow = -float((velocity * area).sum())
    return share * (np.pi * RADIUS**2 / 2) / inflow * velocity


def _pressure_field(inlets: Iterable[str]) -> str:
    patches = dict.fromkeys((*inlets, "wall"), "type zeroGradient;")
    patches |= {"outlet": "type fixedValue; value uniform 0;", "symmetry": "type symmetryPlane;"}
    return f"dimensions [0 2 -2 0 0 0 0];\ninternalField uniform 0;\n{boundary_field(patches)}"


def _velocity_field(inflow: Mapping[str, Floats]) -> str:
    patches = {
        name: f"type fixedValue; value nonuniform List<vector> ( {_vectors(velocity)} );"
        for name, velocity in inflow.items()
    }
    patches |= {
        "outlet": "type inletOutlet; inletValue uniform (0 0 0); value uniform (0 0 1);",
        "symmetry": "type symmetryPlane;",
        "wall": "type noSlip;",
    }
    return f"dimensions [0 1 -1 0 0 0 0];\ninternalField uniform (0 0 0);\n{boundary_field(patches)}"


def boundary_field(patches: Mapping[str, str]) -> str:
    """The boundary conditions of a field, by patch."""
    return "boundaryField\n{\n" + "".join(f"{name} {{ {text} }}\n" for name, text in patches.items()) + "}\n"


def _write_mesh(folder: Path, mesh: HexMesh) -> None:
    note = f'note "nPoints:{len(mesh.points)} nCells:{mesh.cells} nFaces:{len(mesh.faces)}";'
    _write_list(folder / "points", "vectorField", [f"({x:.15g} {y:.15g} {z:.15g})" for x, y, z in mesh.points.tolist()])
    _write_list(folder / "faces", "faceList", ["4({} {} {} {})".format(*face) for face in mesh.faces.tolist()])
    _write_list(folder / "owner", "labelList", [*map(str, mesh.owner.tolist())], note)
    _write_list(folder / "neighbour", "labelList", [*map(str, mesh.neighbour.tolist())], note)
    kinds = {"wall": "wall", "symmetry": "symmetryPlane"}
    patches = [
        f"{name} {{ type {kinds.get(name, 'patch')}; nFaces {count}; startFace {start}; }}"
        for name, (start, count) in mesh.patches.items()
    ]
    _write_list(folder / "boundary", "polyBoundaryMesh", patches)


def _write_list(file: Path, kind: str, entries: list[str], note: str = "") -> None:
    write_file(file, "\n".join([str(len(entries)), "(", *entries, ")", ""]), kind, note)


def write_file(file: Path, text: str, kind: str = "dictionary", note: str = "") -> None:
    """Writes a file of OpenFOAM's with its header, and the folders that it needs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    header = _HEADER.format(kind=kind, name=file.name, note=note and f"\n    {note}")
    file.write_text(header + text, encoding="ascii")


def _vectors(values: Floats) -> str:
    return " ".join(f"({x:.12g} {y:.12g} {z:.12g})" for x, y, z in values.tolist())


# -- reading -----------------------------------------------------------------------------------------------------------


def pressure_drop(folder: Path, mesh: HexMesh, reynolds: float, precursor_share: float) -> float:
    """Mean pressure of the antisolvent's inlet over that of the outlet, in ρU²."""
    faces = mesh.patch_faces("antisolvent")
    start, count = mesh.patches["antisolvent"]
    cells = mesh.owner[start : start + count]
    behind = read_field(last_time(folder) / "p")[cells, 0]
    # The boundary condition leaves the first cell's pressure on the inlet. The developed flow's gradient leads on.
    onwards = 32 / reynolds * (1 - precursor_share) * mesh.inlet_layer / 2
    return float(np.average(behind, weights=np.linalg.norm(area_vectors(mesh.points, faces), axis=1))) + onwards


def outlet_velocity(folder: Path, mesh: HexMesh, points: Floats) -> Floats:
    """The last velocity (k, 3) in U at points of one section of the straight outlet.

    Linear between the layers, of third order within them, so that it adds little to the errors of the solution.
    """
    middle = (mesh.outlet_layers[1:] + mesh.outlet_layers[:-1]) / 2
    upper = int(np.clip(np.searchsorted(middle, points[0, 2]), 1, len(middle) - 1))
    quads = mesh.section.quads
    layers = read_field(last_time(folder) / "U")[: len(middle) * len(quads)].reshape(len(middle), len(quads), 3)
    share = (points[0, 2] - middle[upper - 1]) / (middle[upper] - middle[upper - 1])
    inside = (1 - share) * layers[upper - 1] + share * layers[upper]
    centre = mesh.section.nodes[quads].mean(axis=1)
    wall = mesh.section.nodes[np.hypot(*mesh.section.nodes.T) > RADIUS - 1e-9]
    mirror = np.array([1.0, -1.0])
    nodes = np.concatenate([centre, centre * mirror, wall, wall[1:-1] * mirror])
    values = np.concatenate([inside, inside * np.array([1.0, -1.0, 1.0]), np.zeros((2 * len(wall) - 2, 3))])
    return CloughTocher2DInterpolator(nodes, values)(points[:, :2])


def read_field(file: Path) -> Floats:
    """The values (cells, components) of a field that OpenFOAM wrote as text."""
    _, _, text = file.read_text(encoding="ascii").partition("internalField")
    found = re.match(r"\s*nonuniform List<(\w+)>\s*(\d+)\s*\(", text)
    if found is None:
        raise TwinError(f"{file.name} is not a field that OpenFOAM has solved", f"see the logs beside {file.parent}")
    kind, count = found.group(1), int(found.group(2))
    body = text[found.end() : text.index(";", found.end())].replace("(", " ").replace(")", " ")
    return np.array(body.split(), dtype=float).reshape(count, 3 if kind == "vector" else 1)


def read_patch(file: Path, patch: str, count: int) -> Floats:
    """The scalars (count) on a patch of a field that OpenFOAM wrote as text."""
    _, _, text = file.read_text(encoding="ascii").partition("boundaryField")
    found = re.search(rf"\b{patch}\s*\{{[^}}]*?\bvalue\s+(uniform|nonuniform List<scalar>\s*\d+\s*\()([^);]*)", text)
    if found is None:
        raise TwinError(f"{file.name} has no values on {patch}", f"see the logs beside {file.parent}")
    values = np.array(found.group(2).split(), dtype=float)
    return np.broadcast_to(values, count).copy()


def last_time(folder: Path) -> Path:
    """The folder of the last iterate. Raises TwinError where there is none but the start."""
    written = [at for at in folder.iterdir() if at.name.isdigit() and at.name != "0"]
    if not written:
        raise TwinError("OpenFOAM wrote no solution", f"see the logs in {folder}")
    return max(written, key=lambda at: int(at.name))
