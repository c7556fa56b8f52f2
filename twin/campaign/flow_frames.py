"""The fields of an unsteady flow at equal distances in time, with a list of them that ParaView plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

from twin.files import write_text


class Frames:
    """`fields-0001.vtu`, … at `times`, in s, and `fields.pvd`. A frame's number is that of its time: a run that goes on
    writes those after its restart file again, so that none is missing and none is there twice.

    `write` writes the present fields into a file of that name in `folder`; all ranks take part.
    """

    def __init__(self, folder: Path, times: list[float], write: Callable[[str], None], comm: MPI.Comm) -> None:
        self._folder, self.times, self._write, self._comm = folder, times, write, comm

    def clear(self) -> None:
        """Removes the frames of a run before this one."""
        if self._comm.rank == 0:
            for path in (*self._folder.glob("fields-[0-9]*.vtu"), self._folder / "fields.pvd"):
                path.unlink(missing_ok=True)
        self._comm.barrier()

    def take(self, time: float) -> None:
        """The frame of one of the times."""
        count = self.times.index(time) + 1
        self._write(_name(count))
        if self._comm.rank == 0:
            rows = (f'<DataSet timestep="{self.times[i]:.9g}" part="0" file="{_name(i + 1)}"/>' for i in range(count))
            write_text(
                self._folder / "fields.pvd",
                '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1">\n<Collection>\n'
                + "".join(f"{row}\n" for row in rows)
                + "</Collection>\n</VTKFile>\n",
            )


def _name(number: int) -> str:
    return f"fields-{number:04}.vtu"
