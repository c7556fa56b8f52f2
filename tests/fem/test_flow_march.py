"""Unsteady flow cases inside one process: where they start, go on and end, their frames and statistics."""

import xml.etree.ElementTree as ElementTree

import meshio
import numpy as np
import pytest
from flow_cases import CHANNEL, UNSTEADY, channel, rectangles, solved, table_of

from twin.campaign.flow_march import statistics
from twin.case import Results, load_any
from twin.flow import TransientSolver

pytestmark = pytest.mark.field


def rows_of(case):
    return table_of(case, "series.csv")


def interrupt(monkeypatch, after):
    """Marches stop when they have passed a time, in seconds, of a case whose L/U is 0.2 s."""
    advance = TransientSolver.advance

    def interrupted(self, reynolds, flows, until, **more):
        if until * 0.2 > after:
            raise KeyboardInterrupt
        return advance(self, reynolds, flows, until, **more)

    monkeypatch.setattr(TransientSolver, "advance", interrupted)
    return advance


def test_an_unsteady_run_goes_on_where_it_was_interrupted(tmp_path, case_of, monkeypatch):
    (tmp_path / "pulse.csv").write_text("t,factor\n0,1\n0.1,2\n0.2,2\n")
    history = ('"10 mm/s"', '"10 mm/s"\nhistory = "pulse.csv"')
    (record,) = solved(case_of(UNSTEADY, history))
    assert record["status"] == "unsteady" and record["time"]["rows"] == 10
    assert -record["boundaries"]["in"]["flow"] == pytest.approx(2e-5)
    header, straight = rows_of(load_any(tmp_path))
    factor = np.minimum(1 + 10 * straight[:, 0], 2)
    for name, sign in (("in", -1), ("out", 1)):
        assert straight[:, header.index(f"flow {name} m^2/s")] == pytest.approx(sign * 1e-5 * factor, rel=1e-9)

    for path in Results.of(load_any(tmp_path), "channel").point("flow").iterdir():
        path.unlink()
    advance = interrupt(monkeypatch, 0.11)
    with pytest.raises(KeyboardInterrupt):
        solved(load_any(tmp_path))
    assert len(rows_of(load_any(tmp_path))[1]) == 5
    monkeypatch.setattr(TransientSolver, "advance", advance)
    (again,) = solved(load_any(tmp_path))
    assert "going on from t = 0.1 s" in again["history"]
    resumed = rows_of(load_any(tmp_path))
    assert resumed[0] == header and resumed[1] == pytest.approx(straight, rel=1e-4, abs=1e-7)


def test_a_finished_run_that_is_averaged_from_another_time_keeps_its_forces(tmp_path, case_of):
    """No step is left to march, so what ∂u/∂t was must come from the restart file."""
    (tmp_path / "ramp.csv").write_text("t,factor\n0,1\n0.2,2\n")
    history = ('"10 mm/s"', '"10 mm/s"\nhistory = "ramp.csv"')
    (record,) = solved(case_of(UNSTEADY, history))
    (again,) = solved(case_of(UNSTEADY + 'average_from = "0.1 s"\n', history))
    assert "going on from t = 0.2 s" in again["history"] and again["time"]["from_s"] == 0.1
    assert again["forces"]["bottom"]["force"] == pytest.approx(record["forces"]["bottom"]["force"], rel=1e-9)
    assert again["shear"]["bottom"]["mean_pa"] == pytest.approx(record["shear"]["bottom"]["mean_pa"], rel=1e-9)


def test_the_imbalance_of_a_flow_that_has_stopped_is_over_its_largest_inflow(tmp_path, case_of):
    (tmp_path / "stop.csv").write_text("t,factor\n0,1\n0.1,2\n0.2,0\n")
    (record,) = solved(case_of(UNSTEADY, ('"10 mm/s"', '"10 mm/s"\nhistory = "stop.csv"')))
    balance = record["balance"]
    assert balance["inflow"] < 1e-12 and balance["largest_inflow"] == pytest.approx(2e-5)
    assert abs(balance["relative"]) < 1e-6 and balance["over"] == "largest flow in"
    still = ('"10 mm/s"', '"0 mm/s"'), ("[flow]", "[flow]\nreference_velocity = \"10 mm/s\"")
    moving = ('walls = ["bottom", "top"]', 'walls = { bottom = {}, top = { velocity = ["1 mm/s", "0 mm/s"] } }')
    (record,) = solved(case_of(CHANNEL, *still, moving))
    balance = record["balance"]
    assert abs(balance["relative"]) < 1e-12 and balance["net"] == pytest.approx(balance["relative"] * 2e-5)


