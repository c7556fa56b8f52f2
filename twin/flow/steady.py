"""Steady Navier–Stokes: Taylor–Hood P2–P1, Newton with continuation in Re, pseudo-time marching where Newton fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from petsc4py import PETSc

from twin.errors import NotConverged
from twin.fem import _compat
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.fem.linear import DirectSolver
from twin.fem.storage import from_nodal

TOLERANCE = 1e-8  # of the residual, relative to that of the boundary data alone
MOST_NEWTON = 12
MOST_MARCH = 60
QUADRATURE = 4
STREAMLINE = 0.5  # of the streamline-diffusion time; the usual size for second-degree elements
GRAD_DIV = 0.1
INLETS = ("antisolvent", "precursor")

Watch = Callable[[str], None]


@dataclass
class FlowSolution:
    """A converged field: velocity in U, pressure in ρU², with how it was reached."""

    velocity: fem.Function
    pressure: fem.Function
    reynolds: float
    precursor_share: float
    status: str
    residual: float
    iterations: int
    pressure_drop: dict[str, float] = field(default_factory=dict)


class SteadySolver:
    """Solves one junction at any number of operating points, each from the nearest one before it."""

    def __init__(self, domain: Domain, watch: Watch = lambda line: None) -> None:
        self.domain = domain
        self._watch = watch
        cell = domain.mesh.basix_cell()
        velocity = basix.ufl.element("Lagrange", cell, 2, shape=(3,))
        pressure = basix.ufl.element("Lagrange", cell, 1)
        self._space = fem.functionspace(domain.mesh, basix.ufl.mixed_element([velocity, pressure]))
        self._velocities, self._velocity_map = self._space.sub(0).collapse()
        self._pressures, self._pressure_map = self._space.sub(1).collapse()
        self._quadratic_pressures = fem.functionspace(domain.mesh, basix.ufl.element("Lagrange", cell, 2))
        self._state = fem.Function(self._space)
        self._before = fem.Function(self._velocities)
        self._viscosity = fem.Constant(domain.mesh, 1.0)
        self._inertia = fem.Constant(domain.mesh, 0.0)
        self._inlet = {name: fem.Function(self._velocities) for name in INLETS}
        self._profiles = {name: self._unit_profile(name) for name in INLETS}
        self._conditions = self._boundary_conditions()
        self._residual, self._jacobian = self._forms()
        self._matrix: PETSc.Mat | None = None
        self._solver: DirectSolver | None = None
        self._reached = 0.0  # the Reynolds number of the state; 0 is rest
        self._iterations = 0

    def solve(self, reynolds: float, precursor_share: float) -> FlowSolution:
        """The steady flow at a Reynolds number with this share of the precursor in the outlet's flow.

        Starts from the state of the last call. Raises `NotConverged` where neither Newton nor marching gets there.
        """
        self._iterations = 0
        self._set_inlets(precursor_share)
        began = self._state.x.array.copy()
        try:
            status, residual = "steady", self._continue_to(reynolds)
        except NotConverged as failure:
            self._watch(f"{failure.message}; marching in pseudo-time")
            self._state.x.array[:] = began
            status, residual = "marched", self._march(reynolds)
            self._reached = reynolds
        velocity, pressure = self._state.sub(0).collapse(), self._state.sub(1).collapse()
        drops = {name: self._pressure_drop(pressure, name) for name in INLETS}
        return FlowSolution(velocity, pressure, reynolds, precursor_share, status, residual, self._iterations, drops)

    def start_from_nodal(self, velocity: np.ndarray, pressure: np.ndarray, reynolds: float) -> None:
        """Takes the nodal values of an earlier solution, (nodes, 3) and (nodes,), as the start of the next `solve`."""
        fields = fem.Function(self._velocities), fem.Function(self._quadratic_pressures)
        for values, function in zip((velocity, pressure), fields, strict=True):
            from_nodal(self.domain, values, function)
        linear = fem.Function(self._pressures)
        linear.interpolate(fields[1])
        self._state.x.array[self._velocity_map] = fields[0].x.array
        self._state.x.array[self._pressure_map] = linear.x.array
        self._reached = reynolds

    def forget(self) -> None:
        """Starts the next `solve` from rest, as after a failure."""
        self._state.x.array[:] = 0.0
        self._reached = 0.0

    # -- the discrete problem ----------------------------------------------------------------------------------------

    def _forms(self) -> tuple[fem.Form, fem.Form]:
        u, p = ufl.split(self._state)
        v, q = ufl.TestFunctions(self._space)
        dx = self.domain.dx(QUADRATURE)
        nu = self._viscosity
        convection = ufl.dot(ufl.grad(u), u)
        galerkin = (
            ufl.inner(self._inertia * (u - self._before) + convection, v)
            + nu * ufl.inner(ufl.grad(u), ufl.grad(v))
            - p * ufl.div(v)
            - q * ufl.div(u)
        )
        # Streamline diffusion of the whole momentum residual: it vanishes with it, so the order is kept, and a mesh
        # that is too coarse for the shear layers at high Re no longer rings. Grad-div keeps mass cell by cell.
        strong = self._inertia * (u - self._before) + convection - nu * ufl.div(ufl.grad(u)) + ufl.grad(p)
        h = (2**0.5 * abs(ufl.JacobianDeterminant(self.domain.mesh))) ** (1 / 3)
        speed2 = ufl.dot(u, u)
        rates = 4 * speed2 / h**2 + (36 * nu / h**2) ** 2 + 4 * self._inertia**2
        tau = STREAMLINE / ufl.sqrt(rates)
        stabilised = tau * ufl.inner(strong, ufl.dot(ufl.grad(v), u)) + GRAD_DIV * ufl.div(u) * ufl.div(v)
        residual = (galerkin + stabilised) * dx
        return compiled(residual), compiled(ufl.derivative(residual, self._state))

    def _boundary_conditions(self) -> list[fem.DirichletBC]:
        spaces = (self._space.sub(0), self._velocities)
        at_rest = fem.Function(self._velocities)
        conditions = [
            fem.dirichletbc(self._inlet[name], self.domain.dofs(spaces, name), self._space.sub(0)) for name in INLETS
        ]
        if "symmetry" in self.domain.tags:
            # The mirror plane is y = 0: no flow through it, no shear on it.
            normal = self._space.sub(0).sub(1)
            zero = fem.Function(normal.collapse()[0])
            dofs = self.domain.dofs((normal, zero.function_space), "symmetry")
            conditions.append(fem.dirichletbc(zero, dofs, normal))
        # Last, so that at the rim of an inlet the wall wins.
        conditions.append(fem.dirichletbc(at_rest, self.domain.dofs(spaces, "wall"), self._space.sub(0)))
        return conditions

    def _unit_profile(self, name: str) -> fem.Function:
        """Developed flow into a round inlet, scaled to a discrete volume flow of one half or whole bore area·U."""
        domain = self.domain
        ds = domain.ds(name, degree=QUADRATURE)
        one = fem.Constant(domain.mesh, 1.0)
        area = domain.integral(one * ds)
        x, n = ufl.SpatialCoordinate(domain.mesh), ufl.FacetNormal(domain.mesh)
        centre = np.array([domain.integral(x[i] * ds) for i in range(3)]) / area
        normal = np.array([domain.integral(n[i] * ds) for i in range(3)]) / area
        if "symmetry" in domain.tags:
            centre[1] = 0.0
            area *= 2
        radius2 = area / np.pi

        def profile(points: np.ndarray) -> np.ndarray:
            away = points - centre[:, None]
            away -= normal[:, None] * (normal @ away)
            speed = np.maximum(0.0, 1 - (away**2).sum(axis=0) / radius2)
            return -normal[:, None] * speed

        function = fem.Function(self._velocities)
        facet_cells = fem.locate_dofs_topological(self._velocities, 2, domain.facets.find(domain.tag(name)))
        whole = fem.Function(self._velocities)
        whole.interpolate(profile)
        block = self._velocities.dofmap.index_map_bs
        for component in range(block):
            function.x.array[facet_cells * block + component] = whole.x.array[facet_cells * block + component]
        walls = domain.dofs(self._velocities, "wall")
        for component in range(block):
            function.x.array[walls * block + component] = 0.0
        function.x.scatter_forward()
        inflow = -domain.integral(ufl.dot(function, n) * ds)
        function.x.array[:] *= self._bulk_flow() / inflow
        return function

    def _bulk_flow(self) -> float:
        """The outlet's volume flow in bore²·U: its area, as its mean velocity is one."""
        one = fem.Constant(self.domain.mesh, 1.0)
        return self.domain.integral(one * self.domain.ds("outlet", degree=QUADRATURE))

    def _set_inlets(self, precursor_share: float) -> None:
        for name, share in (("antisolvent", 1 - precursor_share), ("precursor", precursor_share)):
            self._inlet[name].x.array[:] = share * self._profiles[name].x.array

    def _pressure_drop(self, pressure: fem.Function, inlet: str) -> float:
        """Mean pressure of an inlet over that of the outlet, in ρU²."""
        one = fem.Constant(self.domain.mesh, 1.0)
        means = []
        for name in (inlet, "outlet"):
            ds = self.domain.ds(name)
            means.append(self.domain.integral(pressure * ds) / self.domain.integral(one * ds))
        return means[0] - means[1]

    # -- the iterations ----------------------------------------------------------------------------------------------

    def _continue_to(self, reynolds: float) -> float:
        """Newton at `reynolds`; where it fails, smaller steps from the last Reynolds number that converged."""
        good = self._state.x.array.copy()
        here, step = self._reached, reynolds - self._reached
        while True:
            target = reynolds if abs(here + step - reynolds) < 1e-9 else here + step
            self._viscosity.value = 1 / target
            try:
                residual = self._newton(f"Re {target:.0f}")
            except NotConverged:
                self._state.x.array[:] = good
                step /= 2
                if abs(step) < 0.02 * reynolds:
                    raise NotConverged(f"Newton's continuation stalls at Re {here:.0f}") from None
                continue
            good[:] = self._state.x.array
            here = self._reached = target
            if here == reynolds:
                return residual
            step = min(1.5 * step, reynolds - here, key=abs)

    def _march(self, reynolds: float) -> float:
        """Implicit Euler in pseudo-time with a growing step, to the same residual that Newton must reach."""
        self._viscosity.value = 1 / reynolds
        step, residual = 0.05, np.inf
        for _ in range(MOST_MARCH):
            good = self._state.x.array.copy()
            self._before.x.array[:] = good[self._velocity_map]
            self._inertia.value = 1 / step
            try:
                self._newton(f"pseudo-time step {step:.3g}", most=6)
            except NotConverged:
                self._state.x.array[:] = good
                step /= 4
                continue
            self._inertia.value = 0.0
            residual = self._norm_of_residual()
            if residual < TOLERANCE or step > 50:
                self._inertia.value = 0.0
                return self._newton(f"Re {reynolds:.0f} after marching")
            step *= 2
        self._inertia.value = 0.0
        raise NotConverged(
            f"no steady flow was found at Re {reynolds:.0f} (residual {residual:.1e} after marching)",
            "use a finer level, or lower flows: the flow may be unsteady",
        )

    def _norm_of_residual(self) -> float:
        vector = self._assemble_residual()
        norm = vector.norm()
        vector.destroy()
        return norm

    def _assemble_residual(self) -> PETSc.Vec:
        vector = self._state.x.petsc_vec.duplicate()
        _compat.zero_entries(vector)
        petsc.assemble_vector(vector, self._residual)
        petsc.apply_lifting(vector, [self._jacobian], bcs=[self._conditions], x0=[self._state.x.petsc_vec], alpha=-1.0)
        vector.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        petsc.set_bc(vector, self._conditions, self._state.x.petsc_vec, -1.0)
        return vector

    def _factored(self) -> DirectSolver:
        """The direct solver of the Jacobian at the present state. Matrix and ordering are made once."""
        self._matrix = _compat.assemble_matrix(self._jacobian, self._conditions, self._matrix)
        if self._solver is None:
            self._solver = DirectSolver(self._matrix, "the flow")
        else:
            self._solver.matrix_changed()
        return self._solver

    def _newton(self, what: str, most: int = MOST_NEWTON) -> float:
        """Newton's method with a full step; returns the last residual norm or raises `NotConverged`."""
        history: list[float] = []
        for iteration in range(most + 1):
            right = self._assemble_residual()
            history.append(right.norm())
            self._watch(f"{what}: Newton {iteration}, residual {history[-1]:.2e}")
            if history[-1] < TOLERANCE:
                right.destroy()
                return history[-1]
            if not np.isfinite(history[-1]) or history[-1] > 50 * min(history) or iteration == most:
                right.destroy()
                break
            change = self._state.x.petsc_vec.duplicate()
            self._factored().solve(right, change)
            self._state.x.petsc_vec.axpy(-1.0, change)
            self._state.x.scatter_forward()
            right.destroy()
            change.destroy()
            self._iterations += 1
        tail = ", ".join(f"{norm:.1e}" for norm in history[-4:])
        raise NotConverged(f"Newton did not converge at {what} (last residuals {tail})", "use a finer level")
