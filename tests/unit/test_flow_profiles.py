"""The points of a measured profile against the inlet that they are for."""

from types import SimpleNamespace

import numpy as np
import pytest

from twin.campaign.flow_profiles import profile_doubt
from twin.errors import BadInput

#: A square inlet of one bore at x = -3 in two triangles, and a plane inlet of one bore at x = 0.
SQUARE = np.array([[[-3, -1, -1], [-3, 1, -1], [-3, 1, 1]], [[-3, -1, -1], [-3, 1, 1], [-3, -1, 1]]]) * [1, 0.5, 0.5]
LINE = np.array([[[0, start], [0, start + 0.25]] for start in (0, 0.25, 0.5, 0.75)])


def doubt(folder, facets, points):
    """What is said of a profile at these points."""
    dim = points.shape[1]
    rows = [",".join(f"{value:.9g}" for value in point) + ",1" for point in points]
    (folder / "m.csv").write_text("\n".join([",".join("xyz"[:dim]) + ",speed", *rows]))
    inlets = {"in": SimpleNamespace(profile="m.csv"), "other": SimpleNamespace(profile="plug")}
    case = SimpleNamespace(folder=folder, boundaries=SimpleNamespace(inlets=inlets))
    made = SimpleNamespace(quality=SimpleNamespace(dimension=dim), facets={"in": facets}.__getitem__)
    return profile_doubt(case, made)


def grid(width=1.0, height=1.0, at=-3.0):
    y, z = (part.ravel() for part in np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.5, 0.5, 9)))
    return np.column_stack([np.full_like(y, at), width * y, height * z])


def row(length=1.0, at=0.0):
    return np.column_stack([np.full(11, at), np.linspace(0, length, 11)])


@pytest.mark.parametrize(
    ("facets", "points"),
    [
        (SQUARE, grid()),
        (SQUARE, grid(0.92, 0.92)),  # not on the wall
        (SQUARE, grid(1.3, 1.3)),
        (SQUARE, grid(1.0, 2.0)),  # the inlet is one half of it, cut by a mirror
        (SQUARE, grid(at=-3.2)),  # measured a little before it
        (LINE, row()),
        (LINE, 0.04 + 0.92 * row()),
        (LINE, row()[::-1]),
    ],
)
def test_points_all_over_the_inlet_are_fine(tmp_path, facets, points):
    assert doubt(tmp_path, facets, points) == ""


@pytest.mark.parametrize(
    ("facets", "points", "words"),
    [
        (SQUARE, grid(0.5, 0.5), "cover 25 % of the inlet"),
        (SQUARE, grid(1.0, 0.5), "cover 50 % of the inlet"),
        (SQUARE, grid() + np.array([0, 0.25, 0]), "cover 75 % of the inlet"),
        (SQUARE, grid(2.0, 2.0), "only 25 % of them is on it"),
        (LINE, row(0.75), "cover 75 % of the inlet"),
        (LINE, row(5.0), "only 20 % of them is on it"),
    ],
)
def test_points_on_a_part_of_it_are_doubted(tmp_path, facets, points, words):
    assert words in doubt(tmp_path, facets, points)


@pytest.mark.parametrize(
    ("facets", "points"),
    [
        (SQUARE, grid(at=3.0)),  # at the other arm
        (SQUARE, 1e-3 * grid()),
        (SQUARE, grid()[:, [1, 0, 2]]),
        (SQUARE, grid(0.1, 0.1)),
        (SQUARE, grid(10.0, 10.0)),
        (SQUARE, np.array([-3, 0, 0]) + grid(at=0.0)[:, [1, 0, 2]]),  # across the inlet
        (LINE, 1e-3 * row()),
        (LINE, row()[:, ::-1]),
        (LINE, row(at=2.0)),
    ],
)
def test_points_off_it_or_of_another_size_are_refused(tmp_path, facets, points):
    with pytest.raises(BadInput, match=r'the points of m.csv span .*, and the inlet "in" spans -?[03] … ') as caught:
        doubt(tmp_path, facets, points)
    assert "the mesh's unit" in caught.value.remedy


def test_points_on_a_line_say_nothing_of_an_inlet_in_3_d(tmp_path):
    with pytest.raises(BadInput, match="lie on a line"):
        doubt(tmp_path, SQUARE, grid()[:9] + 1e-9 * grid()[9:18])
