"""Conversations become demonstrations: their tasks are looked up and their turns replayed.

A file says little about the task of a conversation, and never under our names. So the task is the
one whose first observation stands in the conversation, else one whose goal does. A wrong guess does
no harm: its replay earns nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from agentr_lite.agent.boundary import guarded_reset, guarded_tasks
from agentr_lite.agent.turns import PLAIN, parse_action
from agentr_lite.console.streams import say
from agentr_lite.core.errors import EnvironmentFault
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment
from agentr_lite.imitate.collect import ALPHA, Verified, verify_turns
from agentr_lite.imitate.conversations import Conversation
from agentr_lite.store.demonstrations import SPLIT, Demonstration

_MANY = 1000
"""Tasks whose first observations take some time to read."""
MOST_TRIED = 8
"""Tasks with the same goal that are tried for one conversation."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A conversation that was not kept."""

    place: str
    """Where it stands in the file, e.g. ``line 3``."""
    task: str
    """Name of its task; empty if that is not known."""
    reason: str


@dataclass(slots=True)
class Imported:
    """What a file gave."""

    demonstrations: list[Demonstration] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def import_conversations(
    env: Environment,
    conversations: Iterable[Conversation],
    *,
    source: str,
    alpha: float = ALPHA,
    on_conversation: Callable[[], None] | None = None,
) -> Imported:
    """Replay conversations and keep those that earn enough.

    Args:
        env: where they are replayed.
        conversations: from ``read_conversations``.
        source: of the demonstrations.
        alpha: the lowest reward that counts.
        on_conversation: called after each conversation.

    Raises:
        EnvironmentFault: the environment cannot list its tasks.
    """
    finder = _TaskFinder(env)
    imported = Imported()
    for conversation in conversations:
        verified, task = _verified(env, finder, conversation, source, alpha)
        if verified.demonstration is not None:
            imported.demonstrations.append(verified.demonstration)
        else:
            imported.refusals.append(Refusal(conversation.place, task, verified.reason))
        if on_conversation:
            on_conversation()
    return imported


def _verified(
    env: Environment, finder: _TaskFinder, conversation: Conversation, source: str, alpha: float
) -> tuple[Verified, str]:
    """(what the conversation gave, name of the task that was tried last)."""
    if conversation.problem:
        return Verified(None, conversation.problem), ""
    before, turns = _parts(conversation)
    if not turns:
        return Verified(None, "it has no turns of the agent"), ""
    tasks = finder.candidates(conversation, before)
    if not tasks:
        return Verified(None, f"no task of {env.name} begins like this"), ""
    held_out = next((task for task in tasks if task.split != SPLIT), None)
    if held_out is not None:
        reason = f"its task is of the {held_out.split} split; only training tasks are demonstrated"
        return Verified(None, reason), held_out.name
    verified = Verified(None)
    for task in tasks:
        verified = verify_turns(env, task, turns, source=source, alpha=alpha)
        if verified.demonstration is not None:
            break
    return verified, task.name


def _parts(conversation: Conversation) -> tuple[str, list[str]]:
    """(all that the agent was told before it acted, its turns from there on).

    An "OK" to the instructions is no turn of the game.
    """
    messages = conversation.messages
    first = next(
        (
            index
            for index, message in enumerate(messages)
            if message["role"] == "assistant"
            and (parse_action(message["content"], PLAIN) or index + 1 == len(messages))
        ),
        len(messages),
    )
    before = "\n".join(m["content"] for m in messages[:first] if m["role"] != "assistant")
    return before, [m["content"] for m in messages[first:] if m["role"] == "assistant"]


class _TaskFinder:
    """Finds tasks by their name, first observation or goal."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        # Training tasks first: of equal openings, theirs counts.
        self._tasks = [task for split in SPLITS for task in guarded_tasks(env, split)]
        self._by_name: dict[str, list[Task]] = {}
        for task in self._tasks:
            self._by_name.setdefault(task.name, []).append(task)
        self._openings: list[tuple[str, Task]] | None = None
        self._by_opening: dict[str, Task] = {}

    def candidates(self, conversation: Conversation, before: str) -> list[Task]:
        """The tasks that a conversation may be of.

        Args:
            conversation: which.
            before: what the agent was told before it acted.
        """
        if named := self._by_name.get(conversation.task) or self._exported(conversation.id):
            return named
        text = _plain(before)
        opened = self._opened(text)
        return [opened] if opened is not None else self._with_goal(text)

    def _exported(self, name: str) -> list[Task]:
        """By ``ENVIRONMENT/TASK/...``, as our exports call a conversation."""
        own = name.removeprefix(f"{self._env.name}/")
        if own == name:
            return []
        # A task's name may hold a slash itself.
        parts = own.split("/")
        for length in range(len(parts), 0, -1):
            if tasks := self._by_name.get("/".join(parts[:length])):
                return tasks
        return []

    def _opened(self, text: str) -> Task | None:
        """The task whose first observation is the text, or the end of it, or the longest in it."""
        if self._openings is None:
            if len(self._tasks) > _MANY:
                say(f"Reading the first observations of {len(self._tasks)} tasks.")
            self._openings = []
            for task in self._tasks:
                try:
                    opening = _plain(guarded_reset(self._env, task))
                except EnvironmentFault:
                    # A task that cannot begin has no demonstration either.
                    continue
                self._openings.append((opening, task))
                self._by_opening.setdefault(opening, task)
        if text in self._by_opening:
            return self._by_opening[text]
        inside = [(opening, task) for opening, task in self._openings if opening in text]
        return max(inside, key=lambda pair: len(pair[0]))[1] if inside else None

    def _with_goal(self, text: str) -> list[Task]:
        """Tasks with the longest goal that the text holds."""
        lowered = text.lower()
        held = [
            task
            for task in self._tasks
            if (goal := _plain(task.goal).lower())
            and re.search(rf"(?<!\w){re.escape(goal)}(?!\w)", lowered)
        ]
        longest = max((len(task.goal) for task in held), default=0)
        return [task for task in held if len(task.goal) == longest][:MOST_TRIED]


def _plain(text: str) -> str:
    """A text with single blanks, as files differ in line ends and indents."""
    return " ".join(text.split())
