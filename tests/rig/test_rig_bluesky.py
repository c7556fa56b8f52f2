"""The rig under a real RunEngine: scans, aborted plans, trips, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from bluesky import RunEngine, protocols
from bluesky.preprocessors import stage_wrapper
from bluesky.utils import FailedStatus

from twin.case import Case
from twin.case.rig import Sensor
from twin.errors import BadInput
from twin.rig import Clock, Latch, PumpAlarm, RigError, RunStopped, Setpoint, Tripped, read, rig_folder, verify
from twin.rig.bench import simulated_pumps
from twin.rig.devices import FlowReactor
from twin.rig.operation.live import LiveProgram, Pending
from twin.rig.planning.limits import ROLES, equipment
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.line import SimulatedLine

POINTS = [(1000.0, 60.0), (1500.0, 58.0), (2000.0, 60.0)]


def flows(antisolvent: float, precursor: float) -> dict[str, float]:
    return {"antisolvent_ml_h": antisolvent, "precursor_ml_h": precursor}


pytestmark = pytest.mark.usefixtures("hasty_disk")


@pytest.fixture
def case(case: Case) -> Case:
    """With a simulated pressure, and an outlet of which three residence times pass in seconds."""
    sensor = Sensor(driver="simulated", unit="kPa", period="0.05 s", value=100.0)
    rig = case.rig.model_copy(update={"sensors": {"pressure": sensor}, "outlet_volume": 0.3e-6})
    return case.model_copy(update={"rig": rig})


@pytest.fixture
def line(case: Case) -> Iterator[SimulatedLine]:
    clock = Clock(10.0)
    with SimulatedLine(simulated_pumps(equipment(case)), clock) as made:
        yield made


@pytest.fixture
def reactor(case: Case, setpoint: Setpoint, line: SimulatedLine) -> Iterator[FlowReactor]:
    made = FlowReactor(case, setpoint, clock=line.clock, simulator=line)
    yield made
    made.stop()


class Documents:
    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        self.all.append((name, document))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [document for name, document in self.all if name == kind]


@pytest.fixture
def documents() -> Documents:
    return Documents()


@pytest.fixture
def engine(documents: Documents) -> Iterator[RunEngine]:
    made = RunEngine({}, context_managers=[])
    made.subscribe(documents)
    yield made
    made.loop.call_soon_threadsafe(made.loop.stop)
    made._th.join(5)
    made.loop.close()


def assert_stopped(case: Case, line: SimulatedLine) -> list[dict[str, Any]]:
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    (path,) = rig_folder(case).glob("journal-*.jsonl")
    checked = verify(path)
    assert checked.intact, checked
    assert checked.ended
    entries = read(path)
    assert {entry["role"] for entry in entries if entry["event"] == "stopped"} == set(ROLES)
    return entries


def test_the_devices_keep_the_protocols(reactor: FlowReactor) -> None:
    wanted = (
        protocols.Readable, protocols.Movable, protocols.NamedMovable, protocols.Stoppable, protocols.Stageable,
        protocols.Configurable, protocols.Locatable, protocols.Checkable, protocols.HasHints, protocols.HasParent,
        protocols.Triggerable,
    )  # fmt: skip
    assert [protocol.__name__ for protocol in wanted if not isinstance(reactor, protocol)] == []
    (sensor,) = reactor.sensors.values()
    for protocol in (protocols.Readable, protocols.Triggerable, protocols.HasHints, protocols.HasParent):
        assert isinstance(sensor, protocol)
    assert isinstance(Pending(), protocols.Status)


def test_nothing_of_the_twin_imports_bluesky() -> None:
    package = Path(__import__("twin").__file__).parent
    found = [
        path
        for path in package.rglob("*.py")
        if "import bluesky" in (text := path.read_text()) or "from bluesky" in text
    ]
    assert found == []


def test_a_scan_over_three_points_gives_their_documents(
    case: Case, reactor: FlowReactor, line: SimulatedLine, engine: RunEngine, documents: Documents
) -> None:
    engine(bp.list_scan([], reactor, [flows(*point) for point in POINTS]))
    assert documents.of("stop")[0]["exit_status"] == "success"
    events = [event["data"] for event in documents.of("event")]
    assert [(event["reactor_antisolvent_ml_h"], event["reactor_precursor_ml_h"]) for event in events] == POINTS
    counted = [event["reactor_antisolvent_counted_ml"] for event in events]
    assert counted == sorted(counted)
    assert counted[0] > 0.5
    for event in events:
        assert event["reactor_antisolvent_left_ml"] == pytest.approx(50 - event["reactor_antisolvent_counted_ml"])
        assert event["reactor_pressure"] > 90
    (descriptor,) = documents.of("descriptor")
    assert descriptor["data_keys"]["reactor_precursor_ml_h"]["units"] == "mL/h"
    assert set(descriptor["data_keys"]) == set(events[0])
    assert descriptor["configuration"]["reactor"]["data"]["reactor_ramp_s"] == 5.0
    entries = assert_stopped(case, line)
    assert entries[-1]["status"] == "completed"
    assert entries[-1]["ok"]
    assert reactor.result is not None
    assert reactor.result.ok
    kinds = [entry["event"] for entry in entries if entry["event"] in ("idle", "ramp", "hold")]
    assert kinds[0] == "idle"
    assert [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind == "hold" != before] == ["hold"] * 3


def test_a_target_is_reached_when_the_outlet_was_flushed(
    case: Case, setpoint: Setpoint, line: SimulatedLine, engine: RunEngine
) -> None:
    wide = case.model_copy(update={"rig": case.rig.model_copy(update={"outlet_volume": 2e-6})})
    reactor = FlowReactor(wide, setpoint, residences=3.0, ramp_s=1.0, clock=line.clock, simulator=line)
    flushed: list[bool] = []

    def plan() -> Any:
        yield from bps.mv(reactor, flows(1000, 60))
        yield from bps.trigger(reactor.sensors["pressure"], wait=True)
        flushed.append(reactor.sensors["pressure"].read()["pressure_steady"]["value"])

    engine(stage_wrapper(plan(), [reactor]))
    assert flushed == [True]
    entries = assert_stopped(case, line)
    begin = next(entry["t_s"] for entry in entries if entry["event"] == "hold")
    stop = next(entry["t_s"] for entry in entries if entry["event"] == "stop")
    assert stop - begin > 3 * 2.0 / 1060 * 3600


def test_a_sensor_alone_is_read_while_the_reactor_runs(
    case: Case, reactor: FlowReactor, line: SimulatedLine, engine: RunEngine, documents: Documents
) -> None:
    """Staging the sensor stages its reactor."""
    engine(bp.count([reactor.sensors["pressure"]], num=3))
    events = documents.of("event")
    assert len({event["timestamps"]["pressure"] for event in events}) == 3
    assert all(abs(event["timestamps"]["pressure"] - event["time"]) < 2 for event in events)
    assert_stopped(case, line)


def test_an_exception_in_the_plan_leaves_the_pumps_stopped(
    case: Case, reactor: FlowReactor, line: SimulatedLine, engine: RunEngine, documents: Documents
) -> None:
    states: list[str] = []

    def plan() -> Any:
        yield from bps.stage(reactor, wait=True)
        yield from bps.open_run()
        yield from bps.mv(reactor, flows(*POINTS[0]))
        states.append(line.state(0)[0])
        raise ValueError("the plan has a mistake")

    with pytest.raises(ValueError, match="mistake"):  # and nobody unstages: the engine itself does
        engine(plan())
    assert states == ["I"]
    assert_stopped(case, line)
    assert documents.of("stop")[0]["exit_status"] == "fail"


def test_a_pause_stops_the_rig_and_an_abort_ends_it(
    case: Case, reactor: FlowReactor, line: SimulatedLine, engine: RunEngine
) -> None:
    def plan() -> Any:
        yield from bps.mv(reactor, flows(*POINTS[0]))
        yield from bps.pause()
        yield from bps.mv(reactor, flows(*POINTS[1]))

    from bluesky.utils import RunEngineInterrupted

    with pytest.raises(RunEngineInterrupted):
        engine(stage_wrapper(plan(), [reactor]))
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    assert reactor.set(flows(*POINTS[1])).exception() is not None
    engine.abort("enough")
    assert_stopped(case, line)


@pytest.mark.parametrize("address", [0, 1])
def test_an_alarm_in_mid_plan_fails_the_plan_and_latches(
    case: Case, reactor: FlowReactor, line: SimulatedLine, engine: RunEngine, address: int
) -> None:
    def plan() -> Any:
        yield from bps.mv(reactor, flows(*POINTS[0]))
        line.inject(Fault.STALL, address)
        yield from bps.mv(reactor, flows(*POINTS[1]))

    with pytest.raises(FailedStatus) as caught:
        engine(stage_wrapper(plan(), [reactor]))
    assert isinstance(caught.value.__cause__, PumpAlarm)
    assert_stopped(case, line)
    assert Latch(rig_folder(case)).reason() is not None
    for status in (reactor.set(flows(*POINTS[2])), reactor.stage()):
        assert isinstance(status.exception(5), RigError)
    with pytest.raises(RigError):
        reactor.read()


def test_a_trip_in_mid_plan_fails_what_is_pending(
    case: Case, setpoint: Setpoint, line: SimulatedLine, engine: RunEngine
) -> None:
    sensor = case.rig.sensors["pressure"].model_copy(update={"high": 105.0, "max_age": 5.0})
    banded = case.model_copy(update={"rig": case.rig.model_copy(update={"sensors": {"pressure": sensor}})})
    reactor = FlowReactor(banded, setpoint, ramp_s=20.0, clock=line.clock, simulator=line)
    from dataclasses import replace

    from twin.rig.sensors import Board

    plain = Board.latest
    high = False

    def latest(board: Board, name: str) -> Any:
        reading = plain(board, name)
        return replace(reading, value=300.0) if reading and high else reading

    def plan() -> Any:
        nonlocal high
        status = yield from bps.abs_set(reactor, flows(*POINTS[2]), group="way")
        assert not status.done
        yield from bps.sleep(0.2)
        high = True
        yield from bps.wait("way")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(FailedStatus) as caught:
        patch.setattr(Board, "latest", latest)
        engine(stage_wrapper(plan(), [reactor]))
    assert isinstance(caught.value.__cause__, Tripped)
    assert_stopped(case, line)
    assert isinstance(reactor.set(flows(*POINTS[0])).exception(), Tripped)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (flows(1000, 10), "outside the hull"),
        (flows(9000, 60), "beyond the antisolvent pump"),
        (flows(float("nan"), 60), "beyond the antisolvent pump"),
        ({"antisolvent_ml_h": 1000}, "no pair of flows"),
        (7.0, "no pair of flows"),
    ],
)
def test_a_target_that_can_not_be_is_refused_and_the_run_goes_on(
    reactor: FlowReactor, line: SimulatedLine, value: Any, words: str
) -> None:
    reactor.stage().wait(10)
    error = reactor.set(value).exception()
    assert isinstance(error, BadInput)
    assert words in error.message
    with pytest.raises(BadInput):
        reactor.check_value(value)
    reactor.check_value(flows(*POINTS[0]))
    assert [line.state(address)[0] for address in (0, 1)] == ["I", "I"]
    reactor.unstage().wait(0)


def test_a_target_that_outlasts_a_syringe_is_refused(case: Case, setpoint: Setpoint, line: SimulatedLine) -> None:
    reactor = FlowReactor(
        case, setpoint, filled_ml={"antisolvent": 8.0, "precursor": 50.0}, clock=line.clock, simulator=line
    )
    reactor.stage().wait(10)
    error = reactor.set(flows(5000, 60)).exception()
    assert isinstance(error, BadInput)
    assert "does not last" in error.message
    reactor.unstage().wait(0)


def test_a_run_ends_before_a_syringe_is_down_to_its_reserve(
    case: Case, setpoint: Setpoint, line: SimulatedLine
) -> None:
    filled = {"antisolvent": 6.0, "precursor": 50.0}
    reactor = FlowReactor(case, setpoint, filled_ml=filled, ramp_s=0.5, clock=line.clock, simulator=line)
    reactor.stage().wait(10)
    reactor.set(flows(1000, 60)).wait(10)
    assert reactor._thread is not None
    reactor._thread.join(20)
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    assert line.state(0)[1] < 5.0
    error = reactor.set(flows(1000, 60)).exception()
    assert isinstance(error, RunStopped)
    assert "down to its reserve" in error.message
    assert Latch(rig_folder(case)).reason() is None


def test_nothing_goes_before_staging_or_after_a_stop(reactor: FlowReactor) -> None:
    assert isinstance(reactor.set(flows(1000, 60)).exception(), BadInput)
    with pytest.raises(BadInput, match="not staged"):
        reactor.read()
    reactor.stage().wait(10)
    assert isinstance(reactor.stage().exception(), BadInput)
    pending = reactor.set(flows(*POINTS[0]))
    assert isinstance(reactor.set(flows(*POINTS[1])).exception(), BadInput)
    reactor.stop(success=False)
    assert isinstance(pending.exception(), RunStopped)
    assert isinstance(reactor.set(flows(*POINTS[1])).exception(), RunStopped)
    reactor.unstage().wait(0)
    reactor.stage().wait(10)
    assert reactor.locate()["readback"]["antisolvent_ml_h"] == pytest.approx(500.0)
    reactor.unstage().wait(0)
    assert reactor.read()["reactor_antisolvent_ml_h"]["value"] == 0.0


def test_a_rig_whose_program_ends_is_stopped(
    reactor: FlowReactor, line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reactor.stage().wait(10)

    class Dead:
        def is_alive(self) -> bool:
            return False

    monkeypatch.setattr("twin.rig.operation.live.threading.main_thread", Dead)
    assert reactor._thread is not None
    reactor._thread.join(10)
    monkeypatch.undo()
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]


def test_residence_times_need_an_outlet(case: Case, setpoint: Setpoint) -> None:
    bare = case.model_copy(update={"rig": case.rig.model_copy(update={"outlet_volume": None})})
    with pytest.raises(BadInput, match="what the outlet holds"):
        FlowReactor(bare, setpoint, residences=3.0)


def test_the_plan_of_a_live_run_is_the_most_that_it_may_do(case: Case, setpoint: Setpoint) -> None:
    plan = LiveProgram(case, setpoint, Clock()).plan(case, setpoint, {"antisolvent": 31.0})
    assert plan.first_rate_ml_h("antisolvent") == pytest.approx(500.0)
    assert plan.needed_ml("antisolvent") == pytest.approx(30.0)
    assert plan.needed_ml("precursor") == pytest.approx(49.0)
    assert plan.largest_ml_h("antisolvent") == 5000.0
    assert not plan.fine("precursor")


def test_a_status_ends_once() -> None:
    status, seen = Pending(), []
    status.add_callback(seen.append)
    with pytest.raises(TimeoutError):
        status.exception(0.0)
    status.finish()
    status.finish(ValueError())
    status.add_callback(seen.append)
    assert seen == [status, status]
    assert status.success
    failed = Pending().finish(ValueError("no"))
    assert (failed.done, failed.success) == (True, False)
    with pytest.raises(ValueError, match="no"):
        failed.wait()
