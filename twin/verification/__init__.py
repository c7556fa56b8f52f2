"""Problems with a known solution, for `twin verify`, and ratios of speed, for `twin bench`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twin.check import Check
from twin.crystal.verification import checks as crystal


def _flow() -> list[Check]:
    from twin.verification import benchmarks, unsteady
    from twin.verification.flow import checks

    return [*checks(), *benchmarks.checks(), *unsteady.checks()]


def _flow_heavy() -> list[Check]:
    from twin.verification import benchmarks, unsteady

    return [*benchmarks.heavy_checks(), *unsteady.heavy_checks()]


def _mixing() -> list[Check]:
    from twin.verification.mixing import checks

    return checks()


def _bench_flow() -> list[dict[str, Any]]:
    from twin.verification.bench import flow

    return flow()


#: By name, so that the lab half can verify its own without dolfinx.
CHECKS: dict[str, Callable[[], list[Check]]] = {"flow": _flow, "mixing": _mixing, "crystal": crystal}
#: Those that take minutes.
HEAVY: dict[str, Callable[[], list[Check]]] = {"flow": _flow_heavy}
BENCHES: dict[str, Callable[[], list[dict[str, Any]]]] = {"flow": _bench_flow}


def run_checks(name: str, heavy: bool = False) -> list[Check]:
    """The rows of one group of verification problems; with those that take minutes where `heavy` asks for them."""
    rows = CHECKS[name]()
    return [*rows, *HEAVY[name]()] if heavy and name in HEAVY else rows


def run_bench(name: str) -> list[dict[str, Any]]:
    """The rows of one benchmark: `what`, `ratio`, `seconds`."""
    return BENCHES[name]()


__all__ = ["BENCHES", "CHECKS", "Check", "run_bench", "run_checks"]
