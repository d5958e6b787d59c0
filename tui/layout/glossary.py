"""The words and signs of the inspector that need an explanation."""

from __future__ import annotations

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

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "t′",
        "The last bad step that a revision keeps: the first step that the critic judged bad. The"
        " revision signal comes right after it.",
    ),
    (
        "α, alpha",
        "The least reward of a good trajectory in a round (recipe key splice.alpha). A bad one"
        " earned less than α, and less than the good one by more than β.",
    ),
    (
        "naive",
        "A naive splice joins the texts of the two trajectories and executes nothing. Its figure is"
        " the reward that it earned when it was replayed.",
    ),
    (
        "parting",
        "The last step that a good and a bad trajectory share. From there on they differ.",
    ),
    ("critic", "The model itself, asked which step of its bad trajectory was wrong."),
    ("verdict", "The critic's answer for a step: good, bad or uncertain, with its probability."),
    ("chain", "Steps without a branch between them. Folded, they take one row."),
    (
        "repeated",
        "The share of steps that repeat the steps just before them, with the same answer.",
    ),
    ("given", "A step that the model did not choose: recovery begins after a failed beginning."),
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
