"""A conversation about crafting, for tests of engines on tiny models."""

from __future__ import annotations

from agentr_lite.core.messages import Message


def chat(index: int = 0, turns: int = 0) -> list[Message]:
    """A system prompt, a goal that depends on ``index``, and finished turns."""
    messages: list[Message] = [
        {"role": "system", "content": "You are given crafting commands."},
        {"role": "user", "content": f"Goal: craft {index} stone pickaxe. Got {index * 7} planks."},
    ]
    for turn in range(turns):
        messages.append({"role": "assistant", "content": f"Action: get {turn} stick"})
        messages.append({"role": "user", "content": f"Got {turn} stick"})
    return messages
