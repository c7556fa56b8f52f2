"""What a mesh is worth: element shapes, the volume, and the areas of its sections against the exact ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import gmsh
import numpy as np

from twin.errors import BadInput
from twin.meshing.checks import place
from twin.meshing.grid import QUADRATIC

LEAST_VALIDITY = 0.05  # smallest over largest Jacobian determinant in an element; at 0 its map folds
LEAST_QUALITY = 0.02  # of the scaled Jacobian; below it an element is flat
LARGEST_SECTION_ERROR = 0.01  # of an area; elements too coarse for a round section, or a fillet that reaches into it
SMOOTH_BEND = 2.0  # degrees between the facets of a curved boundary; a pipe then has 0.02 % too little area
PLANE = 1e-3  # of the width of a boundary: by how much a plane one is out of its plane at most
POOR = 0.1  # a scaled Jacobian below it is worth a warning


@dataclass(frozen=True)
class Quality:
    """Counts, element shapes, volume in bore³, areas in bore² and their relative errors (in 2-D: bore² and bores).

    `min_jacobian_ratio` is validity: the smallest over the largest determinant within an element, bounded over the
    whole curved element; 1 is straight, 0 folded, whatever the stretch. `min_scaled_jacobian` and its mean are shape:
    Gmsh's SIGE, 1 in the regular simplex and 0 in a flat one; stretching lowers it. `poor_cells` have one below `POOR`.
    `folded_at` and `flat_at` are the middles, in bores, of the elements with the least of either. `curved` are the
    boundaries that are not plane (in 2-D: not straight).
    """

    dimension: int
    cells: int
    nodes: int
    min_jacobian_ratio: float
    min_scaled_jacobian: float
    mean_scaled_jacobian: float
    poor_cells: int
    volume: float
    areas: dict[str, float]
    section_errors: dict[str, float]
    folded_at: tuple[float, ...] = ()
    flat_at: tuple[float, ...] = ()
    bend: float = 0.0
    curved: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-like data."""
        return asdict(self)

    @property
    def warning(self) -> str:
        """What to know about the elements; empty where all is well."""
        found = []
        if self.poor_cells:
            found.append(f"{self.poor_cells} of {self.cells} elements have a scaled Jacobian below {POOR}")
        if self.bend > SMOOTH_BEND:
            found.append(
                f"a curved boundary is in straight facets that bend by up to {self.bend:.0f}°: save it at second order"
            )
        return "; ".join(found)

    def check(self, own: bool = False) -> None:
        """Refuses a mesh with an element that is folded, flat or nearly so, and one with a wrong section. `own` says
        that it is a file of the user's, which has no levels.
        """
        remedy = "choose other element sizes in the level"
        if own:
            remedy = "mesh it with other element sizes there, or optimise it (Gmsh: Netgen, high order)"
        if self.min_jacobian_ratio < LEAST_VALIDITY:
            raise BadInput(
                f"the mesh has a curved element that folds or nearly so: its Jacobian falls to"
                f" {self.min_jacobian_ratio:.3f} of the largest, below {LEAST_VALIDITY},"
                f" near {place(np.array([self.folded_at]))}",
                remedy,
            )
        if self.min_scaled_jacobian < LEAST_QUALITY:
            raise BadInput(
                f"the mesh has an element with a scaled Jacobian of {self.min_scaled_jacobian:.3f},"
                f" below {LEAST_QUALITY}, near {place(np.array([self.flat_at]))}",
                remedy,
            )
        for name, error in self.section_errors.items():
            if abs(error) > LARGEST_SECTION_ERROR:
                raise BadInput(
                    f"the area of {name} is off by {100 * error:.1f} %, more than {100 * LARGEST_SECTION_ERROR:g} %",
                    "choose smaller elements, or a smaller fillet",
                )


def assess(sections: dict[str, float]) -> Quality:
    """The quality of the current Gmsh model. `sections` has the exact area in bore² of boundaries by name."""
    dim = gmsh.model.getDimension()
    tags = np.asarray(gmsh.model.mesh.getElementsByType(QUADRATIC[dim])[0])
    shapes = np.asarray(gmsh.model.mesh.getElementQualities(tags, "minSIGE"))
    least = np.asarray(gmsh.model.mesh.getElementQualities(tags, "minDetJac"))
    largest = np.asarray(gmsh.model.mesh.getElementQualities(tags, "maxDetJac"))
    areas = {
        gmsh.model.getPhysicalName(dim - 1, group): _measure(dim - 1, group)
        for _, group in gmsh.model.getPhysicalGroups(dim - 1)
    }
    nodes, _, _ = gmsh.model.mesh.getNodes()
    ratios = least / np.maximum(abs(largest), abs(least))
    return Quality(
        dimension=dim,
        cells=len(tags),
        nodes=len(nodes),
        min_jacobian_ratio=float(np.min(ratios)),
        min_scaled_jacobian=float(shapes.min()),
        mean_scaled_jacobian=float(shapes.mean()),
        poor_cells=int((shapes < POOR).sum()),
        volume=sum(_measure(dim, group) for _, group in gmsh.model.getPhysicalGroups(dim)),
        areas=areas,
        section_errors={name: areas[name] / exact - 1 for name, exact in sections.items() if name in areas},
        folded_at=_middle(int(tags[np.argmin(ratios)])),
        flat_at=_middle(int(tags[np.argmin(shapes)])),
        curved=tuple(
            gmsh.model.getPhysicalName(dim - 1, group)
            for _, group in gmsh.model.getPhysicalGroups(dim - 1)
            if _is_curved(dim, group)
        ),
    )


def _is_curved(dim: int, group: int) -> bool:
    """Whether the nodes of a boundary lie out of one plane, in 2-D out of one line."""
    _, coordinates = gmsh.model.mesh.getNodesForPhysicalGroup(dim - 1, group)
    points = np.asarray(coordinates).reshape(-1, 3)
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(spread[dim - 1] > PLANE * spread[0])


def _middle(element: int) -> tuple[float, ...]:
    """The mean of an element's corners."""
    _, nodes, dim, _ = gmsh.model.mesh.getElement(element)
    corners = [gmsh.model.mesh.getNode(int(node))[0] for node in nodes[: dim + 1]]
    return tuple(float(value) for value in np.mean(corners, axis=0))


def _measure(dim: int, group: int) -> float:
    """The length, area or volume of a physical group, integrated over its curved elements."""
    points, weights = gmsh.model.mesh.getIntegrationPoints(QUADRATIC[dim], "Gauss4")
    total = 0.0
    for entity in gmsh.model.getEntitiesForPhysicalGroup(dim, group):
        _, determinants, _ = gmsh.model.mesh.getJacobians(QUADRATIC[dim], points, int(entity))
        total += float(np.asarray(determinants).reshape(-1, len(weights)).dot(weights).sum())
    return total
