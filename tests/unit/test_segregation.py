"""What walkers tell of mixing: the numbers and their errors, on crossings and histories made up for it."""

import math

import numpy as np
import pytest

from twin.mixing import Segregation, exposure, mixing_time, of_replicates, residence, striations, swings, there_and_back
from twin.mixing.residence import QUANTILES


def crossed(draw, walkers, probability, forth=1, alike=False):
    """Walkers that cross one plane `forth` times downstream and once less upstream; what came of those sent back.

    Crossings of one walker are sent back each by its own chance, or all `alike`.
    """
    signs = np.where(np.arange(2 * forth - 1) % 2 == 0, 1.0, -1.0)
    walker = np.repeat(np.arange(walkers), len(signs))
    chance = draw.random(walkers)[walker] if alike else draw.random(len(walker))
    return walker, np.zeros(len(walker), int), np.tile(signs, walkers), chance < probability


class TestReplicates:
    @pytest.mark.parametrize("share", [0.5, 0.02])
    def test_the_error_is_that_of_many_repetitions(self, share):
        """Of noise of yes and no about a field that is 0.6 in a part of the nodes; thin ones are all noise."""
        draw, nodes = np.random.default_rng(3), 2000
        field = np.where(np.arange(nodes) < share * nodes, 0.6, 0.0)
        found = []
        for _ in range(300):
            fields = (draw.random((4, nodes)) < field).astype(float)
            pairs = {(i, j): float(np.mean(fields[i] * fields[j])) for i in range(4) for j in range(i + 1, 4)}
            found.append(of_replicates(1.0, pairs))
        values, errors = (np.array([getattr(one, name) for one in found]) for name in ("segregation", "error"))
        assert values.mean() == pytest.approx(np.mean(field**2), abs=4 * values.std() / math.sqrt(len(found)))
        # The jackknife errs on the side of caution, by up to √1.5 of four fields.
        assert 0.9 * values.std() < math.sqrt(np.mean(errors**2)) < 1.25 * values.std()

    def test_two_fields_tell_no_error(self):
        assert math.isnan(of_replicates(1.0, {(0, 1): 0.5}).error)


class TestThereAndBack:
    @pytest.mark.parametrize(("forth", "alike"), [(1, False), (4, False), (4, True)])
    def test_the_error_is_that_of_many_repetitions(self, forth, alike):
        """Crossings of one walker scatter more together, or less, than as many walkers would."""
        draw, mean, probability, walkers = np.random.default_rng(11), 0.2, 0.6, 400
        found = [
            there_and_back([1.0], walkers, mean, *crossed(draw, walkers, probability, forth, alike))[0]
            for _ in range(400)
        ]
        values, errors = (np.array([getattr(one, name) for one in found]) for name in ("segregation", "error"))
        exact = (probability - mean) / (1 - mean)
        assert values.mean() == pytest.approx(exact, abs=4 * values.std() / math.sqrt(len(found)))
        assert errors.mean() == pytest.approx(values.std(), rel=4 / math.sqrt(2 * len(found)))

    def test_the_error_never_vanishes(self):
        """All came back, or none: as if one of them had not."""
        walkers, mean = 50, 0.2
        for outcome in (0.0, 1.0):
            walker, plane, direction = np.arange(walkers), np.zeros(walkers, int), np.ones(walkers)
            [found] = there_and_back([1.0], walkers, mean, walker, plane, direction, np.full(walkers, outcome))
            assert found.segregation == pytest.approx((outcome - mean) / (1 - mean))
            assert found.error == pytest.approx(1 / walkers / (1 - mean))

    def test_planes_are_told_apart_and_shares_count_as_shares(self):
        """Several walkers sent back from one crossing give a share; the order of the crossings does not matter."""
        walker, plane = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 0, 1])
        direction, returned = np.ones(6), np.array([0.75, 0.25, 1.0, 0.5, 0.5, 0.0])
        near, far = there_and_back([1.0, 4.0], 3, 0.1, walker, plane, direction, returned)
        assert (near.bores, far.bores) == (1.0, 4.0)
        assert near.segregation == pytest.approx((0.75 - 0.1) / 0.9)
        assert far.segregation == pytest.approx((0.25 - 0.1) / 0.9)
        mixed = np.random.default_rng(1).permutation(6)
        again = there_and_back([1.0, 4.0], 3, 0.1, walker[mixed], plane[mixed], direction[mixed], returned[mixed])
        assert [one.segregation for one in again] == pytest.approx([near.segregation, far.segregation])

    def test_a_walker_that_never_arrived_counts(self):
        one = there_and_back([1.0], 1, 0.1, np.array([0]), np.array([0]), np.ones(1), np.ones(1))
        two = there_and_back([1.0], 2, 0.1, np.array([0]), np.array([0]), np.ones(1), np.ones(1))
        assert one[0].segregation == 1 and two[0].segregation == pytest.approx((0.5 - 0.1) / 0.9)


