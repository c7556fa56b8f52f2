"""The simulated Harvard pump by itself, as other programs speak to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig_harvard import Bench

from twin.rig.simulated.faults import Fault


@pytest.fixture
def bench() -> Bench:
    return Bench(0)


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
