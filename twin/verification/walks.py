"""The random walkers against cases whose answer is known: closed forms, conservation, and pure advection.

A check's tolerance is four standard errors of its own sample (chance then fails one run in ten thousand), or says what
else it allows for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from twin.check import Check
from twin.mixing import Segregation, there_and_back
from twin.transport import Places, Planes, Step, Tetrahedra, Walkers, split, tetrahedra
from twin.verification import graetz
from twin.verification.blocks import box, tube

SIGMAS = 4.0
_SPECTRAL = "separation of variables"


def checks() -> list[Check]:
    """All that takes seconds."""
    return [*plug(), *poiseuille(), *core(), *sink(), *dispersion(), *swirl(), *closed(), *pulsating()]


def segregation_along(
    mesh: Tetrahedra, positions: tuple[float, ...], peclet: float, walkers: int, step: Step | None = None, seed: int = 1
) -> tuple[list[Segregation], int]:
    """The walkers' segregation at planes, and how many crossings there were."""
    walk = Walkers(mesh, step=step, seed=seed)
    planes = Planes.at(mesh, positions)
    down = walk.walk(walk.release("precursor", walkers), peclet, True, planes)
    crossings = down.crossings
    back = walk.walk(crossings.places, peclet, False, purpose=2)
    returned = back.ended == mesh.openings.index("precursor")
    flows = {name: float(mesh.flows(name).sum()) for name in ("precursor", "antisolvent")}
    mean = flows["precursor"] / sum(flows.values())
    found = there_and_back(positions, walkers, mean, crossings.walker, crossings.plane, crossings.direction, returned)
    return found, len(returned)


