"""The transport scheme against two streams side by side in plug flow, whose mixing is known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import basix.ufl
import numpy as np
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

from twin.check import Check
from twin.fem.domain import Domain
from twin.mixing import PlaneMixing, mixing_along
from twin.transport import Transport

PECLET = 200.0  # on the width of the channel
LENGTH = 4
_COSINES = "separation of variables, both streams of one width"


def channel(comm: MPI.Comm, across: int = 16, along: int = 32) -> Domain:
    """A channel of unit section along x, the precursor in its upper half, with a cut plane at every width."""
    box = dmesh.create_box(
        comm,
        [np.zeros(3), np.array([LENGTH, 1.0, 0.25])],
        [along, across, max(across // 4, 1)],
        ghost_mode=dmesh.GhostMode.shared_facet,
    )
    places: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "precursor": lambda x: np.isclose(x[0], 0) & (x[1] > 0.5 - 1e-9),
        "antisolvent": lambda x: np.isclose(x[0], 0) & (x[1] < 0.5 + 1e-9),
        "outlet": lambda x: np.isclose(x[0], LENGTH),
        "wall": lambda x: np.isclose(x[1], 0) | np.isclose(x[1], 1) | np.isclose(x[2], 0) | np.isclose(x[2], 0.25),
    }
    for position in range(1, LENGTH):
        places[f"plane_{position}"] = partial(_across, position)
    tags = {name: number for number, name in enumerate(places, start=1)}
    facets, values = [], []
    for name, place in places.items():
        found = dmesh.locate_entities(box, 2, place)
        facets.append(found)
        values.append(np.full_like(found, tags[name]))
    all_facets, first = np.unique(np.concatenate(facets), return_index=True)
    marked = dmesh.meshtags(box, 2, all_facets, np.concatenate(values)[first])
    box.topology.create_connectivity(2, 3)
    return Domain(box, marked, tags)


def _across(position: int, x: np.ndarray) -> np.ndarray:
    return np.isclose(x[0], position)


def two_streams(comm: MPI.Comm, peclet: float = PECLET, across: int = 16, along: int = 32) -> list[PlaneMixing]:
    """The computed mixing along the channel."""
    domain = channel(comm, across, along)
    plug = fem.Function(fem.functionspace(domain.mesh, basix.ufl.element("BDM", domain.mesh.basix_cell(), 1)))
    plug.interpolate(lambda x: np.vstack([np.ones_like(x[0]), np.zeros_like(x[0]), np.zeros_like(x[0])]))
    return mixing_along(Transport(domain).solve(plug, peclet).planes, 0.5)


def exact_segregation(position: float, peclet: float, terms: int = 200) -> float:
    """I_s of two equal streams of plug flow: Σ over odd n of 8/(nπ)² exp(−2 λ_n x), axial diffusion included.

    λ_n = (Pe/2)(√(1 + 4 n²π²/Pe²) − 1), the decaying root of λ² + Pe λ = n²π².
    """
    odd = np.arange(1, 2 * terms, 2)
    decay = peclet / 2 * (np.sqrt(1 + 4 * (odd * np.pi / peclet) ** 2) - 1)
    return float(np.sum(8 / (odd * np.pi) ** 2 * np.exp(-2 * decay * position)))


def checks() -> list[Check]:
    """Segregation against the closed form, closure of the flux, and the numerical share where the mesh resolves."""
    planes = two_streams(MPI.COMM_SELF)
    rows = [
        Check(
            f"I_s at {plane.bores:g} widths, Pe {PECLET:g}",
            plane.segregation,
            exact_segregation(plane.bores, PECLET),
            0.01,
            _COSINES,
        )
        for plane in planes
    ]
    worst = max(abs(plane.flux_error) for plane in planes)
    # What crosses a plane by diffusion, O(1/Pe) of the whole at a smooth profile, is not in the flux that is compared.
    rows.append(Check("closure of the species flux", worst, 0.0, 1e-4, "conservation of the species"))
    rows.append(Check("D_num/D_m past the first width", planes[-1].numerical_diffusion, 0.0, 0.1, "resolved layers"))
    return rows
