"""Statistics against published values and hand-made cases."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentr_lite import stats


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe (Statistics in Medicine 17, 1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_newcombe(successes: int, n: int, low: float, high: float) -> None:
    found = stats.wilson_interval(successes, n)
    assert found.value == successes / n
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_is_symmetric_and_exact_at_the_ends() -> None:
    ones, zeros = stats.wilson_interval(20, 20), stats.wilson_interval(0, 20)
    assert ones.high == 1.0
    assert zeros.low == 0.0
    assert ones.low == pytest.approx(1 - zeros.high)


def test_wilson_without_trials_knows_nothing() -> None:
    found = stats.wilson_interval(0, 0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (0.0, 1.0)


def test_wilson_refuses_more_successes_than_trials() -> None:
    with pytest.raises(ValueError, match="5 successes of 4 trials"):
        stats.wilson_interval(5, 4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_its_rate(case: tuple[int, int]) -> None:
    found = stats.wilson_interval(*case)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    ("freedom", "value"),
    [
        (1, 12.7062),
        (2, 4.30265),
        (3, 3.18245),
        (4, 2.77645),
        (5, 2.57058),
        (9, 2.26216),
        (10, 2.22814),
        (30, 2.04227),
        (199, 1.97196),
    ],
)
def test_t_against_tables(freedom: int, value: float) -> None:
    assert stats.t_quantile(0.975, freedom) == pytest.approx(value, abs=6e-5)


def test_mean_interval_by_hand() -> None:
    # Mean 2, standard deviation 1, so 2 ± 4.30265 / sqrt(3).
    found = stats.mean_interval([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.high - 2.0 == pytest.approx(4.30265 / math.sqrt(3), abs=1e-4)
    assert found.low == pytest.approx(4.0 - found.high)


def test_mean_of_one_or_none_has_no_bounds() -> None:
    assert stats.mean_interval([0.5]).low == -math.inf
    assert math.isnan(stats.mean_interval([]).value)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (0, 8, 2 / 256), (9, 2, 134 / 2048), (6, 6, 1.0)],
)
def test_mcnemar_by_hand(gained: int, lost: int, p: float) -> None:
    # (9, 2): 2 * (1 + 11 + 55) / 2**11.
    assert stats.mcnemar_exact(gained, lost) == pytest.approx(p)


def test_mcnemar_of_large_counts_does_not_overflow() -> None:
    p = stats.mcnemar_exact(2000, 1500)
    exact = Fraction(2 * sum(math.comb(3500, k) for k in range(1501)), 2**3500)
    assert p == pytest.approx(float(exact))


def test_paired_bootstrap_matches_the_normal_interval() -> None:
    values = [1.0] * 60 + [0.0] * 40
    baseline = [1.0] * 30 + [0.0] * 70
    # Differences: 30 ones, 70 zeros; standard error sqrt(0.3 * 0.7 / 100).
    found = stats.paired_bootstrap(values, baseline, seed=1)
    half = 1.96 * math.sqrt(0.3 * 0.7 / 100)
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - half, abs=0.015)
    assert found.high == pytest.approx(0.3 + half, abs=0.015)
    assert found.n == 100
    assert found.excludes_zero


def test_paired_bootstrap_sees_noise_as_noise() -> None:
    values = [1.0] * 12 + [0.0] * 10 + [0.5] * 78
    baseline = [0.0] * 12 + [1.0] * 10 + [0.5] * 78
    assert not stats.paired_bootstrap(values, baseline, seed=1).excludes_zero


def test_paired_bootstrap_is_a_function_of_its_seed() -> None:
    values, baseline = [math.sin(i) for i in range(50)], [math.cos(i) for i in range(50)]
    first = stats.paired_bootstrap(values, baseline, seed=7)
    assert first == stats.paired_bootstrap(values, baseline, seed=7)
    assert first != stats.paired_bootstrap(values, baseline, seed=8)


def test_no_change_gives_a_point_at_zero() -> None:
    found = stats.paired_bootstrap([1.0, 0.0], [1.0, 0.0], seed=1)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.excludes_zero


def test_copies_of_the_same_tasks_do_not_narrow_a_clustered_interval() -> None:
    values = [1.0] * 12 + [0.0] * 28
    baseline = [0.0] * 40
    once = stats.paired_bootstrap(values, baseline, seed=3)
    tasks = [f"task {i}" for i in range(40)]
    thrice = stats.clustered_paired_bootstrap(values * 3, baseline * 3, tasks * 3, seed=3)
    naive = stats.paired_bootstrap(values * 3, baseline * 3, seed=3)
    assert (thrice.low, thrice.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert thrice.n == 40
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def test_clusters_of_unequal_size_weigh_by_pairs() -> None:
    found = stats.clustered_paired_bootstrap([1, 1, 1, 0], [0, 0, 0, 0], "aaab", seed=1)
    assert found.value == pytest.approx(0.75)
    assert (found.low, found.high) == (0.0, 1.0)


def test_memory_bounded_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, baseline = [0.1, 0.9, 0.4, 0.7, 0.2], [0.2, 0.3, 0.4, 0.1, 0.9]
    whole = stats.paired_bootstrap(values, baseline, seed=7)
    monkeypatch.setattr(stats, "_CHUNK_CELLS", 50)
    assert stats.paired_bootstrap(values, baseline, seed=7) == whole


@pytest.mark.parametrize(
    ("values", "baseline", "message"),
    [([], [], "no pairs"), ([1.0], [1.0, 2.0], "1 values, 2 baseline values")],
)
def test_bootstrap_refuses_nothing_and_mismatches(
    values: list[float], baseline: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        stats.paired_bootstrap(values, baseline, seed=1)


def test_clustered_rate_of_one_trial_a_cluster_is_close_to_wilson() -> None:
    successes = [True] * 60 + [False] * 40
    found = stats.clustered_rate(successes, range(100), seed=1)
    wilson = stats.wilson_interval(60, 100)
    assert found.value == 0.6
    assert found.low == pytest.approx(wilson.low, abs=0.015)
    assert found.high == pytest.approx(wilson.high, abs=0.015)


def test_clustered_rate_stays_uncertain_where_nothing_varies() -> None:
    never = stats.clustered_rate([False] * 30, [i % 10 for i in range(30)], seed=1)
    assert (never.value, never.low, never.high) == (0.0, 0.0, stats.wilson_interval(0, 10).high)
    one_task = stats.clustered_rate([True, True, False], ["a"] * 3, seed=1)
    assert one_task.value == pytest.approx(2 / 3)
    assert one_task.low < 0.3
    with pytest.raises(ValueError, match="no trials"):
        stats.clustered_rate([], [], seed=1)


class TestRatios:
    NOW: ClassVar = [(3.0, 10.0), (1.0, 2.0), (0.0, 4.0), (6.0, 6.0)] * 5
    BEFORE: ClassVar = [(1.0, 10.0), (1.0, 3.0), (1.0, 4.0), (2.0, 6.0)] * 5
    TASKS: ClassVar = [index for index in range(10) for _ in range(2)]

    def test_of_ones_it_is_the_mean(self) -> None:
        now = [(float(i % 3 == 0), 1.0) for i in range(40)]
        before = [(float(i % 4 == 0), 1.0) for i in range(40)]
        clusters = [i // 2 for i in range(40)]
        ratio = stats.clustered_ratio_difference(now, before, clusters, seed=3)
        mean = stats.clustered_paired_bootstrap(
            [a for a, _ in now], [b for b, _ in before], clusters, seed=3
        )
        assert ratio.n == mean.n == 20
        for name in ("value", "low", "high"):
            assert getattr(ratio, name) == pytest.approx(getattr(mean, name))

    def test_a_ratio_of_sums_is_no_mean_of_ratios(self) -> None:
        found = stats.clustered_ratio([1.0, 0.0], [1.0, 9.0], ["a", "b"], seed=1)
        assert found.value == pytest.approx(0.1)
        assert (found.low, found.high) == (pytest.approx(0.0), pytest.approx(1.0))

    def test_difference(self) -> None:
        found = stats.clustered_ratio_difference(self.NOW, self.BEFORE, self.TASKS, seed=1)
        assert found.value == pytest.approx(10 / 22 - 5 / 23)
        assert found.low < found.value < found.high
        again = stats.clustered_ratio_difference(self.NOW, self.BEFORE, self.TASKS, seed=1)
        assert again == found

    def test_draws_without_a_ratio_are_left_out(self) -> None:
        found = stats.clustered_ratio([2.0, 0.0], [4.0, 0.0], ["a", "b"], seed=1)
        assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)

    @pytest.mark.parametrize("values", [[], [(0.0, 0.0)]])
    def test_nothing_to_divide_by(self, values: list[tuple[float, float]]) -> None:
        with pytest.raises(ValueError):
            stats.clustered_ratio_difference(values, values, ["a"] * len(values), seed=1)

    def test_swapping_is_exact_where_it_can_be_counted(self) -> None:
        # Six tasks, all gained: 2 of the 64 ways to swap them are as extreme.
        now, before = [(1.0, 1.0)] * 6, [(0.0, 1.0)] * 6
        p = stats.paired_swap_test(now, before, list(range(6)), seed=1)
        assert p == pytest.approx(2 / 64, abs=0.006)

    def test_swapping_moves_whole_clusters(self) -> None:
        now, before = [(1.0, 1.0)] * 6, [(0.0, 1.0)] * 6
        # Two tasks in three seeds each: of 4 ways 2 are as extreme, not of 64.
        p = stats.paired_swap_test(now, before, [0, 0, 0, 1, 1, 1], seed=1)
        assert p == pytest.approx(0.5, abs=0.02)

    def test_no_difference_is_no_surprise(self) -> None:
        assert stats.paired_swap_test(self.NOW, self.NOW, self.TASKS, seed=1) == 1.0

    def test_a_p_value_is_never_nothing(self) -> None:
        now, before = [(1.0, 1.0)] * 80, [(0.0, 1.0)] * 80
        p = stats.paired_swap_test(now, before, list(range(80)), seed=1, resamples=99)
        assert p == pytest.approx(1 / 100)
