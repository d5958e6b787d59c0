"""The search stage: a round's tasks, searched wave by wave.

A wave is the unit of resume. Its trees are committed in task order as they end, each in one
transaction. A wave that was cut is searched again from its beginning: the actor's batches, and
with them the last digits of its logits, depend on all trees of the wave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.core.openings import Example
from agentr_lite.core.tasks import Task
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.examples import run_examples
from agentr_lite.runs.shards import Shard
from agentr_lite.runs.stages.stage import Stage, StageContext
from agentr_lite.runs.stages.tasks import round_tasks, split_waves, train_tasks
from agentr_lite.runs.stages.tree_rows import SearchedTree
from agentr_lite.runs.stages.waves import SearchWave, TaskName, Waves
from agentr_lite.search.context import SearchContext, search_context
from agentr_lite.search.mcts import Select
from agentr_lite.search.scheduler import TreeSearch, run_wave
from agentr_lite.search.tree import Tree
from agentr_lite.store import runs, summaries, trees
from agentr_lite.store.live import clear_live


class SearchStage(Stage):
    """Searches a round's tasks.

    Its summary is ``store.summaries.search_counts``; ``failed`` counts tasks whose search failed.
    Faults of a single task are rows, not exceptions.
    """

    name = "search"
    failure_unit = "searches"

    def __init__(
        self,
        context: StageContext,
        *,
        redo: bool = False,
        tasks: Sequence[Task] | None = None,
        select: Select | None = None,
        shard: Shard | None = None,
    ) -> None:
        """
        Args:
            context: what the stage works with; its round is at least 1.
            redo: delete the round's trees, and what was made from them, and begin again.
            tasks: of a single environment; default: the recipe's share of the training split
                (``round_tasks``).
            select: which child to go on with; default: UCT with the recipe's ``c``.
            shard: search only this share of the waves; the stage is then not finished by it.
        """
        super().__init__(context, redo=redo)
        self.select = select
        self._tasks = tasks
        self.shard = shard
        self._waves: list[PlannedWave] = []
        self._missing: list[int] = []

    @classmethod
    def count_failures(cls, summary: Mapping[str, Any]) -> int:
        return int(summary.get("failed") or 0)

    @classmethod
    def count_tasks(cls, summary: Mapping[str, Any]) -> int:
        return int(summary.get("trees") or 0)

    def prepare(self) -> None:
        """Plan the round's waves.

        Raises:
            UsageError: the environment has no training tasks.
            EnvironmentFault: the environment cannot list its tasks or give instructions.
            AgentrError: there is no demonstration to show as an example.
        """
        examples = {
            environment.name: run_examples(self.store, self.run_id, environment)
            for environment in self.environments
        }
        self._waves = plan_waves(self.environments, self.round, self._tasks, examples)
        if self.shard is not None and not self._own():
            raise UsageError(
                f"shard {self.shard} has no wave: the round has {len(self._waves)}",
                hint="Use fewer shards, or smaller waves: --set search.wave=N.",
            )

    def finished(self) -> dict[str, Any] | None:
        """See ``Stage``; of a shard: the counts where all of its waves are there.

        Raises:
            UsageError: the round was begun as another share, or not as one.
        """
        status = self.status()
        stored = None if status is None or self.redo else status.summary.get("shard")
        wanted = None if self.shard is None else str(self.shard)
        if status is not None and not self.redo and stored != wanted:
            raise UsageError(
                f"the search of run {self.run_id} is "
                + (f"shard {stored}" if stored else "not a shard"),
                hint=f"Go on with --shard {stored}, or merge it with the others."
                if stored
                else "Begin a new run with --shard.",
            )
        if self.shard is not None and status is not None and status.summary.get("whole"):
            return None if self.redo else self._counts()
        return super().finished()

    def finish(self, summary: dict[str, Any]) -> dict[str, Any]:
        """See ``Stage``. The merge of all shards finishes the stage."""
        if self.shard is None:
            return super().finish(summary)
        self.progress.watch(None)
        with self.store.atomic():
            clear_live(self.store, self.run_id)
            self.record.book()
            self._note_shard(whole=True)
        self.progress.finish(f"shard {self.shard}: {self.headline(summary)}")
        return summary

    def _note_shard(self, *, whole: bool) -> None:
        summary = {"shard": str(self.shard), "waves": len(self._waves), "whole": whole}
        runs.set_stage_summary(self.store, self.run_id, self.round, self.name, summary)

    def _own(self) -> list[int]:
        """The waves that are to be searched here."""
        everything = range(len(self._waves))
        return [i for i in everything if self.shard is None or self.shard.takes(i)]

    def clear(self) -> None:
        if self.redo:
            trees.delete_trees(self.store, self.run_id, self.round)
        own = self._own()
        whole = self._whole_waves(own)
        self._missing = own[whole:]
        first = self._missing[0] if self._missing else len(self._waves)
        trees.delete_trees(self.store, self.run_id, self.round, from_wave=first)
        if self.shard is not None:
            self._note_shard(whole=False)

    def _whole_waves(self, own: Sequence[int]) -> int:
        """How many of the first ones of ``own`` are committed whole."""
        committed = trees.wave_tasks(self.store, self.run_id, self.round)
        count = 0
        while count < len(own) and committed.get(own[count]) == self._waves[own[count]].tree_names:
            count += 1
        return count

    def work(self) -> dict[str, Any]:
        total = sum(self._waves[index].simulations for index in self._own())
        to_do = sum(self._waves[index].simulations for index in self._missing)
        self.show_progress("simulations", total, present=total - to_do)
        if self.waves is None:
            for index in self._missing:
                _RunningWave(self, index, self._waves[index]).run()
        else:
            self._work_elsewhere(self.waves, self._missing)
        return self._counts()

    def _counts(self) -> dict[str, Any]:
        return self.with_environments(
            lambda env: summaries.search_counts(self.store, self.run_id, self.round, env=env)
        )

    def _work_elsewhere(self, waves: Waves, missing: Sequence[int]) -> None:
        """Have waves searched by workers, and commit each of them whole, in order."""
        if self.select is not None:
            raise UsageError(
                "workers choose children by UCT; this search has its own `select`",
                hint="Search in this process.",
            )
        jobs = ((waves, self._waves[index].wave(self.round)) for index in missing)
        nodes = 0
        for index, found in zip(missing, waves.compute(jobs), strict=True):
            planned = self._waves[index]
            with self.record.commit():
                for task, tree in zip(planned.tasks, found, strict=True):
                    self.save_tree(index, planned, task, tree)
            nodes += sum(len(tree.nodes) for tree in found)
            self.progress.advance(planned.simulations, f"wave {index + 1}: {nodes} nodes in all")

    def save_tree(self, index: int, planned: PlannedWave, task: Task, tree: SearchedTree) -> None:
        """Save a tree of a wave.

        Args:
            index: the wave, from 0.
            planned: the wave.
            task: the tree's.
            tree: its rows.
        """
        trees.save_tree(
            self.store,
            run_id=self.run_id,
            round_index=self.round,
            wave=index,
            env=planned.context.env.name,
            task=task,
            instructions=tree.instructions,
            nodes=tree.nodes,
            calls=tree.calls,
            simulations=tree.simulations,
            error=tree.error,
        )

    def headline(self, summary: Mapping[str, Any]) -> str:
        return f"{summary['trees']} trees, {summary['solved']} solved, {summary['nodes']} nodes"


@dataclass(frozen=True, slots=True)
class PlannedWave:
    """Tasks of one environment that are searched in lockstep."""

    context: SearchContext
    tasks: Sequence[Task]

    @property
    def simulations(self) -> int:
        """How many the wave takes, unless trees end early."""
        return len(self.tasks) * self.context.settings.simulations

    @property
    def tree_names(self) -> list[tuple[str, str]]:
        """(environment, task) of its trees."""
        return [(self.context.env.name, task.name) for task in self.tasks]

    def wave(self, round_index: int) -> SearchWave:
        """The same as a wave that is searched elsewhere."""
        names = tuple(map(TaskName.of, self.tasks))
        return SearchWave(self.context.env.name, round_index, names, self.context.examples)


def plan_waves(
    environments: Sequence[RunEnvironment],
    round_index: int,
    tasks: Sequence[Task] | None = None,
    examples: Mapping[str, tuple[Example, ...]] | None = None,
) -> list[PlannedWave]:
    """A round's waves; those of several environments take turns, evenly over the round.

    Args:
        environments: of the run.
        round_index: the round, from 1.
        tasks: instead of the round's share of the training tasks.
        examples: by environment, shown before every task; their own tasks are not searched.
    """
    placed: list[tuple[float, int, PlannedWave]] = []
    for number, environment in enumerate(environments):
        recipe = environment.recipe
        shown = (examples or {}).get(environment.name, ())
        chosen = tasks
        if chosen is None:
            without = {example.task for example in shown}
            others = [task for task in train_tasks(environment.env) if task.name not in without]
            chosen = round_tasks(others, recipe, round_index)
        context = search_context(recipe, environment.env, round_index, shown)
        waves = split_waves(chosen, recipe.search.wave)
        placed += [
            ((index + 0.5) / len(waves), number, PlannedWave(context, wave))
            for index, wave in enumerate(waves)
        ]
    return [wave for _, _, wave in sorted(placed, key=lambda place: place[:2])]


class _RunningWave:
    """A wave on its way into the store."""

    def __init__(self, stage: SearchStage, index: int, planned: PlannedWave) -> None:
        self._stage = stage
        self._index = index
        self._planned = planned
        self._context = planned.context
        self._searches = [
            TreeSearch(task, planned.context, select=stage.select) for task in planned.tasks
        ]
        self._saved = 0
        self._counted = 0

    def run(self) -> None:
        run_wave(self._searches, self._stage.actor, on_tick=self._commit)

    def _commit(self) -> None:
        """Save each tree that has ended, once all trees before it are saved."""
        self._report()
        while self._saved < len(self._searches):
            search = self._searches[self._saved]
            if search.wanted is not None:
                return
            with self._stage.store.atomic():
                self._save(search.tree)
                if self._saved == len(self._searches) - 1:
                    # With the wave's last tree: a wave that is searched again is paid for once.
                    self._stage.record.book()
            self._saved += 1

    def _save(self, tree: Tree) -> None:
        rows = SearchedTree.of(tree)
        self._stage.save_tree(self._index, self._planned, tree.task, rows)

    def _report(self) -> None:
        """Count simulations; a tree that ended early counts as if it had made all of them."""
        simulations = self._context.settings.simulations
        done = sum(
            simulations if search.wanted is None else search.tree.simulations
            for search in self._searches
        )
        nodes = sum(len(search.tree.nodes) for search in self._searches)
        note = f"wave {self._index + 1}: {nodes} nodes"
        # The searches advance together; the first one that is not over stands for them.
        search = next((one for one in self._searches if one.wanted is not None), None)
        if search is not None:
            note += f", now {search.tree.task.name} step {search.tree.nodes[-1].depth}"
        self._stage.progress.advance(done - self._counted, note)
        self._counted = done
