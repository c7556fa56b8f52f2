"""The walkers' mesh, their kernel, and their release: what each promises, on bodies of a few hundred cells.

Known solutions of transport are in `twin.verification.walks`.
"""

import copy
import dataclasses
import hashlib
import math
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from twin.errors import BadInput, NotConverged, TwinError
from twin.fem import linear
from twin.transport import Places, Planes, Step, Walkers, sampled, split, tetrahedra, walk
from twin.transport.quadratic import EDGES, FACES
from twin.verification.blocks import box

pytestmark = pytest.mark.field

LENGTH = 3.0
ENDS = {"inlet": lambda x: x[:, 0] < 1e-9, "outlet": lambda x: x[:, 0] > LENGTH - 1e-9}
TWO_STREAMS = {
    "low": lambda x: (x[:, 0] < 1e-9) & (x[:, 1] < 0.5),
    "high": lambda x: (x[:, 0] < 1e-9) & (x[:, 1] > 0.5),
    "outlet": ENDS["outlet"],
}


def plug(x):
    return np.tile([1.0, 0, 0], (len(x), 1))


def parabola(x):
    return np.column_stack([6 * x[:, 1] * (1 - x[:, 1]), np.zeros((len(x), 2))])


def stirring(x):
    """A vortex that fills a unit cube; nothing passes its walls."""
    a, b, c = np.pi * x.T
    return np.column_stack([np.sin(a) * np.cos(b) * np.sin(c), -np.cos(a) * np.sin(b) * np.sin(c), np.zeros(len(x))])


def leaking(x):
    """Stirred as well, no polynomial, and with a flow through the wall at z = 1."""
    return parabola(x) + 0.3 * stirring(x) + np.column_stack([np.zeros((len(x), 2)), 0.003 * x[:, 2]])


@pytest.fixture(scope="module")
def channel():
    """Plug flow along x."""
    return box((LENGTH, 1.0, 1.0), (9, 3, 3), plug, ENDS)


@pytest.fixture(scope="module")
def corrected():
    return box((LENGTH, 1.0, 1.0), (12, 4, 4), leaking, TWO_STREAMS)


@pytest.fixture(scope="module")
def developed():
    return box((LENGTH, 1.0, 1.0), (9, 4, 3), parabola, ENDS)


@pytest.fixture(scope="module")
def stirred():
    """A closed box; the outlet that the mesh must have reflects."""
    return box((1.0, 1.0, 1.0), (5, 5, 5), stirring, {"outlet": lambda x: x[:, 0] > 1 - 1e-9})


def sides(mesh):
    """The faces of the openings, as `tetrahedra` takes them."""
    found = {}
    for name in mesh.openings:
        cell, face = mesh.faces(name)
        found[name] = np.take_along_axis(mesh.cells[cell], FACES[face], axis=1)
    return found


def with_flow(mesh, *flows, **changes):
    """The same body with other velocities."""
    velocity = [sampled(mesh.points, mesh.cells, flow) for flow in flows]
    given = {"points": mesh.points, "cells": mesh.cells, "velocity": velocity, "boundaries": sides(mesh)}
    return tetrahedra(**(given | changes))


def velocity(mesh, cell, weights, snapshot=0):
    """The velocity at barycentric places of cells, by the meaning of the coefficients."""
    a, b, c = weights[:, 1:].T
    terms = np.stack([np.ones_like(a), a, b, c, a * a, b * b, c * c, a * b, a * c, b * c], axis=1)
    return np.einsum("nm,nmd->nd", terms, mesh.velocity[snapshot, cell])


def anywhere(mesh, count=2000, seed=2):
    """Random places, evenly spread over the body."""
    draw = np.random.default_rng(seed)
    volume = np.abs(np.linalg.det(np.diff(mesh.points[mesh.cells], axis=1)))
    cell = np.sort(draw.choice(len(volume), count, p=volume / volume.sum()))
    return Places(cell, draw.dirichlet(np.ones(4), count), np.zeros(count))


def located(mesh, points, time=0.0):
    """The places of given points."""
    corners = mesh.points[mesh.cells]
    found = []
    for point in points:
        inner = np.einsum("ckd,cd->ck", mesh.gradients, point - corners[:, 0])
        weights = np.column_stack([1 - inner.sum(axis=1), inner])
        cell = int(np.argmax(weights.min(axis=1)))
        found.append((cell, np.maximum(weights[cell], 0)))
    cells, weights = zip(*found, strict=True)
    return Places(np.array(cells), np.array(weights), np.full(len(cells), float(time)))


def net(walks, planes):
    """The signed number of crossings of every walker and plane."""
    found = np.zeros((len(walks.ended), len(planes.positions)))
    np.add.at(found, (walks.crossings.walker, walks.crossings.plane), walks.crossings.direction)
    return found


def bits(walks):
    """All that a walk tells, as one digest."""
    crossings, last = walks.crossings, walks.last
    arrays = [
        walks.ended, walks.duration, walks.steps, last.cell, last.weights, last.time, walks.samples, walks.taken,
        crossings.walker, crossings.plane, crossings.direction, crossings.since, crossings.places.cell,
        crossings.places.weights, crossings.places.time,
    ]  # fmt: skip
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


