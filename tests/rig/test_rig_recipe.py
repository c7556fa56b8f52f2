"""Recipes: what a file may say, what becomes of it, and a whole one on simulated pumps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from twin.case import Case
from twin.errors import BadInput
from twin.rig import Clock, Program, Setpoint, check, load_recipe, load_setpoint, plan, read, run
from twin.rig.planning import hull
from twin.rig.planning.recipe import RAMP_S
from twin.rig.planning.steps import infused_ml
from twin.rig.simulated.memory import MemoryLine
from twin.units import from_ml_per_h

GOOD = """
[prime]
antisolvent = "2 mL"
precursor = "0.1 mL"

[[steps]]
hold = "4 s"

[[steps]]
antisolvent = "3000 mL/h"
precursor = "60 mL/h"
ramp = "2 s"
hold = "3 s"

[[steps]]
antisolvent = "4500 mL/h"
precursor = "40 mL/h"
ramp = "10 s"
hold = "5 s"
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.fixture
def program(case: Case, setpoint: Setpoint, write: Callable[[str], Path]) -> Program:
    return load_recipe(write(GOOD), case, setpoint)


def test_a_recipe_is_read(program: Program) -> None:
    assert program.prime_ml == pytest.approx({"antisolvent": 2.0, "precursor": 0.1})
    assert [leg.hold_s for leg in program.legs] == [4.0, 3.0, 5.0]
    assert [leg.ramp_s for leg in program.legs] == [RAMP_S, 2.0, 10.0]
    rates = [tuple(leg.rates_ml_h.values()) for leg in program.legs]
    assert rates == [pytest.approx(flows) for flows in ((5000, 60), (3000, 60), (4500, 40))]


def test_all_mistakes_are_told_at_once(case: Case, setpoint: Setpoint, write: Callable[[str], Path]) -> None:
    path = write(
        '[prime]\nwater = "1 mL"\nantisolvent = "1 s"\n'
        '[[steps]]\nantisolvent = "3000 mL/h"\nhold = "3 s"\n'
        '[[steps]]\nramp = "5"\nhold = "-3 s"\n'
        '[[steps]]\nspeed = "fast"\n'
    )
    with pytest.raises(BadInput) as caught:
        load_recipe(path, case, setpoint)
    steps = ("steps.1.ramp", "steps.1.hold", "steps.2.speed", "steps.2.hold")
    for words in ("recipe.toml", "prime.water", "prime.antisolvent", "give both flows", *steps):
        assert words in caught.value.message


@pytest.mark.parametrize(
    "text",
    ["", "steps = []", "steps = 3", "[[steps]]", '[[steps]]\nhold = 3', '[[steps]]\nhold = "0 s"', "[[steps", "\x00",
     '[[steps]]\nhold = "inf s"', '[[steps]]\nhold = "3 s"\nramp = "nan s"', '[[steps]]\nhold = "3 mL"',
     '[[steps]]\nhold = "3 s"\nramp = "1e9 s"',
     '[prime]\nantisolvent = "-1 mL"\n[[steps]]\nhold = "3 s"'],
)  # fmt: skip
def test_bad_files_are_refused(case: Case, setpoint: Setpoint, write: Callable[[str], Path], text: str) -> None:
    with pytest.raises(BadInput):
        load_recipe(write(text), case, setpoint)


def test_files_that_can_not_be_read_are_refused(case: Case, setpoint: Setpoint, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(BadInput, match="there is no recipe"):
            load_recipe(path, case, setpoint)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput):
        load_recipe(tmp_path / "bytes.toml", case, setpoint)


@pytest.mark.parametrize(("antisolvent", "precursor"), [(5001, 60), (2000, 30), (3000, 61), (999, 60)])
def test_a_step_outside_the_hull_is_refused(
    case: Case, setpoint: Setpoint, write: Callable[[str], Path], antisolvent: float, precursor: float
) -> None:
    step = f'[[steps]]\nantisolvent = "{antisolvent} mL/h"\nprecursor = "{precursor} mL/h"\nhold = "3 s"\n'
    with pytest.raises(BadInput, match=r"step 2 of .* lies outside the hull") as caught:
        load_recipe(write('[[steps]]\nhold = "1 s"\n' + step), case, setpoint)
    assert "extrapolation is refused" in caught.value.remedy


def test_a_step_beyond_a_pump_is_refused(
    case: Case, propose: Callable[..., Path], write: Callable[[str], Path]
) -> None:
    wide = [[from_ml_per_h(a), from_ml_per_h(p)] for a, p in ((10, 10), (9000, 10), (9000, 900), (10, 900))]
    setpoint = load_setpoint(propose(hull=wide), case)
    path = write('[[steps]]\nantisolvent = "8000 mL/h"\nprecursor = "60 mL/h"\nhold = "3 s"\n')
    with pytest.raises(BadInput, match=r"step 1 of .*: the antisolvent flow of 8000 mL/h .* to 7080"):
        load_recipe(path, case, setpoint)


