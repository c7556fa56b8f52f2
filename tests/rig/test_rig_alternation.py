"""Two antisolvent pumps in turn: what the schedule promises, and what its hand-overs do to the flow."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from twin.errors import BadInput
from twin.rig.planning.alternation import (
    HEADROOM,
    MARGIN_S,
    REST_S,
    TAKE_UP_ML,
    alternate,
    handovers,
    linear,
    planned_ml,
    refill_ml_h,
    smooth,
    split_ml_h,
    stroke_ml,
    sustained_ml_h,
    told_ml_h,
)
from twin.rig.planning.disturbance import Behaviour, dead_ml, disturbance, flow_against_time, wanted_ml_h
from twin.rig.planning.limits import Equipment
from twin.rig.planning.schedule import RESERVE
from twin.rig.planning.steps import Step, infused_ml
from twin.rig.pumps.catalogue import PUMP_MODELS, SYRINGES
from twin.rig.pumps.newera import format_number
from twin.rig.simulated.newera import SimulatedNewEra

A, B = "antisolvent", "antisolvent-2"
RIG = {
    name: Equipment(name, PUMP_MODELS["NE-1010"], SYRINGES["steel-50ml"], "simulated", address)
    for address, name in enumerate((A, B, "precursor"))
}
FULL = dict.fromkeys(RIG, 50.0)
EXACT = {"backlash_ml": TAKE_UP_ML, "backlash_error_ml": 0.0, "compliance_ml_per_bar": 0.0}


def hold(flow_ml_h: float, seconds: float) -> list[Step]:
    return [Step("hold", 0.0, seconds, {A: flow_ml_h, "precursor": 60.0})]


def schedule(flows: Sequence[float], seconds: float) -> list[Step]:
    """Holds of that length at these flows, with ramps of ten steps of 0.2 s between them."""
    steps: list[Step] = []
    then = flows[0]
    for flow in flows:
        for index in range(10):
            begin = steps[-1].end_s if steps else 0.0
            rate = then + (flow - then) * index / 10
            steps.append(Step("ramp", begin, begin + 0.2, {A: told_ml_h(rate), "precursor": 60.0}))
        steps.append(Step("hold", steps[-1].end_s, steps[-1].end_s + seconds, {A: flow, "precursor": 60.0}))
        then = flow
    return steps


def flow_at(steps: Sequence[Step], time_s: float) -> Step:
    return next(step for step in steps if step.start_s <= time_s < step.end_s)


def digit(rate_ml_h: float) -> float:
    return 10.0 ** -len(format_number(rate_ml_h).partition(".")[2]) if rate_ml_h else 0.0


def check(
    steps: Sequence[Step], made: Sequence[Step], left_ml: Mapping[str, float], margin_s: float = MARGIN_S
) -> None:
    """Everything that `alternate` promises."""
    assert made[0].start_s == steps[0].start_s
    assert made[-1].end_s == steps[-1].end_s
    left = {name: left_ml[name] for name in (A, B)}
    last_way, rested = dict.fromkeys(left, 0.0), dict.fromkeys(left, 10.0)
    low, high = RIG[A].range_ml_h
    off_by = 0.0
    for index, step in enumerate(made):
        if index:
            assert step.start_s == made[index - 1].end_s
        source = flow_at(steps, 0.5 * (step.start_s + step.end_s))
        assert step.kind in (source.kind, "handover")
        assert step.rates_ml_h["precursor"] == source.rates_ml_h["precursor"]
        rates = [step.rates_ml_h[name] for name in (A, B)]
        small = min(rate for rate in rates if rate > 0)
        rounding = digit(small) if step.kind == "handover" else digit(source.rates_ml_h[A])
        assert abs(wanted_ml_h(step) - source.rates_ml_h[A]) <= 0.5 * rounding + 1e-9
        off_by += 0.5 * rounding * step.duration_s / 3600
        for name, rate in zip((A, B), rates, strict=True):
            if rate:
                assert low <= abs(rate) <= high
                assert float(format_number(abs(rate))) == abs(rate)
                if last_way[name] * rate < 0:
                    assert rested[name] >= REST_S - 1e-9
                if last_way[name] < 0 < rate:  # needed again after a refill
                    assert rested[name] >= margin_s + REST_S - 1e-9
                last_way[name], rested[name] = rate, 0.0
            else:
                rested[name] += step.duration_s
            left[name] -= rate * step.duration_s / 3600
            syringe = RIG[name].syringe.volume_ml
            assert RESERVE * syringe - 1e-9 <= left[name]
            assert left[name] <= max(syringe * (1 - HEADROOM), left_ml[name]) + 1e-9
    delivered = sum(wanted_ml_h(step) * step.duration_s for step in made) / 3600
    assert delivered == pytest.approx(infused_ml(steps, A), abs=off_by + 1e-9)


@settings(max_examples=40, deadline=None)
@example(  # a take-up while the flow is still low
    flows=[100, 2022], seconds=10.0, lead=3.0, partner=3.0, overlap=0.0, step_s=0.1, shape=linear
)
@given(
    flows=st.lists(st.integers(100, 5600), min_size=1, max_size=3),
    seconds=st.floats(10, 200),
    lead=st.floats(3, 50),
    partner=st.floats(3, 50),
    overlap=st.sampled_from([0.0, 0.5, 2.0, 3.3, 6.0]),
    step_s=st.sampled_from([0.1, 0.25]),
    shape=st.sampled_from([linear, smooth]),
)
def test_a_schedule_keeps_its_flow_its_volumes_and_its_rests(
    flows: list[int], seconds: float, lead: float, partner: float, overlap: float, step_s: float, shape: object
) -> None:
    steps = schedule([float(flow) for flow in flows], seconds)
    left = {A: lead, B: partner}
    try:
        made = alternate(steps, RIG, left, overlap_s=overlap, step_s=step_s, shape=shape)
    except BadInput as error:
        enough = max(flows) < sustained_ml_h(RIG, overlap_s=overlap, step_s=step_s) and min(left.values()) >= 49
        assert not enough, error
        return
    check(steps, made, left)


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.02, 0.999), overlap=st.floats(0.5, 8), refill=st.floats(2000, 7000))
def test_what_is_called_sustained_is_sustained(share: float, overlap: float, refill: float) -> None:
    options = {"overlap_s": overlap, "max_refill_ml_h": refill}
    flow = told_ml_h(share * sustained_ml_h(RIG, **options))
    steps = hold(flow, 10 * 49 / flow * 3600)
    made = alternate(steps, RIG, FULL, **options)
    assert len(handovers(made)) >= 8
    check(steps, made, FULL)
    refills = {-rate for step in made for name in (A, B) if (rate := step.rates_ml_h[name]) < 0}
    assert max(refills) <= refill
    if share < 0.9:  # as slow as can be: the pump is refilled until shortly before it is needed
        assert max(refills) < refill
        second = handovers(made)[1]
        until = max(s.end_s for s in made if s.rates_ml_h[second.taker] < 0 and s.end_s < second.begin_s)
        assert second.begin_s - until == pytest.approx(MARGIN_S + REST_S, abs=1e-6)


@pytest.mark.parametrize("excess", [1.02, 1.15, 1.5])
def test_a_flow_beyond_that_is_refused_with_the_largest_one(excess: float) -> None:
    limit = sustained_ml_h(RIG)
    with pytest.raises(BadInput, match=rf"sustain {int(limit)} mL/h at most") as caught:
        alternate(hold(told_ml_h(limit * excess), 2000.0), RIG, FULL)
    assert "faster refill" in caught.value.remedy


def test_syringes_that_are_too_empty_are_refused() -> None:
    with pytest.raises(BadInput, match="fill both syringes"):
        alternate(hold(5000.0, 300.0), RIG, {A: 4.0, B: 4.0})


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        (hold(5000.0, 100.0), {"overlap_s": 0.05}),
        (hold(5000.0, 100.0), {"rest_s": 0.1}),
        (hold(5000.0, 100.0), {"take_up_ml": -0.1}),
        (hold(5000.0, 100.0), {"max_refill_ml_h": 0.0}),
        (hold(0.01, 100.0), {}),
        (hold(-5.0, 100.0), {}),
        ([Step("hold", 0.0, 100.0, {A: 100.0, B: 100.0})], {}),
    ],
)
def test_what_makes_no_schedule_is_refused(steps: list[Step], options: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        alternate(steps, RIG, FULL, **options)


def test_without_need_there_is_no_hand_over() -> None:
    made = alternate(hold(5000.0, 30.0), RIG, FULL)
    assert [(step.kind, step.rates_ml_h) for step in made] == [("hold", {A: 5000.0, B: 0.0, "precursor": 60.0})]


def test_a_partner_that_is_nearly_empty_is_refilled_before_its_first_turn() -> None:
    steps = hold(1000.0, 400.0)
    made = alternate(steps, RIG, {A: 50.0, B: 3.0})
    check(steps, made, {A: 50.0, B: 3.0})
    assert made[1].rates_ml_h[B] < 0
    assert handovers(made)[0].start_s > 170


def test_the_paper_s_flow_changes_over_each_35_s() -> None:
    """By hand: 48.5 mL less the take-up at 5000 mL/h last 34.8 s; the refill has 29.6 s less the take-up's 2.3 s."""
    made = alternate(hold(5000.0, 600.0), RIG, FULL)
    starts = np.diff([one.start_s for one in handovers(made)])
    assert starts[1:] == pytest.approx((48.5 - TAKE_UP_ML) / 5000 * 3600, abs=0.11)
    refills = {-rate for step in made for name in (A, B) if (rate := step.rates_ml_h[name]) < 0}
    assert max(refills) == pytest.approx(48.5 / (34.8 - 2.0 - 2.4 - 1.0 - 0.6) * 3600, rel=0.01)