class TestIndex:
    def test_its_error_is_that_of_a_root(self):
        found = Segregation(3.0, 0.36, 0.01)
        up, down = (Segregation(3.0, 0.36 + sign * 1e-4, 0.01).index for sign in (1, -1))
        assert found.index == pytest.approx(0.4)
        assert found.index_error == pytest.approx(0.01 * (down - up) / 2e-4, rel=1e-6)
        figures = (3.0, 0.36, 0.01, found.index, found.index_error)
        assert found.as_dict() == dict(
            zip(("bores", "segregation", "error", "index", "index_error"), figures, strict=True)
        )

    @pytest.mark.parametrize("segregation", [1e-6, 0.0, -0.003])
    def test_it_stays_finite_where_the_segregation_drowns(self, segregation):
        found = Segregation(3.0, segregation, 0.01)
        assert found.index == 1 - math.sqrt(max(segregation, 0)) <= 1
        assert found.index_error == pytest.approx(math.sqrt(0.01))


class TestStriations:
    def test_the_thickness_of_an_exponential(self):
        """I_s = exp(−2x/L) has ℓ² = L/Pe, whatever the distance between the planes, if they stand close."""
        for spacing, allowed in ((0.1, 1e-5), (2.0, 2e-3)):
            places = spacing * np.arange(1, 6)
            found = striations([Segregation(x, math.exp(-2 * x / 20), 1e-6) for x in places], 5000.0)
            assert [one.bores for one in found] == pytest.approx((places[1:] + places[:-1]) / 2)
            assert [one.thickness for one in found] == pytest.approx([math.sqrt(20 / 5000)] * 4, rel=allowed)

    def test_its_error_is_that_of_the_fall(self):
        """Both planes' errors, as they move the difference: by repetition."""
        draw, errors = np.random.default_rng(2), (0.003, 0.004)
        [found] = striations([Segregation(1.0, 0.8, errors[0]), Segregation(2.0, 0.5, errors[1])], 1e4)
        fall = 0.3 + draw.normal(0, errors[0], 20_000) - draw.normal(0, errors[1], 20_000)
        assert found.error == pytest.approx(np.sqrt(2 * 0.65 / (1e4 * fall)).std(), rel=0.05)

    def test_pairs_that_tell_nothing_are_left_out(self):
        def pair(second, error):
            return striations([Segregation(1.0, 0.5, error), Segregation(2.0, second, error)], 1e4)

        root = math.sqrt(2)
        assert len(pair(0.4, 0.0499 / root)) == 1 and not pair(0.4, 0.0501 / root)
        assert not pair(0.6, 0.001) and not pair(0.0, 0.001) and not pair(-0.1, 0.001)
        assert not striations([Segregation(1.0, 0.5, 0.01)], 1e4)
        # The planes after such a pair still count.
        three = [Segregation(x, value, 0.001) for x, value in ((1.0, 0.5), (2.0, 0.5), (3.0, 0.4))]
        assert [one.bores for one in striations(three, 1e4)] == [2.5]


