"""The oracle's verdict on each step of a path, from TextCraft's solver.

The solver plans from any inventory, so it shows after every step whether the goal is nearer. The
oracles of other environments know only one good way; a step that leaves it need not be an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.agent.boundary import environment_boundary, guarded_reset
from agentr_lite.agent.step import take_step
from agentr_lite.agent.turns import AnswerFormat
from agentr_lite.core.steps import Step
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import Environment
from agentr_lite.envs.textcraft import TextCraft
from agentr_lite.envs.textcraft.solver import Verdict as OracleVerdict
from agentr_lite.envs.textcraft.solver import judge
from agentr_lite.metrics.episodes import SUCCESS_REWARD


def has_step_oracle(env: Environment) -> bool:
    """Whether an environment has an oracle that can judge any step."""
    return isinstance(env, TextCraft)


def judge_steps(
    env: Environment, task: Task, steps: Sequence[Step], form: AnswerFormat
) -> list[OracleVerdict]:
    """Take a path's steps again and judge each of them.

    ``good``: fewer actions remain, or the goal is reached. ``bad``: the action was missing or
    impossible, or no fewer actions remain. ``neutral``: the step changed nothing (``inventory``, a
    reflection), or it did a part of what one action could have done.

    Args:
        env: an environment with ``has_step_oracle``; its episode is replaced.
        task: the path's task.
        steps: from reset; only their texts are used, not their observations.
        form: how actions are read from them.

    Returns:
        One verdict per step.

    Raises:
        EnvironmentFault: the environment's code failed.
        TypeError: the environment has no such oracle.
    """
    if not isinstance(env, TextCraft):
        raise TypeError(f"{env.name} has no oracle that can judge every step")
    guarded_reset(env, task)
    world = env.world(task)
    verdicts: list[OracleVerdict] = []
    for step in steps:
        before = env.snapshot().inventory
        taken = take_step(env, step.text, form=form)
        if taken.kind == "reflect":
            verdicts.append("neutral")
        elif taken.terminated and taken.reward >= SUCCESS_REWARD:
            verdicts.append("good")
        else:
            after = env.snapshot().inventory
            with environment_boundary(env, "plan()"):
                verdicts.append(judge(world, before, after, ok=not taken.invalid))
    return verdicts


def first_error(verdicts: Sequence[OracleVerdict], start: int = 0) -> int | None:
    """Index of the first bad step at or after ``start``; None if there is none.

    Args:
        verdicts: on a whole path.
        start: the first step to look at; a good path shares the steps before it.
    """
    return next((i for i in range(start, len(verdicts)) if verdicts[i] == "bad"), None)