def _streams(length: float, split: float) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Two streams that enter a channel along x, one above the other, with y from 0 to 1."""
    return {
        "precursor": lambda x: (x[:, 0] < 1e-9) & (x[:, 1] < split),
        "antisolvent": lambda x: (x[:, 0] < 1e-9) & (x[:, 1] > split),
        "outlet": lambda x: x[:, 0] > length - 1e-9,
    }


def _compare(what: str, found: list[Segregation], exact: Callable[[float], float], source: str) -> list[Check]:
    return [
        Check(f"I_s, {what}, at {one.bores:g}", one.segregation, exact(one.bores), SIGMAS * one.error, source)
        for one in found
    ]


def plug(walkers: int = 10_000) -> list[Check]:
    """Two streams in plug flow."""
    peclet = 1000.0
    mesh = box((40.0, 1.0, 0.5), (80, 12, 6), lambda x: np.tile([1.0, 0, 0], (len(x), 1)), _streams(40.0, 0.25))
    found, _ = segregation_along(mesh, (1.0, 10.0, 39.0), peclet, walkers)
    exact = graetz.plates(lambda s: np.ones_like(s), -0.25)
    return _compare("plug flow", found, lambda x: exact.segregation(x, peclet), _SPECTRAL)


def poiseuille(walkers: int = 10_000) -> list[Check]:
    """Two streams between plates in developed flow; the thin one, a hundredth of the flow, lies at the wall."""
    peclet, split = 1e4, 1 / 12  # the stream below s = −5/12 carries about 2 % of the flow
    profile = lambda s: 1.5 * (1 - 4 * s * s)  # noqa: E731
    mesh = box(
        (20.0, 1.0, 0.25), (20, 24, 2),
        lambda x: np.column_stack([profile(x[:, 1] - 0.5), np.zeros((len(x), 2))]), _streams(20.0, split),
    )  # fmt: skip
    found, _ = segregation_along(mesh, (0.5, 5.0, 19.0), peclet, walkers)
    exact = graetz.plates(profile, -0.5 + split)
    return _compare("between plates", found, lambda x: exact.segregation(x, peclet), _SPECTRAL)


def _pipe(x: np.ndarray) -> np.ndarray:
    speed = 2 * (1 - 4 * (x[:, 0] ** 2 + x[:, 1] ** 2))
    return np.column_stack([np.zeros((len(x), 2)), speed])


def core(walkers: int = 10_000) -> list[Check]:
    """A core of precursor in a tube."""
    peclet, rings = 1e4, 12
    inner = lambda x: np.hypot(x[:, 0], x[:, 1]) < 0.25  # noqa: E731
    mesh = tube(
        20.0, 20, rings, _pipe,
        {
            "precursor": lambda x: (x[:, 2] < 1e-9) & inner(x),
            "antisolvent": lambda x: (x[:, 2] < 1e-9) & ~inner(x),
            "outlet": lambda x: x[:, 2] > 20 - 1e-9,
        },
    )  # fmt: skip
    found, _ = segregation_along(mesh, (1.0, 5.0, 19.0), peclet, walkers)
    exact = graetz.tube(lambda s: 2 * (1 - 4 * s * s), 0.25)
    # The core of the mesh is a polygon of 36 sides: 0.5 % less area than the circle's.
    return [
        Check(
            f"I_s, core in a tube, at {one.bores:g}", one.segregation, exact.segregation(one.bores, peclet),
            SIGMAS * one.error + 0.005, _SPECTRAL,
        )
        for one in found
    ]  # fmt: skip


def sink(walkers: int = 20_000) -> list[Check]:
    """Graetz: the wall of a tube takes all that reaches it; the share that is left at each plane."""
    peclet = 1000.0
    wall = lambda x: (x[:, 2] > 1e-9) & (x[:, 2] < 20 - 1e-9)  # noqa: E731
    mesh = tube(
        20.0, 40, 14, _pipe,
        {"inlet": lambda x: x[:, 2] < 1e-9, "wall": wall, "outlet": lambda x: x[:, 2] > 20 - 1e-9}, grading=0.7,
    )  # fmt: skip
    walk = Walkers(mesh)
    positions = (0.5, 2.0, 10.0, 19.0)
    down = walk.walk(walk.release("inlet", walkers), peclet, True, Planes.at(mesh, positions), leave=("wall", "outlet"))
    exact = graetz.tube_with_sink(lambda s: 2 * (1 - 4 * s * s))
    rows = []
    for number, position in enumerate(positions):
        here = down.crossings.plane == number
        left = float(down.crossings.direction[here].sum()) / walkers
        want = exact.survival(position, peclet)
        # The polygon's wall is 0.4 % closer than the circle's, and axial diffusion moves the plane by O(1/Pe).
        allowed = SIGMAS * math.sqrt(want * (1 - want) / walkers) + 0.004
        rows.append(Check(f"share left, Graetz, at {position:g}", left, want, allowed, "Graetz"))
    thin = (1 - exact.survival(0.02, peclet)) / (4 * 1.5 * 1.077 * (0.02 / peclet) ** (2 / 3))
    rows.append(Check("the series itself against Lévêque, x/Pe = 2e-5", thin, 1.0, 0.03, "Lévêque"))
    return rows


def dispersion(walkers: int = 10_000) -> list[Check]:
    """Taylor and Aris: how fast the passage times of a tracer spread between plates, D_eff/D = 1 + Pe²/210."""
    peclet, length = 40.0, 80.0
    profile = lambda s: 1.5 * (1 - 4 * s * s)  # noqa: E731
    mesh = box(
        (length, 1.0, 0.5),
        (40, 6, 3),
        lambda x: np.column_stack([profile(x[:, 1] - 0.5), np.zeros((len(x), 2))]),
        {"inlet": lambda x: x[:, 0] < 1e-9, "outlet": lambda x: x[:, 0] > length - 1e-9},
    )
    return _spreading("between plates", mesh, peclet, (1 + peclet**2 / 210) / peclet, walkers, 0.0)


def dispersion_in_a_tube(walkers: int = 10_000) -> list[Check]:
    """The same in a tube, D_eff/D = 1 + Pe²/192; a polygon of 48 sides is 1.5 % short of the slowest layer."""
    peclet, length = 40.0, 80.0
    mesh = tube(length, 80, 8, _pipe, {"inlet": lambda x: x[:, 2] < 1e-9, "outlet": lambda x: x[:, 2] > length - 1e-9})
    return _spreading("in a tube", mesh, peclet, (1 + peclet**2 / 192) / peclet, walkers, 0.015)


def _spreading(
    what: str, mesh: Tetrahedra, peclet: float, exact: float, walkers: int, mesh_error: float
) -> list[Check]:
    """Variance and mean of the first passages between two planes, against D_eff in U·width and the bulk's speed."""
    walk, positions = Walkers(mesh), (10.0, 78.0)
    down = walk.walk(walk.release("inlet", walkers), peclet, True, Planes.at(mesh, positions))
    crossings, first = down.crossings, []
    for number in range(2):
        here = np.nonzero(crossings.plane == number)[0]
        _, earliest = np.unique(crossings.walker[here], return_index=True)
        first.append(crossings.since[here[earliest]])
    length = positions[1] - positions[0]
    bulk = float(mesh.flows("inlet").sum()) / _area(mesh)
    spread = (first[1].var() - first[0].var()) / length * bulk**3 / 2
    error = SIGMAS * math.sqrt(2 / walkers) * first[1].var() / (first[1].var() - first[0].var())
    speed = length / (first[1].mean() - first[0].mean()) / bulk
    deviation = first[1].std() / math.sqrt(walkers) * bulk / length
    title = f"dispersion {what}, Pe {peclet:g}, over Taylor and Aris"
    return [
        Check(title, spread / exact, 1.0, error + mesh_error, "Aris 1956"),
        Check(f"speed of the tracer {what} over the bulk's", speed, 1.0, SIGMAS * 2 * deviation, "Taylor 1953"),
    ]


