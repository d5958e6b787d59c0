"""Turns become a demonstration only if the environment itself rewards them.

Whoever played (an oracle, an expert, a person, a file, another model), the turns are taken anew
from reset, the environment's answers are recorded, and the episode counts if it earns enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentr_lite.agent.boundary import (
    guarded_actions,
    guarded_demonstration,
    guarded_instructions,
    guarded_reset,
)
from agentr_lite.agent.step import take_step
from agentr_lite.agent.turns import Choice, answer_format
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.steps import Step, turn_text
from agentr_lite.core.tasks import Task
from agentr_lite.envs.base import PLAIN_THOUGHT, Environment
from agentr_lite.store.demonstrations import SPLIT, Demonstration

ALPHA = 1.0
"""The default of the lowest reward of a demonstration."""

Own = Literal["solve", "expert"]
"""The demonstrations that an environment makes itself."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A demonstration, or the reason why turns gave none."""

    demonstration: Demonstration | None
    reason: str = ""
    """Empty where there is a demonstration."""


def verify_turns(
    env: Environment,
    task: Task,
    turns: Sequence[str],
    *,
    source: str,
    alpha: float = ALPHA,
    choice: Choice = "first",
) -> Verified:
    """Play turns from reset and keep them if they earn enough.

    Turns after the end of the episode are left out.

    Args:
        env: its episode is replaced.
        task: what the turns solve.
        turns: assistant turns in order.
        source: who made them; see ``Demonstration.source``.
        alpha: the lowest reward that counts, in [0, 1].
        choice: which action of a turn counts, where it holds several.
    """
    form = answer_format(choice, env)
    if task.split != SPLIT:
        return Verified(None, f"'{task.name}' is a {task.split} task, not a training task")
    steps: list[Step] = []
    try:
        instructions = guarded_instructions(env, brief=False)
        opening = guarded_reset(env, task)
        for turn in turns:
            steps.append(take_step(env, turn, form=form))
            if steps[-1].ended:
                break
    except EnvironmentFault as fault:
        return Verified(None, fault.message)
    if not steps:
        return Verified(None, "it has no turns of the agent")
    reward = next((step.reward for step in reversed(steps) if step.kind == "act"), 0.0)
    if reward < alpha:
        return Verified(None, _shortfall(steps, reward, alpha))
    return Verified(Demonstration(task, source, reward, instructions, opening, steps))


def _shortfall(steps: Sequence[Step], reward: float, alpha: float) -> str:
    """Why an episode is no demonstration, with its first turn that went wrong."""
    text = f"it earns {reward:g}, less than {alpha:g}"
    for number, step in enumerate(steps, 1):
        if step.kind == "none":
            return f"{text}; turn {number} has no action"
        if step.invalid:
            return f"{text}; turn {number} ({step.action}) is not possible"
    return text


def no_oracle(env: Environment) -> str:
    """The reason why an environment demonstrates nothing itself."""
    return f"{env.name} has no oracle"


def has_expert(env: Environment) -> bool:
    """Whether an environment demonstrates with thoughts of its own, not with ``solve`` alone."""
    inner = getattr(env, "inner", env)
    return type(inner).demonstrate is not Environment.demonstrate


def own_demonstration(
    env: Environment, task: Task, *, source: Own, alpha: float = ALPHA
) -> Verified:
    """The environment's own demonstration of a task.

    Args:
        env: its episode is replaced.
        task: the task.
        source: ``expert``: ``Environment.demonstrate``; ``solve``: the oracle's actions with a
            plain thought.
        alpha: the lowest reward that counts.
    """
    if task.split != SPLIT:
        return Verified(None, f"'{task.name}' is a {task.split} task, not a training task")
    try:
        if source == "expert":
            turns = guarded_demonstration(env, task)
        else:
            actions = guarded_actions(env, task)
            turns = actions and [turn_text(PLAIN_THOUGHT, action) for action in actions]
    except EnvironmentFault as fault:
        return Verified(None, fault.message)
    if turns is None:
        return Verified(None, no_oracle(env))
    return verify_turns(env, task, turns, source=source, alpha=alpha)
