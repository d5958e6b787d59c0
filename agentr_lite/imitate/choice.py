"""Which demonstrations a run learns from, and how they become training examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from agentr_lite.agent.boundary import guarded_tasks
from agentr_lite.agent.conversation import learnt_conversation
from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Example, Opening
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.imitate.collect import Own, has_expert, own_demonstration
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store import Store
from agentr_lite.store.demonstrations import SPLIT, Demonstration, list_demonstrations
from agentr_lite.store.records import DemonstrationRow

OWN: tuple[Own, ...] = ("expert", "solve")
"""Sources that the environment itself is: what is missing of them can be made."""


@dataclass(frozen=True, slots=True)
class ChosenDemonstrations:
    """What one environment gives to a run's imitation."""

    rows: Sequence[DemonstrationRow]
    """One a task, in the order of the tasks."""
    missing: int
    """Tasks that were passed over, because nobody has solved them."""
    reason: str
    """Why the first of these has no demonstration; empty where there are none."""


def choose_demonstrations(
    store: Store,
    env: Environment,
    recipe: Recipe,
    *,
    save: Callable[[Demonstration], object],
    on_task: Callable[[], object] = lambda: None,
    without: Container[str] = (),
    further: int = 0,
) -> ChosenDemonstrations:
    """The demonstrations of one environment; those that it can make itself are made and saved.

    The seed puts the training tasks in an order. The first ``imitation.tasks`` of them that have a
    demonstration are taken, so the same database and recipe give the same choice.

    Args:
        store: the database.
        env: its episode is replaced.
        recipe: the run's for this environment: ``imitation``, ``seed``.
        save: stores a demonstration that was made.
        on_task: called after each task that has a demonstration.
        without: tasks to pass over, by name: those that are shown as examples.
        further: how many to take beyond ``imitation.tasks``.

    Raises:
        EnvironmentFault: the environment cannot list its tasks.
    """
    import numpy as np

    wanted = recipe.imitation.tasks + further
    tasks = guarded_tasks(env, SPLIT) if wanted else []
    order = np.random.default_rng(stream_seed(recipe.seed, "imitation", "order"))
    ordered = [tasks[int(index)] for index in order.permutation(len(tasks))]
    return demonstrations_in_order(
        store,
        env,
        [task for task in ordered if task.name not in without],
        recipe.imitation.source,
        wanted,
        save=save,
        on_task=on_task,
    )


def demonstrations_in_order(
    store: Store,
    env: Environment,
    tasks: Sequence[Task],
    source: str,
    wanted: int,
    *,
    save: Callable[[Demonstration], object],
    on_task: Callable[[], object] = lambda: None,
) -> ChosenDemonstrations:
    """The best demonstration of each of the first tasks that have one.

    Args:
        store: the database.
        env: its episode is replaced.
        tasks: training tasks, in the order in which they are asked for.
        source: whose; see ``imitation.source``.
        wanted: how many.
        save: stores a demonstration that was made.
        on_task: called after each task that has a demonstration.
    """
    stored = _best_by_task(store, env.name, source)
    names: list[str] = []
    missing, reason = 0, ""
    for task in tasks:
        if len(names) == wanted:
            break
        why = "" if task.name in stored else _make(env, task, source, save)
        if why:
            missing, reason = missing + 1, reason or f"{task.name}: {why}"
        else:
            names.append(task.name)
            on_task()
    known = _best_by_task(store, env.name, source)
    return ChosenDemonstrations([known[name] for name in names], missing, reason)


def _make(
    env: Environment, task: Task, source: str, save: Callable[[Demonstration], object]
) -> str:
    """Make the environment's own demonstration; returns why there is none, or nothing."""
    own: Own = "expert" if has_expert(env) else "solve"
    if source != "any":
        chosen = next((each for each in OWN if each == source), None)
        if chosen is None:
            return f"no demonstration of the source '{source}' is stored"
        own = chosen
    verified = own_demonstration(env, task, source=own)
    if verified.demonstration is not None:
        save(verified.demonstration)
    return verified.reason


def _best_by_task(store: Store, env: str, source: str) -> dict[str, DemonstrationRow]:
    """Task name to its best demonstration: the highest reward, then the fewest steps."""
    by_task: dict[str, list[DemonstrationRow]] = defaultdict(list)
    for row in list_demonstrations(store, env, None if source == "any" else source, SPLIT):
        by_task[row.task.name].append(row)
    return {
        name: min(rows, key=lambda row: (-row.reward, len(row.steps), row.id))
        for name, rows in by_task.items()
    }


def imitation_messages(
    row: DemonstrationRow, instructions: str, examples: tuple[Example, ...] = ()
) -> tuple[list[Message], list[bool]]:
    """A demonstration as a chat with one loss flag a message.

    Turns that the environment could not carry out are shown but not learnt. The last observation
    has no answer and is left out.

    Args:
        row: the demonstration.
        instructions: the system prompt with which the model will play.
        examples: shown before the task.
    """
    opening = Opening(instructions, row.opening, examples)
    learnt = [(step, step.kind == "act" and not step.invalid) for step in row.steps]
    return learnt_conversation(opening, learnt)
