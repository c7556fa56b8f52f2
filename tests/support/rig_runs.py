"""What tests of whole runs share: something that happens on the way, and what must be true in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twin.case import Case
from twin.rig import Latch, Progress, read, rig_folder, verify
from twin.rig.planning.limits import ROLES
from twin.rig.simulated.faults import Fault
from twin.rig.simulated.memory import MemoryLine

#: One digit of the counters: a volume below 5 mL is counted in µL.
RESOLUTION_ML = {"antisolvent": 0.01, "precursor": 0.001}
OF_THE_LINK = (Fault.SILENCE, Fault.MUTE, Fault.GARBAGE, Fault.PARTIAL, Fault.WRONG_ADDRESS, Fault.BAD_CRC)


def only_journal(case: Case) -> Path:
    (path,) = rig_folder(case).glob("journal-*.jsonl")
    return path


def assert_stopped_and_written(
    case: Case, line: MemoryLine, status: str = "failed", latched: bool = False
) -> list[dict[str, Any]]:
    """Both pumps truly stand, the journal is whole and says that they were verified, and the rig is latched or not."""
    assert [line.state(address)[0] for address in (0, 1)] == ["S", "S"]
    assert (Latch(rig_folder(case)).reason() is not None) is latched
    path = only_journal(case)
    checked = verify(path)
    assert checked.intact, checked
    assert checked.ended
    entries = read(path)
    assert {entry["role"] for entry in entries if entry["event"] == "stopped"} == set(ROLES)
    assert entries[-1]["status"] == status
    return entries


def interrupted() -> None:
    raise KeyboardInterrupt


class Spoiler:
    """Does something once, at the n-th report of a kind."""

    def __init__(self, kind: str, count: int, action: Any) -> None:
        self.kind, self.left, self.action = kind, count, action
        self.seen: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        if progress.kind == self.kind:
            self.left -= 1
            if self.left == 0:
                self.action()