OMEGA, STEPS = 4 * np.pi, 50  # of two periods a second, each in as many steps
OSCILLATING = (
    CHANNEL.split("[boundaries]")[0]
    + """
[boundaries]
walls = { bottom = {BOTTOM}, top = {} }
[boundaries.outlets.in]
pressure = "LEFT"
[boundaries.outlets.out]
[flow]
reference_length = "1 mm"
reference_velocity = "1 um/s"
[output.lines.across]
from = ["1 mm", "0 mm"]
to = ["1 mm", "1 mm"]
points = 9
"""
    + f'[time]\nend = "1 s"\nstep = "{0.5 / STEPS} s"\n'
)


def oscillating(tmp_path, case_of, *changes):
    """The speed at y, in m, at the end of a channel's second period, with cos(ωt) as the factor; and the record."""
    moments = np.linspace(0, 1, 2 * STEPS + 1)
    rows = "\n".join(f"{moment:.9g},{np.cos(OMEGA * moment):.12g}" for moment in moments)
    (tmp_path / "cosine.csv").write_text(f"t,factor\n{rows}\n")
    channel(tmp_path / "channel.msh", 0.2)
    (record,) = solved(case_of(OSCILLATING, *changes))
    line = record["lines"]["across"]
    return np.array(line["at_m"])[:, 1], np.array(line["velocity_m_s"])[:, 0], record


def test_a_wall_that_oscillates_carries_the_fluid_as_stokes_second_problem_says(tmp_path, case_of):
    """Between two walls: u = Re U sinh λ(H − y)/sinh λH exp iωt, with λ² = iω/ν; α = H √(ω/ν) is 3.5."""
    moving = 'velocity = ["1 um/s", "0 m/s"], history = "cosine.csv"'
    y, speed, _ = oscillating(tmp_path, case_of, ("BOTTOM", moving), ("LEFT", "0 Pa"))
    rate = np.sqrt(1j * OMEGA / 1e-6)
    exact = 1e-6 * np.real(np.sinh(rate * (1e-3 - y)) / np.sinh(rate * 1e-3))
    assert speed[0] == pytest.approx(1e-6) and speed == pytest.approx(exact, abs=5e-3 * 1e-6)


def test_a_pressure_that_oscillates_drives_the_fluid_as_womersley_says(tmp_path, case_of):
    """In a plane channel: u = Re Δp/(iωρL) (1 − cosh λ(y − H/2)/cosh λH/2) exp iωt."""
    history = ('"LEFT"', '"2e-5 Pa"\nhistory = "cosine.csv"')
    y, speed, record = oscillating(tmp_path, case_of, ("BOTTOM", ""), history)
    rate, size = np.sqrt(1j * OMEGA / 1e-6), 2e-5 / (OMEGA * 1e3 * 2e-3)
    exact = size * np.real((1 - np.cosh(rate * (y - 5e-4)) / np.cosh(rate * 5e-4)) / 1j)
    assert speed == pytest.approx(exact, abs=1e-2 * np.abs(exact).max())
    assert record["boundaries"]["in"]["pressure_pa"] == pytest.approx(2e-5, rel=1e-3)


def test_a_start_through_a_narrow_orifice_does_not_blow_up(tmp_path, case_of):
    """1:40, where the fluid is as much faster than at the inlet."""
    boxes = [(0, 0, 1, 2), (1, 0.975, 0.2, 0.05), (1.2, 0, 1, 2)]
    rectangles(tmp_path / "orifice.msh", boxes, lambda x, y: {0: "in", 2.2: "out"}.get(x, "wall"), 0.2)
    text = UNSTEADY.split("[output]")[0].replace("channel.msh", "orifice.msh").replace('"bottom", "top"', '"wall"')
    time = '[time]\nend = "0.2 s"\nstep = "0.02 s"\n'
    (record,) = solved(case_of(text + time, ('"10 mm/s"', '"0.1 mm/s"')))
    assert record["status"] == "unsteady" and record["boundaries"]["out"]["flow"] == pytest.approx(2e-7)


