"""Sensors of text, telemetry, and the sensors of a case."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twin.case import Case, load
from twin.case.rig import Rig
from twin.errors import BadInput
from twin.rig.clock import Clock, VirtualClock
from twin.rig.errors import BadReply, NoReply, RigError
from twin.rig.port import SLICE_S, Port
from twin.rig.record.journal import Journal, read
from twin.rig.record.recorder import Recorder
from twin.rig.sensors import Board, Reading, Sensor, Steadiness, Telemetry, decode_spectrum, periods_s, sensors
from twin.rig.sensors.spectrometer import SpectrometerSensor
from twin.rig.sensors.text import TextSensor
from twin.rig.simulated.sensors import (
    OUTLET_PA_S_M3,
    Poiseuille,
    SensorFault,
    SimulatedSeabreeze,
    SimulatedSensor,
    SimulatedText,
    resistance_pa_s_m3,
    simulator,
)

CASE = Path(__file__).parents[2] / "cases" / "liang2023" / "case.toml"


class Events:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, sync: bool = True, **fields: Any) -> None:
        self.seen.append((name, json.loads(json.dumps(fields, allow_nan=False))))

    def of(self, name: str, sensor: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.seen if event == name and fields["sensor"] == sensor]


class Memory:
    """A device that prints `printed` bytes at their times, or answers each write with the next of `answers`."""

    def __init__(
        self, clock: VirtualClock, printed: list[tuple[float, bytes]] | None = None, answers: list[bytes] | None = None
    ) -> None:
        self.clock, self.printed, self.answers = clock, list(printed or []), list(answers or [])
        self.written: list[bytes] = []
        self.waiting = bytearray()
        self.closed = False

    @property
    def in_waiting(self) -> int:
        while self.printed and self.printed[0][0] <= self.clock.now():
            self.waiting += self.printed.pop(0)[1]
        return len(self.waiting)

    def read(self, size: int = 1) -> bytes:
        if not self.in_waiting:
            self.clock.pass_by(SLICE_S)
        came = bytes(self.waiting[: size if self.in_waiting else 0])
        del self.waiting[: len(came)]
        return came

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if data and self.answers:
            self.waiting += self.answers.pop(0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def text(clock: VirtualClock, device: Memory, **options: Any) -> TextSensor:
    """A sensor of text on a device in memory, open."""
    deadline_s = options.pop("deadline_s", 1.0)
    sensor = TextSensor(
        "gauge", options.pop("unit", "kPa"), "memory", clock,
        connect=lambda: Port(device, "memory", deadline_s=deadline_s, clock=clock), **options,
    )  # fmt: skip
    sensor.open()
    return sensor


# --- readings ---


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reading_is_never_nan_or_infinite(value: float) -> None:
    with pytest.raises(BadReply, match="no number"):
        Reading("gauge", value, "kPa", 0.0, 0.0)


def test_a_reading_is_turned_into_si_by_its_unit() -> None:
    assert Reading("p", 2.5, "bar", 0.0, 0.0).si("pressure") == pytest.approx(2.5e5)
    assert Reading("t", 20.0, "degC", 0.0, 0.0).si("temperature") == pytest.approx(293.15)
    with pytest.raises(BadInput, match="not a pressure"):
        Reading("t", 20.0, "degC", 0.0, 0.0).si("pressure")


# --- text ---


@pytest.mark.parametrize(
    ("answer", "value"),
    [(b"12.5\r\n", 12.5), (b"-3\r", -3.0), (b"+1.2e-3\n", 1.2e-3), (b"\r\n  7. \r\n", 7.0), (b".5\n", 0.5)],
)
def test_an_answer_is_read_as_a_number(clock: VirtualClock, answer: bytes, value: float) -> None:
    device = Memory(clock, answers=[answer])
    reading = text(clock, device, query=b"?\r").read()
    assert reading.value == value
    assert (reading.sensor, reading.unit, reading.t_s, reading.wall_s) == ("gauge", "kPa", clock.now(), clock.wall())
    assert device.written == [b"?\r"]


@pytest.mark.parametrize(
    "answer",
    [b"nan\n", b"NaN\n", b"inf\n", b"1e999\n", b"1_0\n", b"0x1A\n", b"1,5\n", b"1.2.3\n", b".\n", b"--5\n",
     b"12.5 kPa\n", b"1 2\n", b"\xff\xfe12\n", b"ready\n", "٣\n".encode()],
)  # fmt: skip
def test_what_is_no_number_is_refused_and_shown(clock: VirtualClock, answer: bytes) -> None:
    shown = repr(answer.strip(b"\n").decode("ascii", "backslashreplace"))
    with pytest.raises(BadReply, match="says") as error:
        text(clock, Memory(clock, answers=[answer]), query=b"?").read()
    assert shown in error.value.message


def test_a_pattern_finds_its_number_in_a_whole_line_only(clock: VirtualClock) -> None:
    answers = [b"P=101.3 kPa T=20\r\n", b"P=10\r\n", b"#P=101.3 kPa T=20\r\n", b"P=nan kPa T=20\r\n"]
    sensor = text(clock, Memory(clock, answers=answers), query=b"?", pattern=r"P=(.*) kPa T=.*")
    assert sensor.read().value == 101.3
    for _ in answers[1:]:
        with pytest.raises(BadReply):
            sensor.read()


def test_scale_and_offset_lead_to_the_unit(clock: VirtualClock) -> None:
    sensor = text(clock, Memory(clock, answers=[b"2.5\n", b"1e308\n"]), query=b"?", scale=250.0, offset=-125.0)
    assert sensor.read().value == 500.0
    with pytest.raises(BadReply, match="no number"):
        sensor.read()


def test_a_sensor_that_prints_is_joined_in_the_middle_of_a_line(clock: VirtualClock) -> None:
    device = Memory(clock, [(0.1, b"23.4\r\n"), (0.3, b"124.5\r\n"), (0.5, b"125.0\r\n")])  # 1 was lost before
    assert text(clock, device).read().value == 124.5


def test_lines_that_were_printed_before_the_reading_are_thrown_away(clock: VirtualClock) -> None:
    old = [(0.01 * n, b"1.0\r\n") for n in range(400)]
    device = Memory(clock, [*old, (10.1, b"2.0\r\n"), (10.2, b"3.0\r\n")])
    sensor = text(clock, device)
    clock.sleep(10.0)
    assert sensor.read().value == 3.0


def test_a_late_answer_is_not_taken_for_the_next_one(clock: VirtualClock) -> None:
    device = Memory(clock, [(5.0, b"1.0\r\n")], answers=[b"", b"2.0\r\n"])
    sensor = text(clock, device, query=b"?")
    with pytest.raises(NoReply):
        sensor.read()
    clock.sleep(6.0)
    assert sensor.read().value == 2.0


@pytest.mark.parametrize("answer", [b"", b"12.5", b"\r\n\r\n  \r\n"])
def test_silence_ends_at_the_deadline(clock: VirtualClock, answer: bytes) -> None:
    with pytest.raises(NoReply, match="the sensor gauge is silent"):
        text(clock, Memory(clock, answers=[answer]), query=b"?").read()
    assert clock.wall() == pytest.approx(1.0, abs=2 * SLICE_S)


def test_babble_and_a_port_that_is_gone_are_errors(clock: VirtualClock) -> None:
    with pytest.raises(BadReply, match="babbles"):
        text(clock, Memory(clock, answers=[b"x" * 400]), query=b"?").read()
    sensor = text(clock, device := Memory(clock))
    device.write = lambda data: (_ for _ in ()).throw(OSError("unplugged"))  # type: ignore[method-assign]
    with pytest.raises(RigError, match="gone"):
        sensor.read()
    sensor.close()
    sensor.close()
    with pytest.raises(RigError, match="not open"):
        sensor.read()
    assert device.closed


def test_text_comes_through_a_real_port() -> None:
    with SimulatedText(lambda: b"P 3.25 bar\r\n", query=b"P?\r") as line:
        sensor = TextSensor("p", "bar", line.path, Clock(), query=b"P?\r", pattern=r"P (\S+) bar")
        sensor.open()
        try:
            assert [sensor.read().value for _ in range(3)] == [3.25] * 3
        finally:
            sensor.close()
        assert bytes(line.heard) == b"P?\r" * 3


def test_a_printing_sensor_and_its_silence_through_a_real_port() -> None:
    numbers = (b"%d.5\n" % n for n in itertools.count())
    with SimulatedText(lambda: next(numbers)) as line:
        sensor = TextSensor("p", "bar", line.path, Clock(), deadline_s=0.5)
        sensor.open()
        try:
            first, second = sensor.read().value, sensor.read().value
            assert first is not None and second is not None and second > first and first % 1 == 0.5
            line.says = lambda: b""
            with pytest.raises(NoReply):
                sensor.read()
        finally:
            sensor.close()


def test_a_port_that_is_not_there_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no port"):
        TextSensor("p", "bar", str(tmp_path / "none"), Clock()).open()


# --- telemetry ---


def constant(name: str, clock: Clock, value: float | None = 1.0) -> SimulatedSensor:
    return SimulatedSensor(name, "kPa", lambda now_s: value, clock)


def test_each_sensor_is_read_once_a_period_and_recorded(clock: VirtualClock) -> None:
    events = Events()
    ramp = SimulatedSensor("ramp", "kPa", lambda now_s: 2 * now_s, clock)
    with Telemetry([ramp, constant("slow", clock)], clock, events, {"ramp": 1.0, "slow": 5.0}) as telemetry:
        clock.sleep(10.5)
        board = telemetry.board
        assert [reading.value for reading in board.history("ramp")] == [2.0 * n for n in range(1, 11)]
        assert len(board.history("slow")) == 2
        latest = board.latest("ramp")
        assert latest is not None and latest.t_s == 10.0
        assert board.age_s("ramp", clock.wall()) == pytest.approx(0.5)
    assert events.of("reading", "ramp")[0] == {"sensor": "ramp", "value": 2.0, "unit": "kPa", "steady": False}
    clock.sleep(10.0)
    assert len(events.of("reading", "ramp")) == 10
    assert (ramp.opened, ramp.closed) == (1, 1)


def test_what_was_never_read_is_endlessly_old() -> None:
    board = Board()
    assert board.latest("p") is None
    assert board.age_s("p", 3.0) == math.inf
    assert board.history("p") == ()


def test_the_board_keeps_a_short_history() -> None:
    board = Board(kept=3)
    for n in range(10):
        board.put(Reading("p", float(n), "kPa", n, n))
    assert [reading.value for reading in board.history("p")] == [7.0, 8.0, 9.0]


def test_a_silent_sensor_ages_is_counted_and_opened_again(clock: VirtualClock) -> None:
    events, sensor = Events(), constant("p", clock)
    with Telemetry([sensor], clock, events) as telemetry:
        clock.sleep(2.2)
        sensor.inject(SensorFault.SILENCE)
        clock.sleep(3.0)
        assert telemetry.board.age_s("p", clock.wall()) == pytest.approx(3.5)  # the last silence was until 5.5
        assert telemetry.board.errors("p") == 3
        assert telemetry.board.problem("p") == "the sensor p is silent"
        assert sensor.opened == 3  # before each of the tries after the first failure
        sensor.heal()
        clock.sleep(1.0)
        assert telemetry.board.age_s("p", clock.wall()) < 1.0
        assert telemetry.board.problem("p") is None
        assert sensor.opened == 4
        clock.sleep(2.0)
        assert sensor.opened == 4
    assert [event["problem"] for event in events.of("sensor-error", "p")] == ["the sensor p is silent"] * 3


def test_a_spoilt_line_does_not_reset_the_sensor(clock: VirtualClock) -> None:
    sensor = constant("p", clock)
    with Telemetry([sensor], clock, Events()) as telemetry:
        sensor.inject(SensorFault.GARBAGE)
        clock.sleep(3.0)
        assert (telemetry.board.errors("p"), sensor.opened) == (3, 1)
        assert telemetry.board.latest("p") is None


def test_a_failure_of_any_class_ends_neither_task_nor_run(clock: VirtualClock) -> None:
    def broken(now_s: float) -> float:
        raise ZeroDivisionError("driver of others")

    sensor, other = SimulatedSensor("p", "kPa", broken, clock), constant("q", clock)
    with Telemetry([sensor, other], clock, Events()) as telemetry:
        clock.sleep(3.0)
        assert telemetry.board.problem("p") == "ZeroDivisionError: driver of others"
        assert telemetry.board.errors("p") == 3
        assert len(telemetry.board.history("q")) >= 2


def test_a_reading_that_cannot_be_recorded_is_a_problem_and_still_seen(clock: VirtualClock) -> None:
    class Full(Events):
        def event(self, name: str, sync: bool = True, **fields: Any) -> None:
            raise BadInput("no space left", "delete something")

    with Telemetry([constant("p", clock)], clock, Full()) as telemetry:
        clock.sleep(1.0)
        assert telemetry.board.latest("p") is not None
        assert "no space left" in (telemetry.board.problem("p") or "")


def test_a_sensor_that_hangs_makes_only_itself_stale() -> None:
    clock, events = Clock(), Events()
    stuck, other = constant("stuck", clock), constant("other", clock)
    with Telemetry([stuck, other], clock, events, 0.02) as telemetry:
        telemetry.ready(5.0)
        stuck.inject(SensorFault.HANG)
        clock.pause(0.4)
        now = clock.wall()
        assert telemetry.board.age_s("stuck", now) > 0.25
        assert telemetry.board.age_s("other", now) < 0.25
    assert stuck.closed == 0  # closing it under its reader is not safe
    count = len(events.of("reading", "stuck"))
    stuck.heal()
    for _ in range(200):
        if stuck.closed:
            break
        clock.pause(0.01)
    assert stuck.closed >= 1
    assert len(events.of("reading", "stuck")) == count  # too late to count


def test_where_one_sensor_does_not_open_none_stays_open(clock: VirtualClock) -> None:
    good, bad = constant("good", clock), constant("bad", clock)

    def fail() -> None:
        raise BadInput("there is no port", "plug it in")

    bad.open = fail  # type: ignore[method-assign]
    with pytest.raises(BadInput, match="no port"), Telemetry([good, bad], clock, Events()):
        pass
    assert (good.opened, good.closed) == (1, 1)


def test_ready_waits_for_all_and_names_those_that_gave_nothing(clock: VirtualClock) -> None:
    sensor = constant("p", clock)
    with Telemetry([sensor, constant("q", clock)], clock, Events()) as telemetry:
        telemetry.ready()
        assert clock.wall() == pytest.approx(1.0, abs=0.1)
    sensor.inject(SensorFault.GARBAGE)
    telemetry = Telemetry([sensor, constant("q", clock)], clock, Events())
    with telemetry, pytest.raises(RigError, match=r"without a reading: p: the sensor p says '#!\?'"):
        telemetry.ready()


def test_two_sensors_of_one_name_are_refused(clock: VirtualClock) -> None:
    with pytest.raises(BadInput, match="several sensors are called p"):
        Telemetry([constant("p", clock), constant("p", clock)], clock, Events())


def test_steady_begins_three_residence_times_after_the_last_change(clock: VirtualClock) -> None:
    steady = Steadiness(clock, outlet_ml=2.0)
    events = Events()
    with Telemetry([constant("p", clock)], clock, events, 1.0, steady):
        clock.sleep(2.5)
        steady.changed(3600.0)  # 2 mL at 1 mL/s: settled 6 s later, at 8.5
        clock.sleep(7.5)
        steady.changed(0.0)
        clock.sleep(20.0)
    flags = [event["steady"] for event in events.of("reading", "p")]
    assert flags == [False] * 8 + [True] * 2 + [False] * 20


def test_rates_that_change_under_a_reading_make_it_unsteady(clock: VirtualClock) -> None:
    steady = Steadiness(clock, outlet_ml=1.0)
    steady.changed(3600.0)
    clock.sleep(100.0)

    def value(now_s: float) -> float:
        steady.changed(1800.0)
        return 1.0

    events = Events()
    with Telemetry([SimulatedSensor("p", "kPa", value, clock)], clock, events, 1.0, steady):
        clock.sleep(1.0)
    assert [event["steady"] for event in events.of("reading", "p")] == [False]


def test_an_outlet_without_volume_is_refused(clock: VirtualClock) -> None:
    with pytest.raises(BadInput, match="can't hold 0 mL"):
        Steadiness(clock, 0.0)


def test_a_spectrum_is_whole_in_the_journal(clock: VirtualClock, tmp_path: Path) -> None:
    bench = SimulatedSeabreeze(clock)
    sensor = SpectrometerSensor("pl", clock, seabreeze=bench)
    with Journal(tmp_path / "journal.jsonl") as journal, Telemetry([sensor], clock, Recorder(journal, clock.now)):
        clock.sleep(1.5)
    entry = next(entry for entry in read(tmp_path / "journal.jsonl") if entry["event"] == "reading")
    assert entry["value"] == pytest.approx(515.0, abs=0.05)
    spectrum = decode_spectrum(entry["raw"]) - decode_spectrum(entry["raw"]).min()
    assert decode_spectrum(entry["wavelengths_nm"])[spectrum.argmax()] == pytest.approx(515.0, abs=1.0)


def test_a_spectrometer_that_is_plugged_in_again_comes_back(clock: VirtualClock) -> None:
    bench = SimulatedSeabreeze(clock)
    with Telemetry([SpectrometerSensor("pl", clock, seabreeze=bench)], clock, Events()) as telemetry:
        clock.sleep(2.0)
        bench.broken = True
        clock.sleep(3.0)
        assert telemetry.board.problem("pl") is not None
        bench.broken = False
        clock.sleep(3.0)
        assert telemetry.board.problem("pl") is None
        assert telemetry.board.age_s("pl", clock.wall()) <= 1.5


def test_readings_of_a_drifting_sensor_drift(clock: VirtualClock) -> None:
    sensor = constant("p", clock, 10.0)
    clock.sleep(5.0)
    sensor.drift(0.5)
    clock.sleep(4.0)
    assert sensor.read().value == pytest.approx(12.0)


# --- the simulated pressure ---


def test_pressure_follows_what_the_pumps_truly_deliver(clock: VirtualClock) -> None:
    flow_ml_h = 5060.0
    stalled = threading.Event()
    delivered = 0.0

    def pump(seconds: float) -> None:
        nonlocal delivered
        clock.sleep(seconds)
        delivered += 0.0 if stalled.is_set() else flow_ml_h * seconds / 3600

    pressure = Poiseuille(lambda: delivered)
    assert pressure(clock.now()) == 0.0
    pump(2.0)
    # 128 · 0.588e-3 Pa·s · 1 m / (π · (1.5875e-3 m)⁴) · 5060 mL/h, by hand
    assert pressure(clock.now()) == pytest.approx(5302.0, rel=1e-3)
    assert pressure(clock.now()) == pytest.approx(5302.0, rel=1e-3)
    stalled.set()
    pump(1.0)
    assert pressure(clock.now()) == 0.0


def test_resistance_of_a_tube_is_that_of_hagen_and_poiseuille() -> None:
    assert resistance_pa_s_m3(0.588e-3, 1.0, 1.5875e-3) == pytest.approx(OUTLET_PA_S_M3)
    assert resistance_pa_s_m3(1e-3, 2.0, 1e-3) == pytest.approx(16 * resistance_pa_s_m3(1e-3, 2.0, 2e-3))


# --- the case ---


def with_sensors(tmp_path: Path, tables: str) -> Case:
    """The paper's case with more tables."""
    (tmp_path / "case.toml").write_text(CASE.read_text(encoding="utf-8") + tables, encoding="utf-8")
    return load(tmp_path)


