"""What every program that runs under MPI shares: its events, and the end that an error makes."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpi4py import MPI

from twin.errors import TwinError
from twin.fem.parallel import collect_in_step
from twin.files import read_json


class Teller:
    """Prints events of a point on rank 0, one JSON object a line: `twin.campaign.run` reads them."""

    def __init__(self, comm: MPI.Comm, point: str = "") -> None:
        self._comm, self.point = comm, point

    def __call__(self, kind: str, any_rank: bool = False, **more: Any) -> None:
        """One event; with `any_rank`, of the rank that has it."""
        if any_rank or self._comm.rank == 0:
            _write({"event": kind, "point": self.point, **more})


def serve(work: Callable[[dict[str, Any], MPI.Comm], None]) -> None:
    """Does `work` with the job file of the command line; any error that is not a point's own ends all ranks."""
    comm = MPI.COMM_WORLD
    collect_in_step()
    try:
        work(read_json(Path(sys.argv[1])), comm)
    except TwinError as error:
        # Any rank may be the one that met it (the disk is rank 0's); repeated lines are harmless.
        _write({"event": "error", "message": error.message, "remedy": error.remedy, "exit_code": error.exit_code})
        comm.Abort(1)
    except Exception:  # noqa: BLE001 (one rank's error must not leave the others waiting)
        traceback.print_exc()
        sys.stderr.flush()
        comm.Abort(1)


def _write(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
