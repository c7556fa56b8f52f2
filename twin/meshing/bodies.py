"""The bores of a connector as bodies: where each runs, how wide it is, and how far the others reach into it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from twin.errors import BadInput
from twin.junction import Connector

#: Room in bores between the last place where an arm touches another body and the first layer of its sweep.
ARM_MARGIN = 0.3
OUTLET_MARGIN = 1.25  # in bores or widths: here the streams meet, and the jets turn
LEAST_STEP = 0.1  # bores; Gmsh folds elements of narrower ones, or breaks off, at 0.07 still
_STEP = 0.02  # of the search along a bore
_TOUCH = 1e-6


@dataclass(frozen=True)
class Body:
    """A straight bore from `origin` along `axis`; `across` and `sideways` complete its frame. Lengths in bores.

    At the distance s its section is a disc of the diameter d(s) = `bore` + `taper`·s, or a rectangle of the depth d(s)
    along `sideways` and `aspect` times that along `across`.
    """

    name: str
    origin: np.ndarray
    axis: np.ndarray
    across: np.ndarray
    sideways: np.ndarray
    length: float
    bore: float = 1.0
    taper: float = 0.0
    round: bool = True
    aspect: float = 1.0

    def diameter(self, s: float) -> float:
        """The diameter or depth at the distance s."""
        return self.bore + self.taper * s

    def area(self, s: float) -> float:
        """The area of the whole section at the distance s, in bore²."""
        return self.diameter(s) ** 2 * (math.pi / 4 if self.round else self.aspect)

    def at(self, s: float) -> np.ndarray:
        """The point of the axis at the distance s."""
        return self.origin + s * self.axis

    def depth(self, points: np.ndarray) -> np.ndarray:
        """How far points (n, 3) lie inside the wall, in bores; negative outside, and before the start of the bore."""
        away = points - self.origin
        s = away @ self.axis
        half = (self.bore + self.taper * s) / 2
        if self.round:
            depth = half - np.linalg.norm(away - np.outer(s, self.axis), axis=1)
        else:
            sides = self.aspect * half - abs(away @ self.across), half - abs(away @ self.sideways)
            depth = np.minimum(*sides)
        return np.where(s < -_TOUCH, -1.0, depth)

    def rim(self, s: float) -> np.ndarray:
        """Points (n, 3) on and inside the outline of the section at the distance s."""
        if self.round:
            turns = np.linspace(0, 2 * np.pi, 64, endpoint=False)
            outline = np.column_stack([np.cos(turns), np.sin(turns)])
        else:
            side = np.linspace(-1, 1, 17)
            outline = np.array([(u, v) for u, v in product(side, side) if max(abs(u), abs(v)) == 1])
            outline[:, 0] *= self.aspect
        outline = np.vstack([share * outline for share in (1.0, 0.75, 0.5, 0.25, 0.0)]) * self.diameter(s) / 2
        return self.at(s) + outline @ np.array([self.across, self.sideways])


@dataclass(frozen=True)
class Layout:
    """The bodies of a connector, the outlet last, and for each how far the junction's unstructured core goes.

    `clear` is where the outlet leaves the arms behind: no cut plane stands before it.
    """

    bodies: list[Body]
    core: dict[str, float]
    clear: float

    @property
    def outlet(self) -> Body:
        """The outlet."""
        return self.bodies[-1]

    @property
    def arms(self) -> list[Body]:
        """The arms."""
        return self.bodies[:-1]


def bodies_of(connector: Connector) -> list[Body]:
    """The arms in the connector's order, then the outlet."""
    bodies = []
    for name, arm in connector.inlets.items():
        axis, sideways = np.array(arm.direction), np.array(arm.sideways)
        section = arm.section or connector.section
        bodies.append(
            Body(
                name,
                arm.offset * sideways,
                axis,
                np.cross(sideways, axis),
                sideways,
                arm.length,
                arm.bore,
                arm.taper,
                section == "round",
            )
        )
    x, y, z = np.eye(3)
    is_round = connector.section == "round"
    outlet = Body("outlet", np.zeros(3), z, x, y, float(connector.outlet_bores), round=is_round)
    return [*bodies, outlet if is_round else Body(**{**outlet.__dict__, "aspect": connector.outlet_width})]