GAUGE = '\n[rig.sensors.gauge]\ndriver = "text"\nport = "/dev/ttyACM0"\nunit = "kPa"\n'
PL = '\n[rig.sensors.pl]\ndriver = "seabreeze"\n'
FAKE = '\n[rig.sensors.fake]\ndriver = "simulated"\nvalue = 101.3\nunit = "kPa"\n'


def test_a_case_without_sensors_has_none(tmp_path: Path, clock: VirtualClock) -> None:
    assert sensors(with_sensors(tmp_path, "").rig, clock) == []


def test_the_sensors_of_a_case_are_made(tmp_path: Path, clock: VirtualClock) -> None:
    tables = (
        GAUGE
        + r"""baud = 115200
query = "P?\r"
pattern = 'P=(\S+)'
scale = 0.1
offset = -1.0
period = "500 ms"
low = 90.0
high = 300.0
max_age = "2 s"
"""
        + PL
        + 'serial_number = "FLMS1"\nintegration = "20 ms"\nwindow = ["430 nm", "700 nm"]\n'
        + FAKE
    )
    rig = with_sensors(tmp_path, tables).rig
    gauge, pl, fake = sensors(rig, clock, simulator(clock))
    assert isinstance(gauge, TextSensor) and isinstance(pl, SpectrometerSensor) and isinstance(fake, SimulatedSensor)
    assert (gauge.name, gauge.unit, gauge.port, gauge.scale, gauge.offset) == ("gauge", "kPa", "/dev/ttyACM0", 0.1, -1)
    assert (pl.name, pl.unit, pl.serial_number, pl.integration_s) == ("pl", "nm", "FLMS1", 0.02)
    assert pl.window_nm == pytest.approx((430.0, 700.0))
    assert fake.read().value == 101.3
    assert periods_s(rig) == {"gauge": 0.5, "pl": 1.0, "fake": 1.0}
    assert (rig.sensors["gauge"].max_age, rig.sensors["gauge"].query) == (2.0, "P?\r")


