"""Telemetry: what the rig measures besides its pumps.

A `Sensor` gives `Reading`s; `Telemetry` samples sensors, pins the readings up on its `Board` and records them;
`sensors` makes those of a case.
"""

from twin.rig.sensors.make import periods_s, sensors
from twin.rig.sensors.protocol import Reading, Sensor
from twin.rig.sensors.spectrum import decode_spectrum
from twin.rig.sensors.steady import Steadiness
from twin.rig.sensors.telemetry import Board, Telemetry

__all__ = ["Board", "Reading", "Sensor", "Steadiness", "Telemetry", "decode_spectrum", "periods_s", "sensors"]
