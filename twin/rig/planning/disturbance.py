"""What a hand-over between two antisolvent pumps does to the flow: a simulation in time, and a bound in closed form.

Nothing here was measured on a pump. Defaults, with their labels:

=====================  ===========  ==========  ======================================================================
parameter              default      label       from
=====================  ===========  ==========  ======================================================================
skew_s                 0.02 s       known       a rate and its read-back: 33 bytes at 19200 baud are 17 ms, and two
                                                turn-rounds of the pump
ramp_s                 0.05 s       prior-only  how long a pump takes to a new rate
backlash_ml            0.1 mL       prior-only  play of nut, block and plunger: 0.16 mm of travel in a 28.6 mm bore
backlash_error_ml      0.05 mL      prior-only  how far the play of one reversal is from that
compliance_ml_per_bar  0.01 mL/bar  prior-only  toluene takes half of it (50 mL at 9e-5 per bar), seals the other half
cracking_bar           0.2 bar      prior-only  of each check valve
line_bar               0.2 bar      prior-only  pressure of the junction above the reservoir
=====================  ===========  ==========  ======================================================================

Left out: the delay that both pumps share, which shifts a hand-over in time; what a valve lets flow back while it
closes, since a pump rests before it withdraws; and the few milliseconds by which the line smooths a pulse. A scale
error between the pumps (a wrong diameter, say) is no disturbance of the hand-over: it lasts as long as a turn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from twin.errors import BadInput
from twin.rig.planning.alternation import Handover, handovers
from twin.rig.planning.limits import Equipment
from twin.rig.planning.steps import PARTNER, Step
from twin.rig.pumps.newera import format_number

#: Default and label of each parameter.
DEFAULTS = {
    "skew_s": (0.02, "known"),
    "ramp_s": (0.05, "prior-only"),
    "backlash_ml": (0.1, "prior-only"),
    "backlash_error_ml": (0.05, "prior-only"),
    "compliance_ml_per_bar": (0.01, "prior-only"),
    "cracking_bar": (0.2, "prior-only"),
    "line_bar": (0.2, "prior-only"),
}
#: Deviations below this share of the flow do not count towards the duration.
NOTICEABLE = 0.01
_JUMP_S = 1e-6


@dataclass(frozen=True)
class Behaviour:
    """How a pump follows its commands.

    Each new rate is taken up `lag_s` late, on a straight line that takes `ramp_s`. After each reversal the plunger must
    travel `dead_ml` before liquid moves.
    """

    lag_s: float = 0.0
    ramp_s: float = 0.0
    dead_ml: float = 0.0


@dataclass(frozen=True)
class Part:
    """What one cause alone can do in one hand-over: peak in % of the flow, volume in mL."""

    peak_percent: float
    volume_ml: float


@dataclass(frozen=True)
class Disturbance:
    """The worst of the hand-overs of a schedule.

    `peak_percent` and `volume_ml` are the largest simulated deviations from the wanted flow, whatever the order of the
    commands and the play within its error; `peak_bound_percent` and `volume_bound_ml` are their bounds in closed form.
    `duration_s` runs from the first to the last deviation of more than 1 %. `ratio` is the lowest, the wanted and the
    highest flow ratio of antisolvent to precursor, None without precursor. `residence_times` is the duration by the
    residence time of the outlet, None where its volume is not given. `play_mm` is the backlash as a plunger's travel.
    """

    handovers: int
    period_s: float | None
    flow_ml_h: float
    peak_percent: float
    peak_bound_percent: float
    volume_ml: float
    volume_bound_ml: float
    duration_s: float
    ratio: tuple[float, float, float] | None
    residence_times: float | None
    play_mm: float
    parts: dict[str, Part]
    parameters: dict[str, tuple[float, str]]

    def lines(self) -> list[str]:
        """The disturbance in words."""
        turn = "" if self.period_s is None else f", one each {self.period_s:.3g} s"
        ratio = (
            ""
            if self.ratio is None
            else f", flow ratio {self.ratio[0]:.3g} to {self.ratio[2]:.3g} instead of {self.ratio[1]:.3g}"
        )
        outlet = "" if self.residence_times is None else f" ({self.residence_times:.2g} residence times of the outlet)"
        return [
            f"{self.handovers} hand-overs{turn}, predicted, not measured: {self.flow_ml_h:g} mL/h"
            f" is off by up to {self.peak_percent:.3g} % (bound {self.peak_bound_percent:.3g} %) and"
            f" {self.volume_ml:.2g} mL (bound {self.volume_bound_ml:.2g} mL) for {self.duration_s:.2g} s"
            f"{outlet}{ratio}",
            *(
                f"{cause}: up to {part.peak_percent:.3g} %, {part.volume_ml:.2g} mL"
                for cause, part in self.parts.items()
            ),
            f"assumed (the backlash is {self.play_mm:.2g} mm of travel): "
            + ", ".join(f"{name} {value:g} ({label})" for name, (value, label) in self.parameters.items()),
        ]


def dead_ml(backlash_ml: float, compliance_ml_per_bar: float, cracking_bar: float, line_bar: float) -> float:
    """What a plunger travels after a withdrawal before liquid leaves, mL.

    The play, and the compression from a suction of one cracking pressure to the junction's pressure and another one:
    V = V_b + C (p + 2 p_c).
    """
    return backlash_ml + compliance_ml_per_bar * (line_bar + 2 * cracking_bar)


def wanted_ml_h(step: Step, lead: str = "antisolvent", partner: str = PARTNER) -> float:
    """The flow that a step of an alternating schedule stands for: both pumps' in a hand-over, else the larger one's."""
    rates = [max(step.rates_ml_h.get(name, 0.0), 0.0) for name in (lead, partner)]
    return sum(rates) if step.kind == "handover" else max(rates)


def flow_against_time(
    steps: Sequence[Step],
    behaviour: Mapping[str, Behaviour],
    *,
    begin_s: float | None = None,
    end_s: float | None = None,
    dt_s: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """The flow that reaches the junction from pumps with check valves.

    Args:
        steps: the schedule; before it all pumps infused at their first rate or rested.
        behaviour: how the pumps follow, by name; only these count.
        begin_s: from when, s; the schedule's begin, where it is left out.
        end_s: until when, s.
        dt_s: length of the intervals, s.

    Returns:
        The middles of the intervals, s, and the mean flow in each, mL/h: both of shape (n,).
    """
    begin = steps[0].start_s if begin_s is None else begin_s
    end = steps[-1].end_s if end_s is None else end_s
    edges = begin + dt_s * np.arange(max(round((end - begin) / dt_s), 1) + 1)
    total = np.zeros(len(edges) - 1)
    for name, pump in behaviour.items():
        times, rates = _motor(steps, name, pump)
        grid = np.unique(np.concatenate([times, edges]))
        speed = np.interp(grid, times, rates)
        travel = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(grid))]) / 3600
        moved = np.interp(edges, grid, _play(travel, pump.dead_ml))
        total += np.maximum(np.diff(moved), 0.0) / dt_s * 3600
    return 0.5 * (edges[1:] + edges[:-1]), total


def disturbance(
    steps: Sequence[Step],
    equipment: Mapping[str, Equipment],
    *,
    lead: str = "antisolvent",
    partner: str = PARTNER,
    outlet_ml: float | None = None,
    labels: Mapping[str, str] | None = None,
    dt_s: float = 1e-3,
    **parameters: float,
) -> Disturbance:
    """Predicts what the hand-overs of a schedule do to the flow.

    Args:
        steps: what `alternate` made.
        equipment: the pumps by name.
        lead: the pump that starts.
        partner: the other one.
        outlet_ml: volume of the outlet behind the junction, mL.
        labels: measured, known or prior-only, by parameter, for values that are given.
        dt_s: time step of the simulation, s.
        parameters: those of the table above, by name.

    Raises:
        BadInput: an unknown or negative parameter, pumps that are slower than the steps, no hand-over.
    """
    used = _parameters(parameters, labels or {})
    value = {name: number for name, (number, _) in used.items()}
    found = handovers(steps, lead, partner)
    if not found:
        raise BadInput("this schedule has no hand-over", "nothing disturbs it: one syringe lasts")
    shortest = min(step.duration_s for step in steps if step.kind == "handover")
    if value["ramp_s"] > shortest * (1 + 1e-6):
        raise BadInput(
            f"a pump that takes {value['ramp_s']:g} s to a new rate can't follow steps of {shortest:g} s",
            "make the steps of the hand-over longer",
        )
    dead = dead_ml(*(value[n] for n in ("backlash_ml", "compliance_ml_per_bar", "cracking_bar", "line_bar")))
    deads = [max(dead + sign * value["backlash_error_ml"], 0.0) for sign in (-1, 0, 1)]
    bounds = [_bound(steps, one, value["skew_s"], value["ramp_s"], deads) for one in found]
    seen = [_worst(steps, one, value["skew_s"], value["ramp_s"], deads, dt_s) for one in found]
    at = max(range(len(found)), key=lambda index: seen[index][0])
    flow = seen[at][3]
    parts = {
        cause: Part(
            *(max(getattr(bound[2][cause], kind) for bound in bounds) for kind in ("peak_percent", "volume_ml"))
        )
        for cause in bounds[0][2]
    }
    low, high = (max(entry[side] for entry in seen) for side in (4, 5))
    peak, duration = seen[at][0], max(entry[2] for entry in seen)
    here = next(step for step in steps if step.start_s >= found[at].start_s - 1e-9)
    precursor = here.rates_ml_h.get("precursor", 0.0)
    ratio = flow / precursor if precursor > 0 else None
    starts = [one.start_s for one in found]
    return Disturbance(
        handovers=len(found),
        period_s=(starts[-1] - starts[0]) / (len(starts) - 1) if len(starts) > 1 else None,
        flow_ml_h=flow,
        peak_percent=100 * peak,
        peak_bound_percent=100 * max(entry[0] for entry in bounds),
        volume_ml=max(entry[1] for entry in seen),
        volume_bound_ml=max(entry[1] for entry in bounds),
        duration_s=duration,
        ratio=None if ratio is None else (ratio * (1 - low), ratio, ratio * (1 + high)),
        residence_times=None if outlet_ml is None else duration * (flow + precursor) / 3600 / outlet_ml,
        play_mm=10 * value["backlash_ml"] / equipment[lead].syringe.area_cm2,
        parts=parts,
        parameters=used,
    )


def _parameters(given: Mapping[str, float], labels: Mapping[str, str]) -> dict[str, tuple[float, str]]:
    unknown = [*(set(given) - set(DEFAULTS)), *(set(labels) - set(given))]
    bad = [name for name, number in given.items() if not (math.isfinite(number) and number >= 0)]
    if unknown or bad:
        raise BadInput(
            f"no prediction with {', '.join([*unknown, *bad])}",
            f"give numbers from 0 on for any of {', '.join(DEFAULTS)}",
        )
    return {
        name: (given[name], labels.get(name, "prior-only")) if name in given else default
        for name, default in DEFAULTS.items()
    }


def _motor(steps: Sequence[Step], name: str, pump: Behaviour) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the rate at which the motor of a pump runs: times in s and rates in mL/h."""
    rate = steps[0].rates_ml_h.get(name, 0.0)
    times, rates = [steps[0].start_s - 1.0], [rate]
    until, target = times[0], rate  # of the change that is under way
    for step in steps:
        told = step.rates_ml_h.get(name, 0.0)
        if told == target:
            continue
        begin = step.start_s + pump.lag_s
        if begin < until:  # the change before is not done yet
            share = (begin - times[-2]) / (until - times[-2])
            times[-1], rates[-1] = begin, rates[-2] + share * (target - rates[-2])
        else:
            times.append(begin)
            rates.append(target)
        until, target = begin + max(pump.ramp_s, _JUMP_S), told
        times.append(until)
        rates.append(target)
    times.append(max(steps[-1].end_s, until) + 1.0)
    rates.append(target)
    return np.array(times), np.array(rates)


