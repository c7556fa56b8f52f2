"""The verbs of the lab half: fit, predict, calibrate, setpoint."""

from __future__ import annotations

import argparse
from typing import Any

from twin.case import Case, Results
from twin.cli.common import add_point, add_verb, opened, point_of
from twin.cli.console import Reporter
from twin.crystal.parameters import LIGANDS
from twin.estimate import Estimate
from twin.process import (
    OBJECTIVES,
    ProcessModel,
    Proposal,
    calibrate,
    compare,
    load_calibration,
    parameter_table,
    propose,
    save_calibration,
    write_setpoint,
)
from twin.rig.planning.limits import equipment
from twin.surrogate import Surrogate, fit, load_surrogate, read_campaign, save_surrogate
from twin.units import from_ml_per_h, to_ml_per_h


def add_verbs(verbs: Any) -> None:
    """Adds the verbs of this file."""
    add_verb(verbs, "fit", fit_verb, "fit the surrogate to the campaign table", "twin fit cases/liang2023")
    parser = add_verb(
        verbs,
        "predict",
        predict_verb,
        "mixing and product at a point inside the campaign, with bands",
        'twin predict cases/liang2023 --antisolvent "3500 mL/h" --precursor "60 mL/h"',
    )
    add_point(parser)
    parser.add_argument("--ligand", choices=LIGANDS, help="ps or oa (default: both)")
    add_verb(
        verbs,
        "calibrate",
        calibrate_verb,
        "condition the crystal model on the case's data",
        "twin calibrate cases/liang2023",
    )
    parser = add_verb(
        verbs,
        "setpoint",
        setpoint_verb,
        "propose the best operating point under constraints",
        'twin setpoint cases/liang2023 --maximize production --subject-to "plqy >= 0.5" "antisolvent <= 4000 mL/h"',
    )
    parser.add_argument("--maximize", choices=OBJECTIVES, help="default: the case's own")
    parser.add_argument("--subject-to", nargs="+", metavar="LIMIT", help="constraints; default: the case's own")
    parser.add_argument("--ligand", choices=LIGANDS, help="default: the case's own")


def fit_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin fit`."""
    _, _, results = opened(arguments)
    surrogate = fit_surrogate(results, reporter)
    show_loo(surrogate, reporter)
    reporter.say(str(results.surrogate))
    return {
        "surrogate": results.surrogate,
        "hash": surrogate.fingerprint,
        "left_out": surrogate.dataset.left_out,
        "leave_one_out": surrogate.loo_table(),
    }


def fit_surrogate(results: Results, reporter: Reporter) -> Surrogate:
    """Fits and saves the surrogate of the campaign table."""
    with reporter.progress("surrogate") as bar:
        surrogate = fit(read_campaign(results.campaign))
        save_surrogate(surrogate, results.surrogate)
        bar.advance(f"{len(surrogate.dataset.names)} points")
    for name, reason in surrogate.dataset.left_out.items():
        reporter.log(f"left out {name}: {reason}")
    return surrogate


def show_loo(surrogate: Surrogate, reporter: Reporter) -> None:
    """The leave-one-out errors."""
    rows = []
    for target, loo in surrogate.loo.items():
        error = f"{loo.rms:.1%}" if loo.relative else f"{loo.rms:.3g}"
        rows.append([target, error, f"{loo.inflation:.2f}"])
    reporter.table("surrogate: leave-one-out error", ["target", "RMS", "band factor"], rows)


def predict_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin predict`."""
    case, _, results = opened(arguments)
    point = point_of(arguments, case)
    model = load_model(results)
    chosen = [arguments.ligand] if arguments.ligand else list(LIGANDS)
    answer = {ligand: model.predict(point, ligand) for ligand in chosen}
    for ligand, product in answer.items():
        show_product(f"{point.name}, ligand {ligand}", product, reporter)
    return {"point": point.name} | {
        ligand: {name: one.as_dict() for name, one in product.items()} for ligand, product in answer.items()
    }


def load_model(results: Results) -> ProcessModel:
    """The surrogate with the calibrated crystals; both must belong to the campaign table of now."""
    return ProcessModel(load_surrogate(results.surrogate, results.campaign), load_calibration(results.process))


def show_product(title: str, product: dict[str, Estimate], reporter: Reporter) -> None:
    """A table of estimates."""
    rows = [
        [name, f"{one.value:.4g}", f"{one.low:.4g} … {one.high:.4g}", one.unit, one.label]
        for name, one in product.items()
    ]
    reporter.table(title, ["quantity", "value", "band (90 %)", "unit", "label"], rows)


def calibrate_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin calibrate`."""
    case, _, results = opened(arguments)
    model = calibrate_model(case, results, load_surrogate(results.surrogate, results.campaign), reporter)
    tables = {ligand: parameter_table(model.calibration, ligand) for ligand in LIGANDS}
    for ligand, rows in tables.items():
        columns = list(rows[0])
        reporter.table(f"parameters, ligand {ligand}", columns, [[_cell(row[key]) for key in columns] for row in rows])
    comparison = show_comparison(model, case, reporter)
    reporter.say(str(results.process))
    return {"process": results.process, "parameters": tables, "comparison": comparison}


