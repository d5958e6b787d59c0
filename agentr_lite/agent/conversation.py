"""The chat that the actor sees: opening, turns and observations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agentr_lite.core.messages import Message
from agentr_lite.core.steps import Step


def opening(instructions: str, first_observation: str) -> list[Message]:
    """The turns before the agent's first: system prompt and task."""
    return [
        {"role": "system", "content": instructions},
        {"role": "user", "content": first_observation},
    ]


def turns(steps: Iterable[Step]) -> list[Message]:
    """Assistant and user turns of ``steps``, in order."""
    messages: list[Message] = []
    for step in steps:
        answer: Message = {"role": "assistant", "content": step.text}
        if step.token_ids:
            answer["token_ids"] = list(step.token_ids)
        if step.thinking:
            answer["thinking"] = step.thinking
        messages.append(answer)
        messages.append({"role": "user", "content": step.observation})
    return messages


def conversation(
    instructions: str, first_observation: str, steps: Sequence[Step] = ()
) -> list[Message]:
    """The whole chat after ``steps``; it ends with a user turn."""
    return opening(instructions, first_observation) + turns(steps)
