"""Intervals and tests in closed form: small, standard, checked against published values.

A rate gets a Wilson interval, a mean a Student interval, paired successes McNemar's exact test.
What has to be resampled is in ``resampling``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from agentr_lite.metrics.estimates import Estimate


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval of a rate.

    Args:
        successes: in [0, n].
        n: trials; 0 gives the interval [0, 1] around an undefined (NaN) rate.
        confidence: in (0, 1).

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials")
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0, 0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / n
    scale = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # The ends are exact where every trial agrees; rounding must not leave 1e-17 there.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Estimate(rate, low, high, n)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The mean and its Student t interval.

    Args:
        values: independent observations. One alone gives an unbounded interval, none NaN.
        confidence: in (0, 1).
    """
    n = len(values)
    if n == 0:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, -math.inf, math.inf, 1)
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    half = t_quantile((1 + confidence) / 2, n - 1) * math.sqrt(variance / n)
    return Estimate(mean, mean - half, mean + half, n)


def mean_of_estimates(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates, each counting alike, with an interval from theirs.

    On each side, the distances of the limits from their values are combined as standard errors
    are, so that the interval is as lopsided as theirs (the MOVER method).

    Args:
        estimates: at least one; an unbounded interval among them makes the result's unbounded.

    Raises:
        ValueError: no estimates.

    Source: G. Y. Zou, W. Huang and X. Zhang, "A note on confidence interval estimation for a linear
    function of binomial proportions", Computational Statistics & Data Analysis 53 (2009).
    """
    if not estimates:
        raise ValueError("the mean of no estimates")
    count = len(estimates)
    value = math.fsum(each.value for each in estimates) / count
    below = math.hypot(*(each.value - each.low for each in estimates)) / count
    above = math.hypot(*(each.high - each.value for each in estimates)) / count
    return Estimate(value, value - below, value + above, sum(each.n for each in estimates))


def t_quantile(probability: float, freedom: int) -> float:
    """Student's t: the value below which ``probability`` in [0.5, 1) of the mass lies.

    Args:
        probability: in [0.5, 1).
        freedom: degrees of freedom, a whole number >= 1.
    """
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"t quantile of {probability} with {freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while _t_cdf(high, freedom) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _t_cdf(middle, freedom) < probability else (low, middle)
    return high


def _t_cdf(t: float, freedom: int) -> float:
    """P(T < t) for t >= 0. Source: Abramowitz and Stegun, 26.7.3 and 26.7.4 (finite sums)."""
    theta = math.atan2(t, math.sqrt(freedom))
    cos2 = math.cos(theta) ** 2
    term = total = 0.0
    if freedom % 2:
        if freedom > 1:
            term = total = math.cos(theta)
        for k in range(3, freedom - 1, 2):
            term *= cos2 * (k - 1) / k
            total += term
        two_sided = 2 / math.pi * (theta + math.sin(theta) * total)
    else:
        term = total = 1.0
        for k in range(2, freedom, 2):
            term *= cos2 * (k - 1) / k
            total += term
        two_sided = math.sin(theta) * total
    return (1 + two_sided) / 2


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact p-value of McNemar's test.

    Args:
        gained: tasks solved now and not before.
        lost: tasks solved before and not now.

    Returns:
        The probability, if gains and losses were equally likely, of a split at least as uneven.
    """
    n = gained + lost
    if gained < 0 or lost < 0:
        raise ValueError(f"{gained} gained and {lost} lost")
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**n)
