"""A campaign of the paper's points with plausible numbers and a tiny mesh, so that the views need no solver."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvista as pv

from twin.campaign.record import SCHEMA, point_hash
from twin.case import Case, Results, load
from twin.junction import groups
from twin.operating import OperatingPoint
from twin.rig.record.journal import Journal

CASE = Path(__file__).parents[2] / "cases" / "liang2023"
MESH = "0123456789ab"
PROVENANCE = {"twin": "0.1.0", "git": "abc", "created": "2026-01-02T03:04:05+00:00", "versions": {"numpy": "2"}}
#: The edges between whose ends the six middle nodes of a tetrahedron lie, in the order of VTK.
EDGES = ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))


def tetra10() -> pv.UnstructuredGrid:
    """A box that covers the junction's half, y from 0 to 0.5, of curved-element type: x, y, z in bores."""
    x, y, z = np.linspace(-2, 2, 5), np.linspace(0, 0.5, 3), np.linspace(-3, 10, 14)
    box = pv.RectilinearGrid(x, y, z).to_tetrahedra(5, pass_cell_ids=False)
    corners = box.cells.reshape(-1, 5)[:, 1:]
    points, known, cells = [tuple(point) for point in box.points], {}, []
    for tetra in corners.tolist():
        middles = []
        for a, b in EDGES:
            key = (min(tetra[a], tetra[b]), max(tetra[a], tetra[b]))
            if key not in known:
                known[key] = len(points)
                points.append(tuple((np.array(points[key[0]]) + np.array(points[key[1]])) / 2))
            middles.append(known[key])
        cells.append([10, *tetra, *middles])
    kinds = np.full(len(cells), pv.CellType.QUADRATIC_TETRA, np.uint8)
    return pv.UnstructuredGrid(np.array(cells).ravel(), kinds, np.array(points))


def record(case: Case, point: OperatingPoint) -> dict[str, Any]:
    """A solved point's record as docs/formats.md describes it, the pressure drop from each arm."""
    speed = point.total_m3_s / 1.4e-6
    time = 0.085 * speed**-0.95
    grid_planes = [
        {
            "bores": float(bores), "segregation": math.exp(-0.3 * bores), "index": 1 - math.exp(-0.15 * bores),
            "segregation_physical": math.exp(-0.01 * bores), "flux_error": 1e-6, "numerical_diffusion": 20.0 + bores,
            "quotable": False,
        }
        for bores in range(1, 11)
    ]
    solvent, polymer = species(point.total_m3_s * 3.4e11, 0.1), species(point.total_m3_s * 2.8e13, 0.0)
    return {
        "schema": SCHEMA, "name": point.name, "status": "steady", "reason": "",
        "antisolvent_m3_s": point.antisolvent_m3_s, "precursor_m3_s": point.precursor_m3_s,
        "temperature_k": point.temperature_k, "groups": groups(case, point).as_dict(),
        "flow": {
            "pressure_drop_pa": {"antisolvent": 60 * speed**2, "precursor": 55 * speed**2},
            "pressure_error": 0.1, "iterations": 5, "residual": 1e-9, "divergence": 1e-14,
        },
        "mixing": {
            "walkers": 5000, "species": {"solvent": solvent, "polymer": polymer}, "planes": solvent["planes"],
            "time": {"value": time, "low": time / 2, "high": 1.5 * time, "unit": "s", "label": "bounded"},
            "index_outlet": {"value": 0.5, "low": 0.1, "high": 0.8, "unit": "", "label": "bounded"},
            "fit_error": 0.02, "mesh_error": 0.1,
            "residence": {
                role: {"mean": mean / speed, "mean_error": 0.01 * mean, "deviation": 0.5 * mean, "skewness": 3.0,
                       "quantiles": [share * mean / speed for share in (0.6, 0.7, 0.8, 1.1, 2.0)]}
                for role, mean in (("precursor", 0.7), ("antisolvent", 0.13))
            },
            "exposure": {
                "elements": 4,
                "times": [
                    {"antisolvent": 0.1, "reached": 1.0, "quantiles": [0.001, 0.003, 0.009, 0.024, 0.089]},
                    {"antisolvent": 0.5, "reached": 0.78, "quantiles": [0.009, 0.02, 0.042, 0.116, None]},
                    {"antisolvent": 0.9, "reached": 0.0, "quantiles": [None] * 5},
                ],
            },
            "grid": {"planes": grid_planes, "lowest": -0.5, "highest": 1.5},
        },
        "seconds": {"all": 12.0},
        "provenance": PROVENANCE
        | {"ranks": 2, "mesh_hash": MESH, "point_hash": point_hash(case, "coarse", point, MESH)},
    }


