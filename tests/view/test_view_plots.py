import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from twin.case import Case, Results
from twin.case.load import load_expected
from twin.case.schema import Sweep
from twin.estimate import Z90, Estimate
from twin.surrogate import Surrogate, fit, read_campaign
from twin.view import figures, plots
from twin.view.histories import compositions, histories_of, read_histories
from twin.view.product_plots import OUTPUTS, Predictions, product
from twin.view.rigrun import RigRun, rates_and_volumes
from twin.view.stages import point_states


@pytest.fixture(scope="module")
def solved(case: Case, make: Any, tmp_path_factory: pytest.TempPathFactory) -> Results:
    results = Results(tmp_path_factory.mktemp("plots") / "coarse")
    make.solve(case, results, None)
    return results


@pytest.fixture(scope="module")
def surrogate(solved: Results) -> Surrogate:
    return fit(read_campaign(solved.campaign))


@pytest.fixture(scope="module")
def records(case: Case, solved: Results) -> plots.Solved:
    return plots.solved_records(point_states(case, "coarse", solved))


def predictions(case: Case) -> Predictions:
    """One number for every output of every point and ligand."""
    one = {output: Estimate(0.6, 0.5, 0.7, "1", "bounded") for output in OUTPUTS}
    return {(point.name, ligand): one for point in case.points for ligand in ("ps", "oa")}


