"""What is left in the syringes: over restarts, over a death at any moment, and over damaged files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.errors import BadInput
from twin.rig.clock import Clock, VirtualClock
from twin.rig.operation.evidence import Bounds
from twin.rig.operation.volume_files import NAME, RUNNING
from twin.rig.operation.volumes import PERSIST_S, UNSYNCED_S, Volumes
from twin.rig.pumps.protocol import Dispensed, Status

LOOK_S = 0.2


@pytest.fixture
def clock() -> Clock:
    return VirtualClock()


@pytest.fixture
def volumes(tmp_path: Path, clock: Clock) -> Volumes:
    """Both syringes full."""
    made = Volumes.open(tmp_path, clock)
    made.refill("antisolvent", "steel-50ml", 50.0)
    made.refill("precursor", "glass-50ml", 50.0)
    return made


def counted(infused_ml: float, withdrawn_ml: float = 0.0, resolution_ml: float = 0.01) -> Dispensed:
    return Dispensed(infused_ml, withdrawn_ml, resolution_ml, Status.STOPPED)


def test_nobody_has_ever_said(tmp_path: Path) -> None:
    volumes = Volumes.open(tmp_path)
    assert volumes.left("antisolvent") is None
    assert volumes.available_ml("antisolvent") is None
    assert volumes.names == []
    with pytest.raises(BadInput, match="nobody has said"):
        volumes.begin("run", {"antisolvent": 5000.0})


def test_what_was_said_is_there_after_a_restart(tmp_path: Path) -> None:
    Volumes.open(tmp_path).refill("precursor", "glass-50ml", 50.0, by="A. Person", left_ml=31.5, uncertain_ml=0.5)
    left = Volumes.open(tmp_path).left("precursor")
    assert left is not None
    assert (left.syringe, left.volume_ml, left.left_ml, left.uncertain_ml) == ("glass-50ml", 50.0, 31.5, 0.5)
    assert left.by == "A. Person"
    assert left.as_of.endswith("+00:00")
    assert "31.5" in str(left)


@pytest.mark.parametrize(
    ("volume", "left", "uncertain"),
    [(50.0, 50.1, 0.0), (50.0, -1.0, 0.0), (0.0, 0.0, 0.0), (-1.0, None, 0.0), (50.0, 10.0, -1.0),
     (float("nan"), None, 0.0), (50.0, float("nan"), 0.0), (float("inf"), 1.0, 0.0)],
)  # fmt: skip
def test_a_syringe_that_cant_be_is_refused(
    volumes: Volumes, volume: float, left: float | None, uncertain: float
) -> None:
    with pytest.raises(BadInput, match="can't hold"):
        volumes.refill("precursor", "glass-50ml", volume, left_ml=left, uncertain_ml=uncertain)
    kept = volumes.left("precursor")
    assert kept is not None and kept.left_ml == 50.0


def test_a_run_takes_what_its_pumps_counted(tmp_path: Path, volumes: Volumes, clock: Clock) -> None:
    volumes.begin("run-1", {"antisolvent": 5000.0, "precursor": 60.0}, guard_s=4.0)
    volumes.take("antisolvent", 12.5, 0.0, 5000.0)
    live = volumes.left("antisolvent")
    assert live is not None and (live.left_ml, live.by) == (37.5, "run")
    volumes.close({"antisolvent": counted(20.0), "precursor": counted(0.25, resolution_ml=0.001)})
    again = Volumes.open(tmp_path, clock)
    assert again.unsettled == []
    for name, left_ml, uncertain_ml in (("antisolvent", 30.0, 0.01), ("precursor", 49.75, 0.001)):
        left = again.left(name)
        assert left is not None
        assert (left.left_ml, left.uncertain_ml, left.by) == pytest.approx((left_ml, uncertain_ml, "run"))
    assert not (tmp_path / RUNNING).exists()
    again.begin("run-2", {"antisolvent": 5000.0})
    again.close({"antisolvent": counted(1.0)})
    left = again.left("antisolvent")
    assert left is not None and (left.left_ml, left.uncertain_ml) == pytest.approx((29.0, 0.02)), "errors add up"


def test_a_pump_that_refills_has_more(volumes: Volumes) -> None:
    volumes.begin("run", {"antisolvent": 5000.0})
    volumes.take("antisolvent", 40.0, 25.0, -5000.0)
    left = volumes.left("antisolvent")
    assert left is not None and left.left_ml == 35.0


def test_what_may_be_taken_leaves_doubt_and_reserve(volumes: Volumes) -> None:
    volumes.refill("precursor", "glass-50ml", 50.0, left_ml=20.0, uncertain_ml=2.0)
    assert volumes.available_ml("precursor", "glass-50ml", reserve_ml=1.0) == pytest.approx(17.0)
    assert volumes.available_ml("precursor", reserve_ml=30.0) == 0.0
    with pytest.raises(BadInput, match="was a glass-50ml"):
        volumes.available_ml("precursor", "steel-50ml")


def test_a_count_is_on_disk_after_a_second_and_is_not_written_more_often(
    tmp_path: Path, volumes: Volumes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"antisolvent": 5000.0, "precursor": 60.0}
    volumes.begin("run", rates)
    writes, whole = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, target: writes.append(target) or whole(path, target))
    monkeypatch.setattr("os.fsync", lambda handle: pytest.fail("the loop waits for the disk"))
    looks = 100
    for look in range(1, looks + 1):
        clock.sleep(LOOK_S)
        written = json.loads((tmp_path / RUNNING).read_text())["pumps"]
        for name, rate in rates.items():
            age_s = look * LOOK_S - written[name]["infused_ml"] / rate * 3600
            assert age_s <= PERSIST_S + 1e-6, "just before the next look it is oldest"
            volumes.take(name, rate * look * LOOK_S / 3600, 0.0, rate)
    assert looks * LOOK_S * 0.9 <= len(writes) <= looks * LOOK_S * 1.5


def test_a_new_direction_and_force_are_written_at_once(tmp_path: Path, volumes: Volumes) -> None:
    volumes.begin("run", {"antisolvent": 5000.0})
    for count, rate, force in ((1.0, 500.0, False), (2.0, -600.0, False), (3.0, -600.0, True)):
        volumes.take("antisolvent", count, 0.0, rate, force=force)
        assert json.loads((tmp_path / RUNNING).read_text())["pumps"]["antisolvent"]["infused_ml"] == count
    volumes.take("antisolvent", 4.0, 0.0, -500.0)
    assert json.loads((tmp_path / RUNNING).read_text())["pumps"]["antisolvent"]["infused_ml"] == 3.0


@settings(max_examples=60, deadline=None)
@given(
    looks=st.integers(0, 40),
    rates=st.lists(st.sampled_from([0.0, 500.0, 2500.0, 5000.0, -3000.0]), min_size=9, max_size=9),
    ran_on=st.floats(0, 1),
    between=st.floats(0, 1),
)
def test_after_a_death_at_any_moment_the_truth_is_inside(
    tmp_path_factory: pytest.TempPathFactory, looks: int, rates: list[float], ran_on: float, between: float
) -> None:
    """A rate every second; the process dies between two looks, and the pump runs on for up to its guard of 3 s."""
    where, clock = tmp_path_factory.mktemp("volumes"), VirtualClock()
    volumes = Volumes.open(where, clock)
    volumes.refill("antisolvent", "steel-50ml", 50.0, left_ml=25.0)
    volumes.begin("run", {"antisolvent": 5000.0}, guard_s=3.0)
    infused = withdrawn = 0.0

    def flow(rate: float, seconds: float) -> None:
        nonlocal infused, withdrawn
        infused += max(rate, 0.0) * seconds / 3600
        withdrawn += max(-rate, 0.0) * seconds / 3600

    rate = 0.0
    for look in range(looks):
        if rates[look // 5] != rate:  # told before it starts
            rate = rates[look // 5]
            volumes.take("antisolvent", infused, withdrawn, rate)
        flow(rate, LOOK_S)
        clock.sleep(LOOK_S)
        volumes.take("antisolvent", infused, withdrawn, rate)
    flow(rate, between * LOOK_S + ran_on * 3.0 * 0.9)
    truth = 25.0 - infused + withdrawn

    dead = Volumes.open(where, clock)
    assert dead.unsettled == ["antisolvent"]
    before = dead.left("antisolvent")
    assert before is not None and not before.settled
    with pytest.raises(BadInput, match="not settled"):
        dead.begin("next", {"antisolvent": 1.0})
    left = dead.reconcile("antisolvent", None)
    assert left is not None and left.settled and left.by == "reckoned"
    assert abs(truth - left.left_ml) <= left.uncertain_ml + 1e-9
    assert left.uncertain_ml <= 5000 * (PERSIST_S + 3.0) / 3600 / 2 + 1e-9, "and not wider than it has to be"
    assert (before.left_ml, before.uncertain_ml) == (left.left_ml, left.uncertain_ml)
    assert dead.unsettled == Volumes.open(where, clock).unsettled == []

    with_counter = _died(where / "other", clock, infused, withdrawn)
    left = with_counter.reconcile("antisolvent", counted(infused, withdrawn, 0.001))
    assert left is not None
    if infused or withdrawn:
        assert left.by == "counter"
        assert left.left_ml == pytest.approx(truth, abs=1e-9)
        assert left.uncertain_ml == pytest.approx(0.001)
    else:  # told to move, and at zero: a power cut whose alarm went to someone else looks the same
        assert abs(truth - left.left_ml) <= left.uncertain_ml + 1e-9


def _died(where: Path, clock: Clock, infused: float, withdrawn: float, guard_s: float | None = None) -> Volumes:
    volumes = Volumes.open(where, clock)
    volumes.refill("antisolvent", "steel-50ml", 50.0, left_ml=25.0)
    volumes.begin("run", {"antisolvent": 5000.0}, guard_s)
    volumes.take("antisolvent", 0.9 * infused, 0.9 * withdrawn, 5000.0)
    return Volumes.open(where, clock)


def test_a_counter_that_was_cleared_is_not_believed(tmp_path: Path, clock: Clock) -> None:
    dead = _died(tmp_path, clock, 10.0, 0.0)
    left = dead.reconcile("antisolvent", counted(0.0), guard_s=3.0)
    assert left is not None and left.by == "reckoned"
    assert left.left_ml + left.uncertain_ml == pytest.approx(25.0 - 9.0)
    assert left.left_ml - left.uncertain_ml == pytest.approx(25.0 - 9.0 - 5000 * 4 / 3600)


def test_without_a_guard_all_of_it_may_be_gone(tmp_path: Path, clock: Clock) -> None:
    dead = _died(tmp_path, clock, 10.0, 0.0)
    assert dead.available_ml("antisolvent") == 0.0
    left = dead.reconcile("antisolvent", None)
    assert left is not None and (left.left_ml, left.uncertain_ml) == pytest.approx((8.0, 8.0))


def test_after_a_power_cut_of_the_computer_the_counts_may_be_old(
    tmp_path: Path, volumes: Volumes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were written, but nobody knows when they reached the disk."""
    volumes.begin("run", {"antisolvent": 900.0}, guard_s=4.0)
    volumes.take("antisolvent", 9.0, 0.0, 900.0)
    monkeypatch.setattr("twin.rig.operation.volumes.boot", lambda: "another start")
    left = Volumes.open(tmp_path, clock).reconcile("antisolvent", None)
    assert left is not None
    moved_ml = 900.0 * (UNSYNCED_S + 4.0) / 3600
    assert (left.left_ml, left.uncertain_ml) == pytest.approx((41.0 - moved_ml / 2, moved_ml / 2))


