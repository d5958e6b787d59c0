"""A chat message, as every back end and every training set has it."""

from __future__ import annotations

from typing import TypedDict


class Message(TypedDict):
    """One chat turn; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str
