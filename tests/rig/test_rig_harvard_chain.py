"""The Harvard driver in a chain: only the first pump answers what sets something."""

from __future__ import annotations

import pytest
from rig_harvard import Bench, Scripted

from twin.rig.clock import VirtualClock
from twin.rig.errors import BadReply, NoReply, RigError
from twin.rig.pumps.harvard import SETTLE_S, HarvardPump
from twin.rig.pumps.harvard_replies import only_settles
from twin.rig.simulated.faults import Fault


@pytest.fixture
def bench() -> Bench:
    return Bench(0)


def test_an_address_goes_before_the_command_and_is_asked_back() -> None:
    bench = Bench(0, 12)
    assert bench.pumps[12].identify().startswith("11 ELITE")
    assert bench.heard[-1] == b"12ver"
    assert bench.say(b"12:irat") == b"\n12:1 ml/min\r\n12:\x11"
    with pytest.raises(NoReply):
        HarvardPump(bench.port, 7, clock=bench.clock).status()


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
