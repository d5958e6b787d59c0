"""A run in lines: one for each evaluated round, and one on whether the model got better."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.console.text import Styled
from agentr_lite.core.rounds import START
from agentr_lite.metrics.estimates import Estimate
from agentr_lite.metrics.measures import REWARD, SUCCESS, Measure, main_measure
from agentr_lite.report.model.run import EvalLine, RunReport
from agentr_lite.report.tables.wording import difference_interval, difference_phrase, value_text
from agentr_lite.report.words import points_of, too_few


def round_verdict(line: EvalLine) -> str:
    """``round 1: solves 45.3 % of 172 test tasks, +8.7 points against base (95 % interval …)``.

    Args:
        line: a greedy evaluation, over all environments of the run.
    """
    measure = _measure([line])
    value, difference = _value(line, measure), _difference(line, measure)
    if value is None:
        return f"{line.name}: no episode was played to its end"
    text = f"{line.name}: {_result(measure, value, line.split)}"
    if difference is not None:
        return f"{text}, {difference_phrase(measure, difference, f'against {line.reference}')}"
    return f"{text} (95 % interval {_ends(measure, value)})" if value.bounds else text


def run_verdict(report: RunReport) -> Styled:
    """Whether a run's last round is better than what it began with, in one line.

    Args:
        report: of a run; what has not been evaluated yet is not judged.
    """
    split = str(report.run.recipe["eval"]["split"])
    lines = sorted(report.evals_of("greedy", split), key=lambda line: line.round)
    if not lines:
        return Styled("verdict: nothing has been evaluated yet")
    last, measure = lines[-1], _measure(lines)
    value, difference = _value(last, measure), _difference(last, measure)
    if value is None or difference is None:
        return Styled(f"verdict: {round_verdict(last)}")
    before = next((line for line in lines if line.name == last.reference), None)
    was = _value(before, measure) if before else None
    change = f"{value_text(measure, was.value)} → " if was else ""
    change += f"{value_text(measure, value.value)} {_of(measure, last.split)}"
    when = f"after {last.name}" if last.round > START else "after imitation"
    judged, colour = _judged(difference, last.reference)
    return Styled(f"verdict: {judged} {when}: {change}{_amount(measure, difference)}", fg=colour)


def _judged(difference: Estimate, than: str) -> tuple[str, str]:
    if difference.too_few:
        return f"{too_few(difference)} whether it differs from {than}", "yellow"
    if difference.always_zero:
        return f"no task shows a difference from {than}", "yellow"
    if difference.excludes_zero:
        return (
            (f"better than {than}", "green")
            if difference.value > 0
            else (
                f"worse than {than}",
                "red",
            )
        )
    return f"no difference from {than} beyond the noise", "yellow"


def _amount(measure: Measure, difference: Estimate) -> str:
    if difference.too_few or difference.always_zero:
        return ""
    unit = " points" if measure.unit == "percent" else ""
    amount = points_of(difference, unit=measure.unit)
    within = difference_interval(measure, difference)
    return f", {amount}{unit} (95 % interval {within}, n = {difference.n})"


def _measure(lines: Sequence[EvalLine]) -> Measure:
    return main_measure(any(line.graded for line in lines))


def _value(line: EvalLine, measure: Measure) -> Estimate | None:
    return line.figures.reward if measure is REWARD else line.figures.success


def _difference(line: EvalLine, measure: Measure) -> Estimate | None:
    versus = line.figures.versus_base
    if versus is None:
        return None
    return versus.success if measure is SUCCESS else versus.reward


def _result(measure: Measure, value: Estimate, split: str) -> str:
    amount = value_text(measure, value.value)
    if measure is SUCCESS:
        return f"solves {amount} of {value.n} {split} tasks"
    return f"earns {amount} on {value.n} {split} tasks"


def _of(measure: Measure, split: str) -> str:
    return f"of {split} tasks solved" if measure is SUCCESS else f"mean reward on {split} tasks"


def _ends(measure: Measure, value: Estimate) -> str:
    if value.bounds is None:
        return ""
    low, high = (value_text(measure, end) for end in value.bounds)
    return f"{low} to {high}"
