"""Problems with a known solution, for `twin verify`, and ratios of speed, for `twin bench`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twin.check import Check
from twin.crystal.verification import checks as crystal

Watch = Callable[[str], None]


def _flow() -> list[Check]:
    from twin.verification import benchmarks, steadiness, unsteady
    from twin.verification.flow import checks

    return [*checks(), *benchmarks.checks(), *unsteady.checks(), *steadiness.checks()]


def _flow_heavy() -> list[Check]:
    from twin.verification import convergence, steadiness, unsteady

    return [*convergence.heavy_checks(), *steadiness.heavy_checks(), *unsteady.heavy_checks()]


def _mixing() -> list[Check]:
    from twin.verification import walks
    from twin.verification.mixing import checks

    return [*walks.checks(), *checks()]


def _mixing_heavy() -> list[Check]:
    from twin.verification.walks import dispersion_in_a_tube, junction

    return [*dispersion_in_a_tube(), *junction()]


def _bench_flow(everything: bool, watch: Watch) -> list[dict[str, Any]]:
    from twin.verification.bench import flow

    return flow(everything, watch)


def _bench_mixing(everything: bool, watch: Watch) -> list[dict[str, Any]]:
    from twin.verification.bench_mixing import mixing

    return mixing(everything, watch)


#: By name, so that the lab half can verify its own without dolfinx.
CHECKS: dict[str, Callable[[], list[Check]]] = {"flow": _flow, "mixing": _mixing, "crystal": crystal}
#: Those that take minutes.
HEAVY: dict[str, Callable[[], list[Check]]] = {"flow": _flow_heavy, "mixing": _mixing_heavy}


def _bench_rig(everything: bool, watch: Watch) -> list[dict[str, Any]]:
    from twin.verification.bench_rig import rig

    return rig(everything, watch)


BENCHES: dict[str, Callable[[bool, Watch], list[dict[str, Any]]]] = {
    "flow": _bench_flow,
    "mixing": _bench_mixing,
    "rig": _bench_rig,
}


def run_checks(name: str, heavy: bool = False) -> list[Check]:
    """The rows of one group of verification problems; with those that take minutes where `heavy` asks for them."""
    rows = CHECKS[name]()
    return [*rows, *HEAVY[name]()] if heavy and name in HEAVY else rows


def run_bench(name: str, everything: bool = False, watch: Watch = lambda line: None) -> list[dict[str, Any]]:
    """The rows of one benchmark: `what`, `ratio`, `seconds` and more; `everything` adds what takes much longer."""
    return BENCHES[name](everything, watch)


__all__ = ["BENCHES", "CHECKS", "Check", "run_bench", "run_checks"]
