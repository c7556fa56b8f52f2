"""The dimensionless groups of an operating point: one flow serves every liquid with the same ones."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from twin.case.schema import SOLVENT, Case
from twin.junction.connector import find_connector
from twin.operating import OperatingPoint

GRAVITY_M_S2 = 9.80665
MOST_REYNOLDS = 2000.0
LEAST_PECLET = 10.0


@dataclass(frozen=True)
class Groups:
    """Groups on the bore, the outlet's mean velocity and the antisolvent's properties.

    reynolds Re = U·d/ν · flow_ratio Q_antisolvent/Q_precursor · precursor_fraction c̄ = Q_precursor/Q ·
    schmidt Sc = ν/D · peclet Pe = Re·Sc · richardson Ri = g·(Δρ/ρ)·d/U².
    """

    reynolds: float
    flow_ratio: float
    precursor_fraction: float
    schmidt: float
    peclet: float
    richardson: float

    def as_dict(self) -> dict[str, float]:
        """The groups as JSON-like data."""
        return asdict(self)


def bore_m(case: Case) -> float:
    """The bore of the case's junction in m; for a mesh of the user's own, the length of its unit."""
    if case.junction.bore is not None:
        return case.junction.bore
    return find_connector(str(case.junction.connector), case.folder).bore


def outlet_area(case: Case) -> float:
    """The area of the outlet in bore²; with a geometry of the user's own, what the case says, or a round bore's."""
    if case.junction.connector is None:
        return case.junction.outlet_area or math.pi / 4
    return find_connector(case.junction.connector, case.folder).outlet_area


def bulk_velocity_m_s(bore: float, point: OperatingPoint, area: float = math.pi / 4) -> float:
    """Mean velocity of the outlet, from its bore in m and its area in bore²."""
    return point.total_m3_s / (area * bore**2)


def groups(case: Case, point: OperatingPoint) -> Groups:
    """The dimensionless groups of a point of a case."""
    bore = bore_m(case)
    antisolvent, precursor = (case.liquids.of(name) for name in (case.liquids.antisolvent, case.liquids.precursor))
    speed = bulk_velocity_m_s(bore, point, outlet_area(case))
    nu = antisolvent.kinematic_viscosity_m2_s(point.temperature_k)
    density = antisolvent.density_kg_m3(point.temperature_k)
    heavier = abs(precursor.density_kg_m3(point.temperature_k) / density - 1)
    reynolds, schmidt = speed * bore / nu, nu / case.precursor.diffusivity
    return Groups(
        reynolds=reynolds,
        flow_ratio=point.antisolvent_m3_s / point.precursor_m3_s,
        precursor_fraction=point.precursor_fraction,
        schmidt=schmidt,
        peclet=reynolds * schmidt,
        richardson=GRAVITY_M_S2 * heavier * bore / speed**2,
    )


def species_peclet(case: Case, point: OperatingPoint) -> dict[str, float]:
    """The Péclet number of every species of the case, the precursor's liquid first."""
    peclet = groups(case, point).peclet
    own = case.precursor.diffusivity
    return {SOLVENT: peclet, **{name: peclet * own / one.diffusivity for name, one in case.species.items()}}
