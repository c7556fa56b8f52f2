"""The process model: what is fitted and what is not, labels, bands, the comparison, and setpoints."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.case import Case, ExpectedValue
from twin.case.load import load_expected
from twin.crystal.parameters import MOLAR_MASS
from twin.errors import BadInput, Missing, TwinError
from twin.estimate import Estimate
from twin.files import digest
from twin.operating import OperatingPoint
from twin.process import (
    OUTPUTS,
    ProcessModel,
    calibrate,
    compare,
    load_calibration,
    parameter_table,
    propose,
    save_calibration,
    write_setpoint,
)
from twin.process.constraints import KNOWN, parse_constraint
from twin.process.data import condition_points
from twin.process.ensemble import candidates, errors
from twin.process.search import Region, Score, best
from twin.process.trends import Trend, judged, trends
from twin.surrogate import Hull, Surrogate, fit, read_campaign
from twin.units import from_ml_per_h

OPTIMUM = OperatingPoint.from_ml_h(5000, 60)


# --- the ensemble


def test_draws_follow_the_priors_and_their_seed() -> None:
    draws = candidates(500, 1)
    assert len(draws) == 512
    gamma = [member.parameters["gamma"] for member in draws]
    assert np.percentile(gamma, [5, 50, 95]) == pytest.approx([0.005, 0.0122, 0.030], rel=0.05)
    assert [member.parameters for member in candidates(500, 1)] == [member.parameters for member in draws]
    assert candidates(4, 2)[0].parameters != draws[0].parameters


def test_errors_of_the_data_are_centred() -> None:
    slots = errors(64, 1)
    for name in slots[0]:
        column = [row[name] for row in slots]
        assert np.mean(column) == pytest.approx(0, abs=1e-12) and np.std(column) == pytest.approx(1, rel=0.05)


# --- the calibration


def test_the_data_are_met(model: ProcessModel) -> None:
    assert model.predict(OPTIMUM, "ps")["size_nm"].value == pytest.approx(13.5, rel=0.01)
    assert model.predict(OPTIMUM, "oa")["size_nm"].value == pytest.approx(22.0, rel=0.01)
    for ligand in ("ps", "oa"):
        sweep = [model.predict(OperatingPoint.from_ml_h(5000, 10.0 * n), ligand)["plqy"].value for n in range(1, 7)]
        assert np.mean(sweep) == pytest.approx(0.60, rel=0.02) and max(sweep) < 1.1 * min(sweep)


def test_every_member_agrees_with_the_data(model: ProcessModel) -> None:
    for ligand, members in model.calibration.members.items():
        sizes = model.ensemble(OPTIMUM, ligand)["size_nm"]
        datum = 13.5 if ligand == "ps" else 22.0
        drawn = [datum * (1 + 0.05 * member.deviates["size_nm"]) for member in members]
        np.testing.assert_allclose(sizes, drawn, rtol=1e-4)
        assert all(0 < member.parameters["plqy_limit"] <= 1 for member in members)


def test_the_outlier_and_the_reynolds_number_are_never_fitted(
    case: Case, surrogate: Surrogate, quick: ProcessModel
) -> None:
    """Without the rows on Re, on the peaks of OA/OAm and on production, the calibration is the same to the last bit."""
    never = ("reynolds", "peak_nm.oa", "production_g_h", "fwhm_nm")
    rows = [row for row in load_expected(case) if row.quantity not in never]
    assert len(rows) < len(load_expected(case))
    other = calibrate(case, surrogate, rows, members=4)
    assert other.members == quick.calibration.members
    point = OperatingPoint.from_ml_h(2500, 60)
    assert ProcessModel(surrogate, other).predict(point, "ps") == quick.predict(point, "ps")
    assert {one.quantity for one in quick.calibration.data} == {"size_nm", "plqy"}


def test_the_calibration_depends_on_its_data(case: Case, surrogate: Surrogate, model: ProcessModel) -> None:
    rows = [
        row.model_copy(update={"value": 18.0}) if row.quantity == "size_nm.oa" else row for row in load_expected(case)
    ]
    other = ProcessModel(surrogate, calibrate(case, surrogate, rows, members=4))
    assert other.predict(OPTIMUM, "oa")["size_nm"].value == pytest.approx(18.0, rel=0.03)


def test_without_data_everything_is_prior_only(case: Case, surrogate: Surrogate) -> None:
    prior = ProcessModel(surrogate, calibrate(case, surrogate, [], members=8))
    assert prior.calibration.left_out == {"ps": {}, "oa": {}}
    product = prior.predict(OPTIMUM, "ps")
    assert {product[name].label for name in ("size_nm", "plqy", "peak_nm", "yield")} == {"prior-only"}
    assert {row["label"] for row in parameter_table(prior.calibration, "oa")} == {"prior-only"}


def test_a_datum_outside_the_campaign_is_refused(case: Case, campaigns: Any, tmp_path: Path) -> None:
    short = [pair for pair in campaigns.flows if pair != (5000.0, 60.0) and pair[0] != 4000.0]
    surrogate = fit(read_campaign(campaigns.write(tmp_path, campaigns(short))))
    with pytest.raises(BadInput, match="does not cover a5000-p0060"):
        calibrate(case, surrogate, members=4)


def test_data_that_contradict_the_model_are_an_error(case: Case, surrogate: Surrogate) -> None:
    rows = [row.model_copy(update={"value": 5000.0}) if row.quantity == "size_nm.oa" else row
            for row in load_expected(case)]
    with pytest.raises(TwinError, match="no nucleation rate gives the size"):
        calibrate(case, surrogate, rows, members=1)


def test_a_quantum_yield_never_passes_one(case: Case, surrogate: Surrogate) -> None:
    """With 90 % as the datum, slow mixing or DMF can't have cost much: those draws are left out, not clamped."""
    rows = [row.model_copy(update={"value": 0.9}) if row.value == 0.6 else row for row in load_expected(case)]
    calibration = calibrate(case, surrogate, rows, members=4)
    assert calibration.left_out["oa"]["the limit of the quantum yield would pass 1"] > 0
    assert all(member.parameters["plqy_limit"] < 1 for member in calibration.members["oa"])


