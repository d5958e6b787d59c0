"""The search stage: which tasks, in which waves, committed how.

A wave is the unit of resume. Its trees are committed in task order as they end, each in one
transaction; a wave that was cut is searched again from its beginning, because the actor's batches,
and with them the last digits of its logits, depend on all trees of the wave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentr_lite.actors.base import Actor
from agentr_lite.agent.boundary import guarded_tasks
from agentr_lite.console.output import Progress, silent_progress
from agentr_lite.core.errors import UsageError
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import Environments, Part, parts_of
from agentr_lite.runs.sitting import Sitting
from agentr_lite.search.context import SearchContext, search_context
from agentr_lite.search.mcts import Select
from agentr_lite.search.scheduler import TreeSearch, run_wave
from agentr_lite.search.tree import Node, Tree
from agentr_lite.store import Store, runs, summaries, trees
from agentr_lite.store.records import NodeRow


def search_stage(
    store: Store,
    run_id: str,
    round_index: int,
    recipe: Recipe,
    env: Environments,
    actor: Actor,
    *,
    tasks: Sequence[Task] | None = None,
    select: Select | None = None,
    progress: Progress | None = None,
    redo: bool = False,
) -> Mapping[str, Any]:
    """Search a round's tasks, or go on where an earlier sitting was cut.

    Args:
        store: the database.
        run_id: an existing run.
        round_index: the round, from 1.
        recipe: the run's resolved recipe.
        env: the environment, or several (``parts.open_environments``).
        actor: this round's actor, with its adapter in place.
        tasks: of a single environment; default: the recipe's share of the training split
            (``round_tasks``).
        select: which child to go on with; default: UCT with the recipe's ``c``.
        progress: counts simulations.
        redo: delete the round's trees, and what was made from them, and begin again.

    Returns:
        The stage's summary (``store.summaries.search_counts``); at once where the stage has
        finished before. ``failed`` counts tasks whose search failed.

    Raises:
        UsageError: the environment has no training tasks.
        EnvironmentFault: the environment cannot list its tasks or give instructions. Faults of a
            single task are rows, not exceptions.
        ModelError: the actor failed.
        StoreError: the database cannot be written.
    """
    earlier = runs.stage_status(store, run_id, round_index, "search")
    if earlier is not None and earlier.finished and not redo:
        return earlier.summary
    waves = _waves(parts_of(recipe, env), round_index, tasks)
    sitting = Sitting(store, run_id, round_index, "search", actor)
    # At once: what was made of trees that go is not to pass as finished.
    with store.atomic():
        sitting.begin()
        if redo:
            trees.delete_trees(store, run_id, round_index)
        first = _drop_cut_waves(store, run_id, round_index, waves)
    progress = progress or silent_progress()
    progress.start(
        f"round {round_index} search, simulations",
        sum(wave.simulations for wave in waves),
        initial=sum(wave.simulations for wave in waves[:first]),
    )
    for index in range(first, len(waves)):
        _Wave(sitting, index, waves[index], actor, progress, select).run()
    summary = summaries.search_counts(store, run_id, round_index)
    if len(recipe.env) > 1:
        names = sorted({wave.context.env.name for wave in waves})
        summary["by_env"] = {
            name: summaries.search_counts(store, run_id, round_index, env=name) for name in names
        }
    sitting.finish(summary)
    progress.finish(
        f"{summary['trees']} trees, {summary['solved']} solved, {summary['nodes']} nodes"
    )
    return summary


def train_tasks(env: Environment) -> list[Task]:
    """The training split.

    Raises:
        UsageError: it is empty.
        EnvironmentFault: the environment's code raised.
    """
    tasks = guarded_tasks(env, "train")
    if not tasks:
        raise UsageError(
            f"environment '{env.name}' has no training tasks",
            hint=f"`agentr-lite envs check {env.name}` lists what it has.",
        )
    return tasks


def round_tasks(tasks: Sequence[Task], recipe: Recipe, round_index: int) -> list[Task]:
    """A round's share of the training tasks.

    The tasks are shuffled once by the run's seed, and each round takes the next ``search.tasks``
    of that order, beginning again after the last; no task comes twice in a round.

    Args:
        tasks: the whole split.
        recipe: its ``seed`` and ``search.tasks`` (0 = all).
        round_index: the round, from 1.
    """
    import numpy as np

    order = np.random.default_rng(stream_seed(recipe.seed, "search", "order")).permutation(
        len(tasks)
    )
    share = min(recipe.search.tasks or len(tasks), len(tasks))
    start = (round_index - 1) * share
    return [tasks[int(order[(start + i) % len(tasks)])] for i in range(share)]


def split_waves(tasks: Sequence[Task], size: int) -> list[list[Task]]:
    """Tasks in waves of ``size``; the last may be shorter."""
    return [list(tasks[start : start + size]) for start in range(0, len(tasks), size)]


@dataclass(frozen=True, slots=True)
class _PlannedWave:
    """Tasks of one environment that are searched in lockstep."""

    context: SearchContext
    tasks: Sequence[Task]

    @property
    def simulations(self) -> int:
        return len(self.tasks) * self.context.settings.simulations

    @property
    def names(self) -> list[tuple[str, str]]:
        """(environment, task) of its trees."""
        return [(self.context.env.name, task.name) for task in self.tasks]


def _waves(
    parts: Sequence[Part], round_index: int, tasks: Sequence[Task] | None
) -> list[_PlannedWave]:
    """A round's waves; those of several environments take turns, evenly over the round."""
    placed: list[tuple[float, int, _PlannedWave]] = []
    for number, part in enumerate(parts):
        mine = tasks
        if mine is None:
            mine = round_tasks(train_tasks(part.env), part.recipe, round_index)
        context = search_context(part.recipe, part.env, round_index)
        waves = split_waves(mine, part.recipe.search.wave)
        placed += [
            ((index + 0.5) / len(waves), number, _PlannedWave(context, wave))
            for index, wave in enumerate(waves)
        ]
    return [wave for _, _, wave in sorted(placed, key=lambda one: one[:2])]