def test_faster_pumps_move_more_in_a_second_of_the_wall(tmp_path: Path) -> None:
    clock = Clock(10.0)
    dead = _died(tmp_path, clock, 10.0, 0.0)
    left = dead.reconcile("antisolvent", None, guard_s=0.0)
    assert left is not None and left.uncertain_ml == pytest.approx(0.5 * 5000 * 10 * PERSIST_S / 3600)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text(path.read_text().replace('"run ', '"other ')),
    ],
)
def test_where_a_power_cut_took_the_counts_nothing_can_be_relied_on(
    tmp_path: Path, clock: Clock, spoil: Callable[[Path], object]
) -> None:
    available_ml = _died(tmp_path, clock, 10.0, 0.0, guard_s=1.0).available_ml("antisolvent")
    assert available_ml is not None and available_ml > 10.0
    spoil(tmp_path / RUNNING)
    dead = Volumes.open(tmp_path, clock)
    assert dead.unsettled == ["antisolvent"]
    assert dead.available_ml("antisolvent") == 0.0
    left = dead.reconcile("antisolvent", counted(10.0))
    assert left is not None and left.by == "reckoned", "its counter may have been set back on the way, or lost"
    assert (left.left_ml, left.uncertain_ml) == (25.0, 25.0)


def test_a_pump_that_could_not_be_asked_at_the_end_stays_open(tmp_path: Path, volumes: Volumes, clock: Clock) -> None:
    volumes.begin("run", {"antisolvent": 5000.0, "precursor": 60.0}, guard_s=4.0)
    volumes.take("precursor", 0.1, 0.0, 60.0)
    volumes.take("precursor", 0.2, 0.0, 60.0)
    volumes.close({"antisolvent": counted(2.0), "precursor": None})
    for later in (volumes, Volumes.open(tmp_path, clock)):
        assert later.unsettled == ["precursor"]
        left = later.left("precursor")
        assert left is not None and left.left_ml + left.uncertain_ml == pytest.approx(49.8)


