"""One game in a Z-machine: takes commands, gives text and score, and saves its memory.

TextWorld's own wrappers compute the possible actions after every command, which takes most of a
step's time, and copy the interpreter (a shared library) for each state. Here the state is the
machine's memory: 40 kB, which are copied in microseconds. ``agentr_lite.envs.textworld.story``
computes possible actions only on request.

Source: microsoft/TextWorld, ``textworld/envs/wrappers/tw_inform7.py``, for the two ``tw-`` commands
and their output.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

_SEED = 1
# The status line that the interpreter shows beside the prompt.
_PROMPT = re.compile(r"\n?>[^\n]*\Z")
_EXTRA = re.compile(r"<(score|moves)>\s*(.*?)\s*</\1>", re.DOTALL)
_EVENT = re.compile(r"\[[^\]]+\]\n?")
_SUCCEEDED = " - succeeded"
_FINAL_SCORE = re.compile(r"You scored (-?\d+) out of a possible")
_QUESTION = "Would you like to RESTART"
_BLANKS = re.compile(r"[ \t]*\n(?:[ \t]*\n)+")
WON = "*** The End ***"
LOST = "*** You lost! ***"


class Memory(NamedTuple):
    """A machine's state."""

    ram: bytes
    stack: bytes
    registers: tuple[Any, ...]


class Output(NamedTuple):
    """The result of a command."""

    text: str
    """The text for the player, without status line, tags and repeated blank lines."""
    events: tuple[str, ...]
    """The events in Inform's words, e.g. ``taking the apple``; empty: nothing happened."""
    score: int | None
    """None if the game did not print it, which means that it has not changed."""


class Machine:
    """A Z-machine with a game in it.

    Args:
        story: a ``.z8`` file.
    """

    def __init__(self, story: Path) -> None:
        import jericho

        with warnings.catch_warnings():
            # Jericho knows only the scores of famous games; these games print theirs.
            warnings.simplefilter("ignore", jericho.UnsupportedGameWarning)
            self._frotz = jericho.FrotzEnv(str(story), _SEED)

    def start(self) -> str:
        """Start the game; returns its first text, from the banner on."""
        text, _ = self._frotz.reset()
        self._frotz.step("tw-trace-actions")
        self._frotz.step("tw-extra-infos score")
        return _PROMPT.sub("", text)

    def send(self, command: str) -> Output:
        """Carry out one command.

        Raises:
            ValueError: the command would reach the interpreter's own commands.
        """
        import jericho

        if not command.isprintable() or "\\" in command:
            raise ValueError(f"{command!r} is no line for the game")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jericho.TruncatedInputActionWarning)
            raw = self._frotz.step(command)[0]
        return read_output(raw)

    def save(self) -> Memory:
        """The whole state."""
        ram, stack, *registers = self._frotz.get_state()
        return Memory(ram.tobytes(), stack.tobytes(), tuple(registers))

    def load(self, memory: Memory) -> None:
        """Return to a state of the same game."""
        import numpy as np

        # Copies, because the interpreter needs writable arrays.
        arrays = (np.frombuffer(part, dtype=np.uint8).copy() for part in memory[:2])
        self._frotz.set_state((*arrays, *memory.registers))

    def close(self) -> None:
        """Close the interpreter."""
        self._frotz.close()


def read_output(raw: str) -> Output:
    """Parse a game's output while tracing is on."""
    text = _PROMPT.sub("", raw)
    extras = dict(_EXTRA.findall(text))
    text = _EXTRA.sub("", text)
    events = []
    for tag in _EVENT.findall(text):
        words = tag.strip()[1:-1]
        # An event with brackets is a rule that was used by another action.
        if _SUCCEEDED in words and "(" not in words:
            events.append(words[: words.index(_SUCCEEDED)])
    text = _EVENT.sub("", text)
    text, _, _ = text.partition(_QUESTION)
    if final := _FINAL_SCORE.search(text):
        extras.setdefault("score", final[1])
    score = int(extras["score"].split()[0]) if extras.get("score") else None
    return Output(tidy(text), tuple(events), score)


def tidy(text: str) -> str:
    """The text with its lines stripped and without repeated blank lines."""
    lines = "\n".join(line.strip() for line in text.splitlines())
    return _BLANKS.sub("\n\n", lines).strip()
