"""Pulsating pumps, through the program that users run: the periodic flow of a point, and walkers in it."""

import dataclasses
import json
import math

import numpy as np
import pytest

from twin.campaign.pulse import Pulse, run_pulse
from twin.campaign.pulse_march import PeriodicMarch
from twin.errors import BadInput, NotConverged, TwinError
from twin.operating import OperatingPoint

pytestmark = pytest.mark.field

GENTLE = Pulse("antisolvent", 0.0, 0.06, snapshots=4, tolerance=3e-3)
HARD = Pulse("precursor", 0.5, 0.06, snapshots=8, tolerance=3e-3)


def asked(tiny, pulse, ranks=1, follow=lambda event: None):
    case, results, mesh, point = tiny
    return run_pulse(case, "coarse", results, mesh, point, pulse, ranks, follow)


def test_without_amplitude_nothing_changes(tiny):
    record = asked(tiny, GENTLE)
    assert record["flow"]["most"] < 1e-3 and record["flow"]["mean"] < 6e-3
    for key in ("difference", "halved"):
        assert all(abs(at["segregation"]) < 4 * at["error"] for at in record[key])
    assert all(abs(at["segregation"]) < 4 * at["error"] for at in record["in_time"])
    # Newton's steady flow is stabilised in another way: on this mesh that is within the walkers' error.
    for march, newton in zip(record["steady"], record["newton"], strict=True):
        assert abs(march["segregation"] - newton["segregation"]) < 5 * math.hypot(march["error"], newton["error"])


def test_a_pulsating_precursor_comes_out_in_pulses_and_a_march_goes_on_where_it_was(tiny):
    with pytest.raises(TwinError, match=r"after 3 periods the flow with the pulsation is not periodic") as caught:
        asked(tiny, dataclasses.replace(HARD, periods=3, tolerance=5e-4))
    assert "allow more periods" in caught.value.remedy and "stability" in caught.value.remedy
    told = []
    record = asked(tiny, HARD, ranks=2, follow=lambda event: told.append(event.text))
    assert any("with the pulsation" in text and "going on after 3 periods" in text for text in told)
    assert record["march"]["periods"] >= 3 and record["march"]["distance"] <= HARD.tolerance
    assert len(record["march"]["changes"]) == record["march"]["periods"] - 1
    assert record["march"]["steps"] % HARD.snapshots == 0
    share = record["groups"]["precursor_fraction"]
    assert record["closure"]["share"] == pytest.approx(share, abs=4 * record["closure"]["error"])
    # At the inlets ∫Q (m − c̄)² is known; the slow arm of this junction leaves little of it in time.
    phase = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    part = share * (1 + 0.5 * np.sin(phase))
    total = 1 - share + part
    most = float((total * (part / total - share) ** 2).mean() / (share * (1 - share)))
    for at in record["in_time"]:
        assert -4 * at["error"] < at["segregation"] < most + 4 * at["error"]
    assert record["flow"]["most"] == pytest.approx(0.5 * share, rel=0.7)  # of the whole flow


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"of": "gas"}, "no stream"),
        ({"amplitude": 1.0}, "can't be marched"),
        ({"amplitude": -0.1}, "can't be marched"),
        ({"amplitude": math.nan}, "can't be marched"),
        ({"period": 0.0}, "says nothing"),
        ({"snapshots": 7}, "can't be halved"),
        ({"snapshots": 2}, "can't be halved"),
        ({"periods": 2}, "three periods"),
        ({"tolerance": 0.0}, "three periods"),
        ({"walkers": 10}, "say nothing"),
    ],
)
def test_questions_that_make_no_sense(change, words):
    with pytest.raises(BadInput, match=words) as caught:
        dataclasses.replace(HARD, **change)
    assert caught.value.remedy


def test_a_point_that_is_not_solved(tiny):
    other = OperatingPoint.from_ml_h(310, 60, 293.15)
    with pytest.raises(BadInput, match="is not solved"):
        asked((*tiny[:3], other), HARD)


def test_a_flow_that_feels_the_concentration_is_refused(tiny):
    case = tiny[0].model_copy(update={"coupling": "buoyant"})
    with pytest.raises(BadInput, match="feels the concentration"):
        asked((case, *tiny[1:]), HARD)


