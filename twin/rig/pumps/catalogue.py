"""Catalogues: the syringes by inner diameter, the pumps by the speed of their plunger.

A syringe of inner diameter d on a pump whose plunger moves at v delivers Q = π/4 d² v.

Sources, pumps:

* NE-1000: specifications in its manual (publication 1200-01), 5.1005 cm/min and 0.004205 cm/h.
* NE-1010: from the maker's sheet of rates as another program holds it (6120 mL/h and 46.70 µL/h at 26.59 mm).
* 11 Elite: its answer to `metrics` (400 steps of 16, 2.4:1, 24 threads per inch, 26 µs to 27 s a step, up to 33 mm),
  which gives the limits that it prints to all their digits (at 14.43 mm, and with a bd-1ml), and the 159.0 mm/min of
  its manual (5420-002).
* Legato 100: prints the limits of an 11 Elite at 14.43 mm. Legato 110: its reseller gives it the same range of rates.
  Unverified: their widest syringe, and what they answer to `ver` ("Legato" is all that is asked for).

No speed of the NE-500, NE-4000, NE-8000, PHD Ultra and Legato 200 was found in a source, so they are not here. A public
driver of the PHD Ultra quotes its limits, 14.7792 nl/min to 15.3477 ml/min, with a syringe that it does not name: their
ratio is that of an 11 Elite (27 s to 26 µs a step), and the speed stays unknown.

Sources, syringes: the tables of diameters in the manual of the 11 Elite (appendix A; it gives bd-60ml as 26.594), but
monoject-140ml and glass-50ml (of no named maker) second-hand. `toluene_safe` tells materials apart: steel, glass and
PTFE stand it, polypropylene and rubber do not. No value was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

from twin.errors import BadInput

Entry = TypeVar("Entry")
Family = Literal["newera", "harvard"]

_STEEL = "stainless steel"
_PTFE = "glass with a PTFE plunger"
_GROUND = "glass with a ground glass plunger"
_RUBBER = "polypropylene with a rubber plunger"
_PLASTIC = "polypropylene with a polyethylene plunger"


@dataclass(frozen=True)
class Syringe:
    """A syringe: inner diameter in mm, volume in mL, and what it is made of. Raises `BadInput` where it can't be."""

    name: str
    diameter_mm: float
    volume_ml: float
    material: str
    toluene_safe: bool

    def __post_init__(self) -> None:
        for value, unit in ((self.diameter_mm, "mm of inner diameter"), (self.volume_ml, "mL")):
            if not (math.isfinite(value) and value > 0):
                raise BadInput(f"a syringe ({self.name}) can't have {value:g} {unit}", "give a positive number")

    @property
    def area_cm2(self) -> float:
        """Cross-section of the bore, cm²."""
        return math.pi / 4 * (self.diameter_mm / 10) ** 2


@dataclass(frozen=True)
class PumpModel:
    """A pump: how it is called and calls itself, what it speaks, how fast its plunger goes, and what fits.

    Attributes:
        name: what a case calls it.
        number: what its answer to a question for its version holds.
        family: which driver it needs.
        min_cm_h: the slowest speed of its plunger, cm/h.
        max_cm_h: the fastest, cm/h.
        max_diameter_mm: the inner diameter of the widest syringe, mm.
    """

    name: str
    number: str
    family: Family
    min_cm_h: float
    max_cm_h: float
    max_diameter_mm: float

    def range_ml_h(self, syringe: Syringe) -> tuple[float, float]:
        """The lowest and the highest rate with a syringe, mL/h; raises `BadInput` where it is too wide."""
        if syringe.diameter_mm > self.max_diameter_mm:
            raise BadInput(
                f"{syringe.name} ({syringe.diameter_mm:g} mm) is too wide for the {self.name}",
                f"take a syringe of up to {self.max_diameter_mm:g} mm",
            )
        return self.min_cm_h * syringe.area_cm2, self.max_cm_h * syringe.area_cm2


