"""What pulsating pumps do to the mixing of a solved point: the periodic flow, and walkers there and back in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from twin.campaign.run import Follow, common_job, flows_of, start_workers
from twin.case import Case, Results
from twin.errors import BadInput
from twin.files import read_json
from twin.operating import OperatingPoint

if TYPE_CHECKING:
    from twin.meshing import MeshFolder

STREAMS = ("antisolvent", "precursor")


@dataclass(frozen=True)
class Pulse:
    """The question: the rate of one stream is Q (1 + a sin 2πt/T), the other one is constant.

    of          the stream that pulsates
    amplitude   a, from 0 to below 1
    period      T in s
    snapshots   of the velocity in a period; it is linear in time between them
    periods     the most that are marched
    tolerance   on the flow's distance from periodic: r.m.s., relative to the flow
    walkers     sent out with the precursor; None: those of the case
    """

    of: str
    amplitude: float
    period: float
    snapshots: int = 16
    periods: int = 60
    tolerance: float = 1e-3
    walkers: int | None = None

    def __post_init__(self) -> None:
        if self.of not in STREAMS:
            raise BadInput(f'"{self.of}" is no stream', f"choose from {', '.join(STREAMS)}")
        if not 0 <= self.amplitude < 1:
            raise BadInput(
                f"an amplitude of {100 * self.amplitude:g} % can't be marched",
                "give one from 0 to below 100 %: with more the stream would flow back into its pump",
            )
        if not self.period > 0:
            raise BadInput(f"a period of {self.period:g} s says nothing", "give a positive one")
        if self.snapshots < 4 or self.snapshots % 2:
            raise BadInput(f"{self.snapshots} snapshots can't be halved to show their error", "give an even number ≥ 4")
        if self.periods < 3 or not self.tolerance > 0:
            raise BadInput("three periods are the least that say whether a flow is periodic", "allow more of them")
        if self.walkers is not None and self.walkers < 100:
            raise BadInput(f"{self.walkers} walkers say nothing", "give at least 100")

    @property
    def name(self) -> str:
        """What its files are called by."""
        return f"{self.of}-{100 * self.amplitude:g}pct-{1e3 * self.period:g}ms"


def run_pulse(
    case: Case,
    level: str,
    results: Results,
    mesh: MeshFolder,
    point: OperatingPoint,
    pulse: Pulse,
    ranks: int,
    follow: Follow,
) -> dict[str, Any]:
    """The record of a solved point's mixing with a pulsating pump. An interrupted march goes on where it was saved.

    Raises `BadInput` for a point that is not solved, or whose flow feels the concentration, and `NotConverged` where
    the flow does not become periodic.
    """
    if case.coupling != "passive":
        raise BadInput(
            f'with coupling = "{case.coupling}" the flow feels the concentration, and here it is marched without',
            'take coupling = "passive" for this question',
        )
    path = results.pulse(point.name, pulse.name)
    job = {
        **common_job(case, level, results, mesh),
        "point": flows_of(point),
        "pulse": asdict(pulse),
        "record": str(path.resolve()),
    }
    start_workers("twin.campaign.pulse_worker", results, job, ranks, follow)
    return read_json(path)