def calibrate_model(case: Case, results: Results, surrogate: Surrogate, reporter: Reporter) -> ProcessModel:
    """Calibrates the crystal model and saves it."""
    with reporter.progress("calibration") as bar:
        calibration = calibrate(case, surrogate, progress=lambda share: bar.at(share))
        model = ProcessModel(surrogate, calibration)
        save_calibration(model, results.process)
        bar.at(1.0, "done")
    return model


def show_comparison(model: ProcessModel, case: Case, reporter: Reporter) -> list[dict[str, Any]]:
    """The twin beside the paper."""
    rows = compare(model, case)
    reporter.table(
        "beside the paper",
        ["quantity", "ligand", "condition", "twin", "paper", "status"],
        [[row.quantity, row.ligand, row.condition, row.twin, row.paper, row.status] for row in rows],
    )
    return [row.as_dict() for row in rows]


def setpoint_verb(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin setpoint`."""
    case, _, results = opened(arguments)
    proposal = propose_setpoint(
        case,
        results,
        load_model(results),
        reporter,
        maximize=arguments.maximize,
        subject_to=arguments.subject_to,
        ligand=arguments.ligand,
    )
    show_proposal(proposal, reporter)
    reporter.say(str(results.setpoint))
    return proposal.as_dict()


def propose_setpoint(
    case: Case,
    results: Results,
    model: ProcessModel,
    reporter: Reporter,
    maximize: str | None = None,
    subject_to: list[str] | None = None,
    ligand: str | None = None,
) -> Proposal:
    """Proposes a setpoint inside the hull and the pumps' limits, and writes it."""
    pumps = equipment(case)
    with reporter.progress("setpoint") as bar:
        proposal = propose(
            model,
            maximize or case.setpoint.maximize,
            case.setpoint.subject_to if subject_to is None else subject_to,
            ligand or case.setpoint.ligand,
            max_antisolvent_m3_s=from_ml_per_h(pumps["antisolvent"].range_ml_h[1]),
            max_precursor_m3_s=from_ml_per_h(pumps["precursor"].range_ml_h[1]),
            progress=lambda count: bar.note(f"{count} points tried"),
        )
        write_setpoint(proposal, results.setpoint)
        bar.advance(proposal.point.name)
    return proposal


def show_proposal(proposal: Proposal, reporter: Reporter) -> None:
    """The proposal in words and numbers."""
    flows = [to_ml_per_h(flow) for flow in (proposal.point.antisolvent_m3_s, proposal.point.precursor_m3_s)]
    reporter.say(
        f"setpoint: antisolvent {flows[0]:.5g} mL/h, precursor {flows[1]:.4g} mL/h; maximizes {proposal.objective} "
        f"for {proposal.ligand} under {', '.join(proposal.constraints) or 'no constraint'};"
        f" feasible {proposal.feasible}"
    )
    show_product("predicted there", proposal.predicted, reporter)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " … ".join(_cell(part) for part in value)
    return "" if value is None else str(value)