class TestVelocity:
    def test_it_has_no_divergence(self, corrected):
        """By central differences, which are exact for a quadratic."""
        assert corrected.largest_divergence() < 1e-9
        places, total = anywhere(corrected, 500), np.zeros(500)
        for k in range(3):
            step = 0.5 * (np.eye(4)[k + 1] - np.eye(4)[0])
            slope = velocity(corrected, places.cell, places.weights + step)
            slope -= velocity(corrected, places.cell, places.weights - step)
            total += np.einsum("nd,nd->n", corrected.gradients[places.cell, k], slope)
        assert np.abs(total).max() < 1e-9

    def test_its_normal_component_is_continuous(self, corrected):
        cell, face = np.nonzero(corrected.beyond >= 0)
        other, back = np.divmod(corrected.beyond[cell, face], 4)
        area = corrected.areas(cell, face)
        np.testing.assert_allclose(corrected.areas(other, back), -area, atol=1e-15)
        for place in np.random.default_rng(1).dirichlet(np.ones(3), 5):
            here, there = np.zeros((len(cell), 4)), np.zeros((len(cell), 4))
            np.put_along_axis(here, FACES[face], place[None], axis=1)
            np.put_along_axis(there, FACES[back], place[None], axis=1)
            jump = velocity(corrected, cell, here) - velocity(corrected, other, there)
            assert np.abs(np.einsum("nd,nd->n", jump, area)).max() < 1e-14

    def test_nothing_passes_a_wall(self, corrected):
        cell, face = np.nonzero(corrected.beyond == -1)
        flow = np.einsum("fkd,fd->fk", corrected.face_velocities(cell, face), corrected.areas(cell, face))
        assert np.abs(flow[:, 3:].mean(axis=1)).max() < 1e-15
        raw = sampled(corrected.points, corrected.cells, leaking)
        top = np.abs(corrected.corners(cell, face)[:, :, 2] - 1).max(axis=1) < 1e-9
        assert raw[cell[top]][..., 2].max() > 2e-3  # the check can fail: the flow given does pass

    def test_inlets_keep_their_flows_and_the_outlet_takes_the_rest(self, corrected):
        """The profile and the stirring at x = 0 are exact on a face: half of the flow enters through either inlet."""
        for name in ("low", "high"):
            cell, face = corrected.faces(name)
            assert corrected.flows(name).sum() == pytest.approx(0.5, abs=1e-14)
            middle = corrected.corners(cell, face)[:, :, 1].mean(axis=1)
            assert np.all(middle < 0.5 if name == "low" else middle > 0.5)
        assert corrected.flows("outlet").sum() == pytest.approx(-1, abs=1e-12)

    def test_a_field_without_divergence_stays_as_it_is(self, developed):
        places = anywhere(developed)
        exact = parabola(places.points(developed))
        assert np.abs(velocity(developed, places.cell, places.weights) - exact).max() < 1e-13
        assert developed.imbalance < 1e-14

    def test_the_imbalance_is_what_cells_lose_over_what_enters_them(self, channel):
        def expanding(rate):
            return lambda x: plug(x) + np.column_stack([rate * x[:, 0], np.zeros((len(x), 2))])

        cell, face = (a.ravel() for a in np.indices(channel.beyond.shape))
        area = channel.areas(cell, face)
        middle = channel.corners(cell, face)[:, :, 0].mean(axis=1)
        entering = float(np.abs(area[:, 0] * (1 + 0.01 * middle)).sum()) / 2
        assert with_flow(channel, expanding(0.01)).imbalance == pytest.approx(0.01 * LENGTH / entering, rel=1e-9)
        two = with_flow(channel, expanding(0.0), expanding(0.01), times=(0, 1))
        assert two.imbalance == with_flow(channel, expanding(0.01)).imbalance
        with pytest.raises(BadInput, match=r"not that of an incompressible fluid: its cells lose \d+%"):
            with_flow(channel, expanding(1.0))

    def test_a_velocity_that_is_no_number_is_refused_and_rest_is_not(self, channel):
        with pytest.raises(BadInput, match="incompressible"):
            with_flow(channel, lambda x: np.full((len(x), 3), np.nan))
        rest = with_flow(channel, lambda x: np.zeros((len(x), 3)))
        assert rest.imbalance == 0 and not rest.velocity.any()


class TestMesh:
    def test_neighbours_know_each_other(self, corrected):
        cell, face = np.nonzero(corrected.beyond >= 0)
        other, back = np.divmod(corrected.beyond[cell, face], 4)
        assert np.array_equal(corrected.beyond[other, back], cell * 4 + face)
        shared = [np.take_along_axis(corrected.cells[c], FACES[f], axis=1) for c, f in ((cell, face), (other, back))]
        assert np.array_equal(*shared)  # in one order
        outer = np.linalg.norm(corrected.areas(*np.nonzero(corrected.beyond < 0)), axis=1).sum()
        assert outer == pytest.approx(2 + 4 * LENGTH)

    def test_an_unknown_opening_is_refused(self, channel):
        with pytest.raises(BadInput, match='no opening "nowhere"') as caught:
            channel.flows("nowhere")
        assert "inlet, outlet" in caught.value.remedy

    def test_a_cell_without_volume_is_refused(self, channel):
        points = channel.points.copy()
        corners = channel.cells[7]
        points[corners[3]] = points[corners[:3]].mean(axis=0)
        with pytest.raises(BadInput, match="without volume"):
            with_flow(channel, plug, points=points)

    def test_faces_of_an_opening_lie_at_the_edge(self, channel):
        cell, face = np.nonzero(channel.beyond >= 0)
        inner = np.take_along_axis(channel.cells[cell[:1]], FACES[face[:1]], axis=1)
        for wrong in (inner, np.array([[0, 5, len(channel.points) - 1]])):
            with pytest.raises(BadInput, match='"inlet" has faces that are not at the edge'):
                with_flow(channel, plug, boundaries=sides(channel) | {"inlet": wrong})

    def test_a_face_has_two_cells_at_most(self, channel):
        points = np.concatenate([channel.points, channel.points[channel.cells[0]].mean(axis=0)[None]])
        cell = int(np.nonzero((channel.beyond >= 0).all(axis=1))[0][0])
        more = np.append(channel.cells[cell, :3], len(channel.points))[None]
        with pytest.raises(BadInput, match="more than two cells"):
            with_flow(channel, plug, points=points, cells=np.concatenate([channel.cells, more]),
                      velocity=[np.zeros((len(channel.cells) + 1, 10, 3))])  # fmt: skip

    @pytest.mark.parametrize("outlets", [("outlet",), ()])
    def test_a_mesh_without_an_outlet_is_refused(self, channel, outlets):
        inlet = {"inlet": sides(channel)["inlet"]}
        with pytest.raises(BadInput, match="no outlet"):
            with_flow(channel, plug, boundaries=inlet, outlets=outlets)

    def test_a_correction_that_is_not_found_is_no_result(self, channel, monkeypatch):
        monkeypatch.setattr(linear, "MOST_BALANCE", 1)
        with pytest.raises(NotConverged, match="correction of the velocity's divergence") as caught:
            with_flow(channel, leaking)
        assert caught.value.remedy

    @pytest.mark.parametrize("times", [(0.0,), (0.0, 1.0, 2.0), (1.0, 0.0), (1.0, 1.0)])
    def test_every_snapshot_has_its_own_time(self, channel, times):
        with pytest.raises(BadInput, match="needs its time"):
            with_flow(channel, plug, plug, times=times)

    def test_the_numbers_of_vertices_do_not_matter(self, corrected):
        """Cells may come in any order, and their vertices in any order."""
        draw = np.random.default_rng(4)
        cells = draw.permuted(corrected.cells, axis=1)[draw.permutation(len(corrected.cells))]
        other = with_flow(corrected, cells=cells, velocity=[sampled(corrected.points, cells, leaking)])
        assert np.array_equal(other.cells, corrected.cells) and np.array_equal(other.beyond, corrected.beyond)
        np.testing.assert_allclose(other.velocity, corrected.velocity, atol=1e-10)


