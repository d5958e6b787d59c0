"""TextWorld as an ``Environment``.

Source: Côté et al., "TextWorld: A Learning Environment for Text-based Games", arXiv 1806.11532;
microsoft/TextWorld.
"""

from __future__ import annotations

import importlib.util
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from agentr_lite.core.config import home
from agentr_lite.core.errors import UsageError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment, StepResult
from agentr_lite.envs.textworld.build import Workshop
from agentr_lite.envs.textworld.games import COOKING, LEVELS, make_tasks
from agentr_lite.envs.textworld.machine import LOST, WON, Machine, Memory, Output, tidy
from agentr_lite.envs.textworld.story import Story

_INSTRUCTIONS = """\
You play a text adventure in a house and its surroundings. The first message tells your task \
and where you are.

Write two lines each turn:
Thought: what you know, what is missing, and what to do next
Action: exactly one command

Commands: look, inventory, examine <thing>, go north (south, east, west), open <thing>, \
close <thing>, unlock <thing> with <key>, lock <thing> with <key>, take <thing>, \
take <thing> from <place>, drop <thing>, put <thing> on <place>, insert <thing> into <container>, \
eat <thing>{extra}.

Name things exactly as the text does. A command that is not understood changes nothing.

Example:
Thought: The task is in the next room, and the door is closed.
Action: open wooden door"""

_COOKING = """, cook <food> with <appliance>, slice <food> with knife, chop <food> with knife, \
dice <food> with knife, prepare meal, eat meal.

In the kitchen, the cookbook says which food to take and what to do with it, step by step: an \
oven roasts, a stove fries, a barbecue grills. Food that is cooked twice or cut wrongly loses \
the game. When everything is ready, be in the kitchen, prepare the meal and eat it"""

_BRIEF = "Play the text adventure. Answer with a Thought line and an Action line."

_NOT_PLAYED = {
    *("quit", "q", "restart", "restore", "save", "undo", "script", "transcript", "unscript"),
    *("verify", "version", "oops", "o", "pronouns", "notify", "superbrief", "brief", "verbose"),
    # The other names of these three.
    *("short", "normal", "long"),
    *("enable", "disable", "restrict"),
}
"""Commands to the interpreter, not to the game: they would ask questions, write files or undo
moves."""
_HIDDEN = ("tw-", "print_st")
"""The start of TextWorld's own commands to its games."""
_AGAIN = {"again", "g"}
_WORD_LENGTH = 9
"""The interpreter compares only this many letters: it takes ``transcripzz`` for ``transcript``."""
_LINE_BYTES = 198
"""The interpreter reads only this many bytes of a line."""
_NEXT_COMMAND = re.compile(r"[.,;]|\bthen\b")
"""Separates two commands on a line, and a character from the command for it."""
_ESCAPE = "\\"
"""Begins a command to dumb-frotz, which reads the line before the game does, or an escape sequence
anywhere in the line. Some never return (``\\boxed``), some end the process (``\\U``)."""
_REFUSED = "That is no command of the game."
_OVER = "The game is over."
_GAMES_KEPT = 64


class TextWorldSnapshot(NamedTuple):
    """The whole state of an episode."""

    task: Task
    memory: Memory
    events: tuple[str, ...]
    score: int
    over: bool


