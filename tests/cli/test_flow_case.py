"""Flow cases on the command line: one real run on two ranks, its files and tables, every bad input with its remedy."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from matplotlib.image import imread

from twin.campaign.refinement import refine
from twin.case import FlowCase, load, load_any
from twin.cli import flow
from twin.cli.console import Reporter
from twin.errors import BadInput

CASES = Path(__file__).parents[2] / "cases"
CYLINDER = CASES / "cylinder2d"

CASE = """
name = "elbow"
title = "A bend with two outlets"
ranks = 2
[junction]
mesh = ["coarse.msh", "fine.msh"]
bore = "1 mm"
[fluid]
density = "1000 kg/m^3"
viscosity = "1 mPa*s"
[boundaries]
walls = { wall = {}, lid = { velocity = ["5 mm/s", "0 mm/s"] } }
[boundaries.inlets.in]
flow = "10 mm^2/s"
[boundaries.outlets.right]
[boundaries.outlets.down]
[flow]
reference_length = "1 mm"
reference_velocity = "10 mm/s"
[sweep]
scale = [0.5, 1]
[output]
forces = ["lid"]
shear = ["wall"]
pressure_differences = { both = ["left", "centre"] }
[output.probes]
left = ["0.2 mm", "0.5 mm"]
centre = ["1.5 mm", "0.5 mm"]
[output.lines.middle]
from = ["0 mm", "0.5 mm"]
to = ["2.5 mm", "0.5 mm"]
points = 6
"""


OPENINGS = '[boundaries.inlets.in]\nflow = "10 mm^2/s"\n[boundaries.outlets.right]\n[boundaries.outlets.down]\n'
CLOSED = (OPENINGS, "")


@pytest.fixture
def folder(tmp_path):
    """A case folder whose file can be changed; the meshes are made where a test asks for them."""

    def make(*changes, text=CASE):
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        (tmp_path / "case.toml").write_text(text)
        return tmp_path

    return make


def make_meshes(where):
    """A T lying on its side: in from the left, out to the right and down; its upper wall is the lid."""
    import gmsh

    for name, size in (("coarse", 0.3), ("fine", 0.17)):
        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        occ = gmsh.model.occ
        occ.fuse([(2, occ.addRectangle(0, 0, 0, 3, 1))], [(2, occ.addRectangle(1, -1, 0, 1, 1.5))])
        occ.synchronize()
        names = {}
        for _, tag in gmsh.model.getEntities(1):
            x, y, _ = occ.getCenterOfMass(1, tag)
            ends = {(0, 0.5): "in", (3, 0.5): "right", (1.5, -1): "down", (1.5, 1): "lid"}
            names.setdefault(ends.get((round(x, 6), round(y, 6)), "wall"), []).append(tag)
        for boundary, tags in names.items():
            gmsh.model.addPhysicalGroup(1, tags, name=boundary)
        gmsh.model.addPhysicalGroup(2, [tag for _, tag in gmsh.model.getEntities(2)], name="fluid")
        gmsh.option.setNumber("Mesh.MeshSizeMax", size)
        gmsh.model.mesh.generate(2)
        gmsh.write(str(where / f"{name}.msh"))
        gmsh.finalize()


def numbers(record):
    values = [record["boundaries"]["in"]["pressure_drop_pa"], *record["forces"]["lid"]["force"]]
    return [*values, *record["probes"]["centre"]["velocity_m_s"], record["lines"]["middle"]["pressure_pa"][3]]


@pytest.mark.field
def test_the_band_of_an_unsteady_run_says_that_the_step_is_not_in_it(folder, capsys):
    where = folder(("ranks = 2", "ranks = 1"), ("[sweep]\nscale = [0.5, 1]", '[time]\nend = "0.04 s"\nstep = "0.02 s"'))
    make_meshes(where)
    code, out, errors = run(capsys, "solve", where)
    assert code == 0, errors
    step = "run once with half the step, on one mesh, and add 4/3 of the change to them"
    assert f"the bands are of the mesh alone, at these time steps: {step}" in " ".join(out.split())
    assert "discretization error of flow at 0.04 s and of its series (" in out and "highest pressure drop in Pa" in out
    assert json.loads((where / "results" / "refinement.json").read_text())["covers"] == "mesh alone"


@pytest.mark.field
def test_a_flow_case_from_mesh_to_record(folder, capsys):
    where = folder()
    make_meshes(where)
    code, out, errors = run(capsys, "solve", where, "--json")
    assert code == 0, errors
    data = json.loads(out)
    assert data["status"] == "steady" and data["reynolds"] == pytest.approx(10)
    assert data["level"] == "fine" and set(data["levels"]) == {"coarse", "fine"}
    flows = {name: one["flow"] for name, one in data["boundaries"].items()}
    assert flows["in"] == pytest.approx(-1e-5) and flows["right"] + flows["down"] == pytest.approx(1e-5)
    assert abs(data["balance"]["relative"]) < 1e-10
    assert data["mesh"]["cells"] > data["levels"]["coarse"]["cells"] and data["unknowns"] > 1000
    assert any("residual" in line for line in data["history"])
    assert data["pressure_differences_pa"]["both"] == pytest.approx(
        data["probes"]["left"]["pressure_pa"] - data["probes"]["centre"]["pressure_pa"]
    )
    drag = data["forces"]["lid"]
    assert drag["coefficient"][0] == pytest.approx(drag["force"][0] / (0.5 * 1000 * 0.01**2 * 1e-3))
    bands = data["refinement"]["quantities"]
    assert bands["pressure drop in"]["note"] == "edge" and bands["pressure drop in"]["relative"] < 0.3
    assert bands["mean shear wall"]["values"][1] == data["shear"]["wall"]["mean_pa"] > 0
    assert bands["flow down"]["values"][1] == pytest.approx(flows["down"]) and data["refinement"]["covers"] == "all"
    point = where / "results" / "fine" / "points" / "flow"
    assert (point / "fields.vtu").exists() and (point / "record.json").exists()
    assert len((point / "line-middle.csv").read_text().splitlines()) == 7
    assert len((point / "shear-wall.csv").read_text().splitlines()) > 40
    assert json.loads((where / "results" / "refinement.json").read_text())["levels"] == ["coarse", "fine"]

    code, out, errors = run(capsys, "solve", where, "--level", "fine")
    assert code == 0 and "flow reused" in errors
    for word in (
        "Reynolds number",
        "elbow: flow on fine, steady",
        "forces on walls\n",
        "shear on walls",
        "discretization error",
    ):
        assert word in out

    code, out, _ = run(capsys, "status", where, "--json")
    states = {(row["level"], row["flow"]): row["state"] for row in json.loads(out)["flows"]}
    assert states[("fine", "flow")] == "steady" and states[("fine", "flow-x0.5")] == "open"
    folder(('reference_velocity = "10 mm/s"', 'reference_velocity = "20 mm/s"'))
    code, out, _ = run(capsys, "status", where, "--level", "coarse")
    assert code == 0 and "outdated" in out

    folder()
    on_two = json.loads((where / "results" / "coarse" / "points" / "flow" / "record.json").read_text())
    elsewhere = where / "elsewhere"
    code, out, _ = run(capsys, "sweep", where, "--level", "coarse", "--ranks", "1", "--output", elsewhere, "--json")
    flows = json.loads(out)["flows"]
    assert code == 0 and flows["flow"]["refinement"]["note"] == "no error estimate: one mesh"
    assert numbers(flows["flow"]) == pytest.approx(numbers(on_two), rel=1e-8)
    assert flows["flow-x0.5"]["reynolds"] == pytest.approx(5)
    assert flows["flow-x0.5"]["boundaries"]["in"]["flow"] == pytest.approx(-5e-6)
    half, whole = (flows[name]["forces"]["lid"]["force"][0] for name in ("flow-x0.5", "flow"))
    assert 0.3 < half / whole < 0.7

    code, out, _ = run(capsys, "mesh", where, "--json")
    coarse = json.loads(out)["levels"]["coarse"]
    assert code == 0 and coarse["reused"]
    assert np.array(coarse["extent_m"]) == pytest.approx(np.array([[0, 3e-3], [-1e-3, 1e-3]]), abs=1e-12)
    code, out, _ = run(capsys, "mesh", where)
    assert "0 … 0.003, -0.001 … 0.001" in out and "0.001 m" in out


def test_a_record_without_the_moments_of_its_extremes_is_shown(capsys):
    extremes = {"lowest": 1.5, "highest": 2.5, "mean": 2.0, "from_s": 0.0, "to_s": 1.0, "frequency_hz": 3.0, "note": ""}
    flow._show_series({"time": {"from_s": 0.0, "end_s": 1.0, "statistics": {"drop": extremes}}}, Reporter())
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "drop" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["drop", "2", "0 to 1", "1.5", "", "2.5", "", "3"]


def test_the_table_of_errors_shows_the_meshes_that_the_bands_rest_on(capsys):
    values, names = [1.5, 1.25, 1.125, 1.0625, 1.03125], [f"mesh{number}" for number in range(5)]
    band = refine(values, [0.5**number for number in range(5)], "Pa")
    found = {"note": "", "levels": names, "quantities": {"drop": band.as_dict()}, "no_limit": [], "covers": "all"}
    flow._show_refinement("flow", found, Reporter())
    out = capsys.readouterr().out
    for shown in (*names[-3:], "1.125", "1.0625", "1.03125"):
        assert shown in out
    assert "mesh0" not in out and "mesh1" not in out and "1.25" not in out


@pytest.mark.field
def test_each_factor_of_a_sweep_keeps_its_own_band(folder, capsys):
    where = folder(("ranks = 2", "ranks = 1"))
    make_meshes(where)
    code, out, errors = run(capsys, "sweep", where)
    assert code == 0, errors
    drops = []
    for file, flow_name in (("refinement.json", "flow"), ("refinement-x0.5.json", "flow-x0.5")):
        kept = json.loads((where / "results" / file).read_text())["quantities"]["pressure drop in"]
        record = json.loads((where / "results" / "fine" / "points" / flow_name / "record.json").read_text())
        assert kept["values"][1] == record["boundaries"]["in"]["pressure_drop_pa"]
        assert f"discretization error of {flow_name} (" in out
        drops.append(["pressure drop in Pa", f"{record['scale']:g}", "fine", f"{kept['values'][1]:.7g}"])
        drops[-1].append(f"{kept['error']:.2g}")
    lines = out.split("sweep of elbow")[1].splitlines()
    table = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    assert [row for row in table if row[0] == "pressure drop in Pa"] == drops[::-1]
    code, out, _ = run(capsys, "view", where)
    names = [f"{flow_name}-{kind}.png" for flow_name in ("flow-x0.5", "flow") for kind in ("speed", "pressure")]
    assert code == 0 and out.split() == [str(where / "results" / "fine" / "pictures" / name) for name in names]
    pixels = imread(where / "results" / "fine" / "pictures" / "flow-speed.png")[..., :3]
    assert pixels.shape[1] == 1200 and np.allclose(pixels[0, 0], 1.0)
    assert np.mean(np.any(pixels < 0.9, axis=2)) > 0.3
    code, _, errors = run(capsys, "view", where, "--plane", "x = 1 mm")
    assert code == 2 and "is 2-D" in errors


@pytest.mark.field
def test_a_mesh_in_another_unit_is_warned_of_with_the_mesh(folder, capsys):
    where = folder(('bore = "1 mm"', 'bore = "1 um"'))
    make_meshes(where)
    code, _, errors = run(capsys, "mesh", where, "--level", "fine")
    words = "warning: mesh fine: it measures 3e-06 × 2e-06 m, but the probe left (and 3 more) lies outside"
    assert code == 0 and words in " ".join(errors.split())


@pytest.mark.field
def test_an_unsteady_run_tells_its_series_and_plays(folder, capsys):
    """On two ranks: the split in time, why a column has no frequency, and frames for ParaView."""
    time = '[time]\nend = "0.1 s"\nstep = "0.02 s"\n[sweep]'
    where = folder(("[sweep]", time), ('shear = ["wall"]', 'shear = ["wall"]\nfields_every = "0.04 s"'))
    make_meshes(where)
    code, out, errors = run(capsys, "solve", where, "--level", "coarse")
    assert code == 0, errors
    for word in ("flow down m^2/s", "constant", "fewer than 2 periods"):
        assert word in out
    instant = "boundaries", "forces on walls", "shear on walls", "probes", "pressure differences", "net flow out"
    for title in instant:
        assert f"{title} at 0.1 s" in out
    (drop,) = (line for line in out.splitlines() if "pressure drop in Pa" in line)
    point = where / "results" / "coarse" / "points" / "flow"
    kept = json.loads((point / "record.json").read_text())["time"]["statistics"]["pressure drop in Pa"]
    told = [float(cell) for cell in drop.split("│")[5:8:2]]
    assert told == pytest.approx([kept["lowest_s"], kept["highest_s"]], rel=1e-5)
    assert 0.08 < told[0] < 0.1 and told[1] == 0.02
    assert sorted(path.name for path in point.glob("fields*")) == [
        "fields-0001.vtu",
        "fields-0002.vtu",
        "fields.pvd",
        "fields.vtu",
    ]
    header, *rows = (point / "series.csv").read_text().splitlines()
    assert len(rows) == 5 and all(f"flow {name} m^2/s" in header for name in ("in", "right", "down"))


@pytest.mark.field
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([('"10 mm/s"', '"3 m/s"')], "has Re 3000"),
        ([('"fine.msh"', '"nowhere.msh"')], "there is no mesh file"),
    ],
)
def test_what_the_mesh_contradicts_is_refused(folder, capsys, changes, message):
    where = folder(*changes)
    make_meshes(where)
    code, out, errors = run(capsys, "solve", where)
    assert code == 2 and message in errors and "remedy: " in errors and out == ""
    assert not list(where.rglob("record.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([('flow = "10 mm^2/s"\n', "")], "boundaries.inlets.in: needs its rate"),
        ([('flow = "10 mm^2/s"', 'flow = "10 mm"')], "is not a flow"),
        ([('flow = "10 mm^2/s"', 'flow = "5 mL"')], '"5 mL" is not a flow;'),
        ([('flow = "10 mm^2/s"', 'flow = "5"')], "a flow needs a unit: '5';"),
        ([('flow = "10 mm^2/s"', 'flow = "inf m^2/s"')], "is not finite"),
        ([('"10 mm^2/s"', '"10 mm^2/s"\nmean_velocity = "1 m/s"')], "in: give flow or mean_velocity, not both"),
        ([('"10 mm^2/s"', '"0 mm^2/s"'), ('"5 mm/s"', '"0 mm/s"')], "nothing moves the fluid"),
        ([("wall = {}", "in = {}")], "in is inlet and wall: a boundary has one role"),
        ([('"10 mm^2/s"', '"10 mm^2/s"\nprofile = "parabolic"')], 'the profile "parabolic" is none of'),
        ([('"10 mm^2/s"', '"10 mm^2/s"\nprofile = "measured.csv"')], "can't read"),
        ([('"10 mm^2/s"', '"10 mm^2/s"\nprofile = "wrong.csv"')], "inlets.in.profile: the columns of"),
        ([('"10 mm^2/s"', '"10 mm^2/s"\nprofile = "nan.csv"')], "row 3 of"),
        ([('"10 mm^2/s"', '"10 mm^2/s"\nprofile = "one.csv"')], "is not 1 finite number ("),
        ([('"10 mm^2/s"', '"10 mm^2/s"\nprofile = "semicolons.csv"')], "are separated by semicolons (save it as CSV"),
        ([('"10 mm^2/s"', '"10 mm^2/s"\nprofile = "tabs.csv"')], "are separated by tabs (save it as CSV"),
        ([('"10 mm^2/s"', '"10 mm^2/s"\nformula = "__import__(1)"')], "known are"),
        ([('"10 mm^2/s"', '"10 mm^2/s"\nscale = false')], "scale = false is for a profile file"),
        (
            [('"10 mm^2/s"', '"10 mm^2/s"\nhistory = "pulse.csv"')],
            "boundaries.inlets.in.history: is for an unsteady run",
        ),
        (
            [("[boundaries.outlets.right]", '[boundaries.outlets.right]\npressure = "1 Pa"\nhistory = "wrong.csv"')],
            "boundaries.outlets.right.history: the columns of",
        ),
        ([("outlets.right]", 'outlets.right]\nhistory = "pulse.csv"')], "factors on the pressure: give one"),
        ([('"0 mm/s"]', '"0 mm/s"], history = "pulse.csv"')], "walls.lid.history: is for an unsteady run"),
        ([("wall = {}", 'wall = { history = "pulse.csv" }')], "factors on the velocity: give one"),
        ([("[boundaries.outlets.right]\n[boundaries.outlets.down]\n", "")], "what enters must leave: name an outlet"),
        ([CLOSED, ('"5 mm/s"', '"0 mm/s"')], "nothing moves the fluid"),
        ([CLOSED, ('reference_length = "1 mm"\n', "")], "flow.reference_length: a closed flow"),
        ([('viscosity = "1 mPa*s"', 'viscosity = "-1 mPa*s"')], "must be positive"),
        ([('viscosity = "1 mPa*s"', 'liquid = "water"')], "either a liquid or numbers"),
        ([('forces = ["lid"]', 'forces = ["in"]')], 'output.forces: names "in", which is not a wall'),
        ([('shear = ["wall"]', 'shear = ["in"]')], 'output.shear: names "in", which is not a wall'),
        ([('shear = ["wall"]', 'fields_every = "1 s"')], "fields_every: is for an unsteady run"),
        (
            [('shear = ["wall"]', 'fields_every = "2 s"'), ("[sweep]", '[time]\nend = "1 s"\ncfl = 1.0\n[sweep]')],
            "fields_every: is longer than the run",
        ),
        ([('["left", "centre"]', '["left", "center"]')], "which is not a probe"),
        ([('to = ["2.5 mm", "0.5 mm"]', 'to = ["0 mm", "0.5 mm"]')], "middle: it begins where it ends"),
        ([("reference_length", "reference_lenght")], 'did you mean "reference_length"'),
        ([('["coarse.msh", "fine.msh"]', '["a/fine.msh", "fine.msh"]')], "must differ"),
        ([("[sweep]", '[time]\nend = "1 s"\n[sweep]')], "give either step"),
        ([("[sweep]", '[time]\nend = "1e9 s"\nstep = "1e-9 s"\n[sweep]')], "step = 1e-09 s: the run would need 1e+18"),
        ([("[sweep]", '[time]\nend = "1 s"\ncfl = 1\nsample = "1e-9 s"\n[sweep]')], "sample = 1e-09 s: the run would"),
        (
            [('shear = ["wall"]', 'fields_every = "1e-9 s"'), ("[sweep]", '[time]\nend = "1 s"\ncfl = 1.0\n[sweep]')],
            "fields_every: the run would need 1e+09 steps",
        ),
        (
            [("[sweep]", "[levels.coarse]\nwall_size = 0.2\ncore_size = 0.2\n[sweep]")],
            "levels: is for a connector or a STEP file: a mesh brings its own",
        ),
        ([("scale = [0.5, 1]", "scale = [-1]")], "greater than 0"),
    ],
)
def test_mistakes_in_the_file_are_told_with_their_key(folder, capsys, changes, message):
    where = folder(*changes)
    (where / "wrong.csv").write_text("x,u\n0,1\n")
    (where / "one.csv").write_text("speed\n1,2\n")
    (where / "semicolons.csv").write_text("x;y;speed\n0;0;1,5\n0;1;0\n")
    (where / "tabs.csv").write_text("x\ty\tspeed\n0\t0\t1\n")
    (where / "nan.csv").write_text("x,y,speed\n0,0,1\n0,1,nan\n")
    (where / "pulse.csv").write_text("t,factor\n0,1\n1,2\n")
    code, out, errors = run(capsys, "status", where)
    assert code == 2 and out == "" and message in errors, errors


def test_a_flow_case_may_leave_out_its_table_flow(folder):
    table = '[flow]\nreference_length = "1 mm"\nreference_velocity = "10 mm/s"\n'
    with_defaults = load_any(folder((table, "[flow]\n"))).resolved()
    without = load_any(folder((table, "")))
    assert isinstance(without, FlowCase) and without.resolved() == with_defaults


def test_verbs_of_the_reactor_say_that_they_are_not_for_a_flow_case(folder, capsys):
    where = folder()
    for verb in ("fit", "calibrate", "setpoint", "report", "dashboard"):
        code, _, errors = run(capsys, verb, where)
        assert code == 2 and "is a flow case" in errors and "remedy: " in errors
        assert "sweep, status or stability" in errors and "no sweeps" not in errors
    with pytest.raises(BadInput, match="is a flow case"):
        load(where)


@pytest.mark.field
def test_the_verdict_follows_a_flow_case_along_reynolds_numbers(folder, capsys):
    where = folder()
    make_meshes(where)
    words = "stability", where, "--ranks", 1, "--level", "coarse", "--json"
    code, out, _ = run(capsys, *words)
    own = json.loads(out)
    assert code == 0 and [row["verdict"] for row in own["rows"]] == ["steady"]
    code, out, errors = run(capsys, *words, "--reynolds", 23, 10)
    series = json.loads(out)["rows"]
    assert [row["reynolds"] for row in series] == [10, 23]  # as asked for, not scaled there and back
    assert "1/2: flow at Re 10: steady" in errors and "2/2: flow at Re 23: steady" in errors
    slow, fast = (row["modes"][0]["growth"] for row in series)
    assert slow == pytest.approx(own["rows"][0]["modes"][0]["growth"], rel=1e-3)
    assert slow < fast < 0  # in U/L
    code, _, errors = run(capsys, *words, "--reynolds", 23, 10)
    assert code == 0 and "2/2: flow reused" in errors


@pytest.mark.field
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--antisolvent", "5000 mL/h"], "needs --antisolvent and --precursor"),
        (["--reynolds", "-5"], "must be positive"),
        (["--reynolds", "3000"], "may be turbulent"),
        (["--ranks", "0"], "0 ranks"),
    ],
)
def test_the_verdict_refuses_before_it_meshes(capsys, tmp_path, words, message):
    code, _, errors = run(capsys, "stability", CASES / "liang2023", "--output", tmp_path, *words)
    assert code == 2 and message in errors and "remedy: " in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.field
def test_operating_points_belong_to_reactor_cases(folder, capsys):
    code, _, errors = run(capsys, "solve", folder(), "--antisolvent", "5000 mL/h")
    assert code == 2 and "leave out --antisolvent" in errors
    code, _, errors = run(capsys, "solve", CASES / "liang2023")
    assert code == 2 and "needs --antisolvent and --precursor" in errors
    code, _, errors = run(capsys, "sweep", folder(("[sweep]\nscale = [0.5, 1]\n", "")))
    assert code == 2 and "has no table [sweep]" in errors
    code, _, errors = run(capsys, "solve", folder(), "--level", "finest")
    assert code == 2 and "choose from coarse, fine" in errors


@pytest.mark.field
def test_a_failure_tells_the_last_residuals(folder, capsys, monkeypatch, tmp_path):
    history = [f"Re 10: Newton {n}, residual {10.0**n:.0e}" for n in range(6)]
    failed = {
        "name": "flow",
        "level": "coarse",
        "status": "failed",
        "reason": "no steady flow was found at Re 10",
        "remedy": "use a finer level",
        "history": history,
    }
    monkeypatch.setattr(flow, "run_flow", lambda *_: [failed])
    where = folder()
    make_meshes(where)
    code, out, errors = run(capsys, "solve", where, "--level", "coarse")
    assert code == 1 and out == ""
    assert "no steady flow was found" in errors and "Newton 5, residual 1e+05" in errors
    assert "remedy: use a finer level" in errors and "Newton 1," not in errors
