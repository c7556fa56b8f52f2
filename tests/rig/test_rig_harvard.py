"""The Harvard driver against its simulated pumps, byte for byte, and against pumps that answer oddly."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig_lines import Noise

from twin.errors import BadInput
from twin.rig.clock import VirtualClock
from twin.rig.errors import BadReply, CommandRefused, NoReply, NotStopped, PumpAlarm, RigError
from twin.rig.port import Port
from twin.rig.pumps.catalogue import PUMP_MODELS
from twin.rig.pumps.harvard import SETTLE_S, HarvardPump
from twin.rig.pumps.harvard_replies import (
    format_number,
    only_settles,
    parse_rate_ml_h,
    parse_reply,
    parse_status,
    parse_volume_ml,
)
from twin.rig.pumps.protocol import Direction, Pump, Status
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.harvard import SimulatedHarvard
from twin.rig.simulated.memory import MemoryLine

ELITE = PUMP_MODELS["11 Elite"]


def elite(volume_ml: float = 50.0, **options: object) -> SimulatedHarvard:
    return SimulatedHarvard("11 ELITE", ELITE.min_cm_h, ELITE.max_cm_h, volume_ml, **options)  # type: ignore[arg-type]


class Bench:
    """Simulated pumps on a line in memory, with a port and a driver for each."""

    def __init__(self, *addresses: int, **options: object) -> None:
        self.clock = VirtualClock()
        self.simulated = {address: elite(**options) for address in addresses}  # type: ignore[arg-type]
        self.line = MemoryLine(self.simulated, self.clock, 115200)
        self.port = Port(self.line.device(), "memory", clock=self.clock)
        self.pumps = {address: HarvardPump(self.port, address, clock=self.clock) for address in addresses}
        self.pump, self.heard = self.pumps[addresses[0]], self.line.heard

    def running(self, rate_ml_h: float = 600.0) -> HarvardPump:
        self.pump.prepare(26.59, fine=False)
        self.pump.set_rate_ml_h(rate_ml_h)
        self.pump.start()
        return self.pump

    def say(self, command: bytes) -> bytes:
        """What the simulated pumps answer to a bare command."""
        device = self.line.device()
        device.write(command + b"\r")
        return device.read(200)


class Scripted:
    """A line on which a pump in polling mode says what a test wants it to say."""

    url = "scripted"

    def __init__(self, **answers: bytes) -> None:
        self.answers = answers
        self.forgetful: set[str] = set()

    def exchange(
        self,
        message: bytes,
        whole: Callable[[bytes], bool],
        insist: bool = False,
        unasked: Callable[[bytes], None] | None = None,
        deadline_s: float | None = None,
    ) -> bytes:
        command = message.decode().rstrip("\r")
        known = {"poll": b"\nPolling mode is ON\r\n:\x11"}
        return self.answers.get(command.replace(" ", "_")) or known.get(command, b"\n:\x11")


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


def test_an_address_goes_before_the_command_and_is_asked_back() -> None:
    bench = Bench(0, 12)
    assert bench.pumps[12].identify().startswith("11 ELITE")
    assert bench.heard[-1] == b"12ver"
    assert bench.say(b"12:irat") == b"\n12:1 ml/min\r\n12:\x11"
    with pytest.raises(NoReply):
        HarvardPump(bench.port, 7, clock=bench.clock).status()


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


def test_the_second_pump_of_a_chain_answers_no_command_and_is_believed_by_what_it_reads_back() -> None:
    bench = Bench(0, 5)
    first, second = bench.pumps.values()
    for pump in (first, second):
        pump.prepare(26.59, fine=False)
        pump.set_rate_ml_h(600.0)
    second.start()
    assert (bench.line.state(0)[0], bench.line.state(5)[0]) == ("S", "I")
    assert second.changed is not None
    assert SETTLE_S / 2 <= second.changed.half_s < SETTLE_S  # when it started is not known any better
    second.stop()
    assert bench.line.state(5)[0] == "S"


def test_behind_the_first_pump_no_answer_is_waited_for() -> None:
    bench = Bench(0, 5)
    second, begun = bench.pumps[5], bench.clock.now()
    second.prepare(26.59, fine=False)
    second.set_rate_ml_h(600.0)
    assert bench.clock.now() - begun < 0.25  # ten commands, of which none is answered, and as many questions
    assert [command[2:].decode() for command in bench.heard if b"load" in command or b"nvram" in command] == [
        *("nvram off", "nvram none", "load qs i", "load qs iw"),  # refusals are not heard: the best comes last
    ]
    second.start()
    begun = bench.clock.now()
    second.request_stop()
    assert bench.clock.now() - begun < 2 * SETTLE_S
    assert second.changed is not None
    assert second.changed.before_s == begun
    bench.clock.sleep(0.1)
    second.stop()
    assert second.changed.before_s == begun  # the first of the two stops may have been the one
    assert second.changed.after_s == pytest.approx(bench.clock.now())


def test_a_stop_that_is_answered_tells_when_it_took_effect(bench: Bench) -> None:
    pump = bench.running()
    pump.request_stop()
    told = pump.changed
    bench.clock.sleep(0.1)
    pump.stop()
    assert pump.changed == told


@pytest.mark.parametrize("late", [b"\n05:\x11", b"\n05>\x11\n05:\x11"])
def test_late_answers_behind_the_first_pump_are_passed_over(late: bytes) -> None:
    line = Scripted(**{"05poll": b"\n05:Polling mode is ON\r\n05:\x11", "05irate": late + b"\n05:5 ml/hr\r\n05:\x11"})
    assert HarvardPump(line, 5, clock=VirtualClock()).rate_ml_h() == 5.0


@pytest.mark.parametrize(
    ("stray", "settles"),
    [
        (b"\n05:\x11", True),
        (b"\n05:\x11\n06>\x11", True),
        (b"\n05:Argument error: 9\r\n05:   Out of range\r\n05:\x11", True),
        (b"\n05:60 ml/hr\r\n05:\x11", False),
        (b"\n05:", False),
        (b"\xff\x11", False),
    ],
)
def test_what_may_come_unasked_behind_the_first_pump(stray: bytes, settles: bool) -> None:
    assert only_settles(stray) is settles
    pump = HarvardPump(Scripted(), 5)
    if settles:
        pump._unasked(stray)
    else:
        with pytest.raises(RigError, match="unasked"):
            pump._unasked(stray)
    with pytest.raises(RigError, match="unasked"):
        HarvardPump(Scripted(), 0)._unasked(stray)


def test_a_command_answered_under_another_address_is_believed_but_a_query_is_not(bench: Bench) -> None:
    bench.pump.prepare(26.59, fine=False)
    bench.line.inject(Fault.WRONG_ADDRESS, 0, 1)
    bench.pump.set_rate_ml_h(600.0)
    assert bench.pump.rate_ml_h() == 600.0
    bench.line.inject(Fault.WRONG_ADDRESS, 0, 1)
    with pytest.raises(BadReply, match="address 42"):
        bench.pump.rate_ml_h()


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


@pytest.mark.parametrize(
    ("answer", "version"),
    [("11 ELITE I/W Single 3.0.4", True), (" 11 Elite 2.0.1", True), ("PHD ULTRA 3.0.5", True), ("NE1010V3.9", False)],
)
def test_versions(answer: str, version: bool) -> None:
    pump = HarvardPump(Scripted(ver=f"\n{answer}\r\n:\x11".encode()), 0, clock=VirtualClock())
    if version:
        assert pump.identify() == answer.strip()
    else:
        with pytest.raises(BadReply, match="no Harvard pump"):
            pump.identify()


@pytest.mark.parametrize(
    ("prompt", "status"),
    [(":", "STOPPED"), (">", "INFUSING"), ("<", "WITHDRAWING"), ("T*", "STOPPED"), ("T:", "STOPPED")],
)
def test_prompts(prompt: str, status: str) -> None:
    line = Scripted(status=f"\n0 0 5000000000 i...I.\r\n{prompt}\x11".encode())
    assert HarvardPump(line, 0, clock=VirtualClock()).status() is Status[status]


def test_a_pump_that_goes_on_to_say_that_it_stalled_did_not_start() -> None:
    line = Scripted(status=b"\n0 0 0 i.S.I.\r\n*\x11", irun=b"\n*\x11")
    pump = HarvardPump(line, 0, clock=VirtualClock())
    pump._polling = True
    with pytest.raises(PumpAlarm):
        pump.status()
    pump.acknowledge()
    with pytest.raises(PumpAlarm, match="stalled"):
        pump.start()
    assert pump.alarm == "S"


@pytest.mark.parametrize("frame", [b"\n05:5 ml\r\n06:\x11", b"\n05:5 ml\r\n:\x11", b"\n5 ml\r\n05:\x11", b"\n:"])
def test_a_reply_of_two_pumps_is_none(frame: bytes) -> None:
    with pytest.raises(BadReply):
        parse_reply(frame)


@pytest.mark.parametrize(
    ("flags", "prompt"), [("i...I.", "*"), ("i...I.", ">*"), ("w...I.", "<*"), ("i.S.I.", ":"), ("i.S.I", ":")]
)
def test_every_way_to_say_that_it_can_not_move_is_an_alarm(flags: str, prompt: str) -> None:
    line = Scripted(status=f"\n0 0 0 {flags}\r\n{prompt}\x11".encode())
    pump = HarvardPump(line, 0, clock=VirtualClock())
    with pytest.raises(PumpAlarm):
        pump.status()
    assert pump.alarm == "S"
    assert pump.status() is Status.STOPPED


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Command error:\r\n   Unknown command", "?"),
        ("Command error:\r\n   Not while the pump runs", "?NA"),
        ("Argument error: 200\r\n   Unknown syringe", "?"),
        ("Argument error: 200\r\n   Out of range", "?OOR"),
        ("Unknown command", "?"),
        ("Out of range", "?OOR"),
    ],
)
def test_errors(said: str, code: str) -> None:
    line = Scripted(irate=f"\n{said}\r\n:\x11".encode())
    with pytest.raises(CommandRefused, match=said.splitlines()[-1].strip()) as error:
        HarvardPump(line, 0, clock=VirtualClock()).rate_ml_h()
    assert error.value.code == code


@pytest.mark.parametrize(
    ("command", "answer", "call"),
    [
        ("irate", b"\n5 ml/fortnight\r\n:\x11", HarvardPump.rate_ml_h),
        ("irate", b"\n:\x11", HarvardPump.rate_ml_h),
        ("irate", b"\n5 ml/min\r\n5 ml/min\r\n:\x11", HarvardPump.rate_ml_h),
        ("irate", b"\n05:5 ml/min\r\n05:\x11", HarvardPump.rate_ml_h),
        ("status", b"\n0 0 i...I.\r\n:\x11", HarvardPump.dispensed),
        ("status", b"\n0 0 0 x...I.\r\n:\x11", HarvardPump.dispensed),
        ("wvolume", b"\nfull\r\n:\x11", HarvardPump.dispensed),
        ("poll", b"\nPolling mode is OFF\r\n:\x11", HarvardPump.status),
    ],
)
def test_odd_answers_are_refused(command: str, answer: bytes, call: Callable[[HarvardPump], object]) -> None:
    line = Scripted(**{"status": b"\n0 0 0 i...I.\r\n:\x11", command: answer})
    with pytest.raises(RigError):
        call(HarvardPump(line, 0, clock=VirtualClock()))


@pytest.mark.parametrize(
    ("text", "ml_h"),
    [
        ("25.0404 nl/min", 0.001502424),
        ("26.0035 ml/min", 1560.21),
        ("83.3333 ml/hr", 83.3333),
        ("100 ul/min", 6.0),
        ("1 nl/s", 0.0036),
        ("0.1 ul/s", 0.36),  # in floating point 0.36000000000000004
        ("1 ul/sec", 3.6),
        ("2.5 pl/min", 1.5e-7),
        ("1.5 l/h", 1500.0),
    ],
)
def test_rates_are_read_in_every_unit(text: str, ml_h: float) -> None:
    assert parse_rate_ml_h(text) == ml_h


@pytest.mark.parametrize(
    "text", ["", "5", "5 ml", "-5 ml/min", "1e3 ml/min", "5 ml/min ", "5  ml/min", "٥ ml/min", "nan ml/h"]
)
def test_what_is_no_rate(text: str) -> None:
    assert parse_rate_ml_h(text) is None
    assert parse_volume_ml("5 kl") is None


@given(st.floats(1e-4, 999999.0))
def test_a_number_is_told_within_its_precision(value: float) -> None:
    text = format_number(value)
    assert float(text) == pytest.approx(value, rel=0.005)
    assert len(text.replace(".", "").lstrip("0")) <= 6
    if value >= 0.2:
        assert float(text) == pytest.approx(value, rel=5e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, 1.4e-6, 1e-7, 1e6, float("nan"), float("inf")])
def test_a_number_that_can_not_be_told_is_refused(value: float) -> None:
    with pytest.raises(BadInput, match="can't be told"):
        format_number(value)


@given(st.binary(max_size=80) | st.text("0123456789:<>*T.iwIWS \n\r\x11", max_size=60).map(str.encode))
def test_the_parser_gives_a_reply_or_a_bad_reply(frame: bytes) -> None:
    try:
        reply = parse_reply(frame)
    except BadReply:
        return
    assert frame.endswith(b"\x11")
    assert 0 <= reply.address <= 99
    for line in reply.lines:
        parse_status(line)


@given(st.binary(max_size=120), st.booleans())
def test_noise_on_the_line_is_a_rig_error_and_never_hangs(noise: bytes, ends: bool) -> None:
    clock = VirtualClock()
    device = Noise(clock, repeat(noise + (b"\x11" if ends else b"")))
    pump = HarvardPump(Port(device, "noise", clock=clock), 0, clock=clock)
    with pytest.raises(RigError):
        pump.identify()
    with pytest.raises(NotStopped):
        pump.stop()
    assert clock.now() < 20.0


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"irun\r", b"stp\r", b"poll on\r", b"irate 5 m/h\r"])))
def test_the_simulated_pump_takes_any_bytes(chunks: list[bytes]) -> None:
    bench = Bench(0, 5)
    device = bench.line.device()
    for chunk in chunks:
        device.write(chunk)
        device.read(20)
    bench.pump.stop()


def test_the_limits_of_an_elite_are_printed_to_the_digit(bench: Bench) -> None:
    assert bench.say(b"diameter 14.43") == b"\n:"
    assert bench.say(b"irate lim") == b"\n25.0404 nl/min to 26.0035 ml/min\r\n:"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"@irate 100 u/m", b"\n:"),
        (b"IRAT 100 UL/MIN\n", b"\n:"),
        (b"irate 0", b"\nArgument error:\r\n   Unknown units\r\n:"),
        (b"irate 5000 ml/min", b"\nArgument error: 5000\r\n   Out of range\r\n:"),
        (b"irate max", b"\n:"),
        (b"syrm 200", b"\nArgument error: 200\r\n   Unknown syringe\r\n:"),
        (b"fly", b"\nCommand error:\r\n   Unknown command\r\n:"),
        (b"crate", b"\nCommand error:\r\n   The pump is not running\r\n:"),
        (b"iramp", b"\nRamp not set up.\r\n:"),
        (b"ttime", b"\nTarget time not set\r\n:"),
        (b"force", b"\n100%\r\n:"),
        (b"svolume", b"\n60.0000 ml\r\n:"),
        (b"address", b"\nPump address is 0\r\n:"),
        (b"poll", b"\nPolling mode is OFF\r\n:"),
        (b"status", b"\n0 0 0 i...I.\r\n:"),
        (b"", b"\n:"),
    ],
)
def test_commands_of_other_programs(bench: Bench, command: bytes, answer: bytes) -> None:
    assert bench.say(command) == answer


def test_a_ramp_delivers_its_mean(bench: Bench) -> None:
    bench.say(b"iramp 110 ul/min 4.17 ml/min 7.036")
    assert bench.say(b"iramp") == b"\n110 ul/min to 4.17 ml/min in 7.036 seconds\r\n:"
    bench.say(b"irun")
    start = bench.clock.now()
    bench.clock.sleep(7.036)
    assert bench.line.state(0)[1] == pytest.approx(0.5 * (0.110 + 4.17) * (bench.clock.now() - start) / 60, rel=0.02)
    assert bench.say(b"crate") == b"\nInfusing at 4.17 ml/min\r\n>"


def test_targets_end_a_run_and_say_so_unasked_without_polling_mode(bench: Bench) -> None:
    device = bench.line.device()
    for command in (b"irate 20 m/m\r", b"tvolume 300 u\r", b"irun\r"):
        device.write(command)
    device.read(100)
    bench.clock.sleep(2.0)
    assert device.read(10) == b"\nT*"
    for command in (b"ctvolume\r", b"cvolume\r", b"ttime 0.5\r", b"irun\r"):
        device.write(command)
    device.read(100)
    bench.clock.sleep(2.0)
    assert device.read(10) == b"\nT*"
    assert bench.line.state(0)[1] == pytest.approx(0.3 + (0.5 - 0.025) * 20 / 60, rel=1e-3)


def test_a_stall_is_never_said_unasked(bench: Bench) -> None:
    device = bench.line.device()
    device.write(b"irun\r")
    device.read(10)
    bench.line.inject(Fault.STALL, 0)
    assert device.read(10) == b""
    assert bench.say(b"") == b"\n*"


def test_memory_is_kept_unless_it_is_switched_off(bench: Bench) -> None:
    bench.say(b"diameter 10")
    bench.say(b"nvram none")
    bench.say(b"diameter 20")
    bench.line.inject(Fault.RESET, 0)
    assert bench.say(b"diameter") == b"\n10.0000 mm\r\n:"


def test_a_slow_pump_counts_what_it_delivers(bench: Bench) -> None:
    pump = bench.running()
    bench.line.inject(Fault.SLOW, 0)
    bench.clock.sleep(30.0)
    pump.stop()
    assert pump.dispensed().infused_ml == pytest.approx(0.97 * 5.0, rel=0.005)
