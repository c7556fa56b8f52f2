"""The junction's core in Gmsh: where the bores meet, unstructured and graded towards walls and crotch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import gmsh
import numpy as np
from scipy.spatial import cKDTree

from twin.case.schema import Level
from twin.errors import BadInput
from twin.junction import Connector
from twin.meshing.adapt import Metric
from twin.meshing.bodies import Body, Layout, leaves_gap
from twin.meshing.budget import check_cells
from twin.meshing.grid import QUADRATIC, Grid, compressed, elements, gmsh_explained, nodes_of_model
from twin.meshing.stretch import stretched

_NEAR = 1e-6
_ON = 1e-4  # bores from a wall at which a point is on it
_DEEP = 0.4  # share of a bore from the wall at which elements have their full size
_WELL_CURVED = 0.2  # ratio of the Jacobians in an element below which the curved mesh is optimised again
_SPREAD = 1.0  # bores from the crotch over which they do


def plane_name(bores: int) -> str:
    """The boundary name of the cut plane that stands `bores` bores down the outlet."""
    return f"plane_{bores}"


@dataclass(frozen=True)
class Core:
    """The core's mesh: its boundaries by name, those where a bore goes on by the name of the body."""

    grid: Grid
    caps: dict[str, np.ndarray]

    def stretched(self, metric: Metric) -> Core:
        """The core with cells that follow a metric; its walls and caps stay."""
        grid = stretched(Grid(self.grid.points, self.grid.cells, self.grid.facets | self.caps), metric)
        return Core(grid, {name: grid.facets.pop(name) for name in self.caps})


def mesh_core(connector: Connector, level: Level, plan: Layout, metric: Metric | None = None) -> Core:
    """Draws the core in Gmsh's current model, meshes it, takes it out as arrays; a metric then stretches its cells."""
    cuts, rounded = _draw(connector, plan)
    check_cells(level, _DEEP, connector.name, "choose larger sizes in the level")
    crotch = level.crotch_size or level.wall_size
    if connector.fillet:
        graded = _graded(plan, level, _around(rounded, 3 * connector.fillet), min(crotch, connector.fillet))
    else:
        graded = _graded(plan, level, _meetings(plan.bodies), crotch)
    background(*graded, *([metric.to_gmsh()] if metric else []))
    with gmsh_explained(
        f"{connector.name} can't be meshed",
        "choose a finer level; if that won't help, change a bore or a fillet a little",
    ):
        generate()
    core = _taken(connector, plan, cuts)
    return core.stretched(metric) if metric else core


def generate(around: int = 0) -> None:
    """Second-order tetrahedra in the current model, with the background field that is set.

    On curved faces and edges they are smaller where a whole turn would have fewer than `around` of them.
    """
    for option in ("ExtendFromBoundary", "FromPoints"):
        gmsh.option.setNumber(f"Mesh.MeshSize{option}", 0)
    gmsh.option.setNumber("Mesh.MeshSizeFromCurvature", around)
    gmsh.option.setNumber("Mesh.Algorithm", 6)
    gmsh.option.setNumber("Mesh.ElementOrder", 1)
    # Raised by Gmsh itself, an error leaves it locked, and it meshes no more. Where an optimiser misses its goal it is
    # raised within threads, where no caller can catch it: the process would end.
    abort = gmsh.option.getNumber("General.AbortOnError")
    gmsh.option.setNumber("General.AbortOnError", 0)
    try:
        _fill()
        gmsh.model.mesh.optimize("Netgen")
        gmsh.model.mesh.setOrder(2)
        gmsh.model.mesh.optimize("HighOrderElastic")  # these leave the mesh at its best, and `Quality` judges that
        if _validity() < _WELL_CURVED:  # elasticity spreads a fold, this unfolds it, element by element
            gmsh.option.setNumber("Mesh.HighOrderThresholdMin", _WELL_CURVED)
            gmsh.model.mesh.optimize("HighOrder")
    finally:
        gmsh.option.setNumber("General.AbortOnError", abort)


