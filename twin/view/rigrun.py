"""A run of the rig as its journal tells it: the plan, the rates, the volumes, how it ended."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from twin.case import Results
from twin.errors import BadInput
from twin.files import whole
from twin.rig import JournalCheck, describe, read, verify
from twin.view.figures import STYLE, chart, styled
from twin.view.palette import ANTISOLVENT, INK, LIGAND, OUTLET, PRECURSOR, QUIET, WARN

STREAMS = {"antisolvent": ANTISOLVENT, "precursor": PRECURSOR}
#: Most dots of counted volumes on a line.
_DOTS = 25
#: Most lines of words at one mark.
_LINES = 3
#: Events that are marked, and whether they are bad news.
_MARKED = {"alarm": True, "trip": True, "NOT STOPPED": True, "stop": False}


@dataclass(frozen=True)
class RigRun:
    """The entries of one journal, read leniently: a run may be under way, or may have been cut off."""

    path: Path
    entries: tuple[dict[str, Any], ...]

    @classmethod
    def newest(cls, results: Results) -> RigRun | None:
        """The newest run that rests on this level; None without one. Journals of a stop alone are left out."""
        paths = results.rig.glob("*.jsonl") if results.rig.is_dir() else []
        for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            entries = _entries(path)
            if entries and entries[0]["plan"].get("level") in (None, results.folder.name):
                return cls(path, entries)
        return None

    @classmethod
    def of(cls, path: Path) -> RigRun:
        """The run of a journal; raises `BadInput` where it is not that of a run."""
        entries = _entries(path)
        if not entries:
            raise BadInput(f"{path} is not the journal of a run", "give rig/journal-TIME.jsonl")
        return cls(path, entries)

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
    def pumps(self) -> list[str]:
        """The names of the pumps, as the plan has them."""
        return list(self.plan.get("pumps", {}))

    @property
    def streams(self) -> dict[str, list[str]]:
        """The pumps of each stream: those that take turns differ by a number behind the name."""
        found: dict[str, list[str]] = {}
        for name in self.pumps:
            found.setdefault(name.partition("-")[0], []).append(name)
        return found

    @property
    def balances(self) -> dict[str, dict[str, Any]]:
        """The ledger of each pump, by its name; of a refill, by that and "refill"."""
        return {_name(entry): entry for entry in self._of("volume") if "counted_ml" in entry}

    @property
    def stopped(self) -> dict[str, bool]:
        """Whether each pump was verified stopped."""
        return {_name(entry): entry["event"] == "stopped" for entry in self._of("stopped", "NOT STOPPED")}

    @property
    def rates(self) -> list[tuple[float, dict[str, float]]]:
        """Times in s and signed rates in mL/h from then on, by pump; zero once stopped."""
        steps = [
            (float(entry["t_s"]), dict(entry["rates_ml_h"]))
            for entry in self.entries
            if isinstance(entry.get("rates_ml_h"), dict)
        ]
        return steps + [(float(entry["t_s"]), dict.fromkeys(self.pumps, 0.0)) for entry in self._of("stop", "trip")[:1]]

    @property
    def counted(self) -> list[tuple[float, dict[str, float]]]:
        """Times in s and the volumes in mL that the pumps counted as infused, by name."""
        return [(float(entry["t_s"]), dict(entry["counted_ml"])) for entry in self._of("look")]

    @property
    def readings(self) -> list[tuple[float, str, float, str]]:
        """Times in s, sensors, values (NaN where one saw nothing) and units."""
        found = []
        for entry in self._of("reading"):
            value = math.nan if entry.get("value") is None else float(entry["value"])
            found.append((float(entry["t_s"]), str(entry["sensor"]), value, str(entry.get("unit", ""))))
        return found

    @property
    def limits(self) -> dict[str, tuple[float | None, float | None]]:
        """Lowest and highest value that each sensor may show while pumps run, in its unit; None where there is none."""
        return {name: (one.get("low"), one.get("high")) for name, one in self.entries[0].get("sensors", {}).items()}

    @property
    def sensor_problems(self) -> dict[str, str]:
        """Why a sensor gave nothing, of those whose last word that is."""
        last = {str(entry["sensor"]): entry for entry in self._of("reading", "sensor-error")}
        return {name: str(entry["problem"]) for name, entry in last.items() if entry["event"] == "sensor-error"}

    @property
    def left(self) -> dict[str, float]:
        """What the syringes hold as of the last look at each pump, mL by name."""
        found = {one["role"]: float(one["filled_ml"]) for one in self.plan.get("supply", [])}
        filled = dict(found)
        for entry in self._of("look"):
            found |= {name: filled[name] - ml for name, ml in entry["counted_ml"].items() if name in filled}
            found |= entry.get("left_ml", {})
        return found

    @property
    def marks(self) -> list[tuple[float, str, bool]]:
        """Times in s, the words of what happened then, and whether they are bad news."""
        found = []
        for entry in self._of(*_MARKED):
            words = str(entry.get("reason") or entry.get("problem") or entry.get("alarm") or "")
            who = _name(entry)
            text = f"{entry['event']}{f' {who}' if who else ''}{f': {words}' if words else ''}"
            found.append((float(entry["t_s"]), text, _MARKED[entry["event"]]))
        return found

    @property
    def begin_s(self) -> float:
        """When the first step began, s: before it the pumps were armed."""
        return self.rates[0][0] if self.rates else 0.0

    @property
    def last_s(self) -> float:
        """The time of the last thing that is drawn, s."""
        times = [time for time, _ in self.rates] + [time for time, _ in self.counted]
        return max([0.0, *times, *(time for time, *_ in self.readings), *(time for time, *_ in self.marks)])

    def lines(self, count: int) -> list[str]:
        """The last entries as text, without the bytes on the wire."""
        return [describe(entry) for entry in self.entries if entry["event"] not in ("wire", "begin")][-count:]

    def _of(self, *events: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["event"] in events]


def _entries(path: Path) -> tuple[dict[str, Any], ...]:
    """The entries of the journal of a run; none, where it is of something else."""
    entries = tuple(entry for entry in read(path) if isinstance(entry.get("event"), str))
    return entries if entries and isinstance(entries[0].get("plan"), dict) else ()


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("role") or entry.get("pump") or "")


class _FromZero(MaxNLocator):
    """Ticks at round times after a beginning."""

    def __init__(self, begin: float) -> None:
        super().__init__(nbins=6, steps=[1, 2, 5, 10])
        self._begin = begin

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Where the ticks are."""
        return [tick + self._begin for tick in super().tick_values(vmin - self._begin, vmax - self._begin)]


