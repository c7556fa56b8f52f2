"""Random walkers in a solved flow: where they are released, how far they walk, and where they end.

Walkers are numbered; the number decides a walker's random numbers, and the ranks of a communicator share the numbers
out, so a result is the same to the last bit on any number of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from twin.errors import BadInput, TwinError
from twin.transport import walk
from twin.transport.quadratic import FACES
from twin.transport.tetrahedra import Tetrahedra

_INSIDE = 1e-9  # of the outlet's length: how far before its end the last plane stands
_BLOCK = 32  # neighbours that go to one rank
_BATCH = 5000  # walkers between two words on how far it is
MOST_LOST = 1e-5  # of the walkers; more is an error


class Comm(Protocol):
    """What the walkers need of an MPI communicator."""

    @property
    def rank(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    def allgather(self, sendobj: object) -> list: ...  # noqa: D102


class Alone:
    """The communicator of one process."""

    rank, size = 0, 1

    def allgather(self, sendobj: object) -> list:
        """What the only rank has."""
        return [sendobj]


@dataclass(frozen=True)
class Step:
    """The largest path, bend and noise of one step, in barycentric coordinates of its cell."""

    path: float = 0.25
    bend: float = 0.02
    noise: float = 0.25

    def halved(self) -> Step:
        """A step of half the length: the bend falls with its square."""
        return Step(self.path / 2, self.bend / 4, self.noise / np.sqrt(2))

    @property
    def limits(self) -> np.ndarray:
        """As the kernel takes them, (3,)."""
        return np.array([self.path, self.bend, self.noise])


@dataclass(frozen=True)
class Places:
    """Where walkers are: cell (n,), barycentric coordinates (n, 4), time (n,) in bores/U."""

    cell: np.ndarray
    weights: np.ndarray
    time: np.ndarray

    def __len__(self) -> int:
        return len(self.cell)

    def __getitem__(self, which: np.ndarray | slice) -> Places:
        return Places(self.cell[which], self.weights[which], self.time[which])

    def points(self, mesh: Tetrahedra) -> np.ndarray:
        """In bores, (n, 3)."""
        return np.einsum("nv,nvd->nd", self.weights, mesh.points[mesh.cells[self.cell]])


@dataclass(frozen=True)
class Crossings:
    """Every crossing of a plane: its walker, plane, direction (+1 downstream), place, and time since release; (k,)."""

    walker: np.ndarray
    plane: np.ndarray
    direction: np.ndarray
    places: Places
    since: np.ndarray


@dataclass(frozen=True)
class Walks:
    """How walks ended.

    ended       (n,) number of the opening that each left by; −2: out of time
    duration    (n,) in bores/U; steps: (n,)
    last        where each ended
    crossings   of the planes that were watched
    samples     (n, most, 6) cell, λ₀…λ₃ and time along the path; `taken` (n,) of them are filled
    """

    ended: np.ndarray
    duration: np.ndarray
    steps: np.ndarray
    last: Places
    crossings: Crossings
    samples: np.ndarray
    taken: np.ndarray


@dataclass(frozen=True)
class Planes:
    """Planes across a tube: they stand at `positions` (rising, in bores) from the mesh's origin along `axis`.

    The tube's own axis passes through `centre`; a plane ends at `radius` from it, in bores.
    """

    axis: np.ndarray
    centre: np.ndarray
    positions: np.ndarray
    radius: float

    @classmethod
    def none(cls) -> Planes:
        """No planes to watch."""
        return cls(np.array([0.0, 0, 1]), np.zeros(3), np.empty(0), 0.0)

    @classmethod
    def of_outlet(cls, mesh: Tetrahedra, spacing: float = 1.0, outlet: str = "outlet") -> Planes:
        """A plane at every multiple of `spacing` down the outlet, from one bore on, and one at its end."""
        cell, face = mesh.faces(outlet)
        area = mesh.areas(cell, face)
        axis = area.sum(axis=0) / np.linalg.norm(area.sum(axis=0))
        corners = mesh.corners(cell, face)
        size = np.linalg.norm(area, axis=1)
        centre = (size @ corners.mean(axis=1)) / size.sum()
        across = corners - centre
        across -= (across @ axis)[..., None] * axis
        end = float(centre @ axis)
        inside = spacing * np.arange(np.ceil(1 / spacing - 1e-9), np.floor((end - 1e-6) / spacing) + 1)
        return cls(
            axis, centre, np.append(inside, end * (1 - _INSIDE)), 1.3 * float(np.linalg.norm(across, axis=2).max())
        )

    @classmethod
    def at(cls, mesh: Tetrahedra, positions: Sequence[float], outlet: str = "outlet") -> Planes:
        """Planes at the given bores down the outlet; raises `BadInput` for one outside of it."""
        whole = cls.of_outlet(mesh, outlet=outlet)
        wanted, end = np.asarray(positions, float), whole.positions[-1]
        rising = np.diff(wanted, prepend=0.0, append=end * (1 + 2 * _INSIDE))
        if not np.all(rising > 0):  # nor if one of them is no number
            raise BadInput(
                f"planes at {', '.join(f'{p:g}' for p in positions)} bores do not stand in the outlet",
                f"give rising positions between 0 and {end:.4g}",
            )
        return cls(whole.axis, whole.centre, np.minimum(wanted, end), whole.radius)

    def watched(self, mesh: Tetrahedra) -> np.ndarray:
        """The cells in which crossings count, (cells,)."""
        away = mesh.points[mesh.cells] - self.centre
        across = np.linalg.norm(away - (away @ self.axis)[..., None] * self.axis, axis=2)
        along = mesh.points[mesh.cells] @ self.axis
        if not len(self.positions):
            return np.zeros(len(mesh.cells), bool)
        near = (along.max(axis=1) >= self.positions[0]) & (along.min(axis=1) <= self.positions[-1])
        return near & (across.max(axis=1) <= self.radius)


class Walkers:
    """Walks in one velocity field, for any diffusivity. `watch` is told how far a walk is, on each rank."""

    def __init__(
        self,
        mesh: Tetrahedra,
        comm: Comm | None = None,
        step: Step | None = None,
        seed: int = 1,
        watch: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.mesh, self.comm, self.step, self.seed, self._watch = mesh, comm or Alone(), step or Step(), seed, watch

    def release(self, opening: str, count: int, at: float = 0.0, snapshot: int = 0) -> Places:
        """`count` places on an inlet, as dense as its inflow; on an outlet, for walks against the flow, as its outflow.

        They are stratified over the faces, and found by rejection within a face. `snapshot` says whose inflow it is.

        Raises `BadInput` where nothing flows.
        """
        cell, face = self.mesh.faces(opening)
        flows = self.mesh.flows(opening, snapshot)
        sense = 1.0 if flows.sum() >= 0 else -1.0
        inflow = np.maximum(sense * flows, 0.0)
        if not inflow.sum() > 0:
            raise BadInput(f'nothing flows through "{opening}"', "give it a rate")
        draw = np.random.default_rng([self.seed, snapshot])
        quantile = (np.arange(count) + draw.random(count)) / count
        chosen = np.searchsorted(np.cumsum(inflow) / inflow.sum(), quantile).clip(max=len(inflow) - 1)
        cell, face = cell[chosen], face[chosen]
        inward = -sense * self.mesh.areas(cell, face)
        velocity = self.mesh.face_velocities(cell, face, snapshot)
        speed = np.einsum("nkd,nd->nk", velocity, inward)  # at corners, then at middles
        controls = [2 * speed[:, 3 + k] - (speed[:, (k + 1) % 3] + speed[:, (k + 2) % 3]) / 2 for k in range(3)]
        bound = np.maximum(speed[:, :3].max(axis=1), np.max(controls, axis=0))  # of a quadratic, by Bernstein's form
        place, open_ = np.zeros((count, 3)), np.arange(count)
        while len(open_):
            p = np.sort(draw.random((len(open_), 2)), axis=1)
            trial = np.column_stack([p[:, 0], p[:, 1] - p[:, 0], 1 - p[:, 1]])
            shape = np.column_stack([trial * (2 * trial - 1), 4 * np.roll(trial, -1, 1) * np.roll(trial, -2, 1)])
            value = np.einsum("nk,nk->n", shape, speed[open_])
            accepted = draw.random(len(open_)) * bound[open_] <= value
            place[open_[accepted]] = trial[accepted]
            open_ = open_[~accepted]
        weights = np.zeros((count, 4))
        np.put_along_axis(weights, FACES[face], place, axis=1)
        return Places(cell, weights, np.full(count, at))

    def release_over_period(self, opening: str, count: int) -> Places:
        """`count` places and times, as dense as the inflow in place and time over one period; of a steady flow, at 0.

        Linear in time between snapshots, the inflow is the sum of what each snapshot gives, which rises from the time
        of the one before it and falls until that of the next one: a walker belongs to one snapshot, and its time is
        drawn from that triangle. Raises `BadInput` where nothing flows, or the flow is unsteady without a period.
        """
        mesh = self.mesh
        if len(mesh.times) == 1:
            return self.release(opening, count)
        if not mesh.period:
            raise BadInput("the flow is not periodic", "release the walkers at one time")
        gaps = np.diff(mesh.clock)
        before, after = np.roll(gaps, 1), gaps
        flows = np.array([mesh.flows(opening, number).sum() for number in range(len(mesh.times))])
        given = np.cumsum(np.abs(flows) * (before + after))
        draw = np.random.default_rng([self.seed, len(mesh.times)])
        quantile = (np.arange(count) + draw.random(count)) / count
        numbers = np.bincount(np.searchsorted(given / given[-1], quantile), minlength=len(flows))
        parts = []
        for number, (few, rise, fall) in enumerate(zip(numbers, before, after, strict=True)):
            places = self.release(opening, int(few), snapshot=number)
            share = (draw.permutation(few) + draw.random(few)) / few  # one of each of so many equal parts
            early = -rise + np.sqrt(share * rise * (rise + fall))
            late = fall - np.sqrt((1 - share) * fall * (rise + fall))
            times = mesh.times[number] + np.where(share * (rise + fall) < rise, early, late)
            parts.append(Places(places.cell, places.weights, times))
        return Places(*(np.concatenate([getattr(one, name) for one in parts]) for name in ("cell", "weights", "time")))

    def walk(
        self,
        start: Places,
        peclet: float,
        forward: bool,
        planes: Planes | None = None,
        samples: tuple[float, int] = (0.0, 0),
        most_time: float = np.inf,
        purpose: int = 1,
        leave: Sequence[str] | None = None,
    ) -> Walks:
        """Walks from `start` until each walker leaves: forwards through an outlet, backwards through an inlet.

        Args:
            start: the same on all ranks.
            peclet: U·bore/D; infinite for no diffusion.
            forward: with the flow, or against it.
            planes: whose crossings are noted.
            samples: path between two samples of a walk in bores, and the most samples.
            most_time: in bores/U.
            purpose: makes the random numbers of one use independent of another's.
            leave: openings where walkers leave, instead of those; they are reflected at all others.

        Raises:
            BadInput: a Péclet number that is not positive; no opening to leave by, and no end to the time.
            TwinError: more than `MOST_LOST` of the walkers got lost.
        """
        if not peclet > 0:
            raise BadInput(f"a Péclet number of {peclet:g} says nothing", "give a positive one; inf for no diffusion")
        planes = planes or Planes.none()
        absorbs = self._absorbs(forward, leave)
        if not absorbs.any() and not np.isfinite(most_time):
            raise BadInput("the walkers have nowhere to go", "name an opening to leave by, or an end to their time")
        # Walkers that start beside each other see the same cells: one after the other they find them in the cache.
        order = np.argsort(start.cell, kind="stable")
        mine = order[np.arange(len(start)) // _BLOCK % self.comm.size == self.comm.rank]
        own = []
        for batch in np.array_split(mine, max(1, math.ceil(len(mine) / _BATCH))):
            own.append(self._share(start, batch, peclet, forward, absorbs, planes, samples, most_time, purpose))
            done = sum(len(part[0]) for part in own)
            self._watch(f"{len(start):,} walkers {'down' if forward else 'back'}: {done / max(len(mine), 1):.0%}")
        parts = [part for parts in self.comm.allgather(own) for part in parts]
        return _joined(start, 1.0 if forward else -1.0, parts)

    def place(self, points: np.ndarray, at: float = 0.0) -> Places:
        """The places of points (n, 3) in bores; raises `BadInput` for points outside of the mesh."""
        return Places(*self.mesh.locate(points), np.full(len(points), at))

    def share(self, places: Places, inlet: str, peclet: float, returns: int, purpose: int = 3) -> np.ndarray:
        """The concentration at places, (n,), of what comes through `inlet` with c = 1: the share of `returns` walkers.

        Its standard error is √(c(1 − c)/returns), independent from place to place.
        """
        back = self.walk(places[np.repeat(np.arange(len(places)), returns)], peclet, False, purpose=purpose)
        return (back.ended == self.mesh.openings.index(inlet)).reshape(-1, returns).mean(axis=1)

    def _absorbs(self, forward: bool, leave: Sequence[str] | None) -> np.ndarray:
        mesh = self.mesh
        if leave is not None:
            for name in leave:
                mesh.faces(name)  # says so where there is none of that name
            return np.array([name in leave for name in mesh.openings], bool)
        snapshots = range(len(mesh.times))
        flows = np.array([np.mean([mesh.flows(name, one).sum() for one in snapshots]) for name in mesh.openings])
        return flows < 0 if forward else flows > 0

    def _share(self, start, mine, peclet, forward, absorbs, planes, samples, most_time, purpose):  # type: ignore[no-untyped-def]
        mesh = self.mesh
        taken = np.zeros((len(mine), samples[1], 6))
        room = max(1024, 4 * len(mine) * max(len(planes.positions), 1)) if len(planes.positions) else 1
        while True:
            events = np.empty((room, 9))
            ended, duration, steps, count, filled, last = walk.walk(
                mesh.points, mesh.cells, mesh.gradients, mesh.beyond, mesh.velocity, mesh.clock, absorbs,
                planes.watched(mesh), planes.axis, planes.positions, 1 / peclet, 1.0 if forward else -1.0,
                self.step.limits, most_time, self.seed * 1_000_003 + purpose, mine, start.cell[mine],
                start.weights[mine], start.time[mine], samples[0], events, taken,
            )  # fmt: skip
            if count <= room:
                break
            room = count
        return mine, ended, duration, steps, events[:count], taken, filled, last


def _joined(start: Places, direction: float, parts: Sequence[tuple]) -> Walks:
    mine = np.concatenate([part[0] for part in parts])
    order = np.argsort(mine)
    ended, duration, steps = (np.concatenate([part[k] for part in parts])[order] for k in (1, 2, 3))
    for part in parts:
        part[4][:, 0] = part[0][part[4][:, 0].astype(int)]
    events = np.concatenate([part[4] for part in parts])
    events = events[np.argsort(events[:, 0], kind="stable")]
    lost = int((ended == walk.LOST).sum())
    if lost > MOST_LOST * len(start):
        raise TwinError(f"{lost} of {len(start)} walkers got lost in the mesh", "mesh the geometry anew, or finer")
    walker = events[:, 0].astype(int)
    places = Places(events[:, 3].astype(np.int64), events[:, 4:8], start.time[walker] + direction * events[:, 8])
    crossings = Crossings(walker, events[:, 1].astype(int), events[:, 2], places, events[:, 8])
    samples, taken, last = (np.concatenate([part[k] for part in parts])[order] for k in (5, 6, 7))
    end = Places(last[:, 0].astype(np.int64), last[:, 1:], start.time + direction * duration)
    return Walks(ended, duration, steps, end, crossings, samples, taken)
