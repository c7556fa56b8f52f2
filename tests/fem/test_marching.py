import math

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.special import jnp_zeros, jv

from twin.errors import BadInput
from twin.transport.marching import March, scattered

pytestmark = pytest.mark.field


class Flow:
    """A flow that does not change along the tube."""

    steady_from = 0.0

    def __init__(self, w=None, stream=None, curvature=0.0):
        self.w, self.stream, self.curvature = w or poiseuille, stream, curvature

    def at(self, z, points):
        velocity = np.zeros((len(points), 3))
        velocity[:, 2] = self.w(points)
        if self.stream is not None:  # h u is the curl of the stream function, so no fluid is lost
            h = 1 + 2 * self.curvature * points[:, 0]
            for axis, other, sign in ((0, 1, 1), (1, 0, -1)):
                shift = 1e-5 * np.eye(2)[other]
                slope = (self.stream(points + shift) - self.stream(points - shift)) / 2e-5
                velocity[:, axis] = sign * slope / h
        return velocity


def poiseuille(points):
    return 2 * (1 - 4 * (points**2).sum(axis=1))


def plug(points):
    return np.ones(len(points))


def vortices(points):
    """Two vortices about as strong as those of a coil."""
    return 0.1 * (1 - 4 * (points**2).sum(axis=1)) ** 2 * points[:, 1]


def layer(width):
    return lambda points: (1 + np.tanh((points[:, 0] - 0.1) / width)) / 2


def halves_in_plug(z, peclet):
    """I_s of two streams side by side: Bessel's series in r, cosines in the angle."""
    x, weights = np.polynomial.legendre.leggauss(300)
    x, weights, total = (x + 1) / 2, weights / 2, np.zeros(len(z))
    for m in range(1, 40, 2):
        zeros = jnp_zeros(m, 20)
        norms = (1 - m**2 / zeros**2) * jv(m, zeros) ** 2 / 2
        shares = (jv(m, np.outer(zeros, x)) * x) @ weights / norms
        total += (2 / (np.pi * m)) ** 2 * (shares**2 * norms * np.exp(-2 * (2 * zeros) ** 2 * z[:, None] / peclet)).sum(
            axis=1
        )
    return total / 0.25


def core_in_poiseuille(z, peclet, edge):
    """I_s of c = 1 for r < edge in developed flow: Graetz's problem with an insulated wall, in even polynomials."""
    count = 60
    x, weights = np.polynomial.legendre.leggauss(400)
    r, weights = (x + 1) / 4, weights / 4
    basis = [np.polynomial.Legendre.basis(n) for n in range(count)]
    argument = 8 * r**2 - 1  # from −1 to 1
    value = np.array([one(argument) for one in basis])
    slope = np.array([one.deriv()(argument) * 16 * r for one in basis])
    speed = 2 * (1 - 4 * r**2) * r * weights * 8  # its integral is 1
    rates, modes = eigh((slope * 8 * r * weights) @ slope.T, (value * speed) @ value.T)
    inner = (x + 1) / 2 * edge
    measure = 2 * (1 - 4 * inner**2) * inner * np.polynomial.legendre.leggauss(400)[1] / 2 * edge * 8
    shares = modes.T @ (np.array([one(8 * inner**2 - 1) for one in basis]) @ measure)
    mean = measure.sum()
    assert abs(rates[0]) < 1e-6
    assert rates[1] / 2 == pytest.approx(25.6796, rel=1e-4)  # Neumann's β² of the radius, for the largest speed
    return float((shares[1:] ** 2 * np.exp(-2 * rates[1:] * z / peclet)).sum() / (mean * (1 - mean)))


def test_two_halves_in_plug_flow_mix_as_the_series_says():
    march = March(Flow(plug), [lambda points: points[:, 0] > 0], 1000.0, 0.0, spacing=0.02, first=0.002)
    stations = np.array([1.0, 5.0, 20.0, 60.0])
    for z, exact in zip(stations, halves_in_plug(stations, 1000.0), strict=True):
        station = march.to(z)
        assert station.segregation[0, 0] == pytest.approx(exact, abs=5e-4)
        assert station.index[0, 0] == pytest.approx(1 - math.sqrt(station.segregation[0, 0]))
        assert abs(station.numerical) < 0.02
        assert station.flux_error[0] == pytest.approx(0, abs=1e-10)
    assert station.scale == pytest.approx(1 / (2 * jnp_zeros(1, 1)[0]), rel=0.01)  # of the mode that is left


