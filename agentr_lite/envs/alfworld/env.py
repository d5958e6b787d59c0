"""ALFWorld as an ``Environment``.

Source: Shridhar et al., "ALFWorld: Aligning Text and Embodied Environments for Interactive
Learning", arXiv 2010.03768; the package ``alfworld``.
"""

from __future__ import annotations

import copy
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.alfworld.engine import NOTHING, Engine, Frame
from agentr_lite.envs.alfworld.games import Games, chosen_kinds
from agentr_lite.envs.base import Environment, StepResult

_HOME = "~/.cache/alfworld"
_INSTRUCTIONS = """\
You are in a household and have a task to do with its things. The first message tells what is in \
the room and what the task is.

Write two lines each turn:
Thought: what you know, what is missing, and what to do next
Action: exactly one command

Commands: look, inventory, go to <place>, open <place>, close <place>, examine <thing>, \
take <thing> from <place>, move <thing> to <place>, use <lamp>, clean <thing> with <sinkbasin>, \
heat <thing> with <microwave>, cool <thing> with <fridge>, slice <thing> with <knife>.

Name things with their numbers, as the text does. Go to a place before you use it, and carry one \
thing at a time. "Nothing happens." means that a command was not possible.

Example:
Thought: I need a mug, and mugs may be on a shelf.
Action: go to shelf 1"""
_BRIEF = "Do the household task. Answer with a Thought line and an Action line."


class AlfWorld(Environment):
    """The text games of ALFWorld, from a directory of the user's.

    A state cannot be saved, and starting a game takes long, so states are replayed in several
    running games, each of which stays where it was played last (``another``).

    Args:
        games_dir: the directory with the ``.tw-pddl`` games; default: ``ALFWORLD_DATA``, or where
            ``alfworld-download`` puts them.
        kinds: kinds of tasks, by number (1 to 6) or name, comma-separated; empty = all.
        sessions: most running games at the same time.

    Raises:
        UsageError: an option is wrong, there are no games, or a package is not installed.
    """

    name: ClassVar[str] = "alfworld"
    path_options: ClassVar[tuple[str, ...]] = ("games_dir",)

    def __init__(
        self, games_dir: str | None = None, kinds: str | int = "", sessions: int = 8
    ) -> None:
        if isinstance(kinds, bool) or not isinstance(kinds, str | int):
            raise UsageError(f"alfworld: kinds needs a text, not {kinds!r}")
        if type(sessions) is not int or sessions < 1:
            raise UsageError(f"alfworld: sessions needs a whole number >= 1, not {sessions!r}")
        for package in ("textworld", "fast_downward", "alfworld"):
            if importlib.util.find_spec(package) is None:
                raise UsageError(
                    f"alfworld: the package {package} is not installed",
                    hint="pip install 'agentr-lite[alfworld]'",
                )
        folder = games_dir or os.environ.get("ALFWORLD_DATA") or _HOME
        self._games = Games(Path(folder).expanduser(), chosen_kinds(str(kinds)))
        self._tasks: dict[str, list[Task]] = {}
        self._most = sessions
        self._family = [self]
        """This instance and the others that came of it; the same list in each."""
        self._engine: tuple[Path, Engine] | None = None
        self._frame: Frame | None = None

    def tasks(self, split: str) -> Sequence[Task]:
        """The split's games, in the order of their names. The first call reads their files.

        Raises:
            UsageError: there is no such split, or a game cannot be read.
        """
        if split not in SPLITS:
            raise UsageError(
                f"alfworld has no split '{split}'", hint=f"Splits: {', '.join(SPLITS)}."
            )
        if split not in self._tasks:
            self._tasks[split] = self._games.tasks(split)
        return self._tasks[split]

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """Begin ``task``. ``seed`` changes nothing.

        Raises:
            UsageError: the task is not of this environment.
        """
        path = self._games.path(task)
        self._frame = None
        if self._engine is None or self._engine[0] != path:
            self.close()
            self._engine = (path, Engine(path))
        self._frame = self._engine[1].start()
        return self._frame.text, {}

    def step(self, action: str) -> StepResult:
        """Carry out one command; after the end, the last observation is repeated."""
        frame = self._playing()
        if frame.won:
            return StepResult(frame.text, 1.0, True, False, {"invalid": True})
        assert self._engine is not None
        frame = self._engine[1].send(" ".join(action.split()))
        self._frame = frame
        invalid = frame.text == NOTHING
        return StepResult(frame.text, float(frame.won), frame.won, False, {"invalid": invalid})

    def instructions(self, *, brief: bool = False) -> str:
        """The system prompt."""
        return _BRIEF if brief else _INSTRUCTIONS

    def another(self) -> AlfWorld | None:
        """An instance for another running game; None if there are as many as there may be."""
        if len(self._family) >= self._most:
            return None
        other = copy.copy(self)
        other._engine, other._frame = None, None
        self._family.append(other)
        return other

    def solve(self, task: Task) -> list[str]:
        """The commands of ALFWorld's handcoded expert. The episode in progress is not affected.

        Raises:
            EnvironmentFault: the expert does not solve this game.
        """
        engine = Engine(self._games.path(task), facts=True)
        try:
            commands = engine.solution()
        finally:
            engine.close()
        if commands is None:
            raise EnvironmentFault(
                self.name, f"ALFWorld's expert does not solve the task '{task.name}'"
            )
        return commands

    def valid_actions(self) -> list[str]:
        """The commands that are possible now."""
        frame = self._playing()
        return [] if frame.won else frame.commands

    def close(self) -> None:
        """Close the running game."""
        if self._engine is not None:
            self._engine[1].close()
            self._engine = None

    def _playing(self) -> Frame:
        if self._frame is None:
            raise UsageError("alfworld: reset comes before the first step")
        return self._frame
