"""Paired bootstrap intervals and randomisation tests, drawing whole clusters.

The same tasks played by several seeds' models are not independent: a task is a cluster. A
difference between two rounds on the same tasks gets a percentile bootstrap interval and the paired
swap test. Where seeds are given as groups, a draw takes seeds at random as well as tasks: what
holds for other tasks need not hold for another training.

Equal draws are made once: a report asks for hundreds of intervals over as many tasks, and drawing
takes nearly all of an interval's time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from agentr_lite.metrics.estimates import FEWEST, Estimate
from agentr_lite.metrics.intervals import wilson_interval

RESAMPLES = 10_000
"""Draws of an interval or a p-value."""
_TAIL = 0.025
"""Probability on each side of a 95 % interval."""
_SAME = 1e-12
"""Equal values may differ by this much when they are summed in another order."""
_BLOCK_CELLS = 4_000_000
"""Random numbers drawn at once; bounds the memory to about 100 MB."""
_KEPT = 16
"""Blocks of draws that are kept in memory, of at most 8 MB each."""

Counts = npt.NDArray[np.unsignedinteger[Any]]
"""Small whole numbers, in as few bytes as hold them."""

_Seed = int | tuple[int, int]


def clustered_paired_bootstrap(
    values: Sequence[float],
    baseline: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    seed: int,
) -> Estimate:
    """The mean of ``values - baseline`` over pairs, with a percentile bootstrap interval.

    The same tasks played by several seeds' models are not independent observations: with the task
    as the cluster, a draw takes a task with all its seeds or leaves it.

    Args:
        values: one value for each pair.
        baseline: what each is compared with.
        clusters: each pair's cluster, e.g. its task's name.
        seed: the same seed gives the same interval.

    Returns:
        The mean difference over pairs; ``n`` counts the clusters. Unbounded where drawing has
        nothing to vary (see ``clustered_ratio_difference``).

    Raises:
        ValueError: no pairs, or lengths that differ.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), 8 and 13.
    """
    now, before = ([(float(value), 1.0) for value in side] for side in (values, baseline))
    return clustered_ratio_difference(now, before, clusters, seed=seed)


def clustered_rate(
    successes: Sequence[bool],
    clusters: Sequence[Hashable],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int,
) -> Estimate:
    """A rate whose trials come in clusters, with a bootstrap interval over whole clusters.

    Where resampling has nothing to vary (one cluster, or all trials alike), the interval is
    Wilson's with one trial for each cluster: never narrower than that many tasks allow.

    Args:
        successes: one for each trial.
        clusters: each trial's cluster, e.g. its task.
        groups: see ``clustered_ratio_difference``.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: no trials, or lengths that differ.
    """
    if not successes:
        raise ValueError("no trials")
    n, rate = len(set(clusters)), sum(successes) / len(successes)
    if n == 1 or rate in (0.0, 1.0):
        wilson = wilson_interval(round(rate * n), n)
        return Estimate(rate, wilson.low, wilson.high, n)
    return clustered_ratio(
        [float(success) for success in successes],
        [1.0] * len(successes),
        clusters,
        groups=groups,
        seed=seed,
    )


def clustered_ratio(
    above: Sequence[float],
    below: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int,
) -> Estimate:
    """A ratio of two sums with a percentile bootstrap interval over whole clusters.

    Where drawing has nothing to vary, the interval is unbounded.

    Args:
        above: the term of each trial in the upper sum.
        below: the term of each trial in the lower sum, > 0.
        clusters: each trial's cluster, e.g. its task.
        groups: see ``clustered_ratio_difference``.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: no trials, or lengths that differ.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), 8 and 13.
    """
    pairs = list(zip(above, below, strict=True))
    none = [(0.0, 1.0)] * len(pairs)
    return clustered_ratio_difference(pairs, none, clusters, groups=groups, seed=seed)


def clustered_ratio_difference(
    now: Sequence[tuple[float, float]],
    before: Sequence[tuple[float, float]],
    clusters: Sequence[Hashable],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int,
) -> Estimate:
    """The difference of two ratios of sums, paired, with a bootstrap interval over clusters.

    Draws in which one of the lower sums is 0 have no ratio and are left out. Where drawing has
    nothing to vary (only one cluster has anything on a side, or a handful differ by the same
    amount) the interval is unbounded: one of no width would claim certainty.

    Args:
        now: (upper, lower) term of each trial.
        before: the same of what it is compared with, pair by pair.
        clusters: each pair's cluster.
        groups: each pair's group, e.g. its training seed; clusters recur across groups. Groups
            and clusters are drawn independently of each other; None or one: clusters alone.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: no pairs, lengths that differ, or a lower sum of 0.

    Source of drawing both: A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1
    (2007).
    """
    parts = _group_sums(now, before, clusters, groups)
    n = parts.shape[1]
    times_of_groups = np.concatenate([*_blocks(_draws, (seed, 1), len(parts))])
    drawn = []
    done = 0
    for times in _blocks(_draws, seed, n):
        here = times_of_groups[done : done + len(times)]
        drawn.append((here.T[:, :, None] * (times @ parts)).sum(axis=0))
        done += len(times)
    values = _ratio_differences(np.concatenate(drawn))
    values = values[np.isfinite(values)]
    # Exact sums, so that a mean is the same here as in ``mean_interval``, to the last digit.
    totals = np.array([[math.fsum(column) for column in parts.reshape(-1, 4).T]])
    value = float(_ratio_differences(totals)[0])
    low, high = (float(end) for end in np.quantile(values, [_TAIL, 1 - _TAIL]))
    # Clusters that have anything to divide by, on the side that has fewer.
    telling = int((parts[:, :, [1, 3]] > 0).any(axis=0).sum(axis=0).min())
    if telling == 1 or (high - low < _SAME and telling < FEWEST):
        low, high = -math.inf, math.inf
    return Estimate(value, low, high, n)


def paired_swap_test(
    now: Sequence[tuple[float, float]],
    before: Sequence[tuple[float, float]],
    clusters: Sequence[Hashable],
    *,
    seed: int,
) -> float:
    """Two-sided p-value of a difference of ratios: what if the two sides were interchangeable?

    Each cluster as a whole is left as it is or has its two sides swapped, at random. Swaps after
    which one of the lower sums is 0 have no difference and are left out.

    Args:
        now: (upper, lower) term of each trial.
        before: the same of what it is compared with, pair by pair.
        clusters: each pair's cluster.
        seed: the same seed gives the same p-value.

    Raises:
        ValueError: no pairs, lengths that differ, or a lower sum of 0.

    Source: the paired randomisation test; Noreen, "Computer-Intensive Methods for Testing
    Hypotheses" (1989), 2; the 1 added above and below is Phipson and Smyth's (2010).
    """
    sums = _group_sums(now, before, clusters, None)[0]
    observed = abs(float(_ratio_differences(sums.sum(axis=0, keepdims=True))[0]))
    gained = sums[:, [2, 3, 0, 1]] - sums
    beyond = known = 0
    for swaps in _blocks(_swaps, seed, len(sums)):
        differences = _ratio_differences(sums.sum(axis=0) + swaps @ gained)
        beyond += int((np.abs(differences) >= observed - _SAME).sum())
        known += int(np.isfinite(differences).sum())
    return (beyond + 1) / (known + 1)


def _blocks(
    make: Callable[[np.random.Generator, int, int], Counts], seed: _Seed, n: int
) -> Iterator[npt.NDArray[np.float64]]:
    """``RESAMPLES`` rows of n random whole numbers, in blocks; a function of the seed."""
    if n * RESAMPLES <= _BLOCK_CELLS:
        yield _kept(make, seed, n).astype(float)
        return
    random = np.random.default_rng(seed)
    step = max(1, _BLOCK_CELLS // n)
    for start in range(0, RESAMPLES, step):
        yield make(random, min(step, RESAMPLES - start), n).astype(float)


@lru_cache(maxsize=_KEPT)
def _kept(make: Callable[[np.random.Generator, int, int], Counts], seed: _Seed, n: int) -> Counts:
    return make(np.random.default_rng(seed), RESAMPLES, n)


def _draws(random: np.random.Generator, rows: int, n: int) -> Counts:
    """(rows, n): how often each cluster was drawn. A product with it replaces gathers."""
    drawn = random.integers(n, size=(rows, n))
    flat = (np.arange(rows)[:, None] * n + drawn).ravel()
    return np.bincount(flat, minlength=drawn.size).reshape(rows, n).astype(np.min_scalar_type(n))


def _swaps(random: np.random.Generator, rows: int, n: int) -> Counts:
    """(rows, n): 1 where a cluster's sides are swapped."""
    return random.integers(2, size=(rows, n)).astype(np.uint8)


