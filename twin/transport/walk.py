"""The compiled random walk: dX = ±u dt + √(2D) dW in straight tetrahedra, reflected at walls.

One step is Strang's: noise of half a step, the whole advection, noise of half a step, with the two halves between
neighbouring steps drawn as one. The advection is Kutta's third-order rule in the polynomial of the cell where the step
starts; the step that it takes is bounded by three lengths, all measured in barycentric coordinates, so that stretched
cells are seen as they are: the path, the bend of the path, and the noise. The noise takes −√3, 0 or √3 standard
deviations with probabilities 1/6, 2/3, 1/6: five moments of the normal distribution, all that a scheme of second weak
order asks for (Kloeden and Platen, Numerical Solution of SDEs, ch. 14). It is symmetric, so reflection at a flat wall
keeps a uniform concentration uniform.

The displacement is then walked face by face; where it meets a wall, its rest is reflected. So no walker can leave but
through an opening, and every crossing of a plane is seen in the cell where it happens.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

#: How a walk ended: it left by opening k ≥ 0, or
RUNNING, OUT_OF_TIME, LOST = -1, -2, -3
_MOST_FACES = 10_000  # that one displacement may cross
_MOST_STEPS = 1_000_000  # of a walk
_GROWTH = 1.5  # of the step from one to the next
_NEAR = 1e-9  # of the time of all snapshots: as good as at one of them
_REDO = 2.0  # times the tolerated bend: the step is taken again, shorter

_compile = nb.njit(cache=True, nogil=True, error_model="numpy")
# Fused multiply-adds where they only save time. In the walk itself one rounding must serve both a test and its use.
_compile_fused = nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


@_compile
def mixed(state: np.uint64) -> np.uint64:
    """A 64-bit number that looks random from a counter (splitmix64's finalizer, Steele et al. 2014)."""
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@_compile
def stream(seed: int, walker: int) -> np.uint64:
    """The start of a walker's own stream of random numbers: it depends on nothing but seed and walker."""
    return mixed(
        mixed(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)) ^ (np.uint64(walker) * np.uint64(0xD1342543DE82EF95))
    )


