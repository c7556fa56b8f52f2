"""Noise for the parsers of the Harvard family and of gauges: thirty thousand bytes each, a million by request.

New Era's is in `test_rig_simulator.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress

import pytest
from rig_lines import Noise, calls_until_the_end, simulated

from twin.rig.clock import VirtualClock
from twin.rig.errors import BadReply, RigError
from twin.rig.port import Port
from twin.rig.pumps.harvard import HarvardPump
from twin.rig.pumps.harvard_replies import parse_reply, parse_status
from twin.rig.sensors.text import TextSensor
from twin.rig.simulated.bus import Bus

SIZES = [30_000, pytest.param(1_000_000, marks=pytest.mark.slow)]
REPLIES = [
    b"\n:\x11", b"\n01:\x11", b"\n>\x11", b"\n60 ml/hr\r\n>\x11", b"\nPolling mode is ON\r\n:\x11", b"\nT*\x11",
    b"\n4800000000 1000 100000000000 I...I.\r\n>\x11", b"\n11 ELITE I/W Single 3.0.4\r\n:\x11",
    b"\nArgument error: 200\r\n   Out of range\r\n:\x11", b"\n25.0404 nl/min to 26.0035 ml/min\r\n:\x11",
]  # fmt: skip
COMMANDS = [b"irate 60 m/h\r", b"01irun\r", b"stp\r", b"status\r", b"poll on\r", b"diameter 28.6\r", b"@ivolume\r\n"]
LINES = [b"p=1.234 bar\r\n", b"-0.5\n", b"p=1e3\n", b"nan\n", b"ready\r\n"]


def noise(count: int, good: list[bytes], seed: int) -> Iterator[bytes]:
    """Random bytes, and good messages with random damage, in pieces; `count` bytes in all."""
    chance = random.Random(seed)
    while count > 0:
        piece = bytearray(chance.choice(good) if chance.random() < 0.7 else chance.randbytes(chance.randrange(1, 60)))
        for _ in range(chance.choice([0, 0, 1, 2])):
            piece[chance.randrange(len(piece))] = chance.randrange(256)
        piece = piece[: max(count, 1)]
        count -= len(piece)
        yield bytes(piece)


@pytest.mark.parametrize("size", SIZES)
def test_noise_breaks_no_parser_of_replies(size: int) -> None:
    understood = 0
    for piece in noise(size, REPLIES, 1):
        with suppress(BadReply):
            for line in parse_reply(piece).lines:
                understood += parse_status(line) is not None
    assert understood > size / 1e4  # among the noise there is sense


@pytest.mark.parametrize("size", SIZES)
def test_noise_breaks_no_driver(size: int) -> None:
    clock = VirtualClock()
    device = Noise(clock, noise(size, REPLIES, 2))
    port = Port(device, "noise", deadline_s=0.05, clock=clock)
    assert calls_until_the_end(device, lambda number: HarvardPump(port, number % 2, clock=clock)) > size / 1000


@pytest.mark.parametrize("size", SIZES)
def test_noise_breaks_no_simulated_pump(size: int) -> None:
    made, now = Bus({0: simulated("harvard"), 1: simulated("harvard")}), 0.0
    made.power_on(now)
    for piece in noise(size, COMMANDS, 3):
        now += 0.01
        made.hear(piece, now)
        made.spontaneous(now)
    made.hear(b"\r\n", now + 10)
    assert made.hear(b"stp\r", now + 11)
    assert made.state(0, now + 12)[0] not in "IW"


@pytest.mark.parametrize("size", SIZES)
def test_noise_breaks_no_gauge(size: int) -> None:
    clock = VirtualClock()
    device = Noise(clock, noise(size, LINES, 4), unasked=True)

    def connect(*_: object, **__: object) -> Port:
        return Port(device, "noise", deadline_s=0.2, clock=clock)

    sensor = TextSensor("pressure", "bar", "noise", clock, pattern=r"p=([-+.\deE]+) bar", connect=connect)
    sensor.open()
    values = []
    while not device.ended:
        with suppress(RigError):
            values.append(sensor.read().value)
    assert 1.234 in values