def test_a_core_in_poiseuille_flow_mixes_as_graetz_says():
    march = March(Flow(), [lambda points: np.hypot(*points.T) < 0.25], 1000.0, 0.0, spacing=0.01, first=0.002)
    for z in (1.0, 5.0, 20.0):
        assert march.to(z).segregation[0, 0] == pytest.approx(core_in_poiseuille(z, 1000.0, 0.25), abs=1e-3)


def test_steps_are_of_second_order():
    def mixed(step, peclet=2000.0):
        march = March(Flow(stream=vortices), [layer(0.1)], peclet, 0.0, spacing=0.01, step=step, coarsen=False)
        return march.to(8.0).segregation[0, 0]

    results = [mixed(step) for step in (2.0, 1.0, 0.5, 0.125)]
    errors = [abs(one - results[-1]) for one in results[:-1]]
    assert math.log2(errors[0] / errors[1]) > 1.7
    assert math.log2(errors[1] / errors[2]) > 1.7
    assert errors[2] < 2e-4


@pytest.mark.parametrize("curvature", [0.0, 0.1])
def test_flux_is_kept_and_what_is_uniform_stays_so(curvature):
    flow = Flow(stream=vortices, curvature=curvature)
    march = March(flow, [layer(0.02), lambda points: np.ones(len(points))], 4.5e5, 0.0, spacing=0.01)
    before = march.to(0.0).mean
    after = march.to(10.0)
    assert after.mean == pytest.approx(before, rel=1e-9)
    assert abs(after.flux_error[0]) < 5e-4  # what the interpolation alone would have changed
    assert after.lowest[1] == pytest.approx(1, abs=1e-9)
    assert after.highest[1] == pytest.approx(1, abs=1e-9)


def test_a_flow_that_loses_fluid_is_found_out():
    """The check above can fail: fluid that vanishes along the tube shows as a false flux where it is not projected."""

    class Leaky(Flow):
        def at(self, z, points):
            velocity = super().at(z, points)
            velocity[:, :2] *= 1 + 0.2 * np.sin(12 * points[:, :1])
            return velocity

    march = March(Leaky(stream=vortices), [layer(0.02)], 4.5e5, 0.0, spacing=0.01)
    kept = abs(march.to(5.0).flux_error[0])
    import twin.transport.characteristics as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PROJECTIONS", 0)
        march = March(Leaky(stream=vortices), [layer(0.02)], 4.5e5, 0.0, spacing=0.01)
        assert abs(march.to(5.0).flux_error[0]) > 10 * kept


def test_the_scheme_diffuses_little_and_says_how_much():
    def budget(width):
        march = March(Flow(stream=vortices), [layer(width)], 4.5e5, 0.0, spacing=0.01, first=0.05)
        march.to(1.0)
        return march.to(6.0)

    thin, wide = budget(0.004), budget(0.03)
    assert abs(wide.numerical) < 0.05
    assert thin.numerical > 0.15
    assert wide.lowest[0] > -0.01
    assert wide.highest[0] < 1.01


def test_two_noisy_estimates_give_a_segregation_without_bias():
    rng = np.random.default_rng(3)
    angle = rng.uniform(0, 2 * np.pi, 3000)
    points = np.sqrt(rng.uniform(0, 0.25, 3000))[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    clean = layer(0.1)(points)
    noisy = [clean + 0.5 * rng.standard_normal(3000) for _ in range(6)]
    starts = [scattered(points, one) for one in (clean, *noisy)]
    march = March(Flow(stream=vortices), starts, 1e5, 0.0, spacing=0.01)
    station = march.to(1.0)
    truth = station.alone[0]
    pairs = [one for (i, _), one in station.segregation.items() if i > 0]
    assert np.mean(pairs) == pytest.approx(truth, abs=4 * np.std(pairs) / math.sqrt(len(pairs) / 2))
    assert abs(np.mean(pairs) - truth) < 0.03
    assert min(station.alone[1:]) > truth + 0.1


def test_backflow_and_bad_orders_are_refused():
    with pytest.raises(BadInput, match="marching needs forward flow"):
        March(Flow(lambda points: points[:, 0]), [layer(0.1)], 1e4, 0.0, spacing=0.02)
    march = March(Flow(), [layer(0.1)], 1e4, 5.0, spacing=0.02)
    with pytest.raises(BadInput, match="rising order"):
        march.to(4.0)
    with pytest.raises(BadInput, match=r"\(n, 2\) points"):
        scattered(np.zeros((3, 3)), np.zeros(3))