def _area(mesh: Tetrahedra) -> float:
    return float(np.linalg.norm(mesh.areas(*mesh.faces("inlet")), axis=1).sum())


def swirl(walkers: int = 4000) -> list[Check]:
    """No diffusion at all: a swirl winds two halves into striations; nothing mixes, and every path is known.

    Plug flow with the angular speed Ω(1 − 4r²): a point at radius r has turned by Ω(1 − 4r²) z at the plane z.
    """
    omega, length = 2.0, 10.0

    def velocity(x: np.ndarray) -> np.ndarray:
        turn = omega * (1 - 4 * (x[:, 0] ** 2 + x[:, 1] ** 2))
        return np.column_stack([-turn * x[:, 1], turn * x[:, 0], np.ones(len(x))])

    mesh = tube(
        length, 100, 10, velocity,
        {
            "precursor": lambda x: (x[:, 2] < 1e-9) & (x[:, 1] > 0),
            "antisolvent": lambda x: (x[:, 2] < 1e-9) & (x[:, 1] < 0),
            "outlet": lambda x: x[:, 2] > length - 1e-9,
        },
    )  # fmt: skip
    walk = Walkers(mesh)
    start = walk.release("precursor", walkers)
    down = walk.walk(start, math.inf, True, Planes.at(mesh, (9.9,)))
    places, ends = start.points(mesh), down.crossings.places.points(mesh)
    radius = np.hypot(*places[:, :2].T)
    turned = np.angle(np.exp(1j * omega * (1 - 4 * radius**2) * 9.9) * (places[:, 0] + 1j * places[:, 1]))
    off = np.abs(np.angle(np.exp(1j * (np.arctan2(ends[:, 1], ends[:, 0]) - turned)))) * radius
    back = walk.walk(down.crossings.places, math.inf, False, purpose=2)
    returned = float((back.ended == mesh.openings.index("precursor")).mean())
    return [
        Check(
            "r.m.s. error of a path over three turns, bores", float(np.sqrt((off**2).mean())), 0.0, 3e-3, "closed form"
        ),
        Check("share that finds back without diffusion", returned, 1.0, 3e-3, "reversibility"),
    ]


_SHUT: dict[str, Callable[[np.ndarray], np.ndarray]] = {"outlet": lambda x: x[:, 0] > 1 - 1e-9}


def _vortex(x: np.ndarray) -> np.ndarray:
    """About the third axis of the unit cube; nothing passes its walls."""
    a, b, c = np.pi * x.T
    return np.column_stack([
        np.sin(a) * np.cos(b) * np.sin(c), -np.cos(a) * np.sin(b) * np.sin(c), np.zeros(len(x)),
    ])  # fmt: skip


def closed(walkers: int = 40_000, bins: int = 4) -> list[Check]:
    """Uniform stays uniform: walkers spread evenly in a closed box that is stirred are spread evenly later too."""
    mesh = box((1.0, 1.0, 1.0), (8, 8, 8), _vortex, _SHUT)
    return _even("χ² of an even spread after stirring", mesh, walkers, bins)


