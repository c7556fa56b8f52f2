"""What the protocol of a pump promises, of every driver with its simulator, in memory and over a pseudo-terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from rig_lines import DIAMETER_MM, NUMBERS, Rig, rig

from twin.errors import BadInput
from twin.rig.errors import NoReply, NotStopped, PumpAlarm, RigError
from twin.rig.pumps.drivers import baud_of, driver
from twin.rig.pumps.protocol import Direction, Pump, Status
from twin.rig.simulated.faults import Fault

#: Family, whether in Safe mode, the address of the pump, and options of the simulated ones. Behind the first pump of a
#: chain a Harvard pump answers no command that sets something, or, for all that is known, some do.
VARIANTS: dict[str, tuple[str, bool, int, dict[str, Any]]] = {
    "newera": ("newera", False, 0, {}),
    "newera-safe": ("newera", True, 0, {}),
    "harvard": ("harvard", False, 0, {}),
    "harvard-second": ("harvard", False, 1, {}),
    "harvard-second-answers": ("harvard", False, 1, {"answers": True}),
}
#: What a start and a change of rate may cost at most: the motor's ramp, and on a real clock the exchanges.
SLACK_S = {"memory": 0.04, "pty": 0.15}


@pytest.fixture(params=["memory", "pty"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=VARIANTS)
def setup(request: pytest.FixtureRequest, kind: str) -> Iterator[Rig]:
    family, safe, address, options = VARIANTS[request.param]
    with rig(kind, family, safe, address=address, **options) as made:
        yield made


@pytest.fixture
def pump(setup: Rig) -> Pump:
    return setup.ready()


def test_it_says_what_it_is(setup: Rig, pump: Pump) -> None:
    assert NUMBERS[setup.family] in pump.identify()
    assert setup.driver(number=NUMBERS[setup.family]).identify() == pump.identify()


def test_another_model_is_refused(setup: Rig, pump: Pump) -> None:
    with pytest.raises(BadInput, match="swapped"):
        setup.driver(number="4711").identify()


def test_nobody_at_an_address_is_no_reply(setup: Rig) -> None:
    with pytest.raises(NoReply):
        setup.driver(7).identify()


def test_it_infuses_what_it_is_told_and_counts_it(setup: Rig, pump: Pump, kind: str) -> None:
    pump.set_rate_ml_h(600.0)
    assert pump.rate_ml_h() == pytest.approx(600.0)
    assert pump.status() in (Status.STOPPED, Status.PAUSED)
    pump.changed = None
    pump.start()
    assert pump.changed is not None
    began = pump.changed
    assert pump.status() is Status.INFUSING
    pump.set_rate_ml_h(1200.0)
    assert pump.rate_ml_h() == pytest.approx(1200.0)
    assert pump.changed is not began
    changed = pump.changed
    setup.wait(20.0 if kind == "memory" else 0.5, pump)
    pump.stop()
    ended = pump.changed
    assert pump.status() is Status.STOPPED
    counted = pump.dispensed()
    told_ml = (600 * (changed.middle_s - began.middle_s) + 1200 * (ended.middle_s - changed.middle_s)) / 3600
    slack_ml = 1200 * SLACK_S[kind] / 3600
    assert counted.infused_ml == pytest.approx(told_ml, abs=slack_ml + counted.resolution_ml)
    assert counted.infused_ml > 0
    assert counted.withdrawn_ml == 0.0
    assert counted.status is Status.STOPPED
    assert setup.line.state(setup.address) == ("S", pytest.approx(counted.infused_ml, abs=1.01 * counted.resolution_ml))


def test_it_withdraws_and_counts_that_apart(setup: Rig, pump: Pump, kind: str) -> None:
    seconds = 5.0 if kind == "memory" else 0.2
    pump.set_rate_ml_h(1800.0)
    pump.start()
    setup.wait(2 * seconds, pump)
    pump.stop()
    pump.set_rate_ml_h(1800.0, Direction.WITHDRAW)
    pump.start()
    assert pump.status() is Status.WITHDRAWING
    setup.wait(seconds, pump)
    assert pump.dispensed().status is Status.WITHDRAWING
    pump.stop()
    counted = pump.dispensed()
    assert 0 < counted.withdrawn_ml < counted.infused_ml
    net_ml = counted.infused_ml - counted.withdrawn_ml
    assert setup.line.state(setup.address)[1] == pytest.approx(net_ml, abs=2.02 * counted.resolution_ml)


def test_a_running_pump_does_not_turn_round(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(600.0)
    pump.start()
    with pytest.raises(RigError):
        pump.set_rate_ml_h(600.0, Direction.WITHDRAW)
    assert pump.status() is Status.INFUSING
    pump.stop()


def test_prepare_turns_it_to_infusion_again(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(600.0, Direction.WITHDRAW)
    pump.prepare(DIAMETER_MM, fine=False)
    pump.set_rate_ml_h(600.0)
    pump.start()
    assert setup.line.state(setup.address)[0] == "I"
    pump.stop()


def test_clear_sets_the_counters_to_zero_at_rest_only(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(3000.0)
    pump.start()
    setup.clock.sleep(0.3)
    with pytest.raises(RigError):
        pump.clear()
    pump.stop()
    assert pump.dispensed().infused_ml > 0
    pump.clear()
    counted = pump.dispensed()
    assert (counted.infused_ml, counted.withdrawn_ml) == (0.0, 0.0)


def test_it_has_a_timer_or_a_limit_of_its_own(setup: Rig, pump: Pump, kind: str) -> None:
    taken = pump.guard(3.2)
    if taken is not None:
        assert taken == pytest.approx(4.0)
        assert pump.guard(0.0) == 0.0
        assert pump.status() is Status.STOPPED
        assert pump.limit(1.0) is False
        return
    assert pump.limit(0.1) is True
    pump.set_rate_ml_h(1800.0)
    pump.start()
    setup.clock.sleep(0.5)
    assert setup.line.state(setup.address) == ("S", pytest.approx(0.1))
    pump.stop()
    assert pump.limit(None) is True
    pump.start()
    setup.clock.sleep(0.5)
    assert setup.line.state(setup.address)[0] == "I"
    pump.stop()


def test_a_rate_beyond_the_pump_is_an_error(setup: Rig, pump: Pump) -> None:
    with pytest.raises(RigError):
        pump.set_rate_ml_h(9900.0)


def test_an_alarm_is_latched_and_acknowledged(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(600.0)
    pump.start()
    setup.line.inject(Fault.STALL, setup.address)
    with pytest.raises(PumpAlarm, match="stalled"):
        for _ in range(2):  # the pump may say it at once, or with the next answer
            pump.dispensed()
    assert pump.alarm == "S"
    with pytest.raises(PumpAlarm, match="not yet acknowledged"):
        pump.start()
    with pytest.raises(PumpAlarm, match="not yet acknowledged"):
        pump.set_rate_ml_h(700.0)
    assert setup.line.state(setup.address)[0] == "S"
    pump.stop()
    assert pump.acknowledge() == "S"
    assert pump.alarm is None
    pump.set_rate_ml_h(600.0)
    pump.start()
    assert pump.status() is Status.INFUSING
    pump.stop()


def test_a_stall_that_was_heard_of_keeps_no_later_driver_from_a_start(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(600.0)
    pump.start()
    setup.line.inject(Fault.STALL, setup.address)
    with pytest.raises(PumpAlarm, match="stalled"):
        for _ in range(2):
            pump.dispensed()
    pump.stop()
    later = setup.driver()
    later.identify()
    if setup.safe:
        later.guard(5.0)
    later.prepare(DIAMETER_MM, fine=False)
    later.set_rate_ml_h(600.0)
    later.start()
    setup.line.inject(Fault.STALL, setup.address)
    with pytest.raises(PumpAlarm, match="stalled"):
        for _ in range(2):
            later.dispensed()


def test_an_empty_syringe_stalls(setup: Rig, pump: Pump, kind: str) -> None:
    setup.line.pumps[setup.address].volume_ml = 0.2
    pump.set_rate_ml_h(3600.0)
    pump.start()
    setup.clock.sleep(0.4)
    with pytest.raises(PumpAlarm, match="stalled"):
        for _ in range(2):
            pump.dispensed()
    assert setup.line.state(setup.address) == ("S", pytest.approx(0.2))


def test_a_refill_beyond_the_syringe_stalls(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(3600.0, Direction.WITHDRAW)  # the syringe is full
    with pytest.raises(PumpAlarm, match="stalled"):
        pump.start()
        setup.clock.sleep(0.1)
        for _ in range(2):
            pump.dispensed()
    assert setup.line.pumps[setup.address].volume_ml == pytest.approx(50.0)


def test_one_pump_of_a_chain_does_not_move_the_other(setup: Rig) -> None:
    first, second = setup.ready(setup.other), setup.ready()
    for pump in (first, second):
        pump.set_rate_ml_h(600.0)
    second.start()
    assert (setup.line.state(setup.other)[0], setup.line.state(setup.address)[0]) == ("S", "I")
    first.stop()
    assert setup.line.state(setup.address)[0] == "I"
    second.stop()
    assert setup.line.state(setup.address)[0] == "S"


@pytest.mark.parametrize(
    ("fault", "times"),
    [(Fault.MUTE, 1), (Fault.PARTIAL, 1), (Fault.GARBAGE, 2), (Fault.SILENCE, 1), (Fault.BAD_CRC, 2)],
)
def test_a_stop_outlasts_what_the_line_does_to_it(setup: Rig, pump: Pump, fault: Fault, times: int) -> None:
    pump.set_rate_ml_h(600.0)
    pump.start()
    setup.line.inject(fault, setup.address, times)
    pump.stop()
    assert setup.line.state(setup.address)[0] == "S"


def test_a_pump_that_is_not_heard_is_not_called_stopped(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(600.0)
    pump.start()
    setup.line.inject(Fault.SILENCE, setup.address)
    with pytest.raises(NotStopped, match="off at the mains"):
        pump.stop(deadline_s=0.2)
    assert setup.line.state(setup.address)[0] == "I"


def test_a_stop_asked_for_without_waiting_stops_the_flow(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(600.0)
    pump.start()
    pump.request_stop()
    setup.clock.sleep(0.05)
    assert setup.line.state(setup.address)[0] in "SP"


def test_a_driver_that_knows_nothing_stops_a_running_pump(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(600.0)
    pump.start()
    stranger = setup.driver()
    stranger.request_stop()
    stranger.stop()
    assert setup.line.state(setup.address)[0] == "S"


def test_a_power_cut_does_not_go_unnoticed(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(600.0)
    pump.start()
    setup.line.inject(Fault.RESET, setup.address)
    # A Harvard pump has no such alarm: it forgets how it was told to answer.
    with pytest.raises(PumpAlarm if setup.family == "newera" else RigError):
        for _ in range(2):
            pump.dispensed()
    assert setup.line.state(setup.address)[0] == "S"


def test_only_a_lost_answer_may_have_told_of_a_power_cut(setup: Rig, pump: Pump) -> None:
    tells = setup.family == "newera"
    assert pump.cut_is_told is tells
    setup.line.unplug()
    setup.clock.sleep(0.05)  # a pseudo-terminal is gone only when nobody waits at it any more
    with pytest.raises(RigError, match="is gone"):
        pump.dispensed()
    assert pump.cut_is_told is tells, "nothing went out"
    setup.line.plug_in()
    setup.reopen()
    pump = setup.driver()
    pump.identify()
    assert pump.cut_is_told is tells
    setup.line.inject(Fault.MUTE, setup.address, 1)
    with suppress(RigError):
        pump.dispensed()
    pump.identify()
    assert not pump.cut_is_told
    pump.prepare(DIAMETER_MM, fine=True)
    assert pump.cut_is_told is tells, "it stood at zero, and said so"


def test_a_pulled_cable_is_an_error_and_a_new_port_works(setup: Rig, pump: Pump) -> None:
    pump.set_rate_ml_h(600.0)
    pump.start()
    setup.line.unplug()
    with pytest.raises(RigError, match="is gone"):
        pump.dispensed()
    with pytest.raises(NotStopped):
        pump.stop(deadline_s=0.1)
    assert setup.line.state(setup.address)[0] == "I"  # nobody can stop it now, except its own timer
    setup.line.plug_in()
    setup.reopen()
    again = setup.driver()
    again.stop()
    assert setup.line.state(setup.address)[0] == "S"


def test_there_is_a_speed_for_each_family_and_no_driver_for_others() -> None:
    assert (baud_of("newera"), baud_of("harvard")) == (19200, 115200)
    with rig("memory") as made, pytest.raises(BadInput, match="no driver"):
        driver("chemyx", made.port, 0)
