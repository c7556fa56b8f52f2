"""A campaign of the paper's ten points with plausible numbers: the lab half is tested without the field half."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from twin.case import Case, load
from twin.operating import OperatingPoint
from twin.process import ProcessModel, calibrate
from twin.surrogate import Surrogate, fit, read_campaign

CASE = Path(__file__).parents[2] / "cases" / "liang2023"
FLOWS = [(1000.0 * n, 60.0) for n in range(1, 6)] + [(5000.0, 10.0 * n) for n in range(1, 6)]


def mixing_time(antisolvent: float, precursor: float) -> float:
    """A smooth law over flows in mL/h: 0.42 s at 1000/60, 0.085 s at 5000/60, with some curvature."""
    a, p = math.log(antisolvent / 5000.0), math.log(precursor / 60.0)
    return 0.085 * math.exp(-0.95 * a + 0.03 * a * a + 0.15 * p + 0.02 * p * p)


def record(antisolvent: float, precursor: float) -> dict[str, Any]:
    """One record as docs/formats.md describes it."""
    point = OperatingPoint.from_ml_h(antisolvent, precursor)
    time = mixing_time(antisolvent, precursor)
    factor = 1.6 + 0.4 * antisolvent / 5000.0
    residence = 10 * 1.5875e-3 * math.pi / 4 * 1.5875e-3**2 / point.total_m3_s
    index = 1.0 - 0.75 * math.exp(-residence / time)
    total = point.total_m3_s * 3.6e9
    return {
        "schema": 2, "name": point.name, "status": "steady", "reason": "",
        "antisolvent_m3_s": point.antisolvent_m3_s, "precursor_m3_s": point.precursor_m3_s,
        "temperature_k": point.temperature_k, "groups": {},
        "flow": {"pressure_drop_pa": {"antisolvent": 40.0 * total / 5060 + 60.0 * (total / 5060) ** 2,
                                      "precursor": 39.0 * total / 5060 + 60.0 * (total / 5060) ** 2},
                 "pressure_error": 0.03},
        "mixing": {
            "walkers": 5000, "planes": [], "species": {}, "mesh_error": 0.1, "grid": {"planes": []},
            "time": {"value": time, "low": time / factor, "high": time * 1.3, "unit": "s", "label": "bounded"},
            "index_outlet": {"value": index, "low": index * 0.9, "high": 1 - 0.7 * (1 - index), "unit": "",
                             "label": "bounded"},
        },
        "seconds": {}, "provenance": {},
    }


def campaign(flows: list[tuple[float, float]] = FLOWS) -> dict[str, Any]:
    """A campaign table over some flows in mL/h."""
    return {"schema": 2, "case": "liang2023", "level": "coarse", "points": [record(*pair) for pair in flows],
            "provenance": {"twin": "0", "git": "0"}}


def write(folder: Path, table: dict[str, Any]) -> Path:
    """The table as a campaign.json."""
    path = folder / "campaign.json"
    path.write_text(json.dumps(table))
    return path


@pytest.fixture(scope="session")
def campaigns() -> Any:
    """Makes campaign tables: `campaigns(flows)`; `campaigns.write(folder, table)` puts one into a file."""

    class Campaigns:
        flows = tuple(FLOWS)
        write = staticmethod(write)
        mixing_time = staticmethod(mixing_time)

        def __call__(self, flows: list[tuple[float, float]] = FLOWS) -> dict[str, Any]:
            return campaign(flows)

    return Campaigns()


@pytest.fixture(scope="session")
def case() -> Case:
    return load(CASE)


@pytest.fixture(scope="session")
def campaign_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("campaign"), campaign())


@pytest.fixture(scope="session")
def surrogate(campaign_file: Path) -> Surrogate:
    return fit(read_campaign(campaign_file))


@pytest.fixture(scope="session")
def model(case: Case, surrogate: Surrogate) -> ProcessModel:
    """A small ensemble: fast, and enough for every rule."""
    return ProcessModel(surrogate, calibrate(case, surrogate, members=16))


@pytest.fixture(scope="session")
def quick(case: Case, surrogate: Surrogate) -> ProcessModel:
    """An ensemble of four, where only the machinery counts."""
    return ProcessModel(surrogate, calibrate(case, surrogate, members=4))
