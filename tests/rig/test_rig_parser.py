"""The wire format: what is read strictly, what is written within half a percent, and that noise never hangs."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.errors import BadInput
from twin.rig.errors import BadReply, CommandRefused, NoReply, PumpAlarm, RigError
from twin.rig.port import Port
from twin.rig.pumps.newera import NewEraPump, Reply, format_number, parse_reply
from twin.rig.pumps.protocol import Status
from twin.rig.simulated.newera import _digits, _value


class Tape:
    """A device that answers each command with the next piece of a tape, in chunks."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.waiting = b""
        self.written: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self.written.append(data)
        self.waiting += self.answers.pop(0) if self.answers else b""
        return len(data)

    def read(self, size: int = 1, /) -> bytes:
        taken, self.waiting = self.waiting[:size], self.waiting[size:]
        if not taken:
            time.sleep(0.0005)
        return taken

    @property
    def in_waiting(self) -> int:
        return len(self.waiting)

    def close(self) -> None:
        pass


def pump(*answers: bytes, address: int = 0, deadline_s: float = 0.01) -> NewEraPump:
    return NewEraPump(Port(Tape(*answers), "tape", deadline_s=deadline_s), address)


@pytest.mark.parametrize(
    ("frame", "reply"),
    [
        (b"\x0200S\x03", Reply(0, Status.STOPPED)),
        (b"\x0299I5000.MH\x03", Reply(99, Status.INFUSING, "5000.MH")),
        (b"\x0201PNE1000V3.923\x03", Reply(1, Status.PAUSED, "NE1000V3.923")),
        (b"\x0207A?S\x03", Reply(7, None, alarm="S")),
        (b"\x0200S?OOR\x03", Reply(0, Status.STOPPED, refusal="?OOR")),
        (b"\x0200W?\x03", Reply(0, Status.WITHDRAWING, refusal="?")),
    ],
)
def test_a_reply_is_taken_apart(frame: bytes, reply: Reply) -> None:
    assert parse_reply(frame) == reply


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"00S\x03", b"\x0200S", b"\x020S\x03", b"\x02000S\x03", b"\x0200\x03", b"\x0200Z\x03", b"\x0200A?\x03",
        b"\x0200A?Q\x03", b"\x0200A?RR\x03", b"\x0200S?NO\x03", b"x\x0200S\x03", b"\x0200S\x03\x03", b"\x0200S\x02\x03",
        b"\x0200S\xb5\x03", b"\x02 0S\x03", b"\x02\xd9\xa0S\x03", b"\x0200S" + 50 * b"1" + b"\x03", b"\x0200S\n\x03",
    ],
)  # fmt: skip
def test_anything_else_is_refused(frame: bytes) -> None:
    with pytest.raises(BadReply):
        parse_reply(frame)


@given(st.binary(max_size=40))
def test_random_bytes_give_a_reply_or_a_rig_error(noise: bytes) -> None:
    try:
        reply = parse_reply(noise)
    except RigError:
        return
    assert (reply.status is None) == (reply.alarm is not None)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.binary(max_size=400) | st.binary(max_size=30).map(lambda body: b"\x0200S" + body + b"\x03"), max_size=4
    ),
    st.sampled_from(["identify", "dispensed", "rate_ml_h", "status", "start", "request_stop"]),
)
def test_a_pump_of_noise_never_hangs_nor_raises_anything_but_a_rig_error(answers: list[bytes], method: str) -> None:
    began = time.monotonic()
    with suppress(RigError, BadInput):
        getattr(pump(*answers), method)()
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("seed", range(5))
def test_a_stop_in_noise_ends_with_the_deadline(seed: int) -> None:
    noise = random.Random(seed)
    with pytest.raises(RigError, match="NOT VERIFIED"):
        pump(*(noise.randbytes(30) for _ in range(10))).stop(deadline_s=0.03)


def test_silence_and_broken_frames_are_no_reply() -> None:
    for answer in (b"", b"\x0200S", b"\x02"):
        with pytest.raises(NoReply):
            pump(answer).status()


def test_a_babbling_line_is_cut_off() -> None:
    with pytest.raises(BadReply, match="babbles"):
        pump(b"x" * 1000).status()


def test_bytes_that_nobody_asked_for_stop_a_command_but_not_a_stop() -> None:
    tape = Tape(b"\x0200P\x03", b"\x0200S\x03", b"\x0200S\x03", b"\x0200S\x03")
    driver = NewEraPump(Port(tape, "tape", deadline_s=0.01), 0)
    tape.waiting = b"\x0200I\x03"
    with pytest.raises(BadReply, match="unasked"):
        driver.start()
    assert tape.written == []
    tape.waiting = b"\x0200I\x03"
    driver.stop()
    assert tape.written[0].startswith(b"00STP\r")


def test_the_reply_of_another_pump_is_refused() -> None:
    with pytest.raises(BadReply, match="address 2"):
        pump(b"\x0202S\x03", address=1).status()


def test_a_refusal_comes_in_words() -> None:
    with pytest.raises(CommandRefused, match="out of its range") as caught:
        pump(b"\x0200S?OOR\x03").set_rate_ml_h(5000)
    assert caught.value.code == "?OOR"


def test_an_alarm_is_latched_until_it_is_acknowledged() -> None:
    tape = Tape(b"\x0200A?S\x03", b"\x0200I\x03")
    driver = NewEraPump(Port(tape, "tape", deadline_s=0.01), 0)
    with pytest.raises(PumpAlarm, match="stalled"):
        driver.start()
    with pytest.raises(PumpAlarm, match="not yet acknowledged"):
        driver.start()
    assert tape.written == [b"00RUN\r"]
    assert driver.acknowledge() == "S"
    driver.start()
    assert tape.written == [b"00RUN\r", b"00RUN\r"]


@pytest.mark.parametrize("read_back", [b"501.0MH", b"500.0MM", b"500.0", b"", b"5000.MH"])
def test_a_rate_that_reads_back_otherwise_is_refused(read_back: bytes) -> None:
    with pytest.raises(RigError):
        pump(b"\x0200S\x03", b"\x0200S" + read_back + b"\x03").set_rate_ml_h(500)


def test_a_gone_device_is_a_rig_error() -> None:
    class Gone(Tape):
        def read(self, size: int = 1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(RigError, match="is gone"):
        NewEraPump(Port(Gone(b"x"), "tape", deadline_s=0.01), 0).status()


@given(st.floats(0.1, 9999.0))
def test_a_number_that_is_sent_is_what_the_simulator_reads_within_half_a_percent(value: float) -> None:
    text = format_number(value)
    digits = text.replace(".", "")
    assert len(digits) <= 4
    assert len(text.partition(".")[2]) <= 3
    assert _value(text) == pytest.approx(value, rel=0.005)


@pytest.mark.parametrize("value", [0.0, -1.0, 0.0004, 0.0123, 10000.0, 9999.6, float("nan"), float("inf")])
def test_a_number_that_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(BadInput, match="four digits"):
        format_number(value)


@settings(deadline=None)
@given(st.floats(0.0, 9999.0))
def test_a_number_that_the_simulator_shows_is_read(value: float) -> None:
    text = _digits(value)
    shown = pump(f"\x0200S{text}MH\x03".encode(), deadline_s=5.0).rate_ml_h()
    assert shown == pytest.approx(value, rel=0.0006, abs=0.00051)