@pytest.fixture(scope="module")
def curved(developed):
    """Points, cells and faces of ten-node cells: those of the developed flow, its inner edges bent."""
    corners = np.random.default_rng(8).permuted(
        developed.cells, axis=1
    )  # so that each diagonal is somewhere the shortest
    pairs = np.sort(np.stack([corners[:, list(edge)] for edge in EDGES], axis=1), axis=2)
    edges, number = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    count = len(developed.points)
    cells = np.concatenate([corners, count + number.reshape(-1, 6)], axis=1)
    middles = developed.points[edges].mean(axis=1)
    inside = (np.minimum(middles, [LENGTH, 1, 1] - middles) > 1e-9).all(axis=1)
    bent = middles + 0.015 * inside[:, None] * np.random.default_rng(6).uniform(-1, 1, middles.shape)
    places = {tuple(edge): count + k for k, edge in enumerate(edges.tolist())}
    faces = {}
    for name, corners in sides(developed).items():
        between = [[places[tuple(sorted((f[i], f[(i + 1) % 3])))] for i in range(3)] for f in corners.tolist()]
        faces[name] = np.concatenate([corners, between], axis=1)
    return np.concatenate([developed.points, bent]), np.concatenate([developed.points, middles]), cells, faces


class TestSplit:
    def test_eight_children_fill_their_parents(self, curved):
        for points in curved[:2]:
            cells, _, _ = split(points, curved[2], [], {})
            volume = np.abs(np.linalg.det(np.diff(points[cells], axis=1))) / 6
            assert len(cells) == 8 * len(curved[2]) and volume.sum() == pytest.approx(LENGTH)
        parent = np.abs(np.linalg.det(np.diff(curved[1][curved[2][:, :4]], axis=1))) / 6
        np.testing.assert_allclose(volume.reshape(-1, 8), np.tile(parent[:, None] / 8, 8), rtol=1e-9)

    def test_the_shortest_diagonal_is_cut(self, curved):
        points, _, cells, _ = curved
        children, _, _ = split(points, cells, [], {})
        for parent in range(0, len(cells), 50):
            inner = [set(child) for child in children[8 * parent + 4 : 8 * parent + 8].tolist()]
            a, b = set.intersection(*inner)
            others = [
                np.linalg.norm(points[cells[parent, i]] - points[cells[parent, j]]) for i, j in ((4, 9), (5, 7), (6, 8))
            ]
            assert np.linalg.norm(points[a] - points[b]) == pytest.approx(min(others))

    def test_values_are_the_quadratic_field_s_and_agree_where_children_touch(self, curved):
        points, straight, cells, _ = curved
        field = leaking(straight)
        children, [nodal], _ = split(points, cells, [field], {})
        np.testing.assert_array_equal(nodal[:, :4], field[children])
        pairs = np.sort(np.stack([children[:, list(edge)] for edge in EDGES], axis=1), axis=2).reshape(-1, 2)
        edges, number = np.unique(pairs, axis=0, return_inverse=True)
        values = nodal[:, 4:].reshape(-1, 3)
        first = np.full((len(edges), 3), np.nan)
        first[number.ravel()] = values
        assert len(values) > 3 * len(edges)  # edges are shared
        np.testing.assert_allclose(values, first[number.ravel()], atol=1e-14)
        # A quadratic function is met between the nodes, too.
        children, [nodal], _ = split(straight, cells, [parabola(straight)], {})
        np.testing.assert_allclose(nodal, sampled(straight, children, parabola), atol=1e-14)

    def test_every_face_becomes_four(self, curved, developed):
        points, _, cells, faces = curved
        _, _, quarters = split(points, cells, [], faces)
        for name, found in quarters.items():
            whole = np.linalg.norm(developed.areas(*developed.faces(name)), axis=1)
            corner = points[found]
            area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 2
            assert len(found) == 4 * len(faces[name])
            np.testing.assert_allclose(area.reshape(-1, 4), np.tile(whole[:, None] / 4, 4), rtol=1e-12)

    def test_the_children_make_a_mesh_for_walkers(self, curved):
        """Edges, opposite faces and openings fit together, and a wall at which the nodes rest stays at rest."""
        points, straight, cells, faces = curved
        for nodes, exact in ((straight, True), (points, False)):
            children, nodal, quarters = split(nodes, cells, [parabola(straight)], faces)
            mesh = tetrahedra(nodes, children, nodal, quarters)
            assert mesh.flows("inlet").sum() == pytest.approx(1, abs=1e-12)
            assert mesh.largest_divergence() < 1e-9 and (mesh.imbalance < 1e-13) == exact
            cell, face = np.nonzero(mesh.beyond == -1)
            ends = np.linalg.norm(mesh.areas(cell, face), axis=1).sum()
            assert ends == pytest.approx(4 * LENGTH)
        across = np.abs(nodes[children][..., 1]).max(axis=1) < 1e-9
        assert not nodal[0][across].any()


