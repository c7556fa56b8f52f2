"""The same junction by snappyHexMesh: cells cut from a box, moved onto the surface, and layers of prisms at the wall.

That is what most users of OpenFOAM give a connector that comes as a surface from a drawing; `hexahedra` is what a
patient one builds by hand. The surface, with the faces of the hexahedra's own boundary, is there before the clock
starts.
"""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path

import numpy as np
from scipy.interpolate import LinearNDInterpolator

from twin.verification.hexahedra import Floats, HexMesh, mesh_half_junction
from twin.verification.openfoam import (
    PeerResult,
    developed,
    last_time,
    read_field,
    sample_points,
    solve,
    write_control,
    write_fields,
    write_file,
)
from twin.verification.openfoam_tools import Tools, environment
from twin.verification.polymesh import PolyMesh, read_polymesh

_SURFACE_CELLS = 32  # across a bore: 64 corners around it, on a circle that gives the polygon the bore's area
_MARGIN = 0.1  # of the box around the junction, bores
_REACH = 4  # cells of the box on either side of the sampled section that its velocity is interpolated from

_BLOCK = """scale 1;
vertices
(
    ({left} 0 {low}) ({right} 0 {low}) ({right} {deep} {low}) ({left} {deep} {low})
    ({left} 0 {high}) ({right} 0 {high}) ({right} {deep} {high}) ({left} {deep} {high})
);
blocks ( hex (0 1 2 3 4 5 6 7) ({cells}) simpleGrading (1 1 1) );
edges ();
boundary
(
    symmetry {{ type symmetryPlane; faces ((0 1 5 4)); }}
    box {{ type patch; faces ((3 7 6 2) (0 4 7 3) (1 2 6 5) (0 3 2 1) (4 5 6 7)); }}
);
mergePatchPairs ();
"""

_FEATURES = """junction.stl
{
    extractionMethod extractFromSurface;
    includedAngle 150;
    extractFromSurfaceCoeffs { includedAngle 150; }
    writeObj no;
}
"""

# The controls that are not about this surface are those of OpenFOAM's own examples.
_SNAPPY = """castellatedMesh true;
snap true;
addLayers true;
geometry
{
    junction.stl
    {
        type triSurfaceMesh;
        name junction;
        regions
        {
            wall { name wall; }
            antisolvent { name antisolvent; }
            precursor { name precursor; }
            outlet { name outlet; }
        }
    }
}
castellatedMeshControls
{
    maxLocalCells 10000000;
    maxGlobalCells 20000000;
    minRefinementCells 10;
    maxLoadUnbalance 0.1;
    nCellsBetweenLevels 2;
    features ( { file "junction.eMesh"; level 1; } );
    refinementSurfaces
    {
        junction
        {
            level (0 0);
            regions
            {
                wall { level (1 1); patchInfo { type wall; } }
                antisolvent { level (0 1); patchInfo { type patch; } }
                precursor { level (0 1); patchInfo { type patch; } }
                outlet { level (0 1); patchInfo { type patch; } }
            }
        }
    }
    resolveFeatureAngle 30;
    refinementRegions {}
    locationInMesh (0.013 0.117 3.0171);
    allowFreeStandingZoneFaces true;
}
snapControls
{
    nSmoothPatch 3;
    tolerance 2.0;
    nSolveIter 50;
    nRelaxIter 5;
    nFeatureSnapIter 10;
    implicitFeatureSnap false;
    explicitFeatureSnap true;
    multiRegionFeatureSnap false;
}
addLayersControls
{
    relativeSizes true;
    layers { wall { nSurfaceLayers 3; } }
    expansionRatio 1.2;
    finalLayerThickness 0.5;
    minThickness 0.05;
    nGrow 0;
    featureAngle 100;
    slipFeatureAngle 30;
    nRelaxIter 5;
    nSmoothSurfaceNormals 1;
    nSmoothNormals 3;
    nSmoothThickness 10;
    maxFaceThicknessRatio 0.5;
    maxThicknessToMedialRatio 0.3;
    minMedianAxisAngle 90;
    nBufferCellsNoExtrude 0;
    nLayerIter 50;
}
meshQualityControls
{
    maxNonOrtho 65;
    maxBoundarySkewness 20;
    maxInternalSkewness 4;
    maxConcave 80;
    minVol 1e-16;
    minTetQuality 1e-15;
    minArea -1;
    minTwist 0.02;
    minDeterminant 0.001;
    minFaceWeight 0.05;
    minVolRatio 0.01;
    minTriangleTwist -1;
    nSmoothScale 4;
    errorReduction 0.75;
    relaxed { maxNonOrtho 75; }
}
mergeTolerance 1e-6;
"""


