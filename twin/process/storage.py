"""`process.json`: the calibrated ensembles, what each datum fixed, and how well it is met."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import twin
from twin.crystal import PARAMETERS, Ligand
from twin.crystal.parameters import LIGANDS
from twin.errors import BadInput
from twin.files import read_sealed, sealed, write_json
from twin.operating import OperatingPoint
from twin.process.calibrate import Calibration
from twin.process.data import Datum
from twin.process.ensemble import Member
from twin.process.model import BAND, ProcessModel

_REMEDY = "run twin calibrate again"
_PLAIN = ("case", "level", "surrogate", "campaign", "feed", "temperature_k", "seed")


def save_calibration(model: ProcessModel, path: Path) -> None:
    """Writes the calibration of a model, with a table of its parameters and the residuals of its data."""
    calibration = model.calibration
    data: dict[str, Any] = {
        "schema": 1,
        **{key: getattr(calibration, key) for key in _PLAIN},
        "data": [asdict(one) | {"residuals": _residuals(model, one)} for one in calibration.data],
        "parameters": {ligand: parameter_table(calibration, ligand) for ligand in LIGANDS},
        "ensembles": {
            ligand: {
                "members": [asdict(member) for member in calibration.members[ligand]],
                "left_out": calibration.left_out[ligand],
            }
            for ligand in LIGANDS
        },
        "provenance": {"twin": twin.__version__, "created": datetime.now(UTC).isoformat(timespec="seconds")},
    }
    write_json(path, sealed(data))


def load_calibration(path: Path) -> Calibration:
    """The calibration of a `process.json`. Raises `Missing` without the file, `BadInput` where it is damaged."""
    data = read_sealed(path, "a calibration", "calibrate first: twin calibrate CASE", _REMEDY)
    try:
        return _restored(data)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is damaged ({type(error).__name__}: {error})", _REMEDY) from error


def parameter_table(calibration: Calibration, ligand: Ligand) -> list[dict[str, Any]]:
    """One row per parameter that matters to a ligand: prior, posterior (median and central 90 %), label, source."""
    rows = []
    for name in calibration.own(ligand):
        prior = PARAMETERS[name]
        draws = np.array([member.parameters[name] for member in calibration.members[ligand]])
        low, median, high = np.percentile(draws, (BAND[0], 50.0, BAND[1])).tolist()
        rows.append({
            "name": name, "unit": prior.unit, "label": calibration.label(name, ligand),
            "median": median, "low": low, "high": high,
            "prior": [prior.quantile(share) for share in (0.05, 0.5, 0.95)],
            "meaning": prior.meaning, "source": prior.source,
        })
    return rows


def _residuals(model: ProcessModel, one: Datum) -> dict[str, float]:
    """The ensemble's median over the datum less one, per ligand; for a sweep, of the mean over its points."""
    ligands = [ligand for ligand in LIGANDS if one.ligand in ("", ligand)]
    return {
        ligand: float(np.median(np.mean(
            [model.ensemble(point, ligand)[one.quantity] for point in one.points], axis=0
        ))) / one.value - 1.0
        for ligand in ligands
    }


def _restored(data: dict[str, Any]) -> Calibration:
    known = []
    for row in data["data"]:
        points = tuple(OperatingPoint(**point) for point in row["points"])
        known.append(Datum(**{key: row[key] for key in row if key != "residuals"} | {"points": points}))
    ensembles = data["ensembles"]
    return Calibration(
        **{key: data[key] for key in _PLAIN},
        data=known,
        members={ligand: [Member(**member) for member in ensembles[ligand]["members"]] for ligand in LIGANDS},
        left_out={ligand: dict(ensembles[ligand]["left_out"]) for ligand in LIGANDS},
    )