@given(total=st.floats(0.2, 7000), share=st.floats(0, 1))
def test_a_split_is_off_by_the_rounding_of_the_smaller_rate_only(total: float, share: float) -> None:
    gives, takes = split_ml_h(total, share, RIG[A], RIG[B])
    small, large = sorted((gives, takes))
    assert abs(gives + takes - total) <= 0.5 * digit(small or large) + 1e-9
    assert small == 0 or small >= RIG[A].range_ml_h[0]
    assert takes == pytest.approx(share * total, abs=max(1.1 * digit(large), 0.1))


def test_a_rate_is_never_told_beyond_its_limit() -> None:
    assert told_ml_h(7080.0, 7079.6) == 7079
    assert told_ml_h(12.345) == pytest.approx(12.35, abs=0.011)


# The disturbance.


def worst(steps: Sequence[Step], behaviour: Mapping[str, Behaviour]) -> tuple[float, float]:
    """Peak (share) and volume (mL) of the deviation around the second hand-over, the first with a take-up."""
    one = handovers(steps)[1]
    times, flows = flow_against_time(steps, behaviour, begin_s=one.begin_s, end_s=one.end_s + 0.5)
    wanted = np.array([wanted_ml_h(flow_at(steps, time)) for time in times])
    off = flows - wanted
    return float(np.abs(off).max() / wanted.max()), float(off.sum() * (times[1] - times[0]) / 3600)