class TestConfinement:
    def test_no_walker_is_lost_in_a_stirred_closed_box(self, stirred):
        walkers = Walkers(stirred)
        for peclet in (20.0, 1000.0, math.inf):
            found = walkers.walk(anywhere(stirred, 300), peclet, True, samples=(0.5, 20), most_time=20.0, leave=())
            assert np.all(found.ended == -2) and found.steps.mean() > 50 and found.duration.min() >= 20
            for weights in (found.last.weights, found.samples[found.samples[..., 5] > 0][:, 1:5]):
                assert weights.min() >= 0 and np.abs(weights.sum(axis=1) - 1).max() < 1e-9
            places = found.last.points(stirred)
            assert places.min() > -1e-9 and places.max() < 1 + 1e-9
            assert np.array_equal(found.last.time, found.duration)

    def test_walls_reflect_as_mirrors(self, channel):
        """However far a displacement goes, its end is the mirror image in the walls that it met."""
        draw, size = np.random.default_rng(9), np.array([LENGTH, 1, 1])
        start, note = anywhere(channel, 300), np.empty((2, 8))
        shut, unseen = np.zeros(2, bool), np.zeros(len(channel.cells), bool)
        body = channel.gradients, channel.beyond, shut, unseen, np.array([1.0, 0, 0]), np.empty(0)
        for cell, weights, point in zip(start.cell, start.weights, start.points(channel), strict=True):
            away = draw.normal(0, 2, 3)
            found = walk._displaced(*body, cell, *weights, *away, point[0], note)
            end = np.array(found[1:5]) @ channel.points[channel.cells[found[0]]]
            folded = np.mod(point + away, 2 * size)
            np.testing.assert_allclose(end, np.minimum(folded, 2 * size - folded), atol=1e-12)
            assert found[5] == pytest.approx(end[0], abs=1e-12) and found[6] == walk.RUNNING and found[8] == 1

    def test_walls_and_foreign_openings_reflect(self, developed):
        """Strong diffusion: walkers meet inlet and walls again and again, and leave only where they may."""
        walkers = Walkers(developed)
        start = walkers.release("inlet", 500)
        assert np.all(walkers.walk(start, 1.0, True).ended == developed.openings.index("outlet"))
        assert np.all(walkers.walk(start, 1.0, False).ended == developed.openings.index("inlet"))
        either = walkers.walk(anywhere(developed, 500), 1.0, True, leave=("inlet", "outlet")).ended
        assert set(either) == {0, 1}
        with pytest.raises(BadInput, match='no opening "door"'):
            walkers.walk(start, 1.0, True, leave=("door",))

    def test_walkers_that_can_never_leave_are_refused(self, channel):
        walkers = Walkers(channel)
        with pytest.raises(BadInput, match="nowhere to go"):
            walkers.walk(walkers.release("inlet", 3), 10.0, True, leave=())

    @pytest.mark.parametrize("peclet", [0.0, -3.0, math.nan])
    def test_a_peclet_number_that_says_nothing_is_refused(self, channel, peclet):
        walkers = Walkers(channel)
        with pytest.raises(BadInput, match="Péclet"):
            walkers.walk(walkers.release("inlet", 3), peclet, True)

    def test_lost_walkers_are_an_error(self, channel, monkeypatch):
        def losing(count):
            def kernel(*given):
                mine, cell, place = given[15:18]
                ended = np.where(mine < count, walk.LOST, 1)
                none = np.zeros(len(mine))
                return ended, none, none, 0, none, np.column_stack([cell, place])

            return kernel

        walkers = Walkers(channel)
        start = walkers.release("inlet", 100_000)
        monkeypatch.setattr(walk, "walk", losing(1))
        assert (walkers.walk(start, math.inf, True).ended == walk.LOST).sum() == 1  # one in a hundred thousand may
        monkeypatch.setattr(walk, "walk", losing(2))
        with pytest.raises(TwinError, match="2 of 100000 walkers got lost"):
            walkers.walk(start, math.inf, True)


class Together:
    """The communicator of one of several ranks that are threads of this process."""

    def __init__(self, rank, sent, barrier):
        self.rank, self.size, self.sent, self.barrier = rank, len(sent), sent, barrier

    def allgather(self, sendobj):
        self.sent[self.rank] = sendobj
        self.barrier.wait(60)
        received = copy.deepcopy(self.sent)
        self.barrier.wait(60)
        return received

    @classmethod
    def run(cls, size, work):
        """What `work` returns on every rank."""
        sent, barrier = [None] * size, threading.Barrier(size)
        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(work, [cls(rank, sent, barrier) for rank in range(size)]))


def stamp(comm=None, seed=1):
    """A walk with everything in it, as a digest. Also run by mpirun, below."""
    mesh = box((LENGTH, 1.0, 1.0), (9, 4, 3), parabola, ENDS)
    walkers = Walkers(mesh, comm, seed=seed)
    planes = Planes.at(mesh, (0.5, 1.5, 2.9))
    found = walkers.walk(walkers.release("inlet", 200), 50.0, True, planes, samples=(0.2, 8))
    back = walkers.walk(found.crossings.places, 50.0, False, purpose=2)
    return bits(found) + bits(back)


@pytest.fixture(scope="module")
def alone():
    return stamp()


class TestSameNumbers:
    def test_a_seed_gives_the_same_walks_again(self, alone):
        assert stamp() == alone
        assert stamp(seed=2) != alone

    def test_another_purpose_or_seed_draws_other_numbers(self, channel):
        walkers = Walkers(channel)
        start = walkers.release("inlet", 100)
        one, two, again = (walkers.walk(start, 10.0, True, purpose=number) for number in (1, 2, 1))
        assert bits(one) == bits(again) and np.abs(np.corrcoef(one.duration, two.duration)[0, 1]) < 0.4
        assert not np.array_equal(one.duration, two.duration)
        other = Walkers(channel, seed=2).walk(start, 10.0, True)
        assert np.abs(np.corrcoef(one.duration, other.duration)[0, 1]) < 0.4

    @pytest.mark.parametrize("size", [2, 3, 7])
    def test_shares_make_the_same_whole(self, developed, size):
        """Also of fewer walkers than ranks."""
        for count in (200, 5):
            start = Walkers(developed).release("inlet", count)
            planes = Planes.at(developed, (0.5, 2.9))

            def walked(comm, start=start, planes=planes):
                return bits(Walkers(developed, comm).walk(start, 50.0, True, planes, samples=(0.2, 8)))

            assert set(Together.run(size, walked)) == {walked(None)}

    def test_every_rank_walks_its_share(self, developed):
        start = Walkers(developed).release("inlet", 200)
        shares = Together.run(
            3, lambda comm: Walkers(developed, comm).walk(start, 50.0, True) and comm.sent[comm.rank][0][0]
        )
        assert sorted(np.concatenate(shares).tolist()) == list(range(200)) and min(map(len, shares)) > 40

    @pytest.mark.parametrize("ranks", [1, 2, 3])
    def test_processes_make_the_same_whole(self, alone, ranks):
        launcher = shutil.which("mpirun") or shutil.which("mpiexec")
        command = [launcher, "-n", str(ranks), sys.executable, __file__]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(ranks), alone]


