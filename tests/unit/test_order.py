"""The order of a sweep: who starts from a neighbour, and who goes down the ladder of meshes."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin.campaign.order import NEAR, distance, leaders, nearest_first
from twin.case import Case, load
from twin.junction import groups
from twin.operating import OperatingPoint


@pytest.fixture(scope="module")
def case() -> Case:
    return load(Path(__file__).parents[2] / "cases" / "liang2023")


def names(points: list[OperatingPoint]) -> list[str]:
    return [point.name for point in points]


def test_each_is_nearest_to_one_before_it(case: Case) -> None:
    climbing = [f"a{flow}-p0060" for flow in (1000, 2000, 3000, 4000, 5000)]
    falling = [f"a5000-p00{flow}" for flow in (50, 40, 30, 20, 10)]
    assert names(nearest_first(case, list(case.points)[::-1], [])) == climbing + falling
    assert nearest_first(case, [], []) == []


def test_it_begins_beside_what_is_solved(case: Case) -> None:
    """After an interruption the way goes on from where it was, not from the lowest Reynolds number."""
    left, there = ([OperatingPoint.from_ml_h(5000, flow) for flow in each] for each in ((10, 20, 30), (40, 50)))
    solved = [groups(case, point) for point in there]
    assert names(nearest_first(case, left, solved)) == ["a5000-p0030", "a5000-p0020", "a5000-p0010"]
    assert leaders(case, left, solved) == []


def test_neighbours_need_no_coarser_mesh(case: Case) -> None:
    """Five total flows lead; where the highest is solved, what is near it has its start."""
    points = list(case.points)
    assert names(leaders(case, points, [])) == [f"a{flow}-p0060" for flow in (1000, 2000, 3000, 4000, 5000)]
    highest = OperatingPoint.from_ml_h(5000, 60)
    left, solved = [point for point in points if point != highest], [groups(case, highest)]
    assert names(leaders(case, left, solved)) == [f"a{flow}-p0060" for flow in (4000, 3000, 2000, 1000)]
    assert leaders(case, [], solved) == []


def test_a_change_of_share_is_a_distance(case: Case) -> None:
    """Rates that add up to the same but are shared otherwise are not the same flow."""
    one, other = (groups(case, OperatingPoint.from_ml_h(*flows)) for flows in ((5000, 60), (4960, 100)))
    assert distance(one, one) == 0
    assert distance(one, other) == distance(other, one) > NEAR