def _group_sums(
    now: Sequence[tuple[float, float]],
    before: Sequence[tuple[float, float]],
    clusters: Sequence[Hashable],
    groups: Sequence[Hashable] | None,
) -> npt.NDArray[np.float64]:
    """(groups, clusters, 4): sums of the upper and lower terms, now and before."""
    if groups is None:
        groups = [None] * len(clusters)
    if not len(now) == len(before) == len(clusters) == len(groups):
        raise ValueError(
            f"{len(now)} values, {len(before)} baseline values, {len(clusters)} clusters,"
            f" {len(groups)} groups"
        )
    if not len(now):
        raise ValueError("no pairs to compare")
    rows, columns = _numbered(groups), _numbered(clusters)
    sums = np.zeros((rows.max() + 1, columns.max() + 1, 4))
    terms = np.concatenate([np.asarray(now, float), np.asarray(before, float)], axis=1)
    np.add.at(sums, (rows, columns), terms)
    if not (sums[:, :, 1].sum() and sums[:, :, 3].sum()):
        raise ValueError("a ratio of nothing")
    return sums


def _numbered(names: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """Each name's number, in the order of their first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names])


def _ratio_differences(totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows of four sums to differences of ratios; not a number where a lower sum is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return totals[:, 0] / totals[:, 1] - totals[:, 2] / totals[:, 3]
