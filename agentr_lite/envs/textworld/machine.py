"""One game in a Z-machine: commands in, text and score out, and its whole memory as a value.

TextWorld's own wrappers find out after every command what could be done next, which takes most of
a step's time, and copy the interpreter (a shared library) for each state. Here the machine's memory
is the state, 40 kB copied in microseconds, and ``agentr_lite.envs.textworld.story`` works out
the rest only when somebody asks.

Source of the two ``tw-`` commands and of what they print: microsoft/TextWorld,
``textworld/envs/wrappers/tw_inform7.py``.
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
    """What a command led to."""

    text: str
    """For the player: without status line, tags and runs of blank lines."""
    events: tuple[str, ...]
    """What happened, in Inform's words, e.g. ``taking the apple``; empty: nothing did."""
    score: int | None
    """None where the game did not say, i.e. where it has not changed."""


class Machine:
    """A Z-machine with a game in it.

    Args:
        story: a ``.z8`` file.
    """

    def __init__(self, story: Path) -> None:
        import jericho

        with warnings.catch_warnings():
            # Jericho knows the scores of famous games only; these tell theirs.
            warnings.simplefilter("ignore", jericho.UnsupportedGameWarning)
            self._frotz = jericho.FrotzEnv(str(story), _SEED)

    def start(self) -> str:
        """Begin the game; returns its first text, from the banner on."""
        text, _ = self._frotz.reset()
        self._frotz.step("tw-trace-actions")
        self._frotz.step("tw-extra-infos score")
        return _PROMPT.sub("", text)

    def send(self, command: str) -> Output:
        """Carry out one command."""
        import jericho

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jericho.TruncatedInputActionWarning)
            raw = self._frotz.step(command)[0]
        return read_output(raw)

    def save(self) -> Memory:
        """The whole state."""
        ram, stack, *registers = self._frotz.get_state()
        return Memory(ram.tobytes(), stack.tobytes(), tuple(registers))

    def load(self, memory: Memory) -> None:
        """Bring back a state of the same game."""
        import numpy as np

        # Copies: the interpreter wants to be able to write.
        arrays = (np.frombuffer(part, dtype=np.uint8).copy() for part in memory[:2])
        self._frotz.set_state((*arrays, *memory.registers))

    def close(self) -> None:
        """Let go of the interpreter."""
        self._frotz.close()


def read_output(raw: str) -> Output:
    """Take apart what a game prints once tracing is on."""
    text = _PROMPT.sub("", raw)
    told = dict(_EXTRA.findall(text))
    text = _EXTRA.sub("", text)
    events = []
    for tag in _EVENT.findall(text):
        words = tag.strip()[1:-1]
        # With brackets inside it is a rule that served another action.
        if _SUCCEEDED in words and "(" not in words:
            events.append(words[: words.index(_SUCCEEDED)])
    text = _EVENT.sub("", text)
    text, _, _ = text.partition(_QUESTION)
    if final := _FINAL_SCORE.search(text):
        told.setdefault("score", final[1])
    score = int(told["score"].split()[0]) if told.get("score") else None
    return Output(tidy(text), tuple(events), score)


def tidy(text: str) -> str:
    """Lines without spaces around them, at most one blank line in a row."""
    lines = "\n".join(line.strip() for line in text.splitlines())
    return _BLANKS.sub("\n\n", lines).strip()
