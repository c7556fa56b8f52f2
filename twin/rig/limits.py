"""What the rig of a case can do. Every proposal is checked against this, wherever it came from."""

from __future__ import annotations

from dataclasses import dataclass

from twin.case.schema import Case
from twin.case.schema import Pump as PumpEntry
from twin.errors import BadInput
from twin.operating import OperatingPoint
from twin.rig.pumps.catalogue import PumpModel, Syringe, pump_model, syringe
from twin.units import to_ml_per_h

#: In the order of starting; stopping goes the other way, so that the precursor never flows alone.
ROLES = ("antisolvent", "precursor")

#: A rate of three decimals in mL/h is good to 0.5 % from here on.
RESOLVED_ML_H = 0.1


@dataclass(frozen=True)
class Equipment:
    """One pump of the rig with its syringe, and the rates in mL/h that the two can deliver."""

    role: str
    model: PumpModel
    syringe: Syringe
    port: str
    address: int

    @property
    def range_ml_h(self) -> tuple[float, float]:
        """The allowed rates, mL/h: those of pump and syringe, and above the resolution of the protocol."""
        low, high = self.model.range_ml_h(self.syringe)
        return max(low, RESOLVED_ML_H), high

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the {self.role} pump ({self.model.name}, address {self.address} on {self.port})"


def equipment(case: Case) -> dict[str, Equipment]:
    """The pumps of a case by role; raises one `BadInput` with everything that can't be."""
    found: dict[str, Equipment] = {}
    mistakes: list[str] = []
    for role in ROLES:
        entry: PumpEntry = getattr(case.rig, role)
        try:
            found[role] = Equipment(role, pump_model(entry.model), syringe(entry.syringe), entry.port, entry.address)
        except BadInput as error:
            mistakes.append(f"  rig.{role}: {error.message}; {error.remedy}")
            continue
        liquid = getattr(case.liquids, role)
        if liquid == "toluene" and not found[role].syringe.toluene_safe:
            mistakes.append(
                f"  rig.{role}.syringe: toluene attacks {entry.syringe} ({found[role].syringe.material});"
                " take steel-50ml or glass-50ml"
            )
    places = {(pump.port, pump.address) for pump in found.values()}
    if len(places) < len(found):
        mistakes.append("  rig.precursor.address: both pumps have the same address on the same port; give each its own")
    if mistakes:
        raise BadInput("\n".join(["the rig of this case can't be used", *mistakes]))
    return found


def check_rates(case: Case, point: OperatingPoint) -> None:
    """Raises `BadInput`, with the allowed range, where a pump of the case can't deliver its flow."""
    mistakes = []
    for role, pump in equipment(case).items():
        rate = to_ml_per_h(getattr(point, f"{role}_m3_s"))
        low, high = pump.range_ml_h
        if not low <= rate <= high:
            mistakes.append(
                f"the {role} flow of {rate:.4g} mL/h is beyond the {pump.model.name} with {pump.syringe.name}:"
                f" {low:.3g} to {high:.5g} mL/h"
            )
    if mistakes:
        raise BadInput(
            "\n  ".join(mistakes), "choose a setpoint in that range, or another pump or syringe in case.toml"
        )
