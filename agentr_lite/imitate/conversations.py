"""Conversations from files of other programs.

Source: ``messages``: OpenAI's chats (JSONL); ``conversations`` of ``from``/``value``: ShareGPT, and
AgentGym's AgentTraj and the Agent-R files (a JSON list whose first user turn holds the system
prompt, answered by "OK"). ``agentr-lite export`` and ``demos export`` write all of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentr_lite.core.errors import UsageError
from agentr_lite.core.json_values import load_json
from agentr_lite.core.messages import Message
from agentr_lite.core.text_files import read_text

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "observation", "tool", "function", "environment"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "agent"), "assistant"),
}
"""A role in a file to the role of a message."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation of a file."""

    place: str
    """Where it stands, e.g. ``line 3``."""
    messages: list[Message]
    """Empty where there is a problem."""
    id: str = ""
    """What the file calls it (``id`` or ``item_id``)."""
    task: str = ""
    """Name of its task, if the file says it (``task``)."""
    problem: str = ""
    """Why it cannot be read."""


def read_conversations(file: Path) -> list[Conversation]:
    """All conversations of a JSON or JSONL file.

    Raises:
        UsageError: the file is not text, or holds nothing.
    """
    try:
        text = read_text(file, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not a text file in UTF-8") from error
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from error
    conversations = list(_items(text))
    if not conversations:
        raise UsageError(f"{file} holds no conversations")
    return conversations


def _items(text: str) -> Iterator[Conversation]:
    try:
        whole = load_json(text)
    except ValueError:
        whole = None
    if isinstance(whole, list):
        for number, item in enumerate(whole, 1):
            yield _conversation(f"item {number}", item)
        return
    if isinstance(whole, dict):
        yield _conversation("item 1", whole)
        return
    # Not `splitlines`: a text may hold other separators.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = load_json(line)
        except ValueError as error:
            yield Conversation(f"line {number}", [], problem=f"it is not JSON: {error}")
        else:
            yield _conversation(f"line {number}", item)


def _conversation(place: str, item: Any) -> Conversation:
    if not isinstance(item, Mapping):
        return Conversation(place, [], problem="it is not a conversation")
    own_id = str(item.get("id") or item.get("item_id") or "")
    task = str(item.get("task") or "")
    turns = item.get("messages", item.get("conversations"))
    if not isinstance(turns, list) or not turns:
        problem = "it has neither `messages` nor `conversations`"
        return Conversation(place, [], own_id, task, problem)
    messages: list[Message] = []
    for number, turn in enumerate(turns, 1):
        message = _message(turn)
        if isinstance(message, str):
            return Conversation(place, [], own_id, task, f"turn {number} {message}")
        messages.append(message)
    return Conversation(place, messages, own_id, task)


def _message(turn: Any) -> Message | str:
    """A turn as a message, or what is wrong with it."""
    if not isinstance(turn, Mapping):
        return "is not a message"
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if isinstance(content, list):
        # OpenAI's parts; only text can be played.
        content = "".join(
            str(part.get("text", "")) if isinstance(part, Mapping) else str(part)
            for part in content
        )
    if not isinstance(content, str):
        return "has no text"
    if role not in _ROLES:
        return f"has the unknown role {role!r}"
    return {"role": _ROLES[role], "content": content}
