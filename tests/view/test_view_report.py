import base64
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from twin.case import Case, Results
from twin.errors import BadInput
from twin.estimate import Label
from twin.files import digest, read_json
from twin.junction import find_connector
from twin.operating import OperatingPoint
from twin.process import ProcessModel, Proposal, calibrate, save_calibration, write_setpoint
from twin.surrogate import fit, read_campaign, save_surrogate
from twin.view import write_report
from twin.view.report import COMMANDS

#: Elements that have no end tag.
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """A page with its addresses, images and text; refuses tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.scripts = 0
        self._words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [str(values[key]) for key in ("src", "href", "data", "action", "srcset") if key in values]
        self.images += [values] if tag == "img" else []
        self.ids += [str(values["id"])] if "id" in values else []
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> out of order"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self._words.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self._words))


@pytest.fixture(scope="module")
def whole(case: Case, grid: Any, make: Any, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A level with every stage done."""
    results = Results(tmp_path_factory.mktemp("whole") / "coarse")
    make.solve(case, results, grid)
    surrogate = fit(read_campaign(results.campaign))
    save_surrogate(surrogate, results.surrogate)
    model = ProcessModel(surrogate, calibrate(case, surrogate, members=3))
    save_calibration(model, results.process)
    point = OperatingPoint.from_ml_h(5000, 60)
    write_setpoint(
        Proposal(
            case.name, "coarse", "ps", point, "plqy", ("plqy >= 0.1",), "at the band", model.predict(point, "ps"),
            surrogate.hull, surrogate.fingerprint, surrogate.dataset.campaign,
        ),
        results.setpoint,
    )
    make.journal(results)
    write_report(case, "coarse", results)
    return results


@pytest.fixture(scope="module")
def page(whole: Results) -> Page:
    return Page(whole.report.read_text(encoding="utf-8"))


def test_it_is_well_formed_and_loads_nothing(page: Page, whole: Results) -> None:
    text = whole.report.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert page.scripts == 0
    for address in page.addresses:
        assert address.startswith(("data:image/", "#")), address[:80]
    assert not re.search(r"@import|url\((?!['\"]?data:)", text)
    bare = re.sub(r"data:image/[^\"]*", "", text)
    assert not re.search(r"(https?:)?//[a-z]", bare), "nothing may point to another machine"
    assert len(page.ids) == len(set(page.ids))
    for address in page.addresses:
        if address.startswith("#"):
            assert address[1:] in page.ids


def test_it_names_no_folder_of_this_machine(page: Page, whole: Results, case: Case) -> None:
    text = whole.report.read_text(encoding="utf-8")
    bare = re.sub(r"data:image/[^\"]*", "", text)
    for folder in (whole.folder, Path.home(), Path.cwd(), case.folder, Path("/tmp"), Path("/work")):
        assert f"{folder}/" not in bare.replace("</", "<")


def test_every_picture_is_there_and_described(page: Page) -> None:
    assert len(page.images) == 1 + 3 * 5 + 8
    for image in page.images:
        assert len(str(image["alt"])) > 30
        kind, _, data = str(image["src"]).partition(";base64,")
        raw = base64.b64decode(data, validate=True)
        if kind == "data:image/png":
            assert raw.startswith(b"\x89PNG")
        else:
            assert kind == "data:image/svg+xml"
            ElementTree.fromstring(raw)


def test_every_assumption_and_every_label_is_in_it(page: Page, case: Case) -> None:
    connector = find_connector(str(case.junction.connector), case.folder)
    for name, text in (case.assumptions | connector.assumptions).items():
        assert name in page.words and text in page.words
    for label in get_args(Label):
        assert label in page.words


def test_it_says_how_far_mixing_can_be_trusted(page: Page) -> None:
    assert "Random walkers measure the mixing: 5000 at each point" in page.words
    assert "a statistical one, of at most 0.003 in M at the end of the mesh" in page.words
    assert "± 0.1 on this mesh" in page.words
    assert "The grid's index is only an upper bound." in page.words
    assert "none of 100 planes" in page.words
    assert "numerical diffusion is 21.0 to 30.0 times the molecular one" in page.words
    assert page.words.count("smeared by its numerical diffusion") == 2 * 3, "the pictures of the concentration"
    for old in ("not resolved", "both bounds", "lower bound", "bounds of mixing"):
        assert old not in page.words
    assert "swing to −0.500 and 1.50" in page.words


def test_species_residence_and_exposure_are_told(page: Page) -> None:
    assert re.search(r"a5000-p0060 polymer .{5,12} 0 ± 0.003 too long to measure", page.words)
    assert "20.0 ± 0.4 31.8 ± 0.6 33.3 ± 3.2 2.38" in page.words, "mixing length in bores and mm, striations in µm"
    assert "9.00 ms 1.00 … 89.0 ms; 100 % do" in page.words
    assert "42.0 ms 9.00 … beyond the mesh; 78.0 % do" in page.words
    assert "half do not 0 % do" in page.words
    assert "Residence time in the mesh, ms" in page.words


def test_the_paper_is_beside_the_twin_with_verdicts(page: Page) -> None:
    assert "unreconciled (−11.7 %): does not follow from the flows" in page.words
    assert "fitted" in page.words
    assert "mixing and composition change together" in page.words
    assert re.search(r"348 calibrated .*394 unreconciled", page.words)


