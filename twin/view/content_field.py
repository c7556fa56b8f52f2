"""What the report says of the mesh, the flow and the mixing: tables of text, and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twin.case import Case
from twin.estimate import Estimate
from twin.junction import find_connector
from twin.units import to_ml_per_h, to_mm
from twin.view.plots import QUOTABLE, pressure_drops
from twin.view.stages import PointState
from twin.view.words import STATES, band_text, number, value_text

Table = dict[str, Any]

_ARMS = ("antisolvent", "precursor")


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table of the report. A cell is text, or the dict of `estimate_cell`."""
    return {"caption": caption, "columns": list(columns), "rows": [list(row) for row in rows]}


def estimate_cell(one: Estimate, name: str) -> dict[str, str]:
    """An estimate as a cell: value, band and label."""
    return {"value": value_text(one, name), "band": band_text(one, name), "label": one.label}


def mesh_section(case: Case, quality: dict[str, Any] | None) -> dict[str, Any]:
    """The junction and the mesh."""
    geometry = []
    if case.junction.connector is not None:
        connector = find_connector(case.junction.connector, case.folder)
        geometry = [
            ["connector", f"{connector.name} ({connector.source})"],
            ["bore", f"{to_mm(connector.bore):g} mm"],
            ["angle between the arms", f"{connector.angle * 57.29577951308232:.4g}°"],
            ["arms, outlet", f"{connector.arm_bores:g} and {connector.outlet_bores} bores"],
            ["meshed", "one half, mirrored in the plane of the axes" if connector.symmetric_half else "the whole body"],
        ]
    elif case.junction.bore is not None:
        geometry = [["mesh of one's own, in units of", f"{to_mm(case.junction.bore):g} mm"]]
    if quality is None:
        return {"geometry": table("The junction", ["", ""], geometry), "quality": None}
    errors = [abs(error) for error in quality.get("section_errors", {}).values()]
    rows = [
        ["second-order tetrahedra", number(quality["cells"])],
        ["nodes", number(quality["nodes"])],
        ["scaled Jacobian, least (0 is folded, 1 is ideal)", number(quality["min_scaled_jacobian"])],
        ["scaled Jacobian, mean", number(quality["mean_scaled_jacobian"])],
        ["volume", f"{number(quality['volume'])} bore³"],
    ]
    if errors:
        rows.append(["largest error of the area of a round section", number(max(errors))])
    return {
        "geometry": table("The junction", ["", ""], geometry),
        "quality": table(f"Quality of the mesh {quality.get('hash', '')}", ["", ""], rows),
    }


def flow_section(states: Sequence[PointState]) -> dict[str, Any]:
    """The operating points with what the flow solver says of each."""
    rows: list[list[Any]] = []
    for state in states:
        point, record = state.point, state.record
        flows = [f"{to_ml_per_h(flow):g}" for flow in (point.antisolvent_m3_s, point.precursor_m3_s)]
        groups = record.get("groups", {})
        head: list[Any] = [state.name, *flows, number(groups["reynolds"]) if "reynolds" in groups else "", state.state]
        if not state.solved:
            rows.append([*head, *[""] * 6])
            continue
        flow, drops = record["flow"], pressure_drops(record)
        closure = max(abs(plane["flux_error"]) for plane in record["mixing"]["planes"])
        rows.append([
            *head, *(estimate_cell(drops[role], "pressure_drop_pa") if role in drops else "" for role in _ARMS),
            number(flow["residual"]), number(flow["divergence"]), number(closure),
            number(record.get("seconds", {}).get("all", float("nan"))),
        ])
    columns = [
        "point", "antisolvent, mL/h", "precursor, mL/h", "Re", "state", "Δp from the antisolvent arm",
        "Δp from the precursor arm", "residual of the flow", "largest divergence", "error of the species flux",
        "time, s",
    ]
    present = {state.state for state in states}
    return {
        "table": table("Flow of every operating point", columns, rows),
        "states": [[name, text] for name, text in STATES.items() if name in present],
        "unsolved": [[state.name, state.state, _reason(state)] for state in states if not state.solved],
    }


def _reason(state: PointState) -> str:
    return str(state.record.get("reason") or STATES.get(state.state, ""))


def mixing_section(states: Sequence[PointState]) -> dict[str, Any] | None:
    """The bounds of mixing, and what they rest on; None where no point is solved."""
    solved = [state for state in states if state.solved]
    if not solved:
        return None
    rows = []
    for state in solved:
        mixing = state.record["mixing"]
        ratios = [plane["numerical_diffusion"] for plane in mixing["planes"]]
        tau, index = Estimate.from_dict(mixing["time"]), Estimate.from_dict(mixing["index_outlet"])
        reach = [number(mixing[end]) if end in mixing else "" for end in ("lowest", "highest")]
        rows.append([
            state.name, {"value": band_text(tau, "mixing_time_s"), "band": "", "label": tau.label},
            {"value": band_text(index, "mixing_index"), "band": "", "label": index.label},
            f"{number(min(ratios))} … {number(max(ratios))}", " … ".join(reach) if all(reach) else "",
        ])
    columns = ["point", "mixing time τ between", "M at the end of the mesh between", "D_num/D_m down the outlet",
               "computed share, exact 0 … 1"]
    return {"table": table("Mixing: both bounds", columns, rows), **mixing_facts(solved)}


def mixing_facts(solved: Sequence[PointState]) -> dict[str, Any]:
    """How far the mixing index can be quoted, in numbers."""
    planes = [plane for state in solved for plane in state.record["mixing"]["planes"]]
    ratios = [plane["numerical_diffusion"] for plane in planes]
    quotable = sum(ratio <= QUOTABLE for ratio in ratios)
    ends = [state.record["mixing"] for state in solved if "lowest" in state.record["mixing"]]
    return {
        "planes": len(planes),
        "quotable": quotable,
        "limit": f"{QUOTABLE:g}", "few": f"{quotable} of {len(planes)}" if quotable else f"none of {len(planes)}",
        "ratios": f"{number(min(ratios))} to {number(max(ratios))}",
        "lowest": number(min(mixing["lowest"] for mixing in ends)) if ends else "",
        "highest": number(max(mixing["highest"] for mixing in ends)) if ends else "",
    }
