"""The unsteady solver against an exact solution, and both solvers against the cylinder in a channel of DFG."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import gmsh
import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI
from scipy.interpolate import CubicSpline

from twin.check import Check
from twin.fem.domain import Domain, read_domain
from twin.flow import Boundaries, SteadySolver
from twin.flow.forces import Force, force_on
from twin.flow.transient import TransientSolver, TransientState

COUNTS = (32, 64, 128)  # steps of the marches that show the order in time
_ETHIER = "Ethier & Steinman, Int. J. Numer. Meth. Fluids 19 (1994) 369"
_DFG = "Schäfer & Turek (1996); digits of featflow.de, John & Matthies 2001, Nabh 1998"

# -- an exact solution -------------------------------------------------------------------------------------------------

_A, _D = math.pi / 4, math.pi / 2
_ROTATIONS = ((0, 1, 2), (1, 2, 0), (2, 0, 1))


def exact_velocity(x: Any, time: float, viscosity: float, m: Any = np) -> list[Any]:
    """Ethier & Steinman's velocity at points x, by the functions of NumPy or of UFL. No force drives it."""
    decay = math.exp(-viscosity * _D**2 * time)
    return [
        -_A
        * decay
        * (m.exp(_A * x[i]) * m.sin(_A * x[j] + _D * x[k]) + m.exp(_A * x[k]) * m.cos(_A * x[i] + _D * x[j]))
        for i, j, k in _ROTATIONS
    ]


def exact_pressure(x: Any, time: float, viscosity: float, m: Any = np) -> Any:
    """The pressure of `exact_velocity`, over the density."""
    decay = math.exp(-2 * viscosity * _D**2 * time)
    total = sum(
        m.exp(2 * _A * x[i])
        + 2 * m.sin(_A * x[i] + _D * x[j]) * m.cos(_A * x[k] + _D * x[i]) * m.exp(_A * (x[j] + x[k]))
        for i, j, k in _ROTATIONS
    )
    return -(_A**2) / 2 * decay * total


def cube(across: int, comm: MPI.Comm = MPI.COMM_SELF) -> Domain:
    """[−1, 1]³ in tetrahedra, with one boundary, "all"."""
    corners = [np.full(3, -1.0), np.full(3, 1.0)]
    mesh = dmesh.create_box(comm, corners, [across] * 3, ghost_mode=dmesh.GhostMode.shared_facet)
    mesh.topology.create_connectivity(2, 3)
    facets = dmesh.exterior_facet_indices(mesh.topology)
    return Domain(mesh, dmesh.meshtags(mesh, 2, facets, np.ones_like(facets)), {"all": 1})


def exact_march(domain: Domain, reynolds: float, times: Sequence[float]) -> tuple[TransientSolver, TransientState]:
    """The march from the exact state at times[0], one step to each of the other times."""
    viscosity = 1 / reynolds

    def prescribed(time: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: np.array(exact_velocity(x, time, viscosity))

    solver = TransientSolver(domain, Boundaries({}, {}, {}), prescribed={"all": prescribed})
    velocity, pressure = fem.Function(solver.velocities), fem.Function(solver.pressures)
    velocity.interpolate(prescribed(times[0]))
    pressure.interpolate(lambda x: exact_pressure(x, times[0], viscosity))
    solver.start(velocity, pressure, times[0])
    for before, after in pairwise(times):
        state = solver.advance(reynolds, {}, after, step=after - before)
    return solver, state


def errors_in_space(across: Sequence[int], reynolds: float = 1.0) -> list[tuple[float, float]]:
    """The errors of velocity and pressure in L² at a fixed small time, against the exact solution, on finer cubes."""
    found = []
    for count in across:
        domain = cube(count)
        _, state = exact_march(domain, reynolds, np.linspace(0, 0.02, 9).tolist())
        x, dx = ufl.SpatialCoordinate(domain.mesh), domain.dx(8)
        off = state.velocity - ufl.as_vector(exact_velocity(x, state.time, 1 / reynolds, ufl))
        low = state.pressure - exact_pressure(x, state.time, 1 / reynolds, ufl)
        mean = domain.integral(low * dx) / 8
        found.append(
            (
                math.sqrt(domain.integral(ufl.inner(off, off) * dx)),
                math.sqrt(domain.integral((low - fem.Constant(domain.mesh, mean)) ** 2 * dx)),
            )
        )
    return found


def differences_in_time(counts: Sequence[int], reynolds: float, end: float, uneven: float = 1.0) -> list[float]:
    """How far the velocities of a march in so many steps, each count twice the one before, are from each other in L².

    So the error in space drops out. With `uneven` every other step is that much longer than the rest.
    """
    domain, velocities = cube(3), []
    for count in counts:
        lengths = np.where(np.arange(count) % 2 == 0, 1.0, uneven)
        times = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()]) * end
        _, state = exact_march(domain, reynolds, times.tolist())
        velocities.append(state.velocity)
    return [
        math.sqrt(domain.integral(ufl.inner(coarse - fine, coarse - fine) * domain.dx()))
        for coarse, fine in pairwise(velocities)
    ]


