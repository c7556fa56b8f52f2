"""What people see: pictures, plots, the report, the live page. Nothing that computes imports this.

The libraries that draw are loaded when they are needed, not with this package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twin.case import Case, FlowCase, Results

__all__ = ["draw_flow_pictures", "draw_pictures", "serve", "write_report"]


def draw_pictures(case: Case, level: str, results: Results, points: Sequence[str] | None = None) -> list[Path]:
    """See `twin.view.scenes.draw_pictures`."""
    from twin.view.scenes import draw_pictures as draw

    return draw(case, level, results, points)


def draw_flow_pictures(
    case: FlowCase, solved: Sequence[tuple[Results, dict[str, Any]]], plane: str | None = None
) -> list[Path]:
    """See `twin.view.flow_scenes.flow_pictures`."""
    from twin.view.flow_scenes import flow_pictures

    return [picture.path for picture in flow_pictures(case, solved, plane)]


def write_report(case: Case, level: str, results: Results) -> Path:
    """See `twin.view.report.write_report`."""
    from twin.view.report import write_report as write

    return write(case, level, results)


def serve(case: Case, level: str, results: Results, port: int, ready: Callable[[str], None]) -> None:
    """See `twin.view.dashboard.serve`."""
    from twin.view.dashboard import serve as run

    run(case, level, results, port, ready)
