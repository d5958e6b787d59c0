"""The format of the agent's turns: how an action is read, and how a revision turn is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from agentr_lite.core.steps import turn_text
from agentr_lite.envs.base import Environment

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

Choice = Literal["first", "last"]
"""Which action of an answer counts, where it holds several."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """How an action is read from an answer."""

    choice: Choice = "first"
    """``last`` is what ReAct takes, and AgentGym's evaluation with it."""
    keeps_full_stop: bool = False
    """Whether a full stop at the end belongs to the action; see ``Environment.keeps_full_stop``."""


PLAIN = AnswerFormat()
"""The first action, without a full stop at its end."""


def answer_format(choice: Choice, env: Environment) -> AnswerFormat:
    """How the answers of an agent in ``env`` are read.

    Args:
        choice: a recipe's ``agent.action``.
        env: where the agent acts.
    """
    return AnswerFormat(choice, keeps_full_stop=env.keeps_full_stop)


# An answer may be of any length, and a blank of it is read once: each line has one indent, and what
# follows the content on its line is cut off afterwards.
_INDENT = r"^[^\S\n]*"
_LINE = re.compile(rf"{_INDENT}Action:[ \t]*(?P<content>\S.*)", re.MULTILINE)
"""``Action: x``: the form that the prompts ask for."""

_MARK = r"\*\*Action:\*\*|\*\*Action\*\*:|__Action:__|__Action__:|(?P<open>\*\*)Action:|Action:"
"""In ``open``, the bold ends after the action."""
_FENCE = r"(?:```\w*[ \t]*\n\s*)?"
_CONTENT = rf"\s*{_FENCE}(?!(?:Thought|Action|Observation):|(?:\*\*|__)\s*$)(?P<content>\S.*)"
_DECORATED = re.compile(rf"{_INDENT}(?:{_MARK}){_CONTENT}", re.MULTILINE)
"""Also in bold, and with the content on a later line or in a fence.

AgentGym's prompts ask for ``Action:`` and the action on the next line.
"""
_AFTER_THOUGHT = re.compile(rf"(?:{_MARK}){_CONTENT}", re.MULTILINE)
"""Also in the middle of a line, which is read only after a ``Thought:``."""

_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_THOUGHT = re.compile(rf"{_INDENT}(?:\*\*|__)?Thought", re.MULTILINE)
_FENCE_OPENS = re.compile(r"```\w*")
_WRAPPERS = ("```", "`", "**", "__")


def parse_action(text: str, form: AnswerFormat = PLAIN) -> str | None:
    """The action of an answer, without decoration; None where there is none.

    Stricter forms are tried first: a line ``Action: x``, then the same in bold or with its content
    on a later line, then ``Thought: a Action: x`` on one line. So an answer that has a plain line
    is read as that line says, whatever else is in it.

    Args:
        text: the whole turn.
        form: which of several actions counts, and whether a final full stop is part of it.

    Source: the layouts of AgentGym's clients and of ReAct (arXiv 2210.03629).
    """
    # Some models think although they were told not to: thoughts hold no action.
    text = _THINKING.sub("", text)
    contents = _contents(_LINE, text) if form.choice == "first" else []
    contents = contents or _contents(_DECORATED, text)
    thought = _THOUGHT.search(text)
    if not contents and thought is not None:
        contents = _contents(_AFTER_THOUGHT, text[thought.end() :])
    if not contents:
        return None
    return _plain(contents[0 if form.choice == "first" else -1], form)


def _contents(pattern: re.Pattern[str], text: str) -> list[str]:
    contents = []
    for match in pattern.finditer(text):
        groups = match.groupdict()
        content = groups["content"].rstrip()
        contents.append(content.removesuffix("**").rstrip() if groups.get("open") else content)
    # The opening of a fence is none: the action is on the next line, which another pattern reads.
    return [content for content in contents if not _FENCE_OPENS.fullmatch(content)]


def _plain(content: str, form: AnswerFormat) -> str:
    """``content`` without backquotes or bold around it, and without a final full stop."""
    plain = content
    if not form.keeps_full_stop:
        plain = _without_full_stop(plain)
    for wrapper in _WRAPPERS:
        inner = plain.removeprefix(wrapper).removesuffix(wrapper).strip()
        if plain == f"{wrapper}{inner}{wrapper}" and inner and wrapper not in inner:
            plain = inner
    if not form.keeps_full_stop:
        plain = _without_full_stop(plain)
    return plain


def _without_full_stop(content: str) -> str:
    """``x.`` as ``x``; but ``ls .``, ``cd ..`` and ``wait...`` stay as they are."""
    return content[:-1] if re.search(r"[^\s.]\.$", content) else content


def is_reflection(action: str | None) -> bool:
    """Whether ``action`` is the revision turn's."""
    return action is not None and action.strip().lower().rstrip(".") == REFLECT


def reflection_turn(signal: str) -> str:
    """The assistant turn that carries a revision signal."""
    return turn_text(signal, REFLECT)
