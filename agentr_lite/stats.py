"""Intervals and paired tests: small, standard, checked against published values.

A rate gets a Wilson interval, a mean a Student interval, a difference between two rounds on the
same tasks a paired bootstrap interval (clustered by task where tasks come several times) and, for
success, McNemar's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

RESAMPLES = 10_000
_CHUNK_CELLS = 4_000_000
"""Indices drawn at once by the bootstrap; bounds its memory to about 32 MB."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float
    n: int
    """Independent observations behind it: tasks, pairs or clusters."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly on one side of 0: not inside the noise."""
        return self.low > 0 or self.high < 0


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

    The distances of the single limits from their values are combined as standard errors are, for
    each side by itself; so the interval is as lopsided as theirs (the MOVER method).

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
    value = math.fsum(one.value for one in estimates) / count
    below = math.hypot(*(one.value - one.low for one in estimates)) / count
    above = math.hypot(*(one.high - one.value for one in estimates)) / count
    return Estimate(value, value - below, value + above, sum(one.n for one in estimates))


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


def paired_bootstrap(
    values: Sequence[float],
    baseline: Sequence[float],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Estimate:
    """The mean of ``values - baseline`` with a percentile bootstrap interval over pairs.

    Args:
        values: one value a task.
        baseline: the same tasks' values in the same order.
        seed: the same seed gives the same interval.
        resamples: bootstrap draws.
        confidence: in (0, 1).

    Raises:
        ValueError: no pairs, or lengths that differ.
    """
    clusters = range(len(values))
    return clustered_paired_bootstrap(
        values, baseline, clusters, seed=seed, resamples=resamples, confidence=confidence
    )


def clustered_paired_bootstrap(
    values: Sequence[float],
    baseline: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Estimate:
    """As ``paired_bootstrap``, drawing whole clusters.

    The same tasks played by several seeds' models are not independent observations: with the task
    as the cluster, a draw takes a task with all its seeds or leaves it.

    Args:
        values: one value a pair.
        baseline: what each is compared with.
        clusters: each pair's cluster, e.g. its task's name.
        seed: the same seed gives the same interval.
        resamples: bootstrap draws.
        confidence: in (0, 1).

    Returns:
        The mean difference over pairs; ``n`` counts the clusters.

    Raises:
        ValueError: no pairs, or lengths that differ.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), 8 and 13.
    """
    now, before = ([(float(value), 1.0) for value in side] for side in (values, baseline))
    return clustered_ratio_difference(
        now, before, clusters, seed=seed, resamples=resamples, confidence=confidence
    )


def clustered_rate(
    successes: Sequence[bool],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Estimate:
    """A rate whose trials come in clusters, with a bootstrap interval over whole clusters.

    Where resampling has nothing to vary (one cluster, or all trials alike) the interval is
    Wilson's with one trial a cluster: never narrower than what that many tasks can tell.

    Args:
        successes: one a trial.
        clusters: each trial's cluster, e.g. its task.
        seed: the same seed gives the same interval.
        resamples: bootstrap draws.
        confidence: in (0, 1).

    Raises:
        ValueError: no trials, or lengths that differ.
    """
    if not successes:
        raise ValueError("no trials")
    n, rate = len(set(clusters)), sum(successes) / len(successes)
    if n == 1 or rate in (0.0, 1.0):
        wilson = wilson_interval(round(rate * n), n, confidence)
        return Estimate(rate, wilson.low, wilson.high, n)
    return clustered_paired_bootstrap(
        [float(success) for success in successes],
        [0.0] * len(successes),
        clusters,
        seed=seed,
        resamples=resamples,
        confidence=confidence,
    )


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


def clustered_ratio(
    above: Sequence[float],
    below: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Estimate:
    """A ratio of two sums with a percentile bootstrap interval over whole clusters.

    Args:
        above: one term of the upper sum a trial.
        below: the same of the lower sum, each > 0.
        clusters: each trial's cluster, e.g. its task.
        seed: the same seed gives the same interval.
        resamples: bootstrap draws.
        confidence: in (0, 1).

    Raises:
        ValueError: no trials, or lengths that differ.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), 8 and 13.
    """
    pairs = list(zip(above, below, strict=True))
    none = [(0.0, 1.0)] * len(pairs)
    return clustered_ratio_difference(
        pairs, none, clusters, seed=seed, resamples=resamples, confidence=confidence
    )


def clustered_ratio_difference(
    now: Sequence[tuple[float, float]],
    before: Sequence[tuple[float, float]],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Estimate:
    """The difference of two ratios of sums, paired, with a bootstrap interval over clusters.

    Draws in which one of the lower sums is 0 have no ratio and are left out.

    Args:
        now: (upper, lower) term of each trial.
        before: the same of what it is compared with, pair by pair.
        clusters: each pair's cluster.
        seed: the same seed gives the same interval.
        resamples: bootstrap draws.
        confidence: in (0, 1).

    Raises:
        ValueError: no pairs, lengths that differ, or a lower sum of 0.
    """
    import numpy as np

    sums = _cluster_sums(now, before, clusters)  # (clusters, 4)
    n = len(sums)
    random = np.random.default_rng(seed)
    found = []
    step = max(1, _CHUNK_CELLS // n)
    for start in range(0, resamples, step):
        drawn = random.integers(n, size=(min(step, resamples - start), n))
        # How often each cluster was drawn: a product in place of four gathers.
        flat = (np.arange(len(drawn))[:, None] * n + drawn).ravel()
        times = np.bincount(flat, minlength=drawn.size).reshape(drawn.shape)
        found.append(_ratio_differences(times @ sums))
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail]) if len(values) else (-math.inf, math.inf)
    # Exact sums, so that a mean is the same here as in ``mean_interval``, to the last digit.
    totals = np.array([[math.fsum(column) for column in sums.T]])
    return Estimate(float(_ratio_differences(totals)[0]), float(low), float(high), n)


def paired_swap_test(
    now: Sequence[tuple[float, float]],
    before: Sequence[tuple[float, float]],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> float:
    """Two-sided p-value of a difference of ratios: what if the two sides were interchangeable?

    Each cluster as a whole is left as it is or has its two sides swapped, at random.

    Args:
        now: (upper, lower) term of each trial.
        before: the same of what it is compared with, pair by pair.
        clusters: each pair's cluster.
        seed: the same seed gives the same p-value.
        resamples: random swaps.

    Raises:
        ValueError: no pairs, lengths that differ, or a lower sum of 0.

    Source: the paired randomisation test; Noreen, "Computer-Intensive Methods for Testing
    Hypotheses" (1989), 2; the 1 added above and below is Phipson and Smyth's (2010).
    """
    import numpy as np

    sums = _cluster_sums(now, before, clusters)
    swapped = sums[:, [2, 3, 0, 1]]
    observed = abs(float(_ratio_differences(sums.sum(axis=0, keepdims=True))[0]))
    random = np.random.default_rng(seed)
    beyond = 0
    step = max(1, _CHUNK_CELLS // len(sums))
    for start in range(0, resamples, step):
        swap = random.integers(2, size=(min(step, resamples - start), len(sums))).astype(float)
        totals = swap @ swapped + (1 - swap) @ sums
        # Sums in another order: equal differences may differ in the last digit.
        beyond += int((np.abs(_ratio_differences(totals)) >= observed - 1e-12).sum())
    return (beyond + 1) / (resamples + 1)


def _cluster_sums(
    now: Sequence[tuple[float, float]],
    before: Sequence[tuple[float, float]],
    clusters: Sequence[Hashable],
) -> Any:
    """(clusters, 4): sums of the upper and lower terms, now and before."""
    import numpy as np

    if not len(now) == len(before) == len(clusters):
        raise ValueError(
            f"{len(now)} values, {len(before)} baseline values, {len(clusters)} clusters"
        )
    if not len(now):
        raise ValueError("no pairs to compare")
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])
    terms = np.concatenate([np.asarray(now, float), np.asarray(before, float)], axis=1)
    sums = np.zeros((len(numbers), 4))
    np.add.at(sums, index, terms)
    if not (sums[:, 1].sum() and sums[:, 3].sum()):
        raise ValueError("a ratio of nothing")
    return sums


def _ratio_differences(totals: Any) -> Any:
    """Rows of four sums to differences of ratios; not a number where a lower sum is 0."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        return totals[:, 0] / totals[:, 1] - totals[:, 2] / totals[:, 3]
