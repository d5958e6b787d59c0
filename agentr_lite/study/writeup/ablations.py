"""The ablations: tables from the study's runs, and tables of the runs that ablations add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentr_lite.console.text import Styled
from agentr_lite.metrics.measures import Seeds
from agentr_lite.metrics.pooling import difference_of, value_of
from agentr_lite.report.model.splices import SpliceRound
from agentr_lite.report.tables.section import Section
from agentr_lite.report.tables.splices import failure_section, failure_sentences, recovery_section
from agentr_lite.report.tables.wording import (
    difference_cell,
    difference_interval,
    difference_sentence,
    interval_cell,
    value_cell,
)
from agentr_lite.report.words import Cell, count, p_value
from agentr_lite.study.jobs.cells import EQUAL_TOKENS
from agentr_lite.study.methods import GOOD, VERIFIED
from agentr_lite.study.outcomes.results import CellResult, EnvResults, StudyResults
from agentr_lite.study.writeup.critic_tables import critic_sections
from agentr_lite.study.writeup.document import Chapter

TITLES = {
    "equal_data": "Naive against verified at equal data",
    "flawless": "Good data with and without the model's own reflections",
    "critic": "A critic that reasons against one that scores",
    "budget": "Search budget against gain",
    "merge": "Siblings kept apart against siblings merged",
}
"""Ablation to its table's title."""
_FURTHER_METHODS = {"flawless": (GOOD,)}
"""Ablation to further methods of the study that its table shows."""


def ablation_chapter(study: StudyResults) -> Chapter | None:
    """The chapter with all ablations; None if there is nothing to show."""
    environments, wanted = study.environments, study.ablations
    sections: list[Section] = []
    findings: list[str] = []
    if wanted["naive_failures"] or wanted["recovery_yield"]:
        spliced = named_splices(environments)
        findings = failure_sentences(spliced)
        if wanted["naive_failures"]:
            sections.append(failure_section(spliced))
        if wanted["recovery_yield"]:
            sections.append(recovery_section(spliced))
    if wanted["critic_accuracy"]:
        for results in environments:
            sections += critic_sections(results)
    sections.append(equal_tokens_section(environments))
    for name in TITLES:
        if wanted[name]:
            sections.append(ablation_section(environments, name))
    sections = [section for section in sections if section.rows]
    return Chapter("Ablations", sections, findings=findings) if sections else None


def named_splices(
    environments: Sequence[EnvResults],
) -> list[tuple[str, int, list[SpliceRound]]]:
    """(environment, round, one record per seed) of the verified method."""
    named = []
    for results in environments:
        by_round: dict[int, list[SpliceRound]] = {}
        for result in results.of(VERIFIED):
            for number, spliced in result.splices.items():
                by_round.setdefault(number, []).append(spliced)
        named += [(results.env, number, seeds) for number, seeds in sorted(by_round.items())]
    return named


def ablation_section(environments: Sequence[EnvResults], ablation: str) -> Section:
    """An ablation's own runs beside the verified method after the same number of rounds.

    Args:
        environments: the results of each environment.
        ablation: a key of ``TITLES``.
    """
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    for results in environments:
        added = [method for method, name in results.ablation_of.items() if name == ablation]
        number = max(
            (cell.last_round for method in added for cell in results.of(method)), default=0
        )
        if not number:
            continue
        reference = _evaluated(results, VERIFIED, number)
        name = f"{results.env}: {results.label(VERIFIED)}"
        rows.append(_row(results, name, reference, reference, number))
        for method in (*_FURTHER_METHODS.get(ablation, ()), *added):
            cells = _evaluated(results, method, number)
            if not cells:
                continue
            name = f"{results.env}: {results.labels[method]}"
            rows.append(_row(results, name, cells, reference, number))
            difference = difference_of(
                results.main, _seeds(cells), number, _seeds(reference), number
            )
            if difference:
                notes.append(difference_sentence(name, results.main, difference, than=VERIFIED))
    columns = ["", "seeds", "n", "outcome", "95 % interval", "vs base", "95 % interval"]
    columns += ["recovery", "95 % interval", "outcome vs verified", "95 % interval", "p"]
    columns += ["recovery vs verified", "95 % interval", "nodes", "generated", "examples"]
    notes.append(
        "All methods of one environment have trained for the same number of rounds. Outcome and"
        " recovery are shares of successes, or mean rewards if the environment gives partial"
        " rewards. Nodes and generated tokens are those of the search, and examples those of the"
        " last of these rounds; all three are means per run."
    )
    return Section(TITLES[ablation], columns, rows, notes)


