"""What is measured of played episodes, pooled over seeds: values and differences with intervals.

The same held-out tasks come once a seed, so that every interval resamples tasks as clusters, and
where there are several seeds, those too: a draw takes tasks and seeds. Of episodes in several
environments, values and differences are those of each environment, averaged: each counts alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from agentr_lite.metrics.episodes import revision_lengths
from agentr_lite.metrics.evaluation import is_faulty, played_steps
from agentr_lite.metrics.intervals import Estimate, mean_of_estimates
from agentr_lite.metrics.resampling import (
    clustered_rate,
    clustered_ratio,
    clustered_ratio_difference,
    paired_swap_test,
)
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalMode
from agentr_lite.store.runs import get_run

Unit = Literal["percent", "decimal", "count"]


@dataclass(frozen=True, slots=True)
class Played:
    """What counts of one episode."""

    env: str
    task: int
    success: bool
    reward: float
    steps: int
    invalid: int
    repeated: int
    reflections: int
    lengths: tuple[int, ...]
    """Bad steps before each reflection, where any (see ``evaluate.measures``)."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A ratio of two sums over episodes."""

    key: str
    title: str
    """Of its table."""
    column: str
    """What it is called in a table of several measures."""
    mode: EvalMode
    above: Callable[[Played], float]
    below: Callable[[Played], float]
    unit: Unit
    better: Literal["more", "fewer"] = "more"


def _one(_: Played) -> float:
    return 1.0


SUCCESS = Measure(
    "success", "Success", "success", "greedy", lambda p: float(p.success), _one, "percent"
)
REWARD = Measure("reward", "Mean reward", "reward", "greedy", lambda p: p.reward, _one, "decimal")
RECOVERY = Measure(
    "recovery",
    "Recovery from the base's failures",
    "recovery",
    "recovery",
    lambda p: float(p.success),
    _one,
    "percent",
)
RECOVERY_REWARD = Measure(
    "recovery_reward",
    "Mean reward from the base's failures on",
    "reward from failures",
    "recovery",
    lambda p: p.reward,
    _one,
    "decimal",
)
REPEATED = Measure(
    "repeated",
    "Repeated actions",
    "repeated actions",
    "greedy",
    lambda p: p.repeated,
    lambda p: p.steps,
    "percent",
    "fewer",
)
LENGTH = Measure(
    "revision_length",
    "Revision length",
    "revision length",
    "greedy",
    lambda p: sum(p.lengths),
    lambda p: len(p.lengths),
    "count",
    "fewer",
)
VALID = Measure(
    "valid",
    "Valid actions",
    "valid actions",
    "greedy",
    lambda p: p.steps - p.invalid,
    lambda p: p.steps,
    "percent",
)
REFLECTIONS = Measure(
    "reflections",
    "Reflections an episode",
    "reflections",
    "greedy",
    lambda p: p.reflections,
    _one,
    "count",
)
STEPS = Measure(
    "steps", "Steps an episode", "steps", "greedy", lambda p: p.steps, _one, "count", "fewer"
)

OUTCOMES = (SUCCESS, REWARD, RECOVERY, RECOVERY_REWARD)
BEHAVIOUR = (REPEATED, LENGTH, VALID, REFLECTIONS, STEPS)

Rounds = Mapping[tuple[EvalMode, int], Sequence[Played]]
"""(mode, round) to episodes; only evaluations that are through."""
Seeds = Mapping[int, Rounds]
"""Seed to what its run played."""


def load_rounds(
    store: Store,
    run_id: str,
    tasks: Mapping[int, int] | None = None,
    *,
    split: str | None = None,
) -> dict[tuple[EvalMode, int], list[Played]]:
    """What a run has played on one split; evaluations that were cut are left out.

    Args:
        store: the database.
        run_id: the run.
        tasks: the database's task ids to the numbers by which they go here; None: their own.
        split: which; default: that of the run's recipe.
    """
    split = split or get_run(store, run_id).recipe["eval"]["split"]
    found: dict[tuple[EvalMode, int], list[Played]] = {}
    for row in list_evals(store, run_id):
        if row.split != split or not row.whole:
            continue
        items = list_eval_items(store, row.id, with_episodes=row.mode == "greedy")
        found[row.mode, row.round] = [
            Played(
                item.task.env,
                tasks[item.task.id] if tasks is not None else item.task.id,
                item.success,
                item.reward,
                item.steps,
                item.invalid_actions,
                item.repeated_actions,
                item.reflections,
                tuple(n for n in revision_lengths(played_steps(item)) if n > 0),
            )
            for item in items
            if not is_faulty(item)
        ]
    return found


def in_env(rounds: Rounds, env: str) -> Rounds:
    """What was played in one of several environments."""
    mine = {key: [one for one in played if one.env == env] for key, played in rounds.items()}
    return {key: played for key, played in mine.items() if played}


