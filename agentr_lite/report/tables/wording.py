"""Values and differences of a measure as cells and sentences, in the measure's unit."""

from __future__ import annotations

from agentr_lite.console.text import Styled
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.measures import Measure
from agentr_lite.report.words import (
    Cell,
    comparison_sentence,
    interval,
    percent,
    points_of,
    too_few,
)

_VERBS = {"success": "solves", "recovery": "recovers", "reward": "earns"}


def value_text(measure: Measure, value: float) -> str:
    """A value in the measure's unit."""
    if measure.unit == "percent":
        return percent(value) or ""
    return f"{value:.3f}" if measure.unit == "decimal" else f"{value:.2f}"


def value_cell(measure: Measure, estimate: Estimate | None) -> str | None:
    """An estimate's value in the measure's unit."""
    return value_text(measure, estimate.value) if estimate else None


def interval_cell(measure: Measure, estimate: Estimate | None) -> str | None:
    """The interval of a value; None where it is unknown."""
    return interval(estimate, unit=measure.unit) if estimate and estimate.bounds else None


def difference_cell(measure: Measure, difference: Estimate | None) -> Cell:
    """A signed difference, coloured by whether its interval leaves 0 out."""
    return points_of(difference, unit=measure.unit, better=measure.better)


def difference_interval(measure: Measure, difference: Estimate | None) -> str | None:
    """The interval of a difference with signs; see ``words.interval``."""
    return interval(difference, signs=True, unit=measure.unit)


def difference_sentence(
    name: str, measure: Measure, difference: Estimate, *, than: str = "base"
) -> Styled:
    """Says whether a difference is more than noise.

    Args:
        name: whose measure it is.
        measure: an outcome.
        difference: see ``pooling.difference_of``.
        than: whom it is compared with.
    """
    unit = "percent" if measure.unit == "percent" else "decimal"
    key = "reward" if measure.key.endswith("reward") else measure.key
    sentence = comparison_sentence(name, _VERBS[key], difference, unit=unit, than=than)
    if measure.key == "recovery_reward":
        return Styled(sentence.text.replace(" reward", f" {measure.column}", 1), fg=sentence.fg)
    return sentence


def difference_phrase(measure: Measure, difference: Estimate, than: str = "") -> str:
    """A difference within a sentence: ``+7.8 points against the base (…), inside the noise``.

    Args:
        measure: what is compared.
        difference: see ``pooling.difference_of``.
        than: what follows the amount.
    """
    if difference.always_zero and not difference.too_few:
        return "no difference in any task"
    points = " points" if measure.unit == "percent" else ""
    if difference.too_few:
        amount = f"{difference_cell(measure, difference)}{points}{f' {than}' if than else ''}"
        return f"{amount}, {too_few(difference)}"
    noise = "" if difference.excludes_zero else ", inside the noise"
    return (
        f"{difference_cell(measure, difference)}{points}{f' {than}' if than else ''}"
        f" (95 % interval {difference_interval(measure, difference)}){noise}"
    )
