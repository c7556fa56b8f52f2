"""Safe mode on both sides, the simulated pump's own rules, and the line: noise, cables, networks."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from rig_lines import Noise, Rig, calls_until_the_end, rig, simulated
from rig_servers import served

from twin.errors import BadInput
from twin.rig.clock import Clock, VirtualClock
from twin.rig.errors import BadReply, CommandRefused, NoReply, PumpAlarm, RigError
from twin.rig.port import Port, open_port
from twin.rig.pumps.newera import NewEraPump
from twin.rig.pumps.newera_packets import DamagedPacket, Mode, encode, frames, parse_reply, readable, whole
from twin.rig.pumps.protocol import Direction, Pump, Status
from twin.rig.simulated.bus import Bus
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.line import SimulatedLine


@pytest.fixture
def safe() -> Iterator[Rig]:
    """Two pumps in memory, whose guards are armed as they are made ready."""
    with rig("memory", safe=True) as made:
        yield made


def running(setup: Rig, address: int = 0, rate: float = 600.0) -> Pump:
    pump = setup.ready(address)
    pump.set_rate_ml_h(rate)
    pump.start()
    return pump


def bus(now: float = 0.0, **options: object) -> Bus:
    """One pump in Basic mode, its reset alarm acknowledged."""
    made = Bus({0: simulated("newera", **options)})
    made.power_on(now)
    assert made.hear(b"\r", now) == b"\x0200A?R\x03"
    made.hear(b"DIA28.6\r", now)
    return made


def packet(text: str) -> bytes:
    return encode(Mode.SAFE, int(text[:2]), text[2:])


def said(made: Bus, *commands: str, now: float = 0.0) -> list[str]:
    """The texts of the replies to commands in Basic mode, without the address."""
    return [made.hear(f"{command}\r".encode(), now)[3:-1].decode("latin-1") for command in commands]


# Safe mode


def test_the_packet_of_the_manual() -> None:
    packets = bus()
    packets.hear(b"SAF7\r", 0.0)
    assert packets.pumps[0].safe
    assert packets.hear(bytes.fromhex("02 08 53 41 46 30 55 43 03"), 0.1) == b"\x0200S\x03"
    assert not packets.pumps[0].safe


def test_a_packet_goes_both_ways() -> None:
    sent = encode(Mode.SAFE, 3, "SAF0")
    assert sent[:2] == b"\x02\x0a"
    reply = parse_reply(encode(Mode.SAFE, 3, "I12.50MH"))
    assert (reply.address, reply.status, reply.data, reply.mode) == (3, Status.INFUSING, "12.50MH", Mode.SAFE)


def test_every_flipped_bit_of_a_packet_is_noticed() -> None:
    good = encode(Mode.SAFE, 0, "I12.50MH")
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadReply):
            parse_reply(bytes(bad))


@pytest.mark.parametrize(("asked", "taken"), [(0.4, 1), (3, 3), (4.01, 5), (255, 255)])
def test_the_guard_takes_whole_seconds(safe: Rig, asked: float, taken: int) -> None:
    assert safe.ready(0, asked).guard(asked) == taken
    assert safe.line.pumps[0].safe


@pytest.mark.parametrize("asked", [-1, 256, float("nan")])
def test_a_guard_beyond_the_pump_is_refused(safe: Rig, asked: float) -> None:
    with pytest.raises(BadInput, match="0 to 255"):
        safe.ready().guard(asked)


def test_a_driver_that_is_told_to_leaves_the_mode_alone() -> None:
    with rig("memory") as setup:
        setup.ready()
        pump = NewEraPump(setup.port, 0, clock=setup.clock, safe=False)
        assert pump.guard(5.0) is None
        assert not setup.line.pumps[0].safe


def test_a_host_that_falls_silent_leaves_a_pump_that_stops(safe: Rig) -> None:
    pump = running(safe)
    last = safe.clock.now()
    safe.clock.sleep(4.9)
    assert safe.line.state(0)[0] == "I"
    safe.clock.sleep(0.2)
    status, delivered = safe.line.state(0)
    assert status == "S"
    assert safe.clock.now() - last < 5.2
    safe.clock.sleep(100.0)
    assert safe.line.state(0) == ("S", delivered)
    assert delivered == pytest.approx(600 * 5.0 / 3600, rel=0.02)
    with pytest.raises(PumpAlarm, match="watchdog"):
        pump.dispensed()


def test_a_host_that_talks_keeps_it_running(safe: Rig) -> None:
    pump = running(safe)
    safe.wait(30.0, pump)
    assert safe.line.state(0)[0] == "I"


def test_a_dead_hosts_pump_is_reached_by_the_next_one(safe: Rig) -> None:
    running(safe)
    safe.clock.sleep(60.0)
    safe.reopen()
    stranger = safe.driver()
    with pytest.raises(PumpAlarm, match="watchdog"):
        stranger.identify()
    stranger.acknowledge()
    assert stranger.identify().startswith("NE1010")
    assert stranger.guard(0.0) == 0.0
    assert not safe.line.pumps[0].safe
    assert safe.driver().identify().startswith("NE1010")


@pytest.mark.parametrize("packets_in_basic", [True, False])
@pytest.mark.parametrize("guarded", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("kind", ["memory", "pty"])
def test_a_stop_from_outside_needs_no_mode(kind: str, guarded: tuple[int, ...], packets_in_basic: bool) -> None:
    with rig(kind, packets_in_basic=packets_in_basic) as setup:
        for address in (0, 1):
            running(setup, address)
        for address in guarded:
            setup.line.pumps[address]._timeout = 5  # as another program may have left it
        setup.reopen()
        strangers = [setup.driver(address) for address in (1, 0)]
        for stranger in strangers:
            with suppress(RigError):
                stranger.request_stop()
        for stranger in strangers:
            stranger.stop()
        assert [setup.line.state(address)[0] for address in (0, 1)] == ["S", "S"]


def test_a_stop_that_gets_no_answer_is_said_in_both_modes(safe: Rig) -> None:
    pump = running(safe)
    safe.line.pumps[0]._timeout = 0  # someone else put it back into Basic mode
    pump.stop()
    assert safe.line.state(0)[0] == "S"
    with rig("memory") as setup:
        pump = running(setup)
        setup.line.pumps[0]._timeout = 5
        pump.stop()
        assert setup.line.state(0)[0] == "S"


def test_half_a_command_of_a_dead_host_does_not_hold_up_a_stop() -> None:
    with rig("memory") as setup:
        running(setup)
        device = setup.line.device()
        device.write(b"00RAT12")
        setup.driver().stop()
        assert setup.line.state(0)[0] == "S"


# Alarms that are pushed


def pushed(setup: Rig) -> None:
    """Lets pump 0 stall and push its alarm, which waits on the line then."""
    setup.line.inject(Fault.STALL, 0)
    assert setup.port._device.in_waiting == 0
    setup.clock.sleep(0.1)
    assert setup.port._device.in_waiting == len(encode(Mode.SAFE, 0, "A?S"))


def test_a_pushed_alarm_is_raised_before_anything_is_sent(safe: Rig) -> None:
    pump = running(safe)
    pushed(safe)
    heard = len(safe.line.heard)
    with pytest.raises(PumpAlarm, match="stalled"):
        pump.set_rate_ml_h(700.0)
    assert len(safe.line.heard) == heard
    assert pump.alarm == "S"


def test_an_alarm_that_was_pushed_is_said_once_more_and_then_over(safe: Rig) -> None:
    pump = running(safe)
    pushed(safe)
    with pytest.raises(PumpAlarm):
        pump.dispensed()
    assert pump.acknowledge() == "S"
    assert pump.dispensed().status is Status.STOPPED  # the pump's second A?S is swallowed, and the query repeated
    assert pump.alarm is None


def test_a_new_alarm_after_the_acknowledged_one_is_raised(safe: Rig) -> None:
    pump = running(safe)
    pushed(safe)
    with pytest.raises(PumpAlarm):
        pump.dispensed()
    pump.acknowledge()
    pump.status()
    safe.line.inject(Fault.STALL, 0)
    with pytest.raises(PumpAlarm):
        pump.status()
        pump.status()


def test_the_alarm_of_another_pump_reaches_its_own_driver(safe: Rig) -> None:
    first, second = running(safe, 0), running(safe, 1)
    safe.line.inject(Fault.STALL, 1)
    for _ in range(3):
        assert first.dispensed().status is Status.INFUSING
    assert first.alarm is None
    heard = len(safe.line.heard)
    with pytest.raises(PumpAlarm, match="pump 1 stalled"):
        second.set_rate_ml_h(500.0)
    assert len(safe.line.heard) == heard
    assert second.acknowledge() == "S"
    second.stop()
    first.stop()


def test_an_alarm_between_command_and_reply_does_not_spoil_the_reply() -> None:
    pushed = encode(Mode.SAFE, 1, "A?S")
    reply = encode(Mode.SAFE, 0, "I")
    assert not whole(pushed, 0)
    assert not whole(pushed + reply[:-1], 0)
    assert whole(pushed + reply, 0)
    assert whole(pushed, 1)
    assert frames(pushed + reply) == [pushed, reply]


def test_a_power_cut_in_safe_mode_is_pushed_and_leaves_the_timer_unarmed(safe: Rig) -> None:
    pump = running(safe)
    safe.line.inject(Fault.RESET, 0)
    with pytest.raises(PumpAlarm, match="power"):
        for _ in range(2):
            pump.status()
    fresh = bus()
    said(fresh, "SAF2", now=0.0)
    fresh.pumps[0].power_on(1.0)
    assert fresh.spontaneous(1.0) == encode(Mode.SAFE, 0, "A?R")
    assert fresh.spontaneous(50.0) == b""  # no A?T: nothing was heard yet
    assert fresh.hear(packet("00"), 50.0) == encode(Mode.SAFE, 0, "A?R")  # saying it unasked did not acknowledge it
    assert fresh.spontaneous(51.9) == b""
    assert fresh.spontaneous(52.1) == encode(Mode.SAFE, 0, "A?T")


# Damage


def test_a_damaged_reply_to_a_query_is_asked_for_once_more(safe: Rig) -> None:
    pump = running(safe)
    safe.line.inject(Fault.BAD_CRC, 0, 1)
    assert pump.dispensed().status is Status.INFUSING
    safe.line.inject(Fault.BAD_CRC, 0, 2)
    with pytest.raises(DamagedPacket, match="checksum"):
        pump.dispensed()


def test_a_damaged_reply_to_a_command_is_an_error_and_the_command_is_not_repeated(safe: Rig) -> None:
    pump = running(safe)
    safe.line.inject(Fault.BAD_CRC, 0, 1)
    safe.line.heard.clear()
    with pytest.raises(DamagedPacket):
        pump.set_rate_ml_h(700.0)
    assert safe.line.heard == [b"00RAT700.0"]
    pump.stop()


def test_a_damaged_query_is_refused_by_the_pump_and_repeated_once() -> None:
    made = bus()
    said(made, "SAF5")
    bad = bytearray(packet("00DIS"))
    bad[4] ^= 1
    assert made.hear(bytes(bad), 0.1) == encode(Mode.SAFE, 0, "S?COM")

    class Twice:
        """A line that damages the first packet."""

        url = "tape"

        def __init__(self, damaged: int) -> None:
            self.damaged = damaged

        def exchange(self, message: bytes, *_: object) -> bytes:
            spoilt = bytes([*message[:3], message[3] ^ 0x80, *message[4:]]) if self.damaged > 0 else message
            self.damaged -= 1
            return made.hear(spoilt, 0.2)

    made.pumps[0].address = 0
    pump = NewEraPump(Twice(0), 0)
    pump._mode = Mode.SAFE
    assert pump.dispensed().status is Status.STOPPED
    pump._line.damaged = 1
    assert pump.dispensed().status is Status.STOPPED
    pump._line.damaged = 2
    with pytest.raises(CommandRefused, match="damaged"):
        pump.dispensed()
    pump._line.damaged = 1
    with pytest.raises(CommandRefused, match="damaged"):
        pump.start()


def test_half_a_packet_is_dropped_after_half_a_second() -> None:
    whole_packet = packet("00VER")
    for gap, answered in ((0.45, True), (0.55, False)):
        made = bus()
        said(made, "SAF5")
        assert made.hear(whole_packet[:4], 1.0) == b""
        assert bool(made.hear(whole_packet[4:], 1.0 + gap)) is answered
        assert made.hear(whole_packet, 3.0) == encode(Mode.SAFE, 0, "SNE1010V3.923")


# The pump's own rules


def test_a_motor_needs_a_moment() -> None:
    made = bus(ramp_s=0.1)
    said(made, "RAT3600MH", "RUN")
    assert made.state(0, 0.05)[1] == pytest.approx(0.5 * 0.5 * 0.05)
    assert made.state(0, 1.1)[1] == pytest.approx(0.05 + 1.0)
    said(made, "RAT1800", now=1.1)
    assert made.state(0, 2.2)[1] == pytest.approx(1.05 + 0.075 + 0.5)


def test_a_target_is_delivered_and_then_phase_two_decides() -> None:
    made = bus()
    assert said(made, "RAT3600MH", "VOL0.5", "RUN") == ["S", "S", "I"]
    assert made.state(0, 10.0) == ("S", pytest.approx(0.5))
    assert said(made, "PHN2", "FUNRAT", "RAT1800MH", "VOL0", "PHN1", "RUN", now=10.0)[-1] == "I"
    assert made.state(0, 20.0)[0] == "I"  # phase 2 pumps on
    assert made.state(0, 20.0)[1] == pytest.approx(1.0 + 0.5 * (10.0 - 0.5), rel=0.02)


def test_a_direction_is_reversed_and_a_full_syringe_is_the_end() -> None:
    made = bus(volume_ml=10.0, capacity_ml=10.5)
    assert said(made, "RAT3600MH", "DIRREV", "DIR", "RUN") == ["S", "S", "SWDR", "W"]
    assert made.state(0, 1.0) == ("S", pytest.approx(-0.5))
    assert made.pumps[0].volume_ml == pytest.approx(10.5)
    assert said(made, "", "", now=1.0) == ["A?S", "S"]


def test_a_purge_goes_as_fast_as_it_can_until_it_is_stopped() -> None:
    made = bus(ramp_s=0.0)
    assert said(made, "DIA20.00", "PUR") == ["S", "X"]
    assert made.state(0, 1.0)[1] == pytest.approx(18.37 * 60 * 3.14159 / 3600, rel=1e-3)
    assert said(made, "STP", now=1.0) == ["S"]


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("DIA50.1", "S?OOR"), ("DIA50", "S"), ("AL", "S1"), ("AL0", "S"), ("AL2", "S?OOR"), ("PF", "S0"), ("PF1", "S"),
        ("TRG", "SFT"), ("TRGLE", "S"), ("LOC1", "S"), ("BP0", "S"), ("BUZ13", "S"), ("ROM", "S0"), ("DIN1", "S"),
        ("LN", "S0"), ("PHN42", "S?OOR"), ("PHN41", "S"), ("FUNXYZ", "S?"), ("SAF256", "S?OOR"), ("SAF", "S0"),
        ("XYZ", "S?"), ("*RESET", "S"), ("*RESET1", "S?"), ("RAT 60 MH", "S"), ("rat60mh", "S"), ("RUN2", "S"),
        ("RATC60", "S?"), ("VOL12345", "S?"), ("CLDXXX", "S?"), ("1VER", ""), ("00VER", "SNE1010V3.923"),
    ],
)  # fmt: skip
def test_a_simulated_pump_answers_by_the_manual(command: str, reply: str) -> None:
    assert said(bus(), command) == [reply]


def test_an_address_can_be_changed_and_everything_reset() -> None:
    made = bus()
    assert made.hear(b"*ADR7\r", 0.0) == b"\x0207S\x03"
    assert made.hear(b"07DIA12.00\r", 0.0) == b"\x0207S\x03"
    assert made.hear(b"*RESET\r", 0.0) == b"\x0200S\x03"
    assert made.hear(b"DIA\r", 0.0) == b"\x0200S20.00\x03"


def test_a_pump_in_safe_mode_does_not_hear_basic_commands() -> None:
    made = bus()
    assert made.hear(b"SAF5\r", 0.0) == encode(Mode.SAFE, 0, "S")
    assert made.hear(b"00VER\r", 0.1) == b""
    assert made.hear(packet("00VER"), 0.2) == encode(Mode.SAFE, 0, "SNE1010V3.923")


def test_pumps_of_two_families_do_not_share_a_cable() -> None:
    with pytest.raises(ValueError, match="speeds differ"):
        Bus({0: simulated("newera"), 1: simulated("harvard")})


@pytest.mark.parametrize("model", ["NE500V3.919", "NE1000V3.923", "NE1010X2V3.928", "NE4000XV3.923", "NE8000V3.95"])
def test_the_models_of_the_family_are_known(model: str) -> None:
    number, firmware = model[2:].partition("V")[0].partition("X")[0], model[2:].lstrip("0123456789")
    made = bus(firmware=firmware)
    made.pumps[0].model_number = number

    class Direct:
        url = "direct"

        def exchange(self, message: bytes, *_: object) -> bytes:
            return made.hear(message, 0.0)

    assert NewEraPump(Direct(), 0, model_number=number).identify() == model


# Noise


def noise(count: int, seed: int) -> Iterator[bytes]:
    """Random bytes, and commands and replies with random damage, in pieces; `count` bytes in all."""
    chance = random.Random(seed)
    good = [b"00RAT60.00MH\r", b"\r", b"01STP\r", b"\x0200I5000.MH\x03", b"\x0200A?S\x03", packet("00SAF3")]
    good += [packet("01DIS"), encode(Mode.SAFE, 0, "I0.000W0.000ML"), encode(Mode.SAFE, 1, "A?T"), b"*ADR1\r"]
    while count > 0:
        piece = bytearray(chance.choice(good) if chance.random() < 0.7 else chance.randbytes(chance.randrange(1, 60)))
        for _ in range(chance.choice([0, 0, 1, 2])):
            piece[chance.randrange(len(piece))] = chance.randrange(256)
        if chance.random() < 0.2:
            del piece[chance.randrange(len(piece)) :]
        piece = piece[:count]
        count -= len(piece)
        if piece:
            yield bytes(piece)


SIZES = [30_000, pytest.param(1_000_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", list(Mode))
def test_noise_breaks_no_driver(mode: Mode, size: int) -> None:
    clock = VirtualClock()
    device = Noise(clock, noise(size, 1))
    port = Port(device, "noise", deadline_s=0.05, clock=clock)

    def driver(number: int) -> NewEraPump:
        pump = NewEraPump(port, number % 2, clock=clock)
        pump._mode = mode
        return pump

    assert calls_until_the_end(device, driver) > size / 100


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [2, 3])
def test_noise_breaks_no_parser(seed: int, size: int) -> None:
    for piece in noise(size, seed):
        whole(piece, 0)
        assert b"".join(frames(piece)) == piece
        for reply in readable(piece):
            assert (reply.status is None) == (reply.alarm is not None)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", list(Mode))
def test_noise_breaks_no_simulated_pump(mode: Mode, size: int) -> None:
    made, now = Bus({0: simulated("newera"), 1: simulated("newera")}), 0.0
    made.power_on(now)
    for piece in noise(size, 4):
        now += 0.01
        if mode is Mode.SAFE:
            made.pumps[0]._timeout = 3
        answer = made.hear(piece, now) + made.spontaneous(now)
        assert all(parse_reply(reply) for reply in frames(answer))
    now += 10.0
    made.hear(b"\r", now)
    made.pumps[0]._reset()
    made.pumps[0].stall(now)
    assert made.hear(b"\r00\r", now + 1.0).endswith(b"\x0200S\x03")


# Cables and networks


def test_the_path_outlives_the_cable(tmp_path: Path) -> None:
    where = tmp_path / "pump"
    with SimulatedLine({0: simulated("newera")}, Clock(), at=where) as line:
        assert line.path == str(where)
        with pytest.raises(BadInput, match="there already"):
            SimulatedLine({0: simulated("newera")}, Clock(), at=where)
        line.unplug()
        with pytest.raises(BadInput, match="no port"):
            open_port(line.path, 19200)
        line.inject(Fault.UNPLUGGED, 0)  # pulled out already
        line.plug_in()
        line.plug_in()
        port = open_port(f"serial://{line.path}", 19200)
        with pytest.raises(PumpAlarm):
            NewEraPump(port, 0).identify()
        port.close()
    assert not where.exists()


def test_a_slow_line_takes_its_time() -> None:
    with SimulatedLine({0: simulated("newera")}, Clock(), baud=1200) as line:
        port = open_port(line.path, 1200)
        with pytest.raises(PumpAlarm):
            NewEraPump(port, 0).identify()
        began = time.monotonic()
        NewEraPump(port, 0).identify()
        assert time.monotonic() - began > (len("00VER\r") + len("\x0200SNE1010V3.923\x03")) * 10 / 1200
        port.close()


def test_bytes_take_their_time_in_memory() -> None:
    with rig("memory") as setup:
        setup.ready()
        pump = setup.driver()
        began = setup.clock.now()
        pump.identify()
        wire = (len("00VER\r") + len("\x0200SNE1010V3.923\x03")) * 10 / 19200
        assert setup.clock.now() - began == pytest.approx(wire)


@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")  # in pyserial
@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_pumps_are_driven_over_the_network(scheme: str) -> None:
    with (
        SimulatedLine({0: simulated("newera")}, Clock()) as line,
        served(line.path, scheme) as url,
    ):
        port = open_port(url, 19200)
        pump = NewEraPump(port, 0, model_number="1010")
        with pytest.raises(PumpAlarm):
            pump.identify()
        pump.acknowledge()
        pump.identify()
        pump.guard(5.0)
        pump.prepare(28.6, fine=True)
        pump.set_rate_ml_h(3600.0, Direction.INFUSE)
        pump.start()
        time.sleep(0.2)
        pump.stop()
        assert line.state(0) == ("S", pytest.approx(pump.dispensed().infused_ml, abs=2e-3))
        assert line.state(0)[1] > 0.1
        pump.guard(0.0)
        port.close()


def test_a_network_without_a_server_is_an_error() -> None:
    with served("/nowhere", "socket") as url:
        pass
    with pytest.raises((RigError, BadInput)):
        open_port(url, 19200)


def test_nobody_answers_no_reply() -> None:
    with rig("memory") as setup, pytest.raises(NoReply):
        setup.driver(5).status()