def test_perfect_pumps_disturb_nothing() -> None:
    made = alternate(hold(5000.0, 120.0), RIG, FULL)
    ideal = {A: Behaviour(dead_ml=TAKE_UP_ML), B: Behaviour(dead_ml=TAKE_UP_ML)}
    peak, volume = worst(made, ideal)
    assert peak < 1e-3
    assert abs(volume) < 1e-3
    found = disturbance(made, RIG, skew_s=0.0, ramp_s=0.0, **EXACT)
    assert found.peak_percent < 0.1


@pytest.mark.parametrize("overlap", [0.0, 1.0, 2.0, 4.0])
def test_skew_costs_its_time_of_the_flow_whatever_the_overlap(overlap: float) -> None:
    """The volume is Q times the skew; an overlap only divides the peak by its number of steps."""
    made = alternate(hold(5000.0, 120.0), RIG, FULL, overlap_s=overlap)
    giver = handovers(made)[1].giver
    taker = B if giver == A else A
    late = {giver: Behaviour(0.02, 0.0, TAKE_UP_ML), taker: Behaviour(0.0, 0.0, TAKE_UP_ML)}
    peak, volume = worst(made, late)
    assert volume == pytest.approx(5000 / 3600 * 0.02, abs=2e-3)
    assert peak == pytest.approx(0.1 / overlap if overlap else 1.0, abs=0.02)