SYRINGES = {
    syringe.name: syringe
    for syringe in (
        Syringe("steel-50ml", 28.6, 50.0, _STEEL, True),
        Syringe("glass-50ml", 26.96, 50.0, _PTFE, True),
        Syringe("bd-60ml", 26.59, 60.0, _RUBBER, False),
        Syringe("monoject-140ml", 38.0, 140.0, _RUBBER, False),
        # Harvard
        Syringe("steel-20ml", 19.13, 20.0, _STEEL, True),
        Syringe("steel-8ml", 9.525, 8.0, _STEEL, True),
        Syringe("steel-2.5ml", 4.851, 2.5, _STEEL, True),
        # Hamilton, gastight
        Syringe("hamilton-50ml", 32.573, 50.0, _PTFE, True),
        Syringe("hamilton-25ml", 23.033, 25.0, _PTFE, True),
        Syringe("hamilton-10ml", 14.567, 10.0, _PTFE, True),
        Syringe("hamilton-5ml", 10.3, 5.0, _PTFE, True),
        Syringe("hamilton-2.5ml", 7.285, 2.5, _PTFE, True),
        Syringe("hamilton-1ml", 4.608, 1.0, _PTFE, True),
        # SGE
        Syringe("sge-50ml", 27.5, 50.0, _PTFE, True),
        Syringe("sge-25ml", 23.0, 25.0, _PTFE, True),
        Syringe("sge-10ml", 14.567, 10.0, _PTFE, True),
        Syringe("sge-5ml", 10.301, 5.0, _PTFE, True),
        Syringe("sge-2.5ml", 7.284, 2.5, _PTFE, True),
        Syringe("sge-1ml", 4.606, 1.0, _PTFE, True),
        # Becton Dickinson, glass
        Syringe("bd-glass-50ml", 28.6, 50.0, _GROUND, True),
        Syringe("bd-glass-30ml", 22.7, 30.0, _GROUND, True),
        Syringe("bd-glass-20ml", 19.13, 20.0, _GROUND, True),
        Syringe("bd-glass-10ml", 14.34, 10.0, _GROUND, True),
        Syringe("bd-glass-5ml", 11.86, 5.0, _GROUND, True),
        # Becton Dickinson, Plastipak
        Syringe("bd-50ml", 26.594, 50.0, _RUBBER, False),
        Syringe("bd-30ml", 21.59, 30.0, _RUBBER, False),
        Syringe("bd-20ml", 19.05, 20.0, _RUBBER, False),
        Syringe("bd-10ml", 14.427, 10.0, _RUBBER, False),
        Syringe("bd-5ml", 11.989, 5.0, _RUBBER, False),
        Syringe("bd-3ml", 8.585, 3.0, _RUBBER, False),
        Syringe("bd-1ml", 4.699, 1.0, _RUBBER, False),
        # Sherwood Monoject
        Syringe("monoject-60ml", 26.568, 60.0, _RUBBER, False),
        Syringe("monoject-35ml", 23.571, 35.0, _RUBBER, False),
        Syringe("monoject-20ml", 20.142, 20.0, _RUBBER, False),
        Syringe("monoject-12ml", 15.621, 12.0, _RUBBER, False),
        Syringe("monoject-6ml", 12.6, 6.0, _RUBBER, False),
        Syringe("monoject-3ml", 8.865, 3.0, _RUBBER, False),
        # Henke-Sass, Wolf Norm-Ject
        Syringe("norm-ject-50ml", 29.2, 50.0, _PLASTIC, False),
        Syringe("norm-ject-20ml", 20.05, 20.0, _PLASTIC, False),
        Syringe("norm-ject-10ml", 15.9, 10.0, _PLASTIC, False),
        Syringe("norm-ject-5ml", 12.45, 5.0, _PLASTIC, False),
    )
}


def _stepped_cm_h(seconds_per_step: float) -> float:
    """The speed of an 11 Elite's plunger at so many s a microstep, cm/h."""
    steps_per_inch = 400 * 16 * 2.4 * 24
    return 2.54 / steps_per_inch / seconds_per_step * 3600


_ELITE = (_stepped_cm_h(27.0), _stepped_cm_h(26e-6), 33.0)

PUMP_MODELS = {
    model.name: model
    for model in (
        PumpModel("NE-1000", "1000", "newera", 0.004205, 5.1005 * 60, 50.0),
        PumpModel("NE-1010", "1010", "newera", 0.00841, 18.37 * 60, 50.0),
        PumpModel("11 Elite", "11 ELITE", "harvard", *_ELITE),
        PumpModel("Legato 100", "LEGATO", "harvard", *_ELITE),
        PumpModel("Legato 110", "LEGATO", "harvard", *_ELITE),
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
        own = f"[rig.{kind.split()[-1]}s.{name}]"
        raise BadInput(
            f'there is no {kind} "{name}" in the catalogue',
            f"choose from {', '.join(catalogue)}, or describe it in {own} of case.toml",
        )
    return catalogue[name]