def value_of(
    measure: Measure, runs: Seeds, rounds: int | Sequence[int], *, seed: int = 1
) -> dict[str, Any] | None:
    """A measure of one round, or of several together, pooled over the seeds that have it.

    Args:
        measure: what.
        runs: by seed.
        rounds: the round or rounds.
        seed: of the bootstrap.

    Returns:
        ``{value, low, high, n, episodes, seeds}``: ``n`` tasks; None where there is nothing to
        measure. Without an interval (None) where resampling tells nothing: one task alone, of an
        environment, has anything, or all are alike.
    """
    keys = _keys(measure, rounds)
    seeds = [own for own, played in runs.items() if all(key in played for key in keys)]
    counted = [
        _Trial(own, one, one)
        for own in seeds
        for key in keys
        for one in runs[own][key]
        if measure.below(one) > 0
    ]
    if not counted:
        return None
    found = _mean([_value(measure, mine, seed) for mine in _by_env(counted)])
    known = math.isfinite(found.low) and math.isfinite(found.high)
    return {
        "value": found.value,
        "low": found.low if known else None,
        "high": found.high if known else None,
        "n": found.n,
        "episodes": len(counted),
        "seeds": sorted(seeds),
    }


class _Trial(NamedTuple):
    """Two episodes of one task, or one twice where nothing is compared."""

    seed: int
    now: Played
    before: Played


def _value(measure: Measure, trials: Sequence[_Trial], seed: int) -> Estimate:
    """Of one environment."""
    tasks, seeds = [one.now.task for one in trials], [one.seed for one in trials]
    above = [measure.above(one.now) for one in trials]
    if measure.unit == "percent" and measure.below is _one:
        return clustered_rate([value > 0 for value in above], tasks, groups=seeds, seed=seed)
    below = [measure.below(one.now) for one in trials]
    return clustered_ratio(above, below, tasks, groups=seeds, seed=seed)


def difference_of(
    measure: Measure,
    runs: Seeds,
    rounds: int | Sequence[int],
    others: Seeds,
    other_rounds: int | Sequence[int],
    *,
    seed: int = 1,
) -> dict[str, Any] | None:
    """How a measure differs between two methods or rounds, paired by seed and task.

    Args:
        measure: what.
        runs: by seed.
        rounds: their round, or several together.
        others: what they are compared with, by seed.
        other_rounds: whose round; of several, one for each of ``rounds``.
        seed: of the resampling.

    Returns:
        ``{value, low, high, n, p, seeds, by_seed}``; ``low`` and ``high`` are infinite where
        resampling tells nothing; ``p``: two-sided, of the paired swap test
        over tasks, which takes the seeds as given; None over several environments. None without
        a pair.
    """
    keys = list(zip(_keys(measure, rounds), _keys(measure, other_rounds), strict=True))
    pairs: list[_Trial] = []
    by_seed: dict[int, float] = {}
    for own in sorted(set(runs) & set(others)):
        if any(key not in runs[own] or other not in others[own] for key, other in keys):
            continue
        here = []
        for key, other_key in keys:
            theirs = {one.task: one for one in others[own][other_key]}
            here += [_Trial(own, p, theirs[p.task]) for p in runs[own][key] if p.task in theirs]
        each = [_Sides.of(measure, part).difference for part in _by_env(here)]
        known = [difference for difference in each if difference is not None]
        if known:
            by_seed[own] = sum(known) / len(known)
        pairs += here
    sides = [_Sides.of(measure, part) for part in _by_env(pairs)]
    sides = [one for one in sides if one.difference is not None]
    if not sides:
        return None
    found = _mean(
        [
            clustered_ratio_difference(one.now, one.before, one.tasks, groups=one.seeds, seed=seed)
            for one in sides
        ]
    )
    only = sides[0] if len(sides) == 1 else None
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "p": paired_swap_test(only.now, only.before, only.tasks, seed=seed) if only else None,
        "seeds": list(by_seed),
        "by_seed": list(by_seed.values()),
    }


class _Sides(NamedTuple):
    """Pairs as the statistics take them."""

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
        """Of the two ratios; None where a side has nothing to divide by."""
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
    found: dict[str, list[_Trial]] = {}
    for one in trials:
        found.setdefault(one.now.env, []).append(one)
    return [found[name] for name in sorted(found)]


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """One alone stays as it is, to the last digit."""
    return estimates[0] if len(estimates) == 1 else mean_of_estimates(estimates)


def is_graded(runs: Iterable[Rounds]) -> bool:
    """Whether there are rewards between none and all."""
    return any(
        0 < one.reward < 1 for rounds in runs for played in rounds.values() for one in played
    )


def main_measure(graded: bool) -> Measure:
    """What an environment is about: reward where it is graded, success elsewhere."""
    return REWARD if graded else SUCCESS


def recovery_measure(graded: bool) -> Measure:
    """What is told of going on from the base's failures; the counterpart of ``main_measure``."""
    return RECOVERY_REWARD if graded else RECOVERY