def order(errors: Sequence[float], refinement: float = 2.0) -> float:
    """The observed order of the last two errors."""
    return math.log(errors[-2] / errors[-1]) / math.log(refinement)


# -- the cylinder in a channel -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Channel:
    """A plane channel with a cylinder in it, all in its diameters."""

    height: float
    length: float
    x: float  # of the cylinder's axis, from the inlet
    y: float  # of it, from the lower wall

    def speed(self, x: np.ndarray) -> np.ndarray:
        """Poiseuille's, of mean 1."""
        return np.asarray(6 * x[1] * (self.height - x[1]) / self.height**2)

    @property
    def boundaries(self) -> Boundaries:
        """A developed inflow; the flow leaves freely."""
        return Boundaries({"inlet": self.speed}, {"outlet": 0.0}, {"wall": (), "cylinder": ()})


DFG = Channel(height=4.1, length=22.0, x=2.0, y=2.0)
STEADY = {"drag": 5.57953523384, "lift": 0.010618948146, "pressure": 0.11752016697}
UNSTEADY = {"strouhal": 0.301841, "lift": 2.007871, "drag": 3.227}


def cylinder_domain(near: float, far: float, comm: MPI.Comm = MPI.COMM_SELF, channel: Channel = DFG) -> Domain:
    """The channel in curved triangles, `near` and `far` the sizes at the cylinder and far off, in diameters."""
    with tempfile.TemporaryDirectory() as name:
        where = Path(comm.bcast(name)) / "cylinder.msh"
        if comm.rank == 0:
            gmsh.initialize(interruptible=False)
            try:
                gmsh.option.setNumber("General.Terminal", 0)
                _draw_cylinder(channel, near, far)
                gmsh.write(str(where))
            finally:
                gmsh.finalize()
        comm.barrier()
        domain = read_domain(where, comm)
        comm.barrier()
    return domain


def _draw_cylinder(channel: Channel, near: float, far: float) -> None:
    geo, model = gmsh.model.geo, gmsh.model
    at_x, at_y, length, height = channel.x, channel.y, channel.length, channel.height
    centre = geo.addPoint(at_x, at_y, 0)
    quarters = [(math.cos(turn), math.sin(turn)) for turn in np.arange(4) * math.pi / 2]
    ring = [geo.addPoint(at_x + x / 2, at_y + y / 2, 0) for x, y in quarters]
    arcs = [geo.addCircleArc(ring[i], centre, ring[(i + 1) % 4]) for i in range(4)]
    corners = [geo.addPoint(x, y, 0) for x, y in ((0, 0), (length, 0), (length, height), (0, height))]
    bottom, outlet, top, inlet = (geo.addLine(corners[i], corners[(i + 1) % 4]) for i in range(4))
    fluid = geo.addPlaneSurface([geo.addCurveLoop([bottom, outlet, top, inlet]), geo.addCurveLoop(arcs)])
    geo.synchronize()
    for name, curves in {"wall": [bottom, top], "outlet": [outlet], "inlet": [inlet], "cylinder": arcs}.items():
        model.addPhysicalGroup(1, curves, name=name)
    model.addPhysicalGroup(2, [fluid], name="fluid")
    for arc in arcs:
        model.mesh.setTransfiniteCurve(arc, math.ceil(math.pi / 4 / near) + 1)
    size = model.mesh.field
    away = size.add("Distance")
    size.setNumbers(away, "CurvesList", arcs)
    size.setNumber(away, "Sampling", 200)
    graded = size.add("MathEval")
    size.setString(graded, "F", f"{near} + {(far - near) / 4} * F{away}")
    wake = size.add("Box")
    inside = 0.4 * far + 1.2 * near
    edges = {"XMin": at_x, "XMax": at_x + 6, "YMin": at_y - 1, "YMax": at_y + 1, "Thickness": 2}
    for key, value in {"VIn": inside, "VOut": far, **edges}.items():
        size.setNumber(wake, key, value)
    least = size.add("Min")
    size.setNumbers(least, "FieldsList", [graded, wake])
    size.setAsBackgroundMesh(least)
    for source in ("ExtendFromBoundary", "FromPoints", "FromCurvature"):
        gmsh.option.setNumber(f"Mesh.MeshSize{source}", 0)
    gmsh.option.setNumber("Mesh.Algorithm", 6)
    model.mesh.generate(2)
    model.mesh.setOrder(2)


def _pressure_at(pressure: fem.Function, x: float, y: float) -> float:
    """The pressure at a vertex of the mesh, on a mesh of one rank."""
    points = pressure.function_space.tabulate_dof_coordinates()[:, :2]
    return float(pressure.x.array[np.argmin(np.linalg.norm(points - (x, y), axis=1))])


