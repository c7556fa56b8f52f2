"""Numbers with their units, as simulated pumps of the Harvard family read and print them."""

from __future__ import annotations

import re

from twin.rig.wire.harvard import ARGUMENT_ERROR, ML_POWERS, PER_HOUR

_LONG_TIMES = {"s": "sec", "m": "min", "h": "hr"}


class Refused(Exception):
    """A command is refused: the kind of error, why, and the argument to blame."""

    def __init__(self, kind: str, why: str, argument: str = "") -> None:
        super().__init__(kind, why, argument)
        self.lines = [f"{kind}: {argument}".rstrip(), f"   {why}"]


def number(words: list[str]) -> float:
    """The first word."""
    if not words or not re.fullmatch(r"\d+\.?\d*|\.\d+", words[0], re.ASCII):
        raise Refused(ARGUMENT_ERROR, "Invalid number", "".join(words[:1]))
    return float(words[0])


def volume(words: list[str]) -> tuple[float, str]:
    """Two words: `5 ml`, `5 m`."""
    letter = words[1].removesuffix("l") if len(words) == 2 else ""
    if not letter or letter not in ML_POWERS:
        raise Refused(ARGUMENT_ERROR, "Unknown units", " ".join(words[1:]))
    return number(words), f"{letter}l"


def rate(words: list[str]) -> tuple[float, str]:
    """Two words: `5 ml/hr`, `5 m/h`."""
    letters, slash, time = words[1].partition("/") if len(words) == 2 else ("", "", "")
    if not slash or time not in PER_HOUR:
        raise Refused(ARGUMENT_ERROR, "Unknown units", " ".join(words[1:]))
    value, unit = volume([words[0], letters])
    return value, f"{unit}/{_LONG_TIMES[time[0]]}"


def in_ml(value: float, unit: str) -> float:
    """A volume in mL."""
    return value * 10.0 ** ML_POWERS[unit[:-1]]


def in_ml_h(value: float, unit: str) -> float:
    """A rate in mL/h."""
    letters, _, time = unit.partition("/")
    return in_ml(value, letters) * PER_HOUR[time]


def volume_text(ml: float) -> str:
    """Six digits in the largest unit that keeps it at 1 or above."""
    if not ml:
        return "0 ul"
    letter = next((letter for letter in "mun" if ml >= 10.0 ** ML_POWERS[letter]), "p")
    return f"{ml / 10.0 ** ML_POWERS[letter]:.6g} {letter}l"


def rate_text(ml_h: float) -> str:
    """The same, a minute."""
    return f"{volume_text(ml_h / 60)}/min"
