"""What a run will do, before anything moves: the steps, and whether the syringes last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twin.case.schema import Case
from twin.errors import BadInput
from twin.rig.limits import Equipment, check_rates, equipment
from twin.rig.pumps.newera import format_number
from twin.rig.setpoint import Setpoint
from twin.rig.steps import Step, infused_ml
from twin.units import to_celsius, to_ml_per_h

RAMP_S = 5.0
RAMP_STEPS = 10
#: Share of the setpoint at which the ramp starts, where pump and protocol allow it.
LOWEST_SHARE = 0.1
#: Share of a syringe that a plan leaves in it, so that the plunger never runs onto the bottom.
RESERVE = 0.02
#: Below this a run is counted in µL: the counter holds 9999 of them.
FINE_BELOW_ML = 5.0


@dataclass(frozen=True)
class Supply:
    """How long a syringe lasts at the setpoint, s, and what a run takes out of it, mL."""

    role: str
    syringe: str
    filled_ml: float
    rate_ml_h: float
    lasts_s: float
    needed_ml: float

    def __str__(self) -> str:
        return (
            f"{self.role}: {self.syringe} with {self.filled_ml:g} mL lasts {_duration(self.lasts_s)} at"
            f" {self.rate_ml_h:g} mL/h; this run takes {self.needed_ml:.3g} mL"
        )


@dataclass(frozen=True)
class Plan:
    """A run: the pumps, the steps in order, the supply, and what the operator should know."""

    setpoint: Setpoint
    pumps: dict[str, Equipment]
    steps: tuple[Step, ...]
    hold_s: float
    supply: tuple[Supply, ...]
    notes: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """Process time from start to stop, s."""
        return self.steps[-1].end_s

    @property
    def rates_ml_h(self) -> dict[str, float]:
        """The rates of the hold by role, as the pumps are told them, mL/h."""
        return self.steps[-1].rates_ml_h

    @property
    def simulated(self) -> bool:
        """Whether no pump of this plan is real."""
        return all(pump.port == SIMULATED for pump in self.pumps.values())

    def fine(self, role: str) -> bool:
        """Whether the volume of a pump is counted in µL."""
        return next(entry.needed_ml for entry in self.supply if entry.role == role) < FINE_BELOW_ML

    def lines(self) -> list[str]:
        """The plan in words."""
        first, last = self.steps[0].rates_ml_h, self.rates_ml_h
        ramp = self.duration_s - self.hold_s
        return [
            f"setpoint {self.setpoint.point.name} ({self.setpoint.objective}), checksum {self.setpoint.checksum}",
            *(
                f"{role}: {pump.model.name} at address {pump.address} on {pump.port}, {pump.syringe.name}, allowed"
                f" {pump.range_ml_h[0]:.3g} to {pump.range_ml_h[1]:.5g} mL/h"
                for role, pump in self.pumps.items()
            ),
            f"ramp {ramp:g} s from {_rates(first)} at one flow ratio, hold {self.hold_s:g} s at {_rates(last)}, stop",
            *(str(entry) for entry in self.supply),
            *self.notes,
        ]

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-like data."""
        return {
            "case": self.setpoint.case,
            "point": self.setpoint.point.name,
            "checksum": self.setpoint.checksum,
            "provenance": self.setpoint.provenance,
            "pumps": {
                role: {
                    "model": pump.model.name,
                    "syringe": pump.syringe.name,
                    "diameter_mm": pump.syringe.diameter_mm,
                    "port": pump.port,
                    "address": pump.address,
                    "allowed_ml_h": list(pump.range_ml_h),
                }
                for role, pump in self.pumps.items()
            },
            "hold_s": self.hold_s,
            "steps": [[step.kind, step.start_s, step.end_s, step.rates_ml_h] for step in self.steps],
            "supply": [vars(entry) for entry in self.supply],
            "notes": list(self.notes),
        }


#: The port of a pump that is not there.
SIMULATED = "simulated"


