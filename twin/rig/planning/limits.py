"""What the rig of a case can do. Every proposal is checked against this, wherever it came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

from twin.case.rig import Pump as PumpEntry
from twin.case.schema import Case
from twin.errors import BadInput
from twin.operating import OperatingPoint
from twin.rig.planning.steps import PARTNER
from twin.rig.pumps.catalogue import PumpModel, Syringe, pump_model, syringe
from twin.rig.pumps.drivers import baud_of
from twin.rig.pumps.harvard import SETTLE_S
from twin.units import to_ml, to_ml_per_h, to_mm

Found = TypeVar("Found")
Asked = ParamSpec("Asked")

#: In the order of starting; stopping goes the other way, so that the precursor never flows alone.
ROLES = ("antisolvent", "precursor")

#: Share of a syringe that a plan leaves in it, so that the plunger never runs onto the bottom.
RESERVE = 0.02

#: How often a ramp sets new rates where the lines allow it, s.
RAMP_STEP_S = 0.1
#: By family, the most bytes to and fro that a new rate takes with its reading back, and a look at a pump; and what a
#: new rate takes besides behind the first pump of a chain, s.
ON_THE_LINE = {"newera": (46, 40, 0.0), "harvard": (56, 95, SETTLE_S)}
#: A start bit, eight bits of data, a stop bit.
_BITS = 10

#: By family, the rate in mL/h from which on its last decimal (the third, the sixth) is good to 0.5 %.
RESOLVED_ML_H = {"newera": 0.1, "harvard": 1e-4}


#: The port of a pump that is not there.
SIMULATED = "simulated"


@dataclass(frozen=True)
class Place:
    """Where a pump is and what it speaks: all that a stop needs to know."""

    role: str
    label: str
    family: str
    port: str
    baud: int
    address: int


@dataclass(frozen=True)
class Equipment:
    """One pump of the rig with its syringe, and the rates in mL/h that the two can deliver."""

    role: str
    model: PumpModel
    syringe: Syringe
    port: str
    address: int
    baud: int | None = None

    @property
    def range_ml_h(self) -> tuple[float, float]:
        """The allowed rates, mL/h: those of pump and syringe, and above the resolution of the protocol."""
        low, high = self.model.range_ml_h(self.syringe)
        return max(low, RESOLVED_ML_H[self.model.family]), high

    @property
    def place(self) -> Place:
        """Where it is."""
        family = self.model.family
        return Place(self.role, self.name, family, self.port, self.baud or baud_of(family), self.address)

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
        model = _noting(mistakes, role, _model, case, entry.model)
        chosen = _noting(mistakes, role, _syringe, case, entry.syringe)
        if chosen is not None and getattr(case.liquids, role) == "toluene" and not chosen.toluene_safe:
            mistakes.append(
                f"  rig.{role}.syringe: toluene attacks {entry.syringe} ({chosen.material});"
                " take steel-50ml or glass-50ml"
            )
        if chosen is not None and model is not None:
            _noting(mistakes, role, model.range_ml_h, chosen)
            found[role] = Equipment(role, model, chosen, entry.port, entry.address, entry.baud)
    _add_partner(case, found, mistakes)
    if len({(pump.port, pump.address) for pump in found.values()}) < len(found):
        mistakes.append("  rig.precursor.address: two pumps have the same address on the same port; give each its own")
    else:
        mistakes += _broken_chains(found)
    if len({(pump.port, pump.model.family) for pump in found.values()}) > len({pump.port for pump in found.values()}):
        mistakes.append("  rig.precursor.port: pumps of two families can't share a port; give each its own")
    elif len({(pump.port, pump.place.baud) for pump in found.values()}) > len({pump.port for pump in found.values()}):
        mistakes.append("  rig.precursor.baud: two pumps on one port need the same speed; set it at the pumps as well")
    if mistakes:
        raise BadInput("\n".join(["the rig of this case can't be used", *mistakes]))
    return found


def _broken_chains(found: Mapping[str, Equipment]) -> list[str]:
    """What is wrong with the addresses of Harvard pumps that share a port: only the first of a chain has the 0."""
    mistakes = []
    for port in dict.fromkeys(pump.port for pump in found.values() if pump.model.family == "harvard"):
        chain = sorted(pump.address for pump in found.values() if pump.port == port)
        if len(chain) > 1 and chain != list(range(len(chain))):
            has = " and ".join(map(str, chain))
            mistakes.append(
                f"  rig.precursor.address: the Harvard pumps on {port} have the addresses {has}; number them from 0 on,"
                " the one that the computer is plugged into first"
            )
    return mistakes


def command_step_s(pumps: Collection[Equipment]) -> float:
    """How often all pumps can be told new rates, and one of them be looked at in between, s.

    `RAMP_STEP_S`, or on slow lines more, in twentieths of a second. What the pumps take to answer is not in it.
    """
    taken_s = look_s = 0.0
    for pump in pumps:
        rate, look, settle_s = ON_THE_LINE[pump.model.family]
        byte_s = _BITS / pump.place.baud
        taken_s += rate * byte_s + (settle_s if pump.address else 0.0)
        look_s = max(look_s, look * byte_s)
    return max(RAMP_STEP_S, round(math.ceil((taken_s + look_s) / 0.05) * 0.05, 2))


def places(case: Case) -> list[Place]:
    """Where the pumps of a case are, also of one whose rig can't be used: a stop asks for no syringe."""
    try:
        return [pump.place for pump in equipment(case).values()]
    except BadInput:
        found = []
        for role in ROLES:
            entry: PumpEntry = getattr(case.rig, role)
            try:
                family: str = _model(case, entry.model).family
            except BadInput:
                family = "newera"
            spots = [(role, entry.port, entry.address)]
            if entry.partner is not None:
                spots.append((PARTNER, entry.partner.port or entry.port, entry.partner.address))
            baud = entry.baud or baud_of(family)
            found += [
                Place(name, f"the {name} pump (address {address} on {port})", family, port, baud, address)
                for name, port, address in spots
            ]
        return found


