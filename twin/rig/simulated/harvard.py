"""Simulated pumps of the Harvard family: what one does with a command, and how far its plunger has come.

Written from the manuals, apart from the driver. Where they are silent a choice was made: a ramp keeps its last rate;
`irate` takes a ramp back; a rate is printed in the unit that it was set in; a reset ends polling mode.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from twin.rig.simulated import harvard_commands
from twin.rig.simulated.body import Body
from twin.rig.simulated.harvard_dialect import HarvardDialect
from twin.rig.simulated.harvard_units import in_ml, in_ml_h
from twin.rig.wire import harvard as wire

_STEP_S = 0.05  # of a ramp
_SIGNS = {"i": 1.0, "w": -1.0}
_MOVING = {"i": "I", "w": "W"}


def _first_rates() -> dict[str, tuple[float, str]]:
    return {"i": (1.0, "ml/min"), "w": (1.0, "ml/min")}


@dataclass
class Settings:
    """What survives a reset, where `nvram` lets it be stored; numbers in the unit that they were set in."""

    diameter_mm: float = 14.43
    rates: dict[str, tuple[float, str]] = field(default_factory=_first_rates)
    ramp: tuple[tuple[float, str], tuple[float, str], float] | None = None
    syringe: tuple[float, str] = (60.0, "ml")
    target: tuple[float, str] | None = None
    target_s: float | None = None
    force: float = 100.0


class SimulatedHarvard(Body):
    """One pump, at any time in one of the states I (infusing), W (withdrawing), S (stopped).

    Args:
        body: the arguments of `Body`, and so are `more`; its widest syringe has 33 mm, where they don't say.
        withdraws: whether it can.
        quick_start: whether its screen stands at Quick Start when it is switched on.
        answers: whether it answers what sets something also where it is not the first of its chain.
    """

    dialect: ClassVar[HarvardDialect] = HarvardDialect()

    def __init__(
        self,
        *body: Any,
        withdraws: bool = True,
        quick_start: bool = True,
        answers: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(*body, **{"max_diameter_mm": 33.0, **more})
        self.address = 0
        self.answers = answers
        self.polling = self.echo = False
        self.unasked = False  #: whether it has a prompt to say that nobody asked for
        self.withdraws = withdraws
        self._first_quick = self.quick = quick_start
        self.settings, self.stored, self.storing = Settings(), Settings(), True
        self.side: str = "i"
        self.counted: dict[str, float] = {"i": 0.0, "w": 0.0}
        self.seconds: dict[str, float] = {"i": 0.0, "w": 0.0}
        self._started = self.goal_ml_h = 0.0
        self.stalled = self.reached = self._ramping = False

    @property
    def prompt(self) -> str:
        """What ends its replies, less the address."""
        if self.status != "S":
            return wire.INFUSING if self.status == "I" else wire.WITHDRAWING
        return wire.STALLED if self.stalled else wire.TARGET_REACHED if self.reached else wire.IDLE

    def power_on(self, now_s: float) -> None:
        """Power comes back: only what was stored is there."""
        self.advance(now_s)
        self.end()
        self.polling = self.echo = False
        self.quick, self.storing = self._first_quick, True
        self.settings = copy.deepcopy(self.stored)
        self.counted, self.seconds = {"i": 0.0, "w": 0.0}, {"i": 0.0, "w": 0.0}

    def stall(self, now_s: float) -> None:
        """The motor is blocked."""
        self.advance(now_s)
        self.end(stalled=True)

    def advance(self, now_s: float) -> None:
        """Moves the plunger on to a time, s."""
        while self.status != "S" and self._then < now_s:
            step_s = min(now_s - self._then, _STEP_S if self._ramping else math.inf)
            if self.settings.target_s is not None:
                step_s = min(step_s, max(self._started + self.settings.target_s - self._then, 0.0))
            if self._ramping:
                self._head_for(self._ramped_ml_h(self._then + step_s - self._started))
            self._move(step_s)
        self._then = max(self._then, now_s)

    def execute(self, command: str, address: int, now_s: float) -> list[str]:
        """The lines that answer a command. Raises `Refused`."""
        self.advance(now_s)
        self.address = address
        return harvard_commands.execute(self, command)

    def end(self, stalled: bool = False, reached: bool = False) -> None:
        """It stands still, because it was told to or for one of two reasons."""
        self._head_for(0.0)
        self.status, self._ramping = "S", False
        self.stalled, self.reached = stalled, reached
        self.unasked = reached and not self.polling

    def run(self, side: str) -> None:
        """Sets out, with its ramp where it infuses and has one."""
        self.side, self.status, self._started = side, _MOVING[side], self._then
        self.stalled = self.reached = False
        self.keep_rate()
        self._ramping = side == "i" and self.settings.ramp is not None

    def keep_rate(self) -> None:
        """Takes the rate that is set for its side, for good."""
        self._ramping = False
        self._head_for(_SIGNS[self.side] * in_ml_h(*self.settings.rates[self.side]))

    def limits(self) -> tuple[float, float]:
        """The lowest and the highest rate with its syringe, mL/h."""
        return self._range_ml_h(self.settings.diameter_mm)

    def _move(self, seconds: float) -> None:
        target, target_s = self.settings.target, self.settings.target_s
        left_ml = max(in_ml(*target) - self.counted[self.side], 0.0) if target else math.inf
        moved_ml, took_s = self._plunger.move(seconds, left_ml)
        self.counted[self.side] += abs(moved_ml)
        self.seconds[self.side] += took_s
        self._then += took_s
        if abs(moved_ml) >= left_ml or (target_s is not None and self._then >= self._started + target_s):
            self.end(reached=True)
        elif self._plunger.blocked:
            self.end(stalled=True)

    def _head_for(self, rate_ml_h: float) -> None:
        self.goal_ml_h = rate_ml_h
        self._plunger.run(rate_ml_h)

    def _ramped_ml_h(self, since_s: float) -> float:
        """The rate of the ramp at a time after the start, mL/h."""
        start, end, seconds = self.settings.ramp or ((0.0, "ml/min"), (0.0, "ml/min"), 0.0)
        share = min(since_s / seconds, 1.0) if seconds else 1.0
        return in_ml_h(*start) + share * (in_ml_h(*end) - in_ml_h(*start))
