"""The record of one operating point: from solved fields, or from the reason why there are none."""

from __future__ import annotations

import math
from typing import Any

from twin.case import Case
from twin.errors import TwinError
from twin.estimate import Estimate
from twin.files import digest
from twin.junction import bore_m, bulk_velocity_m_s, find_connector, groups, outlet_area
from twin.liquids import LIQUIDS
from twin.mixing import PlaneMixing, mixing_time
from twin.operating import OperatingPoint

SCHEMA = 1
CLOSURE = 1e-3  # of the species flux through every plane


def point_hash(case: Case, level: str, point: OperatingPoint, mesh_hash: str) -> str:
    """A hash of all that decides the numbers of a point, or their bands."""
    coupling = {} if case.coupling == "passive" else {"coupling": case.coupling, "gravity": gravity(case)}
    return digest(
        {
            "schema": SCHEMA,
            "mesh": mesh_hash,
            "pressure_error": case.level(level).pressure_error,
            "groups": groups(case, point).as_dict(),
            "bore": bore_m(case),
            **coupling,
        }
    )


def gravity(case: Case) -> tuple[float, ...] | None:
    """The direction of gravity in the frame of the case's connector; None where it says none."""
    if case.junction.connector is None:
        return None
    vector = find_connector(case.junction.connector, case.folder).gravity
    return None if vector is None else tuple(vector)


def heading(case: Case, point: OperatingPoint) -> dict[str, Any]:
    """What every record begins with."""
    return {
        "schema": SCHEMA,
        "name": point.name,
        "antisolvent_m3_s": point.antisolvent_m3_s,
        "precursor_m3_s": point.precursor_m3_s,
        "temperature_k": point.temperature_k,
        "groups": groups(case, point).as_dict(),
    }


def pressure_unit_pa(case: Case, point: OperatingPoint) -> float:
    """ρU² in Pa."""
    density = LIQUIDS[case.liquids.antisolvent].density_kg_m3(point.temperature_k)
    return density * bulk_velocity_m_s(bore_m(case), point, outlet_area(case)) ** 2


def mixing_record(case: Case, point: OperatingPoint, planes: list[PlaneMixing]) -> dict[str, Any]:
    """The mixing of a point, with the bracket that numerical diffusion leaves.

    The computed segregation decays by physical *and* numerical diffusion, so the reactor mixes more slowly: that is
    one end. With the physical dissipation of the smeared field alone it would mix more slowly than the reactor, whose
    layers are sharper: that is the other. The value is the geometric mean of both times.
    """
    worst = max(abs(plane.flux_error) for plane in planes)
    if not worst <= CLOSURE:
        raise TwinError(f"the species flux does not close: off by {worst:.1e}, allowed is {CLOSURE:.0e}")
    unit_s = bore_m(case) / bulk_velocity_m_s(bore_m(case), point, outlet_area(case))
    times = [plane.bores * unit_s for plane in planes]
    try:
        grid = mixing_time(times, [plane.segregation for plane in planes])
        physical = mixing_time(times, [plane.segregation_physical for plane in planes])
    except ValueError as error:
        raise TwinError(f"no mixing time: {error}") from error
    # Each end moves out by twice the standard error of its fit.
    low, high = grid.tau * math.exp(-2 * grid.log_error), physical.tau * math.exp(2 * physical.log_error)
    tau = Estimate(math.sqrt(low * high), low, high, "s", "bounded")
    last = planes[-1]
    index_low, index_high = 1 - math.sqrt(last.segregation_physical), last.index
    middle = 1 - math.exp(-times[-1] / math.sqrt(grid.tau * physical.tau))
    index = Estimate(min(max(middle, index_low), index_high), index_low, index_high, "", "bounded")
    return {
        "planes": [plane.as_dict() for plane in planes],
        "time": tau.as_dict(),
        "fit_error": {"grid": grid.log_error, "physical": physical.log_error},
        "index_outlet": index.as_dict(),
    }