def _fill() -> None:
    """Tetrahedra of first order in the current model; raises a bare Exception for an error, as Gmsh would."""
    gmsh.logger.start()
    gmsh.model.mesh.generate(3)
    errors = [line for line in gmsh.logger.get() if line.startswith("Error")]
    gmsh.logger.stop()
    if errors:
        raise Exception(errors[0].removeprefix("Error: "))
    if not gmsh.model.mesh.getElementTypes(3).size:
        raise BadInput("the sizes are too coarse to put any tetrahedron inside", "choose smaller sizes in the level")


def _validity() -> float:
    """The least ratio of Jacobian determinants within an element of the current model."""
    tags, _ = gmsh.model.mesh.getElementsByType(QUADRATIC[3])
    least, largest = (gmsh.model.mesh.getElementQualities(tags, name) for name in ("minDetJac", "maxDetJac"))
    return float((least / abs(largest)).min())


def background(*fields: int) -> None:
    """Sets the smallest of the fields as the element size."""
    smallest = gmsh.model.mesh.field.add("Min")
    gmsh.model.mesh.field.setNumbers(smallest, "FieldsList", fields)
    gmsh.model.mesh.field.setAsBackgroundMesh(smallest)


def near_curves(curves: list[int], size: float, far: float) -> int:
    """A size field: `size` on the curves, growing to `far` within a bore."""
    field = gmsh.model.mesh.field
    distance, threshold = field.add("Distance"), field.add("Threshold")
    field.setNumbers(distance, "CurvesList", curves)
    field.setNumber(distance, "Sampling", 60)
    for option, value in {
        "InField": distance,
        "SizeMin": size,
        "SizeMax": far,
        "DistMin": size,
        "DistMax": _SPREAD,
    }.items():
        field.setNumber(threshold, option, value)
    return int(threshold)


# -- geometry ----------------------------------------------------------------------------------------------------------


def _draw(connector: Connector, plan: Layout) -> tuple[list[float], np.ndarray]:
    """The core's volume in OCC; returns where planes cross the outlet in it, and points (n, 3) of rounded edges."""
    end = plan.core["outlet"]
    cuts = [float(bores) for bores in range(1, math.ceil(end)) if bores >= plan.clear]
    spans = list(zip(cuts, [*cuts[1:], end], strict=True)) if cuts else []
    with gmsh_explained(
        f"the bores of {connector.name} can't be joined",
        "change an offset or a bore a little, so that walls don't just touch each other",
    ):
        junction, rounded = _junction(connector, plan, cuts[0] if cuts else end)
        pieces = [_piece(plan.outlet, *span) for span in spans]
        volumes = gmsh.model.occ.fragment([junction], pieces)[0] if pieces else [junction]
        if connector.symmetric_half:
            reach = 4 * sum(body.length + body.diameter(body.length) for body in plan.bodies)
            half = (3, gmsh.model.occ.addBox(-reach / 2, 0, -reach / 2, reach, reach, reach))
            gmsh.model.occ.intersect([volume for volume in volumes if volume[0] == 3], [half])
        gmsh.model.occ.removeAllDuplicates()
        gmsh.model.occ.synchronize()
    return cuts, rounded


def _junction(connector: Connector, plan: Layout, outlet_end: float) -> tuple[tuple[int, int], np.ndarray]:
    """The arms and the outlet's start as one volume, and points of its edges that were rounded."""
    occ = gmsh.model.occ
    root = _piece(plan.outlet, 0.0, outlet_end)
    arms = [_piece(arm, 0.0, plan.core[arm.name]) for arm in plan.arms]
    joints = [joint for arm in plan.arms if (joint := _joint(arm, plan.bodies)) is not None]
    fused, _ = occ.fuse([root], [*arms, *joints])
    if len(fused) != 1:
        raise BadInput(f"the bores of {connector.name} don't join in one body", "choose smaller offsets")
    if connector.fillet == 0:
        return fused[0], np.empty((0, 3))
    occ.synchronize()
    edges = _sharp(plan.bodies)
    if not edges:
        raise BadInput(f"{connector.name} has no edge to round", "leave out the fillet")
    points = np.vstack([_along_curve(edge, 200) for edge in edges])
    with gmsh_explained(
        f"the edges of {connector.name} can't be rounded with a radius of {connector.fillet:g} bores",
        "choose another fillet, narrower than the shoulders that are left of the outlet's start, or arms narrower than"
        " the outlet: where equal bores meet, the edge runs out flat",
    ):
        rounded = occ.fillet([fused[0][1]], edges, [connector.fillet])
    return rounded[0], points


