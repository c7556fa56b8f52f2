"""A proposal is refused unless it is whole, unedited, fresh, inside its hull and within the rig."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.case import Case
from twin.errors import BadInput
from twin.files import digest
from twin.rig import Clock, Latch, Setpoint, load_setpoint, rig_folder, run, summary
from twin.rig.planning import hull
from twin.rig.simulated.memory import MemoryLine
from twin.units import from_ml_per_h

Propose = Callable[..., Path]


def test_a_good_one_is_read(setpoint: Setpoint) -> None:
    assert setpoint.point.name == "a5000-p0060"
    assert setpoint.predicted["production"].value == 0.139
    assert "a5000-p0060" in summary(setpoint)


def test_an_edited_one_is_refused(case: Case, propose: Propose) -> None:
    path = propose()
    path.write_text(path.read_text().replace(repr(from_ml_per_h(60)), repr(from_ml_per_h(59))))
    with pytest.raises(BadInput, match="edited"):
        load_setpoint(path, case)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', "{}", "[" * 100_000, "\x00", '{"schema": 1}', '{"schema": 2}']
)
def test_a_damaged_one_is_refused(case: Case, tmp_path: Path, text: str) -> None:
    path = tmp_path / "setpoint.json"
    path.write_text(text)
    with pytest.raises(BadInput):
        load_setpoint(path, case)


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_refused(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "setpoint.json"
    with pytest.raises(BadInput, match="there is no"):
        load_setpoint(path, case)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="damaged"):
        load_setpoint(path, case)
    with pytest.raises(BadInput, match="can't read"):
        load_setpoint(tmp_path, case)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"provenance": None}, "no provenance"),
        ({"provenance": {"surrogate": "x", "created": "2026-01-01T00:00:00Z", "twin": "1"}}, "does not name campaign"),
        ({"case": "other"}, 'for the case "other"'),
        ({"antisolvent_m3_s": True}, "antisolvent_m3_s"),
        ({"antisolvent_m3_s": "5000 mL/h"}, "antisolvent_m3_s"),
        ({"temperature_k": 20.0}, "temperature"),
        ({"hull": []}, "hull"),
        ({"hull": [[1.0]]}, "hull"),
        ({"antisolvent_m3_s": 10**400}, "antisolvent_m3_s"),
        ({"hull": [[10**400, 1]]}, "hull"),
        ({"predicted": {"plqy": 1}}, "setpoint.json is damaged"),
        ({"predicted": {"plqy": {"value": 0.5}}}, "estimate"),
        ({"ligand": None}, "ligand"),
    ],
)
def test_a_wrong_one_is_refused(case: Case, propose: Propose, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_setpoint(propose(**changes), case)


def test_not_a_number_is_refused(case: Case, propose: Propose) -> None:
    path = propose()
    data = json.loads(path.read_text())
    data["precursor_m3_s"] = float("nan")
    path.write_text(json.dumps(data))
    with pytest.raises(BadInput, match="precursor_m3_s"):
        load_setpoint(path, case)


@pytest.mark.parametrize(("days", "fine"), [(0.0, True), (6.9, True), (7.1, False), (-0.1, False)])
def test_a_stale_one_and_one_of_the_future_are_refused(case: Case, propose: Propose, days: float, fine: bool) -> None:
    path, now = propose(), datetime.now(UTC) + timedelta(days=days)
    if fine:
        load_setpoint(path, case, now=now)
    else:
        with pytest.raises(BadInput, match=r"stale|future"):
            load_setpoint(path, case, now=now)


@pytest.mark.parametrize("created", ["yesterday", "2026-01-01T00:00:00", ""])
def test_a_time_that_is_none_is_refused(case: Case, propose: Propose, created: str) -> None:
    provenance = {"surrogate": "x", "campaign": "y", "created": created, "twin": "0.1.0"}
    with pytest.raises(BadInput):
        load_setpoint(propose(provenance=provenance), case)


@pytest.mark.parametrize(("antisolvent", "precursor"), [(1000, 60), (5000, 60), (5000, 10), (3000, 60), (4500, 40)])
def test_points_of_the_hull_pass(case: Case, propose: Propose, antisolvent: float, precursor: float) -> None:
    load_setpoint(propose(antisolvent, precursor), case)


@pytest.mark.parametrize(("antisolvent", "precursor"), [(999, 60), (5001, 60), (5000, 9.9), (2000, 30), (3000, 61)])
def test_points_outside_the_hull_are_refused(
    case: Case, propose: Propose, antisolvent: float, precursor: float
) -> None:
    with pytest.raises(BadInput, match="outside the hull"):
        load_setpoint(propose(antisolvent, precursor), case)


@pytest.mark.parametrize(
    ("antisolvent", "precursor", "message"),
    [
        (8000, 60, "antisolvent flow of 8000 mL/h .* 0.1 to 7080.8 mL/h"),
        (5000, 3000, "precursor flow of 3000 mL/h .* to 1747 mL/h"),
        (5000, 0.05, "precursor flow of 0.05 mL/h"),
        (-5000, 60, "must be positive"),
        (5000, 0, "must be positive"),
    ],
)
def test_flows_beyond_the_pumps_are_refused(
    case: Case, propose: Propose, antisolvent: float, precursor: float, message: str
) -> None:
    wide = [[from_ml_per_h(a), from_ml_per_h(p)] for a in (-9000, 9000) for p in (-9000, 9000)]
    with pytest.raises(BadInput, match=message):
        load_setpoint(propose(antisolvent, precursor, hull=wide), case)


share = st.integers(0, 1000).map(lambda number: number / 1000)
corner = st.tuples(share, share)


@given(st.lists(corner, min_size=1, max_size=12), st.lists(share, min_size=12, max_size=12))
def test_every_mixture_of_the_points_is_in_their_hull(points: list[tuple[float, float]], weights: list[float]) -> None:
    shares = weights[: len(points)]
    total = sum(shares)
    if total == 0:
        shares, total = [1.0] * len(points), float(len(points))
    mixed = tuple(sum(w * p[axis] for w, p in zip(shares, points, strict=True)) / total for axis in (0, 1))
    assert hull.contains(points, (mixed[0], mixed[1]))
    assert not hull.contains(points, (1.1, mixed[1]))


def test_a_flat_hull_holds_its_segment_only() -> None:
    segment = [(1.0, 60.0), (3.0, 60.0), (5.0, 60.0)]
    assert hull.contains(segment, (4.0, 60.0))
    assert not hull.contains(segment, (4.0, 61.0))
    assert not hull.contains(segment, (6.0, 60.0))
    assert not hull.contains([], (0.0, 0.0))


def altered(case: Case, **changes: Any) -> Case:
    """The case with another antisolvent pump or syringe."""
    pump = case.rig.antisolvent.model_copy(update=changes)
    return case.model_copy(update={"rig": case.rig.model_copy(update={"antisolvent": pump})})


STALE = {"surrogate": "x", "campaign": "y", "created": "2020-01-01T00:00:00+00:00", "twin": "0.1.0"}
WIDE = [[from_ml_per_h(a), from_ml_per_h(p)] for a, p in ((100, 1), (9000, 1), (9000, 900), (100, 900))]


@pytest.mark.parametrize(
    ("flows", "changes", "rig", "options", "message"),
    [
        ((), {"provenance": None}, {}, {}, "no provenance"),
        ((), {"provenance": STALE}, {}, {}, "stale"),
        ((), {"case": "other"}, {}, {}, "for the case"),
        ((5500.0, 60.0), {}, {}, {}, "outside the hull"),
        ((8000.0, 60.0), {"hull": WIDE}, {}, {}, "beyond the NE-1010 with steel-50ml"),
        ((), {}, {"model": "NE-1000"}, {}, "beyond the NE-1000 with steel-50ml"),
        ((), {}, {"syringe": "bd-60ml"}, {}, "toluene attacks bd-60ml"),
        ((), {}, {}, {"hold_s": 60.0}, "outlasts the antisolvent syringe"),
        ((), {}, {}, {"hold_s": -1.0}, "is no hold"),
        ((), {}, {}, {"filled_ml": {"antisolvent": 10.0}}, "outlasts the antisolvent syringe"),
        ((), {}, {}, {"filled_ml": {"antisolvent": 60.0}}, "can't hold 60 mL"),
        ((), {}, {"model": "NE-1"}, {}, "no pump model"),
    ],
)
def test_what_can_not_be_run_is_refused_in_words_and_nothing_moves(
    case: Case,
    propose: Propose,
    line: MemoryLine,
    clock: Clock,
    flows: tuple[float, ...],
    changes: dict[str, Any],
    rig: dict[str, Any],
    options: dict[str, Any],
    message: str,
) -> None:
    """From the file to the pumps, on the way that the command line takes."""
    other = altered(case, **rig)
    with pytest.raises(BadInput, match=message) as caught:
        run(other, load_setpoint(propose(*flows, **changes), other), clock=clock, simulator=line, **options)
    assert caught.value.exit_code == 2
    assert not line.heard
    assert Latch(rig_folder(case)).reason() is None


@pytest.mark.parametrize(
    ("rig", "message"),
    [({"model": "NE-1000"}, "beyond the NE-1000"), ({"syringe": "glass-50ml", "model": "NE-1000"}, "beyond")],
)
def test_a_setpoint_that_passed_is_checked_again_against_the_rig_that_runs_it(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock, rig: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        run(altered(case, **rig), setpoint, clock=clock, simulator=line)
    assert not line.heard


def test_another_pump_than_the_case_names_is_refused_before_anything_moves(
    case: Case, setpoint: Setpoint, line: MemoryLine, clock: Clock
) -> None:
    line.pumps[0].model_number = "1000"  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match="answers that it is an NE-1000, not an NE-1010") as caught:
        run(case, setpoint, clock=clock, simulator=line)
    assert caught.value.exit_code == 2
    assert not [message for message in line.heard if b"RUN" in message]


def test_the_checksum_is_that_of_the_other_keys(propose: Propose) -> None:
    data = json.loads(propose().read_text())
    checksum = data.pop("checksum")
    assert checksum == digest(data)
