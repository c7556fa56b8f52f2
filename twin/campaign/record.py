"""The record of one operating point: from solved fields, or from the reason why there are none."""

from __future__ import annotations

from typing import Any

from twin.case import Case
from twin.errors import TwinError
from twin.files import digest
from twin.junction import bore_m, bulk_velocity_m_s, find_connector, groups, outlet_area
from twin.mixing import PlaneMixing
from twin.operating import OperatingPoint

SCHEMA = 2
CLOSURE = 1e-3  # of the species flux through every plane


def point_hash(case: Case, level: str, point: OperatingPoint, mesh_hash: str) -> str:
    """A hash of all that decides the numbers of a point, or their bands."""
    own = {"outlet_area": outlet_area(case)} if case.junction.connector is None else {}
    if case.liquids.own:  # the groups don't tell the density, which the pressures in Pa have in them
        own["density"] = case.liquids.of(case.liquids.antisolvent).density_kg_m3(point.temperature_k)
    coupling = {} if case.coupling == "passive" else {"coupling": case.coupling, "gravity": gravity(case)}
    return digest(
        {
            "schema": SCHEMA,
            "mesh": mesh_hash,
            "errors": [case.level(level).pressure_error, case.level(level).index_error],
            "mixing": case.mixing.model_dump(),
            "species": {name: one.diffusivity for name, one in case.species.items()},
            "groups": groups(case, point).as_dict(),
            "bore": bore_m(case),
            **own,
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


def point_of(record: dict[str, Any]) -> OperatingPoint:
    """The point of a record."""
    return OperatingPoint(record["antisolvent_m3_s"], record["precursor_m3_s"], record["temperature_k"])


def pressure_unit_pa(case: Case, point: OperatingPoint) -> float:
    """ρU² in Pa."""
    density = case.liquids.of(case.liquids.antisolvent).density_kg_m3(point.temperature_k)
    return density * bulk_velocity_m_s(bore_m(case), point, outlet_area(case)) ** 2


def grid_record(planes: list[PlaneMixing], lowest: float, highest: float) -> dict[str, Any]:
    """What the grid scheme says of mixing: its own diffusion is in it, so M is an upper bound where D_num/D_m is large.

    Raises `TwinError` where the species flux does not close.
    """
    worst = max(abs(plane.flux_error) for plane in planes)
    if not worst <= CLOSURE:
        raise TwinError(f"the species flux does not close: off by {worst:.1e}, allowed is {CLOSURE:.0e}")
    return {"planes": [plane.as_dict() for plane in planes], "lowest": lowest, "highest": highest}