def steady_cylinder(near: float, far: float) -> dict[str, float]:
    """DFG 2D-1, Re 20: drag and lift coefficients, and the pressure over the cylinder in DFG's own unit."""
    domain = cylinder_domain(near, far)
    flow = SteadySolver(domain, DFG.boundaries).solve(20.0, {"inlet": DFG.height})
    drag, lift = 2 * force_on(domain, flow.velocity, flow.pressure, 20.0, "cylinder")
    across = _pressure_at(flow.pressure, 1.5, 2) - _pressure_at(flow.pressure, 2.5, 2)
    return {"drag": float(drag), "lift": float(lift), "pressure": 0.2**2 * across}


@dataclass(frozen=True)
class Shedding:
    """What a march of DFG 2D-2 gave: the last period's Strouhal number, lift and drag, and the steps it took."""

    strouhal: float
    lift_range: float
    largest_drag: float
    drift: float  # of the lift's range from one period to the next
    steps: int


def shedding_cylinder(
    near: float = 0.06, far: float = 0.4, step: float = 0.0125, develop: float = 33.0, measure: float = 14.0
) -> Shedding:
    """DFG 2D-2, Re 100. A crosswind behind the cylinder starts it; it settles in long steps, then in `step`."""
    domain = cylinder_domain(near, far)
    solver = TransientSolver(domain, DFG.boundaries)
    start = fem.Function(solver.velocities)
    start.interpolate(lambda x: np.array([DFG.speed(x), np.exp(-((x[0] - 3.5) ** 2) - (x[1] - 2) ** 2)]))
    solver.start(start, None)
    solver.advance(100.0, {"inlet": DFG.height}, develop, cfl=1.5)
    rows: list[tuple[float, float, float]] = []
    forces: list[Force] = []

    def record(state: TransientState) -> None:
        if not forces:
            forces.append(Force(domain, state.velocity, state.pressure, 100.0, "cylinder", state.change))
        drag, lift = 2 * forces[0].now()
        rows.append((state.time, float(drag), float(lift)))

    solver.advance(100.0, {"inlet": DFG.height}, develop + measure, step=step, each=record)
    time, drag, lift = np.array(rows).T
    turns, peaks = _extremes(time, lift)
    _, drags = _extremes(time, drag)
    ranges = np.abs(np.diff(peaks))
    return Shedding(
        float(1 / (turns[-1] - turns[-3])),
        float(ranges[-1]),
        float(drags[-4:].max()),
        float(ranges[-1] / ranges[-3] - 1),
        len(rows),
    )


def _extremes(time: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a smooth oscillation turns, and its values there."""
    spline = CubicSpline(time, values)
    turns = np.sort(spline.derivative().roots(extrapolate=False))
    return turns, spline(turns)


# -- the tables --------------------------------------------------------------------------------------------------------


def _steady_rows(near: float, far: float, tolerances: dict[str, float]) -> list[Check]:
    found = steady_cylinder(near, far)
    return [
        Check(f"DFG 2D-1, {name} / {STEADY[name]:.6g}", found[name] / STEADY[name], 1.0, tolerance, _DFG)
        for name, tolerance in tolerances.items()
    ]


def checks() -> list[Check]:
    """Order in time of the unsteady solver with even and uneven steps, and DFG 2D-1. Some seconds."""
    rows = [
        Check(f"order in time, {what} steps", order(differences_in_time(COUNTS, 1.0, 0.5, uneven)), 2.0, 0.1, _ETHIER)
        for what, uneven in (("even", 1.0), ("uneven", 1.5))
    ]
    return [*rows, *_steady_rows(0.03, 0.35, {"drag": 5e-4, "pressure": 5e-4, "lift": 2e-3})]


def heavy_checks() -> list[Check]:
    """The orders in space, DFG 2D-1 with its lift, and DFG 2D-2. Minutes."""
    velocity, pressure = zip(*errors_in_space((6, 12)), strict=True)
    shed = shedding_cylinder()
    return [
        Check("order in space of the velocity", order(velocity), 3.0, 0.2, _ETHIER),
        Check("order in space of the pressure", order(pressure), 2.0, 0.2, _ETHIER),
        *_steady_rows(0.02, 0.25, dict.fromkeys(STEADY, 5e-4)),
        Check("DFG 2D-2, Strouhal number / 0.301841", shed.strouhal / UNSTEADY["strouhal"], 1.0, 1e-2, _DFG),
        Check("DFG 2D-2, range of the lift / 2.007871", shed.lift_range / UNSTEADY["lift"], 1.0, 1e-2, _DFG),
        Check("DFG 2D-2, largest drag / 3.227", shed.largest_drag / UNSTEADY["drag"], 1.0, 1e-2, _DFG),
    ]