def _even(what: str, mesh: Tetrahedra, walkers: int, bins: int) -> list[Check]:
    """χ² over the boxes of a grid, per degree of freedom; its own deviation is √(2/(bins³ − 1))."""
    draw = np.random.default_rng(5)
    volume = np.abs(np.linalg.det(np.diff(mesh.points[mesh.cells], axis=1)))
    cell = np.sort(draw.choice(len(volume), walkers, p=volume / volume.sum()))
    weights = draw.dirichlet(np.ones(4), walkers)
    walk = Walkers(mesh)
    stirred = walk.walk(Places(cell, weights, np.zeros(walkers)), 500.0, True, most_time=10.0, leave=())
    count, _ = np.histogramdd(stirred.last.points(mesh), bins=bins, range=[(0, 1)] * 3)
    expected = walkers / bins**3
    chi = float(((count - expected) ** 2 / expected).sum() / (bins**3 - 1))
    return [
        Check(what, chi, 1.0, SIGMAS * math.sqrt(2 / (bins**3 - 1)), "detailed balance"),
        Check("walkers lost", float(walkers - count.sum()), 0.0, 0.5, "confinement"),
    ]


def pulsing(mesh: Tetrahedra, factors: np.ndarray, period: float) -> Tetrahedra:
    """The body with its velocity times each factor in turn, evenly spread over a period."""
    return dataclasses.replace(
        mesh,
        velocity=np.ascontiguousarray(mesh.velocity[:1] * factors[:, None, None, None]),
        times=period * np.arange(len(factors)) / len(factors),
        period=period,
    )


def pulsating(walkers: int = 10_000, snapshots: int = 8) -> list[Check]:
    """Periodic flows: mixing in a plug that pulsates, conservation of the species, and an even spread that stays even.

    The plug moves by f(t) = 1 + 0.8 sin 2πt/T, linear between snapshots; what entered at t₀ has mixed for the time τ
    in which it comes to the plane, so I_s there is the mean of the steady I_s(τ), weighted with f(t₀).
    """
    peclet, period = 300.0, 30.0
    factors = 1 + 0.8 * np.sin(2 * np.pi * np.arange(snapshots) / snapshots)
    still = box((20.0, 1.0, 0.5), (40, 12, 6), lambda x: np.tile([1.0, 0, 0], (len(x), 1)), _streams(20.0, 0.25))
    mesh, positions = pulsing(still, factors, period), (2.0, 8.0, 19.0)
    walk = Walkers(mesh)
    down = walk.walk(walk.release_over_period("precursor", walkers), peclet, True, Planes.at(mesh, positions))
    crossings = down.crossings
    back = walk.walk(crossings.places, peclet, False, purpose=2)
    found = there_and_back(
        positions, walkers, 0.25, crossings.walker, crossings.plane, crossings.direction, back.ended == 0
    )
    exact = graetz.plates(lambda s: np.ones_like(s), -0.25)
    fine = 4000  # steps of a period: with kinks at whole ones, the trapezoidal rule is exact for the displacement
    clock = np.arange(0, 20 * fine + 1) * period / fine
    speed = np.interp(clock % period, mesh.clock, [*factors, factors[0]])
    gone = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * period / fine)])

    def mixed(distance: float) -> float:
        entered = np.arange(0, fine, 10)
        stay = np.interp(gone[entered] + distance, gone, clock) - clock[entered]
        steady = np.array([exact.segregation(one, peclet) for one in stay])
        return float(speed[entered] @ steady / speed[entered].sum())

    rows = _compare("plug flow that pulsates by 80 %", found, mixed, _SPECTRAL)
    return [*rows, *_fed(4 * walkers, snapshots), *_stirred_in_turn(4 * walkers, snapshots)]


def _fed(walkers: int, snapshots: int) -> list[Check]:
    """Two streams of which one pulsates more: what flows out over a period is what was fed, also as walkers see it."""
    peclet, period = 1000.0, 6.0
    mesh = box((4.0, 1.0, 0.5), (16, 12, 4), lambda x: _sheared(x, 0.0), _streams(4.0, 0.25))
    other = box((4.0, 1.0, 0.5), (16, 12, 4), lambda x: _sheared(x, 4.0), _streams(4.0, 0.25))
    share = (1 + np.sin(2 * np.pi * np.arange(snapshots) / snapshots)) / 2
    velocity = mesh.velocity + share[:, None, None, None] * (other.velocity - mesh.velocity)
    mesh = dataclasses.replace(
        mesh, velocity=velocity, times=period * np.arange(snapshots) / snapshots, period=period
    )
    walk = Walkers(mesh)
    flow = {name: np.array([mesh.flows(name, k).sum() for k in range(snapshots)]) for name in mesh.openings}
    mean = float(flow["precursor"].mean() / -flow["outlet"].mean())
    back = walk.walk(walk.release_over_period("outlet", walkers), peclet, False)
    returned = float((back.ended == mesh.openings.index("precursor")).mean())
    start = walk.release_over_period("precursor", walkers)
    entered = (flow["precursor"] + np.roll(flow["precursor"], -1)) / 2
    count = np.bincount((start.time / period % 1 * snapshots).astype(int), minlength=snapshots)
    off = float(np.abs(count / walkers - entered / entered.sum()).max())
    return [
        Check("share of the precursor in a period's outflow", returned, mean,
              SIGMAS * math.sqrt(mean * (1 - mean) / walkers), "conservation of the species"),
        Check("walkers released in a part of a period, over its inflow", off, 0.0, 10 / walkers ** 0.75,
              "flux weighting"),
    ]  # fmt: skip