def assert_svg(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "nan" not in text.lower().replace("nanoscale", "")
    return root


def test_every_plot_is_svg(
    case: Case, records: plots.Solved, surrogate: Surrogate
) -> None:
    drawn = (
        lambda: plots.mixing_along(case, records),
        lambda: plots.mixing_time(case, records, surrogate),
        lambda: plots.mixing_time(case, records, None),
        lambda: plots.numerical_diffusion(case, records),
        lambda: plots.pressure_drop(case, records, surrogate),
        lambda: plots.pressure_drop(case, records, None),
        lambda: plots.leave_one_out(surrogate),
        lambda: product(case, predictions(case), load_expected(case)),
        lambda: product(case, {}, []),
    )
    for draw in drawn:
        assert_svg(draw())
    assert drawn[0]() == drawn[0](), "no time, no random name"


def test_a_single_point_is_enough(case: Case, records: plots.Solved) -> None:
    one = {"a5000-p0060": records["a5000-p0060"]}
    for text in (plots.mixing_along(case, one), plots.mixing_time(case, one, None),
                 plots.numerical_diffusion(case, one), plots.pressure_drop(case, one, None)):  # fmt: skip
        assert_svg(text)


def test_the_mixing_panel_has_walkers_in_their_band_and_the_grid_above(records: plots.Solved) -> None:
    _, ((panel,),) = figures.chart(1, 1, 3, 3)
    mixing = records["a5000-p0060"]["mixing"]
    plots._mixing_panel(panel, records["a5000-p0060"], 1.5875)
    [bars] = panel.containers
    index = np.array([plane["index"] for plane in mixing["planes"]])
    assert np.asarray(bars.lines[0].get_ydata()) == pytest.approx(index)
    ends = np.array(bars.lines[2][0].get_segments())[:, :, 1]
    assert pytest.approx(np.array([index - Z90 * 0.003, index + Z90 * 0.003])) == ends.T
    band = panel.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(index[-1] + np.hypot(Z90 * 0.003, 0.1)) and band.min() == 0.0
    grid = next(line for line in panel.lines if line is not bars.lines[0])
    assert np.asarray(grid.get_ydata()) == pytest.approx([plane["index"] for plane in mixing["grid"]["planes"]])
    assert np.asarray(grid.get_xdata())[-1] == pytest.approx(10 * 1.5875)


def test_histories_start_where_elements_leave_their_own_stream(results: Results, make: Any) -> None:
    results.folder.mkdir(parents=True)
    make.histories(results.folder / "histories.npz")
    found = read_histories(results.folder / "histories.npz")
    assert found is not None
    assert found.composition.shape == (3, len(found.time_s)), "the one among its own never leaves"
    first, second, third = found.composition
    assert found.inside_s == pytest.approx([0.178, 0.117, 0.18], abs=1e-3)
    assert first[0] == pytest.approx(0.99, abs=0.01) and np.all(np.diff(first) < 0) and first[-1] < 0.12
    assert second[-1] == pytest.approx(0.6), "what has left keeps its share"
    assert third == pytest.approx(0.5)
    mixed = {"a": 0.1}
    assert_svg(compositions({"a": found}, mixed))
    assert read_histories(results.folder / "none.npz") is None
    np.savez(results.folder / "pure.npz", time_s=np.ones((2, 3)), composition=np.ones((2, 3)))
    assert read_histories(results.folder / "pure.npz") is None


def test_damaged_histories_are_said_and_the_rest_is_shown(case: Case, results: Results, make: Any) -> None:
    make.solve(case, results, None)
    (results.point("a1000-p0060") / "histories.npz").write_text("no archive")
    found, problems = histories_of(results, point_states(case, "coarse", results))
    assert list(found) == ["a5000-p0060"]
    assert problems == ["a1000-p0060: its histories are damaged; solve the point again"]


def test_sweeps_become_lines_along_one_flow(case: Case) -> None:
    lines = figures.sweep_lines(case)
    assert [(line.role, line.title) for line in lines] == [
        ("antisolvent", "precursor 60 mL/h"), ("precursor", "antisolvent 5000 mL/h"),
    ]  # fmt: skip
    assert lines[0].flows_ml_h == pytest.approx([1000, 2000, 3000, 4000, 5000])
    grid = Sweep(antisolvent=["2000 mL/h", "1000 mL/h"], precursor=["20 mL/h", "10 mL/h"])
    crossed = figures.sweep_lines(case.model_copy(update={"sweeps": {"grid": grid}}))
    assert [line.title for line in crossed] == ["precursor 10 mL/h", "precursor 20 mL/h"]
    assert crossed[0].flows_ml_h == pytest.approx([1000, 2000])


def test_a_long_sweep_goes_on_in_the_next_row(case: Case, records: plots.Solved) -> None:
    line = figures.Line("precursor", tuple(case.points[4:10]) + tuple(case.points[:4]))
    assert [len(points) for _, points in plots._rows(line, records)] == [6, 4]


def test_a_run_is_told_from_its_journal(results: Results, make: Any) -> None:
    assert RigRun.newest(results) is None
    path = make.journal(results)
    run = RigRun.newest(results)
    assert run is not None and run.path == path
    assert run.simulated and run.check.intact and run.end is not None and run.end["ok"]
    assert run.stopped == {"precursor": True, "antisolvent": True}
    still = {"antisolvent": 0.0, "precursor": 0.0}
    assert run.rates == [(0.0, {"antisolvent": 5000.0, "precursor": 60.0}), (1.0, still)]
    assert run.counted[-1][1]["antisolvent"] == 1.25
    assert not any("wire" in line for line in run.lines(99))
    assert_svg(rates_and_volumes(run))


def test_a_run_that_was_cut_off_is_read_as_far_as_it_goes(results: Results, make: Any) -> None:
    path = make.journal(results, end=False)
    path.write_bytes(path.read_bytes() + b'{"n": 4, "ev')
    run = RigRun.newest(results)
    assert run is not None and run.end is None and run.stopped == {}
    assert run.check.truncated
    assert_svg(rates_and_volumes(run))


def test_the_journal_of_an_emergency_stop_is_no_run(results: Results, make: Any) -> None:
    run = make.journal(results)
    (results.rig / "stop-later.jsonl").write_text('{"n": 0, "event": "begin", "t_s": 0}\n')
    (results.rig / "junk.jsonl").write_text("[1]\n")
    newest = RigRun.newest(results)
    assert newest is not None and newest.path == run
