"""What the programs share that go on, under MPI, from one solved point: what the point is, and their record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpi4py import MPI

from twin.campaign.serving import Teller
from twin.case import Results, load
from twin.files import write_json
from twin.junction import groups
from twin.operating import OperatingPoint
from twin.provenance import provenance


class PointWorker:
    """A solved point of a job, on every rank of `comm`."""

    def __init__(self, job: dict[str, Any], comm: MPI.Comm) -> None:
        self.comm, self.case, self.results = comm, load(job["case"]), Results(Path(job["results"]))
        self.point = OperatingPoint(*job["point"])
        self.tell = Teller(comm, self.point.name)
        self.groups, self.mesh_hash = groups(self.case, self.point), job["mesh_hash"]
        self.mesh_error = self.case.level(job["level"]).index_error_at(self.groups.reynolds)
        self._record = Path(job["record"])

    def write(self, figures: dict[str, Any]) -> None:
        """Writes what was found into the record of the job; for rank 0 alone."""
        record = {
            "schema": 1, "name": self.point.name, "groups": self.groups.as_dict(), **figures,
            "mesh_error": self.mesh_error, "label": "bounded",
            "provenance": provenance(ranks=self.comm.size, mesh_hash=self.mesh_hash),
        }  # fmt: skip
        write_json(self._record, record)
