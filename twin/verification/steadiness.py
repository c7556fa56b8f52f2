"""The verdict on steady flows, against onsets that others found: of shedding, leaning, engulfment and oscillation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import gmsh
from mpi4py import MPI

from twin.case.schema import Level
from twin.check import Check
from twin.fem.domain import Domain, read_domain
from twin.flow import Boundaries, SteadySolver
from twin.flow.stability import Kind, follow, leading_modes
from twin.junction import find_connector
from twin.meshing.build import mesh_connector
from twin.verification.flow import streams
from twin.verification.unsteady import Channel, cylinder_domain

_WAKE = "Sahin & Owens, Phys. Fluids 16 (2004) 1305, blockage 0.5, on the largest inflow speed; from memory"
_JET = "Fearn, Mullin & Cliffe, J. Fluid Mech. 211 (1990) 595: 40.45 on half the height; from memory"
_T_MIXER = "engulfment in T-mixers: Fani et al. (2013), Andreussi et al. (2015)"

TWICE = Channel(height=2.0, length=28.0, x=8.0, y=1.0)  # a channel twice as wide as its cylinder


def shedding_onset(around: tuple[float, float] = (120.0, 128.0)) -> tuple[float, float]:
    """The Reynolds number at which the wake in a channel twice as wide begins to shed, and the Strouhal number there.

    Both are on the diameter and the largest speed of the inflow, 3/2 of the mean.
    """
    solver = SteadySolver(cylinder_domain(0.06, 0.3, channel=TWICE), TWICE.boundaries)

    def steady(reynolds: float) -> None:
        solver.solve(reynolds / 1.5, {"inlet": TWICE.height})

    at, frequency = _onset(solver, steady, "any", around)
    return at, frequency / 1.5


def leaning_onset(around: tuple[float, float] = (78.0, 84.0)) -> float:
    """The Reynolds number at which the jet behind a threefold plane expansion begins to lean to one wall.

    It is on the inlet's height and largest speed. The half above the axis is meshed.
    """
    domain = expansion_domain(0.125)
    solver = SteadySolver(
        domain, Boundaries({"inlet": lambda x: 1 - 4 * x[1] ** 2}, {"outlet": 0.0}, {"wall": ()}, ("symmetry",))
    )

    def steady(reynolds: float) -> None:
        solver.solve(reynolds, {"inlet": 1 / 3})

    return _onset(solver, steady, "antisymmetric", around)[0]


def expansion_domain(size: float) -> Domain:
    """The upper half of a channel of height 1 that widens to 3 at x = 0, from −2 to 30, in triangles of `size`."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "expansion.msh"
        gmsh.initialize(interruptible=False)
        try:
            gmsh.option.setNumber("General.Terminal", 0)
            occ, model = gmsh.model.occ, gmsh.model
            occ.fuse([(2, occ.addRectangle(-2, 0, 0, 3, 0.5))], [(2, occ.addRectangle(0, 0, 0, 30, 1.5))])
            occ.synchronize()
            names: dict[str, list[int]] = {}
            for _, tag in model.getEntities(1):
                x, y, _ = occ.getCenterOfMass(1, tag)
                place = {-2.0: "inlet", 30.0: "outlet"}.get(round(x, 6)) or ("symmetry" if y < 1e-6 else "wall")
                names.setdefault(place, []).append(tag)
            for place, tags in names.items():
                model.addPhysicalGroup(1, tags, name=place)
            model.addPhysicalGroup(2, [tag for _, tag in model.getEntities(2)], name="fluid")
            edge = model.mesh.field.add("MathEval")  # fine about the edge where the flow parts
            model.mesh.field.setString(edge, "F", f"{size} * (0.3 + 0.5 * Sqrt(x^2 + (y - 0.5)^2) ^ 0.5)")
            model.mesh.field.setAsBackgroundMesh(edge)
            gmsh.option.setNumber("Mesh.MeshSizeExtendFromBoundary", 0)
            model.mesh.generate(2)
            model.mesh.setOrder(2)
            gmsh.write(str(path))
        finally:
            gmsh.finalize()
        return read_domain(path, MPI.COMM_SELF)