def _play(travel: np.ndarray, dead: float) -> np.ndarray:
    """Where the liquid is when the drive has gone `travel`: it follows forward at once, back after `dead`, and so on.

    At the start the drive pushes. On a stretch in one direction the liquid stands until the play is used up, so that it
    is the larger (forward) or the smaller one (back) of where it stood and where the drive would have it.
    """
    moved = np.empty_like(travel)
    moved[0] = travel[0]
    back = np.diff(travel) < 0
    turns = [0, *(np.flatnonzero(back[1:] != back[:-1]) + 1), len(back)]
    for first, last in pairwise(turns):
        stretch = slice(first + 1, last + 1)
        if back[first]:
            moved[stretch] = np.minimum(moved[first], travel[stretch] + dead)
        else:
            moved[stretch] = np.maximum(moved[first], travel[stretch])
    return moved


def _window(steps: Sequence[Step], one: Handover) -> list[Step]:
    """The steps from before the taker's refill to the one after the hand-over."""
    first = next(index for index, step in enumerate(steps) if step.end_s > one.start_s + 1e-9)
    last = next(index for index, step in enumerate(steps) if step.end_s >= one.end_s - 1e-9)
    while first and steps[first].rates_ml_h.get(one.taker, 0.0) > 0:  # the take-up
        first -= 1
    while first and steps[first - 1].rates_ml_h.get(one.taker, 0.0) <= 0:
        first -= 1
    return list(steps[first : last + 2])


