"""What a pump may have moved since its counter was last told: the truth is always inside that."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.case import Case
from twin.rig import Latch, PumpAlarm, RigError, Setpoint, Volumes, read, rig_folder, run
from twin.rig.bench import simulated_pumps
from twin.rig.clock import VirtualClock
from twin.rig.errors import NoReply
from twin.rig.operation.evidence import Evidence
from twin.rig.operation.interlocks import RATE_TOLERANCE
from twin.rig.operation.ledger import MOTOR_S
from twin.rig.planning.limits import equipment
from twin.rig.planning.recipe import Leg, Program
from twin.rig.pumps.protocol import Dispensed, Span, Status
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine


def counted(infused_ml: float, withdrawn_ml: float = 0.0, resolution_ml: float = 0.0) -> Dispensed:
    return Dispensed(infused_ml, withdrawn_ml, resolution_ml, Status.INFUSING)


@pytest.fixture
def running() -> Evidence:
    """At 3600 mL/h, 1 mL/s, for long; 5 mL were counted at 10 s, in a look of 20 ms."""
    made = Evidence()
    made.goes(3600.0, Span(1.0, 1.02))
    made.counted(counted(5.0, resolution_ml=0.001), Span(10.0, 10.02))
    return made


def test_between_the_last_sign_of_life_and_the_first_of_death(running: Evidence) -> None:
    running.alive(10.1)
    running.ended(10.2)
    low, high = running.bounds(99.0).infused_ml
    assert low == pytest.approx(5.0 - 0.001 + (1 - RATE_TOLERANCE) * 0.08)
    assert high == pytest.approx(5.0 + 0.001 + (1 + RATE_TOLERANCE) * 0.2)
    assert running.bounds(99.0).dispensed().infused_ml == pytest.approx(0.5 * (low + high))
    assert running.bounds(99.0).dispensed().resolution_ml == pytest.approx(0.5 * (high - low))
    assert running.bounds(99.0).withdrawn_ml == (0.0, 0.001)


def test_without_a_sign_of_death_it_ran_on_until_it_stood_for_certain(running: Evidence) -> None:
    assert running.bounds(14.0).infused_ml[1] == pytest.approx(5.001 + 1.03 * 4.0)
    assert math.isinf(running.bounds(math.inf).infused_ml[1])
    running.goes(0.0, Span(11.0, 11.02))  # it took a stop
    assert running.bounds(math.inf).infused_ml[1] == pytest.approx(5.001 + 1.03 * 1.02)


def test_a_rate_that_was_not_acknowledged_may_be_the_old_one_or_the_new_one(running: Evidence) -> None:
    running.may_go(7200.0, 10.5)
    running.alive(11.0)
    low, high = running.bounds(12.0).infused_ml
    assert low == pytest.approx(4.999 + 0.97 * 0.98)
    assert high == pytest.approx(5.001 + 1.03 * (0.5 + 2 * 1.5))


def test_a_motor_on_its_way_is_somewhere_between(running: Evidence) -> None:
    running.goes(7200.0, Span(10.5, 10.52))
    running.alive(11.0)
    low, high = running.bounds(11.0).infused_ml
    assert low == pytest.approx(4.999 + 0.97 * (0.5 + MOTOR_S + 2 * (0.48 - MOTOR_S)))
    assert high == pytest.approx(5.001 + 1.03 * (0.5 + 2 * 0.5))


def test_a_pump_that_refills(running: Evidence) -> None:
    running.goes(0.0, Span(10.5, 10.5))
    running.goes(-3600.0, Span(11.0, 11.0))
    running.alive(11.05)
    running.ended(12.0)
    bounds = running.bounds(99.0)
    assert bounds.withdrawn_ml == pytest.approx((0.0, 0.001 + 1.03))
    assert bounds.infused_ml == pytest.approx((4.999 + 0.97 * 0.48, 5.001 + 1.03 * 0.5))
    assert bounds.taken_ml[0] == pytest.approx(bounds.infused_ml[0] - bounds.withdrawn_ml[1])


@given(
    rates=st.lists(st.sampled_from([0.0, 500.0, 2500.0, 5000.0, -3000.0]), min_size=1, max_size=30),
    looks=st.lists(st.booleans(), min_size=30, max_size=30),
    share=st.floats(1 - RATE_TOLERANCE, 1 + RATE_TOLERANCE),
    cut=st.floats(0.0, 3.0),
    late=st.floats(0.0, 0.6),
)
def test_the_truth_is_inside(rates: list[float], looks: list[bool], share: float, cut: float, late: float) -> None:
    """A rate every tenth of a second, looks now and then; the power goes, and is found to be gone a moment later."""
    evidence, infused, withdrawn, at, rate = Evidence(), 0.0, 0.0, 0.0, 0.0

    def flow(until: float) -> None:
        nonlocal infused, withdrawn, at
        moved = share * rate * (until - at) / 3600
        infused, withdrawn, at = infused + max(moved, 0.0), withdrawn + max(-moved, 0.0), until

    cut = min(cut, 0.1 * len(rates))
    for number, (told, look) in enumerate(zip(rates, looks, strict=False)):
        begin = 0.1 * number
        if begin + 0.04 > cut:  # what is under way when the power goes is not answered
            break
        if told != rate:
            flow(begin + 0.01)
            rate = told
            evidence.may_go(told, begin)
            evidence.goes(told, Span(begin, begin + 0.02))
            evidence.alive(begin + 0.02)
        if look:
            flow(begin + 0.03)
            evidence.counted(counted(infused, withdrawn), Span(begin + 0.02, begin + 0.04))
    flow(max(cut, at))
    evidence.ended(max(cut, at) + late)
    bounds = evidence.bounds(99.0)
    for (low, high), truth in ((bounds.infused_ml, infused), (bounds.withdrawn_ml, withdrawn)):
        assert low - 1e-9 <= truth <= high + 1e-9


@pytest.mark.parametrize("at_s", [3.0, 12.34, *(15.0 + 0.008 * n for n in range(14)), 19.99])
def test_an_alarm_is_heard_between_two_looks(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: VirtualClock, at_s: float
) -> None:
    """It is pushed unasked: both pumps stand, and the volume is known, long before the next look would have come."""
    task = clock.every(at_s, lambda: (line.inject(Fault.RESET, 0), task.cancel()), "power cut")
    with pytest.raises(PumpAlarm, match="power was interrupted") as ended:
        run(case, setpoint, clock=clock, simulator=line)
    entries = read(next(rig_folder(case).glob("journal-*.jsonl")))
    stop = next(entry["t_s"] for entry in entries if entry["event"] == "stop")
    assert at_s <= stop <= at_s + 0.06
    assert "interrupted" in ended.value.message
    left = Volumes.open(rig_folder(case)).left("antisolvent")
    assert left is not None and left.by == "reckoned"
    wrong = abs(left.left_ml - line.pumps[0].volume_ml)
    assert wrong <= left.uncertain_ml <= 0.09 * 5000 / 3600
    assert wrong <= 0.06 * 5000 / 3600, "the flow of 0.06 s"


def test_a_counter_at_zero_proves_nothing_where_the_alarm_of_a_power_cut_was_lost(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: VirtualClock
) -> None:
    """Unplugged at its start, it runs on for a second, and its power blinks; the first answer afterwards is lost."""

    def strike(at_s: float, fault: Fault) -> None:
        task = clock.every(at_s, lambda: (line.inject(fault, 0), task.cancel()), "fault")

    strike(0.0, Fault.UNPLUGGED)
    strike(1.5, Fault.RESET)
    with pytest.raises(RigError, match="is gone"):
        run(case, setpoint, clock=clock, simulator=line)
    delivered = line.state(0)[1]
    assert delivered > 0.1
    line.plug_in()
    line.inject(Fault.MUTE, 0, 1)
    for _ in range(2):
        Latch(rig_folder(case)).acknowledge("the operator")
        with suppress(NoReply):
            run(case, setpoint, hold_s=1.0, clock=clock, simulator=line)
    journals = [read(path) for path in sorted(rig_folder(case).glob("journal-*.jsonl"))]
    settled = [entry for entries in journals for entry in entries if entry["event"] == "reconciled"]
    (left,) = [entry for entry in settled if entry["role"] == "antisolvent"]
    assert abs(left["left_ml"] - (50.0 - delivered)) <= left["uncertain_ml"]
    assert left["uncertain_ml"] > 0.1


def starts_of_the_precursor(
    case: Case, setpoint: Setpoint, where: Path, fault: Fault | None = None, at_s: float = 0.0
) -> tuple[list[float], int]:
    """When a run that primes first meant to start it, s, and how often it was told so."""
    program = Program((Leg({"antisolvent": 5000.0, "precursor": 60.0}, 1.0, 1.0),), {"antisolvent": 1.0}, "test")
    clock = VirtualClock()
    line = MemoryLine(simulated_pumps(equipment(case)), clock)

    def strike() -> None:
        task.cancel()
        if fault is not None:
            line.inject(fault, 1)

    task = clock.every(at_s, strike, "fault")
    with suppress(RigError):
        run(case, setpoint, program=program, folder=where, clock=clock, simulator=line)
    journal = read(next(where.glob("journal-*.jsonl")))
    starts = [entry["t_s"] for entry in journal if entry["event"] == "start" and entry["role"] == "precursor"]
    return starts, sum(b"01RUN" in command for command in line.heard)


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.BAD_CRC])
def test_a_pump_that_does_not_answer_is_not_told_to_start(
    case: Case, setpoint: Setpoint, tmp_path: Path, fault: Fault
) -> None:
    """It falls silent after its last look, just before it would start: nobody could say whether it ran."""
    (at_s,), told = starts_of_the_precursor(case, setpoint, tmp_path / "well")
    assert told == 1
    assert starts_of_the_precursor(case, setpoint, tmp_path / "silent", fault, at_s - 0.03) == ([], 0)
