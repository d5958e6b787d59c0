"""A node's state as a glyph, a style and a word: colour is never the only sign."""

from __future__ import annotations

from typing import NamedTuple

from agentr_lite.store.inspection import DISASTER, INVALID, KINDS, TERMINATED, TRUNCATED, TreeShape
from agentr_lite.store.records import NodeRow


class Mark(NamedTuple):
    """How a state is shown."""

    glyph: str
    """One terminal column; the same as in ``agentr-lite trees``."""
    style: str
    """One of ``lines.STYLES``."""
    word: str


ROOT = Mark("◆", "accent", "start")
SOLVED = Mark("✓", "good", "solved")
PART = Mark("◐", "part", "ended with part of the reward")
FAILED = Mark("✗", "bad", "ended with nothing")
FATAL = Mark("☠", "bad", "fatal mistake")
CUT = Mark("…", "part", "cut at the depth limit")
INVALID_ACTION = Mark("!", "odd", "not possible")
REFLECTED = Mark("↺", "signal", "revision turn")
NO_ACTION = Mark("?", "odd", "no action")
BROKEN = Mark("⚠", "odd", "the environment failed")
STEP = Mark("·", "plain", "step")
UNVISITED = Mark("·", "dim", "never visited")

LEGEND = (SOLVED, PART, FAILED, FATAL, CUT, INVALID_ACTION, REFLECTED, NO_ACTION, STEP, ROOT)
"""What the help screen explains."""

STATUS = {
    "running": Mark("●", "good", "running"),
    "finished": Mark("✓", "good", "finished"),
    "failed": Mark("✗", "bad", "failed"),
    "interrupted": Mark("◼", "part", "interrupted"),
}
"""A run's status."""

REVISION_STATUS = {
    "naive": Mark("○", "part", "naive"),
    "replayed": Mark("✓", "good", "replayed"),
    "recovered": Mark("↺", "signal", "recovered"),
    "rejected": Mark("✗", "bad", "rejected"),
}
"""A revision's status."""

VERDICT = {
    "good": Mark("✓", "good", "good"),
    "bad": Mark("✗", "bad", "bad"),
    "uncertain": Mark("~", "part", "uncertain"),
}
"""What the critic said."""


def mark_of(kind: str, flags: int, reward: float, visits: int = 1) -> Mark:
    """The mark of a node.

    Args:
        kind: as in ``NodeRow``.
        flags: bits ``TERMINATED``, ``TRUNCATED``, ``INVALID``, ``DISASTER``.
        reward: in [0, 1]; counts at the end of an episode only.
        visits: simulations that went through.
    """
    if kind == "root":
        return ROOT
    if flags & DISASTER:
        return FATAL
    if flags & TERMINATED:
        return SOLVED if reward >= 1 else PART if reward > 0 else FAILED
    if flags & TRUNCATED:
        return CUT
    if kind == "reflect":
        return REFLECTED
    if kind == "none":
        return NO_ACTION
    if flags & INVALID:
        return INVALID_ACTION
    return STEP if visits else UNVISITED


def mark_in(shape: TreeShape, idx: int) -> Mark:
    """The mark of a node of a shape."""
    return mark_of(KINDS[shape.kind[idx]], shape.flags[idx], shape.reward[idx], shape.visits[idx])


def mark_row(node: NodeRow) -> Mark:
    """The mark of a stored node."""
    flags = (
        TERMINATED * node.terminated
        + TRUNCATED * node.truncated
        + INVALID * node.invalid
        + DISASTER * node.disaster
    )
    return mark_of(node.kind, flags, node.reward, node.visits)
