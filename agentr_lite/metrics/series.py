"""Series by round of one run, with intervals over tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.intervals import mean_of_estimates
from agentr_lite.metrics.measures import Measure, Rounds
from agentr_lite.metrics.pooling import value_of
from agentr_lite.metrics.resampling import clustered_ratio

ByRound = Mapping[int, Estimate]
"""Round to a figure."""


def measure_by_round(measure: Measure, rounds: Rounds, seed: int) -> ByRound:
    """A measure in every round that has it.

    Args:
        measure: what is measured.
        rounds: what the run played.
        seed: of the bootstrap.
    """
    values = {
        number: value_of(measure, {seed: rounds}, number, seed=seed)
        for mode, number in rounds
        if mode == measure.mode
    }
    return {number: value for number, value in values.items() if value is not None}


def task_means(by_round: Mapping[int, Sequence[tuple[int, float]]], seed: int) -> ByRound:
    """Means with bootstrap intervals over tasks; values of one task are not independent.

    Args:
        by_round: round to (task, value).
        seed: of the bootstrap.
    """
    means = {}
    for number, values in by_round.items():
        if not values:
            continue
        tasks = [task for task, _ in values]
        mean = clustered_ratio([value for _, value in values], [1] * len(values), tasks, seed=seed)
        # One task resampled is itself: an interval of no width would claim certainty.
        means[number] = _unbounded(mean) if mean.n == 1 else mean
    return means


def mean_over_envs(parts: Sequence[ByRound]) -> ByRound:
    """The mean over environments, by round; unbounded where one of them is."""
    if len(parts) == 1:
        return parts[0]
    means = {}
    for number in sorted({number for part in parts for number in part}):
        here = [part[number] for part in parts if number in part]
        mean = mean_of_estimates(here)
        means[number] = mean if all(each.bounds for each in here) else _unbounded(mean)
    return means


def _unbounded(estimate: Estimate) -> Estimate:
    return replace(estimate, low=-math.inf, high=math.inf)