class TestMixingTime:
    TIMES = np.array([0.5, 1.0, 2.0, 4.0])

    def test_the_error_is_what_errors_of_the_planes_do(self):
        """By repetition: the values scatter by their errors, the logarithm of τ by the error given."""
        exact = np.exp(-2 * self.TIMES / 3)
        errors = 0.02 * exact ** [1, 0.5, 1, 0.8]
        draw = np.random.default_rng(7)
        taus = [mixing_time(self.TIMES, exact + errors * draw.normal(size=4)).tau for _ in range(3000)]
        found = mixing_time(self.TIMES, exact, errors)
        assert found.tau == pytest.approx(3)
        assert found.log_error == pytest.approx(np.log(taus).std(), rel=0.05)

    def test_the_error_of_the_fit_is_what_scatter_does(self):
        draw = np.random.default_rng(8)
        found = [mixing_time(self.TIMES, np.exp(-2 * self.TIMES / 3 + draw.normal(0, 0.03, 4))) for _ in range(3000)]
        expected = np.log([one.tau for one in found]).std()
        assert math.sqrt(np.mean([one.log_error**2 for one in found])) == pytest.approx(expected, rel=0.05)

    def test_scatter_and_errors_add_up_as_squares(self):
        values = np.exp(-2 * self.TIMES / 3) * [1.1, 0.9, 1.05, 0.97]
        scatter = mixing_time(self.TIMES, values).log_error
        errors = 0.03 * values
        both = mixing_time(self.TIMES, values, errors)
        decay = -np.log(values)
        alone = mixing_time(self.TIMES, np.exp(-2 * self.TIMES / both.tau), 0.03 * np.exp(-2 * self.TIMES / both.tau))
        assert both.log_error == pytest.approx(math.hypot(scatter, alone.log_error))
        assert both.tau == pytest.approx(2 * (self.TIMES @ self.TIMES) / (self.TIMES @ decay))

    def test_a_single_plane_has_a_time_and_the_error_of_that_plane(self):
        found = mixing_time([2.0], [math.exp(-1)], [0.01])
        assert found.tau == pytest.approx(4) and found.log_error == pytest.approx(0.01 * math.e)
        assert mixing_time([2.0], [math.exp(-1)]).log_error == pytest.approx(0, abs=1e-12)

    def test_a_plane_that_is_mixed_has_no_infinite_logarithm(self):
        assert math.isfinite(mixing_time(self.TIMES, [0.5, 0.2, 0.0, -0.001]).tau)
        with pytest.raises(ValueError, match="does not fall"):
            mixing_time(self.TIMES, [1.1, 1.0, 1.2, 1.0], [0.1] * 4)


class TestResidence:
    def test_the_moments_of_an_exponential(self):
        """Mean and deviation 1, skewness 2, quantiles −ln(1 − q)."""
        share = (np.arange(200_000) + 0.5) / 200_000
        found = residence(-np.log1p(-share))
        assert found.mean == pytest.approx(1, rel=1e-4) and found.deviation == pytest.approx(1, rel=1e-3)
        assert found.skewness == pytest.approx(2, rel=0.01)
        assert found.quantiles == pytest.approx([-math.log1p(-q) for q in QUANTILES], rel=1e-4)
        assert found.mean_error == pytest.approx(found.deviation / math.sqrt(200_000))

    def test_the_unit_is_that_of_the_times(self):
        times = np.random.default_rng(3).gamma(2.0, size=5000)
        one, other = residence(times), residence(0.001 * times)
        assert other.skewness == pytest.approx(one.skewness)
        assert (other.mean, other.mean_error, other.deviation) == pytest.approx(
            (0.001 * one.mean, 0.001 * one.mean_error, 0.001 * one.deviation)
        )

    @pytest.mark.parametrize("time", [0.0, 3.0, 0.1])
    def test_plug_flow_has_no_skewness(self, time):
        found = residence(np.full(8, time))
        assert (found.mean, found.deviation, found.skewness) == pytest.approx((time, 0, 0), abs=1e-12)
        assert found.quantiles == pytest.approx((time,) * 5)


def first(times, share, level, pure=0.01):
    """The exposure of one element, from its share of antisolvent."""
    [found] = exposure(np.array([times], float), 1 - np.array([share], float), (level,), pure)
    return found