class TextWorld(Environment):
    """Text adventures that are generated when they are needed and kept in ``games_dir``.

    The reward is the share of the game's points, so it is 1 when the game is won. Generating a game
    takes seconds, once.

    Args:
        game: ``cooking`` (find a recipe, prepare it, eat it; with points on the way), ``coins``
            (find a coin), ``treasure`` (find a thing among others) or ``quest`` (follow
            instructions).
        levels: the levels of difficulty to use, from 1; default: all.
        train, dev, test: number of tasks in each split.
        games_dir: the folder for the games; default: ``textworld`` in the data directory.

    Raises:
        UsageError: an option is wrong, or TextWorld is not installed.
    """

    name: ClassVar[str] = "textworld"
    path_options: ClassVar[tuple[str, ...]] = ("games_dir",)
    # The interpreter is machine code that reads what a model wrote.
    isolate: ClassVar[bool] = True

    def __init__(
        self,
        game: str = COOKING,
        levels: Sequence[int] | None = None,
        train: int = 200,
        dev: int = 50,
        test: int = 100,
        games_dir: str | None = None,
    ) -> None:
        if importlib.util.find_spec("textworld") is None:
            raise UsageError(
                "textworld: the package TextWorld is not installed",
                hint="pip install 'agentr-lite[textworld]'",
            )
        if game not in LEVELS:
            raise UsageError(
                f"textworld: no game '{game}'{did_you_mean(str(game), list(LEVELS))}",
                hint=f"Games: {', '.join(LEVELS)}.",
            )
        known = range(1, len(LEVELS[game]) + 1)
        self._levels = list(known) if levels is None else list(levels)
        if not self._levels or any(level not in known for level in self._levels):
            raise UsageError(f"textworld: levels of {game} are 1 to {len(known)}, not {levels!r}")
        self._counts = {"train": train, "dev": dev, "test": test}
        for split, count in self._counts.items():
            if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 10**6:
                raise UsageError(f"textworld: {split} needs a whole number >= 0, not {count!r}")
        self._game = game
        self._workshop = Workshop(
            Path(games_dir).expanduser() if games_dir else home() / "textworld"
        )
        self._open: OrderedDict[Path, tuple[Machine, Story]] = OrderedDict()
        self._task: Task | None = None
        self._machine: Machine | None = None
        self._story: Story | None = None
        self._events: tuple[str, ...] = ()
        self._score = 0
        self._over = False

    def tasks(self, split: str) -> Sequence[Task]:
        """The split's tasks; their games need not exist yet.

        Raises:
            UsageError: there is no such split.
        """
        if split not in self._counts:
            raise UsageError(
                f"textworld has no split '{split}'", hint=f"Splits: {', '.join(SPLITS)}."
            )
        return make_tasks(self._game, self._levels, split, self._counts[split])

    def reset(self, task: Task, *, seed: int = 0) -> tuple[str, dict[str, Any]]:
        """Begin ``task``; its game is made if it does not exist. ``seed`` changes nothing.

        Raises:
            EnvironmentFault: the game cannot be made.
        """
        machine, story = self._take(task)
        text = machine.start()
        self._events, self._score, self._over = (), 0, False
        # A large banner precedes the objective.
        _, objective, rest = text.partition(story.objective)
        return tidy(objective + rest if objective else text), {}

    def step(self, action: str) -> StepResult:
        """Carry out one command."""
        machine, story = self._playing()
        command = one_line(action)
        if not is_played(command, again=bool(self._events)):
            return StepResult(_REFUSED, self._reward(story), self._over, False, {"invalid": True})
        if self._over:
            # The interpreter asks what to do next, but actions are not meant for it.
            return StepResult(_OVER, self._reward(story), True, False, {"invalid": True})
        output = machine.send(command)
        self._events += output.events
        self._score = self._score if output.score is None else output.score
        lost = LOST in output.text
        self._over = lost or WON in output.text
        info = {"invalid": not output.events and not self._over, "disaster": lost}
        return StepResult(_shown(output), self._reward(story), self._over, False, info)

    def _reward(self, story: Story) -> float:
        return min(1.0, max(0.0, self._score / story.max_score)) if story.max_score else 0.0

    def instructions(self, *, brief: bool = False) -> str:
        """The system prompt."""
        if brief:
            return _BRIEF
        return _INSTRUCTIONS.format(extra=_COOKING if self._game == COOKING else "")

    def snapshot(self) -> TextWorldSnapshot:
        """The machine's memory (40 kB) and the events so far."""
        machine, _ = self._playing()
        assert self._task is not None
        return TextWorldSnapshot(self._task, machine.save(), self._events, self._score, self._over)

    def restore(self, snapshot: TextWorldSnapshot) -> None:
        """Return to a state, even one of another instance or process."""
        machine, _ = self._take(snapshot.task)
        machine.load(snapshot.memory)
        _, _, self._events, self._score, self._over = snapshot

    def solve(self, task: Task) -> list[str]:
        """The commands that win, from reset on."""
        return self._load(task)[1].plan(())

    def plan(self) -> list[str]:
        """The commands that win from here on; empty if the game is over or lost."""
        return self._playing()[1].plan(self._events)

    def valid_actions(self) -> list[str]:
        """TextWorld's admissible commands."""
        _, story = self._playing()
        return [] if self._over else story.valid_commands(self._events)

    def describe_state(self) -> str:
        """The things that the player carries, in one line; empty once the game is over."""
        machine, _ = self._playing()
        if self._over:
            return ""
        before = machine.save()
        text = machine.send("inventory").text
        machine.load(before)
        return " ".join(text.split())

    def close(self) -> None:
        """Close all games."""
        self._workshop.close()
        while self._open:
            self._open.popitem()[1][0].close()
        self._machine = self._story = self._task = None

    def _take(self, task: Task) -> tuple[Machine, Story]:
        # Equal, not the same: a task that comes from another process is a copy.
        if self._task != task or self._machine is None or self._story is None:
            self._machine, self._story = self._load(task)
            self._task = task
        return self._machine, self._story

    def _load(self, task: Task) -> tuple[Machine, Story]:
        """The task's game, in its own interpreter, because trees take turns step by step."""
        path = self._workshop.game_file(task.payload)
        if path not in self._open:
            self._open[path] = (Machine(path), Story(path.with_suffix(".json")))
        self._open.move_to_end(path)
        if len(self._open) > _GAMES_KEPT:
            _, (machine, _) = self._open.popitem(last=False)
            machine.close()
        return self._open[path]

    def _playing(self) -> tuple[Machine, Story]:
        if self._machine is None or self._story is None:
            raise UsageError("textworld: reset comes before the first step")
        return self._machine, self._story


def one_line(action: str) -> str:
    """An action as the interpreter reads it: one line, not too long, printable."""
    shown = "".join(sign if sign.isprintable() else " " for sign in action)
    line = " ".join(shown.split()).encode("utf-8", "replace")
    return line[:_LINE_BYTES].decode("utf-8", "ignore")


def is_played(line: str, *, again: bool) -> bool:
    """Whether all commands on a line are for the game.

    Args:
        line: as ``one_line`` gives it.
        again: whether the player has played a command that ``again`` could repeat. Otherwise it
            would repeat one of our own commands, which the player must not see.
    """
    if _ESCAPE in line:
        return False
    commands = [
        words
        for part in _NEXT_COMMAND.split(line.lower().replace('"', " "))
        if (words := part.split())
    ]
    refused = {word[:_WORD_LENGTH] for word in _NOT_PLAYED}
    for first, *_ in commands:
        if first.startswith(_HIDDEN) or first[:_WORD_LENGTH] in refused:
            return False
        # On a line with other commands, it may repeat the one before the line.
        if first in _AGAIN and not (again and len(commands) == 1):
            return False
    return True


def _shown(output: Output) -> str:
    """The observation; it is never empty, because a model needs a text to answer."""
    return output.text or "Nothing happens."
