"""Values and differences pooled over seeds: what is paired, and what counts how much."""

from __future__ import annotations

from typing import Any

import pytest

from agentr_lite.metrics.measures import RECOVERY, REPEATED, REWARD, VALID, Played, any_graded
from agentr_lite.metrics.pooling import difference_of, value_of


def test_shares_are_of_all_steps_not_of_episodes() -> None:
    def episode(task: int, steps: int, repeated: int, invalid: int = 0) -> Played:
        return Played("stairs", task, False, 0.0, steps, invalid, repeated, 0, ())

    runs = {1: {("greedy", 0): [episode(1, 10, 10, 5), episode(2, 90, 0)]}}
    for measure, share in ((REPEATED, 0.1), (VALID, 0.95)):
        value = value_of(measure, runs, 0)  # type: ignore[arg-type]
        assert value is not None
        assert value.value == pytest.approx(share)


def test_differences_are_paired_by_seed_and_task() -> None:
    def rounds(*rewards: float) -> Any:
        played = [Played("stairs", n, r >= 1, r, 1, 0, 0, 0, ()) for n, r in enumerate(rewards)]
        return {("greedy", 1): played}

    ours, theirs = {1: rounds(1, 0.5), 2: rounds(0)}, {1: rounds(0, 0.5, 1), 3: rounds(1)}
    found = difference_of(REWARD, ours, 1, theirs, 1)
    assert found is not None
    assert (found.value, found.n, found.seeds) == (pytest.approx(0.5), 2, (1,))
    assert difference_of(RECOVERY, ours, 1, theirs, 1) is None
    assert any_graded([ours[1]])
    assert not any_graded([rounds(0, 1)])


def test_rounds_together_are_of_seeds_that_have_them_all() -> None:
    def rounds(*by_round: float) -> Any:
        return {
            ("greedy", number): [Played("stairs", 7, reward >= 1, reward, 1, 0, 0, 0, ())]
            for number, reward in enumerate(by_round)
        }

    ours, theirs = {1: rounds(0, 1, 0.5), 2: rounds(0, 0)}, {1: rounds(0, 0.5, 0), 2: rounds(0, 1)}
    value = value_of(REWARD, ours, [1, 2])
    assert value is not None
    assert (value.value, value.n, value.episodes) == (pytest.approx(0.75), 1, 2)
    assert value.seeds == (1,)
    found = difference_of(REWARD, ours, [1, 2], theirs, [1, 2])
    assert found is not None
    assert (found.value, found.by_seed) == (pytest.approx(0.5), (pytest.approx(0.5),))
    # A second round that only one of the two has is not compared with nothing.
    assert difference_of(REWARD, {2: rounds(0, 0, 0)}, [1, 2], {2: theirs[2]}, [1, 2]) is None
    versus = difference_of(REWARD, ours, [1, 2], ours, [0, 0])
    assert versus is not None
    assert versus.value == pytest.approx(0.75)


def test_seeds_that_disagree_are_inside_the_noise() -> None:
    def rounds(reward: float) -> Any:
        played = [Played("stairs", n, reward >= 1, reward, 1, 0, 0, 0, ()) for n in range(50)]
        return {("greedy", 1): played}

    ours, theirs = {1: rounds(0.9), 2: rounds(0.4)}, {1: rounds(0.5), 2: rounds(0.5)}
    found = difference_of(REWARD, ours, 1, theirs, 1)
    assert found is not None
    assert found.value == pytest.approx(0.15)
    assert (found.low, found.high) == (pytest.approx(-0.1), pytest.approx(0.4))


def test_environments_count_alike() -> None:
    def rounds(a: float, b: float) -> Any:
        many = [Played("a", n, a >= 1, a, 1, 0, 0, 0, ()) for n in range(9)]
        return {("greedy", 1): [*many, Played("b", 9, b >= 1, b, 1, 0, 0, 0, ())]}

    value = value_of(REWARD, {1: rounds(0.25, 1)}, 1)
    assert value is not None
    assert (value.value, value.n) == (pytest.approx(0.625), 10)
    found = difference_of(REWARD, {1: rounds(0.25, 1)}, 1, {1: rounds(0.25, 0)}, 1)
    assert found is not None
    assert (found.value, found.by_seed) == (pytest.approx(0.5), (pytest.approx(0.5),))
    assert found.p is None