def test_a_slow_inlet_beside_a_pressure_that_drives_does_not_blow_up(tmp_path, case_of):
    def name_of(x, y):
        return {(-2, 0): "high", (2, 0): "out", (0, 1.5): "in"}.get((x, y), "wall")

    rectangles(tmp_path / "tee.msh", [(-2, -0.5, 4, 1), (-0.5, -0.5, 1, 2)], name_of, 0.34)
    text = UNSTEADY.split("[output]")[0].replace("channel.msh", "tee.msh").replace('"bottom", "top"', '"wall"')
    text = text.replace('"5 Pa"', '"0 Pa"\n[boundaries.outlets.high]\npressure = "1 mPa"').replace("[flow]", "")
    scales = '[flow]\nreference_length = "1 mm"\nreference_velocity = "0.1 mm/s"\n'
    time = '[time]\nend = "0.2 s"\nstep = "0.02 s"\n'
    (record,) = solved(case_of(text + scales + time, ('"10 mm/s"', '"1e-4 mm/s"')))
    assert record["status"] == "unsteady" and record["boundaries"]["high"]["flow"] < -100 * 1e-10


def test_a_flow_that_blows_up_tells_it_in_seconds(case_of, monkeypatch):
    monkeypatch.setattr("twin.flow.transient.BLOWN_UP", 1e-3)
    (record,) = solved(case_of(UNSTEADY))
    assert "blew up at time 0.02 (t 0.02: largest speed 0.01" in record["reason"]
    assert record["reason"].endswith("; in s, m/s and 1/s)")


def frames_of(case):
    """The times of the frames, and what they hold."""
    folder = Results.of(case, "channel").point("flow")
    listed = ElementTree.parse(folder / "fields.pvd").getroot().findall("Collection/DataSet")
    assert sorted(path.name for path in folder.glob("fields-*.vtu")) == [one.get("file") for one in listed]
    return [float(one.get("timestep")) for one in listed], [meshio.read(folder / one.get("file")) for one in listed]


def test_fields_of_times_between_have_neither_gaps_nor_duplicates(case_of, monkeypatch):
    text = UNSTEADY.replace("[output]", '[output]\nfields_every = "0.06 s"')
    case = case_of(text)
    solved(case)
    times, straight = frames_of(case)
    assert times == pytest.approx([0.06, 0.12, 0.18])
    middle = np.linalg.norm(straight[0].points[:, :2] - [1, 0.5], axis=1).argmin()
    _, series = rows_of(case)
    assert series[2, 0] == pytest.approx(0.06) and np.ptp([one.point_data["velocity"][middle, 0] for one in straight])

    folder = Results.of(case, "channel").point("flow")
    (folder / "record.json").unlink()
    for path in folder.glob("restart-*.npz"):
        path.unlink()
    (folder / "fields-0009.vtu").touch()  # of another run
    advance = interrupt(monkeypatch, 0.15)
    with pytest.raises(KeyboardInterrupt):
        solved(case)
    assert frames_of(case)[0] == pytest.approx([0.06, 0.12])
    monkeypatch.setattr(TransientSolver, "advance", advance)
    (record,) = solved(case)
    assert "going on from t = 0.1 s" in record["history"]
    times, again = frames_of(case)
    assert times == pytest.approx([0.06, 0.12, 0.18])
    for one, other in zip(again, straight, strict=True):
        assert one.point_data["velocity"] == pytest.approx(other.point_data["velocity"], rel=1e-4, abs=1e-8)

    solved(case_of(text, ('fields_every = "0.06 s"\n', "")))
    assert not list(folder.glob("fields-*.vtu")) and not (folder / "fields.pvd").exists()


def test_a_step_that_divides_the_run_is_kept_exactly(case_of):
    """A tenth of the run is not a whole number of its steps."""
    case = case_of(CHANNEL + '[time]\nend = "0.25 s"\nstep = "0.01 s"\n')
    solved(case)
    header, rows = rows_of(case)
    assert rows[:, header.index("time s")].tolist() == [number / 100 for number in range(1, 26)]
    assert set(rows[:, header.index("step s")]) == {0.01}


