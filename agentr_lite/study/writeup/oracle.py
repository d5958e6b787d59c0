"""Ground truth for the critic: what each step of a path was worth, by TextCraft's solver.

The solver plans from any inventory, so that after every step it is known whether the goal has come
nearer. Other environments' oracles know one good way only: that a step leaves it is no error.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.agent.boundary import environment_boundary, guarded_reset
from agentr_lite.agent.step import take_step
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.solver import Verdict as Truth
from agentr_lite.envs.textcraft.solver import judge
from agentr_lite.metrics.episodes import SUCCESS_REWARD


def has_truth(env: Environment) -> bool:
    """Whether an environment's oracle knows what any step is worth."""
    return isinstance(env, TextCraft)


def label_steps(env: Environment, task: Task, steps: Sequence[Step]) -> list[Truth]:
    """What each step of a path was worth, by taking it again.

    ``good``: fewer actions remain, or the goal is reached. ``bad``: the action was missing or
    impossible, or no fewer actions remain. ``neutral``: it changed nothing (``inventory``, a
    reflection), or brought a part of what one action would have brought.

    Args:
        env: one that ``has_truth``; its episode is replaced.
        task: the path's task.
        steps: from reset; their texts are taken again, their own observations are not read.

    Returns:
        One label a step.

    Raises:
        EnvironmentFault: the environment's code failed.
        TypeError: it has no such oracle.
    """
    if not isinstance(env, TextCraft):
        raise TypeError(f"{env.name} has no oracle that knows what a step is worth")
    guarded_reset(env, task)
    world = env.world(task)
    labels: list[Truth] = []
    for step in steps:
        before = env.snapshot().inventory
        done = take_step(env, step.text)
        if done.kind == "reflect":
            labels.append("neutral")
        elif done.terminated and done.reward >= SUCCESS_REWARD:
            labels.append("good")
        else:
            after = env.snapshot().inventory
            with environment_boundary(env, "plan()"):
                labels.append(judge(world, before, after, ok=not done.invalid))
    return labels


def first_error(labels: Sequence[Truth], start: int = 0) -> int | None:
    """Index of the first bad step at or after ``start``; None where there is none.

    Args:
        labels: of a whole path.
        start: steps before it are not looked at, e.g. those that a good path shares.
    """
    return next((i for i in range(start, len(labels)) if labels[i] == "bad"), None)
