"""Which training tasks a round searches, and in which waves."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.agent.boundary import guarded_tasks
from agentr_lite.core.errors import UsageError
from agentr_lite.core.seeds import stream_seed
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.recipe.settings import Recipe


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

    The run's seed shuffles the tasks once. Each round takes the next ``search.tasks`` of that
    order and begins again after the last; no task comes twice in a round.

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
