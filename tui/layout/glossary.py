"""The words and signs of the inspector that need an explanation."""

from __future__ import annotations

from agentr_lite.console.glossary import BY_WORD
from agentr_lite.console.outcomes import (
    BROKEN,
    CUT_EPISODE,
    GAINED,
    LEGEND,
    LOST,
    ROOT,
    STEP,
    VERDICT,
)

from .lines import Span

_WORDS = (
    "t′",
    "alpha",
    "beta",
    "naive",
    "verified",
    "parting",
    "critic",
    "verdict",
    "recovery",
    "repeated",
    "given",
)
GLOSSARY: tuple[tuple[str, str], ...] = (
    *((word, BY_WORD[word].meaning) for word in _WORDS),
    ("chain", "Steps without a branch between them. Folded, they take one row."),
)
"""A word and what it means, in a sentence or two."""

SIGNS: tuple[tuple[Span, str], ...] = (
    *(((mark.glyph, mark.style), mark.word) for mark in (*LEGEND, STEP, ROOT)),
    (("bold", "strong"), "on the path to the best end"),
    (("×2", "dim"), "candidates with the same action"),
    (("+3", "dim"), "children of a closed node"),
    (("◀ t′", "bad"), "the last bad step that a revision keeps"),
    (("✗↓", "bad"), "a step that was judged bad is hidden below"),
    *(
        ((f"{mark.glyph} 90%", mark.style), f"the critic judged the step {mark.word}")
        for mark in VERDICT.values()
    ),
    *(((mark.glyph, mark.style), f"{mark.word}, in a list of episodes") for mark in (GAINED, LOST)),
    *(((mark.glyph, mark.style), mark.word) for mark in (CUT_EPISODE, BROKEN)),
)
"""A sign and its meaning."""
