"""What a run will do, before anything moves: the steps, and whether the syringes last."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twin.case.schema import Case
from twin.errors import BadInput
from twin.rig.planning.alternation import alternate, handovers
from twin.rig.planning.disturbance import disturbance
from twin.rig.planning.limits import (
    RAMP_STEP_S,
    RESERVE,
    ROLES,
    SIMULATED,
    Equipment,
    check_rates,
    command_step_s,
    equipment,
)
from twin.rig.planning.recipe import Leg, Program, of_setpoint
from twin.rig.planning.setpoint import Setpoint
from twin.rig.planning.steps import PARTNER, Step, infused_ml
from twin.rig.pumps.drivers import told_ml_h
from twin.units import to_celsius, to_ml_per_h

#: Share of the setpoint at which the ramp starts, where pump and protocol allow it.
LOWEST_SHARE = 0.1
#: Share of the first setpoint at which lines are primed.
PRIME_SHARE = 0.5
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
    program: Program
    pumps: dict[str, Equipment]
    steps: tuple[Step, ...]
    supply: tuple[Supply, ...]
    notes: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """Process time from the first step to the stop, s."""
        return self.steps[-1].end_s

    @property
    def hold_s(self) -> float:
        """How long setpoints are held in all, s."""
        return sum(leg.hold_s for leg in self.program.legs)

    @property
    def rates_ml_h(self) -> dict[str, float]:
        """The flows of the last hold by role, mL/h."""
        return self.program.legs[-1].rates_ml_h

    @property
    def simulated(self) -> bool:
        """Whether no pump of this plan is real."""
        return all(pump.port == SIMULATED for pump in self.pumps.values())

    @property
    def hull_ml_h(self) -> list[tuple[float, float]]:
        """The corners of the points that the setpoint rests on, mL/h."""
        return [(to_ml_per_h(a), to_ml_per_h(p)) for a, p in self.setpoint.hull]

    def first_rate_ml_h(self, pump: str) -> float:
        """The rate at which a pump starts, mL/h."""
        return next(rate for step in self.steps if (rate := step.rates_ml_h.get(pump, 0.0)))

    def fine(self, pump: str) -> bool:
        """Whether the volume of a pump is counted in µL."""
        return self.needed_ml(pump) < FINE_BELOW_ML

    def needed_ml(self, pump: str) -> float:
        """What the run infuses with a pump, mL."""
        return infused_ml(self.steps, pump)

    def largest_ml_h(self, pump: str) -> float:
        """The largest rate that the run asks of a pump, either way, mL/h."""
        return max(abs(step.rates_ml_h.get(pump, 0.0)) for step in self.steps)

    def reserve_ml(self, pump: str) -> float:
        """What stays in the syringe of a pump, mL."""
        return RESERVE * self.pumps[pump].syringe.volume_ml

    def filled_ml(self, pump: str) -> float:
        """What the syringe of a pump holds at the start, mL."""
        return next(entry.filled_ml for entry in self.supply if entry.role == pump)

    def lines(self) -> list[str]:
        """The plan in words."""
        prime = " + ".join(f"{volume:g} mL {role}" for role, volume in self.program.prime_ml.items())
        return [
            f"setpoint {self.setpoint.point.name} ({self.setpoint.objective}), checksum {self.setpoint.checksum}",
            *(
                f"{name}: {pump.model.name} at address {pump.address} on {pump.port}, {pump.syringe.name}, allowed"
                f" {pump.range_ml_h[0]:.3g} to {pump.range_ml_h[1]:.5g} mL/h"
                for name, pump in self.pumps.items()
            ),
            *([f"prime {prime}"] if prime else []),
            *(f"ramp {leg.ramp_s:g} s to {_rates(leg.rates_ml_h)}, hold {leg.hold_s:g} s" for leg in self.program.legs),
            f"stop after {self.duration_s:g} s, the precursor first",
            *(str(entry) for entry in self.supply),
            *self.notes,
        ]

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-like data."""
        return {
            "case": self.setpoint.case,
            "level": self.setpoint.level,
            "source": self.program.source,
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
                    "family": pump.model.family,
                    "allowed_ml_h": list(pump.range_ml_h),
                }
                for role, pump in self.pumps.items()
            },
            "hold_s": self.hold_s,
            "steps": [[step.kind, step.start_s, step.end_s, step.rates_ml_h] for step in self.steps],
            "supply": [vars(entry) for entry in self.supply],
            "notes": list(self.notes),
        }