def _sheared(x: np.ndarray, more: float) -> np.ndarray:
    """A parallel flow whose lower layers are faster by `more`."""
    return np.column_stack([1 + more * (1 - x[:, 1]) ** 2, np.zeros((len(x), 2))])


def _stirred_in_turn(walkers: int, snapshots: int, bins: int = 4) -> list[Check]:
    """The closed box, stirred about one axis and then about another."""

    def about(axis: int) -> Tetrahedra:
        turn = np.roll(np.arange(3), axis)
        return box((1.0, 1.0, 1.0), (8, 8, 8), lambda x: _vortex(x[:, turn])[:, np.argsort(turn)], _SHUT)

    one, two = about(0), about(1)
    swing = np.cos(2 * np.pi * np.arange(snapshots) / snapshots)[:, None, None, None]
    mesh = dataclasses.replace(
        one, velocity=swing * one.velocity + (1 - np.abs(swing)) * two.velocity,
        times=1.7 * np.arange(snapshots) / snapshots, period=1.7,
    )  # fmt: skip
    return _even("χ² of an even spread after stirring in turn", mesh, walkers, bins)


def junction(walkers: int = 20_000) -> list[Check]:
    """The paper's junction at its lowest flow: the step halved, a finer flow, and the flux of the species. Minutes."""
    from mpi4py import MPI

    from twin.case.schema import Level
    from twin.fem import storage
    from twin.flow import SteadySolver
    from twin.junction import find_connector
    from twin.verification.flow import domain_and_nodes, streams

    reynolds, peclet, share = 348.0, 96_400.0, 60 / 1060
    meshes = []
    for wall, core in ((0.10, 0.16), (0.08, 0.13)):
        domain, nodes = domain_and_nodes(
            find_connector("ptfe-y-60", Path()), Level(wall_size=wall, core_size=core), MPI.COMM_SELF
        )
        solution = SteadySolver(domain).solve(reynolds, streams(domain, share))
        nodal = np.asarray(storage.nodal(domain, solution.velocity))
        openings = {name: nodes.faces[name] for name in ("antisolvent", "precursor", "outlet")}
        cells, fields, faces = split(nodes.points, nodes.cells, [nodal], openings)
        meshes.append(tetrahedra(nodes.points, cells, fields, faces))
    positions = (1.0, 5.0, 10.0)
    runs = {
        "as it is": segregation_along(meshes[0], positions, peclet, walkers),
        "half the step": segregation_along(meshes[0], positions, peclet, walkers, Step().halved(), seed=2),
        "the finer flow": segregation_along(meshes[1], positions, peclet, walkers, seed=3),
    }
    rows = []
    for what in ("half the step", "the finer flow"):
        for one, other in zip(runs["as it is"][0], runs[what][0], strict=True):
            error = SIGMAS * math.hypot(one.error, other.error)
            name = f"Y at Re 348, I_s at {one.bores:g} bores, over {what}"
            rows.append(Check(name, one.segregation - other.segregation, 0.0, error, "the same question again"))
    walk = Walkers(meshes[0])
    back = walk.walk(walk.release("outlet", 5 * walkers), peclet, False, purpose=9)
    closure = float((back.ended == meshes[0].openings.index("precursor")).mean())
    error = SIGMAS * math.sqrt(share * (1 - share) / (5 * walkers))
    rows.append(
        Check("Y at Re 348, flux-weighted c at the outlet", closure, share, error, "conservation of the species")
    )
    return rows