def equal_tokens_section(environments: Sequence[EnvResults]) -> Section:
    """Methods at equally many training tokens, each below itself at equal search."""
    rows: list[list[Cell]] = []
    for results in environments:
        pairs = [
            (method.removesuffix(EQUAL_TOKENS), method)
            for method, ablation in results.ablation_of.items()
            if ablation == "equal_tokens"
        ]
        number = max((cell.last_round for _, m in pairs for cell in results.of(m)), default=0)
        for place in (0, 1) if number else ():
            first = _evaluated(results, pairs[0][place], number)
            for pair in pairs:
                cells = _evaluated(results, pair[place], number)
                if cells:
                    name = f"{results.env}: {results.label(pair[place])}"
                    rows.append(_tokens_row(results, name, cells, first, number))
    columns = ["", "seeds", "n", "outcome", "95 % interval", "recovery", "95 % interval"]
    columns += ["first − it", "95 % interval", "recovery, first − it", "95 % interval"]
    columns += ["examples", "tokens trained"]
    notes = [
        "First: the first method of the table that was trained in the same way. Examples and tokens"
        " trained are sums over the rounds, and means per run. Every method has the same search in"
        " both rows. At equal search, a method that finds more to learn from trains for longer; at"
        " equal tokens, each round's training ends after the same number of tokens.",
    ]
    return Section("Equal search, and equal training tokens", columns, rows, notes)


def _tokens_row(
    results: EnvResults,
    name: str,
    cells: Sequence[CellResult],
    first: Sequence[CellResult],
    number: int,
) -> list[Cell]:
    runs = _seeds(cells)
    row: list[Cell] = [name, len(runs)]
    measures = (results.main, results.recovery)
    values = [value_of(measure, runs, number) for measure in measures]
    row.append(values[0].n if values[0] else None)
    for measure, value in zip(measures, values, strict=True):
        row += [value_cell(measure, value), interval_cell(measure, value)]
    others = {} if cells == first else _seeds(first)
    for measure in measures:
        difference = difference_of(measure, others, number, runs, number)
        row += [difference_cell(measure, difference), difference_interval(measure, difference)]
    row.append(_mean([_until(cell.examples, number) for cell in cells]))
    row.append(_mean([_until(trained_tokens(cell), number) for cell in cells]))
    return row


def trained_tokens(cell: CellResult) -> dict[int, int]:
    """Round to the tokens of its training."""
    return {
        row.round: int(row.summary.get("tokens") or 0)
        for row in cell.stages
        if row.stage == "train"
    }


def _row(
    results: EnvResults,
    name: str,
    cells: Sequence[CellResult],
    reference: Sequence[CellResult],
    number: int,
) -> list[Cell]:
    outcome, recovery = results.main, results.recovery
    runs = _seeds(cells)
    outcome_value = value_of(outcome, runs, number)
    recovery_value = value_of(recovery, runs, number)
    base = cells[0].reference_round(outcome) if cells else 0
    gain = difference_of(outcome, runs, number, runs, base)
    verified = {} if cells == reference else _seeds(reference)
    outcome_difference = difference_of(outcome, runs, number, verified, number)
    recovery_difference = difference_of(recovery, runs, number, verified, number)
    return [
        name,
        len(runs),
        outcome_value.n if outcome_value else None,
        value_cell(outcome, outcome_value),
        interval_cell(outcome, outcome_value),
        difference_cell(outcome, gain),
        difference_interval(outcome, gain),
        value_cell(recovery, recovery_value),
        interval_cell(recovery, recovery_value),
        difference_cell(outcome, outcome_difference),
        difference_interval(outcome, outcome_difference),
        p_value(outcome_difference.p) if outcome_difference else None,
        difference_cell(recovery, recovery_difference),
        difference_interval(recovery, recovery_difference),
        _mean([_until(cell.nodes, number) for cell in cells]),
        _mean([_generated(cell, number) for cell in cells]),
        _mean([cell.examples.get(number, 0) for cell in cells]),
    ]


def _evaluated(results: EnvResults, method: str, number: int) -> list[CellResult]:
    """The cells of a method that have been evaluated after round ``number``."""
    return [cell for cell in results.of(method) if cell.last_round >= number]


def _seeds(cells: Sequence[CellResult]) -> Seeds:
    return {cell.seed: cell.rounds for cell in cells}


def _until(by_round: Mapping[int, int], last: int) -> int:
    """The sum over the rounds up to ``last``."""
    return sum(value for number, value in by_round.items() if number <= last)


def _generated(cell: CellResult, rounds: int) -> int:
    return sum(r.output_tokens for r in cell.stages if r.stage == "search" and r.round <= rounds)


def _mean(values: Sequence[int]) -> str | None:
    return count(round(sum(values) / len(values))) if values else None
