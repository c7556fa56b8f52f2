"""Where the results of one level of a case lie. `docs/formats.md` says what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin.case.flow import FlowCase
from twin.case.meshed import mesh_hash
from twin.case.schema import Case
from twin.files import read_json

#: The record of a point whose flow alone was solved.
START = "start.json"


@dataclass(frozen=True)
class Results:
    """The result files of one level of a case."""

    folder: Path

    @classmethod
    def of(cls, case: Case | FlowCase, level: str, output: Path | None = None) -> Results:
        """`CASE/results/LEVEL`, or the same below the folder that the user gave."""
        case.level(level)
        return cls((output / case.name if output else case.folder / "results") / level)

    @property
    def mesh(self) -> Path:
        """The folder of the mesh."""
        return self.folder / "mesh"

    @property
    def mesh_hash(self) -> str:
        """The hash of the mesh that is there now; empty without one."""
        return mesh_hash(self.mesh)

    def point(self, name: str) -> Path:
        """The folder of an operating point."""
        return self.folder / "points" / name

    def flow(self, name: str) -> Path | None:
        """The fields of a point, where its flow is solved on the mesh that is there now: with its mixing, or without as
        what a finer level starts from.
        """
        return self.point(name) / "fields.vtu" if self.flow_record(name) else None

    def flow_record(self, name: str) -> dict[str, Any] | None:
        """The record of such a point."""
        folder, here = self.point(name), self.mesh_hash
        if not (here and (folder / "fields.vtu").exists()):
            return None
        for file in (folder / "record.json", folder / START):
            if not file.exists():
                continue
            record = read_json(file)
            if record["status"] != "failed" and record["provenance"]["mesh_hash"] == here:
                return record
        return None

    def refinement(self, name: str) -> Path:
        """The estimate of the discretization error of a flow, `flow` or `flow-xFACTOR`, from all levels of its case."""
        return self.folder.parent / f"refinement{name.removeprefix('flow')}.json"

    def beside(self, level: str) -> Results:
        """The results of another level of the same case."""
        return Results(self.folder.parent / level)

    def stability(self, name: str) -> Path:
        """The verdicts on the steadiness of an operating point."""
        return self.folder / "stability" / f"{name}.json"

    def followed(self, name: str, reynolds: float, left: int) -> Path:
        """The fields of the steady flow that is reached where `left` unstable ones are left for the next."""
        return self.folder / "stability" / f"{name}-re{reynolds:.6g}-left{left}.vtu"

    def all_followed(self, name: str) -> list[Path]:
        """All such files of an operating point."""
        return sorted((self.folder / "stability").glob(f"{name}-re*-left*.vtu"))

    def tube(self, name: str) -> Path:
        """The mixing down the tube after the junction, of an operating point."""
        return self.folder / "tube" / f"{name}.json"

    def pulse(self, name: str, pulse: str) -> Path:
        """The mixing of an operating point with a pulsating pump; its marches lie beside it."""
        return self.folder / "pulse" / name / f"{pulse}.json"

    @property
    def campaign(self) -> Path:
        """The campaign table."""
        return self.folder / "campaign.json"

    @property
    def surrogate(self) -> Path:
        """The surrogate artifact."""
        return self.folder / "surrogate.json"

    @property
    def process(self) -> Path:
        """The calibrated parameters of the crystal model."""
        return self.folder / "process.json"

    @property
    def setpoint(self) -> Path:
        """The proposed setpoint."""
        return self.folder / "setpoint.json"

    @property
    def rig(self) -> Path:
        """The folder of the rig, one for all levels: journals, volumes, latch, and the lock of a run."""
        return self.folder.parent / "rig"

    @property
    def pictures(self) -> Path:
        """The folder of the pictures."""
        return self.folder / "pictures"

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"
