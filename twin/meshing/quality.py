"""What a mesh is worth: element shapes, the volume, and the areas of its round sections against the exact ones."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import gmsh
import numpy as np

from twin.errors import BadInput

TETRA10 = 11
TRIANGLE6 = 9
LEAST_QUALITY = 0.05  # of the scaled Jacobian; below it the element map is close to folding


@dataclass(frozen=True)
class Quality:
    """Counts, scaled Jacobians of the curved elements, volume in bore³, areas in bore² and their relative errors."""

    cells: int
    nodes: int
    min_scaled_jacobian: float
    mean_scaled_jacobian: float
    volume: float
    areas: dict[str, float]
    section_errors: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-like data."""
        return asdict(self)

    def check(self) -> None:
        """Refuses a mesh with an element that is folded or nearly so."""
        if self.min_scaled_jacobian < LEAST_QUALITY:
            raise BadInput(
                f"the mesh has an element with a scaled Jacobian of {self.min_scaled_jacobian:.3f},"
                f" below {LEAST_QUALITY}",
                "choose other element sizes in the level, or optimise the mesh (Gmsh: Netgen, high order)",
            )


def assess(round_sections: dict[str, float]) -> Quality:
    """The quality of the current Gmsh model. `round_sections` names the exact area in bore² of round boundaries."""
    tags, _ = gmsh.model.mesh.getElementsByType(TETRA10)
    jacobians = np.asarray(gmsh.model.mesh.getElementQualities(tags, "minSIGE"))
    volumes = np.asarray(gmsh.model.mesh.getElementQualities(tags, "volume"))
    areas = {gmsh.model.getPhysicalName(2, group): _area(group) for _, group in gmsh.model.getPhysicalGroups(2)}
    errors = {name: areas[name] / exact - 1 for name, exact in round_sections.items() if name in areas}
    nodes, _, _ = gmsh.model.mesh.getNodes()
    return Quality(
        cells=len(tags),
        nodes=len(nodes),
        min_scaled_jacobian=float(jacobians.min()),
        mean_scaled_jacobian=float(jacobians.mean()),
        volume=float(volumes.sum()),
        areas=areas,
        section_errors=errors,
    )


def round_area(symmetric_half: bool) -> float:
    """The area of a bore's section in bore²."""
    return math.pi / 4 * (0.5 if symmetric_half else 1.0)


def _area(group: int) -> float:
    """The area of a physical surface, integrated over its curved triangles."""
    points, weights = gmsh.model.mesh.getIntegrationPoints(TRIANGLE6, "Gauss4")
    total = 0.0
    for entity in gmsh.model.getEntitiesForPhysicalGroup(2, group):
        _, determinants, _ = gmsh.model.mesh.getJacobians(TRIANGLE6, points, int(entity))
        total += float(np.asarray(determinants).reshape(-1, len(weights)).dot(weights).sum())
    return total
