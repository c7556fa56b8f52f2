"""Segregation and mixing index of the planes down an outlet, and how much of it the scheme made up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

#: Above this ratio of numerical to physical diffusion a mixing index is the scheme's, not the reactor's.
QUOTABLE = 0.2


class Budget(Protocol):
    """What a transport scheme reports of a plane: see `twin.transport.eulerian.PlaneBudget`."""

    @property
    def bores(self) -> float: ...  # noqa: D102
    @property
    def flow(self) -> float: ...  # noqa: D102
    @property
    def flux(self) -> float: ...  # noqa: D102
    @property
    def square_flux(self) -> float: ...  # noqa: D102
    @property
    def physical(self) -> float: ...  # noqa: D102
    @property
    def numerical(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class PlaneMixing:
    """Mixing at one plane, `bores` down the outlet.

    segregation  I_s = ∫u_n (c − c̄)² dA / [Q c̄(1 − c̄)], 1 unmixed, 0 mixed: an upper bound on mixing, as the scheme's
                 own diffusion is in it
    index        M = 1 − √I_s
    segregation_physical  I_s if only the physical diffusion of the computed field had acted
    flux_error   relative error of the flux of c against Q c̄
    numerical_diffusion   D_num/D_m between this plane and the one before it
    numerical_before      D_num/D_m from the inlets to this plane: what is mixed upstream stays in the index
    """

    bores: float
    segregation: float
    index: float
    segregation_physical: float
    flux_error: float
    numerical_diffusion: float
    numerical_before: float

    @property
    def quotable(self) -> bool:
        """Whether the index is the reactor's own."""
        return max(self.numerical_diffusion, self.numerical_before) <= QUOTABLE

    def as_dict(self) -> dict[str, float | bool]:
        """The figures as JSON-like data."""
        return {**asdict(self), "quotable": self.quotable}


def mixing_along(planes: Sequence[Budget], mean: float) -> list[PlaneMixing]:
    """The mixing at each plane, nearest first; `mean` is c̄, the precursor's share of the flow.

    The variance that both streams bring in together is Q c̄(1 − c̄); twice the dissipation of ½c² is what it loses.
    """
    result, lost, made_up = [], 0.0, 0.0
    for plane in planes:
        unmixed = plane.flow * mean * (1 - mean)
        segregation = (plane.square_flux - plane.flow * mean**2) / unmixed
        lost += 2 * plane.physical / unmixed
        made_up += 2 * plane.numerical / unmixed
        result.append(
            PlaneMixing(
                bores=plane.bores,
                segregation=segregation,
                index=1 - math.sqrt(max(segregation, 0.0)),
                segregation_physical=1 - lost,
                flux_error=plane.flux / (plane.flow * mean) - 1,
                numerical_diffusion=plane.numerical / plane.physical if plane.physical > 0 else math.inf,
                numerical_before=made_up / lost if lost > 0 else math.inf,
            )
        )
    return result
