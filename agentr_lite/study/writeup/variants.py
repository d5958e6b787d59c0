"""Ablations with runs of their own: variants beside the verified method after as many rounds."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.console.text import Styled
from agentr_lite.metrics.measures import Seeds
from agentr_lite.metrics.pooling import difference_of, value_of
from agentr_lite.report.tables.section import Section
from agentr_lite.report.tables.wording import (
    difference_cell,
    difference_interval,
    difference_sentence,
    interval_cell,
    value_cell,
)
from agentr_lite.report.words import Cell, count, p_value
from agentr_lite.store import Store
from agentr_lite.study.jobs.sharing import agent_examples
from agentr_lite.study.methods import GOOD, VERIFIED
from agentr_lite.study.writeup.results import CellResult, EnvResults

TITLES = {
    "equal_data": "Naive against verified at equal data",
    "flawless": "Good data with and without the model's own reflections",
    "critic": "A critic that reasons against one that scores",
    "budget": "Search budget against gain",
    "merge": "Siblings kept apart against siblings merged",
}
"""Ablation to its table's title."""
_BESIDE = {"flawless": (GOOD,)}
"""Ablation to the study's own methods that its variants are set beside, besides the first."""


def variant_section(store: Store, environments: Sequence[EnvResults], ablation: str) -> Section:
    """One ablation over all environments.

    Args:
        store: the database.
        environments: results.
        ablation: which.
    """
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    for results in environments:
        variants = [m for m, of in results.ablation_of.items() if of == ablation]
        found = {method: results.of(method) for method in variants}
        rounds = [max(c.last_round for c in of) for of in found.values() if of]
        found = {method: results.of(method) for method in _BESIDE.get(ablation, ())} | found
        number = max(rounds, default=0)
        reference = [one for one in results.of(VERIFIED) if one.last_round >= number > 0]
        if not number:
            continue
        mine = f"{results.env}: {results.labels.get(VERIFIED, VERIFIED)}"
        rows.append(_row(store, results, mine, reference, reference, number))
        for method, cells in found.items():
            ready = [one for one in cells if one.last_round >= number]
            if not ready:
                continue
            name = f"{results.env}: {results.labels[method]}"
            rows.append(_row(store, results, name, ready, reference, number))
            difference = difference_of(
                *(results.main, _seeds(ready), number, _seeds(reference), number)
            )
            if difference:
                notes.append(difference_sentence(name, results.main, difference, than=VERIFIED))
    columns = ["", "seeds", "n", "outcome", "95 % interval", "vs base", "95 % interval"]
    columns += ["recovery", "95 % interval", "outcome vs verified", "95 % interval", "p"]
    columns += ["recovery vs verified", "95 % interval", "nodes", "generated", "examples"]
    notes.append(
        "After as many rounds each. Outcome and recovery: successes, or mean rewards where they are"
        " graded. Nodes and tokens of the search, examples of the last of these rounds: means a"
        " run."
    )
    return Section(TITLES[ablation], columns, rows, notes)


def _row(
    store: Store,
    results: EnvResults,
    name: str,
    cells: Sequence[CellResult],
    reference: Sequence[CellResult],
    number: int,
) -> list[Cell]:
    measure, recovers = results.main, results.recovery
    runs = _seeds(cells)
    value = value_of(measure, runs, number)
    recovery = value_of(recovers, runs, number)
    gain = difference_of(measure, runs, number, runs, 0)
    own = cells == reference
    others = {} if own else _seeds(reference)
    against = difference_of(measure, runs, number, others, number)
    failures = difference_of(recovers, runs, number, others, number)
    return [
        name,
        len(runs),
        value.n if value else None,
        value_cell(measure, value),
        interval_cell(measure, value),
        difference_cell(measure, gain),
        difference_interval(measure, gain),
        value_cell(recovers, recovery),
        interval_cell(recovers, recovery),
        difference_cell(measure, against),
        difference_interval(measure, against),
        p_value(against.p) if against else None,
        difference_cell(recovers, failures),
        difference_interval(recovers, failures),
        _mean([_nodes(store, cell, number) for cell in cells]),
        _mean([_generated(cell, number) for cell in cells]),
        _mean([agent_examples(store, cell.run.id, number) for cell in cells]),
    ]


def _seeds(cells: Sequence[CellResult]) -> Seeds:
    return {cell.seed: cell.rounds for cell in cells}


def _nodes(store: Store, cell: CellResult, rounds: int) -> int:
    found = store.scalar(
        "SELECT coalesce(sum(node_count), 0) FROM trees WHERE run_id = ? AND round <= ?",
        (cell.run.id, rounds),
    )
    return int(found)


def _generated(cell: CellResult, rounds: int) -> int:
    return sum(r.output_tokens for r in cell.stages if r.stage == "search" and r.round <= rounds)


def _mean(values: Sequence[int]) -> str | None:
    return count(round(sum(values) / len(values))) if values else None
