"""What fluid elements of the precursor stream met on their way, as SVG text."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twin.case import Results
from twin.errors import BadInput
from twin.view.figures import chart, legend, plain_log, styled
from twin.view.palette import ANTISOLVENT, BAND, PRECURSOR, QUIET
from twin.view.stages import PointState

#: The clock of an element starts when it has met this share of antisolvent, as in `twin.mixing.exposure`.
_PURE = 0.01
_TIMES = 161
_WIDE, _NARROW = (0.05, 0.95), (0.25, 0.75)


@dataclass(frozen=True)
class Compositions:
    """The share φ of the precursor's liquid that its fluid elements met, at `time_s` since each left its own stream.

    An element that has left the mesh counts with the share that it left with.

    composition  (elements, times)
    inside_s     (elements,) how long each was followed; half of them have left by the median of it
    """

    time_s: np.ndarray
    composition: np.ndarray
    inside_s: np.ndarray


def read_histories(path: Path) -> Compositions | None:
    """The histories of a point by a common clock; None without the file, or where no element left its own stream.

    Raises `BadInput` where the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with np.load(path) as stored:
            times, shares = np.asarray(stored["time_s"], float), np.asarray(stored["composition"], float)
        if times.ndim != 2 or times.shape != shares.shape:
            raise ValueError
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput("its histories are damaged", "solve the point again") from error
    return _since_own_stream(times, shares)


def _since_own_stream(times: np.ndarray, shares: np.ndarray) -> Compositions | None:
    """Histories (elements, samples), NaN past their end, with a clock that starts where each left its own stream."""
    told = []
    for time, share in zip(times, shares, strict=True):
        there = np.isfinite(time) & np.isfinite(share)
        time, share = time[there], share[there]
        met = np.flatnonzero(1 - share >= _PURE)
        if not len(met):
            continue
        first = int(met[0])
        start, own = (time[first], share[first])
        if first > 0:
            part = (share[first - 1] - (1 - _PURE)) / (share[first - 1] - share[first])
            start, own = time[first - 1] + part * (time[first] - time[first - 1]), 1 - _PURE
        told.append((np.append(0.0, time[first:] - start), np.append(own, share[first:])))
    if not told:
        return None
    inside = np.array([time[-1] for time, _ in told])
    end = max(float(np.quantile(inside, _WIDE[1])), 1e-9)
    common = np.geomspace(3e-3 * end, end, _TIMES)
    return Compositions(common, np.array([np.interp(common, time, share) for time, share in told]), inside)


def ends_of_the_campaign(states: Sequence[PointState]) -> list[PointState]:
    """The solved points with the lowest and the highest flow; one, where there is one."""
    solved = sorted((state for state in states if state.solved), key=lambda state: state.point.total_m3_s)
    return list({state.name: state for state in (*solved[:1], *solved[-1:])}.values())


def histories_of(results: Results, states: Sequence[PointState]) -> tuple[dict[str, Compositions], list[str]]:
    """The histories of those points by their names, and what is wrong with files that can't be read."""
    found: dict[str, Compositions] = {}
    problems = []
    for state in ends_of_the_campaign(states):
        try:
            one = read_histories(results.point(state.name) / "histories.npz")
        except BadInput as error:
            problems.append(f"{state.name}: {error.message}; {error.remedy}")
            continue
        if one is not None:
            found[state.name] = one
    return found, problems


@styled
def compositions(found: dict[str, Compositions], mixed: dict[str, float]) -> Figure:
    """A panel for each point: quantiles over the elements; `mixed` is what each point ends at, fully mixed."""
    figure, (panels,) = chart(1, max(len(found), 1), 11.0, 3.8, sharey=True)
    for panel, (name, one) in zip(panels, found.items(), strict=True):
        _panel(panel, one, mixed[name])
        panel.set_title(name)
        panel.set_xlabel("time since it left its own stream, ms")
    panels[0].set_ylabel("share φ of the precursor's liquid")
    legend(
        figure,
        [
            ("median over the elements", {"color": PRECURSOR}),
            ("50 % of them", {"facecolor": _DARK}),
            ("90 %", {"facecolor": BAND}),
            ("fully mixed", {"color": ANTISOLVENT, "linestyle": _DASHED}),
            ("half have left the mesh", {"color": QUIET, "linestyle": ":"}),
        ],
    )
    return figure


_DARK = "#dfc19c"
_DASHED = (0, (5, 3))


def _panel(panel: Axes, one: Compositions, mixed: float) -> None:
    time = 1e3 * one.time_s
    for ends, color in ((_WIDE, BAND), (_NARROW, _DARK)):
        low, high = np.quantile(one.composition, ends, axis=0)
        panel.fill_between(time, low, high, color=color, linewidth=0)
    panel.plot(time, np.median(one.composition, axis=0), color=PRECURSOR)
    panel.axhline(mixed, color=ANTISOLVENT, linewidth=1.3, linestyle=_DASHED)
    panel.axvline(1e3 * float(np.median(one.inside_s)), color=QUIET, linewidth=1.3, linestyle=":")
    panel.set_xscale("log")
    plain_log(panel.xaxis, time[0], time[-1])
    panel.set_xlim(time[0], time[-1])
    panel.set_ylim(0, 1)
