"""Bootstrap intervals and randomisation tests against known values and hand-made cases."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest

from agentr_lite.metrics import resampling
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.intervals import wilson_interval


def paired_bootstrap(values: list[float], baseline: list[float], *, seed: int) -> Estimate:
    """Every pair a cluster of its own."""
    clusters = range(len(values))
    return resampling.clustered_paired_bootstrap(values, baseline, clusters, seed=seed)


def test_paired_bootstrap_matches_the_normal_interval() -> None:
    values = [1.0] * 60 + [0.0] * 40
    baseline = [1.0] * 30 + [0.0] * 70
    # Differences: 30 ones, 70 zeros; standard error sqrt(0.3 * 0.7 / 100).
    found = paired_bootstrap(values, baseline, seed=1)
    half = 1.96 * math.sqrt(0.3 * 0.7 / 100)
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - half, abs=0.015)
    assert found.high == pytest.approx(0.3 + half, abs=0.015)
    assert found.n == 100
    assert found.excludes_zero


def test_paired_bootstrap_sees_noise_as_noise() -> None:
    values = [1.0] * 12 + [0.0] * 10 + [0.5] * 78
    baseline = [0.0] * 12 + [1.0] * 10 + [0.5] * 78
    assert not paired_bootstrap(values, baseline, seed=1).excludes_zero


def test_paired_bootstrap_is_a_function_of_its_seed() -> None:
    values, baseline = [math.sin(i) for i in range(50)], [math.cos(i) for i in range(50)]
    first = paired_bootstrap(values, baseline, seed=7)
    assert first == paired_bootstrap(values, baseline, seed=7)
    assert first != paired_bootstrap(values, baseline, seed=8)


def test_no_change_gives_a_point_at_zero() -> None:
    found = paired_bootstrap([1.0, 0.0] * 3, [1.0, 0.0] * 3, seed=1)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.excludes_zero


def test_copies_of_the_same_tasks_do_not_narrow_a_clustered_interval() -> None:
    values = [1.0] * 12 + [0.0] * 28
    baseline = [0.0] * 40
    once = paired_bootstrap(values, baseline, seed=3)
    tasks = [f"task {i}" for i in range(40)]
    thrice = resampling.clustered_paired_bootstrap(values * 3, baseline * 3, tasks * 3, seed=3)
    naive = paired_bootstrap(values * 3, baseline * 3, seed=3)
    assert (thrice.low, thrice.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert thrice.n == 40
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def test_clusters_of_unequal_size_weigh_by_pairs() -> None:
    found = resampling.clustered_paired_bootstrap([1, 1, 1, 0], [0, 0, 0, 0], "aaab", seed=1)
    assert found.value == pytest.approx(0.75)
    assert (found.low, found.high) == (0.0, 1.0)


def test_memory_bounded_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, baseline = [0.1, 0.9, 0.4, 0.7, 0.2], [0.2, 0.3, 0.4, 0.1, 0.9]
    whole = paired_bootstrap(values, baseline, seed=7)
    monkeypatch.setattr(resampling, "_BLOCK_CELLS", 600)
    assert paired_bootstrap(values, baseline, seed=7) == whole


@pytest.mark.parametrize(
    ("values", "baseline", "message"),
    [([], [], "no pairs"), ([1.0], [1.0, 2.0], "1 values, 2 baseline values")],
)
def test_bootstrap_refuses_nothing_and_mismatches(
    values: list[float], baseline: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(values, baseline, seed=1)


def test_clustered_rate_of_one_trial_a_cluster_is_close_to_wilson() -> None:
    successes = [True] * 60 + [False] * 40
    found = resampling.clustered_rate(successes, range(100), seed=1)
    wilson = wilson_interval(60, 100)
    assert found.value == 0.6
    assert found.low == pytest.approx(wilson.low, abs=0.015)
    assert found.high == pytest.approx(wilson.high, abs=0.015)


def test_clustered_rate_stays_uncertain_where_nothing_varies() -> None:
    never = resampling.clustered_rate([False] * 30, [i % 10 for i in range(30)], seed=1)
    assert (never.value, never.low, never.high) == (0.0, 0.0, wilson_interval(0, 10).high)
    one_task = resampling.clustered_rate([True, True, False], ["a"] * 3, seed=1)
    assert one_task.value == pytest.approx(2 / 3)
    assert one_task.low < 0.3
    with pytest.raises(ValueError, match="no trials"):
        resampling.clustered_rate([], [], seed=1)


class TestRatios:
    NOW: ClassVar = [(3.0, 10.0), (1.0, 2.0), (0.0, 4.0), (6.0, 6.0)] * 5
    BEFORE: ClassVar = [(1.0, 10.0), (1.0, 3.0), (1.0, 4.0), (2.0, 6.0)] * 5
    TASKS: ClassVar = [index for index in range(10) for _ in range(2)]

    def test_of_ones_it_is_the_mean(self) -> None:
        now = [(float(i % 3 == 0), 1.0) for i in range(40)]
        before = [(float(i % 4 == 0), 1.0) for i in range(40)]
        clusters = [i // 2 for i in range(40)]
        ratio = resampling.clustered_ratio_difference(now, before, clusters, seed=3)
        mean = resampling.clustered_paired_bootstrap(
            [a for a, _ in now], [b for b, _ in before], clusters, seed=3
        )
        assert ratio.n == mean.n == 20
        for name in ("value", "low", "high"):
            assert getattr(ratio, name) == pytest.approx(getattr(mean, name))

    def test_a_ratio_of_sums_is_no_mean_of_ratios(self) -> None:
        found = resampling.clustered_ratio([1.0, 0.0], [1.0, 9.0], ["a", "b"], seed=1)
        assert found.value == pytest.approx(0.1)
        assert (found.low, found.high) == (pytest.approx(0.0), pytest.approx(1.0))

    def test_difference(self) -> None:
        found = resampling.clustered_ratio_difference(self.NOW, self.BEFORE, self.TASKS, seed=1)
        assert found.value == pytest.approx(10 / 22 - 5 / 23)
        assert found.low < found.value < found.high
        again = resampling.clustered_ratio_difference(self.NOW, self.BEFORE, self.TASKS, seed=1)
        assert again == found

    def test_draws_without_a_ratio_are_left_out(self) -> None:
        found = resampling.clustered_ratio([1.0, 3.0, 0.0], [4.0, 4.0, 0.0], list("abc"), seed=1)
        assert (found.value, found.low, found.high) == (0.5, 0.25, 0.75)

    @pytest.mark.parametrize(("tasks", "known"), [(1, False), (5, False), (6, True)])
    def test_a_handful_that_agree_are_no_certainty(self, tasks: int, known: bool) -> None:
        now, before = [(1.0, 1.0)] * tasks, [(0.0, 1.0)] * tasks
        found = resampling.clustered_ratio_difference(now, before, list(range(tasks)), seed=1)
        assert found.value == 1.0
        assert (found.low, found.high) == ((1.0, 1.0) if known else (-math.inf, math.inf))

    def test_a_side_that_one_task_tells_of_has_no_interval(self) -> None:
        # The base reflected in one task alone: every draw gives it the same ratio, or none.
        now = [(float(i), 1.0) for i in range(9)]
        before = [(2.0, 1.0), *[(0.0, 0.0)] * 8]
        found = resampling.clustered_ratio_difference(now, before, list(range(9)), seed=1)
        assert found.value == 2.0
        assert (found.low, found.high) == (-math.inf, math.inf)

    @pytest.mark.parametrize("values", [[], [(0.0, 0.0)]])
    def test_nothing_to_divide_by(self, values: list[tuple[float, float]]) -> None:
        with pytest.raises(ValueError):
            resampling.clustered_ratio_difference(values, values, ["a"] * len(values), seed=1)

    def test_swapping_is_exact_where_it_can_be_counted(self) -> None:
        # Six tasks, all gained: 2 of the 64 ways to swap them are as extreme.
        now, before = [(1.0, 1.0)] * 6, [(0.0, 1.0)] * 6
        p = resampling.paired_swap_test(now, before, list(range(6)), seed=1)
        assert p == pytest.approx(2 / 64, abs=0.006)

    def test_swapping_moves_whole_clusters(self) -> None:
        now, before = [(1.0, 1.0)] * 6, [(0.0, 1.0)] * 6
        # Two tasks in three seeds each: of 4 ways 2 are as extreme, not of 64.
        p = resampling.paired_swap_test(now, before, [0, 0, 0, 1, 1, 1], seed=1)
        assert p == pytest.approx(0.5, abs=0.02)

    def test_swaps_without_a_ratio_are_left_out(self) -> None:
        # Each side can be divided in one task of its own: the swaps that leave it so are all alike.
        now, before = [(0.0, 0.0), (3.0, 1.0)], [(1.0, 1.0), (0.0, 0.0)]
        assert resampling.paired_swap_test(now, before, [0, 1], seed=1) == 1.0

    def test_no_difference_is_no_surprise(self) -> None:
        assert resampling.paired_swap_test(self.NOW, self.NOW, self.TASKS, seed=1) == 1.0

    def test_a_p_value_is_never_nothing(self) -> None:
        now, before = [(1.0, 1.0)] * 80, [(0.0, 1.0)] * 80
        p = resampling.paired_swap_test(now, before, list(range(80)), seed=1)
        assert p == pytest.approx(1 / 10_001)


class TestGroups:
    """Training seeds beside tasks."""

    TASKS: ClassVar = [task for _ in range(2) for task in range(100)]
    SEEDS: ClassVar = [seed for seed in "ab" for _ in range(100)]

    def test_one_group_changes_nothing(self) -> None:
        above, below, tasks = [1.0, 0.0, 0.5] * 10, [1.0] * 30, [i // 3 for i in range(30)]
        alone = resampling.clustered_ratio(above, below, tasks, seed=4)
        grouped = resampling.clustered_ratio(above, below, tasks, groups=["a"] * 30, seed=4)
        assert grouped == alone

    def test_seeds_that_disagree_widen_the_interval_to_both_of_them(self) -> None:
        # Seed a solves every task, seed b none: of the tasks alone there is nothing to doubt.
        solved = [1.0] * 100 + [0.0] * 100
        tasks_alone = resampling.clustered_ratio(solved, [1.0] * 200, self.TASKS, seed=1)
        both = resampling.clustered_ratio(
            solved, [1.0] * 200, self.TASKS, groups=self.SEEDS, seed=1
        )
        assert (tasks_alone.low, tasks_alone.high) == (0.5, 0.5)
        assert both.value == 0.5
        assert (both.low, both.high) == (0.0, 1.0)
        assert both.n == 100

    def test_seeds_that_agree_leave_it_as_it_is(self) -> None:
        solved = [float(task % 3 == 0) for task in self.TASKS]
        tasks_alone = resampling.clustered_rate([v > 0 for v in solved], self.TASKS, seed=1)
        both = resampling.clustered_rate(
            [v > 0 for v in solved], self.TASKS, groups=self.SEEDS, seed=1
        )
        assert both.low == pytest.approx(tasks_alone.low)
        assert both.high == pytest.approx(tasks_alone.high)

    def test_differences_are_drawn_seed_by_seed(self) -> None:
        now = [(1.0, 1.0)] * 100 + [(0.2, 1.0)] * 100
        before = [(0.0, 1.0)] * 200
        found = resampling.clustered_ratio_difference(
            now, before, self.TASKS, groups=self.SEEDS, seed=1
        )
        assert found.value == pytest.approx(0.6)
        assert (found.low, found.high) == (pytest.approx(0.2), pytest.approx(1.0))

    def test_a_group_for_every_trial(self) -> None:
        with pytest.raises(ValueError, match="2 clusters, 1 groups"):
            resampling.clustered_ratio([1.0, 0.0], [1.0, 1.0], "ab", groups="a", seed=1)