def _draw(run: RigRun) -> Figure:
    """A column for each stream: rates, then volumes; below, the flows together and what the sensors read."""
    streams = run.streams
    units = sorted({unit for _, _, _, unit in run.readings})
    below: list[Callable[[Axes, RigRun, float], None]] = [_total, _ratio]
    below += [partial(_sensors, unit=unit) for unit in units]
    columns = max(len(streams), 1)
    rows = 2 + math.ceil(len(below) / columns)
    last = run.last_s
    places = _places(run, last)
    strip = 0.08 * max([1, *(len(texts) for _, texts in places)])
    figure, axes = chart(rows + 1, columns, 11.0, 0.4 + 2.1 * (rows + strip), sharex=True,
                         height_ratios=[strip, *[1.0] * rows])  # fmt: skip
    for column, (stream, names) in enumerate(streams.items()):
        _rates(axes[1][column], run, stream, names, last)
        _volumes(axes[2][column], run, names, last)
    panels = [panel for row in axes[3:] for panel in row]
    for panel, draw in zip(panels, below, strict=False):
        draw(panel, run, last)
    for panel in panels[len(below) :]:
        panel.set_visible(False)
    for row in axes[1:]:
        for panel in row:
            for time, _, bad in run.marks:
                panel.axvline(time, color=WARN if bad else QUIET, linewidth=1.0, linestyle=(0, (4, 2)), zorder=1)
    for panel in axes[0]:
        panel.set_axis_off()
    _words(axes[0][0], places, last)
    begin = run.begin_s
    axes[1][0].set_xlim(begin - 0.04 * (last - begin), last + 0.02 * (last - begin) or 1.0)
    for column in range(columns):
        shown = [row[column] for row in axes if row[column].get_visible()]
        shown[-1].xaxis.set_major_formatter(lambda time, _: f"{time - begin:g}")
        shown[-1].xaxis.set_major_locator(_FromZero(begin))
        shown[-1].set_xlabel("time from the first step, s", color=INK)
        shown[-1].tick_params(labelbottom=True)
    axes[1][0].set_ylabel("rate, mL/h")
    axes[2][0].set_ylabel("infused, mL")
    return figure


