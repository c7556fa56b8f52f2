"""The Harvard driver against its simulated pump, byte for byte."""

from __future__ import annotations

import pytest
from rig_harvard import Bench

from twin.errors import BadInput
from twin.rig.errors import CommandRefused, NoReply, NotStopped, PumpAlarm, RigError
from twin.rig.pumps.harvard import HarvardPump
from twin.rig.pumps.protocol import Direction, Pump, Status
from twin.rig.simulated.faults import Fault


@pytest.fixture
def bench() -> Bench:
    return Bench(0)


def test_the_contract_of_a_pump(bench: Bench) -> None:
    pump: Pump = bench.pump
    assert pump.identify() == "11 ELITE I/W Single 3.0.4"
    pump.prepare(26.59, fine=True)
    assert pump.guard(5.0) is None
    assert pump.limit(40.0) is True
    assert pump.status() is Status.STOPPED
    pump.set_rate_ml_h(600.0)
    assert pump.rate_ml_h() == 600.0
    pump.start()
    assert pump.status() is Status.INFUSING
    pump.set_rate_ml_h(1200.5)
    assert pump.rate_ml_h() == 1200.5
    assert pump.changed is not None
    bench.clock.sleep(3.0)
    pump.stop()
    counted = pump.dispensed()
    assert (counted.status, counted.withdrawn_ml) == (Status.STOPPED, 0.0)
    assert bench.line.state(0) == ("S", pytest.approx(counted.infused_ml, abs=counted.resolution_ml))
    # From rest to the rate, and from one rate to the next, the motor takes 50 ms; what the bytes take comes on top.
    assert counted.infused_ml == pytest.approx(1200.5 * 3.0 / 3600, abs=0.01)
    assert counted.resolution_ml == 1e-12
    pump.clear()
    assert pump.dispensed().infused_ml == 0.0


def test_a_rate_is_that_with_its_syringe_also_where_the_pump_has_forgotten_that(bench: Bench) -> None:
    """After a power cut it knows the rate and the diameter of its memory: its plunger goes by both."""
    bench.pump.prepare(28.6, fine=True)
    bench.pump.set_rate_ml_h(600.0)
    bench.line.inject(Fault.RESET, 0)
    with pytest.raises(NoReply):
        bench.pump.rate_ml_h()
    assert bench.pump.rate_ml_h() == pytest.approx(60.0 * (28.6 / 14.43) ** 2)


def test_the_bytes_of_a_whole_run(bench: Bench) -> None:
    bench.pump.identify()
    bench.pump.prepare(26.59, fine=False)
    bench.pump.limit(40.0)
    bench.pump.set_rate_ml_h(83.3333)
    bench.pump.start()
    bench.pump.dispensed()
    bench.pump.stop()
    assert [command.decode() for command in bench.heard] == [
        *("poll on", "echo off", "poll", "ver", "nvram none", "load qs iw", "cttime", "ttime", "ctvolume", "tvolume"),
        *("diameter 26.59", "diameter", "cvolume", "ivolume", "status", "wvolume", "tvolume 40 ml", "tvolume"),
        *("irate 83.3333 m/h", "irate", "irun", "status", "status", "stp", "status"),
    ]


def test_the_other_way_counts_apart(bench: Bench) -> None:
    bench.simulated[0].volume_ml = 20.0
    pump = bench.running()
    bench.clock.sleep(3.0)
    with pytest.raises(RigError, match="at rest"):
        pump.set_rate_ml_h(600.0, Direction.WITHDRAW)
    pump.stop()
    pump.set_rate_ml_h(1200.0, Direction.WITHDRAW)
    pump.start()
    assert pump.status() is Status.WITHDRAWING
    bench.clock.sleep(3.0)
    pump.stop()
    counted = pump.dispensed()
    assert counted.infused_ml == pytest.approx(0.5, abs=0.01)
    assert counted.withdrawn_ml == pytest.approx(1.0, abs=0.01)
    difference = counted.infused_ml - counted.withdrawn_ml
    assert bench.line.state(0)[1] == pytest.approx(difference, abs=counted.resolution_ml)
    assert counted.resolution_ml == pytest.approx(1e-6)  # six digits of the counter that it only prints
    pump.clear()
    assert (pump.dispensed().infused_ml, pump.dispensed().withdrawn_ml) == (0.0, 0.0)


