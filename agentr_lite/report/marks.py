"""A node's state as a glyph, a kind and a word, so that colour is never the only sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentr_lite.console.text import Styled
from agentr_lite.core.verdicts import Verdict
from agentr_lite.store.records import NodeRow, RevisionStatus

Tone = Literal["good", "part", "bad", "signal", "odd", "plain"]
"""What a sign means; renderers choose the colour."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How a state is shown."""

    glyph: str
    tone: Tone
    word: str


ROOT = Mark("◆", "plain", "start")
SOLVED = Mark("✓", "good", "reward 1")
PART = Mark("◐", "part", "ended with part of the reward")
FAILED = Mark("✗", "bad", "ended with nothing")
FATAL = Mark("☠", "bad", "fatal mistake")
CUT = Mark("…", "part", "cut at the depth limit")
REFLECTED = Mark("↺", "signal", "revision turn")
NO_ACTION = Mark("?", "odd", "no action")
INVALID = Mark("!", "odd", "not possible")
STEP = Mark("·", "plain", "step")

LEGEND = (SOLVED, PART, FAILED, FATAL, CUT, INVALID, REFLECTED, NO_ACTION)
"""The signs that need explaining."""

REVISION: dict[RevisionStatus, Mark] = {
    "naive": Mark("○", "part", "kept unchecked"),
    "replayed": Mark("✓", "good", "replayed"),
    "recovered": Mark("↺", "signal", "recovered"),
    "rejected": Mark("✗", "bad", "rejected"),
}

VERDICT: dict[Verdict, Mark] = {
    "good": Mark("✓", "good", "good"),
    "bad": Mark("✗", "bad", "bad"),
    "uncertain": Mark("~", "part", "uncertain"),
}

_STYLES = {
    "good": Styled("", fg="green", bold=True),
    "part": Styled("", fg="yellow"),
    "bad": Styled("", fg="red"),
    "signal": Styled("", fg="cyan"),
    "odd": Styled("", fg="magenta"),
    "plain": Styled(""),
}


def mark_of(node: NodeRow) -> Mark:
    """The mark of a node; how it ended outweighs how it came about."""
    if node.kind == "root":
        return ROOT
    if node.disaster:
        return FATAL
    if node.terminated:
        return SOLVED if node.reward >= 1 else PART if node.reward > 0 else FAILED
    if node.truncated:
        return CUT
    if node.kind == "reflect":
        return REFLECTED
    if node.kind == "none":
        return NO_ACTION
    return INVALID if node.invalid else STEP


def terminal_style(mark: Mark) -> Styled:
    """A mark's colours in a terminal."""
    return _STYLES[mark.tone]