def species(peclet: float, rate: float) -> dict[str, Any]:
    """What walkers say of one species, whose index rises by `rate` over the outlet; 0 is too slow to measure."""
    found: dict[str, Any] = {"peclet": peclet, "planes": [], "striations": []}
    for bores in range(1, 11):
        segregation = math.exp(-rate * bores)
        found["planes"].append({
            "bores": float(bores), "segregation": segregation, "error": 0.005, "index": 1 - math.sqrt(segregation),
            "index_error": 0.003,
        })
    if rate:
        found["striations"] = [{"bores": 1.5, "thickness": 0.021, "error": 0.002}]
        found |= {"length_bores": 2 / rate, "time_s": 0.1, "log_error": 0.02}
    return found


def histories(path: Path) -> None:
    """Four fluid elements: two that mix, one that stays among its own, one that is mixed from the start."""
    time = np.tile(np.linspace(0.02, 0.2, 10), (4, 1))
    time[1, 7:] = np.nan
    share = np.array([np.linspace(1.0, 0.1, 10), np.linspace(1.0, 0.4, 10), np.ones(10), np.full(10, 0.5)])
    share[np.isnan(time)] = np.nan
    np.savez_compressed(path, time_s=time, composition=share, place=np.zeros((4, 10, 3)))


def put(path: Path, data: Any) -> None:
    """Writes JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def solve(case: Case, results: Results, grid: pv.UnstructuredGrid | None, **changes: Any) -> None:
    """Leaves mesh and records of every point, and fields where a grid is given; `changes` replace keys of quality."""
    quality = {
        "schema": 1, "hash": MESH, "cells": 20644, "nodes": 34717, "min_scaled_jacobian": 0.36,
        "mean_scaled_jacobian": 0.86, "volume": 6.04, "areas": {}, "section_errors": {"outlet": -2e-5},
    }
    put(results.mesh / "quality.json", quality | changes)
    for point in case.points:
        put(results.point(point.name) / "record.json", record(case, point))
        histories(results.point(point.name) / "histories.npz")
        if grid is not None:
            grid.save(results.point(point.name) / "fields.vtu")
    if grid is not None:
        bare = grid.copy()
        bare.clear_data()
        bare.save(results.mesh / "junction.vtu")
    table = {"schema": 2, "case": case.name, "level": "coarse", "points": [record(case, p) for p in case.points]}
    put(results.campaign, table | {"provenance": PROVENANCE})


def journal(results: Results, *, end: bool = True, stopped: bool = True) -> Path:
    """The journal of a short run of 5000 and 60 mL/h."""
    supply = [
        {"role": "antisolvent", "syringe": "steel-50ml", "filled_ml": 50.0, "rate_ml_h": 5000.0, "lasts_s": 36.0,
         "needed_ml": 1.4},
        {"role": "precursor", "syringe": "glass-50ml", "filled_ml": 50.0, "rate_ml_h": 60.0, "lasts_s": 3000.0,
         "needed_ml": 0.017},
    ]
    plan = {
        "case": "liang2023", "point": "a5000-p0060", "checksum": "feedbeef0000", "hold_s": 1.0, "notes": [],
        "pumps": {one["role"]: {"port": "simulated"} for one in supply},
        "steps": [["hold", 0.0, 1.0, {"antisolvent": 5000.0, "precursor": 60.0}]], "supply": supply,
    }
    with Journal.create(results.rig) as log:
        log.write("begin", t_s=0.0, speed=10.0, plan=plan)
        log.write("wire", t_s=0.0, port="simulated", sent="00VER", received="")
        log.write("hold", t_s=0.0, rates_ml_h={"antisolvent": 5000.0, "precursor": 60.0})
        log.write("look", t_s=0.9, counted_ml={"antisolvent": 1.25, "precursor": 0.015})
        if end:
            log.write("stop", t_s=1.0, reason="")
            for role in ("precursor", "antisolvent"):
                log.write("stopped" if stopped else "NOT STOPPED", t_s=1.0, role=role, problem="")
                log.write("volume", t_s=1.0, role=role, commanded_ml=1.389, counted_ml=1.389, uncertainty_ml=0.001,
                          difference_percent=0.0, uncertainty_percent=0.1, agrees=True)
            log.write("end", t_s=1.1, status="completed", ok=True, signal="")
        return log.path


@pytest.fixture(scope="session")
def case() -> Case:
    """The paper's case."""
    return load(CASE)


@pytest.fixture(scope="session")
def grid() -> pv.UnstructuredGrid:
    """The tiny mesh with fields: a uniform flow down the outlet, the precursor at x > 0."""
    made = tetra10()
    x, _, z = made.points.T
    made["velocity"] = np.tile((0.0, 0.0, 1.0), (made.n_points, 1))
    made["pressure"] = (10 - z) / 10
    made["concentration"] = np.where(x > 0, 1.0, 0.0)
    return made


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """An empty folder of results."""
    return Results(tmp_path / "results" / "coarse")


@pytest.fixture(scope="session")
def make() -> Any:
    """What leaves files of stages: `make.solve`, `make.journal`, `make.put`, `make.record`."""

    class Make:
        mesh_hash = MESH
        histories = staticmethod(histories)
        solve = staticmethod(solve)
        journal = staticmethod(journal)
        put = staticmethod(put)
        record = staticmethod(record)

    return Make()
