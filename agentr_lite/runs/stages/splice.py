"""The splice stage: from a round's trees in the store to its revision trajectories in the store.

Work is done and committed one wave of trees at a time. A stage that was cut goes on at the first
wave that is missing, and ends as if it had not been cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.agent.boundary import guarded_tasks
from agentr_lite.core.errors import UsageError
from agentr_lite.core.tasks import Task
from agentr_lite.recipe.groups import CHOOSING
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import RunEnvironment, by_name, is_for_several
from agentr_lite.runs.stages.splice_counts import (
    environment_faults,
    splice_counts,
    splice_headline,
)
from agentr_lite.runs.stages.splice_rows import save_splices
from agentr_lite.runs.stages.stage import Stage
from agentr_lite.runs.stages.waves import Bench, SpliceWave, StoredTree, TaskName
from agentr_lite.store import Store, runs, splices, trees
from agentr_lite.store.records import TreeRow


class SpliceStage(Stage):
    """Makes a round's revision trajectories.

    Its summary is ``splice_counts`` with the ``settings`` that the result depends on. ``redo``
    throws away what the round has; without it, a stage that was begun with other settings is
    refused.
    """

    name = "splice"
    failure_unit = "pairs"

    @classmethod
    def count_failures(cls, summary: Mapping[str, Any]) -> int:
        return environment_faults(summary)

    def finished(self) -> dict[str, Any] | None:
        """The stored counts where the stage has finished with these settings.

        Needs neither actor nor environments, so it can be called before a model is loaded.

        Raises:
            UsageError: the round has no trees, or was begun with other settings.
        """
        trees_by_wave(self.store, self.run_id, self.round)
        status = self.status()
        if status is None or self.redo:
            return None
        stored = status.summary.get("settings")
        # Cut before it had noted its settings, it has made nothing yet either.
        if stored is not None and not _same_settings(stored, self.recipe):
            raise UsageError(
                f"round {self.round} of {self.run_id} has been spliced with other settings",
                hint="--redo throws that away and begins again.",
            )
        return dict(status.summary) if status.finished else None

    def clear(self) -> None:
        if self.redo:
            splices.delete_splices(self.store, self.run_id, self.round)
        runs.set_stage_summary(
            self.store, self.run_id, self.round, self.name, splice_settings(self.recipe)
        )

    def work(self) -> dict[str, Any]:
        """Splice the waves that are missing.

        Raises:
            UsageError: a tree's task is not in the environment.
        """
        waves = trees_by_wave(self.store, self.run_id, self.round)
        # A wave without any trajectories costs nothing to do again.
        paths = splices.list_trajectories(self.store, self.run_id, round_index=self.round)
        spliced = {path.tree_id for path in paths}
        missing = [rows for rows in waves.values() if not any(row.id in spliced for row in rows)]
        total = sum(map(len, waves.values()))
        self.show_progress("trees", total, present=total - sum(map(len, missing)))
        origins = _TreeOrigins(self.environments)
        if self.waves is not None:
            jobs = ((self.waves, self._wave(rows, origins)) for rows in missing)
            made = self.waves.compute(jobs)
        else:
            bench = Bench(self.environments, self.actor)
            made = (self._wave(rows, origins).perform(bench) for rows in missing)
        for rows, results in zip(missing, made, strict=True):
            recipe = origins.environment(rows[0]).recipe
            with self.record.commit():
                for result in results:
                    save_splices(self.store, self.run_id, self.round, recipe, result)
            self.progress.advance(len(rows))
        return self.with_environments(self._counts)

    def _wave(self, rows: Sequence[TreeRow], origins: _TreeOrigins) -> SpliceWave:
        """A wave of the search, which was searched in one environment, as one to be spliced."""
        return SpliceWave(
            origins.environment(rows[0]).name,
            self.round,
            tuple(
                StoredTree(
                    row.id,
                    TaskName.of(origins.task(row)),
                    trees.tree_opening(self.store, row.id),
                    trees.load_tree(self.store, row.id),
                )
                for row in rows
            ),
        )

    def _counts(self, env: str | None) -> dict[str, Any]:
        counts = splice_counts(self.store, self.run_id, self.round, env=env)
        return counts if env is not None else {**counts, **splice_settings(self.recipe)}

    def headline(self, summary: Mapping[str, Any]) -> str:
        return splice_headline(summary)


def trees_by_wave(store: Store, run_id: str, round_index: int) -> dict[int, list[TreeRow]]:
    """A round's trees by wave.

    Raises:
        UsageError: there are none.
    """
    waves: dict[int, list[TreeRow]] = {}
    for row in trees.list_trees(store, run_id, round_index=round_index):
        waves.setdefault(row.wave, []).append(row)
    if not waves:
        raise UsageError(
            f"run {run_id} has no trees in round {round_index}",
            hint=f"`agentr-lite search {run_id}` or `agentr-lite run --resume {run_id}`"
            " searches them.",
        )
    return waves


def splice_settings(recipe: Recipe) -> dict[str, Any]:
    """``{"settings": ...}``: what the stage's result depends on, by environment with several."""
    by_env = {
        for_env.env_label: _relevant(for_env.to_dict()["splice"])
        for for_env in recipe.by_environment()
    }
    return {"settings": by_env if is_for_several(recipe) else by_env[recipe.env_label]}


def _same_settings(stored: Mapping[str, Any], recipe: Recipe) -> bool:
    if is_for_several(recipe):
        completed = {name: _relevant(of_env) for name, of_env in stored.items()}
    else:
        completed = _relevant(stored)
    return {"settings": completed} == splice_settings(recipe)


def _relevant(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Splice settings without those that only choose from the result.

    A missing key has its default: a run that was cut goes on after an upgrade that added it.
    """
    defaults = Recipe().to_dict()["splice"]
    return {
        key: settings.get(key, default) for key, default in defaults.items() if key not in CHOOSING
    }


class _TreeOrigins:
    """Gives a tree's environment, and its task there."""

    def __init__(self, environments: Sequence[RunEnvironment]) -> None:
        self._single = environments[0] if len(environments) == 1 else None
        self._environments = by_name(environments)
        self._tasks: dict[tuple[str, str], dict[str, Task]] = {}

    def environment(self, row: TreeRow) -> RunEnvironment:
        """The environment that the tree was searched in.

        Raises:
            UsageError: the recipe does not have it.
        """
        environment = self._single or self._environments.get(row.task.env)
        if environment is None:
            raise UsageError(
                f"tree {row.id} is of environment '{row.task.env}', which the recipe does not have",
                hint="Use the recipe that the run was searched with.",
            )
        return environment

    def task(self, row: TreeRow) -> Task:
        """The task that the tree was searched for.

        Raises:
            UsageError: the environment does not have it.
            EnvironmentFault: the environment cannot list its tasks.
        """
        env, split = self.environment(row).env, row.task.split
        key = (env.name, split)
        if key not in self._tasks:
            self._tasks[key] = {task.name: task for task in guarded_tasks(env, split)}
        task = self._tasks[key].get(row.task.name)
        if task is None:
            raise UsageError(
                f"tree {row.id} is of the {split} task '{row.task.name}', which environment"
                f" '{env.name}' does not have",
                hint="Use the environment options that the run was searched with.",
            )
        return task
