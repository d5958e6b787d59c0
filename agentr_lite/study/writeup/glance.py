"""A study at a glance: the last round of every method, and the means over all rounds."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.core.rounds import START
from agentr_lite.metrics.estimates import Difference
from agentr_lite.metrics.measures import Measure
from agentr_lite.metrics.methods import BASE, IMITATION
from agentr_lite.report.tables.section import Section
from agentr_lite.report.tables.wording import (
    difference_cell,
    difference_interval,
    interval_cell,
    value_cell,
)
from agentr_lite.report.words import Cell
from agentr_lite.study.outcomes.results import EnvResults


def glance_sections(environments: Sequence[EnvResults]) -> list[Section]:
    """The tables over all environments, without empty ones.

    Args:
        environments: the results of each environment.
    """
    sections = [
        _outcomes(environments),
        _first_against_others(environments),
        _all_rounds(environments),
    ]
    return [section for section in sections if section.rows]


def _outcomes(environments: Sequence[EnvResults]) -> Section:
    rows: list[list[Cell]] = []
    for results in environments:
        base = results.value(results.main, BASE, 0)
        for method, number in [(BASE, START), (IMITATION, START), *_last_rounds(results)]:
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
    return Section("The last round of each method", columns, rows, [_measures_note(environments)])


def _last_rounds(results: EnvResults) -> list[tuple[str, int]]:
    return [(method, results.last_round(method)) for method in results.methods]


def _cells(results: EnvResults, measure: Measure, method: str, number: int) -> list[Cell]:
    value = results.value(measure, method, number)
    difference = None if method == BASE else results.versus_base(measure, method, number)
    return [
        value_cell(measure, value),
        interval_cell(measure, value),
        difference_cell(measure, difference),
        difference_interval(measure, difference),
    ]


def _first_against_others(environments: Sequence[EnvResults]) -> Section:
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
                    row += _difference_cells(
                        measure, results.between(measure, first, other, number)
                    )
                rows.append(row)
    columns = ["", "round", "outcome", "95 % interval", "recovery", "95 % interval"]
    notes = [
        "In round 1, all methods of one seed learn from the same trees. In later rounds, each"
        " method searches with its own model."
    ]
    return Section(f"{_first_label(environments)} against the others", columns, rows, notes)


def _all_rounds(environments: Sequence[EnvResults]) -> Section:
    """Means over all rounds, which depend less on chance than the last round does."""
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
                row += _difference_cells(measure, between)
            rows.append(row)
    minus = f"{_first_label(environments)} − it"
    columns = ["", "rounds", "seeds"]
    for name in ("outcome", "recovery"):
        columns += [name, "95 % interval", minus, "95 % interval"]
    notes = [
        "These are means over the rounds; each round has the same weight. A seed is included after"
        " it has finished all rounds."
    ]
    return Section("All rounds together", columns, rows, notes)


def _difference_cells(measure: Measure, difference: Difference | None) -> list[Cell]:
    return [difference_cell(measure, difference), difference_interval(measure, difference)]


def _first_label(environments: Sequence[EnvResults]) -> str:
    return next((label for r in environments for label in map(r.label, r.methods)), "")


def _measures_note(environments: Sequence[EnvResults]) -> str:
    """Which measures the two columns show in each environment."""
    by_measure: dict[tuple[str, str], list[str]] = {}
    for results in environments:
        key = (results.main.column, results.recovery.column)
        by_measure.setdefault(key, []).append(results.env)
    measures = "; ".join(
        f"{outcome} and {recovery} in {' and '.join(envs)}"
        for (outcome, recovery), envs in by_measure.items()
    )
    return f"Outcome and recovery are {measures}. Differences of percentages are in points."
