"""Marches a flow until one period is like the one before it, and keeps snapshots of the last one on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from twin.errors import BadInput, NotConverged
from twin.fem import storage
from twin.flow import TransientSolver

FASTEST = 2.0  # cells that the fluid may cross in a step
LEAST_STEPS = 32  # of a period

Flows = Callable[[float], Mapping[str, float]]


class PeriodicMarch:
    """One march of a flow with a period. Its files, beside each other: `STEM-restart.npz` with all that the next step
    needs, `STEM-snapshots.npz` with the last whole period. Both are written after every period.

    solver     it starts from the present state of this
    flows      of the inlets in U·bore², as a function of the time in bores/U
    period     in bores/U, of a flow that becomes steady any length of time
    snapshots  so many a period, evenly spread; the first one is that of its end, where the next one begins
    steps      so many a period, a multiple of `snapshots`
    words      what the flow is called: at constant rates, with the pulsation
    """

    def __init__(
        self,
        solver: TransientSolver,
        reynolds: float,
        flows: Flows,
        period: float,
        snapshots: int,
        steps: int,
        stem: Path,
        mesh_file: Path,
        watch: Callable[[str], None],
        words: str,
    ) -> None:
        self._solver, self._reynolds, self._flows = solver, reynolds, flows
        self._period, self._snapshots, self.steps = period, snapshots, steps
        self._mesh_file, self._comm = mesh_file, solver.domain.comm
        self._words, self._watch = words, watch
        self._restart = stem.with_name(f"{stem.name}-restart.npz")
        self._kept = stem.with_name(f"{stem.name}-snapshots.npz")
        self.changes: list[float] = []  # from each period to the next: the largest of all snapshots, relative, r.m.s.
        self.done = 0
        self.last: np.ndarray | None = None  # (snapshots, nodes, 3) in U at the nodes of the mesh file, on rank 0

    def run(self, most: int, tolerance: float) -> None:
        """Marches until `last` is periodic.

        Raises `NotConverged` where `most` periods don't bring the flow to within `tolerance` of a periodic one.
        """
        if not self._resume():
            self._solver.start(self._solver.velocity.copy(), self._solver.pressure.copy())
        while not (len(self.changes) > 1 and self.distance <= tolerance):
            if self.done >= most:
                so_far = f", it is {self.distance:.1e} from a periodic one" if len(self.changes) > 1 else ""
                raise NotConverged(
                    f"after {self.done} periods the flow {self._words} is not periodic{so_far};"
                    f" allowed is {tolerance:.1e}",
                    "allow more periods (they go on from here) or a larger tolerance; a flow that swings by itself"
                    " never gets there: twin stability says whether this one does",
                )
            self._one_more()

    @property
    def distance(self) -> float:
        """How far the flow still is from the periodic one: what is left of the changes if they fall as the last did.

        Changes that fall by less than a hundredth, or rise, count as falling by that.
        """
        before, last = self.changes[-2:]
        return last / max(1 - last / max(before, last), 0.01) if last > 0 else 0.0

    def _one_more(self) -> None:
        found, step = [], self._period / self.steps
        for number in range(1, self._snapshots + 1):
            until = (self.done + number / self._snapshots) * self._period
            self._solver.advance(self._reynolds, self._flows, until, step=step)
            found.append(storage.nodal(self._solver.domain, self._solver.velocity))
        self.done += 1
        change = None
        if self._comm.rank == 0:
            new = np.array([found[-1], *found[:-1]])
            if self.last is not None:
                moved, size = (np.square(field).sum(axis=(1, 2)) for field in (new - self.last, new))
                change = float(np.sqrt(moved / size).max())
            self.last = new
        if (change := self._comm.bcast(change)) is not None:
            self.changes.append(change)
        told = "" if change is None else f": changed by {change:.1e}"
        told += "" if len(self.changes) < 2 else f", {self.distance:.1e} from a periodic one"
        self._watch(f"{self._words}, {self.steps} steps: period {self.done}{told}")
        self._save()

    def _save(self) -> None:
        if self._comm.rank == 0 and self.last is not None:
            storage.write_arrays(
                self._kept, velocity=self.last, changes=np.array(self.changes), done=np.array(self.done)
            )
        self._solver.save(self._restart, self._mesh_file)

    def _resume(self) -> bool:
        """Goes on from the files of an interrupted march, where there are any."""
        there = self._comm.rank == 0 and self._restart.exists() and self._kept.exists()
        if not self._comm.bcast(there):
            return False
        self._solver.restart(self._restart, self._mesh_file)
        self.done = round(self._solver.time / self._period)
        kept = None
        if self._comm.rank == 0:
            kept, changes = self._read()
            self.last, self.changes = kept, changes
        self.changes = self._comm.bcast(self.changes)
        self._watch(f"{self._words}: going on after {self.done} periods")
        return True

    def _read(self) -> tuple[np.ndarray | None, list[float]]:
        """The last whole period and the changes up to it; none where the interruption came between the two files."""
        try:
            with self._kept.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if int(file["done"]) == self.done:
                    return file["velocity"], file["changes"].tolist()
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BadInput(f"can't read {self._kept}: {error}", "remove it, and the march begins again") from error
        return None, []
