"""The verbs about the twin itself: doctor, verify, bench."""

from __future__ import annotations

import argparse
from typing import Any

from twin.cli.common import add_verb, need_field_half
from twin.cli.console import Reporter
from twin.doctor import examine
from twin.verification import BENCHES, CHECKS, run_bench, run_checks


def add_verbs(verbs: Any) -> None:
    """Adds the verbs of this file."""
    add_verb(
        verbs, "doctor", doctor, "examine the installation; what is missing, and its remedy", "twin doctor", case=False
    )
    parser = add_verb(
        verbs, "verify", verify, "verification problems against their references", "twin verify flow", case=False
    )
    parser.add_argument("name", nargs="?", choices=[*CHECKS, "all"], default="all", help="which (default: all)")
    parser.add_argument("--all", action="store_true", help="with those that take minutes", dest="heavy")
    parser = add_verb(verbs, "bench", bench, "speed, as ratios of one run", "twin bench flow", case=False)
    parser.add_argument("name", nargs="?", choices=[*BENCHES, "all"], default="all", help="which (default: all)")
    parser.add_argument(
        "--all",
        action="store_true",
        dest="everything",
        help="both Reynolds numbers; flow: more meshes and a finer reference (half an hour on two cores); "
        "mixing: more of OpenFOAM's meshes and schemes; rig: more stops",
    )


def doctor(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin doctor`."""
    with reporter.progress("examining"):
        findings = examine()
    for one in findings:
        reporter.say(f"{'ok ' if one.ok else 'BAD'}  {one.name}: {one.value}")
        if not one.ok:
            reporter.say(f"       remedy: {one.remedy}")
    return {"findings": [vars(one) for one in findings]}, 0 if all(one.ok for one in findings) else 1


def verify(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin verify`."""
    rows: list[dict[str, Any]] = []
    for name in list(CHECKS) if arguments.name == "all" else [arguments.name]:
        if name != "crystal":
            need_field_half(f"verify {name}")
        with reporter.progress(f"verify {name}"):
            found = run_checks(name, arguments.heavy)
        rows += [{"of": name, **vars(one), "holds": one.holds} for one in found]
        reporter.table(
            name,
            ["check", "computed", "reference", "tolerance", "holds", "source"],
            [
                [
                    one.name,
                    f"{one.computed:.6g}",
                    f"{one.reference:.6g}",
                    f"{one.tolerance:.1e}",
                    "yes" if one.holds else "NO",
                    one.source,
                ]
                for one in found
            ],
        )
    return {"checks": rows}, 0 if all(row["holds"] for row in rows) else 1


def bench(arguments: argparse.Namespace, reporter: Reporter) -> Any:
    """`twin bench`."""
    answer = {}
    for name in list(BENCHES) if arguments.name == "all" else [arguments.name]:
        if name != "rig":
            need_field_half(f"bench {name}")
        with reporter.progress(f"bench {name}") as bar:
            answer[name] = run_bench(name, arguments.everything, bar.note)
        present = [key for key in _BENCH_COLUMNS if any(row.get(key) not in (None, "") for row in answer[name])]
        cells = [["" if row.get(key) is None else row[key] for key in ("what", *present)] for row in answer[name]]
        reporter.table(name, ["what", *(_BENCH_COLUMNS[key] for key in present)], cells)
    return answer


#: The columns of a benchmark beside `what`, with their titles; those that no row fills are left out.
_BENCH_COLUMNS = {
    "ratio": "ratio",
    "seconds": "s",
    "seconds_solve": "s, no meshing",
    "cpu_seconds": "s, CPU a rank",
    "drop": "Δp/ρU²",
    "pressure_drop_error": "Δp error",
    "outlet_velocity_error": "U error",
    "index": "M",
    "index_error": "± (s.e.)",
    "index_first": "M at 1 bore",
    "numerical": "D_num/D_m",
    "ns_step": "ns a step",
    "note": "note",
}