@pytest.mark.parametrize("told", [True, False])
def test_a_counter_at_zero_has_counted_nothing_where_a_power_cut_would_have_been_told(
    tmp_path: Path, volumes: Volumes, clock: Clock, told: bool
) -> None:
    volumes.begin("run", {"antisolvent": 5000.0}, guard_s=4.0)
    volumes.take("antisolvent", 0.0, 0.0, 500.0)
    bounds = Bounds((0.0, 0.6), (0.0, 0.0))
    volumes.close({}, unheard={"antisolvent": bounds}, telling=["antisolvent"] if told else [])
    later = Volumes.open(tmp_path, clock)
    tells = later.asking("antisolvent")
    assert tells is told
    assert not Volumes.open(tmp_path, clock).asking("antisolvent"), "it tells of a power cut once"
    left = later.reconcile("antisolvent", counted(0.0), powered=tells)
    assert left is not None
    assert (left.left_ml, left.uncertain_ml) == pytest.approx((49.995, 0.005) if told else (49.7, 0.3))


@pytest.mark.parametrize(("carried", "rate", "ends"), [(10.0, 5000.0, (33.0, 38.0)), (0.0, -5000.0, (38.0, 44.0))])
def test_a_pump_that_stops_by_itself_has_moved_no_further_however_late_it_is_asked(
    tmp_path: Path, volumes: Volumes, clock: Clock, carried: float, rate: float, ends: tuple[float, float]
) -> None:
    """Of a limit of 7 mL it has 5 left, or, withdrawing, 6: it has no timer, and its counter is lost with its power."""
    volumes.begin("run", {"antisolvent": 5000.0}, guard_s=None)
    volumes.take("antisolvent", 13.0, 1.0, rate, carried_ml=(carried + 1.0, 0.0), limit_ml=7.0, force=True)
    dead = Volumes.open(tmp_path, clock)
    assert dead.count("antisolvent").limit_ml == 7.0
    left = dead.reconcile("antisolvent", None)
    assert left is not None
    assert (left.left_ml - left.uncertain_ml, left.left_ml + left.uncertain_ml) == pytest.approx(ends)


