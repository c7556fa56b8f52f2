"""The numbers of a flow: what passes each boundary, pressures, forces, probes, lines."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

from twin.campaign.flow_problem import FlowProblem, Scales
from twin.fem.domain import Domain
from twin.fem.forms import compiled
from twin.files import whole
from twin.flow.boundaries import Rotation
from twin.flow.forces import Force
from twin.flow.probes import Probes
from twin.flow.shear import WallShear, wall_shear
from twin.flow.turns import turns_along

STILL = 1e-9  # of the reference flow: where less enters, nothing does


class Points:
    """The probes and lines of a case, found in the mesh once."""

    def __init__(self, problem: FlowProblem) -> None:
        output, length, dim = problem.case.output, problem.length_m, problem.domain.dim
        self.at_m = {name: list(point) for name, point in output.probes.items()}
        points = np.array([*self.at_m.values()]).reshape(-1, dim) / length
        self.probes = Probes(problem.domain, points, [*self.at_m], length)
        self.lines: dict[str, tuple[np.ndarray, Probes]] = {}
        for name, line in output.lines.items():
            share = np.linspace(0, 1, line.points)[:, None]
            line_points = (1 - share) * np.array(line.start) + share * np.array(line.end)
            names = [f"{index + 1} of the line {name}" for index in range(line.points)]
            self.lines[name] = line_points, Probes(problem.domain, line_points / length, names, length)


class Sample:
    """Takes the numbers of a case, in SI, from one pair of fields in units of `scales`, as often as they change.

    `change` is ∂u/∂t of an unsteady flow, None of a steady one.
    """

    def __init__(
        self,
        problem: FlowProblem,
        points: Points,
        scales: Scales,
        velocity: fem.Function,
        pressure: fem.Function,
        change: fem.Function | None = None,
    ) -> None:
        self._problem, self._points, self._scales = problem, points, scales
        self._velocity, self._pressure, self._change = velocity, pressure, change
        self._output, self._roles = problem.case.output, dict(problem.case.boundaries.roles)
        domain = problem.domain
        normal = ufl.FacetNormal(domain.mesh)
        self._flow = {name: _integral(domain, ufl.dot(velocity, normal) * domain.ds(name)) for name in self._roles}
        self._push = {
            name: _integral(domain, pressure * domain.ds(name))
            for name, role in self._roles.items()
            if role in ("inlet", "outlet")
        }
        self._facing = {
            name: np.array([_integral(domain, part * domain.ds(name))() for part in normal]) * scales.area
            for name in self._output.forces
        }
        turns = {name: problem.shapes.walls[name] for name in self._output.forces}
        #: The rotations, and the torque in reference lengths times m², in 2-D m, of a pressure of 1 Pa.
        self._twisting = {
            name: (turn, domain.integral(ufl.dot(_lever(domain, turn), normal) * domain.ds(name)) * scales.area)
            for name, turn in turns.items()
            if isinstance(turn, Rotation)
        }
        fields = velocity, pressure, scales.reynolds
        self._force = {name: Force(domain, *fields, name, change) for name in self._output.forces}
        space = velocity.function_space
        self._entering = {name: domain.dofs(space, name) for name in problem.case.boundaries.inlets}

    def shear(self) -> dict[str, WallShear]:
        """The shear on each wall that the case wants it of: places in m, shear in Pa."""
        problem, scales = self._problem, self._scales
        fields = self._velocity, self._pressure, scales.reynolds
        return {
            name: wall_shear(problem.domain, *fields, name, self._change).scaled(scales.length_m, scales.pressure_pa)
            for name in self._output.shear
        }

    def numbers(self, shear: Mapping[str, WallShear], before: float = 0.0) -> dict[str, Any]:
        """All of a record's numbers; the shear is that of `shear()`, `before` the largest inflow that there was, in
        m³/s, in 2-D m²/s.
        """
        boundaries = self._boundaries()
        probes = self._probes()
        return {
            "boundaries": boundaries,
            "balance": self._balance([one["flow"] for one in boundaries.values()], before),
            "forces": self._forces(),
            "shear": {
                name: {
                    "largest_pa": one.largest,
                    "mean_pa": one.mean,
                    "turns": [{"kind": kind, "at_m": place.tolist()} for kind, place in one.turns()],
                }
                for name, one in shear.items()
            },
            "probes": probes,
            "pressure_differences_pa": self._differences(probes),
            "lines": {name: self._line(*line) for name, line in self._points.lines.items()},
        }

    def row(self) -> dict[str, float]:
        """The numbers of one moment of a time series."""
        pressures = self._mean_pressures()
        inlets = self._problem.case.boundaries.inlets
        found = {f"pressure drop {name} Pa": pressures[name] - self._after(pressures) for name in inlets}
        unit = "m^3/s" if self._scales.dim == 3 else "m^2/s"
        found |= {f"flow {name} {unit}": self._flow[name]() * self._scales.flow for name in self._push}
        unit = "N" if self._scales.dim == 3 else "N/m"
        for name, one in self._forces().items():
            found |= {f"force {name} {axis} {unit}": value for axis, value in zip("xyz", one["force"], strict=False)}
            for axis, value in zip("xyz", one["coefficient"] or (), strict=False):
                found[f"coefficient {name} {axis}"] = value
            if "torque" in one:
                found[f"torque {name} {unit.replace('N', 'N m')}"] = one["torque"]
        probes = self._probes()
        for name, one in probes.items():
            for axis, value in zip("xyz", one["velocity_m_s"], strict=False):
                found[f"velocity {name} {axis} m/s"] = value
            found[f"pressure {name} Pa"] = one["pressure_pa"]
        differences = self._differences(probes)
        return found | {f"pressure difference {name} Pa": value for name, value in differences.items()}

    def _boundaries(self) -> dict[str, Any]:
        pressures, found = self._mean_pressures(), {}
        for name, role in self._roles.items():
            flow = self._flow[name]() * self._scales.flow
            one: dict[str, Any] = {"role": role, "area": self._problem.areas[name], "flow": flow}
            if name in pressures:
                one["pressure_pa"] = pressures[name]
            if role == "inlet":
                one["pressure_drop_pa"] = pressures[name] - self._after(pressures)
                one["peak_m_s"] = self._peak(name) * self._scales.velocity_m_s
            found[name] = one
        return found

    def _line(self, points: np.ndarray, probes: Probes) -> dict[str, Any]:
        """The samples at points in m, (n, dim), and where the velocity along the line turns."""
        length, samples = self._scales.length_m, np.asarray(probes.sample(self._velocity))
        turns = turns_along(self._problem.domain, self._velocity, points / length, samples)
        return {
            "at_m": points.tolist(),
            "velocity_m_s": (samples * self._scales.velocity_m_s).tolist(),
            "pressure_pa": self._pressures_at(probes).tolist(),
            "turns": [
                {
                    "kind": kind,
                    "at_m": (place * length).tolist(),
                    "from_start_m": float(np.linalg.norm(place * length - points[0])),
                }
                for kind, place in turns
            ],
        }

    def _balance(self, flows: list[float], before: float) -> dict[str, Any]:
        """What is lost or gained, over the largest inflow; over the reference flow where nothing enters."""
        inflow, net = -sum(flow for flow in flows if flow < 0), sum(flows)
        most = max(inflow, before)
        still = self._problem.case.boundaries.closed or most < STILL * self._scales.flow
        return {
            "inflow": inflow,
            "largest_inflow": most,
            "net": net,
            "relative": net / (self._scales.flow if still else most),
            "over": "reference flow" if still else "largest flow in",
        }

    def _peak(self, name: str) -> float:
        """The largest speed at the nodes of an inlet."""
        domain = self._problem.domain
        speeds = np.linalg.norm(self._velocity.x.array.reshape(-1, domain.dim)[self._entering[name]], axis=1)
        return float(domain.comm.allreduce(speeds.max(initial=0.0), op=MPI.MAX))

    def _mean_pressures(self) -> dict[str, float]:
        scale = self._scales.pressure_pa * self._scales.area
        base = self._problem.base_pa
        return {name: base + push() * scale / self._problem.areas[name] for name, push in self._push.items()}

    def _after(self, pressures: dict[str, float]) -> float:
        """The mean pressure of the outlets, weighted by their areas."""
        areas = {name: self._problem.areas[name] for name in self._problem.case.boundaries.outlets}
        return sum(pressures[name] * area for name, area in areas.items()) / sum(areas.values())

    def _probes(self) -> dict[str, Any]:
        if not self._points.at_m:
            return {}
        speeds = self._points.probes.sample(self._velocity) * self._scales.velocity_m_s
        pressures = self._pressures_at(self._points.probes)
        return {
            name: {"at_m": at, "velocity_m_s": speed.tolist(), "pressure_pa": float(value)}
            for (name, at), speed, value in zip(self._points.at_m.items(), speeds, pressures, strict=True)
        }

    def _pressures_at(self, points: Probes) -> np.ndarray:
        return points.sample(self._pressure) * self._scales.pressure_pa + self._problem.base_pa

    def _differences(self, probes: dict[str, Any]) -> dict[str, float]:
        pairs = self._output.pressure_differences.items()
        return {name: probes[one]["pressure_pa"] - probes[other]["pressure_pa"] for name, (one, other) in pairs}

    def _forces(self) -> dict[str, Any]:
        """The fluid's force on each wall in N, in 2-D in N/m, its coefficients where the case gives an area, and of one
        with a rotation the torque about its axis.
        """
        found, over = {}, self._scales.coefficient
        for name, one in self._force.items():
            force = one.now() * self._scales.force + self._problem.base_pa * self._facing[name]
            coefficient = None if over is None else (force / over).tolist()
            found[name] = {"force": force.tolist(), "coefficient": coefficient}
            if name in self._twisting:
                turn, twisting = self._twisting[name]
                torque = one.torque(np.array(turn.centre), np.array(turn.axis)) * self._scales.force
                found[name]["torque"] = (torque + self._problem.base_pa * twisting) * self._scales.length_m
        return found


def _lever(domain: Domain, turn: Rotation) -> Any:
    """The velocity axis × (x − centre) of a turn at the rate 1, (dim,)."""
    arm = ufl.SpatialCoordinate(domain.mesh) - ufl.as_vector(turn.centre)
    return ufl.perp(arm) if domain.dim == 2 else ufl.cross(ufl.as_vector(turn.axis), arm)


def _integral(domain: Domain, form: ufl.Form) -> Callable[[], float]:
    """A scalar form, compiled once, assembled over all ranks at each call."""
    ready = compiled(form)
    return lambda: float(np.real(domain.comm.allreduce(fem.assemble_scalar(ready), op=MPI.SUM)))


def write_lines(folder: Path, record: dict[str, Any]) -> None:
    """Each line of a record as `line-NAME.csv`: coordinates in m, velocity in m/s, pressure in Pa."""
    for name, line in record["lines"].items():
        axes = "xyz"[: record["mesh"]["dimension"]]
        header = [*(f"{axis} m" for axis in axes), *(f"velocity {axis} m/s" for axis in axes), "pressure Pa"]
        columns = zip(line["at_m"], line["velocity_m_s"], line["pressure_pa"], strict=True)
        write_csv(folder / f"line-{name}.csv", header, [[*at, *speed, value] for at, speed, value in columns])


def write_shear(folder: Path, shear: Mapping[str, WallShear]) -> None:
    """The shear on each wall as `shear-NAME.csv`: coordinates in m, the fluid's tangential traction on it in Pa."""
    for name, one in shear.items():
        axes = "xyz"[: one.at.shape[1]]
        header = [*(f"{axis} m" for axis in axes), *(f"shear {axis} Pa" for axis in axes)]
        write_csv(folder / f"shear-{name}.csv", header, np.hstack([one.at, one.shear]).tolist())


def write_csv(path: Path, header: list[str], rows: list[list[float]]) -> None:
    """A table with one row of names, whole or not at all."""
    with whole(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([[repr(float(value)) for value in row] for row in rows])
