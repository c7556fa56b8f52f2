"""`surrogate.json`: a fitted surrogate as plain JSON, from which the same predictions come back."""

from __future__ import annotations

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import twin
from twin.errors import BadInput
from twin.files import digest, read_sealed, sealed, write_json
from twin.surrogate.dataset import Dataset
from twin.surrogate.emulator import TARGETS, Surrogate, Target, compared, learned
from twin.surrogate.gp import Inputs, Process
from twin.surrogate.hull import Hull

_ARRAYS = ("antisolvent", "precursor", "time", "index", "pressure_drop")
_REMEDY = "run twin fit again"


def save_surrogate(surrogate: Surrogate, path: Path) -> None:
    """Writes the training data, the hyper-parameters, the left-out predictions, the hull and where they come from."""
    dataset = asdict(surrogate.dataset)
    data: dict[str, Any] = {
        "schema": 1,
        "case": dataset.pop("case"),
        "level": dataset.pop("level"),
        "campaign": dataset.pop("campaign"),
        "fingerprint": surrogate.fingerprint,
        "hull": [list(vertex) for vertex in surrogate.hull.vertices],
        "dataset": {key: value.tolist() if key in _ARRAYS else value for key, value in dataset.items()},
        "targets": {target: _target(surrogate, target) for target in TARGETS},
        "leave_one_out": surrogate.loo_table(),
        "provenance": {
            "twin": twin.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("numpy", "scipy", "scikit-learn")},
        },
    }
    write_json(path, sealed(data))


def load_surrogate(path: Path, campaign: Path | None = None) -> Surrogate:
    """The surrogate of a `surrogate.json`; nothing is optimised again, and predictions agree to 1e-10.

    With `campaign`, that table must still be the one the surrogate was fitted to. Raises `Missing` without the file,
    `BadInput` where it is damaged or out of date.
    """
    data = read_sealed(path, "a surrogate", "fit the surrogate first: twin fit CASE", _REMEDY)
    if campaign is not None and campaign.exists() and digest(campaign.read_bytes()) != data["campaign"]:
        raise BadInput(f"{path} was fitted to an older {campaign.name}", _REMEDY)
    try:
        return _restored(data)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is damaged ({type(error).__name__}: {error})", _REMEDY) from error


def _target(surrogate: Surrogate, target: Target) -> dict[str, Any]:
    loo = surrogate.loo[target]
    return {
        "theta": list(surrogate.processes[target].theta),
        "brackets": [list(process.theta) for process in surrogate.brackets.get(target, ())],
        "left_out": {"residuals": loo.residuals.tolist(), "deviations": loo.deviations.tolist()},
        "inflation": loo.inflation,
    }


def _restored(data: dict[str, Any]) -> Surrogate:
    fields: dict[str, Any] = {
        key: np.array(value) if key in _ARRAYS else value for key, value in data["dataset"].items()
    } | {key: data[key] for key in ("case", "level", "campaign")}
    dataset = Dataset(**fields | {"names": tuple(fields["names"])})
    x = Inputs.of(dataset.antisolvent, dataset.precursor).scale(dataset.antisolvent, dataset.precursor)
    processes, brackets, loo = {}, {}, {}
    for target, (value, down, up) in learned(dataset).items():
        saved = data["targets"][target]
        processes[target] = Process(x, value, tuple(saved["theta"]))
        if down is not None and up is not None:
            lower, upper = saved["brackets"]
            brackets[target] = (Process(x, down, tuple(lower)), Process(x, up, tuple(upper)))
        left_out = saved["left_out"]
        loo[target] = compared(target, value, value + left_out["residuals"], np.array(left_out["deviations"]))
    return Surrogate(dataset, Hull(tuple((a, p) for a, p in data["hull"])), processes, brackets, loo)
