"""The chat that the actor sees: instructions, examples, the task, turns and observations.

system     instructions
user       first observation of an example      ┐
assistant  its first turn                       │ for each example; its last observation has
user       the answer to it                     │ no answer and is left out
assistant  its last turn                        ┘
user       first observation of the task
assistant  the agent's first turn
user       the answer to it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agentr_lite.core.messages import Message
from agentr_lite.core.openings import Example, Opening
from agentr_lite.core.steps import Step


def opening_messages(opening: Opening) -> list[Message]:
    """The turns before the agent's first: system prompt, examples and task."""
    messages: list[Message] = [{"role": "system", "content": opening.instructions}]
    for example in opening.examples:
        messages += _example_messages(example)
    return [*messages, {"role": "user", "content": opening.observation}]


def _example_messages(example: Example) -> list[Message]:
    shown: list[Message] = [{"role": "user", "content": example.observation}]
    shown += turns(example.steps)[:-1]
    for message in shown:
        message["example"] = True
    return shown


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


def learnt_conversation(
    opening: Opening, steps: Sequence[tuple[Step, bool]]
) -> tuple[list[Message], list[bool]]:
    """A chat with one loss flag a message, without the last observation, which has no answer.

    Args:
        opening: what comes before the first step.
        steps: each with whether its turn is learnt.

    Returns:
        (messages, loss), of equal length; ``loss`` is True on learnt assistant turns only.
    """
    messages = opening_messages(opening)
    loss = [False] * len(messages)
    messages += turns(step for step, _ in steps)
    for _, learnt in steps:
        loss += [learnt, False]
    return (messages[:-1], loss[:-1]) if steps else (messages, loss)


def conversation(opening: Opening, steps: Sequence[Step] = ()) -> list[Message]:
    """The whole chat after ``steps``; it ends with a user turn."""
    return opening_messages(opening) + turns(steps)
