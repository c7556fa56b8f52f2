"""What each named boundary of a domain is to the flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import ufl

from twin.errors import BadInput
from twin.fem.domain import Domain

#: How the fluid enters: as flow that is developed in the shape of its section, with one speed all over, or as measured:
#: a function of points, (3, n) in bores, that gives the speed into the domain, (n,), in any unit.
Profile = Literal["developed", "plug"] | Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Rotation:
    """A turn of `rate` in rad U/bore about an axis through `centre` (dim,) in bores, right-handed about the unit vector
    `axis`; in 2-D anticlockwise.
    """

    rate: float
    centre: tuple[float, ...]
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def velocity(self, points: np.ndarray) -> np.ndarray:
        """ω × (x − centre) in U at points, (n, 3): (n, dim)."""
        arm = points.copy()
        arm[:, : len(self.centre)] -= self.centre
        return self.rate * np.cross(self.axis, arm)[:, : len(self.centre)]


#: How a wall moves: with one velocity (dim,) in U, or in a turn; empty: not at all.
Motion = tuple[float, ...] | Rotation


def velocity_of(motion: Motion, points: np.ndarray) -> np.ndarray | float:
    """The velocity in U of a wall at its points, (n, 3): (n, dim), or what stands for that."""
    return motion.velocity(points) if isinstance(motion, Rotation) else np.array(motion) if motion else 0.0


def times(factor: float, motion: Motion) -> Motion:
    """The motion that is `factor` times as fast."""
    if isinstance(motion, Rotation):
        return replace(motion, rate=factor * motion.rate)
    return tuple(factor * part for part in motion)


@dataclass(frozen=True)
class Boundaries:
    """Inlets with their profiles, outlets with their pressure in ρU², walls with their motion, mirror planes.

    Boundaries that are none of these (the cut planes inside the fluid) do not matter to the flow.
    """

    inlets: Mapping[str, Profile]
    outlets: Mapping[str, float] = field(default_factory=lambda: {"outlet": 0.0})
    walls: Mapping[str, Motion] = field(default_factory=lambda: {"wall": ()})
    mirrors: tuple[str, ...] = ()

    @classmethod
    def of_junction(cls, domain: Domain) -> Boundaries:
        """Those of the connectors of `meshes/`, by the names that their meshes carry."""
        inside = ("outlet", "wall", "symmetry", *domain.planes)
        inlets: dict[str, Profile] = {name: "developed" for name in domain.tags if name not in inside}
        return cls(inlets, mirrors=("symmetry",) if "symmetry" in domain.tags else ())

    @property
    def closed(self) -> bool:
        """Whether no outlet gives the pressure its level. Its mean over the domain is zero then."""
        return not self.outlets

    def check(self, domain: Domain) -> None:
        """Raises `BadInput` for a name that the mesh lacks, and for inlets whose fluid has no way out."""
        if self.closed and self.inlets:
            raise BadInput(
                f"the flow enters through {', '.join(self.inlets)}, and there is no outlet", "make one an outlet"
            )
        for name in (*self.inlets, *self.outlets, *self.walls, *self.mirrors):
            domain.tag(name)


def mirror_axis(domain: Domain, name: str) -> int:
    """The coordinate that a mirror plane holds constant; raises `BadInput` for one at an angle, and for two."""
    n, ds = ufl.FacetNormal(domain.mesh), domain.ds(name)
    parts = np.array([[domain.integral(one * ds) for one in (n[i], n[i] ** 4)] for i in range(domain.dim)])
    mean, fourth = np.abs(parts).T / domain.area(name)
    axis = int(np.argmax(mean))
    if mean[axis] < 1 - 1e-6:
        if fourth.sum() > 1 - 1e-6:  # each of its facets is square to an axis
            raise BadInput(f'the mirror "{name}" holds two planes', "give each its own name")
        raise BadInput(f'the mirror plane "{name}" is not square to x, y or z', "turn the mesh, or use the whole one")
    return axis


def shared_flows(domain: Domain, shares: Mapping[str, float]) -> dict[str, float]:
    """The volume flows in U·bore² of inlets with these shares of a total whose mean velocity in the outlet is U."""
    total = domain.area("outlet")
    return {name: share * total for name, share in shares.items()}
