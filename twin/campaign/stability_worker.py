"""The program that every MPI rank runs for `twin stability`: one flow ratio, the verdict at each Reynolds number.

mpirun -n 2 python -m twin.campaign.stability_worker JOB.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpi4py import MPI

from twin.campaign.serving import serve
from twin.campaign.worker import Worker
from twin.case import Results, load
from twin.errors import NotConverged
from twin.files import write_json
from twin.flow import shared_flows
from twin.flow.stability import verdict
from twin.junction import groups
from twin.operating import OperatingPoint
from twin.provenance import provenance


def run(job: dict[str, Any], comm: MPI.Comm) -> None:
    """The verdicts of a job on every rank of `comm`, written after each, so that an interruption loses one at most."""
    case = load(job["case"])
    worker = Worker(case, job["level"], Results(Path(job["results"])), job["mesh_hash"], comm)
    point = OperatingPoint(*job["point"])
    worker.tell.point = point.name
    worker.tell("start")
    worker.start_near(point)
    share = groups(case, point).precursor_fraction
    flows = shared_flows(worker.domain, {"antisolvent": 1 - share, "precursor": share})
    rows: list[dict[str, Any]] = []
    for reynolds in job["reynolds"]:
        row: dict[str, Any] = {"reynolds": reynolds}
        try:
            worker.flow.solve(reynolds, flows)
            row |= verdict(worker.flow).as_dict()
        except NotConverged as failure:
            worker.flow.forget()
            row |= {"verdict": "unknown", "reason": failure.message}
        rows.append(row)
        worker.tell("step", text=f"Re {reynolds:.0f}: {row['verdict']}")
        if comm.rank == 0:
            origin = provenance(ranks=comm.size, mesh_hash=job["mesh_hash"])
            record = {"schema": 1, "name": point.name, "precursor_fraction": share, "rows": rows, "provenance": origin}
            write_json(Path(job["record"]), record)
    worker.tell("done", status=rows[-1]["verdict"])


if __name__ == "__main__":
    serve(run)
