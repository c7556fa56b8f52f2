"""Two antisolvent pumps in turn, for flows that outlast a syringe.

Each pump reaches the junction through one check valve and the reservoir through another. While one infuses, the other
rests, withdraws, rests, and moves forward by the volume that its reversal costs (the take-up: backlash, and the
compression that opens the valve). Then it takes over, on a ramp along which the sum of both rates is the wanted flow.

Both syringes are taken as primed: each pump has last moved forward, and its line to the junction is full.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from twin.errors import BadInput
from twin.rig.planning.limits import RESERVE, Equipment
from twin.rig.planning.steps import PARTNER, Step
from twin.rig.pumps.newera import format_number

#: Rest between infusing and withdrawing, s: the valves close, and a stop is verified in a fraction of it.
REST_S = 0.3
#: A refill ends so long, and a rest, before the pump must move again, s.
MARGIN_S = 1.0
#: Share of a syringe that a refill leaves empty: a stop that comes 0.25 s late at 7000 mL/h stays within it.
HEADROOM = 0.01
#: What is moved forward for a reversal, mL. Prior-only (measure it at the rig): 0.1 mL of play, that is 0.16 mm of
#: travel in a bore of 28.6 mm, and its error of 0.05 mL, since too little disturbs far more than too much.
TAKE_UP_ML = 0.16
#: The take-up runs at this share of the flow: if the pump has less play than thought, no more than that is too much.
TAKE_UP_SHARE = 0.05
#: A refill of less than this share of a syringe is not worth two reversals.
WORTHWHILE = 0.01

#: What share of the flow the second pump has, from 0 to 1, at a share of the overlap.
Shape = Callable[[float], float]


def linear(progress: float) -> float:
    """A straight ramp."""
    return progress


def smooth(progress: float) -> float:
    """A ramp that starts and ends flat: 3 p² - 2 p³."""
    return progress * progress * (3 - 2 * progress)


@dataclass(frozen=True)
class Pace:
    """How two pumps take turns.

    `overlap_s` is how long a hand-over takes (0 switches at once), and `step_s` how often new rates are sent in it, s.
    `take_up_ml` is what a pump moves forward after a refill before it delivers. A pump rests for `rest_s` between
    infusing and withdrawing, and its refill is finished `margin_s` and a rest before it moves again. No refill is
    faster than `max_refill_ml_h`, so that toluene does not boil off in the suction line. `shape` is the taker's share
    of the flow against the share of the overlap.
    """

    overlap_s: float = 2.0
    step_s: float = 0.1
    take_up_ml: float = TAKE_UP_ML
    rest_s: float = REST_S
    margin_s: float = MARGIN_S
    max_refill_ml_h: float = math.inf
    shape: Shape = linear

    def __post_init__(self) -> None:
        overlap = self.overlap_s == 0 or self.overlap_s >= self.step_s > 0
        if not (overlap and self.rest_s >= REST_S and min(self.step_s, self.max_refill_ml_h) > 0):
            raise BadInput(
                f"an overlap of {self.overlap_s:g} s in steps of {self.step_s:g} s, with rests of {self.rest_s:g} s and"
                f" refills of up to {self.max_refill_ml_h:g} mL/h, makes no hand-over",
                f"give an overlap of 0 or at least one step, and rests of at least {REST_S:g} s",
            )
        if min(self.margin_s, self.take_up_ml) < 0:
            raise BadInput("a margin or a take-up below 0 makes no hand-over", "give 0 or more")

    @property
    def count(self) -> int:
        """The steps of an overlap."""
        return max(round(self.overlap_s / self.step_s), 1)


@dataclass(frozen=True)
class Handover:
    """One pump takes over from the other: the take-up from `begin_s`, the overlap from `start_s` to `end_s`."""

    giver: str
    taker: str
    begin_s: float
    start_s: float
    end_s: float


def told_ml_h(rate_ml_h: float, at_most: float = math.inf) -> float:
    """The rate as a pump can be told it, mL/h: four digits, and never beyond `at_most`."""
    text = format_number(min(rate_ml_h, at_most))
    told = float(text)
    return told if told <= at_most else float(format_number(told - 10.0 ** -len(text.partition(".")[2])))


def split_ml_h(total_ml_h: float, share: float, giver: Equipment, taker: Equipment) -> tuple[float, float]:
    """The rates of giver and taker for a flow of which the taker is to have `share`, mL/h.

    The larger one is rounded as the pump can be told it. The smaller one takes the rest, so that the sum is off by the
    rounding of the smaller one only. Below its lowest rate a pump rests, and the other one has it all.
    """
    if total_ml_h == 0:
        return 0.0, 0.0
    parts = [((1 - share) * total_ml_h, giver), (share * total_ml_h, taker)]
    large, small = (0, 1) if share <= 0.5 else (1, 0)
    rates = [0.0, 0.0]
    low = parts[small][1].range_ml_h[0]
    if parts[small][0] >= low:
        rates[large] = told_ml_h(parts[large][0], parts[large][1].range_ml_h[1])
    if total_ml_h - rates[large] >= low and rates[large]:
        rates[small] = told_ml_h(total_ml_h - rates[large], parts[small][1].range_ml_h[1])
    else:
        rates[large] = told_ml_h(total_ml_h, parts[large][1].range_ml_h[1])
    return rates[0], rates[1]


def sustained_ml_h(
    equipment: Mapping[str, Equipment], *, lead: str = "antisolvent", partner: str = PARTNER, **pace: Any
) -> float:
    """The largest flow that two pumps in turn can keep up, mL/h; takes the options of `Pace`.

    With the usable volume U of a syringe, the take-up v at the share x of the flow, the refill rate W, and the idle
    time t of a turn (overlap, two rests, margin, two steps of the grid), a refill must fit into the other pump's turn:

    U / W = (U - v) / Q - v / (x Q) - t,  so  Q = (U - v - v / x) / (U / W + t), and never above the fastest rate.
    """
    how = Pace(**pace)
    pair = (equipment[lead], equipment[partner])
    usable = min(pump.syringe.volume_ml for pump in pair) * (1 - RESERVE - HEADROOM)
    fastest = min(pump.range_ml_h[1] for pump in pair)
    idle_h = (how.overlap_s + 2 * how.rest_s + how.margin_s + 2 * how.step_s) / 3600
    volume = usable - how.take_up_ml - how.take_up_ml / TAKE_UP_SHARE
    return max(min(volume / (usable / min(fastest, how.max_refill_ml_h) + idle_h), fastest), 0.0)


def alternate(
    steps: Sequence[Step],
    equipment: Mapping[str, Equipment],
    left_ml: Mapping[str, float],
    *,
    lead: str = "antisolvent",
    partner: str = PARTNER,
    **pace: Any,
) -> tuple[Step, ...]:
    """The schedule with its antisolvent flow shared out between two pumps that take turns.

    A pump gives over as late as its reserve allows; the other one is refilled meanwhile, as slowly as the time allows.
    In a step of kind "handover" the sum of both rates is the wanted flow. During a take-up, just before, the step
    keeps its kind: one pump has the whole flow, and what the other one infuses does not reach the junction.

    Args:
        steps: contiguous steps; the rate of `lead` is the whole flow. The other pumps' rates are kept.
        equipment: the pumps by name.
        left_ml: what the syringes hold at the start, mL by name.
        lead: the pump that starts.
        partner: the other one.
        pace: the options of `Pace`, such as `overlap_s`.

    Raises:
        BadInput: a flow that the pumps can't keep up, with the largest one that they can; syringes too empty.
    """
    limit = sustained_ml_h(equipment, lead=lead, partner=partner, **pace)
    left = {name: left_ml[name] for name in (lead, partner)}
    return _Turns(tuple(steps), equipment, left, (lead, partner), Pace(**pace), limit).made()


def handovers(steps: Sequence[Step], lead: str = "antisolvent", partner: str = PARTNER) -> tuple[Handover, ...]:
    """The hand-overs of a schedule that `alternate` made, in order."""
    found = []
    giver = lead
    for index, step in enumerate(steps):
        rates = {name: step.rates_ml_h.get(name, 0.0) for name in (lead, partner)}
        if step.kind != "handover":
            giver = max(rates, key=lambda name: rates[name]) if max(rates.values()) > 0 else giver
            continue
        if index and steps[index - 1].kind == "handover":
            continue
        taker = partner if giver == lead else lead
        before = index
        while before and steps[before - 1].rates_ml_h.get(taker, 0.0) > 0:
            before -= 1
        last = index
        while last + 1 < len(steps) and steps[last + 1].kind == "handover":
            last += 1
        found.append(Handover(giver, taker, steps[before].start_s, step.start_s, steps[last].end_s))
    return tuple(found)


def planned_ml(steps: Sequence[Step], filled_ml: float, pump: str, at_s: float) -> float:
    """What a syringe should hold at a time of the schedule, mL."""
    moved = sum(
        step.rates_ml_h.get(pump, 0.0) * (min(step.end_s, at_s) - step.start_s) for step in steps if step.start_s < at_s
    )
    return filled_ml - moved / 3600


def stroke_ml(steps: Sequence[Step], pump: str, at_s: float) -> float:
    """What a pump moves in the stroke that begins at a time of the schedule, or next after it, mL, either way."""
    total = way = 0.0
    for step in steps:
        rate = step.rates_ml_h.get(pump, 0.0)
        if step.end_s <= at_s or not (rate or way):
            continue
        if rate * way < 0 or not rate:
            break
        way = rate
        total += abs(rate) * (step.end_s - max(step.start_s, at_s)) / 3600
    return total


def refill_ml_h(step: Step, pump: Equipment, behind_ml: float) -> float:
    """The rate of a refill, negative, mL/h, that also makes up for what a syringe is behind the plan.

    Starts, stops and ramps that each take a few milliseconds add up: 10 ms at 6000 mL/h are 0.02 mL in each refill,
    and the reserve of 1 mL would be gone after 60. So each refill is to begin from what was counted.

    Args:
        step: the step with the refill.
        pump: the pump with its syringe.
        behind_ml: planned less counted content at the begin of the step, mL.
    """
    low, high = pump.range_ml_h
    wanted = -step.rates_ml_h[pump.role] + behind_ml / step.duration_s * 3600
    return -told_ml_h(max(wanted, 1.02 * low), high)


@dataclass
class _Turns:
    """The making of one schedule."""

    steps: tuple[Step, ...]
    equipment: Mapping[str, Equipment]
    left_ml: dict[str, float]
    pair: tuple[str, str]
    pace: Pace
    limit_ml_h: float

    def __post_init__(self) -> None:
        self._check()
        self._starts = [step.start_s for step in self.steps]
        self._end = self.steps[-1].end_s
        self._length = self.pace.count * self.pace.step_s
        self._made: list[Step] = []

    def made(self) -> tuple[Step, ...]:
        """All steps."""
        on, off = self.pair
        now = self.steps[0].start_s
        while (start := self._latest(on, off, now)) is not None:
            for begin, end, rate in self._idle(on, off, now, start):
                self._emit(begin, end, on, off, rate)
            for step in self._overlap(start, on, off):
                self._add(step)
            now = min(start + self._length, self._end)
            on, off = off, on
        self._emit(now, self._end, on, off, 0.0)
        return tuple(self._made)

    def _check(self) -> None:
        lead, partner = self.pair
        low = max(self.equipment[name].range_ml_h[0] for name in self.pair)
        high = min(self.equipment[name].range_ml_h[1] for name in self.pair)
        for name in self.pair:
            volume = self.equipment[name].syringe.volume_ml
            if not 0 < self.left_ml[name] <= volume:
                raise BadInput(
                    f"the {name} syringe can't hold {self.left_ml[name]:g} mL", f"give a volume up to {volume:g} mL"
                )
        for step in self.steps:
            total = step.rates_ml_h.get(lead, 0.0)
            if step.rates_ml_h.get(partner, 0.0):
                raise BadInput(f"the schedule already moves {partner}", f"give the whole flow to {lead}")
            if total > high:
                raise self._too_fast(total)
            if total < 0 or 0 < total < low:
                raise BadInput(
                    f"two pumps in turn can't deliver {total:g} mL/h", f"choose 0, or {low:.3g} mL/h and more"
                )

    def _pieces(self, begin: float, end: float, cuts: Sequence[float] = ()) -> list[tuple[float, float, Step]]:
        """From `begin` to `end`, cut where a step of the schedule ends, and at those `cuts` that are not close."""
        index = max(bisect_right(self._starts, begin + 1e-9) - 1, 0)
        inner = []
        while index < len(self.steps) and self.steps[index].end_s < end - 1e-9:
            inner.append(self.steps[index].end_s)
            index += 1
        fixed = [begin, *inner, end]
        spare = [cut for cut in cuts if min(abs(cut - edge) for edge in fixed) > 0.5 * self.pace.step_s]
        edges = sorted({begin, *inner, *(cut for cut in spare if begin < cut < end), end})
        pieces = []
        for left, right in pairwise(edges):
            if right - left > 1e-9:
                at = bisect_right(self._starts, 0.5 * (left + right)) - 1
                pieces.append((left, right, self.steps[at]))
        return pieces

    def _total(self, step: Step) -> float:
        return step.rates_ml_h.get(self.pair[0], 0.0)

    def _solo(self, step: Step, pump: str) -> float:
        total = self._total(step)
        return told_ml_h(total, self.equipment[pump].range_ml_h[1]) if total else 0.0

    def _emit(self, begin: float, end: float, on: str, off: str, off_rate: float) -> None:
        """`on` has the whole flow, `off` goes at a rate of its own."""
        for left, right, step in self._pieces(begin, end):
            rates = {**step.rates_ml_h, on: self._solo(step, on), off: off_rate}
            self._add(Step(step.kind, left, right, rates))

    def _add(self, step: Step) -> None:
        self._made.append(step)
        for name in self.pair:
            self.left_ml[name] -= step.rates_ml_h[name] * step.duration_s / 3600

    def _overlap(self, start: float, giver: str, taker: str) -> list[Step]:
        """The steps of a hand-over, each at the share of its middle; where the schedule ends, they end."""
        end = min(start + self._length, self._end)
        cuts = [start + index * self.pace.step_s for index in range(1, self.pace.count)]
        made = []
        for left, right, step in self._pieces(start, end, cuts):
            progress = (0.5 * (left + right) - start) / self._length
            share = self.pace.shape(progress) if self.pace.overlap_s else 1.0
            gives, takes = split_ml_h(self._total(step), share, self.equipment[giver], self.equipment[taker])
            made.append(Step("handover", left, right, {**step.rates_ml_h, giver: gives, taker: takes}))
        return made

    def _latest(self, on: str, off: str, now: float) -> float | None:
        """When `on` must begin to give over, at the latest, on the grid; None where it lasts to the end."""
        usable = self.left_ml[on] - RESERVE * self.equipment[on].syringe.volume_ml
        if now >= self._end or self._alone_ml(on, now, self._end) <= usable:
            return None
        first = math.ceil(now / self.pace.step_s - 1e-6) + (1 if self._made else 0)  # two hand-overs never touch
        last = math.floor(self._end / self.pace.step_s)

        def fits(index: int) -> bool:
            start = round(index * self.pace.step_s, 9)
            given = sum(step.rates_ml_h[on] * step.duration_s for step in self._overlap(start, on, off)) / 3600
            return self._alone_ml(on, now, start) + given <= usable

        if not fits(first):
            raise self._failed(on, now)
        while first < last:
            middle = (first + last + 1) // 2
            first, last = (middle, last) if fits(middle) else (first, middle - 1)
        return round(first * self.pace.step_s, 9)

    def _lowest(self, begin: float, end: float) -> float:
        """The lowest flow above 0 between two times, mL/h."""
        pieces = self._pieces(max(begin, self.steps[0].start_s), end)
        return min((total for _, _, step in pieces if (total := self._total(step)) > 0), default=0.0)

    def _alone_ml(self, pump: str, begin: float, end: float) -> float:
        return sum(self._solo(step, pump) * (right - left) for left, right, step in self._pieces(begin, end)) / 3600

    def _idle(self, on: str, off: str, now: float, start: float) -> list[tuple[float, float, float]]:
        """What `off` does from `now` until it takes over at `start`: begins, ends, and rates in mL/h."""
        low, high = self.equipment[off].range_ml_h
        volume = self.equipment[off].syringe.volume_ml
        wanted = volume * (1 - HEADROOM) - self.left_ml[off]
        take_up_s, take_up = self._take_up(start, low)
        begin, end = now + self.pace.rest_s, start - take_up_s - self.pace.margin_s - self.pace.rest_s
        if wanted < WORTHWHILE * volume or end - begin <= self.pace.step_s:
            return [(now, start, 0.0)]
        fastest = told_ml_h(min(high, self.pace.max_refill_ml_h), min(high, self.pace.max_refill_ml_h))
        needed = wanted / (end - begin) * 3600
        if needed > fastest:
            mean = self._alone_ml(on, now, start) / (start - now) * 3600
            if mean > self.limit_ml_h:
                raise self._too_fast(mean)
        rate = min(max(needed, 1.02 * low), fastest)
        rate = told_ml_h(rate, rate)
        until = min(begin + wanted / rate * 3600, end)
        idle = [(now, begin, 0.0), (begin, until, -rate), (until, start - take_up_s, 0.0)]
        return [*idle, (start - take_up_s, start, take_up)] if take_up_s else idle

    def _take_up(self, start: float, low: float) -> tuple[float, float]:
        """How long the take-up before `start` lasts, s, and its rate, mL/h."""
        if self.pace.take_up_ml <= 0:
            return 0.0, 0.0
        seconds, flow = self.pace.step_s, math.inf
        while flow > (lowest := self._lowest(start - seconds, start)):
            flow = lowest
            slowest = max(TAKE_UP_SHARE * flow, low)
            seconds = math.ceil(self.pace.take_up_ml / slowest * 3600 / self.pace.step_s - 1e-6) * self.pace.step_s
        rate = told_ml_h(max(self.pace.take_up_ml / seconds * 3600, low))
        return seconds, rate

    def _too_fast(self, flow: float) -> BadInput:
        pump = self.equipment[self.pair[0]]
        return BadInput(
            f"two {pump.model.name} in turn, each with {pump.syringe.name}, can't keep up {flow:.5g} mL/h: a"
            f" refill takes longer than the other syringe lasts. They"
            f" sustain {math.floor(self.limit_ml_h)} mL/h at most",
            "lower the flow, allow a faster refill, shorten the overlap, or take larger syringes or faster pumps",
        )

    def _failed(self, on: str, now: float) -> BadInput:
        return BadInput(
            f"{now:.4g} s into the run the {on} syringe must take over with {self.left_ml[on]:.3g} mL, which does"
            f" not last for a hand-over. With full syringes the two sustain {math.floor(self.limit_ml_h)} mL/h",
            "fill both syringes before the run, lower the flow, or shorten the overlap",
        )
