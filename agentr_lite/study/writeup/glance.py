"""A study at a glance: each method's last round in every environment, and all rounds together."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.console.outcomes import round_name
from agentr_lite.metrics.estimates import Difference
from agentr_lite.metrics.measures import Measure
from agentr_lite.metrics.methods import BASE
from agentr_lite.report.tables.section import Section
from agentr_lite.report.tables.wording import (
    difference_cell,
    difference_interval,
    difference_phrase,
    interval_cell,
    value_cell,
    value_text,
)
from agentr_lite.report.words import Cell
from agentr_lite.study.writeup.results import EnvResults


def glance_sections(environments: Sequence[EnvResults]) -> list[Section]:
    """What there is so far; empty tables are left out.

    Args:
        environments: results.
    """
    sections = [
        _outcomes(environments),
        _against_the_others(environments),
        _all_rounds(environments),
    ]
    return [section for section in sections if section.rows]


def told_in_short(results: EnvResults) -> list[str]:
    """One environment in a few sentences: what the first method gives, how the others stand."""
    first = next(iter(results.methods), None)
    if first is None:
        return []
    number = results.last_round(first)
    told = []
    for measure in (results.main, results.recovery):
        value = results.value(measure, first, number)
        difference = results.versus_base(measure, first, number)
        if value and difference:
            against = difference_phrase(measure, difference, "on the base")
            told.append(f"{measure.column} {value_text(measure, value.value)}, {against}")
    gains = f"{results.labels[first]}, {round_name(number)}: {'; '.join(told)}."
    last = results.last_round(*results.methods)
    orders = [_order(results, results.main, last)]
    whens: list[int | range] = [last] if last == 1 else [1, last, range(1, last + 1)]
    orders += [_order(results, results.recovery, when) for when in whens]
    return [gains, *filter(None, orders)]


def _order(results: EnvResults, measure: Measure, rounds: int | range) -> str:
    """The methods by one measure, and which of the first one's differences are more than noise."""
    values = {method: results.value(measure, method, rounds) for method in results.methods}
    known = {method: value.value for method, value in values.items() if value}
    first = next(iter(known), "")
    others = [method for method in known if method != first]
    if not others:
        return ""
    ranked = sorted(known, key=lambda method: -known[method])
    listed = ", ".join(f"{results.labels[m]} {value_text(measure, known[m])}" for m in ranked)
    beyond = []
    for other in others:
        difference = results.between(measure, first, other, rounds)
        if difference and difference.excludes_zero:
            beyond.append(f"{results.labels[other]} ({difference_cell(measure, difference)})")
    noise = (
        f"{results.labels[first]} differs from {' and '.join(beyond)} by more than the noise"
        if beyond
        else f"no difference from {results.labels[first]} leaves the noise"
    )
    when = f"after {round_name(rounds)}" if isinstance(rounds, int) else f"over {_span(rounds)}"
    return f"{measure.column} {when}, best first: {listed}; {noise}."


def _outcomes(environments: Sequence[EnvResults]) -> Section:
    rows: list[list[Cell]] = []
    for results in environments:
        base = results.value(results.main, BASE, 0)
        for method, number in [(BASE, 0), *((m, results.last_round(m)) for m in results.methods)]:
            value = results.value(results.main, method, number)
            if value is None or base is None:
                continue
            row: list[Cell] = [
                f"{results.env}: {results.label(method)}",
                number or None,
                len(value.seeds),
                value.n,
            ]
            for measure in (results.main, results.recovery):
                row += _cells(results, measure, method, number)
            rows.append(row)
    columns = ["", "round", "seeds", "n"]
    for name in ("outcome", "recovery"):
        columns += [name, "95 % interval", "vs base", "95 % interval"]
    return Section("The last round of each method", columns, rows, [_measures(environments)])


def _cells(results: EnvResults, measure: Measure, method: str, number: int) -> list[Cell]:
    value = results.value(measure, method, number)
    difference = results.versus_base(measure, method, number) if number else None
    return [
        value_cell(measure, value),
        interval_cell(measure, value),
        difference_cell(measure, difference),
        difference_interval(measure, difference),
    ]


def _against_the_others(environments: Sequence[EnvResults]) -> Section:
    rows: list[list[Cell]] = []
    for results in environments:
        first, *others = results.methods or [""]
        for other in others:
            for number in sorted({1, results.last_round(first, other)}):
                row: list[Cell] = [
                    f"{results.env}: {results.labels[first]} − {results.labels[other]}",
                    number,
                ]
                for measure in (results.main, results.recovery):
                    row += _difference(measure, results.between(measure, first, other, number))
                rows.append(row)
    columns = ["", "round", "outcome", "95 % interval", "recovery", "95 % interval"]
    notes = [
        "In round 1 all methods of a seed learn from the same trees; later each one searches with"
        " the model that it has made."
    ]
    return Section(f"{_first_label(environments)} against the others", columns, rows, notes)


def _all_rounds(environments: Sequence[EnvResults]) -> Section:
    """What is less up to chance than the last round: the mean over all of them."""
    rows: list[list[Cell]] = []
    for results in environments:
        rounds = range(1, results.last_round(*results.methods) + 1)
        if len(rounds) < 2:
            continue
        first = results.methods[0]
        for method in results.methods:
            means = [
                (measure, results.value(measure, method, rounds))
                for measure in (results.main, results.recovery)
            ]
            outcome = means[0][1]
            if outcome is None:
                continue
            row: list[Cell] = [
                f"{results.env}: {results.label(method)}",
                f"{rounds[0]} to {rounds[-1]}",
                len(outcome.seeds),
            ]
            for measure, mean in means:
                is_first = method == first
                between = None if is_first else results.between(measure, first, method, rounds)
                row += [value_cell(measure, mean), interval_cell(measure, mean)]
                row += _difference(measure, between)
            rows.append(row)
    than = f"{_first_label(environments)} − it"
    columns = ["", "rounds", "seeds"]
    for name in ("outcome", "recovery"):
        columns += [name, "95 % interval", than, "95 % interval"]
    notes = ["Means over the rounds, each counting alike; a seed counts once it has all of them."]
    return Section("All rounds together", columns, rows, notes)


def _difference(measure: Measure, difference: Difference | None) -> list[Cell]:
    return [difference_cell(measure, difference), difference_interval(measure, difference)]


def _first_label(environments: Sequence[EnvResults]) -> str:
    return next((label for r in environments for label in map(r.label, r.methods)), "")


def _span(rounds: range) -> str:
    return f"rounds {rounds[0]} to {rounds[-1]}"


def _measures(environments: Sequence[EnvResults]) -> str:
    """What the two columns hold in which environment."""
    by_measure: dict[tuple[str, str], list[str]] = {}
    for results in environments:
        key = (results.main.column, results.recovery.column)
        by_measure.setdefault(key, []).append(results.env)
    told = "; ".join(
        f"in {', '.join(envs)} {outcome} and {recovery}"
        for (outcome, recovery), envs in by_measure.items()
    )
    return f"Outcome and recovery: {told}. Differences of percentages are points."
