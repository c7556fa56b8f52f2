"""A run of the rig as its journal tells it: the plan, the rates, the volumes, how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from twin.case import Results
from twin.rig import JournalCheck, describe, read, verify
from twin.view.figures import chart, styled
from twin.view.palette import ANTISOLVENT, INK, PRECURSOR, QUIET

ROLES = {"antisolvent": ANTISOLVENT, "precursor": PRECURSOR}


@dataclass(frozen=True)
class RigRun:
    """The entries of one journal, read leniently: a run may be under way, or may have been cut off."""

    path: Path
    entries: tuple[dict[str, Any], ...]

    @classmethod
    def newest(cls, results: Results) -> RigRun | None:
        """The newest run of a level; None without one. Journals of an emergency stop alone are left out."""
        paths = results.rig.glob("*.jsonl") if results.rig.is_dir() else []
        for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            entries = tuple(entry for entry in read(path) if isinstance(entry.get("event"), str))
            if entries and isinstance(entries[0].get("plan"), dict):
                return cls(path, entries)
        return None

    @property
    def check(self) -> JournalCheck:
        """Whether the chain of the journal holds."""
        return verify(self.path)

    @property
    def plan(self) -> dict[str, Any]:
        """The plan that the run began with."""
        return dict(self.entries[0]["plan"])

    @property
    def simulated(self) -> bool:
        """Whether no pump of the plan is real."""
        pumps = self.plan.get("pumps", {}).values()
        return bool(pumps) and all(pump.get("port") == "simulated" for pump in pumps)

    @property
    def end(self) -> dict[str, Any] | None:
        """How the run ended; None while it is under way, or where it was cut off."""
        return self.entries[-1] if self.entries[-1]["event"] == "end" else None

    @property
    def balances(self) -> dict[str, dict[str, Any]]:
        """The ledger of each pump, by its role."""
        return {entry["role"]: entry for entry in self._of("volume") if "counted_ml" in entry}

    @property
    def stopped(self) -> dict[str, bool]:
        """Whether each pump was verified stopped."""
        found = {entry["role"]: True for entry in self._of("stopped")}
        return found | {entry["role"]: False for entry in self._of("NOT STOPPED")}

    @property
    def rates(self) -> list[tuple[float, dict[str, float]]]:
        """Times in s and rates in mL/h from then on, by role; zero once stopped."""
        steps = [
            (float(entry["t_s"]), dict(entry["rates_ml_h"]))
            for entry in self.entries
            if entry["event"] in ("ramp", "hold") and "rates_ml_h" in entry
        ]
        return steps + [(float(entry["t_s"]), dict.fromkeys(ROLES, 0.0)) for entry in self._of("stop")[:1]]

    @property
    def counted(self) -> list[tuple[float, dict[str, float]]]:
        """Times in s and the volumes in mL that the pumps counted, by role."""
        return [(float(entry["t_s"]), dict(entry["counted_ml"])) for entry in self._of("look")]

    def lines(self, count: int) -> list[str]:
        """The last entries as text, without the bytes on the wire."""
        return [describe(entry) for entry in self.entries if entry["event"] not in ("wire", "begin")][-count:]

    def _of(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["event"] == event]


@styled
def rates_and_volumes(run: RigRun) -> Figure:
    """The rates that were commanded, and the volumes that the pumps counted beside their integral."""
    figure, axes = chart(2, 2, 11.0, 4.6, sharex=True)
    last = max([0.0, *(time for time, _ in run.rates), *(time for time, _ in run.counted)])
    for column, (role, color) in enumerate(ROLES.items()):
        rates, volumes = axes[0][column], axes[1][column]
        steps = [(time, rate.get(role, 0.0)) for time, rate in run.rates]
        times, values = [time for time, _ in steps], [rate for _, rate in steps]
        if steps:
            rates.step([*times, last], [*values, values[-1]], where="post", color=color)
        rates.set_title(role)
        commanded = _integral(steps, last)
        told = [volume for _, volume in commanded]
        volumes.plot([time for time, _ in commanded], told, color=QUIET, linewidth=1.2, label="commanded")
        looks = [(time, counted[role]) for time, counted in run.counted if role in counted]
        volumes.plot([t for t, _ in looks], [v for _, v in looks], "o", color=color, markersize=3.5, label="counted")
        volumes.legend(loc="upper left")
        volumes.set_xlabel("time, s", color=INK)
        for panel in (rates, volumes):
            panel.set_ylim(bottom=0)
    axes[0][0].set_ylabel("rate, mL/h")
    axes[1][0].set_ylabel("volume, mL")
    return figure


def _integral(steps: Sequence[tuple[float, float]], last: float) -> list[tuple[float, float]]:
    """Times in s and ∫ Q dt in mL at the steps."""
    total, line = 0.0, []
    for (time, rate), (following, _) in zip(steps, [*steps[1:], (last, 0.0)], strict=True):
        line.append((time, total))
        total += rate * (following - time) / 3600
    return [*line, (last, total)] if steps else []