class TestExposure:
    def test_the_clock_starts_when_an_element_leaves_its_own_stream(self):
        """From 0 to 1 between t = 5 and 6: 1 % at 5.01, a half at 5.5."""
        found = first([1, 5, 6, 9], [0, 0, 1, 1], 0.5)
        assert found.reached == 1 and found.quantiles == pytest.approx([0.49] * 5)
        assert first([1, 5, 6, 9], [0, 0, 1, 1], 0.5, pure=0.25).quantiles[2] == pytest.approx(0.25)

    def test_the_first_passage_counts(self):
        assert first([0, 1, 2, 3, 4], [0, 0.6, 0.2, 0.7, 1], 0.6, pure=0.3).quantiles[2] == pytest.approx(0.5)

    def test_an_element_that_starts_mixed_is_at_once_there(self):
        assert first([2, 3], [0.7, 0.8], 0.5).quantiles == (0.0,) * 5

    def test_histories_end_and_the_rest_is_not_counted_as_reached(self):
        """Ten elements: k reach a half after k; NaN where they left, and one has no history at all."""
        times = np.tile(np.arange(12.0), (10, 1))
        share = np.zeros((10, 12))
        for k in range(10):
            share[k, k + 1 :] = 1.0
        share[6:, 5:] = np.nan  # four of them left before
        times[6:, 5:] = np.nan
        times[9], share[9] = np.nan, np.nan
        with np.errstate(all="raise"):
            half, most = exposure(times, 1 - share, (0.5, 0.99))
        assert (half.antisolvent, most.antisolvent) == (0.5, 0.99)
        assert half.reached == most.reached == pytest.approx(0.6)
        assert half.quantiles[:3] == pytest.approx([0.49] * 3) and half.quantiles[3:] == (None, None)
        assert most.quantiles[:3] == pytest.approx([0.98] * 3)

    def test_quantiles_are_of_all_elements(self):
        """An element k of twenty takes k; the slowest half never gets there."""
        times = np.tile(np.arange(0.0, 31.0), (20, 1))
        rising = np.clip((times - 0.0) / np.arange(1, 21)[:, None], 0, 1)
        rising[10:] = np.minimum(rising[10:], 0.4)
        found = exposure(times, 1 - rising, (1.0,), pure=0.0)[0]
        assert found.reached == 0.5
        assert found.quantiles[:3] == pytest.approx((1.0, 5.0, 10.0)) and found.quantiles[3:] == (None, None)

    def test_without_a_single_passage_there_are_no_times(self):
        found = first([0, 1, np.nan], [0, 0.2, np.nan], 0.5)
        assert found.reached == 0 and found.quantiles == (None,) * 5


class TestSwings:
    def test_crossings_by_phase_tell_how_the_mixture_swings(self):
        """Q = 1 + 0.3 sin, m = 0.2 (1 + 0.4 cos): ∫Q (m − c̄)²/[∫Q c̄(1 − c̄)] in closed form; within the error given."""
        draw, mean, walkers, parts = np.random.default_rng(3), 0.2, 2000, 32
        edges = 2 * np.pi * np.arange(parts + 1) / parts
        flow = (np.diff(edges) - 0.3 * np.diff(np.cos(edges))) / (2 * np.pi)
        carried = (np.diff(edges) - 0.3 * np.diff(np.cos(edges)) + 0.4 * np.diff(np.sin(edges))
                   - 0.03 * np.diff(np.cos(2 * edges))) / (2 * np.pi)  # fmt: skip
        exact = mean / (1 - mean) * float((carried**2 / flow).sum() - 1)
        assert exact == pytest.approx(0.25 * 0.16 / 2, rel=0.02)
        found = []
        for _ in range(200):
            phase = (draw.choice(parts, walkers, p=carried) + draw.random(walkers)) / parts
            none = np.zeros(walkers, int)
            found.append(swings([1.0], walkers, mean, none, np.ones(walkers), phase, flow)[0])
        values, errors = (np.array([getattr(one, name) for one in found]) for name in ("segregation", "error"))
        assert values.mean() == pytest.approx(exact, abs=4 * values.std() / math.sqrt(len(found)))
        assert errors.mean() == pytest.approx(values.std(), rel=0.25)

    def test_without_a_swing_there_is_none_but_for_its_error(self):
        draw, walkers, parts = np.random.default_rng(4), 1000, 16
        found = [
            swings([1.0], walkers, 0.3, np.zeros(walkers, int), np.ones(walkers), draw.random(walkers),
                   np.full(parts, 1 / parts))[0]
            for _ in range(200)
        ]  # fmt: skip
        values = np.array([one.segregation for one in found])
        assert abs(values.mean()) < 4 * values.std() / math.sqrt(200)
        assert found[0].error == pytest.approx(values.std(), rel=0.25)
