"""The simulated counterpart of a pump of the rig."""

from __future__ import annotations

from twin.rig.planning.limits import Equipment
from twin.rig.simulated.bus import SimulatedPump
from twin.rig.simulated.harvard import SimulatedHarvard
from twin.rig.simulated.newera import SimulatedNewEra

_FAMILIES: dict[str, type[SimulatedHarvard] | type[SimulatedNewEra]] = {
    "harvard": SimulatedHarvard,
    "newera": SimulatedNewEra,
}


def simulated_pump(pump: Equipment) -> SimulatedPump:
    """A pump of the same model, just switched on, with a full syringe."""
    model, volume_ml = pump.model, pump.syringe.volume_ml
    return _FAMILIES[model.family](model.number, model.min_cm_h, model.max_cm_h, volume_ml, volume_ml)