def _syringe(case: Case, name: str) -> Syringe:
    """The syringe of that name: the case's own, else the catalogue's."""
    own = case.rig.syringes.get(name)
    if own is None:
        return syringe(name)
    return Syringe(name, to_mm(own.diameter), to_ml(own.volume), own.material, own.toluene_safe)


def _model(case: Case, name: str) -> PumpModel:
    """The pump model of that name: the case's own, else the catalogue's. Speed of the plunger = rate over area."""
    own = case.rig.models.get(name)
    if own is None:
        return pump_model(name)
    area_cm2 = math.pi / 4 * (0.1 * to_mm(own.diameter)) ** 2
    low, high = (to_ml_per_h(rate) / area_cm2 for rate in (own.lowest, own.highest))
    return PumpModel(name, own.number, own.family, low, high, to_mm(own.widest))


def _add_partner(case: Case, found: dict[str, Equipment], mistakes: list[str]) -> None:
    """The second antisolvent pump, where the case has one: equal to the first, at another place."""
    if case.rig.precursor.partner is not None:
        mistakes.append("  rig.precursor.partner: only the antisolvent pumps take turns; leave it out")
    partner, first = case.rig.antisolvent.partner, found.get("antisolvent")
    if partner is not None and first is not None:
        found[PARTNER] = replace(first, role=PARTNER, port=partner.port or first.port, address=partner.address)


def _noting(
    mistakes: list[str], role: str, find: Callable[Asked, Found], *asked: Asked.args, **named: Asked.kwargs
) -> Found | None:
    """What `find` finds; None, and one more mistake, where it can't."""
    try:
        return find(*asked, **named)
    except BadInput as error:
        mistakes.append(f"  rig.{role}: {error.message}; {error.remedy}")
        return None


def check_rates(case: Case, point: OperatingPoint) -> None:
    """Raises `BadInput`, with the allowed range, where a pump of the case can't deliver its flow."""
    mistakes = []
    pumps = equipment(case)
    for role in ROLES:
        pump = pumps[role]
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
