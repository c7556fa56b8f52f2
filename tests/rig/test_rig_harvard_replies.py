"""What a Harvard pump may answer, and what is no answer of one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig_harvard import Bench, Scripted
from rig_lines import Noise

from twin.errors import BadInput
from twin.rig.clock import VirtualClock
from twin.rig.errors import BadReply, CommandRefused, NotStopped, PumpAlarm, RigError
from twin.rig.port import Port
from twin.rig.pumps.harvard import HarvardPump
from twin.rig.pumps.harvard_replies import format_number, parse_rate_ml_h, parse_reply, parse_status, parse_volume_ml
from twin.rig.pumps.protocol import Status


@pytest.fixture
def bench() -> Bench:
    return Bench(0)


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