def _drop_cut_waves(
    store: Store, run_id: str, round_index: int, waves: Sequence[_PlannedWave]
) -> int:
    """Delete what was committed after the last whole wave; returns the wave to begin with."""
    committed = trees.wave_tasks(store, run_id, round_index)
    first = 0
    while first < len(waves) and committed.get(first) == waves[first].names:
        first += 1
    trees.delete_trees(store, run_id, round_index, from_wave=first)
    return first


class _Wave:
    """A wave on its way into the store."""

    def __init__(
        self,
        sitting: Sitting,
        index: int,
        planned: _PlannedWave,
        actor: Actor,
        progress: Progress,
        select: Select | None,
    ) -> None:
        self._sitting = sitting
        self._index = index
        self._context = planned.context
        self._actor = actor
        self._progress = progress
        self._searches = [
            TreeSearch(task, planned.context, select=select) for task in planned.tasks
        ]
        self._saved = 0
        self._counted = 0

    def run(self) -> None:
        run_wave(self._searches, self._actor, on_tick=self._commit)

    def _commit(self) -> None:
        """Save the trees that have ended, as far as all before them have, too."""
        self._report()
        while self._saved < len(self._searches):
            search = self._searches[self._saved]
            if search.wanted is not None:
                return
            with self._sitting.store.atomic():
                self._save(search.tree)
                if self._saved == len(self._searches) - 1:
                    # With the wave's last tree: a wave that is searched again is paid for once.
                    self._sitting.book()
            self._saved += 1

    def _save(self, tree: Tree) -> None:
        trees.save_tree(
            self._sitting.store,
            run_id=self._sitting.run_id,
            round_index=self._sitting.round,
            wave=self._index,
            env=self._context.env.name,
            task=tree.task,
            instructions=tree.instructions,
            nodes=[node_row(node) for node in tree.nodes],
            calls=tree.calls,
            simulations=tree.simulations,
            error=tree.error,
        )

    def _report(self) -> None:
        """Count simulations; a tree that ended early counts as all of its own."""
        simulations = self._context.settings.simulations
        done = sum(
            simulations if search.wanted is None else search.tree.simulations
            for search in self._searches
        )
        nodes = sum(len(search.tree.nodes) for search in self._searches)
        self._progress.advance(done - self._counted, f"wave {self._index + 1}: {nodes} nodes")
        self._counted = done


def node_row(node: Node) -> NodeRow:
    """A search's node as the store keeps it."""
    step, parent = node.outcome, node.parent
    if step is None or parent is None:
        return NodeRow.root(node.observation, visits=node.visits, value_sum=node.value_sum)
    return NodeRow.from_step(
        step,
        node.idx,
        parent.idx,
        node.depth,
        visits=node.visits,
        value_sum=node.value_sum,
        merged=node.merged,
    )
