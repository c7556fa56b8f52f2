"""Catalogues: the syringes by inner diameter, the pumps by the speed of their plunger.

A syringe of inner diameter d on a pump whose plunger moves at v delivers Q = π/4 d² v.

Sources: the speeds of the NE-1000 from the specifications in its manual (5.1005 cm/min, 0.004205 cm/h), and those of
the NE-1010 rounded and second-hand. Diameters as the makers of the syringes give them. No value was measured on a
pump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from twin.errors import BadInput

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Syringe:
    """A syringe: inner diameter in mm, volume in mL, and what it is made of."""

    name: str
    diameter_mm: float
    volume_ml: float
    material: str
    toluene_safe: bool

    @property
    def area_cm2(self) -> float:
        """Cross-section of the bore, cm²."""
        return math.pi / 4 * (self.diameter_mm / 10) ** 2


@dataclass(frozen=True)
class PumpModel:
    """A pump: the slowest and the fastest speed of its plunger in cm/h, and the model number that it answers with."""

    name: str
    number: str
    min_cm_h: float
    max_cm_h: float

    def range_ml_h(self, syringe: Syringe) -> tuple[float, float]:
        """The lowest and the highest rate with a syringe, mL/h."""
        return self.min_cm_h * syringe.area_cm2, self.max_cm_h * syringe.area_cm2


SYRINGES = {
    syringe.name: syringe
    for syringe in (
        Syringe("steel-50ml", 28.6, 50.0, "stainless steel", True),
        Syringe("glass-50ml", 26.96, 50.0, "glass with a PTFE plunger", True),
        Syringe("bd-60ml", 26.59, 60.0, "polypropylene with a rubber plunger", False),
        Syringe("monoject-140ml", 38.0, 140.0, "polypropylene with a rubber plunger", False),
    )
}

PUMP_MODELS = {
    model.name: model
    for model in (
        PumpModel("NE-1000", "1000", 0.004205, 5.1005 * 60),
        PumpModel("NE-1010", "1010", 0.0084, 18.37 * 60),
    )
}


def syringe(name: str) -> Syringe:
    """The syringe of that name; raises `BadInput` that lists the known ones."""
    return _known(SYRINGES, name, "syringe")


def pump_model(name: str) -> PumpModel:
    """The pump model of that name; raises `BadInput` that lists the known ones."""
    return _known(PUMP_MODELS, name, "pump model")


def _known(catalogue: dict[str, Entry], name: str, kind: str) -> Entry:
    if name not in catalogue:
        raise BadInput(f'there is no {kind} "{name}" in the catalogue', f"choose from {', '.join(catalogue)}")
    return catalogue[name]
