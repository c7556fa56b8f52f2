"""What the commands of a simulated pump of the Harvard family mean: by name, what they do and the lines they answer.

A command that only sets something answers no line.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from twin.rig.simulated.harvard_units import Refused, in_ml, in_ml_h, number, rate, rate_text, volume, volume_text
from twin.rig.wire import harvard as wire

if TYPE_CHECKING:
    from twin.rig.simulated.harvard import SimulatedHarvard

Lines = list[str]
Command = Callable[["SimulatedHarvard", list[str]], Lines]


def execute(pump: SimulatedHarvard, command: str) -> Lines:
    """The lines that answer a command; four letters of its name are enough. Raises `Refused`."""
    name, *words = command.split() or [""]
    if not name:
        return []
    if name not in COMMANDS:
        name = next((full for full in COMMANDS if len(name) >= 4 and full.startswith(name)), "")
    if not name:
        raise Refused(wire.COMMAND_ERROR, wire.UNKNOWN_COMMAND)
    if (name in _QUICK_START and not pump.quick) or (name in _WITHDRAWING and not pump.withdraws):
        raise Refused(wire.COMMAND_ERROR, "Not available in this mode")
    lines = COMMANDS[name](pump, words)
    if not lines and pump.storing:
        pump.stored = copy.deepcopy(pump.settings)
    return lines


def _rate(pump: SimulatedHarvard, side: str, words: list[str]) -> Lines:
    low, high = pump.limits()
    if not words:
        return ["{:.6g} {}".format(*pump.settings.rates[side])]
    if words == ["lim"]:
        return [f"{rate_text(low)} to {rate_text(high)}"]
    extremes = {"min": (low / 60, "ml/min"), "max": (high / 60, "ml/min")}
    pump.settings.rates[side] = extremes.get(" ".join(words)) or _within(pump, words)
    pump.settings.ramp = None
    if pump.status != "S" and side == pump.side:
        pump.keep_rate()
    return []


def _within(pump: SimulatedHarvard, words: list[str]) -> tuple[float, str]:
    asked, (low, high) = rate(words), pump.limits()
    if not low * (1 - 1e-6) <= in_ml_h(*asked) <= high * (1 + 1e-6):  # as far as it prints them
        raise Refused(wire.ARGUMENT_ERROR, wire.OUT_OF_RANGE, words[0])
    return asked


def _present_rate(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if pump.status == "S":
        raise Refused(wire.COMMAND_ERROR, "The pump is not running")
    return [f"{'Infusing' if pump.side == 'i' else 'Withdrawing'} at {rate_text(abs(pump.goal_ml_h))}"]


def _ramp(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if words:
        pump.settings.ramp = (_within(pump, words[:2]), _within(pump, words[2:4]), number(words[4:]))
        return []
    if pump.settings.ramp is None:
        return [wire.NO_RAMP]
    start, end, seconds = pump.settings.ramp
    return [f"{start[0]:.6g} {start[1]} to {end[0]:.6g} {end[1]} in {seconds:.6g} seconds"]


def _run(pump: SimulatedHarvard, side: str) -> Lines:
    pump.run(side)
    return []


def _stop(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if pump.status != "S":
        pump.end()
    return []


def _diameter(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if not words:
        return [f"{pump.settings.diameter_mm:.4f} mm"]
    _at_rest(pump)
    pump.settings.diameter_mm = round(_between(words, 0.1, pump.max_diameter_mm), 4)
    return []


def _syringe(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if not words:
        return ["{:.4f} {}".format(*pump.settings.syringe)]
    pump.settings.syringe = volume(words)
    return []


def _target(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if not words:
        return ["{:.6g} {}".format(*pump.settings.target) if pump.settings.target else wire.NO_TARGET_VOLUME]
    if not 0 < in_ml(*(asked := volume(words))) <= in_ml(*pump.settings.syringe):
        raise Refused(wire.ARGUMENT_ERROR, wire.OUT_OF_RANGE, words[0])
    pump.settings.target = asked
    return []


def _clear_target(pump: SimulatedHarvard, words: list[str]) -> Lines:
    pump.settings.target = None
    return []


def _clear(pump: SimulatedHarvard, sides: str) -> Lines:
    pump.counted |= dict.fromkeys(sides, 0.0)
    return []


def _target_time(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if not words:
        seconds = pump.settings.target_s
        return [wire.NO_TARGET_TIME if seconds is None else f"{seconds:g} seconds"]
    pump.settings.target_s = number(words)
    return []


def _clear_target_time(pump: SimulatedHarvard, words: list[str]) -> Lines:
    pump.settings.target_s = None
    return []


def _status(pump: SimulatedHarvard, words: list[str]) -> Lines:
    flags = f"{pump.side if pump.status == 'S' else pump.status}.{'S' if pump.stalled else '.'}"
    flags += f".{pump.side.upper()}{'T' if pump.reached else '.'}"
    rate_fl_s = round(abs(pump.goal_ml_h) * wire.FL_PER_ML / 3600)
    counted_fl = round(pump.counted[pump.side] * wire.FL_PER_ML)
    return [f"{rate_fl_s} {round(1000 * pump.seconds[pump.side])} {counted_fl} {flags}"]


def _version(pump: SimulatedHarvard, words: list[str]) -> Lines:
    return [f"{pump.model_number}{' I/W' if pump.withdraws else ''} Single 3.0.4"]


def _long_version(pump: SimulatedHarvard, words: list[str]) -> Lines:
    return ["Firmware:      v3.0.4", "Serial number: S000000"]


def _metrics(pump: SimulatedHarvard, words: list[str]) -> Lines:
    return [
        f"Pump type string   {pump.model_number} Single",
        f"Max syringe size   {pump.max_diameter_mm:g} mm",
        f"Direction          {'Infuse/withdraw' if pump.withdraws else 'Infuse'}",
    ]


def _force(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if not words:
        return [f"{pump.settings.force:.0f}%"]
    pump.settings.force = _between(words, 1, 100)
    return []


def _maker(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if words:
        raise Refused(wire.ARGUMENT_ERROR, "Unknown syringe", words[0])
    return [f"Custom, {pump.settings.diameter_mm:.4f} mm"]


def _poll(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if not words:
        return [wire.POLLING if pump.polling else wire.POLLING.replace("ON", "OFF")]
    pump.polling = _switch(words)
    return []


def _echo(pump: SimulatedHarvard, words: list[str]) -> Lines:
    if not words:
        return [f"Echo is {'ON' if pump.echo else 'OFF'}"]
    pump.echo = _switch(words)
    return []


def _memory(pump: SimulatedHarvard, words: list[str]) -> Lines:
    pump.storing = words not in (["none"], ["off"])
    return []


def _load(pump: SimulatedHarvard, words: list[str]) -> Lines:
    _at_rest(pump)
    if words not in (["qs", "i"], ["qs", "w"], ["qs", "iw"]) or ("w" in words[1] and not pump.withdraws):
        raise Refused(wire.ARGUMENT_ERROR, "Unknown method", " ".join(words))
    pump.quick = True
    return []


def _at_rest(pump: SimulatedHarvard) -> None:
    if pump.status != "S":
        raise Refused(wire.COMMAND_ERROR, "Not while the pump runs")


def _between(words: list[str], low: float, high: float) -> float:
    if not low <= number(words) <= high:
        raise Refused(wire.ARGUMENT_ERROR, wire.OUT_OF_RANGE, words[0])
    return number(words)


def _switch(words: list[str]) -> bool:
    if words not in (["on"], ["off"]):
        raise Refused(wire.ARGUMENT_ERROR, "Unknown argument", " ".join(words))
    return words == ["on"]


#: Those of the screen of Quick Start, which is where settings are taken.
_QUICK: dict[str, Command] = {
    "irate": lambda pump, words: _rate(pump, "i", words),
    "wrate": lambda pump, words: _rate(pump, "w", words),
    "crate": _present_rate,
    "iramp": _ramp,
    "irun": lambda pump, words: _run(pump, "i"),
    "wrun": lambda pump, words: _run(pump, "w"),
    "rrun": lambda pump, words: _run(pump, "w" if pump.side == "i" else "i"),
    "run": lambda pump, words: _run(pump, pump.side),
    "diameter": _diameter,
    "svolume": _syringe,
    "tvolume": _target,
    "ctvolume": _clear_target,
    "ivolume": lambda pump, words: [volume_text(pump.counted["i"])],
    "wvolume": lambda pump, words: [volume_text(pump.counted["w"])],
    "cvolume": lambda pump, words: _clear(pump, "iw"),
    "civolume": lambda pump, words: _clear(pump, "i"),
    "cwvolume": lambda pump, words: _clear(pump, "w"),
    "ttime": _target_time,
    "cttime": _clear_target_time,
    "itime": lambda pump, words: [f"{pump.seconds['i']:.0f} seconds"],
}
COMMANDS: dict[str, Command] = _QUICK | {
    "stop": _stop,
    "stp": _stop,
    "status": _status,
    "ver": _version,
    "version": _long_version,
    "metrics": _metrics,
    "address": lambda pump, words: [f"Pump address is {pump.address}"],
    "force": _force,
    "syrmanu": _maker,
    "poll": _poll,
    "echo": _echo,
    "nvram": _memory,
    "load": _load,
}
_QUICK_START = frozenset(_QUICK)
_WITHDRAWING = frozenset({"wrate", "wrun", "rrun", "wvolume", "cwvolume"})