@pytest.mark.parametrize(
    ("tables", "key", "right"),
    [
        (GAUGE + "bau = 9600\n", "gauge.bau", 'did you mean "baud"'),
        (GAUGE.replace('"text"', '"txt"'), "gauge.driver", "'text', 'seabreeze' or 'simulated'"),
        (GAUGE.replace('port = "/dev/ttyACM0"\n', ""), "gauge", "needs port"),
        (GAUGE.replace('unit = "kPa"\n', ""), "gauge", "needs unit"),
        ('\n[rig.sensors.g]\nport = "x"\n', "g.driver", "is missing"),
        (GAUGE + "value = 3.0\n", "gauge.value", 'belongs to driver = "simulated"'),
        (GAUGE + 'integration = "1 s"\n', "gauge.integration", 'belongs to driver = "seabreeze"'),
        (PL + "baud = 9600\n", "pl.baud", 'belongs to driver = "text"'),
        (PL + 'unit = "cm"\n', "pl.unit", "in nm"),
        (PL + 'integration = "1 nm"\n', "pl.integration", "is not a time"),
        (PL + 'window = ["700 nm", "430 nm"]\n', "pl.window", "must rise"),
        (FAKE.replace("value = 101.3\n", ""), "fake", "needs value"),
        (GAUGE + "period = 1.0\n", "gauge.period", "needs a unit"),
        (GAUGE + "pattern = '[0-9]+'\n", "gauge.pattern", "has 0 groups and needs one"),
        (GAUGE + "pattern = '(1)(2)'\n", "gauge.pattern", "has 2 groups and needs one"),
        (GAUGE + "pattern = '('\n", "gauge.pattern", "is no regular expression"),
        (GAUGE + "scale = 0.0\n", "gauge.scale", "must not be 0"),
        (GAUGE + "offset = nan\n", "gauge.offset", "finite"),
        (GAUGE + 'query = "µ"\n', "gauge.query", "ASCII"),
        (GAUGE + 'low = 3.0\nhigh = 2.0\nmax_age = "5 s"\n', "gauge", "low = 3 must be below high = 2"),
        (GAUGE + "high = 2.0\n", "gauge", "a limit needs max_age"),
        (GAUGE + 'max_age = "1 s"\n', "gauge", "must exceed the period of 1 s"),
    ],
)
def test_a_mistake_is_reported_with_its_key_and_what_would_be_right(
    tmp_path: Path, tables: str, key: str, right: str
) -> None:
    with pytest.raises(BadInput) as error:
        with_sensors(tmp_path, tables)
    assert f"  rig.sensors.{key}: " in error.value.message
    assert right in error.value.message
    assert "1 mistake\n" in error.value.message


