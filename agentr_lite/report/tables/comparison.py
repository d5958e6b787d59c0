"""Several runs side by side as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from agentr_lite.console.text import Styled, format_duration
from agentr_lite.core.rounds import round_name
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
from agentr_lite.report.words import Cell


def comparison_sections(runs: Sequence[Compared]) -> list[Section]:
    """Tables of several runs, in reading order."""
    sections = [overview_section(runs), _between_runs(runs)]
    pools: dict[str, list[Compared]] = {}
    for run in runs:
        pools.setdefault(run.pool, []).append(run)
    shared = [members for members in pools.values() if len(members) > 1]
    places = [_place(members) for members in shared]
    for members, place in zip(shared, places, strict=True):
        labels = _method_labels(members)
        results = MethodRuns([run.played for run in members], labels)
        if places.count(place) > 1:
            # They were evaluated in other ways, on other tasks for example.
            place = ", ".join(run.label for run in members)
        where = f"{place}: " if len(pools) > 1 else ""
        sections += [
            replace(section, title=where + section.title)
            for section in (*method_sections(results), _splice_section(members, labels))
        ]
    return [section for section in sections if section.rows]


def _place(runs: Sequence[Compared]) -> str:
    row = runs[0].report.run
    return f"{row.env}, {model_name(row)}"


def _method_labels(runs: Sequence[Compared]) -> dict[str, str]:
    """Method to what it is called: a name that people gave to its only run comes first."""
    members: dict[str, list[Compared]] = {}
    for run in runs:
        members.setdefault(run.method, []).append(run)
    return {
        method: of[0].label if len(of) == 1 and of[0].report.labels.name else method
        for method, of in members.items()
    }


def _splice_section(runs: Sequence[Compared], labels: Mapping[str, str]) -> Section:
    by_round: dict[tuple[str, int], list[SpliceRound]] = {}
    for run in runs:
        for number, spliced in run.spliced.items():
            by_round.setdefault((labels[run.method], number), []).append(spliced)
    return failure_section([(name, number, of) for (name, number), of in by_round.items()])


def overview_section(runs: Sequence[Compared]) -> Section:
    """One row for each run: its settings, its first and last result, and its time."""
    rows: list[list[Cell]] = []
    for run in runs:
        measure, last, seed = run.measure, run.played.last_round, run.played.seed
        first = run.played.base_round
        is_trained = last > first
        own = {seed: run.played.rounds}
        # The run's own seed draws the interval, so that it agrees with the run's own tables.
        difference = (
            difference_of(measure, own, last, own, first, seed=seed) if is_trained else None
        )
        base, end = (value_of(measure, own, number) for number in (first, last))
        rows.append(
            [
                run.label,
                measure.column,
                value_cell(measure, base),
                value_cell(measure, end) if is_trained else None,
                round_name(last, imitates=run.report.run.imitates) if is_trained else None,
                difference_cell(measure, difference),
                difference_interval(measure, difference),
                format_duration(sum(line.wall_s for line in run.report.stages)),
                model_name(run.report.run),
                run.report.run.id,
            ]
        )
    columns = ["", "measure", "base", "last", "last round", "vs base", "95 % interval"]
    columns += ["time", "model", "run"]
    notes = ["Greedy episodes on held-out tasks; differences are paired by task."]
    if any(run.report.envs for run in runs):
        notes.append("For several environments: the mean over them; each counts alike.")
    # What a run is called and what it gave stay; `agentr-lite runs` has the rest.
    hide = ["time", "model", "95 % interval", "run", "last round", "measure"]
    return Section("The runs", columns, rows, notes, hide=hide)


def _between_runs(runs: Sequence[Compared]) -> Section:
    """Every later run against the first, where they are of different methods or models."""
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    first, *others = runs
    for other in others:
        if (other.pool, other.method) == (first.pool, first.method):
            continue
        measure = REWARD if REWARD in (first.measure, other.measure) else SUCCESS
        # Each run's own last round.
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
        notes.append(
            "The last rounds are compared, paired by the tasks that both runs have played."
        )
    columns = ["", "measure", "difference", "95 % interval", "tasks"]
    return Section("Run against run", columns, rows, notes)
