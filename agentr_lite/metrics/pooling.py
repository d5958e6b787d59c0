"""Values and differences of a measure, pooled over seeds, with intervals.

The same held-out tasks come once a seed, so every interval resamples tasks as clusters, and seeds,
too, where there are several: a draw takes tasks and seeds. For episodes in several environments,
the values and differences of the environments are averaged, each counting alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agentr_lite.metrics.estimates import Difference, Estimate, PooledEstimate
from agentr_lite.metrics.intervals import mean_of_estimates
from agentr_lite.metrics.measures import Measure, Played, Seeds
from agentr_lite.metrics.resampling import (
    clustered_rate,
    clustered_ratio,
    clustered_ratio_difference,
    paired_swap_test,
)
from agentr_lite.store.records import EvalMode


def value_of(
    measure: Measure, runs: Seeds, rounds: int | Sequence[int], *, seed: int = 1
) -> PooledEstimate | None:
    """A measure of one round, or of several together, pooled over the seeds that have it.

    Args:
        measure: what is measured.
        runs: by seed.
        rounds: the round or rounds.
        seed: of the bootstrap.

    Returns:
        ``n`` counts tasks. The interval is unbounded where resampling tells nothing: only one task
        of an environment has anything to measure, or all tasks are alike. None where there is
        nothing to measure.
    """
    keys = _keys(measure, rounds)
    seeds = [own_seed for own_seed, played in runs.items() if all(key in played for key in keys)]
    trials = [
        _Trial(own_seed, episode, episode)
        for own_seed in seeds
        for key in keys
        for episode in runs[own_seed][key]
        if measure.below(episode) > 0
    ]
    if not trials:
        return None
    mean = _mean([_value(measure, mine, seed) for mine in _by_env(trials)])
    return PooledEstimate(
        mean.value, mean.low, mean.high, mean.n, len(trials), tuple(sorted(seeds))
    )


class _Trial(NamedTuple):
    """Two episodes of one task, or one twice where nothing is compared."""

    seed: int
    now: Played
    before: Played


def _value(measure: Measure, trials: Sequence[_Trial], seed: int) -> Estimate:
    """The value in one environment."""
    tasks, seeds = [trial.now.task for trial in trials], [trial.seed for trial in trials]
    above = [measure.above(trial.now) for trial in trials]
    if measure.is_rate:
        return clustered_rate([value > 0 for value in above], tasks, groups=seeds, seed=seed)
    below = [measure.below(trial.now) for trial in trials]
    return clustered_ratio(above, below, tasks, groups=seeds, seed=seed)


def difference_of(
    measure: Measure,
    runs: Seeds,
    rounds: int | Sequence[int],
    others: Seeds,
    other_rounds: int | Sequence[int],
    *,
    seed: int = 1,
) -> Difference | None:
    """How a measure differs between two methods or rounds, paired by seed and task.

    Args:
        measure: what is measured.
        runs: by seed.
        rounds: their round, or several together.
        others: what they are compared with, by seed.
        other_rounds: the round of the others; where ``rounds`` are several, one for each of them.
        seed: of the resampling.

    Returns:
        The interval is unbounded where resampling tells nothing; ``p`` takes the seeds as given.
        None without a pair.
    """
    keys = list(zip(_keys(measure, rounds), _keys(measure, other_rounds), strict=True))
    pairs: list[_Trial] = []
    by_seed: dict[int, float] = {}
    for own_seed in sorted(set(runs) & set(others)):
        if any(key not in runs[own_seed] or other not in others[own_seed] for key, other in keys):
            continue
        here = []
        for key, other_key in keys:
            theirs = {episode.task: episode for episode in others[own_seed][other_key]}
            here += [
                _Trial(own_seed, episode, theirs[episode.task])
                for episode in runs[own_seed][key]
                if episode.task in theirs
            ]
        each = [_Sides.of(measure, part).difference for part in _by_env(here)]
        known = [difference for difference in each if difference is not None]
        if known:
            by_seed[own_seed] = sum(known) / len(known)
        pairs += here
    sides = [_Sides.of(measure, part) for part in _by_env(pairs)]
    sides = [side for side in sides if side.difference is not None]
    if not sides:
        return None
    mean = _mean(
        [
            clustered_ratio_difference(
                side.now, side.before, side.tasks, groups=side.seeds, seed=seed
            )
            for side in sides
        ]
    )
    only = sides[0] if len(sides) == 1 else None
    return Difference(
        mean.value,
        mean.low,
        mean.high,
        mean.n,
        p=paired_swap_test(only.now, only.before, only.tasks, seed=seed) if only else None,
        seeds=tuple(by_seed),
        by_seed=tuple(by_seed.values()),
    )


class _Sides(NamedTuple):
    """Pairs in the form that the resampling takes."""

    now: Sequence[tuple[float, float]]
    before: Sequence[tuple[float, float]]
    tasks: Sequence[int]
    seeds: Sequence[int]

    @classmethod
    def of(cls, measure: Measure, pairs: Sequence[_Trial]) -> _Sides:
        return cls(
            [(measure.above(pair.now), measure.below(pair.now)) for pair in pairs],
            [(measure.above(pair.before), measure.below(pair.before)) for pair in pairs],
            [pair.now.task for pair in pairs],
            [pair.seed for pair in pairs],
        )

    @property
    def difference(self) -> float | None:
        """The difference of the two ratios; None where a side has nothing to divide by."""
        ratios = []
        for side in (self.now, self.before):
            below = sum(term[1] for term in side)
            if not below:
                return None
            ratios.append(sum(term[0] for term in side) / below)
        return ratios[0] - ratios[1]


def _keys(measure: Measure, rounds: int | Sequence[int]) -> list[tuple[EvalMode, int]]:
    return [(measure.mode, n) for n in ([rounds] if isinstance(rounds, int) else rounds)]


def _by_env(trials: Iterable[_Trial]) -> list[list[_Trial]]:
    by_env: dict[str, list[_Trial]] = {}
    for trial in trials:
        by_env.setdefault(trial.now.env, []).append(trial)
    return [by_env[name] for name in sorted(by_env)]


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean; a single estimate stays as it is, to the last digit."""
    return estimates[0] if len(estimates) == 1 else mean_of_estimates(estimates)
