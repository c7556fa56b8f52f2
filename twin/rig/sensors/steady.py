"""When a reading belongs to the rates that are set: the outlet must have been flushed."""

from __future__ import annotations

import threading

from twin.errors import BadInput
from twin.rig.clock import Clock

#: Residence times of the outlet after which a flow counts as settled.
RESIDENCES = 3.0


class Steadiness:
    """Whether so many residence times τ = V/Q of the outlet have passed since the rates last changed.

    Args:
        clock: process time.
        outlet_ml: volume between the junction and the sensor, mL.
        residences: how many.
    """

    def __init__(self, clock: Clock, outlet_ml: float, residences: float = RESIDENCES) -> None:
        if not outlet_ml > 0:
            raise BadInput(f"an outlet can't hold {outlet_ml:g} mL", "give the volume from the junction to the sensor")
        self._clock, self._outlet_ml, self._residences = clock, outlet_ml, residences
        self._settled_s = float("inf")
        self._lock = threading.Lock()

    def changed(self, total_ml_h: float) -> None:
        """The rates changed just now to this sum, mL/h; at 0 nothing ever settles."""
        with self._lock:
            wait_s = self._residences * self._outlet_ml / total_ml_h * 3600 if total_ml_h > 0 else float("inf")
            self._settled_s = self._clock.now() + wait_s

    def __call__(self) -> bool:
        """Whether the flow has settled."""
        with self._lock:
            return self._clock.now() >= self._settled_s
