"""What the report says of the mesh, the flow and the mixing: tables of text, and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twin.case import Case
from twin.estimate import Estimate
from twin.junction import bore_m, find_connector
from twin.mixing.indices import QUOTABLE
from twin.units import to_ml_per_h, to_mm
from twin.view.plots import pressure_drops
from twin.view.stages import PointState
from twin.view.words import STATES, band_text, number, span, value_text, with_error

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
        closure = max(abs(plane["flux_error"]) for plane in record["mixing"]["grid"]["planes"])
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


def mixing_section(case: Case, states: Sequence[PointState]) -> dict[str, Any] | None:
    """What random walkers say of mixing, and how far the grid can be quoted; None where no point is solved."""
    solved = [state for state in states if state.solved]
    if not solved:
        return None
    rows = []
    for state in solved:
        mixing = state.record["mixing"]
        grid = mixing["grid"]
        ratios = [plane["numerical_diffusion"] for plane in grid["planes"]]
        tau, index = Estimate.from_dict(mixing["time"]), Estimate.from_dict(mixing["index_outlet"])
        rows.append([
            state.name, estimate_cell(tau, "mixing_time_s"), estimate_cell(index, "mixing_index"),
            f"{mixing['planes'][-1]['index_error']:.2g}", number(grid["planes"][-1]["index"]),
            f"{number(min(ratios))} … {number(max(ratios))}", f"{number(grid['lowest'])} … {number(grid['highest'])}",
        ])
    columns = ["point", "mixing time τ", "M at the end of the mesh", "of it, standard error of the walkers",
               "grid: M at most", "grid: D_num/D_m down the outlet", "grid: computed share, exact 0 … 1"]
    return {
        "table": table("Mixing at every point", columns, rows), "species": species_table(case, solved),
        "residence": residence_table(solved), "exposure": exposure_table(solved), **mixing_facts(solved),
    }


def species_table(case: Case, solved: Sequence[PointState]) -> Table:
    """How far every species mixes, and how thin the layers are where it does."""
    bore = bore_m(case)
    rows = []
    for state in solved:
        for name, one in state.record["mixing"]["species"].items():
            last, length, layers = one["planes"][-1], one.get("length_bores"), one["striations"]
            error = 0.0 if length is None else length * one["log_error"]
            thinnest = min(layers, key=lambda layer: layer["thickness"], default=None)
            rows.append([
                state.name, name, number(one["peclet"]), with_error(last["index"], last["index_error"]),
                with_error(length, error) if length is not None else "too long to measure",
                with_error(to_mm(length * bore), to_mm(error * bore)) if length is not None else "",
                with_error(1e6 * bore * thinnest["thickness"], 1e6 * bore * thinnest["error"]) if thinnest else "",
                f"{number(to_mm(bore) * thinnest['bores'])}" if thinnest else "",
            ])
    columns = ["point", "species", "Péclet number", "M at the end of the mesh", "mixing length, bores",
               "mixing length, mm", "thinnest striations, µm", "there, z in mm"]
    return table("Species, ± standard error", columns, rows)


def residence_table(solved: Sequence[PointState]) -> Table:
    """How long either stream stays in the mesh."""
    rows = []
    for state in solved:
        row: list[Any] = [state.name]
        for role in _ARMS:
            one = state.record["mixing"]["residence"][role]
            ends = [number(1e3 * one["quantiles"][end]) for end in (0, -1)]
            median = one["quantiles"][len(one["quantiles"]) // 2]
            row += [with_error(1e3 * one["mean"], 1e3 * one["mean_error"]), number(1e3 * median), " … ".join(ends)]
        rows.append(row)
    columns = ["point", *(f"{role}: {words}" for role in _ARMS for words in ("mean ± error", "median", "5 to 95 %"))]
    return table("Residence time in the mesh, ms", columns, rows)


def exposure_table(solved: Sequence[PointState]) -> Table:
    """How soon the precursor meets antisolvent, and how much of it does within the mesh."""
    shares: list[float] = sorted({
        one["antisolvent"] for state in solved for one in state.record["mixing"]["exposure"]["times"]
    })
    rows = []
    for state in solved:
        exposure = state.record["mixing"]["exposure"]
        times = {one["antisolvent"]: one for one in exposure["times"]}
        rows.append([state.name, *(_exposed(times.get(share)) for share in shares), str(exposure["elements"])])
    columns = ["point", *(f"{100 * share:g} % antisolvent" for share in shares), "elements followed"]
    caption = "Time until fluid of the precursor meets antisolvent: median; 5 to 95 % of it; how much does in the mesh"
    return table(caption, columns, rows)


def _exposed(one: dict[str, Any] | None) -> dict[str, str] | str:
    """A cell with median and range in ms, open where too few elements get there."""
    if one is None:
        return ""
    quantiles, reached = one["quantiles"], f"{number(100 * one['reached'])} % do"
    low, median, high = (quantiles[place] for place in (0, len(quantiles) // 2, -1))
    value = f"{number(1e3 * median)} ms" if median is not None else "half do not"
    if low is None:
        return {"value": value, "band": reached, "label": ""}
    end = f"{number(1e3 * high)} ms" if high is not None else "beyond the mesh"
    return {"value": value, "band": f"{number(1e3 * low)} … {end}; {reached}", "label": ""}


def mixing_facts(solved: Sequence[PointState]) -> dict[str, Any]:
    """What the mixing numbers rest on, in numbers."""
    mixings = [state.record["mixing"] for state in solved]
    planes = [plane for mixing in mixings for plane in mixing["grid"]["planes"]]
    ratios = [plane["numerical_diffusion"] for plane in planes]
    quotable = sum(plane["quotable"] for plane in planes)
    counts = sorted({mixing["walkers"] for mixing in mixings})
    return {
        "planes": len(planes),
        "quotable": quotable,
        "limit": f"{QUOTABLE:g}", "few": f"{quotable} of {len(planes)}" if quotable else f"none of {len(planes)}",
        "ratios": span(ratios),
        "lowest": number(min(mixing["grid"]["lowest"] for mixing in mixings)),
        "highest": number(max(mixing["grid"]["highest"] for mixing in mixings)),
        "walkers": " or ".join(str(count) for count in counts),
        "index": span([mixing["index_outlet"]["value"] for mixing in mixings]),
        "time": f"{span([1e3 * mixing['time']['value'] for mixing in mixings])} ms",
        "index_error": f"{max(mixing['planes'][-1]['index_error'] for mixing in mixings):.1g}",
        "mesh_error": f"{max(mixing['mesh_error'] for mixing in mixings):.2g}",
    }