def test_points_setpoint_rig_and_provenance_are_told(page: Page, whole: Results, case: Case, make: Any) -> None:
    for point in case.points:
        assert point.name in page.words
    setpoint = read_json(whole.setpoint)
    assert "every constraint holds at the pessimistic end" in page.words
    assert "On this rig, a full antisolvent syringe (steel-50ml, 50 mL) lasts" in page.words
    assert "two alternating pumps" in page.words
    assert "the one proposed above" in page.words, "the journal ran another setpoint"
    assert "Completed; both pumps were verified stopped" in page.words
    assert "simulated" in page.words
    assert "the chain of its lines is intact" in page.words
    for value in (make.mesh_hash, setpoint["provenance"]["surrogate"], setpoint["checksum"], "2 Jan 2026, 03:04 UTC"):
        assert value in page.words
    assert "numpy" in page.words
    assert "not computed yet" not in page.words and "can't be shown" not in page.words


def test_without_any_stage_it_names_the_commands(case: Case, results: Results) -> None:
    page = Page(write_report(case, "coarse", results).read_text(encoding="utf-8"))
    assert page.words.count("not computed yet.") == len(COMMANDS)
    for command in COMMANDS.values():
        assert command in page.words
    assert "0 of 10 operating points are computed" in page.words
    for text in case.assumptions.values():
        assert text in page.words


def test_what_comes_from_files_is_escaped(case: Case, results: Results, make: Any) -> None:
    nasty = '<script>alert("&")</script>'
    make.solve(case, results, None)
    first = case.points[0]
    failed = make.record(case, first)
    del failed["flow"], failed["mixing"]
    failed |= {"status": "failed", "reason": f"{nasty} {results.folder}/logs"}
    make.put(results.point(first.name) / "record.json", failed)
    spoiled = case.model_copy(update={"title": nasty, "assumptions": {nasty: nasty}})
    text = write_report(spoiled, "coarse", results).read_text(encoding="utf-8")
    page = Page(text)
    assert page.scripts == 0 and "<script" not in text
    assert page.words.count(nasty) >= 4
    assert f"{first.name} failed; the reasons are below" in page.words
    assert str(results.folder) not in text


def copied(whole: Results, tmp_path: Path, keep: str = "") -> Results:
    """A copy without what takes long to show, the model and the pictures, but for the one that is to be kept."""
    results = Results(tmp_path / "coarse")
    shutil.copytree(whole.folder, results.folder)
    shutil.copytree(whole.rig, results.rig)
    if keep not in ("mesh", "pictures"):
        shutil.rmtree(results.folder / "points")
    if keep != "product":
        results.process.unlink()
    if keep != "pictures":
        (results.mesh / "junction.vtu").unlink()
    return results


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("mesh", "The mesh can't be shown"), ("surrogate", "The surrogate can't be shown"),
        ("product", "The product can't be shown"), ("setpoint", "The setpoint can't be shown"),
        ("rig", "The run can't be shown"), ("pictures", "The pictures can't be shown"),
    ],
)  # fmt: skip
def test_a_damaged_file_costs_its_section_only(
    case: Case, whole: Results, tmp_path: Path, stage: str, words: str
) -> None:
    results = copied(whole, tmp_path, stage)
    if stage == "pictures":
        shutil.rmtree(results.pictures)
        (results.point("a1000-p0060") / "fields.vtu").write_text("no fields")
    else:
        path = {
            "mesh": results.mesh / "quality.json", "surrogate": results.surrogate, "product": results.process,
            "setpoint": results.setpoint, "rig": next(results.rig.glob("*.jsonl")),
        }[stage]  # fmt: skip
        if stage == "rig":
            first = path.read_text().splitlines()[0].replace('"supply":[', '"supply":[3,')
            path.write_text(first + "\n")
        else:
            path.write_text('{"schema": 1}' if stage in ("surrogate", "setpoint") else "{")
    page = Page(write_report(case, "coarse", results).read_text(encoding="utf-8"))
    assert f"{words}: " in page.words and COMMANDS[stage] in page.words
    assert ("the chain of its lines is intact" in page.words) == (stage != "rig")
    assert ("Predicted at the setpoint" in page.words) == (stage != "setpoint")
    assert ("Quality of the mesh" in page.words) == (stage != "mesh")
    assert str(results.folder) not in page.words


def test_a_setpoint_that_was_edited_or_is_stale_is_marked(case: Case, whole: Results, tmp_path: Path) -> None:
    results = copied(whole, tmp_path)
    data = read_json(results.setpoint)
    results.setpoint.write_text(json.dumps(data | {"precursor_m3_s": 1e-8}))
    assert "its checksum does not fit" in Page(write_report(case, "coarse", results).read_text("utf-8")).words
    data["provenance"]["surrogate"] = "another"
    del data["checksum"]
    results.setpoint.write_text(json.dumps(data | {"checksum": digest(data)}))
    words = Page(write_report(case, "coarse", results).read_text("utf-8")).words
    assert "proposed with another surrogate" in words and "its checksum does not fit" not in words


def test_a_run_that_did_not_end_well_is_not_dressed_up(case: Case, results: Results, make: Any) -> None:
    make.journal(results, stopped=False)
    words = Page(write_report(case, "coarse", results).read_text("utf-8")).words
    assert "NOT every pump was verified stopped" in words
    next(results.rig.glob("*.jsonl")).unlink()
    path = make.journal(results, end=False)
    path.write_text(path.read_text().replace("5000.0", "4000.0"))
    words = Page(write_report(case, "coarse", results).read_text("utf-8")).words
    assert "The journal has no end" in words and "BROKEN" in words


def test_a_level_that_is_not_there_is_refused(case: Case, results: Results) -> None:
    with pytest.raises(BadInput, match="no level"):
        write_report(case, "finest", results)