def _piece(body: Body, start: float, end: float) -> tuple[int, int]:
    """A bore from `start` to `end` as a volume."""
    occ = gmsh.model.occ
    origin, along = body.at(start), (end - start) * body.axis
    if body.round:
        radii = body.diameter(start) / 2, body.diameter(end) / 2
        if body.taper == 0:
            return (3, occ.addCylinder(*origin, *along, radii[0]))
        return (3, occ.addCone(*origin, *along, *radii))
    wires = []
    for s in (start, end):
        half = body.diameter(s) / 2
        corners = [
            body.at(s) + half * (u * body.aspect * body.across + v * body.sideways)
            for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        tags = [occ.addPoint(*corner) for corner in corners]
        wires.append(occ.addWire([occ.addLine(tags[i], tags[(i + 1) % 4]) for i in range(4)]))
    solids = [tag for tag in occ.addThruSections(wires, makeSolid=True, makeRuled=True) if tag[0] == 3]
    return solids[0]


def _joint(arm: Body, bodies: list[Body]) -> tuple[int, int] | None:
    """What an arm adds behind its start, up to the planes midway between it and the others; None where nothing.

    Bores that all lean the same way, as in an arrow, would leave a notch between their ends.
    """
    if not leaves_gap(bodies):
        return None
    occ = gmsh.model.occ
    reach = 2 * max(body.diameter(0.0) * max(1.0, body.aspect) for body in bodies)
    straight = Body(**{**arm.__dict__, "taper": 0.0})
    joint = [_piece(straight, -reach, 0.0)]
    for other in bodies:
        if other is arm:
            continue
        normal = arm.axis - other.axis
        joint, _ = occ.intersect(joint, [_half_space(normal / np.linalg.norm(normal), 4 * reach)])
        if not joint:
            return None
    return joint[0]


def _half_space(normal: np.ndarray, size: float) -> tuple[int, int]:
    """A large cube on the side of the origin to which `normal` points."""
    occ = gmsh.model.occ
    box = occ.addBox(-size / 2, -size / 2, 0, size, size, size)
    turn = np.cross([0, 0, 1], normal)
    angle = math.atan2(float(np.linalg.norm(turn)), float(normal[2]))
    axis = turn / np.linalg.norm(turn) if np.linalg.norm(turn) > _NEAR else np.array([1.0, 0.0, 0.0])
    if angle > _NEAR:
        occ.rotate([(3, box)], 0, 0, 0, *axis, angle)
    return (3, box)


def _meetings(bodies: list[Body]) -> list[int]:
    """The curves of the current model along which the walls of two bodies meet."""
    found = []
    for _, tag in gmsh.model.getEntities(1):
        points = _along_curve(tag, 9)
        on = [body for body in bodies if (abs(body.depth(points)) < _ON).all()]
        if len(on) > 1:
            found.append(tag)
    return found


def _sharp(bodies: list[Body]) -> list[int]:
    """The curves of the current model along which the fluid's edges point into it: on the surfaces of two bodies.

    A body's flat start is a part of its surface: where an arm narrower than the outlet enters that is a shoulder.
    Which two bodies these are may change along a curve, since OCC joins curves that continue each other.
    """
    found = []
    for _, tag in gmsh.model.getEntities(1):
        points = _along_curve(tag, 9)
        on = np.array([_on_surface(body, points) for body in bodies])
        if (on.sum(axis=0) > 1).all():
            found.append(tag)
    return found


def _on_surface(body: Body, points: np.ndarray) -> np.ndarray:
    """Whether each of the points (n, 3) lies on the wall or the flat start of a body."""
    depth = body.depth(points)
    at_start = abs((points - body.origin) @ body.axis) < _NEAR
    return np.asarray((abs(depth) < _ON) | (at_start & (depth > -_ON)))


def _around(points: np.ndarray, reach: float) -> list[int]:
    """The curves of the current model that run within `reach` of the points: the borders of the rounded edges."""
    tree = cKDTree(points)
    curves = [tag for _, tag in gmsh.model.getEntities(1)]
    return [tag for tag in curves if (tree.query(_along_curve(tag, 9))[0] < reach).all()]


def _along_curve(curve: int, number: int) -> np.ndarray:
    """Points (number, 3) along a curve of the current model."""
    low, high = gmsh.model.getParametrizationBounds(1, curve)
    return np.array(gmsh.model.getValue(1, curve, list(np.linspace(low[0], high[0], number)))).reshape(-1, 3)


# -- grading -----------------------------------------------------------------------------------------------------------


def _graded(plan: Layout, level: Level, edges: list[int], crotch: float) -> list[int]:
    """Size fields: fine at walls and crotch, and all over where the streams meet; coarser in the middle of bores."""
    wall, core = level.wall_size, level.core_size
    field = gmsh.model.mesh.field
    graded = field.add("MathEval")
    depth = _depth(plan.bodies)
    inner = 0.25 + 0.5 * max(1.0, plan.outlet.aspect)
    away = f"Max(0,Min(1,(Sqrt(x*x+y*y+(z-0.25)*(z-0.25))-{inner})/0.75))"
    field.setString(graded, "F", f"{wall}+({core}-{wall})*Min(1,{depth}/{_DEEP})*{away}")
    return [graded, near_curves(edges, crotch, max(wall, core))] if edges else [graded]


def _depth(bodies: list[Body]) -> str:
    """The depth below the nearest wall as a formula of Gmsh: the largest of those in the bodies around."""
    formula = "0"
    for body in bodies:
        s = _along(body.axis, body.origin)
        half = f"({body.bore / 2:.9f}+({body.taper / 2:.9f})*({s}))"
        if body.round:
            square = "+".join(f"({axis}-({c:.9f}))^2" for axis, c in zip("xyz", body.origin, strict=True))
            inside = f"{half}-Sqrt(Max(0,{square}-({s})^2))"
        else:
            across, sideways = (_along(axis, body.origin) for axis in (body.across, body.sideways))
            inside = f"Min({body.aspect:.9f}*{half}-Abs({across}),{half}-Abs({sideways}))"
        formula = f"Max({formula},{inside}-9*Max(0,-({s})))"
    return formula


def _along(axis: np.ndarray, origin: np.ndarray) -> str:
    return "+".join(f"({a:.9f})*({x}-({c:.9f}))" for x, a, c in zip("xyz", axis, origin, strict=True))


# -- out of Gmsh -------------------------------------------------------------------------------------------------------


def _taken(connector: Connector, plan: Layout, cuts: list[float]) -> Core:
    """The core as arrays, each of its faces named by where its nodes lie."""
    points, row = nodes_of_model()
    cells = elements(QUADRATIC[3], -1, row)
    ends = {body.name: (body.at(plan.core[body.name]), body) for body in plan.bodies}
    planes = {plane_name(round(cut)): (plan.outlet.at(cut), plan.outlet) for cut in cuts}
    facets: dict[str, list[np.ndarray]] = {}
    for _, tag in gmsh.model.getEntities(2):
        triangles = elements(QUADRATIC[2], tag, row)
        on = points[np.unique(triangles)]
        name = "symmetry" if connector.symmetric_half and (abs(on[:, 1]) < _NEAR).all() else "wall"
        for candidate, (centre, body) in (ends | planes).items():
            reach = 0.75 * body.diameter((centre - body.origin) @ body.axis) * max(1.0, body.aspect)
            flat = abs((on - centre) @ body.axis) < _NEAR
            if flat.all() and (np.linalg.norm(on - centre, axis=1) < reach).all():
                name = candidate
        facets.setdefault(name, []).append(triangles)
    grid = compressed(points, cells, {name: np.vstack(parts) for name, parts in facets.items()})
    caps = {body.name: grid.facets.pop(body.name) for body in plan.bodies if plan.core[body.name] < body.length}
    return Core(grid, caps)
