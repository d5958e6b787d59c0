"""Statistics against published values and hand-made cases."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentr_lite.metrics import intervals as stats


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
