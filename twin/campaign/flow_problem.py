"""A flow case on one mesh, made dimensionless by its reference length and velocity."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem, la
from dolfinx import mesh as dmesh
from mpi4py import MPI

from twin.campaign.run import check_laminar
from twin.case import FlowCase
from twin.case.boundaries import Inlet, Outlet, Wall
from twin.case.tables import Formula, read_history, read_profile
from twin.errors import BadInput
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.flow.boundaries import Boundaries, Motion, Profile, Rotation, times, velocity_of
from twin.flow.inlets import Drawn, history, hydraulic_diameter, profile_flow, table_profile

ALONG = 1e-6  # of its speed: what a wall that slides along itself may have across, on average
FAR = 1e100  # by which a unit may be larger or smaller than 1 in SI: beyond it products are no numbers any more
ROUND = 2e-3  # the same of a curved wall, facet by facet: with facets of 50° one along itself has up to 1e-3
LEAK = 1e-10  # of a closed surface at the speed of its fastest wall: what may flow out through it


@dataclass(frozen=True)
class Scales:
    """The units of the computation in SI. `depth_m` is that of coefficients, None in 3-D where the case gives none."""

    dim: int
    length_m: float
    velocity_m_s: float
    density_kg_m3: float
    viscosity_m2_s: float
    depth_m: float | None

    @property
    def reynolds(self) -> float:
        """Re = U L/ν on the reference velocity and length."""
        return self.velocity_m_s * self.length_m / self.viscosity_m2_s

    @property
    def computable(self) -> bool:
        """Whether all units are far from the ends of what a number can be."""

        def within(*units: float) -> bool:
            return all(1 / FAR < unit < FAR for unit in units)

        given = self.velocity_m_s, self.length_m, self.density_kg_m3, self.viscosity_m2_s
        return within(*given) and within(self.reynolds, self.pressure_pa, self.flow, self.force, self.time_s)

    @property
    def pressure_pa(self) -> float:
        """ρU²."""
        return self.density_kg_m3 * self.velocity_m_s**2

    @property
    def area(self) -> float:
        """The unit of areas in m², in 2-D of lengths in m."""
        return self.length_m ** (self.dim - 1)

    @property
    def flow(self) -> float:
        """The unit of volume flows in m³/s, in 2-D in m²/s."""
        return self.velocity_m_s * self.area

    @property
    def force(self) -> float:
        """The unit of forces in N, in 2-D in N/m."""
        return self.pressure_pa * self.area

    @property
    def time_s(self) -> float:
        """L/U."""
        return self.length_m / self.velocity_m_s

    @property
    def coefficient(self) -> float | None:
        """½ρU² times the reference area, by which a force becomes a coefficient."""
        if self.dim == 2:
            return self.pressure_pa * self.length_m / 2
        return None if self.depth_m is None else self.pressure_pa * self.length_m * self.depth_m / 2


class FlowProblem:
    """Checks a case against its mesh and holds what the solvers need. All ranks raise the same `BadInput`, or none.

    The domain is rescaled in place: its coordinates are then in reference lengths.
    """

    def __init__(self, case: FlowCase, domain: Domain, unit_m: float) -> None:
        self.case, self.domain, self._unit_m = case, domain, unit_m
        self._check_names()
        self._check_dimension()
        resting = Boundaries(
            {name: self._profile(name) for name in case.boundaries.inlets},
            dict.fromkeys(case.boundaries.outlets, 0.0),
            dict.fromkeys(case.boundaries.walls, ()),
            tuple(case.boundaries.mirrors),
        )
        resting.check(domain)
        widths = {name: unit_m * hydraulic_diameter(domain, resting, name) for name in case.boundaries.outlets}
        self.outlet_diameters_m = {name: width if np.isfinite(width) else None for name, width in widths.items()}
        bounded = [width for width in self.outlet_diameters_m.values() if width is not None]
        self.length_m = case.flow.reference_length or max(bounded, default=unit_m)
        domain.mesh.geometry.x[:] *= unit_m / self.length_m
        #: With the walls' motions in m/s.
        self.shapes = replace(resting, walls={name: self._motion(name) for name in case.boundaries.walls})
        self._fastest = {name: self._fastest_on(name) for name in case.boundaries.walls}
        self._check_walls()
        area = self.length_m ** (domain.dim - 1)
        pressures = [outlet.pressure for outlet in case.boundaries.outlets.values()]
        #: The level of all pressures in Pa. The solvers see pressures above it: a march from rest starts from it.
        self.base_pa = float(np.mean(pressures or [0.0]))
        self.areas = {name: domain.area(name) * area for name, _ in case.boundaries.roles}
        self.rates = {name: self._rate(name, area) for name in case.boundaries.inlets}
        self._dragged = self._dragged_in(area) if self.rates else {}
        roles: tuple[Mapping[str, Inlet | Outlet | Wall], ...] = (
            case.boundaries.inlets,
            case.boundaries.outlets,
            case.boundaries.walls,
        )
        self._histories = {
            name: read_history(case.folder / one.history) for role in roles for name, one in role.items() if one.history
        }

    def scales(self, scale: float) -> Scales:
        """The units at a factor on all rates and wall velocities; `BadInput` where they are beyond all numbers."""
        case = self.case
        speed = case.flow.reference_velocity or self._outlet_velocity() or self._wall_velocity()
        if not speed > 0:
            raise BadInput("the flow has no velocity to refer to", "give flow.reference_velocity")
        depth = case.flow.reference_depth
        fluid = case.fluid
        scales = Scales(
            self.domain.dim,
            self.length_m,
            scale * speed,
            fluid.density_kg_m3,
            fluid.kinematic_viscosity_m2_s,
            depth,
        )
        if not scales.computable:
            raise BadInput(
                f"nothing can be computed with a velocity of {scales.velocity_m_s:.3g} m/s, a length of"
                f" {scales.length_m:.3g} m and Re {scales.reynolds:.3g}: too small, or too large, for numbers",
                "correct the rates, the bore, the density and the viscosity",
            )
        return scales

    def boundaries(self, scales: Scales, scale: float, time: float | None = None) -> Boundaries:
        """Those of the solvers: pressures in ρU² above `base_pa`, wall velocities in U; with their histories at a time
        in L/U, where one is given.
        """
        case, factors = self.case.boundaries, self._factors(scales, time)
        return Boundaries(
            self.shapes.inlets,
            {
                name: (outlet.pressure * factors.get(name, 1.0) - self.base_pa) / scales.pressure_pa
                for name, outlet in case.outlets.items()
            },
            {
                name: times(scale * factors.get(name, 1.0) / scales.velocity_m_s, motion)
                for name, motion in self.shapes.walls.items()
            },
            self.shapes.mirrors,
        )

    def flows(self, scales: Scales, scale: float, time: float | None = None) -> dict[str, float]:
        """The volume flows of the inlets in U·L², in 2-D in U·L, less what sliding walls drag in at their rims, which a
        profile in m/s leaves out; with histories as in `boundaries`.
        """
        factors, inlets = self._factors(scales, time), self.case.boundaries.inlets
        return {
            name: scale
            / scales.flow
            * (rate * factors.get(name, 1.0) - (self._dragged_by(name, factors) if inlets[name].scale else 0.0))
            for name, rate in self.rates.items()
        }

    def _factors(self, scales: Scales, time: float | None) -> dict[str, float]:
        if time is None:
            return {}
        return {name: history(*table, time * scales.time_s) for name, table in self._histories.items()}

    def outlet_reynolds(self, scales: Scales, flows: Mapping[str, float]) -> dict[str, float]:
        """Re of each outlet on its hydraulic diameter and its flow either way in m³/s, in 2-D m²/s."""
        widths = {name: width for name, width in self.outlet_diameters_m.items() if width is not None}
        speeds = {name: abs(flows[name]) / self.areas[name] for name in widths}
        return {name: speeds[name] * width / scales.viscosity_m2_s for name, width in widths.items()}

    def outlet_flows(self, scales: Scales, velocity: fem.Function) -> dict[str, float]:
        """What a velocity in U lets out through each outlet in m³/s, in 2-D m²/s."""
        return {name: self._through(velocity, name) * scales.flow for name in self.case.boundaries.outlets}

    def check_laminar(
        self, scales: Scales, scale: float, allowed: bool, flows: Mapping[str, float] | None = None
    ) -> None:
        """Raises `BadInput` where the flow may be turbulent: with the outlets' solved `flows` in m³/s, in 2-D m²/s, or
        before they are known with the mean velocity over all outlets.
        """
        if flows is None:
            speed = scale * self._outlet_velocity()
            flows = {name: speed * self.areas[name] for name in self.case.boundaries.outlets}
        try:
            check_laminar(scales.reynolds, f"{self.case.name}, on its reference length and velocity,", allowed)
            for name, reynolds in self.outlet_reynolds(scales, flows).items():
                check_laminar(reynolds, f'the outlet "{name}" of {self.case.name}', allowed)
        except BadInput as error:  # a mesh in mm that is read in m gives such a number as well
            size = " × ".join(f"{part:.3g}" for part in self._size_m())
            unit = f"or correct the bore, which is the length of the mesh's unit: the mesh measures {size} m"
            raise BadInput(error.message, f"{error.remedy}; {unit}") from None

    def _size_m(self) -> np.ndarray:
        """The edges of the mesh's bounding box in m, (dim,)."""
        points, gather = self.domain.mesh.geometry.x[:, : self.domain.dim], self.domain.comm.allgather
        low, high = points.min(axis=0, initial=np.inf), points.max(axis=0, initial=-np.inf)
        return (np.max(gather(high), axis=0) - np.min(gather(low), axis=0)) * self.length_m

    # -- what enters -------------------------------------------------------------------------------------------------

    def _profile(self, name: str) -> Profile:
        inlet = self.case.boundaries.inlets[name]
        if inlet.formula is not None:
            shape: Callable[[np.ndarray], np.ndarray] = Formula(inlet.formula)
        elif inlet.measured:
            table = read_profile(self.case.folder / inlet.profile)
            if table.dim != self.domain.dim:
                raise BadInput(
                    f"{inlet.profile} is of a {table.dim}-D mesh, and this one is {self.domain.dim}-D",
                    f"its columns must be {'x, y' if self.domain.dim == 2 else 'x, y, z'}, speed",
                )
            shape = table_profile(table.points, table.speeds)  # type: ignore[assignment]
        else:
            return "plug" if inlet.profile == "plug" else "developed"
        return functools.partial(self._in_mesh_units, shape)

    def _in_mesh_units(self, shape: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> np.ndarray:
        return shape(points * (self.length_m / self._unit_m))

    def _rate(self, name: str, area: float) -> float:
        """m³/s, in 2-D m²/s; of a profile in m/s what it lets in but for its rim, where the wall's speed adds to it."""
        inlet = self.case.boundaries.inlets[name]
        if not inlet.scale:
            return profile_flow(self.domain, self.shapes, name) * area
        if inlet.flow is None:
            return float(inlet.mean_velocity or 0.0) * self.areas[name]
        if inlet.flow.per_depth != (self.domain.dim == 2):
            wanted = "per metre of depth, in m^2/s" if self.domain.dim == 2 else "in m^3/s"
            raise BadInput(
                f'the flow of the inlet "{name}" has the wrong unit for a {self.domain.dim}-D mesh',
                f"give it {wanted}, or as mean_velocity",
            )
        return inlet.flow.value

    def _dragged_in(self, area: float) -> dict[str, dict[str, float]]:
        """What each wall that slides lets in at each inlet, in m³/s, in 2-D m²/s: at the rim, where its own speed
        holds, and of a developed one what it draws through all of it.
        """
        space, found = self._velocities(), {name: dict[str, float]() for name in self.rates}
        drawn = Drawn(self.domain, space, self.shapes)
        for wall in self._sliding():
            alone = self._alone(wall)
            entering = self._with_walls(space, alone, drawn.velocity(alone))
            for name, flows in found.items():
                flows[wall] = -self._through(entering, name) * area
        return found

    def _dragged_by(self, name: str, factors: Mapping[str, float]) -> float:
        """The same of all walls together, with factors on their velocities, in m³/s, in 2-D m²/s."""
        return sum(factors.get(wall, 1.0) * flow for wall, flow in self._dragged[name].items())

    def _sliding(self) -> list[str]:
        return [name for name, wall in self.case.boundaries.walls.items() if wall.moves]

    def _motion(self, name: str) -> Motion:
        """How a wall moves, in m/s, with places in reference lengths."""
        wall = self.case.boundaries.walls[name]
        if wall.rotation is None or wall.centre is None:
            return tuple(wall.velocity or ())
        x, y, z = wall.turn
        return Rotation(wall.rotation * self.length_m, tuple(at / self.length_m for at in wall.centre), (x, y, z))

    def _alone(self, moving: str) -> dict[str, Motion]:
        """The motions of the walls, with all but one at rest."""
        return {name: motion if name == moving else () for name, motion in self.shapes.walls.items()}

    def _fastest_on(self, name: str) -> float:
        """The largest speed on a wall in m/s."""
        space = self._velocities()
        points = space.tabulate_dof_coordinates()[self.domain.dofs(space, name)]
        speeds = np.zeros((len(points), self.domain.dim)) + velocity_of(self.shapes.walls[name], points)
        return self._largest(np.linalg.norm(speeds, axis=1))

    def _largest(self, values: np.ndarray) -> float:
        """Over all ranks."""
        return float(self.domain.comm.allreduce(float(values.max(initial=0.0)), op=MPI.MAX))

    def _velocities(self) -> fem.FunctionSpace:
        mesh = self.domain.mesh
        return fem.functionspace(mesh, basix.ufl.element("Lagrange", mesh.basix_cell(), 2, shape=(self.domain.dim,)))

    def _with_walls(
        self, space: fem.FunctionSpace, walls: Mapping[str, Motion], elsewhere: np.ndarray | float = 0.0
    ) -> fem.Function:
        """The velocities of walls, and what is elsewhere, (nodes, dim). Where two walls meet, the last one wins."""
        velocity = fem.Function(space)
        values = velocity.x.array.reshape(-1, self.domain.dim)
        values[:], nodes = elsewhere, space.tabulate_dof_coordinates()
        for name, motion in walls.items():
            dofs = self.domain.dofs(space, name)
            values[dofs] = velocity_of(motion, nodes[dofs])
        return velocity

    def _through(self, velocity: Any, *names: str) -> float:
        """The flow of a velocity out through boundaries, in m/s times areas in the mesh's present unit."""
        return self.domain.integral(ufl.dot(velocity, ufl.FacetNormal(self.domain.mesh)) * self.domain.ds(*names))

    def _outlet_velocity(self) -> float:
        area = sum(self.areas[name] for name in self.case.boundaries.outlets)
        dragged = sum(self._dragged_by(name, {}) for name in self.rates if not self.case.boundaries.inlets[name].scale)
        return abs(sum(self.rates.values()) + dragged) / area if area else 0.0

    def _wall_velocity(self) -> float:
        return max(self._fastest.values(), default=0.0)

    # -- the mesh and the case ---------------------------------------------------------------------------------------

    def _check_names(self) -> None:
        domain = self.domain
        self.case.boundaries.check_names(domain.tags)
        exterior = dmesh.exterior_facet_indices(domain.mesh.topology)
        told = np.concatenate([domain.facets.find(domain.tags[name]) for name, _ in self.case.boundaries.roles])
        rest = np.setdiff1d(exterior, told)
        if bare := domain.comm.allreduce(len(rest)):
            raise BadInput(
                f"{bare} facets of the mesh's surface belong to no named boundary",
                "put every surface (in 2-D: curve) into a physical group with a name",
            )

    def _check_walls(self) -> None:
        """Raises `BadInput` unless walls slide along themselves and along mirrors, and what closes a flow is tight."""
        space, leaks = self._velocities(), dict[str | None, float]()  # walls of one history move together
        everything = [name for name, _ in self.case.boundaries.roles]
        for name in self._sliding():
            self._check_along_itself(name, space)
            wall, alone = self.case.boundaries.walls[name], self._with_walls(space, self._alone(name))
            for mirror in self.shapes.mirrors:
                across = np.abs(alone.x.array.reshape(-1, self.domain.dim) @ self.domain.normal(mirror))
                both = np.intersect1d(self.domain.dofs(space, name), self.domain.dofs(space, mirror))
                if self._largest(across[both]) > ALONG * self._fastest[name]:
                    raise BadInput(
                        f'the wall "{name}" moves across the mirror plane "{mirror}", and its image against it',
                        "mesh the whole, or give the wall a velocity along the plane",
                    )
            if self.case.boundaries.closed:
                leaks[wall.history] = leaks.get(wall.history, 0.0) + self._through(alone, *everything)
        area = sum(self.domain.area(name) for name in everything)
        if max(map(abs, leaks.values()), default=0.0) > LEAK * self._wall_velocity() * area:
            raise BadInput(
                "more flows out than in where sliding walls meet others, and the flow is closed",
                "name the sliding walls first: where two walls meet, the last one wins, and a resting one is tight;"
                " between two sliding ones that meet at an angle leave a strip at rest",
            )

    def _check_along_itself(self, name: str, space: fem.FunctionSpace) -> None:
        """Raises `BadInput` where fluid would pass through a wall that slides, with `ALONG` or `ROUND`."""
        domain, motion, n = self.domain, self.shapes.walls[name], ufl.FacetNormal(self.domain.mesh)
        wall = fem.Function(space)
        wall.x.array.reshape(-1, domain.dim)[:] = velocity_of(motion, space.tabulate_dof_coordinates())
        ds, area = domain.ds(name), domain.area(name)
        mean = np.array([domain.integral(n[i] * ds) for i in range(domain.dim)]) / area
        if flat := float(np.linalg.norm(mean)) > 1 - ALONG:
            through = domain.integral(abs(ufl.dot(wall, n)) * ds)
        else:
            through = self._through_facets(wall, name)
        if through <= (ALONG if flat else ROUND) * domain.integral(ufl.sqrt(ufl.dot(wall, wall)) * ds):
            return
        closed = self.case.boundaries.closed
        if isinstance(motion, Rotation):
            raise BadInput(
                f'the wall "{name}" is not round about its centre: fluid would pass through it as it turns',
                "correct its centre, in 3-D its axis too; a round wall needs a mesh of second order",
            )
        raise BadInput(
            f'the wall "{name}" does not slide along itself'
            + (", and the flow is closed" if closed else ": fluid would pass through it"),
            "give it a velocity along the wall, or "
            + ("name an inlet and an outlet" if closed else "make it an inlet: its rate may be negative"),
        )

    def _through_facets(self, velocity: fem.Function, name: str) -> float:
        """What passes the facets of a boundary either way, each on the whole, in m/s times areas in reference lengths.

        On the whole, since curved facets of second order are not quite along a round wall between their nodes.
        """
        domain, cells = self.domain, fem.functionspace(self.domain.mesh, ("DG", 0))
        form = ufl.dot(velocity, ufl.FacetNormal(domain.mesh)) * ufl.TestFunction(cells) * domain.ds(name)
        through = fem.assemble_vector(compiled(form))
        through.scatter_reverse(la.InsertMode.add)
        owned = cells.dofmap.index_map.size_local
        return float(domain.comm.allreduce(np.abs(through.array[:owned]).sum()))

    def _check_dimension(self) -> None:
        dim, words = self.domain.dim, []
        for name, wall in self.case.boundaries.walls.items():
            if wall.velocity is not None and len(wall.velocity) != dim:
                words.append(f"the velocity of the wall {name}")
            if wall.centre is not None and len(wall.centre) != dim:
                words.append(f"the centre of the wall {name}")
            if wall.rotation is not None and (wall.axis is None) == (dim == 3):
                raise BadInput(
                    f'the wall "{name}" turns about {"no axis" if dim == 3 else "an axis, in the plane"}',
                    "give it one, e.g. axis = [0, 0, 1]" if dim == 3 else "leave it out: it is square to the mesh",
                )
        words += [name for name, point in self.case.output.points.items() if len(point) != dim]
        if words:
            raise BadInput(f"the mesh is {dim}-D, and {', '.join(words)} is not", f"give {dim} numbers")
