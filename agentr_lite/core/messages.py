"""A chat message, as every back end and every training set has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NotRequired, TypedDict


class Message(TypedDict):
    """One chat turn."""

    role: str
    """``system``, ``user`` or ``assistant``."""
    content: str
    token_ids: NotRequired[list[int]]
    """An assistant turn's tokens as the model drew them, without the end of the turn. They are
    only there where ``content`` would be tokenized otherwise, and mean something to the model
    alone that drew them."""
    thinking: NotRequired[str]
    """What the model thought before an assistant turn."""
    example: NotRequired[bool]
    """Whether the turn is part of an example in the prompt, not of the episode."""


def without_examples(
    messages: Sequence[Message], loss: Sequence[bool]
) -> tuple[list[Message], list[bool]]:
    """The turns of the episode itself, with their loss flags."""
    own = [pair for pair in zip(messages, loss, strict=True) if not pair[0].get("example")]
    return [message for message, _ in own], [flag for _, flag in own]


def spoken(messages: Iterable[Message]) -> list[Message]:
    """The turns as chat formats have them: role and content alone."""
    return [{"role": message["role"], "content": message["content"]} for message in messages]