@pytest.mark.parametrize("overlap", [2.0, 4.0])
def test_play_that_is_not_taken_up_is_missing_as_the_formula_says(overlap: float) -> None:
    made = alternate(hold(5000.0, 120.0), RIG, FULL, overlap_s=overlap)
    missing = 0.08
    peak, volume = worst(made, {name: Behaviour(dead_ml=TAKE_UP_ML + missing) for name in (A, B)})
    assert volume == pytest.approx(-missing, rel=0.03)
    assert peak == pytest.approx((2 * missing / (5000 / 3600 * overlap)) ** 0.5, abs=0.05 * 2 / overlap)


def test_play_that_is_less_than_thought_comes_at_the_take_up_s_rate() -> None:
    made = alternate(hold(5000.0, 120.0), RIG, FULL)
    peak, volume = worst(made, {name: Behaviour(dead_ml=TAKE_UP_ML - 0.1) for name in (A, B)})
    assert volume == pytest.approx(0.1, rel=0.03)
    assert peak == pytest.approx(0.05, abs=0.003)


@settings(max_examples=25, deadline=None)
@given(
    flow=st.integers(200, 5500),
    overlap=st.sampled_from([0.0, 0.7, 2.0, 5.0]),
    take_up=st.sampled_from([0.0, 0.05, 0.16]),
    skew=st.floats(0, 0.06),
    ramp=st.floats(0, 0.05),
    backlash=st.floats(0, 0.3),
    error=st.floats(0, 0.1),
)
def test_no_simulated_hand_over_is_beyond_the_bound(
    flow: int, overlap: float, take_up: float, skew: float, ramp: float, backlash: float, error: float
) -> None:
    assume(flow <= sustained_ml_h(RIG, overlap_s=overlap, take_up_ml=take_up))  # more is refused
    steps = hold(float(flow), 3 * 49 / flow * 3600)
    made = alternate(steps, RIG, FULL, overlap_s=overlap, take_up_ml=take_up)
    found = disturbance(made, RIG, dt_s=2e-3, skew_s=skew, ramp_s=ramp, backlash_ml=backlash, backlash_error_ml=error)
    assert found.peak_percent <= found.peak_bound_percent * (1 + 1e-6) + 1e-6
    assert found.volume_ml <= found.volume_bound_ml * (1 + 1e-6) + 1e-6


def test_the_bound_is_close() -> None:
    made = alternate(hold(5000.0, 300.0), RIG, FULL)
    found = disturbance(made, RIG)
    assert found.peak_bound_percent < 1.5 * found.peak_percent
    assert found.volume_bound_ml < 1.5 * found.volume_ml


def test_the_parts_are_the_worst_of_all_hand_overs() -> None:
    """The first one has no reversal before it; without overlap its peak is as high as that of the others."""
    found = disturbance(alternate(hold(5000.0, 300.0), RIG, FULL, overlap_s=0.0, take_up_ml=0.0), RIG)
    assert found.parts["backlash and valves"].volume_ml == pytest.approx(0.1 + 0.05 + 0.01 * 0.6)
    assert found.ratio is not None
    assert found.ratio[0] == 0


def test_an_overlap_softens_a_hand_over() -> None:
    peaks = [
        disturbance(alternate(hold(5000.0, 300.0), RIG, FULL, overlap_s=overlap), RIG).peak_percent
        for overlap in (0.0, 0.5, 1.0)
    ]
    assert peaks[0] == pytest.approx(100, abs=1)
    assert peaks[0] > 2 * peaks[1] > 3 * peaks[2]


def test_the_report_names_ratio_residence_times_and_labels() -> None:
    made = alternate(hold(5000.0, 300.0), RIG, FULL)
    found = disturbance(made, RIG, outlet_ml=2.0, backlash_ml=0.12, labels={"backlash_ml": "measured"})
    assert found.parameters["backlash_ml"] == (0.12, "measured")
    assert found.parameters["skew_s"] == (0.02, "known")
    assert found.parameters["ramp_s"] == (0.05, "prior-only")
    assert found.play_mm == pytest.approx(0.12e3 / (np.pi / 4 * 28.6**2))
    assert found.ratio is not None
    assert found.ratio[0] < 5000 / 60 < found.ratio[2]
    assert found.residence_times == pytest.approx(found.duration_s * 5060 / 3600 / 2)
    text = "\n".join(found.lines())
    assert "predicted, not measured" in text
    assert "backlash_ml 0.12 (measured)" in text


