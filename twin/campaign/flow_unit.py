"""Whether the length of a mesh's unit can be right: what a case itself says about its size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from twin.case import FlowCase

if TYPE_CHECKING:
    from twin.meshing import MeshFolder

OUTSIDE = 0.05  # of the mesh's longest edge: a point further outside of it than that is meant for another size
REFERENCE = (1e-3, 2.0)  # of that edge: what a reference length usually is
PASSAGE_S = 1e4  # nobody waits for longer until fluid has passed: a volume in the wrong unit is off by a cube


def unit_doubt(case: FlowCase, made: MeshFolder, unit: float) -> str:
    """What speaks against the length `unit`, in m, of a mesh's unit; empty where nothing does.

    A mesh in any unit that is read in any other is too large or too small. The places and the reference length of the
    case are evidence of both, the time that the fluid takes of the former; a Reynolds number that is too high is told
    where it is refused. Without any evidence nothing is said: `twin mesh` tells the extent of the mesh.
    """
    low, high = unit * np.array(made.extent).T
    longest, found = float(np.max(high - low)), []
    far = OUTSIDE * longest
    outside = []
    for name, point in case.output.points.items():
        at = np.array(point)
        if len(at) == len(low) and (np.any(at < low - far) or np.any(at > high + far)):
            outside.append(name)
    if outside:
        others = f" (and {len(outside) - 1} more)" if len(outside) > 1 else ""
        found.append(f"{outside[0]}{others} lies outside of it")
    length = case.flow.reference_length
    if length is not None and not REFERENCE[0] <= length / longest <= REFERENCE[1]:
        found.append(f"the reference length is {length:.3g} m")
    inflow = _inflow(case, made, unit)
    if inflow > 0 and (passage := made.quality.volume * unit ** len(low) / inflow) > PASSAGE_S:
        found.append(f"the fluid takes {passage / 3600:.3g} h to pass through it")
    if not found:
        return ""
    size = " × ".join(f"{part:.3g}" for part in high - low)
    return f"it measures {size} m, but {', '.join(found)}: is the bore, the length of its unit, right?"


def port_doubt(made: MeshFolder, ports: Iterable[str]) -> str:
    """What speaks against the faces of a STEP file that are its inlets and outlets; empty where nothing does."""
    curved = [name for name in ports if name in made.quality.curved]
    return f"not plane: {', '.join(curved)}; is the point on the port, and not on a wall?" if curved else ""


def _inflow(case: FlowCase, made: MeshFolder, unit: float) -> float:
    """What enters in m³/s, in 2-D m²/s, as far as the rates say it without the shape of a profile."""
    dim, inflow = made.quality.dimension, 0.0
    for name, inlet in case.boundaries.inlets.items():
        if inlet.flow is not None and inlet.flow.per_depth == (dim == 2):
            inflow += max(0.0, inlet.flow.value)
        elif inlet.mean_velocity is not None:
            inflow += max(0.0, inlet.mean_velocity * made.quality.areas.get(name, 0.0) * unit ** (dim - 1))
    return inflow