def test_it_stops_by_itself_at_its_limit(bench: Bench) -> None:
    bench.pump.prepare(26.59, fine=False)
    bench.pump.limit(0.25)
    bench.pump.set_rate_ml_h(600.0)
    bench.pump.start()
    with pytest.raises(RigError, match="at rest"):
        bench.pump.limit(None)
    bench.clock.sleep(3.0)
    counted = bench.pump.dispensed()
    assert (counted.status, counted.infused_ml) == (Status.STOPPED, pytest.approx(0.25))
    assert bench.say(b"") == b"\nT*\x11"
    bench.pump.stop()
    bench.pump.limit(None)
    assert bench.say(b"tvolume") == b"\nTarget volume not set\r\nT*\x11"


def test_a_limit_beyond_the_syringe_of_the_pump_is_explained(bench: Bench) -> None:
    bench.pump.prepare(26.59, fine=False)
    with pytest.raises(CommandRefused, match="syringe volume that is set at the pump") as error:
        bench.pump.limit(61.0)
    assert error.value.code == "?OOR"


@pytest.mark.parametrize("addresses", [(0,), (0, 5)])
@pytest.mark.parametrize("rate", [5300.0, 0.005])
def test_a_rate_out_of_range_is_refused_with_the_range(addresses: tuple[int, ...], rate: float) -> None:
    """Of the second pump the refusal itself is never heard, only that the rate is the old one."""
    bench = Bench(*addresses)
    pump = bench.pumps[addresses[-1]]
    pump.prepare(26.59, fine=False)
    pump.set_rate_ml_h(100.0)
    with pytest.raises(CommandRefused, match=r"85.0247 nl/min to 88.2949 ml/min \(0.005101 to 5297.69 mL/h\)") as error:
        pump.set_rate_ml_h(rate)
    assert error.value.code == "?OOR"
    assert pump.rate_ml_h() == 100.0


def test_a_syringe_that_runs_out_is_an_alarm_that_latches(bench: Bench) -> None:
    bench.simulated[0].volume_ml = 0.5
    pump = bench.running(5000.0)
    bench.clock.sleep(1.0)
    with pytest.raises(PumpAlarm, match="stalled"):
        pump.dispensed()
    assert pump.dispensed().infused_ml == pytest.approx(0.5)  # the alarm was told, so the counter may be read
    sent = len(bench.heard)
    for change in (lambda: pump.set_rate_ml_h(10.0), pump.start, pump.clear, lambda: pump.prepare(26.59, fine=False)):
        with pytest.raises((PumpAlarm, RigError)):
            change()
    with pytest.raises(PumpAlarm, match="not yet acknowledged"):
        pump.start()
    assert len(bench.heard) == sent
    pump.stop()
    assert bench.heard[sent:] == [b"stp", b"status"]
    assert pump.acknowledge() == "S"
    assert pump.acknowledge() is None
    bench.simulated[0].volume_ml = 50.0
    pump.set_rate_ml_h(100.0)  # the prompt still says stalled, which is known
    pump.start()
    assert pump.alarm is None
    bench.line.inject(Fault.STALL, 0)
    with pytest.raises(PumpAlarm, match="stalled"):
        pump.set_rate_ml_h(200.0)
    assert pump.alarm == "S"


def test_a_pump_that_stalls_again_at_once_does_not_count_as_started(bench: Bench) -> None:
    bench.simulated[0].volume_ml = 0.01
    pump = bench.running(5000.0)
    bench.clock.sleep(1.0)
    with pytest.raises(PumpAlarm):
        pump.status()
    pump.stop()
    pump.acknowledge()
    with pytest.raises(PumpAlarm, match="stalled"):
        pump.start()
    assert pump.alarm == "S"


def test_a_pump_that_lost_its_power_falls_silent_and_is_still_stopped(bench: Bench) -> None:
    pump = bench.running()
    bench.line.inject(Fault.RESET, 0)
    with pytest.raises(NoReply, match="only"):
        pump.dispensed()
    pump.stop()
    assert bench.line.state(0)[0] == "S"
    assert pump.dispensed().infused_ml == 0.0


