"""Which demonstrations are shown as examples in the prompt (few-shot prompting)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from agentr_lite.agent.boundary import guarded_instructions, guarded_tasks
from agentr_lite.core.errors import AgentrError
from agentr_lite.core.openings import Example
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.imitate.choice import demonstrations_in_order
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store import Store
from agentr_lite.store.demonstrations import SPLIT, Demonstration
from agentr_lite.store.records import DemonstrationRow

POOL = 8
"""So many tasks are drawn for each example that is wanted; the shortest of them are shown."""

_CHARACTERS_A_TOKEN = 3
"""An estimate on the safe side: the examples are chosen before a model is asked."""


def choose_examples(
    store: Store, env: Environment, recipe: Recipe, *, save: Callable[[Demonstration], object]
) -> list[tuple[Task, Example]]:
    """The examples that a run shows in one environment, the shortest first.

    The seed puts the training tasks in an order. Of the first ``POOL`` times ``agent.examples``
    tasks with a demonstration, the ones with the fewest steps are taken, as far as instructions and
    examples fit half of the context.

    Args:
        store: the database.
        env: its episode is replaced.
        recipe: the run's for this environment: ``agent``, ``imitation.source``, ``seed``.
        save: stores a demonstration that was made.

    Raises:
        AgentrError: no training task has a demonstration, or not even one fits.
        EnvironmentFault: the environment cannot list its tasks.
    """
    wanted = recipe.agent.examples
    tasks = {task.name: task for task in guarded_tasks(env, SPLIT)}
    seed = stream_seed(recipe.seed, "examples", "order")
    order = np.random.default_rng(seed).permutation(len(tasks))
    names = list(tasks)
    chosen = demonstrations_in_order(
        store,
        env,
        [tasks[names[int(index)]] for index in order],
        recipe.imitation.source,
        POOL * wanted,
        save=save,
    )
    if not chosen.rows:
        raise AgentrError(
            f"agent.examples={wanted}, but no training task of {env.name} has a demonstration"
            + (f" ({chosen.reason})" if chosen.reason else ""),
            hint="Give the environment `solve` or `demonstrate`, store demonstrations with"
            " `agentr-lite demos`, or set agent.examples=0.",
        )
    instructions = guarded_instructions(env, brief=recipe.agent.brief)
    room = recipe.agent.context_tokens * _CHARACTERS_A_TOKEN // 2 - len(instructions)
    examples: list[tuple[Task, Example]] = []
    for row in sorted(chosen.rows, key=lambda row: len(row.steps))[:wanted]:
        room -= _characters(row)
        if room < 0:
            break
        # Only what was right is an example to follow.
        example = Example(row.task.name, row.opening, tuple(row.steps))
        examples.append((tasks[row.task.name], example))
    if not examples:
        raise AgentrError(
            f"not one example of {env.name} fits half of the context"
            f" (agent.context_tokens={recipe.agent.context_tokens})",
            hint="Raise agent.context_tokens, or set agent.examples=0.",
        )
    return examples


def _characters(row: DemonstrationRow) -> int:
    return len(row.opening) + sum(len(step.text) + len(step.observation) for step in row.steps)