def engulfment_onset(
    wall_size: float = 0.2, core_size: float = 0.3, around: tuple[float, float] = (120.0, 147.0)
) -> float:
    """The Reynolds number, on the hydraulic diameter, at which the symmetric flow of a square T loses its symmetry.

    There the leading mode that changes sign in the mid-plane stops decaying.
    """
    solver = SteadySolver(_square_t(wall_size, core_size, symmetric_half=True))

    def steady(reynolds: float) -> None:
        solver.solve(reynolds * 3 / 4, streams(solver.domain, 0.5))

    return _onset(solver, steady, "antisymmetric", around)[0]


def oscillation_onset(wall_size: float, core_size: float, around: tuple[float, float] = (240.0, 260.0)) -> float:
    """The Reynolds number, on the hydraulic diameter, at which the engulfed flow of a square T begins to oscillate.

    The whole T is meshed. The symmetric flow is left at Re 180, and the engulfed one that it goes over to is followed.
    """
    solver = SteadySolver(_square_t(wall_size, core_size, symmetric_half=False))

    def steady(reynolds: float) -> None:
        solver.solve(reynolds * 3 / 4, streams(solver.domain, 0.5))

    steady(120.0)
    steady(180.0)
    follow(solver, leading_modes(solver, "any", 1)[0])
    return _onset(solver, steady, "any", around)[0]


def _square_t(wall_size: float, core_size: float, symmetric_half: bool) -> Domain:
    """The T-mixer with arms of 2 depths and an outlet of 6; its unit is the depth, 3/4 of the hydraulic diameter."""
    connector = find_connector("square-t", Path.cwd())
    arms = {name: arm.model_copy(update={"length": 2.0}) for name, arm in connector.arms.items()}
    connector = connector.model_copy(update={"symmetric_half": symmetric_half, "outlet_bores": 6, "arms": arms})
    with tempfile.TemporaryDirectory() as name:
        mesh = mesh_connector(connector, Level(wall_size=wall_size, core_size=core_size), Path(name))
        return read_domain(mesh.msh, MPI.COMM_SELF)


def _onset(
    solver: SteadySolver, steady: Callable[[float], None], kind: Kind, around: tuple[float, float]
) -> tuple[float, float]:
    """Where the leading mode stops decaying, and its frequency there, both linear between two Reynolds numbers."""
    modes = []
    for reynolds in around:
        steady(reynolds)
        modes.append(leading_modes(solver, kind, 1)[0])
    below, above = modes
    part = below.growth / (below.growth - above.growth)
    return (
        around[0] + part * (around[1] - around[0]),
        below.frequency + part * (above.frequency - below.frequency),
    )


def checks() -> list[Check]:
    """The onset of shedding behind a cylinder, and of leaning behind an expansion. Some seconds."""
    reynolds, strouhal = shedding_onset()
    return [
        Check("cylinder in a channel: Re at which it sheds", reynolds, 124.09, 0.01, _WAKE),
        Check("cylinder in a channel: Strouhal number there", strouhal, 0.3393, 0.01, _WAKE),
        Check("threefold expansion: Re at which the jet leans to a wall", leaning_onset(), 80.9, 0.01, _JET),
    ]


def heavy_checks() -> list[Check]:
    """The onsets of engulfment and of oscillation in the square T-mixer. Some ten minutes.

    The second still falls with the mesh, and is taken to the limit at second order from two of them.
    """
    coarse, fine = (oscillation_onset(wall, core) for wall, core in ((0.14, 0.2), (0.1, 0.2 / 1.4)))
    limit = fine - (coarse - fine) / (1.4**2 - 1)
    return [
        Check("square T: Re at which the symmetry breaks", engulfment_onset(), 140.0, 0.07, _T_MIXER),
        Check("square T: Re at which the engulfed flow oscillates", limit, 222.0, 0.07, _T_MIXER),
    ]