def _worst(
    steps: Sequence[Step], one: Handover, skew_s: float, ramp_s: float, deads: Sequence[float], dt_s: float
) -> tuple[float, float, float, float, float, float]:
    """Peak (share), volume mL, duration s, flow mL/h, and the peaks below and above (shares), over all that may be."""
    window = _window(steps, one)
    end = min(one.end_s + 0.5, window[-1].end_s)
    end = one.begin_s + math.floor((end - one.begin_s) / dt_s + 1e-6) * dt_s
    edges = [window[0].start_s, *(step.end_s for step in window)]
    sums = np.concatenate([[0.0], np.cumsum([wanted_ml_h(s, one.giver, one.taker) * s.duration_s for s in window])])
    peak = volume = duration = low = high = 0.0
    flow = max(wanted_ml_h(step, one.giver, one.taker) for step in window if step.end_s > one.begin_s + 1e-9)
    lags = ((skew_s, 0.0), (0.0, skew_s)) if skew_s else ((0.0, 0.0),)
    ramps = ((ramp_s, 0.0), (0.0, ramp_s), (ramp_s, ramp_s)) if ramp_s else ((0.0, 0.0),)
    for (lag_g, lag_t), (ramp_g, ramp_t), dead in product(lags, ramps, deads):
        pumps = {one.giver: Behaviour(lag_g, ramp_g, dead), one.taker: Behaviour(lag_t, ramp_t, dead)}
        times, flows = flow_against_time(window, pumps, begin_s=one.begin_s, end_s=end, dt_s=dt_s)
        wanted = np.interp(times + 0.5 * dt_s, edges, sums) - np.interp(times - 0.5 * dt_s, edges, sums)
        off = flows - wanted / dt_s
        low, high = max(low, -off.min() / flow), max(high, off.max() / flow)
        volume = max(volume, abs(off.sum()) * dt_s / 3600)
        far = np.flatnonzero(np.abs(off) > NOTICEABLE * flow)
        duration = max(duration, float(far[-1] - far[0] + 1) * dt_s if len(far) else 0.0)
    peak = max(low, high)
    return float(peak), float(volume), duration, flow, round(float(low), 9), round(float(high), 9)


