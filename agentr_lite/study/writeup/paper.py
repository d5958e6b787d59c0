"""The paper's figures, and its claims with a verdict from a study's own outcomes.

Source: Agent-R (arXiv 2501.11425): the averages over three environments and TextCraft's success
from its main table, recovery from its table of revisions; Llama-3.1-8B, three rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentr_lite.metrics.estimates import Difference
from agentr_lite.metrics.measures import Measure
from agentr_lite.study.methods import GOOD, IMITATION_MORE, NAIVE, VERIFIED
from agentr_lite.study.outcomes.results import EnvResults, StudyResults

PAPER_GAME = "textcraft"
"""The game whose figures in the paper are its own."""

Verdict = Literal["confirmed", "refuted", "not decided", "not measured yet"]


@dataclass(frozen=True, slots=True)
class PaperFigures:
    """What the paper reports for one method; percentages, None where it reports nothing."""

    average: float | None = None
    """Mean over its three environments."""
    success: float | None = None
    """In TextCraft."""
    recovery_first: float | None = None
    """Recovery in TextCraft after the first round."""
    recovery_last: float | None = None
    """Recovery in TextCraft after three rounds."""


PAPER = {
    "base": PaperFigures(average=20.00, success=26.0),
    "eto": PaperFigures(average=65.12, success=75.0, recovery_last=0.00),
    "direct": PaperFigures(62.36, 66.0, 11.35, 29.73),
    NAIVE: PaperFigures(70.71, 78.0, 32.43, 43.24),
    GOOD: PaperFigures(recovery_last=0.00),
}
"""A study's method to the paper's figures. The paper joins texts without executing them, as
``naive`` does, and calls ``good`` Optimal."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One difference that a claim rests on."""

    method: str
    other: str
    measure: Measure
    round: int
    difference: Difference | None
    """Method less other; None: it has not been measured."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim about one environment, with the verdict of the outcomes."""

    name: str
    text: str
    comparisons: Sequence[Comparison]

    @property
    def verdict(self) -> Verdict:
        """Confirmed if every comparison confirms it, refuted if one refutes it."""
        verdicts = [comparison.verdict for comparison in self.comparisons]
        if "refuted" in verdicts:
            return "refuted"
        if "not measured yet" in verdicts:
            return "not measured yet"
        return "confirmed" if set(verdicts) == {"confirmed"} else "not decided"


def claims(study: StudyResults, results: EnvResults, method: str = VERIFIED) -> list[Claim]:
    """The two claims about a method in one environment.

    Each is judged in the study's last round and by all of its seeds.

    Args:
        study: the whole study.
        results: of one environment.
        method: whose claims they are.
    """
    name = results.label(method)
    ahead = [_compared(study, results, method, other, results.recovery) for other in (GOOD, "eto")]
    behind = [_compared(study, results, method, IMITATION_MORE, results.main, ties=True)]
    return [
        Claim(
            "recovery",
            f"{name} recovers from more failures than good data alone, and than ETO.",
            ahead,
        ),
        Claim(
            "new tasks",
            f"On new tasks, {name} is not behind imitation on equally many examples.",
            behind,
        ),
    ]


def _compared(
    study: StudyResults,
    results: EnvResults,
    method: str,
    other: str,
    measure: Measure,
    *,
    ties: bool = False,
) -> Comparison:
    difference = results.between(measure, method, other, study.rounds)
    complete = difference is not None and set(difference.seeds) == set(study.seeds)
    verdict: Verdict = "not measured yet"
    if difference is not None and complete:
        verdict = judge(difference, ties=ties)
    return Comparison(method, other, measure, study.rounds, difference, verdict)


def judge(difference: Difference, *, ties: bool) -> Verdict:
    """What the interval of a difference says of the claim that the first side is ahead.

    Args:
        difference: the first side less the second.
        ties: whether the claim holds for equals, too: then 0 itself does not speak against it.

    Returns:
        ``confirmed`` if the whole interval is above 0 (with ``ties``: not below 0), ``refuted`` if
        the whole interval is on the other side, else ``not decided``.
    """
    if difference.too_few:
        return "not decided"
    if difference.low > 0 or (ties and difference.low >= 0):
        return "confirmed"
    if difference.high < 0 or (not ties and difference.high <= 0):
        return "refuted"
    return "not decided"
