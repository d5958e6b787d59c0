"""The format of the agent's turns: how an action is read, and how a revision turn is written."""

from __future__ import annotations

import re

REFLECT = "reflect"
"""The action of a revision turn: the agent loop answers it, the environment never sees it."""

REFLECT_REPLY = "Go on."
NO_ACTION_REPLY = "No action found. End your answer with one line: Action: <action>"

REFLECTIONS: tuple[str, ...] = (
    "Something went wrong in my last steps. I will go back to the goal and try another way.",
    "That was a mistake. I should check what I have and what is still missing.",
    "My last action did not bring me closer to the goal. I need a different plan.",
    "I took a wrong turn. Let me think again about what the goal needs.",
    "This is not working. I will stop repeating it and start from what I know.",
    "I see an error in what I did. I should correct it before I go on.",
    "I have lost the thread. Let me read the task again and choose better.",
    "I made a wrong choice there. A better step is possible from here.",
    "That step was not useful. I will look at the task once more and fix it.",
    "I was careless. I will now do the step that the goal really asks for.",
)
"""Revision signals. Source: the idea of Agent-R section 3.2; the wording is ours."""

_ACTION = re.compile(r"^\s*Action:[ \t]*(\S.*?)\s*$", re.MULTILINE)


def parse_action(text: str) -> str | None:
    """The first ``Action:`` line's content, or None."""
    match = _ACTION.search(text)
    return match.group(1) if match else None


def is_reflection(action: str | None) -> bool:
    """Whether ``action`` is the revision turn's."""
    return action is not None and action.strip().lower().rstrip(".") == REFLECT


def reflection_turn(signal: str) -> str:
    """The assistant turn that carries a revision signal."""
    return f"Thought: {signal}\nAction: {REFLECT}"