def test_all_that_cannot_be_made_is_told_at_once(tmp_path: Path, clock: VirtualClock) -> None:
    rig = with_sensors(tmp_path, GAUGE + GAUGE.replace("sensors.gauge", "sensors.second") + FAKE).rig
    with pytest.raises(BadInput) as error:
        sensors(rig, clock)
    assert "rig.sensors.second.port: /dev/ttyACM0 belongs to the sensor gauge" in error.value.message
    assert "rig.sensors.fake.driver: there is no simulator here" in error.value.message


def test_a_sensor_does_not_sit_on_the_port_of_a_pump(tmp_path: Path, clock: VirtualClock) -> None:
    rig = with_sensors(tmp_path, GAUGE.replace("/dev/ttyACM0", "simulated")).rig
    with pytest.raises(BadInput, match="simulated belongs to a pump"):
        sensors(rig, clock)


def test_a_sensor_does_not_sit_on_the_port_of_a_partner(tmp_path: Path, clock: VirtualClock) -> None:
    partner = '\n[rig.antisolvent.partner]\naddress = 5\nport = "/dev/ttyACM0"\n'
    rig = with_sensors(tmp_path, partner + GAUGE).rig
    with pytest.raises(BadInput, match="/dev/ttyACM0 belongs to a pump"):
        sensors(rig, clock)


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Callable[[str], Rig]]:
    yield lambda unit: with_sensors(tmp_path, FAKE.replace('"kPa"', f'"{unit}"')).rig


@pytest.mark.parametrize(("unit", "drop"), [("kPa", 5.302), ("bar", 0.05302), ("degC", 0.0)])
def test_a_simulated_pressure_rises_with_the_flow_and_other_values_do_not(
    fakes: Callable[[str], Rig], clock: VirtualClock, unit: str, drop: float
) -> None:
    sensor: Sensor = sensors(fakes(unit), clock, simulator(clock, lambda: 5060.0 * clock.now() / 3600))[0]
    assert sensor.read().value == 101.3
    clock.sleep(1.0)
    assert sensor.read().value == pytest.approx(101.3 + drop, abs=1e-3 * drop)
