"""Several runs side by side as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agentr_lite.console.output import Styled, format_duration
from agentr_lite.metrics.measures import REWARD, SUCCESS
from agentr_lite.metrics.methods import MethodRuns
from agentr_lite.metrics.pooling import difference_of, value_of
from agentr_lite.report.model.comparison import Compared, model_name
from agentr_lite.report.model.splices import SpliceRound
from agentr_lite.report.tables.methods import method_sections
from agentr_lite.report.tables.section import Section
from agentr_lite.report.tables.splices import failure_section
from agentr_lite.report.tables.wording import (
    difference_cell,
    difference_interval,
    difference_sentence,
    value_cell,
)
from agentr_lite.report.words import Cell, round_name


def comparison_sections(runs: Sequence[Compared]) -> list[Section]:
    """Tables of several runs, in reading order."""
    sections = [overview_section(runs), _between_runs(runs)]
    pools: dict[str, list[Compared]] = {}
    for one in runs:
        pools.setdefault(one.pool, []).append(one)
    for members in pools.values():
        if len(members) < 2:
            continue
        methods = dict.fromkeys(one.method for one in members)
        results = MethodRuns([one.played for one in members], {name: name for name in methods})
        row = members[0].report.run
        where = f"{row.env}, {model_name(row)}: " if len(pools) > 1 else ""
        sections += [
            replace(section, title=where + section.title)
            for section in (*method_sections(results), _splice_section(members))
        ]
    return [section for section in sections if section.rows]


def _splice_section(runs: Sequence[Compared]) -> Section:
    by_round: dict[tuple[str, int], list[SpliceRound]] = {}
    for one in runs:
        for number, spliced in one.spliced.items():
            by_round.setdefault((one.method, number), []).append(spliced)
    return failure_section([(method, number, of) for (method, number), of in by_round.items()])


def overview_section(runs: Sequence[Compared]) -> Section:
    """One row a run: what it is and what it came to."""
    rows: list[list[Cell]] = []
    for one in runs:
        measure, last, seed = one.measure, one.played.last_round, one.played.seed
        own = {seed: one.played.rounds}
        # One run's interval is drawn as its own tables' was, so that they agree.
        difference = difference_of(measure, own, last, own, 0, seed=seed) if last else None
        base, end = (value_of(measure, own, number) for number in (0, last))
        rows.append(
            [
                one.label,
                one.report.run.id,
                model_name(one.report.run),
                measure.column,
                value_cell(measure, base),
                value_cell(measure, end) if last else None,
                round_name(last) if last else None,
                difference_cell(measure, difference),
                difference_interval(measure, difference),
                format_duration(sum(line.wall_s for line in one.report.stages)),
            ]
        )
    columns = ["", "run", "model", "measure", "base", "last", "", "vs base", "95 % interval"]
    columns.append("time")
    notes = ["On held-out tasks, greedy; differences are paired by task."]
    if any(one.report.envs for one in runs):
        notes.append("Of several environments: the mean over them, each counting alike.")
    return Section("The runs", columns, rows, notes)


def _between_runs(runs: Sequence[Compared]) -> Section:
    """Every later run against the first, where they are of different methods or models."""
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    first, *others = runs
    for other in others:
        if (other.pool, other.method) == (first.pool, first.method):
            continue
        measure = REWARD if REWARD in (first.measure, other.measure) else SUCCESS
        # The last round that each has.
        difference = difference_of(
            measure,
            {0: other.played.rounds},
            other.played.last_round,
            {0: first.played.rounds},
            first.played.last_round,
        )
        if difference is None:
            continue
        rows.append(
            [
                f"{other.label} − {first.label}",
                measure.column,
                difference_cell(measure, difference),
                difference_interval(measure, difference),
                difference.n,
            ]
        )
        notes.append(difference_sentence(other.label, measure, difference, than=first.label))
    if notes:
        notes.append("Last round against last round, paired by the tasks that both have played.")
    columns = ["", "measure", "difference", "95 % interval", "tasks"]
    return Section("Run against run", columns, rows, notes)