def plan(
    case: Case,
    setpoint: Setpoint,
    *,
    program: Program | None = None,
    hold_s: float | None = None,
    shorten: bool = False,
    filled_ml: Mapping[str, float] | None = None,
) -> Plan:
    """The steps of a run, and how long the syringes last.

    Args:
        case: the case with its rig.
        setpoint: a setpoint that `load_setpoint` let pass.
        program: the recipe; the setpoint by itself, where it is left out.
        hold_s: how long to hold the setpoint, s; the case's own hold, where it is left out.
        shorten: hold only as long as the syringes last instead of refusing.
        filled_ml: what the syringes hold, mL by pump; full ones, where it is left out.

    Raises:
        BadInput: a rate that the rig can't deliver, or a run that outlasts a syringe.
    """
    check_rates(case, setpoint.point)
    everything = equipment(case)
    hold = case.rig.hold if hold_s is None else hold_s
    if not (math.isfinite(hold) and hold > 0):
        raise BadInput(f"a hold of {hold:g} s is no hold", "give a positive time")
    program = program or of_setpoint(setpoint, hold)
    pumps = {role: everything[role] for role in ROLES}
    filled = _filled(everything, filled_ml or {})
    notes = []
    steps = steps_of(program, pumps)
    short = [role for role in ROLES if infused_ml(steps, role) > _usable(everything, filled, role)]
    if short == ["antisolvent"] and PARTNER in everything:
        steps, words = _in_turns(program, steps, everything, filled)
        # Where the fuller one lasts by itself, the other one is left alone.
        pumps = {name: pump for name, pump in everything.items() if any(step.rates_ml_h.get(name) for step in steps)}
        notes += words
    elif short:
        program = _shortened(program, pumps, filled, short, shorten)
        notes.append(
            f"the hold was shortened to {program.legs[-1].hold_s:g} s, the time that the {short[0]} syringe lasts"
        )
        steps = steps_of(program, pumps)
    if abs(setpoint.point.temperature_k - case.liquids.temperature) > 0.5:
        notes.append(
            f"nothing here sets a temperature: bring the liquids to {to_celsius(setpoint.point.temperature_k):.1f} °C"
        )
    if (step_s := command_step_s(pumps.values())) > RAMP_STEP_S:
        slow = min(pump.place.baud for pump in pumps.values())
        notes.append(
            f"new rates go out every {step_s:g} s instead of every {RAMP_STEP_S:g} s: the lines ({slow} baud) hold no"
            " more"
        )
    supply = tuple(_supply(name, pump, filled[name], steps) for name, pump in pumps.items())
    return Plan(setpoint, program, pumps, tuple(steps), supply, tuple(notes))


def _supply(name: str, pump: Equipment, filled_ml: float, steps: Sequence[Step]) -> Supply:
    rates = [step.rates_ml_h.get(name, 0.0) for step in steps]
    fastest = max(rates) if max(rates) > 0 else max(map(abs, rates))  # one that only refills
    return Supply(name, pump.syringe.name, filled_ml, fastest, filled_ml / fastest * 3600, infused_ml(steps, name))


def steps_of(program: Program, pumps: Mapping[str, Equipment]) -> list[Step]:
    """Prime, then ramp and hold of each leg. The first ramp starts low, at the flow ratio of its end."""
    first = program.legs[0].rates_ml_h
    lowest = max(LOWEST_SHARE, *(pumps[role].range_ml_h[0] / rate for role, rate in first.items()))
    here = {role: lowest * rate for role, rate in first.items()}
    steps = _prime(program, pumps)
    for leg in program.legs:
        steps += _leg(leg, here, pumps, steps[-1].end_s if steps else 0.0)
        here = leg.rates_ml_h
    return steps


def _prime(program: Program, pumps: Mapping[str, Equipment]) -> list[Step]:
    """First the antisolvent by itself, then both, until each line is full; the precursor never flows alone."""
    first = program.legs[0].rates_ml_h
    rates = {role: _told(pumps[role], max(PRIME_SHARE * first[role], pumps[role].range_ml_h[0])) for role in ROLES}
    steps: list[Step] = []
    lead_s = program.prime_ml.get("antisolvent", 0.0) / rates["antisolvent"] * 3600
    both_s = program.prime_ml.get("precursor", 0.0) / rates["precursor"] * 3600
    if lead_s > 0:
        steps.append(Step("prime", 0.0, lead_s, {"antisolvent": rates["antisolvent"]}))
    if both_s > 0:
        steps.append(Step("prime", lead_s, lead_s + both_s, rates))
    return steps


