import math

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.linalg import eigh, solve_banded

from twin.errors import BadInput
from twin.flow.section import FLUX, Sections, Start
from twin.flow.section_mesh import evaluation, from_samples
from twin.verification.benchmarks import white_friction

pytestmark = pytest.mark.field

COARSE = {"core_size": 0.1, "wall_size": 0.04}


def shape(points):
    return np.maximum(1 - 4 * (points**2).sum(axis=1), 0.0)


def axisymmetric_entrance(reynolds, stations, cells=100, steps=500):
    """The speed on the axis behind a plug, and where it reaches 1.98 U: finite differences, independent of the rest."""
    dr, z = 0.5 / cells, 7 * (np.arange(steps + 1) / steps) ** 3
    r, faces = (np.arange(cells) + 0.5) * dr, np.arange(cells + 1) * dr
    w, axis = np.ones(cells), [1.0]
    low, up = faces[:-1] / dr / reynolds, faces[1:] / dr / reynolds
    up[-1] *= 2  # the wall is half a cell away
    for dz in np.diff(z):
        new = w.copy()
        for _ in range(3):
            outward = -np.concatenate([[0], np.cumsum((new - w) / dz * r * dr)])
            outward[-1] = 0
            bands = np.zeros((3, cells))
            bands[1] = new * r * dr / dz + low + up + outward[:-1] / 2 - outward[1:] / 2
            bands[0, 1:] = -up[:-1] + outward[1:-1] / 2
            bands[2, :-1] = -low[1:] - outward[1:-1] / 2
            free, driven = solve_banded((1, 1), bands, np.column_stack([new * w * r * dr / dz, r * dr])).T
            new = free - driven * ((r * dr * free).sum() - 1 / 8) / (r * dr * driven).sum()
        w = new
        axis.append(float((9 * w[0] - w[1]) / 8))
    return np.interp(stations, z, axis), float(np.interp(1.98, axis, z))


def plug(points):
    return np.column_stack([0 * points, np.ones(len(points))])


def disturbed(secondary: float, lean: float) -> Start:
    """Poiseuille's flow with swirl about an axis beside the middle, leaning to +x."""

    def start(points):
        x, y = points.T
        s = shape(points)
        swirl = secondary * s[:, None] * np.column_stack([-y, x + 0.2])
        return np.column_stack([swirl, 2 * s * (1 + lean * x)])

    return start


@pytest.fixture(scope="module")
def straight():
    return Sections(100.0, **COARSE)


@pytest.fixture(scope="module")
def entrance(straight):
    return straight.march(plug, first=2e-3, end=20.0)


def test_the_entrance_is_that_of_the_boundary_layer_equations(entrance):
    axis = entrance.z, [entrance.at(z, np.zeros((1, 2)))[0, 2] for z in entrance.z]
    line = CubicSpline(*axis)
    reference, length = axisymmetric_entrance(100.0, [0.1, 0.5, 1.0, 2.0, 4.0])
    assert line([0.1, 0.5, 1.0, 2.0, 4.0]) == pytest.approx(reference, rel=0.004)
    # Durst et al. (2005) for large Re, 0.0567 Re; the boundary-layer equations give 0.0555 Re (Christiansen & Lemmon).
    assert length == pytest.approx(5.55, rel=0.01)
    at = np.linspace(4, 8, 4001)
    assert float(np.interp(1.98, line(at), at)) == pytest.approx(length, rel=0.03)


def test_the_flux_is_kept_and_the_flow_develops(straight, entrance):
    assert max(abs(straight.flux(one) / FLUX - 1) for one in entrance.velocity) < 1e-10
    assert entrance.developed
    assert entrance.given_flux == pytest.approx(1, abs=0.03)
    assert entrance.steady_from < 20
    far = entrance.at(500.0, straight.nodes)
    assert np.abs(far - straight.poiseuille()).max() < 1e-4
    assert entrance.gradient[-1] == pytest.approx(-32 / 100, rel=1e-5)
    # Entrance loss of a plug that develops: Hagenbach's factor 1.2–1.35 in ρU²/2.
    assert -2 * (entrance.pressure[-1] + 0.32 * entrance.z[-1]) == pytest.approx(1.28, abs=0.1)


def test_what_has_developed_stays(straight):
    state = straight.developed_flow()
    flow = straight.march(state.velocity, end=3.0, step=1.0, until=0.0)
    assert np.abs(flow.velocity - state.velocity).max() < 1e-10


def test_the_friction_in_a_coil_is_whites():
    curvature = 0.1
    for dean, tolerance in ((100.0, 0.005), (200.0, 0.02)):
        sections = Sections(dean / math.sqrt(curvature), curvature, **COARSE)
        friction = -sections.developed_flow().gradient * sections.reynolds / 32
        assert friction == pytest.approx(white_friction(dean), rel=tolerance)


