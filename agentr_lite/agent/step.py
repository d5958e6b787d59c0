"""One turn of the agent, carried out in an environment."""

from __future__ import annotations

from dataclasses import replace

from agentr_lite.agent.boundary import guarded_step
from agentr_lite.agent.turns import (
    NO_ACTION_REPLY,
    PLAIN,
    REFLECT_REPLY,
    AnswerFormat,
    is_reflection,
    parse_action,
)
from agentr_lite.core.steps import Step
from agentr_lite.envs.base import Environment


def take_step(
    env: Environment,
    text: str,
    token_ids: tuple[int, ...] = (),
    thinking: str = "",
    *,
    form: AnswerFormat = PLAIN,
) -> Step:
    """Carry out one assistant turn.

    Args:
        env: where.
        text: the whole turn.
        token_ids: its tokens as the model drew them, if its text does not say them.
        thinking: what the model thought before it.
        form: how the action is read from the turn.

    Raises:
        EnvironmentFault: the environment's code raised, or returned a reward outside [0, 1].
    """
    return replace(_carry_out(env, text, form), token_ids=token_ids, thinking=thinking)


def _carry_out(env: Environment, text: str, form: AnswerFormat) -> Step:
    action = parse_action(text, form)
    if action is None:
        return Step(text, None, NO_ACTION_REPLY, invalid=True, kind="none")
    if is_reflection(action):
        return Step(text, action, REFLECT_REPLY, kind="reflect")
    result = guarded_step(env, action)
    return Step(
        text,
        action,
        result.observation,
        reward=result.reward,
        terminated=result.terminated,
        truncated=result.truncated,
        invalid=bool(result.info.get("invalid")),
        disaster=bool(result.info.get("disaster")),
    )