def _in_turns(
    program: Program, steps: Sequence[Step], pumps: Mapping[str, Equipment], filled: Mapping[str, float]
) -> tuple[list[Step], list[str]]:
    """The schedule for two antisolvent pumps that take turns, and what it does to the flow, in words.

    The fuller one begins. The line of the other one is primed before all else.
    """
    lead, partner = sorted(("antisolvent", PARTNER), key=lambda name: -filled[name])
    whole = [replace(step, rates_ml_h=_renamed(step.rates_ml_h, lead)) for step in steps]
    volume, rate = program.prime_ml.get("antisolvent", 0.0), whole[0].rates_ml_h[lead]
    first = [Step("prime", 0.0, volume / rate * 3600, {partner: rate})] if volume else []
    later = first[-1].end_s if first else 0.0
    left, step_s = {**filled, partner: filled[partner] - volume}, command_step_s(pumps.values())
    turns = alternate(whole, pumps, left, lead=lead, partner=partner, step_s=step_s)
    effect = disturbance(turns, pumps, lead=lead, partner=partner).lines() if handovers(turns, lead, partner) else []
    words = ["the two antisolvent pumps take turns, and refill by themselves", *effect]
    return [*first, *(replace(step, start_s=step.start_s + later, end_s=step.end_s + later) for step in turns)], words


def _renamed(rates_ml_h: Mapping[str, float], lead: str) -> dict[str, float]:
    """The rates with the whole antisolvent flow on the pump that begins."""
    return {lead if name == "antisolvent" else name: rate for name, rate in rates_ml_h.items()}


def _leg(leg: Leg, here: Mapping[str, float], pumps: Mapping[str, Equipment], begin_s: float) -> list[Step]:
    """As many steps as the lines hold from one pair of flows to the next, on a straight line; then the hold."""
    count = max(round(leg.ramp_s / command_step_s(pumps.values())), 1)
    length = leg.ramp_s / count
    steps = []
    for index in range(count):
        share = index / count
        told = {
            role: _told(pumps[role], (1 - share) * here[role] + share * rate) for role, rate in leg.rates_ml_h.items()
        }
        steps.append(Step("ramp", begin_s + index * length, begin_s + (index + 1) * length, told))
    end = begin_s + leg.ramp_s
    told = {role: _told(pumps[role], rate) for role, rate in leg.rates_ml_h.items()}
    return [*steps, Step("hold", end, end + leg.hold_s, told)]


def _told(pump: Equipment, rate_ml_h: float) -> float:
    """A rate as the pump can be told it; rounding to four digits must not carry it past the pump's limits."""
    told = told_ml_h(pump.model.family, rate_ml_h)
    low, high = pump.range_ml_h
    if not low * (1 - 1e-9) <= told <= high:
        raise BadInput(
            f"{rate_ml_h:g} mL/h rounds to {told:g} mL/h, beyond {pump.name}: {low:.3g} to {high:.5g} mL/h",
            "choose a setpoint a little inside that range",
        )
    return told


def _filled(pumps: Mapping[str, Equipment], given: Mapping[str, float]) -> dict[str, float]:
    filled = {role: given.get(role, pump.syringe.volume_ml) for role, pump in pumps.items()}
    for role, volume in filled.items():
        if not 0 < volume <= pumps[role].syringe.volume_ml:
            raise BadInput(
                f"{pumps[role].syringe.name} can't hold {volume:g} mL for the {role}",
                f"give a volume above 0 and up to {pumps[role].syringe.volume_ml:g} mL",
            )
    return filled


def _usable(pumps: Mapping[str, Equipment], filled: Mapping[str, float], role: str) -> float:
    """What a run may take out of a syringe, mL."""
    return filled[role] - RESERVE * pumps[role].syringe.volume_ml


def _shortened(
    program: Program, pumps: Mapping[str, Equipment], filled: Mapping[str, float], short: list[str], allowed: bool
) -> Program:
    """The program with its last hold cut down to what the syringes last; raises where that is not allowed."""
    last = program.legs[-1]
    steps = steps_of(program, pumps)
    spare = min(
        (_usable(pumps, filled, role) - infused_ml(steps, role)) / last.rates_ml_h[role] * 3600 for role in short
    )
    floor = math.floor((last.hold_s + spare) * 10) / 10
    role = short[0]
    if floor <= 0:
        raise BadInput(
            f"the {role} syringe with {filled[role]:g} mL does not even last for the way to the last hold",
            "fill it, or take a larger one",
        )
    if allowed:
        return replace(program, legs=(*program.legs[:-1], replace(last, hold_s=floor)))
    raise BadInput(
        f"a hold of {last.hold_s:g} s outlasts the {role} syringe: {filled[role]:g} mL at"
        f" {last.rates_ml_h[role]:g} mL/h"
        f" are gone in {_duration(filled[role] / last.rates_ml_h[role] * 3600)}, of which the way there and a reserve"
        f" leave {floor:g} s",
        f"hold for at most {floor:g} s. A longer run at this flow needs two pumps in turn with check valves: give the"
        f" antisolvent a partner in case.toml, [rig.antisolvent.partner]",
    )


def _rates(rates: Mapping[str, float]) -> str:
    return " + ".join(f"{rate:g}" for rate in rates.values()) + " mL/h"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