def layout(connector: Connector, finest: float, core_bores: float | None = None) -> Layout:
    """Where the core ends in each bore; a rest shorter than `finest` belongs to the core as well.

    In the outlet it goes down to `core_bores` where that is further than the junction's own reach.

    Raises `BadInput` where an arm is still inside another body at its end, misses the outlet, or can't be mitred.
    """
    bodies = bodies_of(connector)
    _check_mitre(bodies)
    core, outlet = {}, bodies[-1]
    for arm in bodies[:-1]:
        others = [other for other in bodies if other is not arm]
        touch = _last_touch(arm, others)
        if touch is None or max(outlet.depth(arm.rim(0.0))) <= 0:
            raise BadInput(f"the arm {arm.name} misses the outlet", "choose a smaller offset or a wider bore")
        end = touch + 2 * connector.fillet
        if end > arm.length - 0.05:
            raise BadInput(
                f"the arm {arm.name} is {arm.length:g} bores long and runs into its neighbours up to {end:.2f} bores",
                "make it longer, or the angle between the bores wider",
            )
        core[arm.name] = _or_all(round(end + ARM_MARGIN * arm.diameter(touch), 2), arm.length, finest)
    clear = (_last_touch(outlet, bodies[:-1]) or 0.0) + 2 * connector.fillet
    if clear > outlet.length - 0.05:
        raise BadInput(
            f"the outlet is {outlet.length:g} bores long and the arms reach {clear:.2f} bores into it",
            "choose a larger outlet_bores",
        )
    own = math.ceil(clear + OUTLET_MARGIN * max(1.0, outlet.aspect) - 1e-9)
    core["outlet"] = _or_all(max(own, core_bores or 0.0), outlet.length, finest)
    return Layout(bodies, core, clear)


def leaves_gap(bodies: list[Body]) -> bool:
    """Whether some direction points away from the axes of all bores, so that their ends leave a notch."""
    axes = np.array([body.axis for body in bodies])
    turns = np.linspace(0, 2 * np.pi, 181)
    heights = np.linspace(-1, 1, 91)
    u, v = np.meshgrid(turns, heights)
    flat = np.sqrt(1 - v**2)
    directions = np.column_stack([(flat * np.cos(u)).ravel(), (flat * np.sin(u)).ravel(), v.ravel()])
    return bool(((directions @ axes.T).max(axis=1) < -0.02).any())


def _check_mitre(bodies: list[Body]) -> None:
    """Refuses bores that lean the same way with axes that pass each other by too little.

    Each goes on up to the plane midway to the other, and there ends in a flat step as wide as the axes are apart.
    """
    if not leaves_gap(bodies):
        return
    for one, other in combinations(bodies, 2):
        normal = np.cross(one.axis, other.axis)
        across = float(np.linalg.norm(normal))
        apart = abs(float((one.origin - other.origin) @ normal)) / max(across, _TOUCH)
        if _TOUCH < apart < LEAST_STEP - _TOUCH:
            raise BadInput(
                f"the axes of {one.name} and {other.name} pass each other by {apart:.2g} bores, which leaves a step"
                " too narrow for elements where the bores are mitred",
                f"choose offsets that let the axes meet, or pass by {LEAST_STEP:g} bores or more",
            )


def _or_all(end: float, length: float, finest: float) -> float:
    return length if end > length - finest else end


def _last_touch(body: Body, others: list[Body]) -> float | None:
    """The largest distance at which a section of `body` still touches one of the others."""
    for s in np.arange(body.length, -_STEP, -_STEP):
        rim = body.rim(max(0.0, s))
        if any((other.depth(rim) > -_TOUCH).any() for other in others):
            return round(float(max(0.0, s)), 2)
    return None