def test_labels_of_parameters(model: ProcessModel) -> None:
    labels = {ligand: {row["name"]: row["label"] for row in parameter_table(model.calibration, ligand)}
              for ligand in model.calibration.members}
    assert labels["ps"]["size_limit"] == labels["oa"]["nucleation"] == labels["ps"]["plqy_limit"] == "calibrated"
    assert labels["oa"]["dmf_quench"] == labels["oa"]["antisolvency"] == "bounded"
    assert labels["oa"]["gamma"] == labels["ps"]["confinement"] == "prior-only"
    assert "nucleation" not in labels["ps"] and "size_limit" not in labels["oa"]


def test_the_file_gives_the_same_model(model: ProcessModel, surrogate: Surrogate, tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    with pytest.raises(Missing, match="twin calibrate"):
        load_calibration(path)
    save_calibration(model, path)
    again = ProcessModel(surrogate, load_calibration(path))
    assert again.predict(OPTIMUM, "oa") == model.predict(OPTIMUM, "oa")
    data = json.loads(path.read_text())
    assert data["data"][0]["residuals"]["ps"] == pytest.approx(0, abs=0.01)
    data["feed"] *= 2
    path.write_text(json.dumps(data))
    with pytest.raises(BadInput, match="was changed"):
        load_calibration(path)


def test_a_calibration_of_another_surrogate_is_refused(model: ProcessModel, surrogate: Surrogate) -> None:
    with pytest.raises(BadInput, match="another surrogate"):
        ProcessModel(surrogate, replace(model.calibration, surrogate="000000000000"))


# --- predictions


def test_a_prediction_is_whole_and_fast(model: ProcessModel) -> None:
    began = time.perf_counter()
    for ligand in ("ps", "oa"):
        product = model.predict(OperatingPoint.from_ml_h(3500, 45), ligand)
        assert set(product) == set(OUTPUTS)
        for name, one in product.items():
            assert one.low <= one.value <= one.high and one.unit == OUTPUTS[name]
            assert math.isfinite(one.low) and math.isfinite(one.high)
    assert time.perf_counter() - began < 5.0


def test_nothing_passes_its_physical_bounds(model: ProcessModel) -> None:
    for flows in ((1000, 60), (5000, 10), (3000, 50)):
        point = OperatingPoint.from_ml_h(*flows)
        for ligand in ("ps", "oa"):
            draws = model.ensemble(point, ligand)  # type: ignore[arg-type]
            assert np.all((draws["yield"] >= 0) & (draws["yield"] <= 1 + 1e-9))
            assert np.all((draws["plqy"] >= 0) & (draws["plqy"] <= 1))
            feed = flows[1] * 1e-3 * model.calibration.feed * 1e-3 * MOLAR_MASS * 1e3
            np.testing.assert_allclose(draws["production_g_h"], draws["yield"] * feed, rtol=1e-9)


def test_the_feed_is_the_paper_s_theoretical_yield(model: ProcessModel) -> None:
    product = model.predict(OPTIMUM, "ps")
    assert product["production_g_h"].value / product["yield"].value == pytest.approx(0.139, abs=5e-4)


def test_labels_of_outputs(model: ProcessModel) -> None:
    near, far = OperatingPoint.from_ml_h(4900, 59), OperatingPoint.from_ml_h(3000, 60)
    sweep = OperatingPoint.from_ml_h(5000, 35)
    label = {
        (name, ligand, place): model.predict(point, ligand)[name].label
        for place, point in (("near", near), ("far", far), ("sweep", sweep))
        for ligand in ("ps", "oa")
        for name in OUTPUTS
    }
    assert label["size_nm", "ps", "near"] == label["size_nm", "oa", "near"] == "calibrated"
    assert label["size_nm", "ps", "far"] == "bounded" and label["size_nm", "oa", "far"] == "prior-only"
    assert label["size_nm", "oa", "sweep"] == "prior-only"
    assert label["plqy", "oa", "sweep"] == "calibrated" and label["plqy", "oa", "far"] == "bounded"
    for name in ("peak_nm", "fwhm_nm", "yield", "production_g_h"):
        assert {label[name, ligand, place] for ligand in ("ps", "oa") for place in ("near", "far")} == {"prior-only"}
    assert label["mixing_time_s", "ps", "near"] == "bounded"


def test_extrapolation_and_unknown_ligands_are_refused(model: ProcessModel) -> None:
    with pytest.raises(BadInput, match="outside the campaign"):
        model.predict(OperatingPoint.from_ml_h(500, 60), "ps")
    with pytest.raises(BadInput, match="not a ligand"):
        model.predict(OPTIMUM, "none")


def test_the_templates_hold_the_peak_and_free_growth_does_not(model: ProcessModel) -> None:
    points = [OperatingPoint.from_ml_h(1000.0 * n, 60) for n in (1, 3, 5)]
    shifts = {
        ligand: np.median([model.ensemble(point, ligand)["size_nm"] for point in points], axis=1)  # type: ignore[arg-type]
        for ligand in ("ps", "oa")
    }
    assert np.ptp(shifts["ps"]) < 0.5 < 3 < np.ptp(shifts["oa"])


# --- the comparison


def test_the_comparison_has_every_row_with_a_verdict(model: ProcessModel, case: Case) -> None:
    rows = {(row.quantity, row.ligand, row.condition): row for row in compare(model, case)}
    assert rows["reynolds", "", "a5000-p0060"].status == "agrees"
    unreconciled = rows["reynolds", "", "a1000-p0060"]
    assert unreconciled.status == "unreconciled" and "-11.7%" in unreconciled.verdict
    for ligand in ("ps", "oa"):
        assert rows["size_nm", ligand, "a5000-p0060"].status == "fitted"
        assert rows["plqy", ligand, "sweep precursor"].status == "fitted"
        rises = rows["plqy", ligand, "sweep antisolvent"]
        assert rises.status == "holds" and "by construction" in rises.verdict
    assert "by construction" in rows["peak_nm", "ps", "both sweeps"].verdict
    assert "without 1000 mL/h" in rows["peak_nm", "oa", "both sweeps"].verdict
    assert len(rows) == 14
    json.dumps([row.as_dict() for row in rows.values()])


def test_a_wrong_value_deviates_and_a_foreign_one_is_not_computed(model: ProcessModel, case: Case) -> None:
    def row(**changes: Any) -> ExpectedValue:
        return ExpectedValue(**{"quantity": "size_nm.ps", "value": 13.5, "condition": "a5000-p0060", "source": "test"}
                             | changes)

    def status(**changes: Any) -> str:
        return compare(model, case, [row(**changes)])[0].status

    assert status() == "fitted"
    assert status(value=20.0) == "deviates"
    assert status(value=20.0, note="contradicts itself") == "unreconciled"
    assert status(value=13.4, condition="a3000-p0060") == "agrees"
    assert status(quantity="colour.ps") == "not computed"
    assert status(condition="a0100-p0060") == "not computed"
    assert status(condition="tomorrow") == "not computed"
    assert status(quantity="plqy.ps", value="falls with the antisolvent flow", condition="sweep antisolvent") == "fails"
    assert status(quantity="plqy.ps", value="goes up", condition="sweep antisolvent") == "not computed"


def test_conditions(case: Case) -> None:
    assert condition_points(case, "a5000-p0060") == [OPTIMUM]
    assert len(condition_points(case, "sweep precursor")) == 6 and len(condition_points(case, "both sweeps")) == 10
    with pytest.raises(BadInput, match="names no operating point"):
        condition_points(case, "sweep tomorrow")


def test_trends_are_read_and_judged() -> None:
    falls, rises = trends("falls with the antisolvent flow, rises with the precursor flow")
    assert (falls, rises) == (Trend("falls", "antisolvent"), Trend("rises", "precursor"))
    assert trends("about flat with the precursor flow") == [Trend("flat", "precursor")]
    with pytest.raises(BadInput, match="can't be read"):
        trends("rises")
    up = np.array([[1.0, 1.0, 3.0], [2.0, 2.0, 2.0], [3.0, 3.0, 1.0]])
    text, holds = judged(Trend("rises", "precursor"), up)
    assert holds and text == "rises with the precursor flow: holds, in 67% of the ensemble"
    assert not judged(Trend("falls", "precursor"), up)[1] and not judged(Trend("flat", "precursor"), up)[1]
    assert judged(Trend("constant", ""), np.array([[520.0], [521.9]]))[1]
    assert not judged(Trend("constant", ""), np.array([[520.0], [522.1]]))[1]
    assert not judged(Trend("rises", "precursor"), np.full((3, 2), np.nan))[1]


def test_a_trend_leaves_the_outlier_out(case: Case) -> None:
    line = Trend("falls", "antisolvent").along(case.points, 1000.0)
    assert [round(point.antisolvent_m3_s * 3.6e9) for point in line] == [2000, 3000, 4000, 5000]
    assert len(Trend("rises", "precursor").along(case.points)) == 6
    with pytest.raises(BadInput, match="needs two points"):
        Trend("rises", "precursor").along([OPTIMUM])


# --- constraints


def test_constraints_are_read() -> None:
    one = parse_constraint("plqy>= 50 %")
    assert (one.quantity, one.sense, one.limit, one.exact) == ("plqy", -1, 0.5, False)
    flow = parse_constraint("antisolvent <= 5 L/h")
    assert flow.exact and flow.limit == pytest.approx(from_ml_per_h(5000))
    assert parse_constraint("production >= 0.1 g/h").quantity == "production_g_h"
    estimate = Estimate(0.55, 0.45, 0.65, "", "bounded")
    assert one.miss(estimate, pessimistic=True) == pytest.approx(0.05)
    assert one.miss(estimate, pessimistic=False) == pytest.approx(-0.05)
    share = parse_constraint("dmf_fraction <= 0.0119")
    assert share.flow_miss(OPTIMUM) < 0 < parse_constraint("dmf_fraction <= 0.0118").flow_miss(OPTIMUM)


@pytest.mark.parametrize(("text", "says"), [
    ("plqy => 0.5", "can't be read"), ("plqy", "can't be read"), ("plqy >= ", "can't be read"), ("", "can't be read"),
    ("plqy == 0.5", "can't be read"), ("plqi >= 0.5", 'did you mean "plqy"'), ("speed >= 1", "known are antisolvent"),
    ("plqy >= high", "not a number"), ("plqy >= nan", "not a number"), ("size_nm <= 15 m", "does not fit"),
    ("size_nm <= 15 %", "does not fit"), ("antisolvent <= 5000", "unit"), ("antisolvent <= 5 kg", "not a flow"),
])
def test_wrong_constraints_are_refused_with_the_remedy(text: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_constraint(text)
    assert says in str(caught.value) and caught.value.remedy


@given(st.sampled_from(KNOWN), st.sampled_from(["<=", ">="]), st.floats(1e-3, 1e4))
def test_a_constraint_holds_on_one_side_of_its_limit(name: str, sign: str, limit: float) -> None:
    unit = " mL/h" if name in ("antisolvent", "precursor", "total") else ""
    one = parse_constraint(f"{name} {sign} {limit!r}{unit}")
    above = Estimate(one.limit * 1.1, one.limit * 1.1, one.limit * 1.1, "", "bounded")
    assert (one.miss(above, pessimistic=True) > 0) == (sign == "<=")


# --- setpoints


def test_the_search_finds_a_corner_an_inner_optimum_and_a_bound() -> None:
    region = Region(Hull.around([(1e-6, 6e-8), (5e-6, 6e-8), (5e-6, 1e-8)]), 293.15)
    corner = best(region, lambda point: Score(0.0, point.antisolvent_m3_s))
    assert corner.antisolvent_m3_s == pytest.approx(5e-6)
    wanted = (4e-6, 5e-8)

    def distance(point: OperatingPoint) -> Score:
        flows = (point.antisolvent_m3_s, point.precursor_m3_s)
        return Score(0.0, -sum((flow / best_flow - 1) ** 2 for flow, best_flow in zip(flows, wanted, strict=True)))

    inner = best(region, distance)
    assert inner.antisolvent_m3_s == pytest.approx(wanted[0], rel=0.02)
    assert inner.precursor_m3_s == pytest.approx(wanted[1], rel=0.02)
    bound = best(region, lambda point: Score(max(0.0, point.precursor_m3_s - 4e-8), point.precursor_m3_s))
    assert bound.precursor_m3_s == pytest.approx(4e-8, rel=0.02) and bound.precursor_m3_s <= 4e-8 * (1 + 1e-9)


def test_the_paper_s_question_has_the_paper_s_answer(model: ProcessModel, tmp_path: Path) -> None:
    proposal = propose(model, "production", ["plqy >= 0.5", "antisolvent <= 5000 mL/h"], "ps")
    assert proposal.point.antisolvent_m3_s == pytest.approx(from_ml_per_h(5000), rel=0.05)
    assert proposal.point.precursor_m3_s == pytest.approx(from_ml_per_h(60), rel=0.02)
    assert proposal.feasible == "at the band" and proposal.predicted["plqy"].low >= 0.5
    path = tmp_path / "setpoint.json"
    write_setpoint(proposal, path)
    data = json.loads(path.read_text())
    assert data["checksum"] == digest({key: value for key, value in data.items() if key != "checksum"})
    assert len(data["checksum"]) == 12
    keys = {"schema", "case", "level", "ligand", "antisolvent_m3_s", "precursor_m3_s", "temperature_k", "objective",
            "constraints", "predicted", "hull", "provenance", "checksum"}
    assert keys <= set(data) and set(data) - keys == {"feasible"}
    assert Estimate.from_dict(data["predicted"]["production"]) == proposal.predicted["production_g_h"]
    assert set(data["provenance"]) == {"surrogate", "campaign", "created", "twin"}
    assert datetime.fromisoformat(data["provenance"]["created"]).tzinfo is not None
    assert data["provenance"]["campaign"] == model.surrogate.dataset.campaign


def test_the_rig_reads_the_proposal(quick: ProcessModel, case: Case, tmp_path: Path) -> None:
    rig = pytest.importorskip("twin.rig")
    path = tmp_path / "setpoint.json"
    write_setpoint(propose(quick, "production", ["antisolvent <= 3000 mL/h"], "ps", 1.0, 1.0), path)
    setpoint = rig.load_setpoint(path, case)
    assert setpoint.point.antisolvent_m3_s <= from_ml_per_h(3000)


def test_pumps_and_flow_limits_are_kept_to_the_last_bit(quick: ProcessModel) -> None:
    highest = from_ml_per_h(3333.3)
    proposal = propose(quick, "plqy", ["precursor >= 50 mL/h"], "oa", highest, from_ml_per_h(57.7))
    assert proposal.point.antisolvent_m3_s <= highest
    assert from_ml_per_h(50) <= proposal.point.precursor_m3_s <= from_ml_per_h(57.7)
    assert "antisolvent <= 3333.3 mL/h" in proposal.constraints
    quick.surrogate.check(proposal.point)


def test_what_holds_at_the_median_only_is_said(model: ProcessModel) -> None:
    limit = model.predict(OPTIMUM, "ps")["plqy"].value
    proposal = propose(model, "production", [f"plqy >= {limit:.4f}"], "ps")
    assert proposal.feasible == "at the median"
    assert proposal.predicted["plqy"].value >= limit - 1e-3 and proposal.predicted["plqy"].low < limit


def test_the_infeasible_is_refused_with_the_miss_and_the_binding_constraint(model: ProcessModel) -> None:
    with pytest.raises(BadInput, match=r'meets "plqy >= 0\.9" .* misses it by 0\.[23]\d') as caught:
        propose(model, "production", ["size_nm <= 20", "plqy >= 0.9"], "ps")
    assert "relax" in caught.value.remedy
    with pytest.raises(BadInput, match=r'"antisolvent <= 500 mL/h": the best one misses it by 500 mL/h'):
        propose(model, "production", ["antisolvent <= 500 mL/h"], "ps")
    with pytest.raises(BadInput, match="no point is left"):
        propose(model, "production", [], "ps", max_precursor_m3_s=from_ml_per_h(5))
    with pytest.raises(BadInput, match="must be positive"):
        propose(model, "production", [], "ps", max_precursor_m3_s=0.0)
    with pytest.raises(BadInput, match="can't be maximized"):
        propose(model, "fame", [], "ps")
