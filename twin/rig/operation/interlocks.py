"""What must hold while pumps run. Each rule is a function of what is known at a moment, and says what is wrong.

The rules know neither ports nor threads; the watchdog asks them ten times a second and stops the rig at the first that
speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from twin.rig.operation.ledger import Balance
from twin.rig.planning import hull
from twin.rig.planning.alternation import TAKE_UP_SHARE

#: A pump that runs must have answered within this wall time, s.
PUMP_AGE_S = 1.5
#: Largest share by which a pump may count more or less than it was told, beyond what timing leaves open.
RATE_TOLERANCE = 0.03
#: Wall time by which a run may outlast its plan, s.
OVERDUE_S = 5.0


@dataclass(frozen=True)
class PumpView:
    """What is known of one pump.

    `told_ml_h` is signed; `balance` compares what it counted at the last look with what it was told up to then;
    `left_ml` is what its syringe holds now; `seen_s` is the wall time at which it was last heard.
    """

    told_ml_h: float
    allowed_ml_h: tuple[float, float]
    balance: Balance | None
    left_ml: float
    reserve_ml: float
    seen_s: float


@dataclass(frozen=True)
class Measured:
    """The last reading of a sensor: its value in its unit, None where it sees nothing, and its age, s of wall time."""

    value: float | None
    unit: str
    age_s: float


@dataclass(frozen=True)
class Snapshot:
    """What is known of the rig at a moment: process time, wall time, the kind of step, pumps and sensors by name."""

    now_s: float
    wall_s: float
    kind: str
    ends_s: float
    speed: float
    pumps: Mapping[str, PumpView]
    measured: Mapping[str, Measured] = field(default_factory=dict)


Rule = Callable[[Snapshot], str | None]


def pumps_answer(snapshot: Snapshot) -> str | None:
    """Telemetry age: a session that hangs, or a pump that is not asked, shows here."""
    for name, pump in snapshot.pumps.items():
        age = snapshot.wall_s - pump.seen_s
        if pump.told_ml_h and age > PUMP_AGE_S:
            return f"the {name} pump was last heard {age:.1f} s ago, and {PUMP_AGE_S:g} s are allowed"
    return None


def rates_are_allowed(snapshot: Snapshot) -> str | None:
    """No pump is told a rate beyond its range."""
    for name, pump in snapshot.pumps.items():
        low, high = pump.allowed_ml_h
        if pump.told_ml_h and not low * (1 - 1e-9) <= abs(pump.told_ml_h) <= high * (1 + 1e-9):
            return f"the {name} pump was told {pump.told_ml_h:g} mL/h; allowed are {low:.3g} to {high:.5g} mL/h"
    return None


def pumps_count_what_they_are_told(snapshot: Snapshot) -> str | None:
    """A pump that slips, or runs at another rate than it says, counts another volume."""
    for name, pump in snapshot.pumps.items():
        balance = pump.balance
        if balance is None:
            continue
        difference = abs(balance.counted_ml - balance.commanded_ml)
        if difference > RATE_TOLERANCE * balance.commanded_ml + balance.uncertainty_ml:
            return f"the {name} pump counts {balance.counted_ml:.4g} mL where it was told {balance.commanded_ml:.4g} mL"
    return None


def syringes_last(snapshot: Snapshot) -> str | None:
    """A plunger never runs onto the bottom: half the reserve of the plan is still there."""
    for name, pump in snapshot.pumps.items():
        if pump.told_ml_h > 0 and pump.left_ml < 0.5 * pump.reserve_ml:
            return f"the {name} syringe holds {pump.left_ml:.3g} mL, and {0.5 * pump.reserve_ml:.3g} mL must stay in it"
    return None


def run_ends_in_time(snapshot: Snapshot) -> str | None:
    """A run does not outlast its plan."""
    late = (snapshot.now_s - snapshot.ends_s) / snapshot.speed
    if late > OVERDUE_S:
        return f"the run is {late:.1f} s past its end, and {OVERDUE_S:g} s are allowed"
    return None


@dataclass(frozen=True)
class InsideHull:
    """While a setpoint is held, both flows lie in the hull of the points that the setpoint rests on."""

    corners_ml_h: Sequence[tuple[float, float]]

    def __call__(self, snapshot: Snapshot) -> str | None:
        """Looks at holds only: ramps come from below."""
        if snapshot.kind != "hold":
            return None
        precursor = snapshot.pumps["precursor"].told_ml_h
        rates = sorted(max(pump.told_ml_h, 0.0) for name, pump in snapshot.pumps.items() if name != "precursor")
        # What a pump moves forward to take up its play, before it takes over, does not reach the junction.
        antisolvent = sum(rate for rate in rates if rate > 1.1 * TAKE_UP_SHARE * rates[-1])
        if hull.contains(self.corners_ml_h, (antisolvent, precursor), tolerance=1e-3):
            return None
        return f"{antisolvent:g} + {precursor:g} mL/h lies outside the hull of the setpoint"


@dataclass(frozen=True)
class Within:
    """A sensor stays between `low` and `high`, in its unit, and is never older than `max_age_s`."""

    sensor: str
    low: float | None
    high: float | None
    max_age_s: float

    def __call__(self, snapshot: Snapshot) -> str | None:
        """A sensor that sees nothing is judged by its age alone."""
        measured = snapshot.measured.get(self.sensor)
        if measured is None or measured.age_s > self.max_age_s:
            age = "never" if measured is None else f"{measured.age_s:.1f} s ago"
            return f"the sensor {self.sensor} was last read {age}, and {self.max_age_s:g} s are allowed"
        value = measured.value
        if value is None:
            return None
        if self.high is not None and value > self.high:
            return f"{self.sensor} is {value:.4g} {measured.unit}, above {self.high:g} {measured.unit}"
        if self.low is not None and value < self.low:
            return f"{self.sensor} is {value:.4g} {measured.unit}, below {self.low:g} {measured.unit}"
        return None


#: The rules of every run, in the order in which they are asked.
ALWAYS: tuple[Rule, ...] = (
    pumps_answer,
    rates_are_allowed,
    pumps_count_what_they_are_told,
    syringes_last,
    run_ends_in_time,
)


def first_broken(rules: Sequence[Rule], snapshot: Snapshot) -> tuple[str, str] | None:
    """The name of the first rule that is broken, and its words."""
    for rule in rules:
        if (reason := rule(snapshot)) is not None:
            return getattr(rule, "__name__", type(rule).__name__), reason
    return None
