"""The critic's three verdicts on a step, in the one order that scores and tables keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Verdict = Literal["good", "bad", "uncertain"]

VERDICTS: tuple[Verdict, ...] = ("good", "bad", "uncertain")
"""Log-likelihoods, probabilities and counts of verdicts are stored and shown in this order."""


def probabilities(log_likelihoods: Sequence[float]) -> tuple[float, ...]:
    """Softmax of natural-log likelihoods: probabilities that sum to 1, in the same order."""
    highest = max(log_likelihoods)
    weights = [math.exp(value - highest) for value in log_likelihoods]
    total = sum(weights)
    return tuple(weight / total for weight in weights)
