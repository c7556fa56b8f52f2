"""What a sensor is, whatever it measures and however it is connected."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from twin.errors import BadInput
from twin.rig.errors import BadReply
from twin.units import parse


@dataclass(frozen=True)
class Reading:
    """One measurement.

    `value` is in `unit`. None says that the sensor works and there is nothing to measure, as a spectrometer before the
    first emission; it is never a NaN. `t_s` is process time, `wall_s` wall time (monotonic), both of the moment at
    which it was there. `details` is JSON-like. `steady` is set by telemetry: the flow had settled for all of it.
    """

    sensor: str
    value: float | None
    unit: str
    t_s: float
    wall_s: float
    details: dict[str, Any] = field(default_factory=dict)
    steady: bool = False

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise BadReply(f"the sensor {self.sensor} gives {self.value}, which is no number", "look at the sensor")

    def si(self, kind: str) -> float:
        """The value in SI, read as a quantity of that kind of `twin.units`: Pa for "pressure".

        Raises `BadInput` where the unit is of another kind, or there is no value.
        """
        if self.value is None:
            raise BadInput(f"the sensor {self.sensor} has no value", "wait until it sees something")
        return parse(f"{self.value!r} {self.unit}", kind)


class Sensor(Protocol):
    """A sensor. It may be opened again after it was closed; telemetry does so after a failure."""

    name: str
    unit: str

    def open(self) -> None:
        """Gets it ready; raises `BadInput` where the user can help, else `RigError`."""
        ...

    def read(self) -> Reading:
        """Measures once, within a deadline of its own; raises `RigError` where nothing, or nonsense, came."""
        ...

    def close(self) -> None:
        """Lets it go. A second call does nothing."""
        ...