def _bound(
    steps: Sequence[Step],
    one: Handover,
    skew_s: float,
    ramp_s: float,
    deads: Sequence[float],
) -> tuple[float, float, dict[str, Part]]:
    """No deviation is larger: peak as a share of the flow, volume in mL, and the parts.

    At a change of rates the two pumps are at most skew + ramp apart, so the flow is off by no more than those that
    rise, or those that fall, change; with half a ramp in the mean, the volume is off by no more than the change times
    (skew + ramp / 2). What the take-up leaves over, D, is missing until the taker has been told that much: along a
    linear overlap of length o that is at the rate sqrt(2 D Q / o). What it has too much comes at its own rate.
    """
    window = [step for step in _window(steps, one) if step.end_s > one.begin_s + 1e-9]
    giver, taker = ([step.rates_ml_h.get(name, 0.0) for step in window] for name in (one.giver, one.taker))
    overlap = [index for index, step in enumerate(window) if step.kind == "handover"]
    flow = max(wanted_ml_h(step, one.giver, one.taker) for step in window)
    before = _before(steps, window[0])
    gives = np.diff([before.get(one.giver, 0.0), *giver])
    takes = np.diff([max(before.get(one.taker, 0.0), 0.0), *taker])
    first = overlap[0]  # changes before it belong to the take-up, and only the giver's matter
    takes[:first] = 0.0
    takes[first] = taker[first]
    rises = np.maximum(gives, 0) + np.maximum(takes, 0)
    falls = np.maximum(-gives, 0) + np.maximum(-takes, 0)
    jumps = np.maximum(rises, falls)
    shortest = min(window[index].duration_s for index in overlap)
    at_once = 1 + math.floor((skew_s + ramp_s) / shortest)
    command = float(np.sort(jumps)[::-1][:at_once].sum()) if skew_s + ramp_s > 0 else 0.0
    rounding = max(_half_digit(min(giver[index], taker[index])) for index in overlap)

    took = sum(rate * step.duration_s for rate, step in zip(taker[:first], window, strict=False)) / 3600
    reversed_ = any(step.rates_ml_h.get(one.taker, 0.0) < 0 for step in _window(steps, one))
    missing = max(max(deads) - took, 0.0) if reversed_ else 0.0
    surplus = max(took - (min(deads) if reversed_ else 0.0), 0.0)
    late = _rate_when_through(window[first:], one.taker, missing, skew_s + ramp_s) if missing > 0 else 0.0
    late += float(np.maximum(gives, 0).max()) if late else 0.0
    early = max(taker[:first]) + float(np.maximum(-gives[:first], 0).max()) if first else 0.0
    turn = early + max(-float(gives[first]) - taker[first], 0.0) if early else 0.0

    volume = float(jumps.sum()) / 3600
    length = window[overlap[-1]].end_s - window[first].start_s
    parts = {
        "command skew": Part(100 * float(jumps.max()) / flow if skew_s else 0.0, volume * skew_s),
        "acceleration": Part(100 * float(jumps.max()) / flow if ramp_s else 0.0, volume * ramp_s / 2),
        "rounding": Part(100 * rounding / flow, rounding * length / 3600),
        "backlash and valves": Part(100 * max(late, early) / flow, max(missing, surplus)),
    }
    peak = (max(command, late, early, turn) + rounding) / flow
    return peak, sum(part.volume_ml for part in parts.values()), parts


def _before(steps: Sequence[Step], first: Step) -> Mapping[str, float]:
    """The rates before a step."""
    index = next(index for index, step in enumerate(steps) if step is first)
    return steps[max(index - 1, 0)].rates_ml_h


def _rate_when_through(overlap: Sequence[Step], pump: str, volume_ml: float, later_s: float) -> float:
    """The largest rate that a pump has been told until `later_s` after it has been told a volume, mL/h."""
    done, largest = 0.0, 0.0
    until = math.inf
    for step in overlap:
        rate = max(step.rates_ml_h.get(pump, 0.0), 0.0)
        if step.start_s > until:
            break
        largest = max(largest, rate)
        more = rate * step.duration_s / 3600
        if done < volume_ml <= done + more:
            until = step.start_s + (volume_ml - done) / rate * 3600 + later_s
        done += more
    return largest


def _half_digit(rate_ml_h: float) -> float:
    """Half a unit of the last digit that a pump can be told of a rate, mL/h."""
    if rate_ml_h <= 0:
        return 0.0
    return 0.5 * 10.0 ** -len(format_number(rate_ml_h).partition(".")[2])