class TestStreamlines:
    """Without diffusion every path is known."""

    def test_plug_flow_goes_straight_on_and_finds_back(self, channel):
        walkers, planes = Walkers(channel), Planes.at(channel, (0.4, 1.0, 2.95))
        start = walkers.release("inlet", 200)
        found = walkers.walk(start, math.inf, True, planes)
        places = start.points(channel)
        np.testing.assert_allclose(found.last.points(channel), places + np.array([LENGTH, 0, 0]), atol=1e-12)
        np.testing.assert_allclose(found.duration, LENGTH, rtol=1e-12)
        crossings = found.crossings
        assert np.array_equal(np.bincount(crossings.plane), [200] * 3) and np.all(crossings.direction == 1)
        np.testing.assert_allclose(crossings.since, planes.positions[crossings.plane], rtol=1e-12)
        crossed = places[crossings.walker] + np.outer(planes.positions[crossings.plane], [1, 0, 0])
        np.testing.assert_allclose(crossings.places.points(channel), crossed, atol=1e-12)
        back = walkers.walk(crossings.places, math.inf, False, planes)
        assert np.all(back.ended == channel.openings.index("inlet"))
        np.testing.assert_allclose(back.last.points(channel), places[crossings.walker], atol=1e-12)
        np.testing.assert_allclose(back.last.time, 0, atol=1e-12)

    def test_a_layer_takes_the_time_of_its_speed(self, developed):
        walkers = Walkers(developed)
        start = walkers.release("inlet", 200)
        found = walkers.walk(start, math.inf, True)
        speed = parabola(start.points(developed))[:, 0]
        np.testing.assert_allclose(found.duration, LENGTH / speed, rtol=1e-9)
        assert found.duration.mean() == pytest.approx(LENGTH, rel=0.1)  # volume over flow

    def test_a_closed_streamline_stays_on_its_line(self, stirred):
        """sin πx sin πy is constant along a path, but for what the mesh changes of the velocity: a path of one sign."""
        walkers, tight = Walkers(stirred), Step(0.05, 0.001, 0.25)
        start = located(stirred, [[0.5, 0.3, 0.5], [0.4, 0.5, 0.3]])
        coarse, fine = (
            Walkers(stirred, step=step).walk(start, math.inf, True, most_time=3.0, leave=()) for step in (Step(), tight)
        )
        for found in (coarse, fine):
            back = walkers.walk(found.last, math.inf, False, most_time=3.0, leave=())
            assert np.abs(back.last.points(stirred) - start.points(stirred)).max() < 0.05
            x, y, _ = found.last.points(stirred).T
            x0, y0, _ = start.points(stirred).T
            np.testing.assert_allclose(
                np.sin(np.pi * x) * np.sin(np.pi * y), np.sin(np.pi * x0) * np.sin(np.pi * y0), atol=0.05
            )
        assert coarse.steps.sum() < fine.steps.sum()


class TestPlanes:
    def test_planes_stand_at_every_bore_and_at_the_end(self, channel):
        planes = Planes.of_outlet(channel)
        np.testing.assert_allclose(planes.positions, [1, 2, 3], rtol=1e-8)
        assert planes.positions[-1] < LENGTH and np.allclose(planes.axis, [1, 0, 0])
        np.testing.assert_allclose(Planes.of_outlet(channel, 0.8).positions, [1.6, 2.4, 3], rtol=1e-8)

    @pytest.mark.parametrize("wrong", [(0.0, 1.0), (-1.0,), (1.0, 3.01), (2.0, 1.0), (1.0, 1.0), (math.nan,)])
    def test_planes_outside_the_outlet_are_refused(self, channel, wrong):
        with pytest.raises(BadInput, match="do not stand in the outlet"):
            Planes.at(channel, wrong)
        assert Planes.at(channel, (0.5, LENGTH)).positions[-1] < LENGTH

    @pytest.mark.parametrize("peclet", [2.0, 50.0, math.inf])
    def test_every_walker_crosses_every_plane_once_net(self, developed, peclet):
        walkers, planes = Walkers(developed), Planes.of_outlet(developed, 0.5)
        found = walkers.walk(walkers.release("inlet", 60), peclet, True, planes)
        assert np.all(net(found, planes) == 1)
        assert (found.crossings.direction < 0).any() == math.isfinite(peclet)  # diffusion crosses to and fro
        # And on the way back to the inlet from there: each before it, none beyond.
        back = walkers.walk(found.crossings.places, peclet, False, planes, purpose=2)
        away = np.arange(len(planes.positions)) - found.crossings.plane[:, None]
        assert np.all(net(back, planes)[away < 0] == -1) and not net(back, planes)[away > 0].any()

    @pytest.mark.parametrize("peclet", [30.0, math.inf])
    @pytest.mark.parametrize("forward", [True, False])
    def test_the_signed_sum_says_on_which_side_a_walker_ended(self, stirred, peclet, forward):
        """In a vortex, where half of all crossings go against the axis, and with diffusion to and fro."""
        axis = np.array([0.6, 0.8, 0.0])
        planes = Planes(axis, np.array([0.5, 0.5, 0.5]), np.array([0.45, 0.7, 1.0]), 2.0)
        start = anywhere(stirred, 300)
        found = Walkers(stirred).walk(start, peclet, forward, planes, most_time=6.0, leave=())
        crossings = found.crossings
        sides = [(p.points(stirred) @ axis)[:, None] > planes.positions for p in (start, found.last)]
        assert np.array_equal(net(found, planes), sides[1].astype(float) - sides[0])
        assert (crossings.direction < 0).mean() == pytest.approx(0.5, abs=0.1) and len(crossings.walker) > 600
        at = crossings.places.points(stirred) @ axis
        np.testing.assert_allclose(at, planes.positions[crossings.plane], atol=1e-9)
        assert crossings.places.weights.min() >= 0
        same = np.diff(crossings.walker) == 0
        assert np.all(np.diff(crossings.since)[same] >= 0) and np.all(np.diff(crossings.walker) >= 0)
        np.testing.assert_array_equal(crossings.places.time, crossings.since * (1 if forward else -1))

    def test_many_crossings_find_room(self, stirred):
        """More than the kernel is first given room for."""
        planes = Planes(np.array([1.0, 0, 0]), np.full(3, 0.5), np.array([0.5]), 2.0)
        found = Walkers(stirred).walk(anywhere(stirred, 40), 5.0, True, planes, most_time=40.0, leave=())
        assert len(found.crossings.walker) > 1024 and set(found.crossings.walker) == set(range(40))

    def test_a_plane_ends_at_its_radius(self, channel):
        """Another tube beside the outlet is not the outlet."""
        walkers = Walkers(channel)
        start = walkers.release("inlet", 50)
        planes = dataclasses.replace(Planes.at(channel, (1.0,)), centre=np.array([3.0, 9.0, 0.5]))
        assert not len(walkers.walk(start, math.inf, True, planes).crossings.walker)


