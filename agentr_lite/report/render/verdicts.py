"""What the critic said of a step, in words."""

from __future__ import annotations

import math

from agentr_lite.report.marks import VERDICT
from agentr_lite.store.records import JudgementRow

_ORDER = ("good", "bad", "uncertain")
"""Of ``JudgementRow.scores``."""


def verdict_words(row: JudgementRow) -> str:
    """``bad, probability 0.97``; without scores the verdict alone."""
    word = VERDICT[row.verdict].word
    if row.critic == "none":
        return f"{word} (no critic asked)"
    if not row.scores or not all(map(math.isfinite, row.scores)):
        return word
    return f"{word}, probability {_share(row):.2f}"


def _share(row: JudgementRow) -> float:
    scores = row.scores or ()
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    return weights[_ORDER.index(row.verdict)] / math.fsum(weights)
