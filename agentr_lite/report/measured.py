"""What the plots of one run show beyond its tables: series, with intervals over tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentr_lite.evaluate.measures import revision_lengths
from agentr_lite.evaluate.summary import estimate_to_json, is_faulty, played_steps
from agentr_lite.report.data import RunReport
from agentr_lite.stats import clustered_paired_bootstrap
from agentr_lite.store.database import Store
from agentr_lite.store.evals import list_eval_items, list_evals
from agentr_lite.store.records import EvalItemRow
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


def measure(store: Store, report: RunReport) -> Measured:
    """Read a run's series.

    Args:
        store: the run's database.
        report: the run's figures.
    """
    run = report.run
    split = main_split(report)
    repeated: dict[int, Mapping[str, Any]] = {}
    played: dict[int, Mapping[str, Any]] = {}
    for row in list_evals(store, run.id, mode="greedy"):
        if row.split != split:
            continue
        items = [item for item in list_eval_items(store, row.id) if not is_faulty(item)]
        _put(repeated, row.round, _repetitions(items), run.seed)
        _put(played, row.round, _lengths(items), run.seed)
    learnt: dict[int, Mapping[str, Any]] = {}
    for number, kept in _kept_lengths(store, run.id).items():
        _put(learnt, number, kept, run.seed)
    losses: dict[tuple[int, str], list[tuple[int, float]]] = {}
    for metric in list_metrics(store, run.id):
        if metric.name.endswith("_loss"):
            points = losses.setdefault((metric.round, metric.name), [])
            points.append((metric.step, metric.value))
    return Measured(split, repeated, played, learnt, losses)


def main_split(report: RunReport) -> str:
    """The split of the recipe, or the first that was evaluated; empty without evaluations."""
    wanted = str(report.run.recipe.get("eval", {}).get("split", ""))
    splits = list(dict.fromkeys(line.split for line in report.evals))
    return wanted if wanted in splits or not splits else splits[0]


def _repetitions(items: Sequence[EvalItemRow]) -> list[tuple[int, float]]:
    """(task, 1 or 0) of every step: whether it repeats."""
    return [
        (item.task.id, float(step < item.repeated_actions))
        for item in items
        for step in range(item.steps)
    ]


def _lengths(items: Sequence[EvalItemRow]) -> list[tuple[int, float]]:
    """(task, revision length) of every reflection after visibly bad steps."""
    return [
        (item.task.id, float(length))
        for item in items
        for length in revision_lengths(played_steps(item))
        if length > 0
    ]


def _kept_lengths(store: Store, run_id: str) -> dict[int, list[tuple[int, float]]]:
    found: dict[int, list[tuple[int, float]]] = {}
    for number, task, length in store.rows(
        "SELECT v.round, r.task_id, v.revision_length FROM revisions v"
        " JOIN trajectories b ON b.id = v.bad_id JOIN trees r ON r.id = b.tree_id"
        " WHERE v.run_id = ? AND v.status <> 'rejected' ORDER BY v.id",
        (run_id,),
    ):
        found.setdefault(number, []).append((task, float(length)))
    return found


def _put(
    into: dict[int, Mapping[str, Any]],
    number: int,
    values: Sequence[tuple[int, float]],
    seed: int,
) -> None:
    """The mean with an interval by bootstrap over tasks, whose values are not independent."""
    if not values:
        return
    tasks = [task for task, _ in values]
    estimate = clustered_paired_bootstrap(
        [value for _, value in values], [0.0] * len(values), tasks, seed=seed
    )
    told = estimate_to_json(estimate)
    if estimate.n == 1:
        # One task resampled is itself: an interval of no width would claim certainty.
        told |= {"low": None, "high": None}
    into[number] = {**told, "observations": len(values)}