@styled
def rates_and_volumes(run: RigRun) -> Figure:
    """The rates that were commanded, the volumes that the pumps counted beside their integral, and the sensors."""
    return _draw(run)


def picture(journal: Path | str, output: Path | str) -> Path:
    """Draws the run of a journal into a PNG, and returns its path.

    Raises:
        BadInput: the journal can't be read, or is not that of a run.
    """
    run = RigRun.of(Path(journal))
    output = Path(output)
    with matplotlib.rc_context(STYLE), whole(output) as scratch:
        _draw(run).savefig(scratch, format="png", dpi=150)
    return output


def _look(names: Sequence[str], name: str) -> dict[str, Any]:
    """Pumps of one stream share its colour; the second one is dashed."""
    stream = name.partition("-")[0]
    others = (OUTLET, *LIGAND.values())
    color = STREAMS.get(stream) or others[sum(map(ord, stream)) % len(others)]
    dashes: Any = "-" if not names.index(name) else (0, (2.5, 1.2) if names.index(name) == 1 else (1, 1.2))
    return {"color": color, "linestyle": dashes, "linewidth": 1.8 if not names.index(name) else 1.5}


def _steps(run: RigRun, name: str, last: float) -> tuple[list[float], list[float]]:
    """Times in s and the signed rates in mL/h from then on, drawn to the end."""
    steps = [(time, rates.get(name, 0.0)) for time, rates in run.rates]
    times, values = [time for time, _ in steps], [rate for _, rate in steps]
    return ([*times, last], [*values, values[-1]]) if steps else ([], [])


def _rates(panel: Axes, run: RigRun, stream: str, names: Sequence[str], last: float) -> None:
    panel.set_title(stream)
    for name in names:
        panel.step(*_steps(run, name, last), where="post", label=name, **_look(names, name))
    if len(names) > 1:
        panel.legend(loc="best", ncols=len(names))
    if any(value < 0 for name in names for value in _steps(run, name, last)[1]):
        panel.axhline(0, color=QUIET, linewidth=0.8)
    else:
        panel.set_ylim(bottom=0)