@_compile
def uniform(state: np.uint64) -> tuple[np.uint64, float]:
    """The next state of a stream and a number in [0, 1)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    return state, float(mixed(state) >> np.uint64(11)) * 2.0**-53


@_compile
def _three_points(bits: np.uint64) -> float:
    """−√3, 0 or √3 from 21 bits."""
    number = int(bits & np.uint64(0x1FFFFF))
    if number < 349525:
        return -math.sqrt(3.0)
    if number >= 2097152 - 349525:
        return math.sqrt(3.0)
    return 0.0


@_compile_fused
def _velocity(q: np.ndarray, a: float, b: float, c: float) -> tuple[float, float, float]:
    aa, bb, cc, ab, ac, bc = a * a, b * b, c * c, a * b, a * c, b * c
    x = q[0, 0] + a * q[1, 0] + b * q[2, 0] + c * q[3, 0] + aa * q[4, 0] + bb * q[5, 0] + cc * q[6, 0]
    y = q[0, 1] + a * q[1, 1] + b * q[2, 1] + c * q[3, 1] + aa * q[4, 1] + bb * q[5, 1] + cc * q[6, 1]
    z = q[0, 2] + a * q[1, 2] + b * q[2, 2] + c * q[3, 2] + aa * q[4, 2] + bb * q[5, 2] + cc * q[6, 2]
    x += ab * q[7, 0] + ac * q[8, 0] + bc * q[9, 0]
    y += ab * q[7, 1] + ac * q[8, 1] + bc * q[9, 1]
    z += ab * q[7, 2] + ac * q[8, 2] + bc * q[9, 2]
    return x, y, z


@_compile
def _in_period(times, snapshots, t):  # type: ignore[no-untyped-def]
    """A time within the first period; in a flow that is not periodic, which has as many times as snapshots, itself."""
    if len(times) == snapshots:
        return t
    period = times[-1] - times[0]
    return t - math.floor((t - times[0]) / period) * period


@_compile
def _at(velocity, times, cell, a, b, c, t):  # type: ignore[no-untyped-def]
    """The velocity at a time: linear between snapshots; without a period, constant before the first and after the last.

    With a period, `times` ends with that at which the first snapshot holds again.
    """
    snapshots, last = len(velocity), len(times) - 1
    if snapshots == 1:
        return _velocity(velocity[0, cell], a, b, c)
    t = _in_period(times, snapshots, t)
    if t <= times[0]:
        return _velocity(velocity[0, cell], a, b, c)
    if t >= times[last]:
        return _velocity(velocity[last % snapshots, cell], a, b, c)
    k = np.searchsorted(times, t) - 1
    share = (t - times[k]) / (times[k + 1] - times[k])
    x0, y0, z0 = _velocity(velocity[k, cell], a, b, c)
    x1, y1, z1 = _velocity(velocity[(k + 1) % snapshots, cell], a, b, c)
    return x0 + share * (x1 - x0), y0 + share * (y1 - y0), z0 + share * (z1 - z0)


@_compile
def _until(times, snapshots, now, direction):  # type: ignore[no-untyped-def]
    """How long to the next snapshot: no step goes past it, since the velocity has a kink in time there."""
    if snapshots == 1:
        return math.inf
    near, periodic = _NEAR * (times[-1] - times[0]), len(times) > snapshots
    now = _in_period(times, snapshots, now)
    if direction > 0:
        k = np.searchsorted(times, now + near, "right")
        if k < len(times):
            return times[k] - now
        return times[-1] - now + times[1] - times[0] if periodic else math.inf
    k = np.searchsorted(times, now - near, "left") - 1
    if k >= 0:
        return now - times[k]
    return now - times[0] + times[-1] - times[-2] if periodic else math.inf


@_compile
def _reach(g, x, y, z):  # type: ignore[no-untyped-def]
    """The largest change of a barycentric coordinate along a displacement, and its first three changes."""
    a = g[0, 0] * x + g[0, 1] * y + g[0, 2] * z
    b = g[1, 0] * x + g[1, 1] * y + g[1, 2] * z
    c = g[2, 0] * x + g[2, 1] * y + g[2, 2] * z
    return max(max(abs(a), abs(b)), max(abs(c), abs(a + b + c))), a, b, c


@_compile
def _displaced(  # type: ignore[no-untyped-def]
    gradients, beyond, absorbs, watched, axis, planes, cell, l0, l1, l2, l3, x, y, z, at, note
):  # fmt: skip
    """Moves a walker by (x, y, z), face by face. Returns cell, λ, how it ended, how many crossings were noted, and what
    share of the displacement it went.

    `at` is the position along the outlet's axis; `note` gets (plane, direction, share of the displacement, cell, λ).
    """
    entry, ended, noted, left = -1, RUNNING, 0, 1.0
    for _ in range(_MOST_FACES):
        g = gradients[cell]
        _, d1, d2, d3 = _reach(g, x, y, z)
        d0 = -(d1 + d2 + d3)
        share, face = 1.0, -1
        if l0 + d0 < 0 and entry != 0:
            share, face = l0 / -d0, 0
        if l1 + d1 < 0 and entry != 1 and l1 < share * -d1:
            share, face = l1 / -d1, 1
        if l2 + d2 < 0 and entry != 2 and l2 < share * -d2:
            share, face = l2 / -d2, 2
        if l3 + d3 < 0 and entry != 3 and l3 < share * -d3:
            share, face = l3 / -d3, 3
        share = max(share, 0.0)
        along = axis[0] * x + axis[1] * y + axis[2] * z
        n0, n1, n2, n3 = l0 + share * d0, l1 + share * d1, l2 + share * d2, l3 + share * d3
        arrived = at + share * along
        if watched[cell] and arrived != at:
            first = np.searchsorted(planes, min(at, arrived), "right")
            last = np.searchsorted(planes, max(at, arrived), "right")
            for k in range(first, last):
                part = (planes[k] - at) / (arrived - at)
                if noted < len(note):
                    note[noted, 0] = k
                    note[noted, 1] = 1.0 if arrived > at else -1.0
                    note[noted, 2] = 1.0 - left * (1.0 - part * share)
                    note[noted, 3] = cell
                    note[noted, 4] = max(l0 + part * (n0 - l0), 0.0)
                    note[noted, 5] = max(l1 + part * (n1 - l1), 0.0)
                    note[noted, 6] = max(l2 + part * (n2 - l2), 0.0)
                    note[noted, 7] = max(l3 + part * (n3 - l3), 0.0)
                    noted += 1
        at = arrived
        l0, l1, l2, l3 = max(n0, 0.0), max(n1, 0.0), max(n2, 0.0), max(n3, 0.0)
        if face < 0:
            return cell, l0, l1, l2, l3, at, ended, noted, 1.0
        rest = 1.0 - share
        left *= rest
        x, y, z = rest * x, rest * y, rest * z
        if face == 0:
            l0 = 0.0
        elif face == 1:
            l1 = 0.0
        elif face == 2:
            l2 = 0.0
        else:
            l3 = 0.0
        code = beyond[cell, face]
        if code >= 0:
            # The corners of the shared face come in one order on both sides: only the zero moves to another place.
            if face == 0:
                p, q, r = l1, l2, l3
            elif face == 1:
                p, q, r = l0, l2, l3
            elif face == 2:
                p, q, r = l0, l1, l3
            else:
                p, q, r = l0, l1, l2
            cell, entry = code >> 2, code & 3
            if entry == 0:
                l0, l1, l2, l3 = 0.0, p, q, r
            elif entry == 1:
                l0, l1, l2, l3 = p, 0.0, q, r
            elif entry == 2:
                l0, l1, l2, l3 = p, q, 0.0, r
            else:
                l0, l1, l2, l3 = p, q, r, 0.0
            continue
        if code < -1 and absorbs[-2 - code]:
            return cell, l0, l1, l2, l3, at, -2 - code, noted, 1.0 - left
        if face == 0:
            u, v, w = -(g[0, 0] + g[1, 0] + g[2, 0]), -(g[0, 1] + g[1, 1] + g[2, 1]), -(g[0, 2] + g[1, 2] + g[2, 2])
        else:
            u, v, w = g[face - 1, 0], g[face - 1, 1], g[face - 1, 2]
        turn = 2 * (x * u + y * v + z * w) / (u * u + v * v + w * w)
        x, y, z = x - turn * u, y - turn * v, z - turn * w
        entry = face
    return cell, l0, l1, l2, l3, at, LOST, noted, 1.0 - left


@_compile
def walk(  # type: ignore[no-untyped-def]  # noqa: D417
    points, cells, gradients, beyond, velocity, times, absorbs, watched, axis, planes, diffusivity, direction, limits,
    most_time, seed, walkers, start_cell, start, start_time, sample_every, events, samples,
):  # fmt: skip
    """Walks each walker to its end.

    Args:
        points, cells, gradients, beyond, velocity, times: of `Tetrahedra`, the times as its `clock`.
        absorbs: (openings,) bool: whether a walker leaves there, or is reflected.
        watched: (cells,) bool: where crossings of planes count; axis: (3,) normal of the planes; planes: (planes,)
            rising positions on it, from the origin.
        diffusivity: D/(U·bore) = 1/Pe.
        direction: +1 with the flow, −1 against it (time then runs backwards).
        limits: (3,) largest path, bend and noise of one step in barycentric coordinates.
        most_time: after which a walk ends as OUT_OF_TIME.
        seed, walkers: (n,) numbers of the walkers, which decide their random numbers.
        start_cell, start, start_time: (n,), (n, 4), (n,).
        sample_every: path between two samples in bores; 0 for none.
        events: (most, 9): walker, plane, direction, cell, λ₀…λ₃, time; samples: (n, most, 6): cell, λ₀…λ₃, time.

    Returns:
        ended (n,), duration (n,), steps (n,), the number of events (more than fit: give more room), samples taken (n,),
        and where each ended, (n, 5): cell, λ₀…λ₃.
    """
    n = len(walkers)
    ended, duration, steps = np.full(n, RUNNING), np.zeros(n), np.zeros(n, np.int64)
    taken, count, last = np.zeros(n, np.int64), 0, np.empty((n, 5))
    note = np.empty((max(len(planes), 1) * 2, 8))
    for w in range(n):
        state = stream(seed, walkers[w])
        cell = start_cell[w]
        l0, l1, l2, l3 = start[w, 0], start[w, 1], start[w, 2], start[w, 3]
        t, free, owed, path, number = 0.0, math.inf, 0.0, 0.0, 0
        at = 0.0
        for k in range(3):
            v = cells[cell]
            p = l0 * points[v[0], k] + l1 * points[v[1], k] + l2 * points[v[2], k] + l3 * points[v[3], k]
            at += axis[k] * p
        x, y, z = _at(velocity, times, cell, l1, l2, l3, start_time[w])
        while True:
            number += 1
            # How long a step may be, from the velocity with which the last one ended.
            g = gradients[cell]
            steep = 0.0
            for k in range(3):
                steep = max(steep, g[k, 0] ** 2 + g[k, 1] ** 2 + g[k, 2] ** 2)
            free = min(_GROWTH * free, limits[0] / max(_reach(g, x, y, z)[0], 1e-12))
            free = min(free, limits[2] ** 2 / max(2 * diffusivity * steep, 1e-12))
            now = start_time[w] + direction * t
            dt = 0.0 if t >= most_time else min(free, _until(times, len(velocity), now, direction))
            if diffusivity > 0:
                sigma = math.sqrt(diffusivity * max(owed + dt, 0.0))
                owed = min(owed + dt, 0.0)
                state = state + np.uint64(0x9E3779B97F4A7C15)
                bits = mixed(state)
                x = sigma * _three_points(bits)
                y = sigma * _three_points(bits >> np.uint64(21))
                z = sigma * _three_points(bits >> np.uint64(42))
                cell, l0, l1, l2, l3, at, end, noted, _ = _displaced(
                    gradients, beyond, absorbs, watched, axis, planes, cell, l0, l1, l2, l3, x, y, z, at, note
                )
                for k in range(noted):
                    if count < len(events):
                        _event(events, count, w, note, k, t, 0.0)
                    count += 1
                if end != RUNNING:
                    break
                g = gradients[cell]
            if t >= most_time:
                end = OUT_OF_TIME
                break
            planned = dt
            u1, v1, w1 = _at(velocity, times, cell, l1, l2, l3, now)
            _, a, b, c = _reach(g, u1, v1, w1)
            while True:
                d = direction * dt
                u2, v2, w2 = _at(velocity, times, cell, l1 + d / 2 * a, l2 + d / 2 * b, l3 + d / 2 * c, now + d / 2)
                bend = dt * _reach(g, u2 - u1, v2 - v1, w2 - w1)[0]
                if bend <= _REDO * limits[1]:
                    break
                dt *= max(0.2, 0.9 * math.sqrt(limits[1] / bend))
                free = dt
            _, a, b, c = _reach(g, 2 * u2 - u1, 2 * v2 - v1, 2 * w2 - w1)
            u3, v3, w3 = _at(velocity, times, cell, l1 + d * a, l2 + d * b, l3 + d * c, now + d)
            x, y, z = d / 6 * (u1 + 4 * u2 + u3), d / 6 * (v1 + 4 * v2 + v3), d / 6 * (w1 + 4 * w2 + w3)
            if sample_every > 0:
                path += math.sqrt(x * x + y * y + z * z)
            cell, l0, l1, l2, l3, at, end, noted, share = _displaced(
                gradients, beyond, absorbs, watched, axis, planes, cell, l0, l1, l2, l3, x, y, z, at, note
            )
            for k in range(noted):
                if count < len(events):
                    _event(events, count, w, note, k, t, dt)
                count += 1
            t += share * dt
            if end != RUNNING:
                break
            if number >= _MOST_STEPS:
                end = LOST
                break
            owed += 2 * dt - planned  # the second half of this step's noise, less what its first half had too much
            if bend > limits[1]:
                free = dt * math.sqrt(limits[1] / bend)
            x, y, z = u3, v3, w3
            if sample_every > 0 and path >= sample_every * (taken[w] + 1) and taken[w] < samples.shape[1]:
                s = samples[w, taken[w]]
                s[0], s[1], s[2], s[3], s[4], s[5] = cell, l0, l1, l2, l3, t
                taken[w] += 1
        ended[w], duration[w], steps[w] = end, t, number
        last[w, 0], last[w, 1], last[w, 2], last[w, 3], last[w, 4] = cell, l0, l1, l2, l3
    return ended, duration, steps, count, taken, last


@_compile
def _event(events, count, w, note, k, t, dt):  # type: ignore[no-untyped-def]
    events[count, 0], events[count, 1], events[count, 2] = w, note[k, 0], note[k, 1]
    for m in range(3, 8):
        events[count, m] = note[k, m]
    events[count, 8] = t + note[k, 2] * dt