def shift(time):
    """∫u dt of a plug flow that grows from 1 at t = 0 to 3 at t = 2, and is constant before and after."""
    inside = np.clip(time, 0, 2)
    return np.minimum(time, 0) + inside + inside**2 / 2 + 3 * np.maximum(time - 2, 0)


@pytest.fixture(scope="module")
def growing():
    long = box((20.0, 1.0, 1.0), (20, 2, 2), plug, {"inlet": ENDS["inlet"], "outlet": lambda x: x[:, 0] > 20 - 1e-9})
    return with_flow(long, plug, lambda x: 3 * plug(x), times=(0.0, 2.0))


class TestUnsteady:
    @pytest.mark.parametrize("forward", [True, False])
    @pytest.mark.parametrize("time", [-1.5, 0.0, 0.7, 2.0, 3.1])
    def test_a_walker_goes_the_integral_of_the_velocity(self, growing, time, forward):
        middle = located(growing, [[10.2, 0.3, 0.6]], time)
        found = Walkers(growing).walk(middle, math.inf, forward, most_time=2.5, leave=())
        assert found.ended[0] == -2 and 2.5 <= found.duration[0] < 2.8
        end = time + found.duration[0] * (1 if forward else -1)
        assert found.last.time[0] == pytest.approx(end, abs=1e-12)
        expected = [10.2 + shift(end) - shift(time), 0.3, 0.6]
        np.testing.assert_allclose(found.last.points(growing)[0], expected, atol=1e-7)

    @pytest.mark.parametrize("time", [-1.5, 0.7, 3.1])
    def test_back_finds_its_start_and_its_time(self, growing, time):
        walkers, planes = Walkers(growing), Planes.at(growing, (3.0, 8.0))
        start = walkers.release("inlet", 20, at=time)
        there = walkers.walk(start, math.inf, True, planes)
        crossings = there.crossings
        np.testing.assert_allclose(
            shift(crossings.places.time) - shift(time), planes.positions[crossings.plane], rtol=1e-3
        )
        for places, walker in ((there.last, slice(None)), (crossings.places, crossings.walker)):
            back = walkers.walk(places, math.inf, False)
            assert np.all(back.ended == 0)
            np.testing.assert_allclose(back.last.time, time, atol=2e-3)
            np.testing.assert_allclose(back.last.points(growing), start.points(growing)[walker], atol=1e-9)

    def test_a_pulse_moves_walkers_that_were_at_rest(self, channel):
        """The step of a walker at rest has no bound but the next snapshot."""
        flows = [lambda x, s=s: s * plug(x) for s in (0.0, 1.0, 0.0)]
        mesh = with_flow(channel, *flows, times=(0.0, 1.0, 2.0))
        start = located(mesh, [[1.1, 0.4, 0.5]], -3.0)
        found = Walkers(mesh).walk(start, math.inf, True, most_time=9.0, leave=())
        np.testing.assert_allclose(found.last.points(mesh)[0], [2.1, 0.4, 0.5], atol=1e-7)
        back = Walkers(mesh).walk(found.last, math.inf, False, most_time=found.duration[0], leave=())
        np.testing.assert_allclose(back.last.points(mesh)[0], [1.1, 0.4, 0.5], atol=1e-7)

    def test_two_equal_snapshots_are_a_steady_flow(self, developed):
        equal = with_flow(developed, parabola, parabola, times=(0.0, 1e4))
        np.testing.assert_allclose(equal.velocity[1], developed.velocity[0], atol=1e-14)
        equal = dataclasses.replace(equal, velocity=np.repeat(developed.velocity, 2, axis=0))
        planes = Planes.at(developed, (1.0, 2.0))
        one, two = (
            bits(w.walk(w.release("inlet", 100, at=5.0), 50.0, forward, planes, purpose=3))
            for w, forward in ((Walkers(developed), True), (Walkers(equal), True))
        )
        assert one == two

    def test_flows_and_divergence_of_every_snapshot(self, growing):
        assert [growing.flows("inlet", number).sum() for number in (0, 1)] == pytest.approx([1, 3])
        broken = growing.velocity.copy()
        broken[1, 5, 4] += 1
        assert growing.largest_divergence() < 1e-9 < dataclasses.replace(growing, velocity=broken).largest_divergence()


PERIOD, FACTORS = 2.5, np.array([1.0, 1.8, 0.7, 0.5])


