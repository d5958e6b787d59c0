"""What the plots of one run show beyond its tables: series by round, and training losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentr_lite.metrics.measures import LENGTH, REPEATED, Rounds, in_env
from agentr_lite.metrics.series import ByRound, mean_over_envs, measure_by_round, task_means
from agentr_lite.report.model.rounds import load_rounds
from agentr_lite.report.model.run import RunReport
from agentr_lite.store.database import Store
from agentr_lite.store.runs import list_metrics


@dataclass(frozen=True, slots=True)
class RunSeries:
    """One run's series."""

    split: str
    """The split that the run's recipe evaluates on."""
    repeated: ByRound = field(default_factory=dict)
    """Share of greedy steps that repeat the steps just before."""
    played_lengths: ByRound = field(default_factory=dict)
    """Mean number of visibly bad steps before a reflection in greedy episodes."""
    learnt_lengths: ByRound = field(default_factory=dict)
    """Mean number of bad steps before the reflection in what was trained on."""
    losses: Mapping[tuple[int, str], Sequence[tuple[int, float]]] = field(default_factory=dict)
    """(round, metric) to (step, loss), by step."""
    by_env: Mapping[str, RunSeries] = field(default_factory=dict)
    """The series of each of several environments, without losses; the run's own series are then
    means, in which each environment counts alike."""


def load_series(store: Store, report: RunReport, played: Rounds | None = None) -> RunSeries:
    """Read a run's series.

    Args:
        store: the run's database.
        report: the run's figures.
        played: what it played on its recipe's split, if that has been read already.
    """
    run = report.run
    split = main_split(report)
    # Nothing played there: the run may have been evaluated on another split.
    rounds = played or load_rounds(store, run.id, split=split)
    kept = _kept_lengths(store, run.id)
    envs = {episode.env for episodes in rounds.values() for episode in episodes}
    envs |= {env for lengths in kept.values() for env, _, _ in lengths}
    by_env = {}
    for env in sorted(envs):
        mine = in_env(rounds, env)
        learnt = {n: [(t, v) for e, t, v in rows if e == env] for n, rows in kept.items()}
        by_env[env] = RunSeries(
            split,
            measure_by_round(REPEATED, mine, run.seed),
            measure_by_round(LENGTH, mine, run.seed),
            task_means(learnt, run.seed),
        )
    losses: dict[tuple[int, str], list[tuple[int, float]]] = {}
    for metric in list_metrics(store, run.id):
        if metric.name.endswith("_loss"):
            points = losses.setdefault((metric.round, metric.name), [])
            points.append((metric.step, metric.value))
    return RunSeries(
        split,
        measure_by_round(REPEATED, rounds, run.seed),
        measure_by_round(LENGTH, rounds, run.seed),
        mean_over_envs([series.learnt_lengths for series in by_env.values()]),
        losses,
        by_env if len(by_env) > 1 else {},
    )


def main_split(report: RunReport) -> str:
    """The split of the recipe, or the first that was evaluated; empty without evaluations."""
    wanted = str(report.run.recipe.get("eval", {}).get("split", ""))
    splits = list(dict.fromkeys(line.split for line in report.evals))
    return wanted if wanted in splits or not splits else splits[0]


def _kept_lengths(store: Store, run_id: str) -> dict[int, list[tuple[str, int, float]]]:
    """Round to (environment, task, revision length)."""
    lengths: dict[int, list[tuple[str, int, float]]] = {}
    for number, env, task, length in store.rows(
        "SELECT v.round, k.env, r.task_id, v.revision_length FROM revisions v"
        " JOIN trajectories b ON b.id = v.bad_id JOIN trees r ON r.id = b.tree_id"
        " JOIN tasks k ON k.id = r.task_id"
        " WHERE v.run_id = ? AND v.status <> 'rejected' ORDER BY v.id",
        (run_id,),
    ):
        lengths.setdefault(number, []).append((env, task, float(length)))
    return lengths
