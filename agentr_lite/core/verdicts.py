"""The critic's three verdicts on a step, in the one order that scores and tables keep."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["good", "bad", "uncertain"]

VERDICTS: tuple[Verdict, ...] = ("good", "bad", "uncertain")
"""Log-likelihoods, probabilities and counts of verdicts are stored and shown in this order."""
