"""The program that every MPI rank runs for `twin stability`: for each flow ratio, the verdict at each Reynolds number.

mpirun -n 2 python -m twin.campaign.stability_worker JOB.json
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpi4py import MPI

from twin.campaign.flow_worker import FlowWorker
from twin.campaign.order import NEAR
from twin.campaign.serving import Teller, serve
from twin.campaign.stability import SCHEMA
from twin.campaign.worker import Worker
from twin.case import FlowCase, Results
from twin.case.load import load_any
from twin.errors import NotConverged
from twin.files import write_json
from twin.flow import SteadySolver, shared_flows
from twin.flow.stability import Verdict, follow, verdict
from twin.junction import groups
from twin.operating import OperatingPoint
from twin.provenance import provenance

#: Takes a solver to the steady flow at a Reynolds number; None stands for that of the case.
Steady = Callable[[float | None], tuple[SteadySolver, float]]
#: Writes a solver's steady flow, at a Reynolds number, into a file of fields.
Write = Callable[[Path, SteadySolver, float], None]


def run(job: dict[str, Any], comm: MPI.Comm) -> None:
    """The verdicts of a job on every rank of `comm`, written after each, so that an interruption loses one at most."""
    case = load_any(job["case"])
    if isinstance(case, FlowCase):
        flow_worker = FlowWorker(case, job, comm)
        for one in job["asked"]:
            flow_worker.tell.point = one["name"]
            _series(one, flow_worker.steady_at, flow_worker.write_state, flow_worker.tell, job, comm)
        return
    worker = Worker(case, job["level"], Results(Path(job["results"])), job["mesh_hash"], comm)
    left = 0
    for place, one in enumerate(job["asked"]):
        start = OperatingPoint(*one["start"])
        share = groups(case, start).precursor_fraction
        flows = shared_flows(worker.domain, {"antisolvent": 1 - share, "precursor": share})
        worker.tell.point = one["name"]
        if not (worker.start_near(start, NEAR) or worker.start_from_coarser(start)) and (left or not place):
            worker.flow.forget()  # else it goes on from the flow judged last, unless that is one gone over to
            worker.start_near(start)

        def at(reynolds: float | None, flows: dict[str, float] = flows) -> tuple[SteadySolver, float]:
            assert reynolds is not None  # noqa: S101
            try:
                worker.flow.solve(reynolds, flows)
            except NotConverged:
                worker.flow.forget()
                raise
            return worker.flow, reynolds

        left = _series(one | {"precursor_fraction": share}, at, worker.write_state, worker.tell, job, comm)


def _series(
    one: dict[str, Any], steady: Steady, write: Write, tell: Teller, job: dict[str, Any], comm: MPI.Comm
) -> int:
    """The verdicts along a series; where it is to follow, of each flow that an unstable one goes over to as well.

    Returns how many flows were left for the last one.
    """
    tell("start")
    results, rows = Results(Path(job["results"])), list[dict[str, Any]]()
    if comm.rank == 0:
        for old in results.all_followed(one["name"]):
            old.unlink()

    def note(row: dict[str, Any], event: str, complete: bool) -> None:
        rows.append(row)
        at = f"{row['reynolds']:.6g}" if row["reynolds"] else "of the case"
        tell(event, text=f"at Re {at}: {row['verdict']}")
        if comm.rank == 0:
            record: dict[str, Any] = {
                "schema": SCHEMA,
                "name": one["name"],
                **({"precursor_fraction": one["precursor_fraction"]} if "precursor_fraction" in one else {}),
                "complete": complete,
                "rows": rows,
                "provenance": provenance(
                    ranks=comm.size,
                    mesh_hash=job["mesh_hash"],
                    point_hash=one["hash"],
                    **({"flow_hash": one["flow_hash"]} if "flow_hash" in one else {}),
                ),
            }
            write_json(results.stability(one["name"]), record)

    def judge(row: dict[str, Any], solver: SteadySolver) -> Verdict:
        if row["left"]:  # `twin solve` finds the one that was left
            path = results.followed(one["name"], row["reynolds"], row["left"])
            write(path, solver, row["reynolds"])
            row["fields"] = path.name
        found = verdict(solver)
        row |= found.as_dict()
        return found

    series, left = one["reynolds"] or [None], 0
    for wanted in series:
        row: dict[str, Any] = {"reynolds": wanted, "left": left}
        left, before = 0, left  # after a flow that was not found the next starts from rest
        try:
            solver, row["reynolds"] = steady(wanted)
            left = before
            found = judge(row, solver)
            while one["follow"] and found.word == "unstable":
                note(row, "left", complete=False)
                row = {"reynolds": row["reynolds"], "left": left + 1}
                follow(solver, found.modes[0])
                left += 1
                found = judge(row, solver)
        except NotConverged as failure:
            row |= {"verdict": "unknown", "reason": failure.message}
        note(row, "verdict", complete=wanted == series[-1])
    tell("done", status=rows[-1]["verdict"])
    return left


if __name__ == "__main__":
    serve(run)