@pytest.mark.parametrize(
    "parameters", [{"bounce_ml": 1.0}, {"skew_s": -1.0}, {"ramp_s": float("nan")}, {"ramp_s": 0.2}]
)
def test_parameters_that_make_no_sense_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        disturbance(alternate(hold(5000.0, 120.0), RIG, FULL), RIG, **parameters)


def test_a_schedule_without_a_hand_over_has_no_disturbance() -> None:
    with pytest.raises(BadInput, match="no hand-over"):
        disturbance(alternate(hold(5000.0, 30.0), RIG, FULL), RIG)


def test_cracking_and_compliance_count_as_play() -> None:
    assert dead_ml(0.1, 0.01, 0.2, 0.5) == pytest.approx(0.1 + 0.01 * 0.9)


# The same, by simulated pumps that know nothing of the prediction.


def commands(old: float, new: float) -> list[str]:
    """What a New Era pump is told for a change of its rate."""
    if new == old:
        return []
    if new == 0:
        return ["STP", "STP"]
    text = format_number(abs(new))
    if old * new > 0:
        return [f"RAT{text}"]
    return [f"DIR{'INF' if new > 0 else 'WDR'}", f"RAT{text}MH", "RUN"]


def simulated(name: str, ramp_s: float) -> SimulatedNewEra:
    pump, model = RIG[name], RIG[name].model
    made = SimulatedNewEra(model.number, model.min_cm_h, model.max_cm_h, 50.0, ramp_s=ramp_s)
    for command in (f"DIA{format_number(pump.syringe.diameter_mm)}", "VOL0"):
        assert "?" not in made.execute(command, 0.0)
    return made


