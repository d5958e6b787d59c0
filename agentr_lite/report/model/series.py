"""What the plots of one run show beyond its tables: series, with intervals over tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.metrics.evaluation import estimate_to_json
from agentr_lite.metrics.intervals import Estimate, mean_of_estimates
from agentr_lite.metrics.measures import (
    LENGTH,
    REPEATED,
    Measure,
    Rounds,
    in_env,
    load_rounds,
    value_of,
)
from agentr_lite.metrics.resampling import clustered_ratio
from agentr_lite.report.model.run import RunReport
from agentr_lite.store.database import Store
from agentr_lite.store.runs import list_metrics

Estimates = Mapping[int, Mapping[str, Any]]
"""Round to ``{value, low, high, n}``."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run's series."""

    split: str
    """The split that the run's recipe evaluates on."""
    repeated: Estimates = field(default_factory=dict)
    """Share of greedy steps that repeat the steps just before."""
    played_lengths: Estimates = field(default_factory=dict)
    """Mean visibly bad steps before a reflection in greedy episodes."""
    learnt_lengths: Estimates = field(default_factory=dict)
    """Mean bad steps before the reflection in what was trained on."""
    losses: Mapping[tuple[int, str], Sequence[tuple[int, float]]] = field(default_factory=dict)
    """(round, metric) to (step, loss), by step."""
    by_env: Mapping[str, Measured] = field(default_factory=dict)
    """Of several environments, each one's series without the losses; the run's own series are then
    means, in which each environment counts alike."""


def measure(store: Store, report: RunReport, played: Rounds | None = None) -> Measured:
    """Read a run's series.

    Args:
        store: the run's database.
        report: the run's figures.
        played: what it played on its recipe's split, if that has been read already.
    """
    run = report.run
    split = main_split(report)
    # Nothing there: it may have been evaluated on another split.
    rounds = played or load_rounds(store, run.id, split=split)
    kept = _kept_lengths(store, run.id)
    envs = {one.env for played in rounds.values() for one in played}
    envs |= {env for lengths in kept.values() for env, _, _ in lengths}
    by_env = {}
    for env in sorted(envs):
        mine = in_env(rounds, env)
        learnt = {n: [(t, v) for e, t, v in rows if e == env] for n, rows in kept.items()}
        by_env[env] = Measured(
            split,
            _by_round(REPEATED, mine, run.seed),
            _by_round(LENGTH, mine, run.seed),
            _means(learnt, run.seed),
        )
    losses: dict[tuple[int, str], list[tuple[int, float]]] = {}
    for metric in list_metrics(store, run.id):
        if metric.name.endswith("_loss"):
            points = losses.setdefault((metric.round, metric.name), [])
            points.append((metric.step, metric.value))
    return Measured(
        split,
        _by_round(REPEATED, rounds, run.seed),
        _by_round(LENGTH, rounds, run.seed),
        _over_envs([one.learnt_lengths for one in by_env.values()]),
        losses,
        by_env if len(by_env) > 1 else {},
    )


def main_split(report: RunReport) -> str:
    """The split of the recipe, or the first that was evaluated; empty without evaluations."""
    wanted = str(report.run.recipe.get("eval", {}).get("split", ""))
    splits = list(dict.fromkeys(line.split for line in report.evals))
    return wanted if wanted in splits or not splits else splits[0]


def _by_round(measure: Measure, rounds: Rounds, seed: int) -> Estimates:
    """A measure of greedy episodes, of every round that has it."""
    values = {
        number: value_of(measure, {seed: rounds}, number, seed=seed)
        for mode, number in rounds
        if mode == measure.mode
    }
    return {number: value for number, value in values.items() if value is not None}


def _kept_lengths(store: Store, run_id: str) -> dict[int, list[tuple[str, int, float]]]:
    """Round to (environment, task, revision length)."""
    found: dict[int, list[tuple[str, int, float]]] = {}
    for number, env, task, length in store.rows(
        "SELECT v.round, k.env, r.task_id, v.revision_length FROM revisions v"
        " JOIN trajectories b ON b.id = v.bad_id JOIN trees r ON r.id = b.tree_id"
        " JOIN tasks k ON k.id = r.task_id"
        " WHERE v.run_id = ? AND v.status <> 'rejected' ORDER BY v.id",
        (run_id,),
    ):
        found.setdefault(number, []).append((env, task, float(length)))
    return found


def _means(by_round: Mapping[int, Sequence[tuple[int, float]]], seed: int) -> Estimates:
    """Means with intervals by bootstrap over tasks, whose values are not independent."""
    found = {}
    for number, values in by_round.items():
        if not values:
            continue
        tasks = [task for task, _ in values]
        estimate = clustered_ratio(
            [value for _, value in values], [1] * len(values), tasks, seed=seed
        )
        told = estimate_to_json(estimate)
        if estimate.n == 1:
            # One task resampled is itself: an interval of no width would claim certainty.
            told |= {"low": None, "high": None}
        found[number] = told
    return found


def _over_envs(parts: Sequence[Estimates]) -> Estimates:
    """The mean over environments, by round; without an interval where one of them has none."""
    if len(parts) == 1:
        return parts[0]
    found = {}
    for number in sorted({number for part in parts for number in part}):
        here = [part[number] for part in parts if number in part]
        unknown = any(one["low"] is None for one in here)
        estimates = [
            Estimate(one["value"], -math.inf, math.inf, one["n"])
            if unknown
            else Estimate(one["value"], one["low"], one["high"], one["n"])
            for one in here
        ]
        told = estimate_to_json(mean_of_estimates(estimates))
        if unknown:
            told |= {"low": None, "high": None}
        found[number] = told
    return found
