"""The sensors that a case names."""

from __future__ import annotations

from collections.abc import Callable

from twin.case.rig import Rig
from twin.case.rig import Sensor as SensorEntry
from twin.errors import BadInput
from twin.rig.clock import Clock
from twin.rig.sensors.protocol import Sensor
from twin.rig.sensors.spectrometer import SpectrometerSensor
from twin.rig.sensors.text import NUMBER, TextSensor

#: Makes the sensor of that name where the case says `driver = "simulated"`.
Simulator = Callable[[str, SensorEntry], Sensor]


def sensors(rig: Rig, clock: Clock, simulator: Simulator | None = None) -> list[Sensor]:
    """The sensors of a case, in its order, closed.

    Raises one `BadInput` with everything that can't be: a port that serves two, or a simulated sensor without a
    simulator.
    """
    mistakes = _shared_ports(rig)
    if simulator is None:
        mistakes += [
            f"  rig.sensors.{name}.driver: there is no simulator here; name a real sensor"
            for name, entry in rig.sensors.items()
            if entry.driver == "simulated"
        ]
    if mistakes:
        raise BadInput("\n".join(["the sensors of this case can't be used", *mistakes]))
    return [_sensor(name, entry, clock, simulator) for name, entry in rig.sensors.items()]


def periods_s(rig: Rig) -> dict[str, float]:
    """Wall time from one reading to the next, s, by sensor."""
    return {name: entry.period for name, entry in rig.sensors.items()}


def _sensor(name: str, entry: SensorEntry, clock: Clock, simulator: Simulator | None) -> Sensor:
    if entry.driver == "simulated" and simulator is not None:
        return simulator(name, entry)
    if entry.driver == "seabreeze":
        window_nm = None if entry.window is None else (1e9 * entry.window[0], 1e9 * entry.window[1])
        return SpectrometerSensor(name, clock, entry.serial_number, entry.integration, window_nm)
    return TextSensor(
        name,
        entry.unit,
        entry.port or "",
        clock,
        baud=entry.baud,
        query=entry.query.encode("ascii"),
        pattern=entry.pattern or NUMBER,
        scale=entry.scale,
        offset=entry.offset,
    )


def _shared_ports(rig: Rig) -> list[str]:
    pumps = (rig.antisolvent, rig.precursor)
    ports = [pump.port for pump in pumps] + [pump.partner.port for pump in pumps if pump.partner is not None]
    taken: dict[str, str] = {port: "a pump" for port in ports if port is not None}
    mistakes = []
    for name, entry in rig.sensors.items():
        if entry.port is None:
            continue
        if entry.port in taken:
            mistakes.append(f"  rig.sensors.{name}.port: {entry.port} belongs to {taken[entry.port]}; give it its own")
        taken.setdefault(entry.port, f"the sensor {name}")
    return mistakes