def test_ramps_are_straight_and_stay_in_the_hull(case: Case, setpoint: Setpoint, program: Program) -> None:
    made = plan(case, setpoint, program=program)
    corners = made.hull_ml_h
    here = [leg.rates_ml_h for leg in program.legs]
    ramp = []
    leg = 0
    for before, step in zip((None, *made.steps), made.steps, strict=False):
        if before is not None:
            assert step.start_s == pytest.approx(before.end_s)
        if step.kind == "hold":
            assert step.rates_ml_h == pytest.approx(here[leg])
            if leg:
                start, end = here[leg - 1], here[leg]
                for index, inner in enumerate(ramp):
                    share = index / len(ramp)
                    for role in start:
                        wanted = (1 - share) * start[role] + share * end[role]
                        assert inner.rates_ml_h[role] == pytest.approx(wanted, rel=1e-3)
                    flows = (inner.rates_ml_h["antisolvent"], inner.rates_ml_h["precursor"])
                    assert hull.contains(corners, flows, tolerance=1e-3)
                assert sum(inner.duration_s for inner in ramp) == pytest.approx(program.legs[leg].ramp_s)
            ramp, leg = [], leg + 1
        else:
            ramp.append(step)
    assert leg == 3
    assert made.hold_s == 12.0


def test_lines_are_primed_in_order_and_the_precursor_never_flows_alone(
    case: Case, setpoint: Setpoint, program: Program
) -> None:
    steps = plan(case, setpoint, program=program).steps
    prime = [step for step in steps if step.kind == "prime"]
    assert prime == list(steps[: len(prime)])
    assert [set(step.rates_ml_h) for step in prime] == [{"antisolvent"}, {"antisolvent", "precursor"}]
    assert infused_ml(prime[:1], "antisolvent") == pytest.approx(2.0)
    assert infused_ml(prime, "precursor") == pytest.approx(0.1)
    for step in steps:
        assert step.rates_ml_h.get("antisolvent", 0.0) > 0
        assert step.rates_ml_h["antisolvent"] >= step.rates_ml_h.get("precursor", 0.0)


@pytest.mark.parametrize(
    ("prime", "roles"),
    [('antisolvent = "1 mL"', [{"antisolvent"}]), ('precursor = "0.1 mL"', [{"antisolvent", "precursor"}]), ("", [])],
)
def test_a_line_may_be_full_already(
    case: Case, setpoint: Setpoint, write: Callable[[str], Path], prime: str, roles: list[set[str]]
) -> None:
    program = load_recipe(write(f'[prime]\n{prime}\n[[steps]]\nhold = "1 s"\n'), case, setpoint)
    steps = plan(case, setpoint, program=program).steps
    assert [set(step.rates_ml_h) for step in steps if step.kind == "prime"] == roles


def test_a_recipe_that_outlasts_a_syringe_is_refused(
    case: Case, setpoint: Setpoint, write: Callable[[str], Path]
) -> None:
    text = '[prime]\nantisolvent = "20 mL"\n[[steps]]\nhold = "20 s"\n'
    program = load_recipe(write(text), case, setpoint)
    with pytest.raises(BadInput, match="outlasts the antisolvent syringe"):
        plan(case, setpoint, program=program)


def test_a_whole_recipe_runs_and_its_volumes_agree(
    case: Case, setpoint: Setpoint, program: Program, line: MemoryLine, clock: Clock
) -> None:
    made = plan(case, setpoint, program=program)
    kinds: list[str] = []
    result = run(
        case, setpoint, program=program, clock=clock, simulator=line,
        on_progress=lambda progress: kinds.append(progress.kind) if progress.kind not in kinds[-1:] else None,
    )  # fmt: skip
    assert result.ok
    assert kinds == ["armed", "prime", "ramp", "hold", "ramp", "hold", "ramp", "hold"]
    for address, role in enumerate(("antisolvent", "precursor")):
        balance = result.balances[role]
        assert balance.commanded_ml == pytest.approx(made.needed_ml(role), rel=2e-3)
        assert abs(balance.difference_percent) < 0.3
        assert line.state(address)[1] == pytest.approx(made.needed_ml(role), rel=3e-3)
    starts = [entry["role"] for entry in read(result.journal) if entry["event"] == "start"]
    assert starts == ["antisolvent", "precursor"]
    entries = read(result.journal)
    assert entries[0]["plan"]["source"].endswith("recipe.toml")


def test_a_recipe_shows_in_a_dry_run(case: Case, setpoint: Setpoint, program: Program) -> None:
    text = "\n".join(check(case, setpoint, program=program).lines())
    assert "prime 2 mL antisolvent + 0.1 mL precursor" in text
    assert "ramp 10 s to 4500 + 40 mL/h, hold 5 s" in text
