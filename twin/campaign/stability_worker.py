"""The program that every MPI rank runs for `twin stability`: for each flow ratio, the verdict at each Reynolds number.

mpirun -n 2 python -m twin.campaign.stability_worker JOB.json
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpi4py import MPI

from twin.campaign.flow_worker import FlowWorker
from twin.campaign.serving import Teller, serve
from twin.campaign.stability import SCHEMA
from twin.campaign.worker import Worker
from twin.case import FlowCase, Results
from twin.case.load import load_any
from twin.errors import NotConverged
from twin.files import write_json
from twin.flow import SteadySolver, shared_flows
from twin.flow.stability import follow, verdict
from twin.junction import groups
from twin.operating import OperatingPoint
from twin.provenance import provenance

#: Takes a solver to the steady flow at a Reynolds number; None stands for that of the case.
Steady = Callable[[float | None], tuple[SteadySolver, float]]


def run(job: dict[str, Any], comm: MPI.Comm) -> None:
    """The verdicts of a job on every rank of `comm`, written after each, so that an interruption loses one at most."""
    case = load_any(job["case"])
    if isinstance(case, FlowCase):
        flow_worker = FlowWorker(case, job, comm)
        for one in job["asked"]:
            flow_worker.tell.point = one["name"]
            _series(one, flow_worker.steady_at, flow_worker.tell, job, comm)
        return
    worker = Worker(case, job["level"], Results(Path(job["results"])), job["mesh_hash"], comm)
    for one in job["asked"]:
        point = OperatingPoint(*one["point"])
        share = groups(case, point).precursor_fraction
        flows = shared_flows(worker.domain, {"antisolvent": 1 - share, "precursor": share})
        worker.tell.point = one["name"]
        _ = worker.start_near(point) or worker.start_from_coarser(point)

        def at(reynolds: float | None, flows: dict[str, float] = flows) -> tuple[SteadySolver, float]:
            assert reynolds is not None  # noqa: S101
            try:
                worker.flow.solve(reynolds, flows)
            except NotConverged:
                worker.flow.forget()
                raise
            return worker.flow, reynolds

        _series(one | {"precursor_fraction": share}, at, worker.tell, job, comm)


def _series(one: dict[str, Any], steady: Steady, tell: Teller, job: dict[str, Any], comm: MPI.Comm) -> None:
    """The verdicts along a series; where it is to follow, of each flow that an unstable one goes over to as well."""
    tell("start")
    rows: list[dict[str, Any]] = []

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
                "provenance": provenance(ranks=comm.size, mesh_hash=job["mesh_hash"], point_hash=one["hash"]),
            }
            write_json(Results(Path(job["results"])).stability(one["name"]), record)

    series, left = one["reynolds"] or [None], 0
    for wanted in series:
        row: dict[str, Any] = {"reynolds": wanted, "left": left}
        last = wanted == series[-1]
        try:
            solver, row["reynolds"] = steady(wanted)
            found = verdict(solver)
            while one["follow"] and found.word == "unstable":
                note(row | found.as_dict(), "left", complete=False)
                follow(solver, found.modes[0])
                left += 1
                row["left"] = left
                found = verdict(solver)
            row |= found.as_dict()
        except NotConverged as failure:
            row |= {"verdict": "unknown", "reason": failure.message}
        note(row, "verdict", complete=last)
    tell("done", status=rows[-1]["verdict"])


if __name__ == "__main__":
    serve(run)