@pytest.mark.parametrize(("reynolds", "curvature"), [(60.0, 0.008), (240.0, 0.002)])
def test_a_slight_bend_gives_the_series(reynolds, curvature):
    """Dean (1928) for K = 2 Re²δ, with the terms of finite curvature of Topakoglu (1967):

    Q/Q₀ at one dP/dz = 1 − δ²/48 [1.541/67.2 (Re/6)⁴ + 1.1 (Re/6)² − 1] + 0.01195 (K/576)⁴, Re that of Q₀.
    """
    frictions = [-Sections(reynolds, one, **COARSE).developed_flow().gradient for one in (curvature, 0.0)]
    excess = frictions[0] / frictions[1] - 1
    ahead = reynolds * (1 + excess)
    loss = curvature**2 / 48 * (1.541 / 67.2 * (ahead / 6) ** 4 + 1.1 * (ahead / 6) ** 2 - 1)
    loss -= 0.01195 * (2 * ahead**2 * curvature / 576) ** 4
    assert excess / (1 + excess) == pytest.approx(loss, rel=0.006)


def swirl_rates(count: int) -> np.ndarray:
    """λ of 2(1 − 4r²) ∂v/∂z = (1/Re)(v″ + v′/r − v/r²), v(½) = 0, which decays as exp(−λz/Re)."""
    x, weights = np.polynomial.legendre.leggauss(60)
    r, weights = (x + 1) / 4, weights / 4
    powers = 2 * np.arange(8) + 1
    value = np.array([(1 - 4 * r**2) * (2 * r) ** n for n in powers])
    slope = np.array([2 * n * (2 * r) ** (n - 1) - 2 * (n + 2) * (2 * r) ** (n + 1) for n in powers])
    stiff = (slope * r * weights) @ slope.T + (value * weights / r) @ value.T
    mass = (value * 2 * (1 - 4 * r**2) * r * weights) @ value.T
    return eigh(stiff, mass, eigvals_only=True)[:count]


def test_swirl_decays_at_its_own_rate(straight):
    slowest = swirl_rates(1)[0]
    swirl = 1e-3

    def start(points):
        x, y = points.T
        s = shape(points)
        return np.column_stack([-swirl * s * y, swirl * s * x, 2 * s])

    flow = straight.march(start, end=9.0, step=0.25, until=0.0)
    energy = np.interp([5.0, 9.0], flow.z, flow.secondary)
    assert math.log(energy[0] / energy[1]) / (2 * 4.0) == pytest.approx(slowest / 100, rel=0.01)


def test_steps_are_of_second_order():
    sections = Sections(200.0, 0.02, core_size=0.16, wall_size=0.08)
    first = sections.march(disturbed(0.2, 0.2), end=1.0, step=0.02, until=0.0).velocity[-1]  # consistent by now
    ends = [sections.march(first, end=1.6, step=length, until=0.0).velocity[-1] for length in (0.2, 0.1, 0.05, 0.0125)]
    errors = [np.abs(one - ends[-1]).max() for one in ends[:-1]]
    assert math.log2(errors[1] / errors[2]) > 1.7
    assert errors[2] < errors[0] / 8


def test_an_inconsistent_start_is_damped():
    """Noise of 5 % on the samples of a flow must not blow up."""
    rng = np.random.default_rng(1)
    radius, angle = np.sqrt(rng.uniform(0, 0.235, 1500)), rng.uniform(0, 2 * np.pi, 1500)
    points = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    clean = disturbed(0.1, 0.3)(points)
    noisy = clean * (1 + 0.05 * rng.standard_normal(clean.shape))
    sections = Sections(400.0, **COARSE)
    flow = sections.march(lambda at: from_samples(points, noisy, at), begin=5.0, end=7.0, first=0.01)
    assert flow.given_flux == pytest.approx(1, abs=0.03)
    assert np.abs(flow.velocity[1:]).max() < 2.6
    tame = sections.march(lambda at: from_samples(points, clean, at), begin=5.0, end=7.0, first=0.01)
    assert np.abs(flow.velocity[-1] - tame.velocity[-1]).max() < 0.05


def test_backflow_is_refused(straight):
    with pytest.raises(BadInput, match=r"w = -0\.\d+ U: marching needs forward flow"):
        straight.march(disturbed(0.1, -2.4), end=1.0)
    with pytest.raises(BadInput, match="finite velocity"):
        straight.march(lambda points: np.full((len(points), 3), np.nan), end=1.0)


def test_values_anywhere_are_those_of_the_elements(straight):
    rng = np.random.default_rng(2)
    angle = rng.uniform(0, 2 * np.pi, 50)
    points = np.sqrt(rng.uniform(0, 0.25, 50))[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    x, y = straight.nodes.T
    assert evaluation(straight.scalars, points) @ (x**2 - 3 * x * y) == pytest.approx(
        points[:, 0] ** 2 - 3 * points[:, 0] * points[:, 1], abs=2e-4
    )
    rim = 0.5 * np.column_stack([np.cos(angle), np.sin(angle)])
    assert np.abs(evaluation(straight.scalars, rim) @ straight.poiseuille()[:, 2]).max() < 1e-3