def plan(
    case: Case,
    setpoint: Setpoint,
    *,
    hold_s: float | None = None,
    shorten: bool = False,
    filled_ml: Mapping[str, float] | None = None,
) -> Plan:
    """The steps of a run, and how long the syringes last.

    Args:
        case: the case with its rig.
        setpoint: a setpoint that `load_setpoint` let pass.
        hold_s: how long to hold, s; the case's own hold, where it is left out.
        shorten: hold only as long as the syringes last instead of refusing.
        filled_ml: what the syringes hold, mL by role; full ones, where it is left out.

    Raises:
        BadInput: a rate that the rig can't deliver, or a hold that outlasts a syringe.
    """
    check_rates(case, setpoint.point)
    pumps = equipment(case)
    asked = {role: to_ml_per_h(getattr(setpoint.point, f"{role}_m3_s")) for role in pumps}
    ramp = _ramp(pumps, asked)
    rates = {role: _told(pumps[role], rate) for role, rate in asked.items()}
    filled = _filled(pumps, filled_ml or {})
    hold = case.rig.hold if hold_s is None else hold_s
    if not (math.isfinite(hold) and hold > 0):
        raise BadInput(f"a hold of {hold:g} s is no hold", "give a positive time")
    longest = {role: (filled[role] * (1 - RESERVE) - infused_ml(ramp, role)) / rates[role] * 3600 for role in pumps}
    notes = []
    shortest = min(longest, key=lambda role: longest[role])
    if hold > longest[shortest]:
        hold = _shortened(hold, shortest, longest[shortest], rates, filled, shorten)
        notes.append(f"the hold was shortened to {hold:g} s, the time that the {shortest} syringe lasts")
    steps = (*ramp, Step("hold", ramp[-1].end_s, ramp[-1].end_s + hold, rates))
    if abs(setpoint.point.temperature_k - case.liquids.temperature) > 0.5:
        notes.append(
            f"nothing here sets a temperature: bring the liquids to {to_celsius(setpoint.point.temperature_k):.1f} °C"
        )
    supply = tuple(
        Supply(
            role, pump.syringe.name, filled[role], rates[role], filled[role] / rates[role] * 3600, infused_ml(steps, role)
        )
        for role, pump in pumps.items()
    )
    return Plan(setpoint, pumps, steps, hold, supply, tuple(notes))


def _ramp(pumps: dict[str, Equipment], asked: dict[str, float]) -> list[Step]:
    """Steps from low rates up at one flow ratio; each rate as the pump can be told it."""
    lowest = max(LOWEST_SHARE, *(pumps[role].range_ml_h[0] / rate for role, rate in asked.items()))
    length = RAMP_S / RAMP_STEPS
    steps = []
    for index in range(RAMP_STEPS):
        share = lowest + (1 - lowest) * index / RAMP_STEPS
        told = {role: _told(pumps[role], share * rate) for role, rate in asked.items()}
        steps.append(Step("ramp", index * length, (index + 1) * length, told))
    return steps


def _told(pump: Equipment, rate_ml_h: float) -> float:
    """A rate as the pump can be told it; rounding to four digits must not carry it past the pump's limits."""
    told = float(format_number(rate_ml_h))
    low, high = pump.range_ml_h
    if not low * (1 - 1e-9) <= told <= high:
        raise BadInput(
            f"{rate_ml_h:g} mL/h rounds to {told:g} mL/h, beyond {pump.name}: {low:.3g} to {high:.5g} mL/h",
            "choose a setpoint a little inside that range",
        )
    return told


def _filled(pumps: dict[str, Equipment], given: Mapping[str, float]) -> dict[str, float]:
    filled = {role: given.get(role, pump.syringe.volume_ml) for role, pump in pumps.items()}
    for role, volume in filled.items():
        if not 0 < volume <= pumps[role].syringe.volume_ml:
            raise BadInput(
                f"{pumps[role].syringe.name} can't hold {volume:g} mL for the {role}",
                f"give a volume above 0 and up to {pumps[role].syringe.volume_ml:g} mL",
            )
    return filled


def _shortened(
    hold: float, role: str, longest: float, rates: dict[str, float], filled: dict[str, float], allowed: bool
) -> float:
    if longest <= 0:
        raise BadInput(
            f"the {role} syringe with {filled[role]:g} mL does not even last for the ramp",
            "fill it, or take a larger one",
        )
    floor = math.floor(longest * 10) / 10
    if allowed and floor > 0:
        return floor
    raise BadInput(
        f"a hold of {hold:g} s outlasts the {role} syringe: {filled[role]:g} mL at {rates[role]:g} mL/h are gone in"
        f" {_duration(filled[role] / rates[role] * 3600)}, of which the ramp and a reserve leave {floor:g} s",
        f"hold for at most {floor:g} s. A longer run at this flow needs two alternating {role} pumps with check valves,"
        " which this rig does not drive yet",
    )


def _rates(rates: dict[str, float]) -> str:
    return " + ".join(f"{rate:g}" for rate in rates.values()) + " mL/h"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