def run_snappy(
    reynolds: float, precursor_share: float, cells_across: int, ranks: int, folder: Path, patience_s: float = 3600.0
) -> PeerResult:
    """Meshes and solves the half junction in a new folder, with this many cells of the box across a bore.

    At the wall the cells are half as wide, before the layers. `seconds_mesh` is what OpenFOAM's own programs take.
    Raises TwinError where OpenFOAM is missing, fails, or takes longer than `patience_s`.
    """
    tools = Tools(folder, ranks, environment(), time.perf_counter() + patience_s)
    mesh = _meshed(tools, cells_across, reynolds)
    inlets = (("antisolvent", 1 - precursor_share), ("precursor", precursor_share))
    write_fields(folder, {name: _inflow(mesh, name, share) for name, share in inlets})
    if ranks > 1:
        tools.run("decomposePar")
    seconds_mesh = sum(tools.seconds.values())
    solved = solve(tools)
    return PeerResult(
        seconds_mesh=seconds_mesh,
        cells=mesh.cells,
        pressure_drop=_pressure_drop(folder, mesh, reynolds, precursor_share),
        outlet_velocity=_outlet_velocity(folder, mesh, 1 / cells_across),
        **vars(solved),
    )


def write_surface(file: Path, mesh: HexMesh) -> None:
    """The boundary of a mesh, but for its plane of symmetry, as an STL file with a solid for each patch."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in sorted(mesh.patches.keys() - {"symmetry"}):
        corners = mesh.points[mesh.patch_faces(name)]
        lines.append(f"solid {name}")
        for triangle in np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]).tolist():
            at = "\n".join("vertex {:.9g} {:.9g} {:.9g}".format(*corner) for corner in triangle)
            lines.append(f"facet normal 0 0 0\nouter loop\n{at}\nendloop\nendfacet")
        lines.append(f"endsolid {name}")
    file.write_text("\n".join(lines) + "\n", encoding="ascii")


def _meshed(tools: Tools, cells_across: int, reynolds: float) -> PolyMesh:
    """The mesh, made on all ranks and put together again; no cell of it belongs to a rank yet."""
    folder = tools.folder
    surface = mesh_half_junction(_SURFACE_CELLS)
    write_surface(folder / "constant" / "triSurface" / "junction.stl", surface)
    write_control(folder, reynolds, tools.ranks)
    system = folder / "system"
    write_file(system / "blockMeshDict", _block(surface.points, 1 / cells_across))
    write_file(system / "surfaceFeatureExtractDict", _FEATURES)
    write_file(system / "snappyHexMeshDict", _SNAPPY)
    tools.run("surfaceFeatureExtract")
    tools.run("blockMesh")
    if tools.ranks > 1:
        tools.run("decomposePar", name="decomposePar.box")
    tools.run_parallel("snappyHexMesh", "-overwrite")
    if tools.ranks > 1:
        tools.run("reconstructParMesh", "-constant")
        for part in folder.glob("processor*"):
            shutil.rmtree(part)
    return read_polymesh(folder)


def _block(points: Floats, size: float) -> str:
    """A box of cubes around the points, above the plane of symmetry."""
    low, high = points.min(axis=0) - _MARGIN, points.max(axis=0) + _MARGIN
    low[1] = 0.0
    cells = [math.ceil(length / size) for length in high - low]
    high = low + size * np.array(cells)
    ends = {"left": low[0], "right": high[0], "deep": high[1], "low": low[2], "high": high[2]}
    return _BLOCK.format(cells=" ".join(map(str, cells)), **{name: f"{end:.12g}" for name, end in ends.items()})


def _inflow(mesh: PolyMesh, name: str, share: float) -> Floats:
    faces = mesh.patch(name)
    return developed(mesh.face_centres[faces], mesh.face_areas[faces], share)


def _pressure_drop(folder: Path, mesh: PolyMesh, reynolds: float, precursor_share: float) -> float:
    """Mean pressure of the antisolvent's inlet over that of the outlet, in ρU², as `openfoam.pressure_drop` has it."""
    faces = mesh.patch("antisolvent")
    cells, area = mesh.owner[faces], mesh.face_areas[faces]
    outward = area.sum(axis=0) / np.linalg.norm(area.sum(axis=0))
    before = (mesh.face_centres[faces] - mesh.cell_centres[cells]) @ outward
    pressure = read_field(last_time(folder) / "p")[cells, 0] + 32 / reynolds * (1 - precursor_share) * before
    return float(np.average(pressure, weights=np.linalg.norm(area, axis=1)))


def _outlet_velocity(folder: Path, mesh: PolyMesh, size: float) -> Floats:
    """The last velocity (k, 3) in U at `sample_points()`: linear between the centres of cells, and zero at the wall."""
    points, mirror = sample_points(), np.array([1.0, -1.0, 1.0])

    def near(places: Floats) -> Floats:
        return np.abs(places[:, 2] - points[0, 2]) < _REACH * size

    inside = near(mesh.cell_centres)
    wall = mesh.face_centres[mesh.patch("wall")]
    places = np.concatenate([mesh.cell_centres[inside], wall[near(wall)]])
    velocity = np.zeros_like(places)
    velocity[: np.count_nonzero(inside)] = read_field(last_time(folder) / "U")[inside]
    halves = (np.concatenate([one, one * mirror]) for one in (places, velocity))
    return np.asarray(LinearNDInterpolator(*halves)(points))
