"""The state machine of one simulated New Era pump: what it does with a command, and how far its plunger has come."""

from __future__ import annotations

import math

_PER_HOUR = {"UM": 0.06, "MM": 60.0, "UH": 0.001, "MH": 1.0}  # to mL/h
_QUERIES = ("VER", "DIA", "PHN", "FUN", "RAT", "VOL", "DIR", "DIS")


class SimulatedPump:
    """One pump, at any time in one of the states I (infusing), W (withdrawing), S (stopped), P (paused).

    Args:
        model_number: what VER names, e.g. "1010".
        min_cm_h: slowest plunger speed, cm/h.
        max_cm_h: fastest plunger speed, cm/h.
        volume_ml: what the syringe holds at first, mL. When it is empty, the motor stalls.
    """

    def __init__(self, model_number: str, min_cm_h: float, max_cm_h: float, volume_ml: float) -> None:
        self.model_number = model_number
        self.volume_ml = volume_ml
        self.status = "S"
        self.delivered_ml = 0.0
        self._speeds = (min_cm_h, max_cm_h)
        self._share = 1.0
        self._alarm = ""
        self._diameter = 20.0
        self._phase = 1
        self._stored = (1.0, "MM")
        self._rate = self._stored
        self._target = 0.0
        self._pumped = 0.0
        self._unit = "ML"
        self._direction = "INF"
        self._counted = {"INF": 0.0, "WDR": 0.0}
        self._then = 0.0

    def power_on(self, now_s: float) -> None:
        """Power comes back: what was stored is there, what was set while running is gone, A?R is pending."""
        self.advance(now_s)
        self.status, self._alarm = "S", "R"
        self._rate = self._stored
        self._counted = {"INF": 0.0, "WDR": 0.0}

    def stall(self, now_s: float) -> None:
        """The motor is blocked."""
        self.advance(now_s)
        self.status, self._alarm = "S", "S"

    def slow(self, share: float, now_s: float) -> None:
        """From now on it runs at this share of its rate."""
        self.advance(now_s)
        self._share = share

    def advance(self, now_s: float) -> None:
        """Moves the plunger on to a time, s."""
        seconds, self._then = now_s - self._then, now_s
        if self.status not in "IW":
            return
        volume = self._rate[0] * _PER_HOUR[self._rate[1]] * self._share * seconds / 3600
        if self.status == "W":
            self._counted["WDR"] += volume
            self.volume_ml += volume
            return
        left = self._target * (1e-3 if self._unit == "UL" else 1.0) - self._pumped
        if self._target > 0 and volume >= left:
            volume, self.status = left, "S"
        if volume >= self.volume_ml:  # the plunger is at its end
            volume, self.status, self._alarm = self.volume_ml, "S", "S"
        self._pumped += volume
        self.volume_ml -= volume
        self.delivered_ml += volume
        self._counted["INF"] += volume

    def execute(self, command: str, now_s: float) -> str:
        """The reply to a command, without address and frame."""
        self.advance(now_s)
        if self._alarm:
            body, self._alarm = f"A?{self._alarm}", ""
            return body
        data = self._do(command)
        return self.status + data

    def _do(self, command: str) -> str:
        name, rest = command[:3], command[3:]
        if not command:
            return ""
        if not rest and name in _QUERIES:
            return self._query(name)
        handler = getattr(self, f"_set_{name.lower()}", None) if name.isalpha() else None
        return handler(rest) if handler else "?"

    def _query(self, name: str) -> str:
        return {
            "VER": f"NE{self.model_number}V3.923",
            "DIA": _digits(self._diameter),
            "PHN": f"{self._phase:02d}",
            "FUN": "RAT",
            "RAT": _digits(self._rate[0]) + self._rate[1],
            "VOL": _digits(self._target) + self._unit,
            "DIR": self._direction,
            "DIS": "I{}W{}{}".format(
                *(_digits(v * (1000 if self._unit == "UL" else 1)) for v in self._counted.values()), self._unit
            ),
        }[name]

    def _set_dia(self, rest: str) -> str:
        value = _value(rest)
        if value is None or not 0.1 <= value <= 50:
            return "?OOR"
        if self.status != "S":
            return "?NA"
        self._diameter = value
        self._unit = "UL" if value <= 14 else "ML"
        self._counted = {"INF": 0.0, "WDR": 0.0}
        return ""

    def _set_phn(self, rest: str) -> str:
        if self.status != "S":
            return "?NA"
        if rest != "1":  # this pump has one phase
            return "?OOR"
        return ""

    def _set_fun(self, rest: str) -> str:
        if self.status != "S":
            return "?NA"
        return "" if rest == "RAT" else "?"

    def _set_rat(self, rest: str) -> str:
        number, unit = (rest[:-2], rest[-2:]) if rest[-2:] in _PER_HOUR else (rest, "")
        value = _value(number)
        if value is None:
            return "?"
        if unit and self.status in "IW":
            return "?NA"
        unit = unit or self._rate[1]
        area = math.pi * (self._diameter / 20) ** 2
        if not self._speeds[0] * area <= value * _PER_HOUR[unit] <= self._speeds[1] * area:
            return "?OOR"
        self._rate = (value, unit)
        if self.status not in "IW":
            self._stored = self._rate
        return ""

    def _set_vol(self, rest: str) -> str:
        if self.status != "S":
            return "?NA"
        if rest in ("UL", "ML"):
            self._unit = rest
            return ""
        value = _value(rest)
        if value is None:
            return "?"
        self._target = value
        return ""

    def _set_dir(self, rest: str) -> str:
        if rest not in ("INF", "WDR"):
            return "?"
        if self.status in "IW" and self._target > 0:
            return "?NA"
        self._direction = rest
        if self.status in "IW":
            self.status = rest[0]
        return ""

    def _set_cld(self, rest: str) -> str:
        if rest not in self._counted:
            return "?"
        if self.status in "IW":
            return "?NA"
        self._counted[rest] = 0.0
        return ""

    def _set_run(self, rest: str) -> str:
        if self.status in "IW":
            return "?NA"
        if rest not in ("", "1"):
            return "?OOR"
        if self.status == "S":  # from P it goes on where it was
            self._pumped = 0.0
        self.status = self._direction[0]
        return ""

    def _set_stp(self, rest: str) -> str:
        if rest:
            return "?"
        self.status = "P" if self.status in "IW" else "S"
        return ""


def _digits(value: float) -> str:
    """At most four digits, at most three decimals, as the display shows them."""
    if value >= 999.95:
        return f"{value:.0f}."
    return f"{value:.{1 if value >= 99.995 else 2 if value >= 9.9995 else 3}f}"


def _value(text: str) -> float | None:
    """The number that a command carries; None where it is none of the pump's."""
    whole, _, decimals = text.partition(".")
    digits = whole + decimals
    if not digits.isdecimal() or not digits.isascii() or len(digits) > 4 or len(decimals) > 3:
        return None
    return float(text)