@pytest.mark.parametrize(
    "fault", [Fault.MUTE, Fault.PARTIAL, Fault.GARBAGE, Fault.WRONG_ADDRESS, Fault.SILENCE, Fault.BAD_CRC]
)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_stop_survives_what_the_cable_does(bench: Bench, fault: Fault, times: int) -> None:
    pump = bench.running()
    bench.line.inject(fault, 0, times)
    pump.stop()
    assert bench.line.state(0)[0] == "S"


def test_a_pump_that_never_answers_is_not_called_stopped(bench: Bench) -> None:
    pump = bench.running()
    bench.line.inject(Fault.SILENCE, 0)
    with pytest.raises(NotStopped, match=r"switch .* off at the mains"):
        pump.stop()
    assert bench.line.state(0)[0] == "I"
    bench.line.unplug()
    with pytest.raises(NotStopped, match="gone"):
        pump.stop()
    with pytest.raises(RigError, match="gone"):
        pump.request_stop()


def test_a_driver_that_never_spoke_to_a_pump_can_stop_it() -> None:
    bench = Bench(0, 5)
    for command in (b"irun", b"05irun"):
        bench.say(command)
    assert (bench.line.state(0)[0], bench.line.state(5)[0]) == ("I", "I")
    bench.heard.clear()
    for pump in bench.pumps.values():
        pump.stop()
    assert bench.heard[0] == b"stp"
    assert (bench.line.state(0)[0], bench.line.state(5)[0]) == ("S", "S")


def test_a_stop_that_is_answered_tells_when_it_took_effect(bench: Bench) -> None:
    pump = bench.running()
    pump.request_stop()
    told = pump.changed
    bench.clock.sleep(0.1)
    pump.stop()
    assert pump.changed == told


def test_a_command_that_is_not_taken_is_noticed(bench: Bench) -> None:
    bench.pump.prepare(26.59, fine=False)
    bench.line.inject(Fault.SILENCE, 0, 1)
    with pytest.raises(RigError, match=r"was told 600 mL/h but answers '1 ml/min' to irate"):
        bench.pump.set_rate_ml_h(600.0)
    bench.pump.set_rate_ml_h(600.0)
    bench.line.inject(Fault.SILENCE, 0, 1)
    with pytest.raises(RigError, match="did not start"):
        bench.pump.start()


def test_unasked_bytes_are_an_error_even_where_a_missing_answer_is_not(bench: Bench) -> None:
    bench.pump.prepare(26.59, fine=False)
    bench.say(b"poll off")
    device = bench.line.device()
    bench.simulated[0].unasked = True
    assert device.in_waiting == 0  # still on the wire
    bench.clock.sleep(0.1)
    with pytest.raises(RigError, match=r"unasked bytes b'\\n:'"):
        bench.pump.set_rate_ml_h(600.0)


def test_it_is_put_on_the_screen_of_quick_start_without_echo() -> None:
    bench = Bench(0, quick_start=False)
    bench.simulated[0].echo = True
    assert bench.say(b"irate") == b"irate\r\nCommand error:\r\n   Not available in this mode\r\n:"
    bench.pump.prepare(14.43, fine=False)
    assert bench.say(b"diameter") == b"\n14.4300 mm\r\n:\x11"


def test_a_pump_that_only_infuses_is_prepared_too() -> None:
    bench = Bench(0, withdraws=False)
    assert bench.pump.identify() == "11 ELITE Single 3.0.4"
    bench.running()
    assert b"load qs i" in bench.heard
    bench.pump.stop()
    with pytest.raises(CommandRefused) as error:
        bench.pump.set_rate_ml_h(10.0, Direction.WITHDRAW)
    assert error.value.code == "?NA"


@pytest.mark.parametrize("number", ["11 elite", "ELITE"])
def test_a_pump_of_another_model_is_refused(bench: Bench, number: str) -> None:
    assert HarvardPump(bench.port, 0, model_number=number, clock=bench.clock).identify()
    with pytest.raises(BadInput, match="is a 11 ELITE I/W Single, not a LEGATO"):
        HarvardPump(bench.port, 0, model_number="LEGATO", clock=bench.clock).identify()