def gone(time):
    """∫f dt from 0 of the periodic factor that is linear between FACTORS, by whole periods and a fine trapezoid."""
    clock = np.linspace(0, PERIOD, 4001)
    speed = np.interp(clock, np.linspace(0, PERIOD, 5), [*FACTORS, FACTORS[0]])
    once = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * PERIOD / 4000)])
    whole, rest = np.divmod(np.asarray(time, float), PERIOD)
    return whole * once[-1] + np.interp(rest, clock, once)


@pytest.fixture(scope="module")
def pulsing():
    """Developed flow between plates that pulsates."""
    ends = {"inlet": ENDS["inlet"], "outlet": lambda x: x[:, 0] > 20 - 1e-9}
    long = box((20.0, 1.0, 0.5), (20, 4, 2), parabola, ends)
    flows = [lambda x, f=f: f * parabola(x) for f in FACTORS]
    return with_flow(long, *flows, times=PERIOD * np.arange(4) / 4, period=PERIOD)


class TestPeriodic:
    @pytest.mark.parametrize("time", [-7.3, -2.5, 0.0, 0.4, 2.5, 11.9])
    def test_a_layer_goes_its_share_of_the_displacement_at_any_time(self, pulsing, time):
        walkers, start = Walkers(pulsing), located(pulsing, [[3.0, y, 0.3] for y in (0.1, 0.3, 0.5)], time)
        down = walkers.walk(start, math.inf, True, most_time=6.1, leave=())
        speed = 6 * np.array([0.1, 0.3, 0.5]) * (1 - np.array([0.1, 0.3, 0.5]))
        moved = gone(time + down.duration) - gone(time)
        np.testing.assert_allclose(down.last.points(pulsing)[:, 0], 3 + speed * moved, atol=2e-6)
        back = walkers.walk(down.last, math.inf, False, most_time=float(down.duration.max()) + 0.5, leave=())
        moved = gone(time + down.duration) - gone(time + down.duration - back.duration)
        expected = down.last.points(pulsing)[:, 0] - speed * moved
        np.testing.assert_allclose(back.last.points(pulsing)[:, 0], expected, atol=2e-6)

    def test_beside_the_end_of_a_period_the_next_snapshot_is_one_of_the_next_period(self):
        clock = np.array([0.0, 0.5, 1.5, 2.3])
        for periods in (-2.0, 0.0, 5.0):
            end = 2.3 * (periods + 1)
            for now in (end - 1e-12, end, end + 1e-12):
                assert walk._until(clock, 3, now, 1.0) == pytest.approx(0.5, abs=1e-9)
                assert walk._until(clock, 3, now, -1.0) == pytest.approx(0.8, abs=1e-9)

    def test_a_period_more_or_less_changes_nothing(self, pulsing):
        walkers, planes = Walkers(pulsing), Planes.at(pulsing, (3.0, 12.0))
        early, late = (
            walkers.walk(walkers.release("inlet", 200, at=at), 80.0, True, planes) for at in (0.3, 0.3 + 3 * PERIOD)
        )
        np.testing.assert_allclose(early.duration, late.duration, rtol=1e-6)

    def test_release_over_a_period_is_as_dense_as_the_inflow(self, pulsing):
        start = Walkers(pulsing).release_over_period("inlet", 20_000)
        assert len(start) == 20_000
        phase = start.time % PERIOD
        share = gone(np.linspace(0, PERIOD, 21)) / gone(PERIOD)
        count, _ = np.histogram(phase, np.linspace(0, PERIOD, 21))
        np.testing.assert_allclose(count / 20_000, np.diff(share), atol=4e-4)
        height = start.points(pulsing)[:, 1]
        assert height.var() == pytest.approx(0.05, rel=0.02)  # of the density 6y(1 − y)
        assert abs(np.corrcoef(height, np.sin(2 * np.pi * phase / PERIOD))[0, 1]) < 0.03

    def test_a_release_follows_an_inflow_that_changes_its_profile(self, developed):
        mesh = with_flow(developed, plug, parabola, times=(0.0, 1.0), period=2.0)
        start = Walkers(mesh).release_over_period("inlet", 20_000)
        height, phase = start.points(mesh)[:, 1], start.time % 2.0
        assert height.var() == pytest.approx((1 / 12 + 1 / 20) / 2, rel=0.02)
        assert height[np.abs(phase - 1) > 0.95].var() == pytest.approx(1 / 12, rel=0.08)
        assert height[np.abs(phase - 1) < 0.05].var() == pytest.approx(1 / 20, rel=0.08)

    def test_of_a_steady_flow_it_is_the_release_itself(self, developed):
        walkers = Walkers(developed)
        one, two = walkers.release("inlet", 100), walkers.release_over_period("inlet", 100)
        assert np.array_equal(one.cell, two.cell) and np.array_equal(one.weights, two.weights) and not two.time.any()

    def test_a_flow_without_a_period_has_none_to_release_over(self, growing):
        with pytest.raises(BadInput, match="not periodic"):
            Walkers(growing).release_over_period("inlet", 10)

    def test_a_period_holds_its_snapshots(self, channel):
        with pytest.raises(BadInput, match="ends before its snapshots"):
            with_flow(channel, plug, plug, times=(0.0, 1.0), period=1.0)

    def test_equal_snapshots_are_the_steady_flow(self, developed):
        equal = dataclasses.replace(
            developed, velocity=np.repeat(developed.velocity, 3, axis=0), times=np.array([0, 1e4, 2e4]), period=3e4
        )
        planes = Planes.at(developed, (1.0, 2.0))
        one, two = (
            bits(w.walk(w.release("inlet", 100, at=5.0), 50.0, True, planes, purpose=3))
            for w in (Walkers(developed), Walkers(equal))
        )
        assert one == two