def driven(
    steps: Sequence[Step],
    lag_s: Mapping[str, float],
    jitter_s: float,
    ramp_s: float,
    begin_s: float,
    end_s: float,
    dt_s: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Flow to the junction from two simulated pumps behind check valves: times in s, flows in mL/h."""
    chance = random.Random(7)
    pumps = {name: simulated(name, ramp_s) for name in (A, B)}
    events: list[tuple[float, int, str, str]] = []
    told = dict.fromkeys(pumps, 0.0)
    for step in steps:
        for name in pumps:
            at = step.start_s + lag_s[name] + chance.uniform(0, jitter_s)
            for command in commands(told[name], step.rates_ml_h[name]):
                events.append((at, len(events), name, command))
            told[name] = step.rates_ml_h[name]
    times = begin_s + dt_s * np.arange(round((end_s - begin_s) / dt_s) + 1)
    events += [(float(time), len(events) + index, "", "") for index, time in enumerate(times)]
    before = {}
    flows = []
    for time, _, name, command in sorted(events):
        if name:
            reply = pumps[name].execute(command, time)
            assert "?" not in reply, (command, reply)
            continue
        for pump in pumps.values():
            pump.advance(time)
        now = {one: pump.volume_ml for one, pump in pumps.items()}
        if before:
            flows.append(sum(max(before[one] - now[one], 0.0) for one in now) / dt_s * 3600)
        before = now
    return 0.5 * (times[1:] + times[:-1]), np.array(flows)


@pytest.mark.parametrize("flow", [1000.0, 5000.0])
@pytest.mark.parametrize("overlap", [0.0, 2.0])
@pytest.mark.parametrize("ramp", [0.0, 0.05])
def test_simulated_pumps_do_what_the_time_resolved_model_says(flow: float, overlap: float, ramp: float) -> None:
    """But for one thing: the simulated pump stops at once, where the model takes a ramp for it, too."""
    made = alternate(hold(flow, 3 * 50 / flow * 3600), RIG, FULL, overlap_s=overlap)
    lag = {A: 0.02, B: 0.0}
    for one in handovers(made)[:2]:
        span = {"begin_s": one.begin_s - 0.2, "end_s": one.end_s + 0.5, "dt_s": 5e-3}
        times, seen = driven(made, lag, 0.0, ramp, **span)
        model, predicted = flow_against_time(made, {name: Behaviour(lag[name], ramp) for name in lag}, **span)
        stop = max(step.end_s for step in made if step.end_s < one.end_s + 0.1 and step.rates_ml_h[one.giver] > 0)
        stop += lag[one.giver]
        alike = (times < stop) | (times > stop + ramp)
        assert times == pytest.approx(model)
        assert seen[alike] == pytest.approx(predicted[alike], abs=3e-4 * flow)
        assert np.ptp(seen) > 0.01 * flow  # there was something to predict


@pytest.mark.parametrize("flow", [1000.0, 5000.0])
@pytest.mark.parametrize("overlap", [0.0, 2.0])
@pytest.mark.parametrize("first", [A, B])
def test_simulated_pumps_stay_within_the_prediction(flow: float, overlap: float, first: str) -> None:
    """Without play in the pumps the whole take-up is too much; commands come up to 20 ms apart."""
    made = alternate(hold(flow, 3 * 50 / flow * 3600), RIG, FULL, overlap_s=overlap)
    rigid = {"backlash_ml": 0.0, "backlash_error_ml": 0.0, "compliance_ml_per_bar": 0.0}
    found = disturbance(made, RIG, skew_s=0.02, ramp_s=0.05, **rigid)
    lag = {name: 0.0 if name == first else 0.01 for name in (A, B)}
    for one in handovers(made)[:2]:
        times, seen = driven(made, lag, 0.01, 0.05, one.begin_s, one.end_s + 0.5, 5e-3)
        off = seen - np.array([wanted_ml_h(flow_at(made, time)) for time in times])
        assert 100 * np.abs(off).max() / flow <= found.peak_bound_percent + 0.01
        assert abs(off.sum()) * 5e-3 / 3600 <= found.volume_bound_ml + 1e-6
    assert 100 * np.abs(off).max() / flow > 0.2 * found.peak_bound_percent


def run_out(corrected: bool, late_s: float) -> dict[str, list[float]]:
    """How far the syringes of simulated pumps are behind the plan after each refill, mL, with starts that come late."""
    made = alternate(hold(5000.0, 400.0), RIG, FULL)
    pumps = {name: simulated(name, 0.05) for name in (A, B)}
    told = dict.fromkeys(pumps, 0.0)
    behind: dict[str, list[float]] = {A: [], B: []}
    for step in made:
        for name, pump in pumps.items():
            rate = step.rates_ml_h[name]
            pump.advance(step.start_s)
            gap = planned_ml(made, 50.0, name, step.start_s) - pump.volume_ml
            if told[name] < 0 <= rate:
                behind[name].append(gap)
            if rate < 0 and corrected and told[name] == 0:
                rate = refill_ml_h(step, RIG[name], gap)
            for command in commands(told[name], rate):
                assert "?" not in pump.execute(command, step.start_s + (late_s if rate < 0 else 0.0))
            told[name] = rate
    assert all(len(gaps) >= 4 for gaps in behind.values())
    return behind


def test_refills_that_begin_from_what_was_counted_do_not_drift() -> None:
    drifting, kept = run_out(False, 0.02), run_out(True, 0.02)
    for name in (A, B):
        assert drifting[name][3] > 2 * drifting[name][0] > 0.1
        assert max(map(abs, kept[name])) < 1.2 * drifting[name][0]


def test_unequal_pumps_are_held_to_the_weaker_one() -> None:
    weak = {**RIG, B: replace(RIG[B], model=PUMP_MODELS["NE-1000"])}
    assert sustained_ml_h(weak) < 1966
    with pytest.raises(BadInput, match="can't keep up"):
        alternate(hold(2500.0, 300.0), weak, FULL)


def test_a_stroke_goes_from_one_rest_or_turn_to_the_next() -> None:
    rates = [0.0, 250.0, 5000.0, 0.0, -4000.0, -4000.0, 3600.0]
    steps = [Step("hold", float(n), n + 1.0, {B: rate}) for n, rate in enumerate(rates)]
    assert stroke_ml(steps, B, 0.0) == stroke_ml(steps, B, 1.0) == pytest.approx(5250 / 3600)
    assert stroke_ml(steps, B, 2.5) == pytest.approx(2500 / 3600)
    assert stroke_ml(steps, B, 3.0) == pytest.approx(8000 / 3600)
    assert stroke_ml(steps, B, 6.0) == pytest.approx(1.0)
    assert stroke_ml(steps, A, 0.0) == 0.0
