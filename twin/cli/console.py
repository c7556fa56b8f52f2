"""What a person sees: progress and logs on stderr, results on stdout, or one JSON object for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from twin.estimate import Estimate


class Reporter:
    """The terminal of one command. With `as_json`, tables and lines are left out and `result` is printed alone."""

    def __init__(self, as_json: bool = False) -> None:
        self._json = as_json
        # What is piped into a file or a pager is not cut at 80 columns.
        width = None if sys.stdout.isatty() else 160
        self._out = RichConsole(file=sys.stdout, highlight=False, soft_wrap=True, width=width)
        self._log = RichConsole(file=sys.stderr, highlight=False)

    def log(self, text: str) -> None:
        """A line of progress or warning, on stderr."""
        self._log.print(text, markup=False)

    def say(self, text: str = "") -> None:
        """A line of the result."""
        if not self._json:
            self._out.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of the result."""
        if self._json:
            return
        table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*(_text(cell) for cell in row))
        self._out.print(table)

    def result(self, data: Any) -> None:
        """The command's JSON object."""
        if self._json:
            sys.stdout.write(json.dumps(data, indent=1, allow_nan=False, default=_plain) + "\n")

    @contextmanager
    def progress(self, title: str, total: int | None = None) -> Iterator[Bar]:
        """A progress bar over `total` steps; without a terminal, a line for each step."""
        if not self._log.is_terminal:
            yield _Lines(self, title, total)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}" if total else ""),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        )
        with Progress(*columns, console=self._log) as progress:
            yield _RichBar(progress, title, total)


class Bar:
    """Progress of a long step."""

    def note(self, text: str) -> None:
        """Says what is going on."""

    def advance(self, text: str = "", steps: float = 1) -> None:
        """Completes steps."""

    def at(self, fraction: float, text: str = "") -> None:
        """Sets the completed share, 0 to 1."""


class _RichBar(Bar):
    def __init__(self, progress: Progress, title: str, total: int | None) -> None:
        self._progress, self._total = progress, total or 1
        self._task = progress.add_task(title, total=total or 1, note="")

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)

    def advance(self, text: str = "", steps: float = 1) -> None:
        self._progress.update(self._task, advance=steps, note=text)

    def at(self, fraction: float, text: str = "") -> None:
        self._progress.update(self._task, completed=fraction * self._total, note=text)


class _Lines(Bar):
    def __init__(self, reporter: Reporter, title: str, total: int | None) -> None:
        self._reporter, self._title, self._total, self._done = reporter, title, total, 0.0
        reporter.log(f"{title} …")

    def advance(self, text: str = "", steps: float = 1) -> None:
        self._done += steps
        count = f" {self._done:.0f}/{self._total}" if self._total else ""
        self._reporter.log(f"{self._title}{count}: {text}" if text else f"{self._title}{count}")


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.as_dict()
    return str(value)


def _text(cell: Any) -> str:
    if isinstance(cell, Estimate):
        return f"{cell.value:.3g} [{cell.low:.3g} … {cell.high:.3g}]"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
