"""The findings of one environment in a few sentences."""

from __future__ import annotations

from agentr_lite.core.rounds import round_name
from agentr_lite.metrics.measures import LENGTH, REPEATED, Measure
from agentr_lite.metrics.methods import BASE
from agentr_lite.report.tables.wording import difference_cell, difference_phrase, value_text
from agentr_lite.study.outcomes.results import EnvResults


def environment_findings(results: EnvResults) -> list[str]:
    """The first method's gains, the order of the methods, and the first method's behaviour.

    Args:
        results: of one environment.

    Returns:
        Sentences; none until a method has been evaluated after training.
    """
    methods = results.methods
    if not methods:
        return []
    first = methods[0]
    last = results.last_round(*methods)
    sentences = [_gains(results, first), _order(results, results.main, last)]
    sentences.append(_order(results, results.recovery, 1))
    if last > 1:
        sentences.append(_order(results, results.recovery, last))
        sentences.append(_order(results, results.recovery, range(1, last + 1)))
    sentences.append(_behaviour(results, first))
    return [sentence for sentence in sentences if sentence]


def _gains(results: EnvResults, method: str) -> str:
    """What a method reaches, and its differences from the base."""
    number = results.last_round(method)
    gains = []
    for measure in (results.main, results.recovery):
        value = results.value(measure, method, number)
        difference = results.versus_base(measure, method, number)
        if value and difference:
            phrase = difference_phrase(measure, difference, "against the base")
            gains.append(f"{measure.column} {value_text(measure, value.value)}, {phrase}")
    return f"{results.labels[method]}, {round_name(number)}: {'; '.join(gains)}."


def _order(results: EnvResults, measure: Measure, rounds: int | range) -> str:
    """The methods by one measure, and which differences from the first are outside the noise."""
    estimates = {method: results.value(measure, method, rounds) for method in results.methods}
    values = {method: estimate.value for method, estimate in estimates.items() if estimate}
    if len(values) < 2:
        return ""
    first, *others = values
    ranked = sorted(values, key=lambda method: -values[method])
    listed = ", ".join(f"{results.labels[m]} {value_text(measure, values[m])}" for m in ranked)
    outside, told = [], []
    for other in others:
        difference = results.between(measure, first, other, rounds)
        told += [difference] if difference and not difference.too_few else []
        if difference and difference.excludes_zero and not difference.too_few:
            outside.append(f"{results.labels[other]} ({difference_cell(measure, difference)})")
    label = results.labels[first]
    noise = (
        f"{label} differs from {' and '.join(outside)} by more than the noise"
        if outside
        else f"all differences from {label} are inside the noise"
        if told
        else f"there are too few tasks to tell differences from {label}"
    )
    when = (
        f"after {round_name(rounds)}"
        if isinstance(rounds, int)
        else f"over rounds {rounds[0]} to {rounds[-1]}"
    )
    return f"{measure.column} {when}, best first: {listed}; {noise}."


def _behaviour(results: EnvResults, method: str) -> str:
    """How a method changed repeated actions and the length of revisions."""
    number = results.last_round(method)
    changes = []
    for measure in (REPEATED, LENGTH):
        before = results.value(measure, BASE, 0)
        after = results.value(measure, method, number)
        difference = results.versus_base(measure, method, number)
        if before and after and difference:
            changes.append(
                f"{measure.column} {value_text(measure, before.value)} in the base and"
                f" {value_text(measure, after.value)} after {round_name(number)},"
                f" {difference_phrase(measure, difference)}"
            )
    return f"{results.labels[method]}: {'; '.join(changes)}." if changes else ""
