"""The state machine of one simulated New Era pump: what it does with a command, and what its plunger does.

Written from the manuals, apart from the driver: the two share constants and no code, so that a misreading in one shows
up against the other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from twin.rig.simulated.body import Body
from twin.rig.simulated.newera_dialect import Ear, NewEraDialect
from twin.rig.wire.newera import LONGEST_S

_PER_HOUR = {"UM": 0.06, "MM": 60.0, "UH": 0.001, "MH": 1.0}  # to mL/h
_PHASES = 41
#: Settings that are stored and have no effect here: what they are at first, and what they may be.
_SETTINGS = {
    "AL": ("1", r"[01]"), "PF": ("0", r"[01]"), "TRG": ("FT", r"[A-Z][A-Z0-9]"), "LOC": ("0", r"[01]"),
    "BP": ("1", r"[01]"), "BUZ": ("0", r"0|1\d?"), "ROM": ("0", r"\d{1,2}"), "DIN": ("0", r"[01]"),
    "LN": ("0", r"[01]"),
}  # fmt: skip
_COMMAND = re.compile(r"(\*[A-Z]+|AL|PF|BP|LN|[A-Z]{3})(.*)")


@dataclass
class _Phase:
    """One phase of the pumping program; `target` in the volume unit, 0 for none."""

    function: str = "STP"
    rate: float = 1.0
    unit: str = "MM"
    target: float = 0.0
    direction: str = "INF"

    @property
    def rate_ml_h(self) -> float:
        return self.rate * _PER_HOUR[self.unit]


class SimulatedNewEra(Body):
    """One pump, at any time in one of the states I (infusing), W (withdrawing), X (purging), S (stopped), P (paused).

    Args:
        body: the arguments of `Body`, and so are `more`.
        firmware: what VER says after the model.
        packets_in_basic: whether it hears packets of Safe mode while it is in Basic mode.
        running_change: whether it knows `RAT C`, which changes the rate while it runs; older pumps don't.
    """

    dialect: ClassVar[NewEraDialect] = NewEraDialect()

    def __init__(
        self,
        *body: Any,
        firmware: str = "V3.923",
        packets_in_basic: bool = True,
        running_change: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(*body, **more)
        self._running_change = running_change
        self.ear = Ear(packets_in_basic)
        self._firmware = firmware
        self._alarm = ""
        self._pushed = True  # whether the alarm at hand was said unasked
        self._due = math.inf  # when the time-out of Safe mode strikes
        self._reset()

    def _reset(self) -> None:
        """Everything as it left the factory."""
        self.address: int | None = None
        self._timeout = 0
        self._diameter = 20.0
        self._unit = "ML"
        self._phases = {number: _Phase() for number in range(1, _PHASES + 1)}
        self._phases[1].function = "RAT"
        self._selected = self._current = 1
        self._running_rate: tuple[float, str] | None = None
        self._pumped = 0.0
        self._counted = {"INF": 0.0, "WDR": 0.0}
        self._settings = {name: first for name, (first, _) in _SETTINGS.items()}

    @property
    def safe(self) -> bool:
        """Whether it is in Safe mode."""
        return self._timeout > 0

    def power_on(self, now_s: float) -> None:
        """Power comes back: what was stored is there, what was set while running is gone, A?R is pending.

        Safe mode is stored, too, but its timer waits for the first valid packet.
        """
        self.advance(now_s)
        self._halt("S")
        self._raise("R")
        self._due = math.inf
        self._counted = {"INF": 0.0, "WDR": 0.0}

    def stall(self, now_s: float) -> None:
        """The motor is blocked. After a power cut it is not told to turn before that has been acknowledged."""
        self.advance(now_s)
        self._halt("S")
        if self._alarm != "R":
            self._raise("S")

    def advance(self, now_s: float) -> None:
        """Moves the plunger on to a time, s; where the time-out of Safe mode strikes on the way, it stops there."""
        if self._due <= now_s:
            self._move(self._due)
            self._due = math.inf
            self._halt("S")
            self._raise("T")
        self._move(now_s)

    def execute(self, command: str, now_s: float) -> str:
        """The reply to a command, without address and frame. It restarts the timer of Safe mode."""
        self.advance(now_s)
        if self._alarm and not command.startswith("*"):
            body, self._alarm, self._pushed = f"A?{self._alarm}", "", True
        else:
            data = self._do(command)
            body = self.status + data
        self._due = now_s + self._timeout if self.safe else math.inf
        return body

    def damaged(self, now_s: float) -> str:
        """The reply to a packet with a wrong checksum."""
        self.advance(now_s)
        return self.status + "?COM"

    def unasked(self, now_s: float) -> str:
        """In Safe mode, an alarm that has come up; saying it unasked does not acknowledge it."""
        self.advance(now_s)
        if not self.safe or not self._alarm or self._pushed:
            return ""
        self._pushed = True
        return f"A?{self._alarm}"

    def _raise(self, alarm: str) -> None:
        self._alarm, self._pushed = alarm, False

    def _halt(self, status: str) -> None:
        self.status = status
        self._plunger.run(0.0)
        self._running_rate = None  # a rate that is set while running is not stored

    def _drive(self) -> None:
        """Turns the motor as status, rate and direction say."""
        fastest = self._range_ml_h(self._diameter)[1]
        rate = fastest if self.status == "X" else self._rate()[0] * _PER_HOUR[self._rate()[1]]
        self._plunger.run(rate if self._direction() == "INF" else -rate)

    def _move(self, now_s: float) -> None:
        """Lets the plunger go on to a time, through as many phases as it gets through."""
        while self.status in "IWX" and self._then < now_s:
            target = self._phases[self._current].target * self._unit_ml if self.status != "X" else 0.0
            moved_ml, seconds = self._plunger.move(
                now_s - self._then, target - self._pumped if target > 0 else math.inf
            )
            self._then += seconds
            self._pumped += abs(moved_ml)
            self._counted["INF" if moved_ml >= 0 else "WDR"] += abs(moved_ml)
            if self._plunger.blocked:
                self._halt("S")
                self._raise("S")
            elif 0 < target <= self._pumped * (1 + 1e-12):
                self._next_phase()
        self._then = max(now_s, self._then)

    def _next_phase(self) -> None:
        self._current, self._pumped, self._running_rate = self._current % _PHASES + 1, 0.0, None
        if self._phases[self._current].function == "STP":
            self._halt("S")
            self._current = 1
        else:
            self.status = self._direction()[0]
            self._drive()

    @property
    def _moves(self) -> bool:
        return self.status in "IWX"

    @property
    def _unit_ml(self) -> float:
        return 1e-3 if self._unit == "UL" else 1.0

    def _phase(self) -> _Phase:
        """The phase that runs; at rest the one that is selected."""
        return self._phases[self._current if self._moves else self._selected]

    def _rate(self) -> tuple[float, str]:
        set_on_the_way = self._running_rate if self._moves else None
        return set_on_the_way or (self._phase().rate, self._phase().unit)

    def _direction(self) -> str:
        return self._phases[self._current].direction

    def _do(self, command: str) -> str:
        """Executes a command; returns the data of its reply."""
        if not command:
            return ""
        match = _COMMAND.fullmatch(command)
        if match is None:
            return "?"
        name, rest = match[1], match[2]
        if name in self._settings:
            return self._setting(name, rest)
        if not rest and (query := self._queries().get(name)) is not None:
            return query()
        handler = getattr(self, f"_set_{name.lower().replace('*', 'all_')}", None)
        return handler(rest) if handler else "?"

    def _queries(self) -> dict[str, Callable[[], str]]:
        return {
            "VER": lambda: f"NE{self.model_number}{self._firmware}",
            "SAF": lambda: f"{self._timeout}",
            "DIA": lambda: _digits(self._diameter),
            "PHN": lambda: f"{self._selected:02d}",
            "FUN": lambda: self._phase().function,
            "RAT": self._query_rat,
            "VOL": lambda: _digits(self._phase().target) + self._unit,
            "DIR": lambda: self._phase().direction,
            "DIS": lambda: "I{}W{}{}".format(*(_digits(v / self._unit_ml) for v in self._counted.values()), self._unit),
            "*ADR": lambda: f"{self.address or 0}",
        }

    def _query_rat(self) -> str:
        value, unit = self._rate()
        return _digits(value) + unit if self._phase().function == "RAT" else "?NA"

    def _setting(self, name: str, rest: str) -> str:
        if not rest:
            return self._settings[name]
        if re.fullmatch(_SETTINGS[name][1], rest) is None:
            return "?OOR"
        self._settings[name] = rest
        return ""

    def _set_all_reset(self, rest: str) -> str:
        if rest:
            return "?"
        self._halt("S")
        self._reset()
        return ""

    def _set_all_adr(self, rest: str) -> str:
        if not rest.isdecimal() or len(rest) > 2:
            return "?OOR"
        self.address = int(rest)
        return ""

    def _set_saf(self, rest: str) -> str:
        if not rest.isdecimal() or int(rest) > LONGEST_S:
            return "?OOR"
        self._timeout = int(rest)
        return ""

    def _set_dia(self, rest: str) -> str:
        value = _value(rest)
        if value is None or not 0.1 <= value <= self.max_diameter_mm:
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
        if not rest.isdecimal() or not 1 <= int(rest) <= _PHASES:
            return "?OOR"
        self._selected = int(rest)
        return ""

    def _set_fun(self, rest: str) -> str:
        if self.status != "S":
            return "?NA"
        if rest not in ("RAT", "STP"):  # of the many functions these are enough here
            return "?"
        self._phase().function = rest
        return ""

    def _set_rat(self, rest: str) -> str:
        if self._phase().function != "RAT" or self.status == "X":
            return "?NA"
        if self._running_change and self._moves:  # a plain one does the same while it runs
            rest = rest.removeprefix("C")
        number, unit = (rest[:-2], rest[-2:]) if rest[-2:] in _PER_HOUR else (rest, "")
        value = _value(number)
        if value is None:
            return "?"
        if unit and self._moves:
            return "?NA"
        unit = unit or self._rate()[1]
        low, high = self._range_ml_h(self._diameter)
        if not low <= value * _PER_HOUR[unit] <= high:
            return "?OOR"
        if self._moves:
            self._running_rate = (value, unit)
            self._drive()
        else:
            self._phase().rate, self._phase().unit = value, unit
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
        self._phase().target = value
        return ""

    def _set_dir(self, rest: str) -> str:
        if rest not in ("INF", "WDR", "REV"):
            return "?"
        if self._moves and self._phase().target > 0:
            return "?NA"
        phase = self._phase()
        other = "WDR" if phase.direction == "INF" else "INF"
        phase.direction = other if rest == "REV" else rest
        if self.status in "IW":
            self.status = phase.direction[0]
            self._drive()
        return ""

    def _set_cld(self, rest: str) -> str:
        if rest not in self._counted:
            return "?"
        if self._moves:
            return "?NA"
        self._counted[rest] = 0.0
        return ""

    def _set_run(self, rest: str) -> str:
        if self._moves:
            return "?NA"
        if rest and not (rest.isdecimal() and 1 <= int(rest) <= _PHASES):
            return "?OOR"
        if self.status == "S":  # from P it goes on where it was
            self._pumped, self._current = 0.0, int(rest or 1)
        if self._phases[self._current].function == "STP":
            return ""
        self.status = self._direction()[0]
        self._drive()
        return ""

    def _set_pur(self, rest: str) -> str:
        if rest:
            return "?"
        if self.status != "S":
            return "?NA"
        self.status, self._current = "X", self._selected
        self._drive()
        return ""

    def _set_stp(self, rest: str) -> str:
        if rest:
            return "?"
        self._halt("P" if self.status in "IW" else "S")
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
