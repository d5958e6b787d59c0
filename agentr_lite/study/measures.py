"""What is measured of played episodes, pooled over seeds: values and differences with intervals.

The same held-out tasks come once a seed, so that every interval resamples tasks as clusters: a draw
takes a task with all its seeds, or leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentr_lite.evaluate.measures import revision_lengths
from agentr_lite.evaluate.summary import is_faulty, played_steps
from agentr_lite.stats import (
    clustered_rate,
    clustered_ratio,
    clustered_ratio_difference,
    paired_swap_test,
)
from agentr_lite.store import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalMode

Unit = Literal["percent", "decimal", "count"]


@dataclass(frozen=True, slots=True)
class Played:
    """What counts of one episode."""

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


def load_rounds(store: Store, run_id: str) -> dict[tuple[EvalMode, int], list[Played]]:
    """What a run has played, on the split of its recipe; evaluations that were cut are left out.

    Args:
        store: the database.
        run_id: the run.
    """
    from agentr_lite.store.runs import get_run

    split = get_run(store, run_id).recipe["eval"]["split"]
    found: dict[tuple[EvalMode, int], list[Played]] = {}
    for row in list_evals(store, run_id):
        if row.split != split or "success" not in row.summary:
            continue
        items = list_eval_items(store, row.id, with_episodes=row.mode == "greedy")
        found[row.mode, row.round] = [
            Played(
                item.task.id,
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


def value_of(measure: Measure, runs: Seeds, number: int, *, seed: int = 1) -> dict[str, Any] | None:
    """A measure of one round, pooled over the seeds that have it.

    Args:
        measure: what.
        runs: by seed.
        number: the round.
        seed: of the bootstrap.

    Returns:
        ``{value, low, high, n, episodes, seeds}``: ``n`` tasks; None where there is nothing to
        measure. Without an interval (None) where one task alone has anything.
    """
    key = (measure.mode, number)
    played = [one for rounds in runs.values() for one in rounds.get(key, ())]
    counted = [one for one in played if measure.below(one) > 0]
    if not counted:
        return None
    tasks = [one.task for one in counted]
    if measure.unit == "percent" and measure.below is _one:
        found = clustered_rate([measure.above(one) > 0 for one in counted], tasks, seed=seed)
    else:
        found = clustered_ratio(
            [measure.above(one) for one in counted],
            [measure.below(one) for one in counted],
            tasks,
            seed=seed,
        )
    alone = found.n == 1 and measure.below is not _one
    return {
        "value": found.value,
        "low": None if alone else found.low,
        "high": None if alone else found.high,
        "n": found.n,
        "episodes": len(counted),
        "seeds": sorted(seed for seed, rounds in runs.items() if key in rounds),
    }


def difference_of(
    measure: Measure,
    runs: Seeds,
    number: int,
    others: Seeds,
    other_number: int,
    *,
    seed: int = 1,
) -> dict[str, Any] | None:
    """How a measure differs between two methods or rounds, paired by seed and task.

    Args:
        measure: what.
        runs: by seed.
        number: their round.
        others: what they are compared with, by seed.
        other_number: whose round.
        seed: of the resampling.

    Returns:
        ``{value, low, high, n, p, seeds, by_seed}``; ``p``: two-sided, of the paired swap test
        over tasks. None without a pair.
    """
    pairs: list[tuple[Played, Played]] = []
    by_seed: dict[int, float] = {}
    for own_seed in sorted(set(runs) & set(others)):
        theirs = {p.task: p for p in others[own_seed].get((measure.mode, other_number), ())}
        mine = runs[own_seed].get((measure.mode, number), ())
        here = [(p, theirs[p.task]) for p in mine if p.task in theirs]
        difference = _plain_difference(measure, here)
        if difference is not None:
            by_seed[own_seed] = difference
        pairs += here
    if _plain_difference(measure, pairs) is None:
        return None
    now = [(measure.above(a), measure.below(a)) for a, _ in pairs]
    before = [(measure.above(b), measure.below(b)) for _, b in pairs]
    tasks = [a.task for a, _ in pairs]
    found = clustered_ratio_difference(now, before, tasks, seed=seed)
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "p": paired_swap_test(now, before, tasks, seed=seed),
        "seeds": list(by_seed),
        "by_seed": list(by_seed.values()),
    }


def _plain_difference(measure: Measure, pairs: Sequence[tuple[Played, Played]]) -> float | None:
    sides = []
    for side in (0, 1):
        below = sum(measure.below(pair[side]) for pair in pairs)
        if not below:
            return None
        sides.append(sum(measure.above(pair[side]) for pair in pairs) / below)
    return sides[0] - sides[1]


def is_graded(runs: Sequence[Seeds]) -> bool:
    """Whether the environment gives rewards between none and all."""
    return any(
        0 < one.reward < 1
        for seeds in runs
        for rounds in seeds.values()
        for played in rounds.values()
        for one in played
    )
