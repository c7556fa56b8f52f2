"""The flow cases that come with the project, on their coarsest meshes, held against published numbers."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import run

from twin.case import FlowCase, load_any

CASES = Path(__file__).parents[2] / "cases"


@pytest.mark.parametrize("name", ["cavity2d", "cylinder2d", "cylinder3d", "three-streams"])
def test_the_example_cases_are_sound(name):
    case = load_any(CASES / name)
    assert isinstance(case, FlowCase) and case.resolved()["fluid"]


def on_its_coarsest_mesh(case, where, capsys):
    """The result of one of the cases past a cylinder, copied to the folder `where`."""
    import runpy

    shutil.copytree(case, where, ignore=shutil.ignore_patterns("results", "*.msh"))
    script = runpy.run_path(str(where / "make_mesh.py"))
    script["CELLS"].pop("fine"), script["CELLS"].pop("medium")
    script["main"](where)
    code, out, errors = run(capsys, "solve", where, "--level", "coarse", "--ranks", "1", "--json")
    assert code == 0, errors
    return json.loads(out)


@pytest.mark.field
def test_the_cylinder_of_schaefer_and_turek(tmp_path, capsys):
    """Drag and pressure difference of problem 2D-1 on the coarsest of its meshes; the reference is Nabh (1998)."""
    data = on_its_coarsest_mesh(CASES / "cylinder2d", tmp_path / "case", capsys)
    drag, lift = data["forces"]["cylinder"]["coefficient"]
    assert drag == pytest.approx(5.57953523384, rel=1e-3)
    assert lift == pytest.approx(0.010618948146, abs=3e-3)
    assert data["pressure_differences_pa"]["cylinder"] == pytest.approx(0.11752016697, rel=1e-2)


@pytest.mark.field
def test_the_cylinder_between_walls(tmp_path, capsys):
    """Problem 3D-1Z on 3,175 cells, half of it behind a mirror plane; the reference is Bayraktar et al. (2012)."""
    data = on_its_coarsest_mesh(CASES / "cylinder3d", tmp_path / "case", capsys)
    drag, lift, _ = data["forces"]["cylinder"]["coefficient"]
    assert drag == pytest.approx(6.18533, rel=0.02)
    assert lift == pytest.approx(0.009401, abs=6e-3)
    assert data["pressure_differences_pa"]["cylinder"] == pytest.approx(0.1710, rel=0.1)


@pytest.mark.field
def test_the_cavity_of_botella_and_peyret(tmp_path, capsys):
    """The extremes at Re 1000 on the coarsest mesh, on two ranks and on one, and its tables."""
    import runpy

    where = tmp_path / "case"
    shutil.copytree(CASES / "cavity2d", where, ignore=shutil.ignore_patterns("results", "*.msh"))
    script = runpy.run_path(str(where / "make_mesh.py"))
    script["CELLS"].pop("fine"), script["CELLS"].pop("medium")
    script["main"](where)
    found = []
    for ranks in ("2", "1"):
        words = ("--level", "coarse", "--ranks", ranks, "--output", tmp_path / ranks)
        code, out, errors = run(capsys, "solve", where, *words, "--json")
        assert code == 0, errors
        found.append(json.loads(out)["probes"])
    on_two, on_one = found
    for name, axis, reference in (("lowest", 0, -0.3885698), ("highest", 1, 0.3769447), ("steepest", 1, -0.5270771)):
        assert on_two[name]["velocity_m_s"][axis] == pytest.approx(reference, rel=1e-2)
        assert on_two[name]["velocity_m_s"] == pytest.approx(on_one[name]["velocity_m_s"], rel=1e-7)
        assert on_two[name]["pressure_pa"] == pytest.approx(on_one[name]["pressure_pa"], rel=1e-7)
    code, out, _ = run(capsys, "solve", where, *words)
    assert code == 0 and "zero mean over the domain" in out and "flow in" not in out