def test_times_of_many_steps_are_exact_whether_or_not_the_run_went_on(case_of, monkeypatch):
    """400 steps of 0.1 ms, of a march that does not solve anything; interrupted, it goes on with another `save`."""

    def still(self, length, at):
        self.time += length
        self._last = length
        return self._measure(length, self.time)

    monkeypatch.setattr(TransientSolver, "_advance_by", still)
    text = CHANNEL.split("[output]")[0] + '[time]\nend = "40 ms"\nstep = "0.1 ms"\nsave = "10 ms"\n'
    case = case_of(text)
    solved(case)
    times = [number / 10000 for number in range(1, 401)]
    assert rows_of(case)[1][:, 0].tolist() == times
    folder = Results.of(case, "channel").point("flow")
    for path in folder.iterdir():
        path.unlink()
    advance = interrupt(monkeypatch, 0.025)
    with pytest.raises(KeyboardInterrupt):
        solved(case)
    monkeypatch.setattr(TransientSolver, "advance", advance)
    (record,) = solved(case_of(text, ('save = "10 ms"', 'save = "30 ms"')))
    assert "going on from t = 0.02 s" in record["history"] and rows_of(case)[1][:, 0].tolist() == times


def test_statistics_are_of_whole_periods():
    moments = np.linspace(0, 3.7, 371)
    found = statistics(moments, 5 + np.sin(2 * np.pi * moments))
    assert found["frequency_hz"] == pytest.approx(1, rel=1e-3) and found["note"] == ""
    assert found["mean"] == pytest.approx(5, abs=1e-3) and found["highest"] == pytest.approx(6, abs=1e-3)
    assert found["to_s"] - found["from_s"] == pytest.approx(3, rel=1e-3)
    short = statistics(moments, 5 + np.sin(2 * moments))
    assert short["frequency_hz"] is None and short["note"] == "fewer than 2 periods"
    assert (short["from_s"], short["to_s"]) == pytest.approx((0, 3.7))
    assert statistics(moments, np.sin(2 * np.pi * moments**3))["note"] == "irregular"
    longer = np.linspace(0, 10, 1001)
    assert statistics(longer, np.sin(2 * np.pi * longer) + longer / 2)["note"] == "irregular"  # it drifts
    assert statistics(moments, 5 + 1e-14 * np.sin(2 * np.pi * moments))["note"] == "constant"
    assert statistics(moments[:1], moments[:1])["mean"] == 0


@pytest.mark.parametrize("late", [0.0, 0.3, 0.5])
def test_an_extreme_lies_between_the_samples(late):
    """Of a sine in 24 steps a period the highest sample is low by up to 0.9 %."""
    moments = (np.arange(60) + late) / 24
    found = statistics(moments, np.sin(2 * np.pi * moments - 2))
    assert found["highest"] == pytest.approx(1, abs=2e-4) and found["lowest"] == pytest.approx(-1, abs=2e-4)
    periods = [(found[name] - 1 / np.pi - at) % 1 for name, at in (("highest_s", 0.25), ("lowest_s", 0.75))]
    assert (np.array(periods) + 0.5) % 1 == pytest.approx(0.5, abs=0.01 / 24)
    uneven = moments + 0.01 * np.sin(7 * moments)
    assert statistics(uneven, np.sin(2 * np.pi * uneven - 2))["highest"] == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize(
    ("values", "highest", "moment"),
    [
        ([0, 1, 2, 3, 2.5, 2, 1.5], 3, 3),  # a kink
        ([0, 0, 0, 3, 2.5, 2.2, 2], 3, 3),  # a jump
        ([3, 2.9, 2.6, 2.1, 1.4, 0.5, 0], 3, 0),  # an end
        ([0, 3, 3, 3, 3, 3, 0], 3, 1),  # a plateau
        ([0, 1, 2.9, 2.9, 1, 0, 0], 2.9, 2),  # a kink between two samples
        ([1, 1, 1, 1, 1, 1, 1], 1, None),
    ],
)
def test_an_extreme_where_the_curve_is_not_smooth_is_a_sample(values, highest, moment):
    found = statistics(np.arange(7.0), np.array(values, dtype=float))
    assert (found["highest"], found["highest_s"]) == (highest, moment)


def test_an_unsteady_run_from_the_steady_state_stays_there(case_of):
    (record,) = solved(case_of(UNSTEADY + 'start = "steady"\nsample = "0.1 s"\naverage_from = "0.1 s"\n'))
    drop = record["time"]["statistics"]["pressure drop in Pa"]
    assert record["time"]["rows"] == 2 and drop["mean"] == pytest.approx(0.24, rel=1e-6)
    assert drop["lowest"] == pytest.approx(drop["highest"], rel=1e-6)
    assert record["forces"]["bottom"]["force"][0] == pytest.approx(1.2e-4, rel=1e-6)