class TestTimeAndSamples:
    def test_a_walk_ends_after_its_time(self, channel):
        walkers = Walkers(channel)
        start = walkers.release("inlet", 50)
        found = walkers.walk(start, math.inf, True, most_time=1.3)
        assert np.all(found.ended == -2) and found.duration.min() >= 1.3 and found.duration.max() < 1.4
        np.testing.assert_allclose(found.last.points(channel)[:, 0], found.duration, rtol=1e-12)
        nothing = walkers.walk(start, math.inf, True, most_time=0.0)
        assert np.all(nothing.duration == 0) and np.array_equal(nothing.last.weights, start.weights)
        slow = walkers.walk(start, 20.0, True, most_time=2.5)
        assert set(slow.ended) == {-2, channel.openings.index("outlet")}
        assert np.all((slow.ended == -2) == (slow.duration >= 2.5))

    def test_samples_lie_along_the_path(self, developed):
        walkers = Walkers(developed)
        start = walkers.release("inlet", 60)
        found = walkers.walk(start, math.inf, True, samples=(0.25, 8))
        assert np.all(found.taken == 8) and found.samples.shape == (60, 8, 6)
        rows = found.samples.reshape(-1, 6)
        places = Places(rows[:, 0].astype(int), rows[:, 1:5], rows[:, 5])
        assert rows[:, 1:5].min() >= 0 and np.abs(rows[:, 1:5].sum(axis=1) - 1).max() < 1e-12
        x, y, _ = places.points(developed).T
        speed = 6 * y * (1 - y)
        np.testing.assert_allclose(x, speed * rows[:, 5], rtol=1e-9)  # at its time each is where it then was
        late = x.reshape(60, 8) - 0.25 * np.arange(1, 9)
        assert late.min() > -1e-9 and late.max() < 0.1  # by a step at most
        few = walkers.walk(start, math.inf, True, samples=(0.7, 8))
        assert np.all(few.taken == 4) and not few.samples[:, 4:].any()
        assert not walkers.walk(start, math.inf, True).taken.any()


class TestRelease:
    @pytest.mark.parametrize(("opening", "end"), [("inlet", 0.0), ("outlet", LENGTH)])
    def test_walkers_are_as_dense_as_the_flow(self, developed, opening, end):
        """χ² over cells of y and z; the share of the flow below y is 3y² − 2y³."""
        count, (rows, columns) = 20_000, (10, 4)
        places = Walkers(developed).release(opening, count, at=2.5)
        x, y, z = places.points(developed).T
        assert np.abs(x - end).max() < 1e-12 and np.all(places.time == 2.5)
        edges = np.linspace(0, 1, rows + 1)
        share = np.diff(3 * edges**2 - 2 * edges**3)
        found, _, _ = np.histogram2d(y, z, (rows, columns), [(0, 1), (0, 1)])
        expected = count * share[:, None] / columns * np.ones(columns)
        freedom = rows * columns - 1
        assert ((found - expected) ** 2 / expected).sum() / freedom < 1 + 4 * math.sqrt(2 / freedom)

    def test_only_what_flows_in_carries_walkers(self, developed):
        """An opening with backflow: the flow turns at y = 3/4."""

        def turning(x):
            return np.column_stack([3 - 4 * x[:, 1], np.zeros((len(x), 2))])

        mesh = with_flow(developed, turning)
        y = Walkers(mesh).release("inlet", 5000).points(mesh)[:, 1]
        assert y.max() <= 0.75 + 1e-12
        assert np.mean(y) == pytest.approx(0.25, abs=4 * 0.18 / math.sqrt(5000))  # of the density 3 − 4y on [0, 3/4]

    def test_an_opening_through_which_nothing_flows_is_refused(self, developed):
        walkers = Walkers(developed)
        with pytest.raises(BadInput, match='no opening "nowhere"'):
            walkers.release("nowhere", 10)
        rest = with_flow(developed, lambda x: np.zeros((len(x), 3)))
        with pytest.raises(BadInput, match='nothing flows through "inlet"'):
            Walkers(rest).release("inlet", 10)

    def test_the_seed_decides(self, developed):
        one, same, other = (Walkers(developed, seed=seed).release("inlet", 50).weights for seed in (1, 1, 2))
        assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.fixture(scope="module")
def moments():
    """A cloud from one point in a shear u = 1 + s(y − ½), far from walls, with the step given: x², y², z², (y + z)²
    and xy over their means 2D(t + s²t³/3), 2Dt, 2Dt, 4Dt and Dst²; and the steps of a walk.
    """
    s, d, origin = 2.0, 1 / 2000, np.array([2.0, 0.5, 0.5])

    def sheared(x):
        return np.column_stack([1 + s * (x[:, 1] - 0.5), np.zeros((len(x), 2))])

    mesh = box((8.0, 1.0, 1.0), (20, 3, 3), sheared, {"outlet": lambda x: x[:, 0] > 8 - 1e-9, "inlet": ENDS["inlet"]})
    middle = located(mesh, [origin])[np.zeros(CLOUD, int)]

    def of(step, seed):
        found = Walkers(mesh, step=step, seed=seed).walk(middle, 1 / d, True, most_time=3.0, leave=())
        (x, y, z), t = (found.last.points(mesh) - origin).T, found.duration
        x = x - t
        figures = [x**2 / (t + s**2 * t**3 / 3), y**2 / t, z**2 / t, (y + z) ** 2 / (2 * t), x * y / (s * t**2 / 2)]
        return np.mean(figures, axis=1) / (2 * d), found.steps.mean()

    return of


CLOUD = 6000
CHANCE = 4 * math.sqrt(2 / CLOUD)  # the standard error of a variance, four times


class TestOrder:
    def test_the_step_is_within_the_error(self, moments):
        usual, steps = moments(Step(), 1)
        half, more = moments(Step().halved(), 2)
        assert 1.3 * steps < more
        assert np.abs(usual - 1).max() < CHANCE and np.abs(half - 1).max() < CHANCE

    def test_a_long_last_step_has_all_its_noise(self, moments):
        """Walks that end by time carry the second half of the last step's noise."""
        large, steps = moments(Step(2.0, 0.5, 5.0), 3)
        assert steps < 12 and np.abs(large[1:4] - 1).max() < CHANCE

    def test_half_a_step(self):
        step = Step().halved()
        np.testing.assert_allclose(step.limits, [0.125, 0.005, 0.25 / math.sqrt(2)])


if __name__ == "__main__":
    from mpi4py import MPI

    found = MPI.COMM_WORLD.allgather(stamp(MPI.COMM_WORLD))
    if MPI.COMM_WORLD.rank == 0:
        print(len(found), *set(found))