def _volumes(panel: Axes, run: RigRun, names: Sequence[str], last: float) -> None:
    for name in names:
        look = _look(names, name)
        told = _integral([(time, max(rates.get(name, 0.0), 0.0)) for time, rates in run.rates], last)
        quiet = {**look, "color": QUIET, "linewidth": 1.2}
        suffix = f", {name}" if len(names) > 1 else ""
        panel.plot([t for t, _ in told], [v for _, v in told], label=f"commanded{suffix}", **quiet)
        looks = _fresh([(time, counted[name]) for time, counted in run.counted if name in counted])
        every = max(len(looks) // _DOTS, 1)  # the last one is always shown
        shown = looks[::-1][::every]
        filled = "white" if names.index(name) else look["color"]
        panel.plot([t for t, _ in shown], [v for _, v in shown], "o", color=look["color"], markersize=3.5,
                   markerfacecolor=filled, label=f"counted{suffix}")  # fmt: skip
    panel.legend(loc="upper left")
    panel.set_ylim(bottom=0)


def _fresh(looks: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The looks without those that repeat a volume: an entry names all pumps, of which one was asked."""
    return [look for look, before in zip(looks, [(0.0, 0.0), *looks], strict=False) if look[1] != before[1]]


def _flow(rates: Mapping[str, float], stream: str | None = None) -> float:
    """What flows to the junction, mL/h: a pump that refills takes nothing from it."""
    return sum(max(rate, 0.0) for name, rate in rates.items() if stream in (None, name.partition("-")[0]))


def _together(panel: Axes, run: RigRun, last: float, value: Callable[[Mapping[str, float]], float]) -> None:
    steps = [(time, value(rates)) for time, rates in run.rates]
    if steps:
        times, values = zip(*steps, strict=True)
        panel.step([*times, last], [*values, values[-1]], where="post", color=OUTLET)
    panel.set_ylim(bottom=0)


def _total(panel: Axes, run: RigRun, last: float) -> None:
    panel.set_title("total flow")
    panel.set_ylabel("mL/h")
    _together(panel, run, last, _flow)


def _ratio(panel: Axes, run: RigRun, last: float) -> None:
    panel.set_title("flow ratio, antisolvent to precursor")

    def ratio(rates: Mapping[str, float]) -> float:
        precursor = _flow(rates, "precursor")
        return _flow(rates, "antisolvent") / precursor if precursor else math.nan

    _together(panel, run, last, ratio)


def _sensors(panel: Axes, run: RigRun, last: float, unit: str) -> None:
    """The sensors of one unit."""
    readings = [one for one in run.readings if one[3] == unit]
    names = sorted({sensor for _, sensor, _, _ in readings})
    panel.set_title(", ".join(names))
    panel.set_ylabel(unit)
    for name, color in zip(names, itertools.cycle((*LIGAND.values(), OUTLET, ANTISOLVENT, PRECURSOR))):
        points = [(time, value) for time, sensor, value, _ in readings if sensor == name]
        panel.plot([t for t, _ in points], [v for _, v in points], color=color, linewidth=1.3, label=name)
    for limit in {limit for name in names for limit in run.limits.get(name, ()) if limit is not None}:
        panel.axhline(limit, color=WARN, linewidth=1.0, linestyle=(0, (1, 1.5)))
    if len(names) > 1:
        panel.legend(loc="best")


def _places(run: RigRun, last: float) -> list[tuple[float, list[tuple[str, bool]]]]:
    """The words of the marks; those that would overlap share a place, which shows the first and the last ones."""
    places: list[tuple[float, list[tuple[str, bool]]]] = []
    for time, text, bad in run.marks:
        if not places or time - places[-1][0] > 0.25 * last:
            places.append((time, []))
        if (text, bad) not in places[-1][1]:
            places[-1][1].append((text, bad))
    return [(time, texts if len(texts) <= _LINES else [texts[0], *texts[1 - _LINES :]]) for time, texts in places]


def _words(panel: Axes, places: Sequence[tuple[float, list[tuple[str, bool]]]], last: float) -> None:
    """Writes them into the strip above the panels."""
    for time, texts in places:
        right = time > 0.5 * last
        for line, (text, bad) in enumerate(reversed(texts)):
            panel.annotate(
                shorten(text, 60, placeholder=" …"), (time, 0), xycoords=("data", "axes fraction"),
                xytext=(-3 if right else 3, 10.5 * line), textcoords="offset points", annotation_clip=False,
                ha="right" if right else "left", va="bottom", fontsize=8, color=WARN if bad else INK,
            )  # fmt: skip


def _integral(steps: Sequence[tuple[float, float]], last: float) -> list[tuple[float, float]]:
    """Times in s and ∫ Q dt in mL at the steps."""
    if not steps:
        return []
    total, line = 0.0, []
    for (time, rate), (following, _) in pairwise([*steps, (last, 0.0)]):
        line.append((time, total))
        total += rate * (following - time) / 3600
    return [*line, (last, total)]
