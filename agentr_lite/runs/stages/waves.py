"""Waves of work that may be done elsewhere, and their plain results.

A wave is the unit of work and of resume. Its batches, and with them the last digits of a model's
logits, depend on everything in the wave and on nothing outside it: it begins with an empty cache.
So a wave gives the same rows in this process and in another one, whatever else is computed there.

    the stage in this process                       a worker
    plans waves, in order        ── Wave ──▶        looks its tasks up by name, in its own
                                                    environment; plays them with its own model
    writes rows, in wave order   ◀── rows ──        knows no database
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from agentr_lite.actors.base import Actor, LoadedModel
from agentr_lite.agent.boundary import guarded_tasks
from agentr_lite.core.errors import UsageError
from agentr_lite.core.openings import Example, Opening
from agentr_lite.core.tasks import Task
from agentr_lite.evaluate.episodes import Start
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import RunEnvironment, by_name
from agentr_lite.runs.stages.play import eval_item, play_episodes
from agentr_lite.runs.stages.tree_rows import SearchedTree
from agentr_lite.search.context import search_context
from agentr_lite.search.scheduler import TreeSearch, run_wave
from agentr_lite.splice.judging import TreeInput
from agentr_lite.splice.wave import TreeResult, splice_wave
from agentr_lite.store.records import EvalItemRow, EvalMode, NodeRow

Rows = TypeVar("Rows")
"""What a wave gives; plain data that another process can send."""


@dataclass(frozen=True, slots=True)
class TaskName:
    """A task as two processes call it: its payload stays with each one's environment."""

    split: str
    name: str

    @classmethod
    def of(cls, task: Task) -> TaskName:
        """What a task is called."""
        return cls(task.split, task.name)


class Bench:
    """Where waves are done: open environments and a loaded model."""

    def __init__(self, environments: Sequence[RunEnvironment], actor: Actor) -> None:
        """
        Args:
            environments: of the run; open.
            actor: the model with the right adapter on.
        """
        self.actor = actor
        self._environments = by_name(environments)
        self._tasks: dict[tuple[str, str], Mapping[str, Task]] = {}

    def environment(self, name: str) -> RunEnvironment:
        """An environment by what it calls itself.

        Raises:
            UsageError: there is none of that name.
        """
        if name not in self._environments:
            raise UsageError(f"there is no environment '{name}' here")
        return self._environments[name]

    def task(self, env: str, name: TaskName) -> Task:
        """A task of one of the environments.

        Raises:
            UsageError: the environment does not have it.
            EnvironmentFault: the environment cannot list its tasks.
        """
        key = (env, name.split)
        if key not in self._tasks:
            tasks = guarded_tasks(self.environment(env).env, name.split)
            self._tasks[key] = {task.name: task for task in tasks}
        if name.name not in self._tasks[key]:
            raise UsageError(
                f"environment '{env}' has no {name.split} task '{name.name}' here",
                hint="Every worker needs the same version and the same data of an environment.",
            )
        return self._tasks[key][name.name]


class Wave(ABC, Generic[Rows]):
    """Work that is done whole, on any bench of the same model and environments."""

    env: str
    """What its environment calls itself."""

    @abstractmethod
    def perform(self, bench: Bench) -> Rows:
        """Do it.

        Raises:
            AgentrError: the model failed, or the bench does not have what the wave needs.
        """


@dataclass(frozen=True, slots=True)
class SearchWave(Wave[list[SearchedTree]]):
    """Tasks that are searched in lockstep; gives a tree for each, in order."""

    env: str
    round: int
    tasks: tuple[TaskName, ...]
    examples: tuple[Example, ...]

    def perform(self, bench: Bench) -> list[SearchedTree]:
        environment = bench.environment(self.env)
        context = search_context(environment.recipe, environment.env, self.round, self.examples)
        searches = [TreeSearch(bench.task(self.env, name), context) for name in self.tasks]
        run_wave(searches, bench.actor)
        return [SearchedTree.of(search.tree) for search in searches]


@dataclass(frozen=True, slots=True)
class StoredTree:
    """A tree as the store has it."""

    tree_id: int
    task: TaskName
    opening: Opening
    nodes: Sequence[NodeRow]


@dataclass(frozen=True, slots=True)
class SpliceWave(Wave[list[TreeResult]]):
    """Trees that are spliced together; gives a result for each, in order."""

    env: str
    round: int
    trees: tuple[StoredTree, ...]

    def perform(self, bench: Bench) -> list[TreeResult]:
        environment = bench.environment(self.env)
        # With an empty cache, a wave's batches do not depend on the waves before it.
        bench.actor.reset_cache()
        return splice_wave(
            [
                TreeInput(tree.tree_id, bench.task(self.env, tree.task), tree.opening, tree.nodes)
                for tree in self.trees
            ],
            recipe=environment.recipe,
            round_index=self.round,
            env=environment.env,
            actor=bench.actor,
        )


@dataclass(frozen=True, slots=True)
class NamedStart:
    """Where an episode begins; see ``Start``."""

    task: TaskName
    seed: int
    sample: int
    prefix: tuple[str, ...]

    @classmethod
    def of(cls, start: Start) -> NamedStart:
        """The same without the task's payload."""
        return cls(TaskName.of(start.task), start.seed, start.sample, tuple(start.prefix))


@dataclass(frozen=True, slots=True)
class EpisodeWave(Wave[list[EvalItemRow]]):
    """Episodes that are played together; gives a row for each, in order, with a task's id of 0."""

    env: str
    mode: EvalMode
    starts: tuple[NamedStart, ...]
    examples: tuple[Example, ...]

    def perform(self, bench: Bench) -> list[EvalItemRow]:
        starts = [
            Start(bench.task(self.env, start.task), start.seed, start.sample, start.prefix)
            for start in self.starts
        ]
        environment = bench.environment(self.env)
        episodes = play_episodes(environment, bench.actor, self.mode, starts, self.examples)
        return [eval_item(self.env, 0, episode) for episode in episodes]


class Waves(LoadedModel):
    """A model that is loaded elsewhere, perhaps several times, and does waves there.

    ``usage`` counts the waves that ``compute`` has given back.
    """

    @abstractmethod
    def compute(self, jobs: Iterable[tuple[Waves, Wave[Rows]]]) -> Iterator[Rows]:
        """Do waves, and give their rows in the order of the waves.

        Args:
            jobs: each wave with whose adapter it is done, this object's or that of one which
                ``beside`` made. It is read as far ahead as there is somebody to do a wave.

        Raises:
            AgentrError: a wave cannot be done. The rows of those before it have been given.
        """


class Executor(ABC):
    """Opens a run's model where its waves are to be done."""

    @abstractmethod
    def open(
        self,
        recipe: Recipe,
        environments: Sequence[RunEnvironment],
        *,
        searches: bool | None = None,
    ) -> Waves:
        """Open it.

        Args:
            recipe: the run's.
            environments: the run's, open in this process; those elsewhere must be the same.
            searches: see ``runs.actors.actor_settings``.

        Raises:
            AgentrError: the model or an environment cannot be opened there, or is not the same.
        """