def test_the_command_line_tells_both_and_speaks_json(tiny, capsys):
    from twin.cli.main import main

    case, results, _, _ = tiny
    words = ["pulse", case.folder, "--antisolvent", "300 mL/h", "--precursor", "60 mL/h", "--amplitude", "50 %"]
    words += ["--period", "60 ms", "--of", "precursor", "--snapshots", "8", "--tolerance", "3e-3", "--ranks", "1"]
    words += ["--output", results.folder.parents[1], "--level", "coarse"]
    assert main([str(word) for word in words]) == 0
    text = capsys.readouterr().out
    assert "M pulsating" in text and "precursor ± 50 % at 60 ms" in text and "from a periodic one" in text
    assert main([*(str(word) for word in words), "--walkers", "200", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["walkers"] == 200
    assert main([*(str(word) for word in words), "--amplitude", "5 mL/h"]) == 2


class TestMarch:
    @pytest.fixture
    def march(self, small, tmp_path):
        """Of the small junction, with a period of one bore/U."""
        from twin.flow import TransientSolver
        from twin.verification.flow import streams

        domain, steady = small
        mesh_file = tmp_path / "mesh"
        mesh_file.write_text("of the test")

        def made(amplitude=0.3):
            mean = streams(domain, 0.06)
            flows = lambda time: {  # noqa: E731
                **mean, "precursor": mean["precursor"] * (1 + amplitude * math.sin(2 * math.pi * time))
            }  # fmt: skip
            solver = TransientSolver(domain)
            solver.start(steady.velocity, steady.pressure)
            told = []
            files = tmp_path / "march", mesh_file
            return PeriodicMarch(solver, 100.0, flows, 1.0, 4, 16, *files, told.append, "of the test"), told

        return made

    def test_snapshots_are_those_of_the_last_period_in_the_order_of_their_phases(self, march):
        one, _ = march()
        with pytest.raises(NotConverged, match="after 2 periods the flow of the test is not periodic; allowed"):
            one.run(2, 1e-9)
        speed = np.linalg.norm(one.last, axis=2).sum(axis=1)
        assert speed[1] == max(speed) and speed[3] == min(speed)  # of sin at 0, ¼, ½, ¾ of the period

    def test_a_march_in_two_parts_is_that_in_one(self, march, tmp_path):
        one, _ = march()
        with pytest.raises(NotConverged):
            one.run(4, 1e-12)
        for path in tmp_path.glob("march-*"):
            path.unlink()
        two, _ = march()
        with pytest.raises(NotConverged):
            two.run(2, 1e-12)
        three, told = march()
        with pytest.raises(NotConverged):
            three.run(4, 1e-12)
        assert told[0] == "of the test: going on after 2 periods"
        np.testing.assert_allclose(three.changes, one.changes, rtol=1e-3)
        np.testing.assert_allclose(three.last, one.last, atol=1e-8)

    def test_an_interruption_between_its_two_files_costs_a_comparison_only(self, march, tmp_path):
        one, _ = march()
        with pytest.raises(NotConverged):
            one.run(2, 1e-12)
        restart = (tmp_path / "march-restart.npz").read_bytes()
        with pytest.raises(NotConverged):
            one.run(3, 1e-12)
        (tmp_path / "march-restart.npz").write_bytes(restart)
        two, told = march()
        with pytest.raises(NotConverged):
            two.run(4, 1e-12)
        assert told[0] == "of the test: going on after 2 periods" and two.done == 4 and len(two.changes) == 1

    def test_a_damaged_file_is_told(self, march, tmp_path):
        one, _ = march()
        with pytest.raises(NotConverged):
            one.run(2, 1e-12)
        (tmp_path / "march-snapshots.npz").write_bytes(b"no arrays")
        with pytest.raises(BadInput, match=r"can't read .*march-snapshots"):
            march()[0].run(3, 1e-12)

    def test_the_distance_is_what_changes_add_up_to(self, march):
        one, _ = march()
        one.changes = [0.08, 0.04]
        assert one.distance == pytest.approx(0.08)  # 0.04 + 0.02 + 0.01 + …, and the last change itself
        one.changes = [0.04, 0.04]
        assert one.distance == pytest.approx(4.0)
        one.changes = [0.04, 0.0]
        assert one.distance == 0.0
