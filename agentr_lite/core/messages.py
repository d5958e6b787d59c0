"""A chat message, as every back end and every training set has it."""

from __future__ import annotations

from collections.abc import Iterable
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


def spoken(messages: Iterable[Message]) -> list[Message]:
    """The turns as chat formats have them: role and content alone."""
    return [{"role": message["role"], "content": message["content"]} for message in messages]