def test_a_counter_that_was_set_back_on_the_way_is_added_up(tmp_path: Path, volumes: Volumes, clock: Clock) -> None:
    volumes.begin("run", {"antisolvent": 5000.0})
    volumes.take("antisolvent", 30.0, 20.0, 0.0, carried_ml=(30.0, 20.0), force=True)
    volumes.take("antisolvent", 31.0, 20.0, 5000.0, carried_ml=(30.0, 20.0))
    left = Volumes.open(tmp_path, clock).reconcile("antisolvent", counted(5.0))
    assert left is not None and left.left_ml == pytest.approx(35.0, abs=0.01) and left.by == "counter"


def test_filling_a_syringe_ends_the_account_of_a_dead_run(tmp_path: Path, clock: Clock) -> None:
    dead = _died(tmp_path, clock, 10.0, 0.0)
    dead.refill("antisolvent", "steel-50ml", 50.0)
    assert dead.unsettled == []
    assert Volumes.open(tmp_path, clock).available_ml("antisolvent") == 50.0
    assert not (tmp_path / RUNNING).exists()


def test_a_syringe_in_use_is_not_filled(volumes: Volumes) -> None:
    volumes.begin("run", {"antisolvent": 5000.0})
    with pytest.raises(BadInput, match="in use"):
        volumes.refill("antisolvent", "steel-50ml", 50.0)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema": 1, "pumps": {"a": {}}}', '{"schema": 1, "pumps": {}, "open": 3}', "\udcff",
     '{"schema": 1, "pumps": {}, "open": {"run": "r", "largest_ml_h": {"a": 1}, "guard_s": null}}',
     '{"schema": 1, "pumps": {"a": {"syringe": "s", "volume_ml": 50, "left_ml": 51, "uncertain_ml": 0, "as_of": "",'
     ' "by": ""}}}'],
)  # fmt: skip
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    for name in (f"{NAME}.damaged", f"{NAME}.damaged-2"):
        (tmp_path / NAME).write_bytes(raw)
        with pytest.raises(BadInput, match="damaged") as caught:
            Volumes.open(tmp_path)
        assert "refill" in caught.value.remedy
        assert name in caught.value.message
        assert (tmp_path / name).read_bytes() == raw
    assert Volumes.open(tmp_path).names == []


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"schema": 2, "pumps": {}, "open": null}')
    with pytest.raises(BadInput, match="schema 2"):
        Volumes.open(tmp_path)
    assert (tmp_path / NAME).exists()


_KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from twin.rig.pumps.protocol import Dispensed, Status
from twin.rig.operation.volumes import Volumes

def live(where, told):
    volumes = Volumes.open(where)
    count = 0.0
    while True:
        volumes.refill("a", "s", 50.0)
        volumes.begin("run", {"a": 10.0}, 1.0)
        for _ in range(20):
            count += 0.01
            volumes.take("a", count, 0.0, 10.0, force=True)
        os.write(told, b".")
        volumes.close({"a": Dispensed(count, 0.0, 0.001, Status.STOPPED)})
        count = 0.0

random.seed(1)
where = Path(sys.argv[1])
for number in range(25):
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        live(where, writes)
    if number == 0:
        os.read(reads, 1)
    time.sleep(random.uniform(0.0, 0.04))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    volumes = Volumes.open(where)
    for name in volumes.unsettled:
        volumes.reconcile(name, None)
    left = volumes.left("a")
    assert left is not None and 49.7 <= left.left_ml <= 50.0, left
    print(left.by)
"""


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 25
    assert "reckoned" in done.stdout, "some kills struck in the middle of a run"
    assert not list(tmp_path.glob("*.damaged"))
