"""Methods side by side as tables, with sentences that say what the differences mean."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agentr_lite.console.text import Styled, format_duration
from agentr_lite.core.rounds import START, round_name
from agentr_lite.metrics.estimates import Difference
from agentr_lite.metrics.intervals import mean_interval
from agentr_lite.metrics.measures import (
    BEHAVIOUR,
    LENGTH,
    RECOVERY,
    RECOVERY_REWARD,
    REPEATED,
    REWARD,
    SUCCESS,
    VALID,
    Measure,
)
from agentr_lite.metrics.methods import BASE, IMITATION, MethodRuns
from agentr_lite.metrics.pooling import difference_of
from agentr_lite.report.tables.section import Section
from agentr_lite.report.tables.wording import (
    difference_cell,
    difference_interval,
    difference_sentence,
    interval_cell,
    value_cell,
)
from agentr_lite.report.words import Cell, count, p_value, signed, span

_TRAINED = {
    "revision": "revisions",
    "good": "good",
    "demonstration": "demonstrations",
    "preference": "pairs",
    "general": "general",
    "valid_examples": "held out",
    "dropped": "too long",
    "steps": "steps",
    "tokens": "tokens",
}
"""Counts of a training's summary, and the columns of the table."""
_RARE = ("demonstration", "preference")
"""Counts with a column only where there are any."""


def method_sections(results: MethodRuns[Any]) -> list[Section]:
    """All tables of the methods, in reading order; empty ones are left out.

    With several environments, each kind of table comes once for each, then once over all of them.
    """
    parts = [(f", {env}", results.in_env(env)) for env in results.envs]
    parts.append((", mean over the environments" if parts else "", results))
    sections = [
        replace(section, title=section.title + name)
        for made in (_outcome_sections, _between_sections, _behaviour_sections)
        for name, part in parts
        for section in made(part)
    ]
    sections += [seed_section(results), training_section(results), cost_section(results)]
    return [section for section in sections if section.rows]


def _outcomes(results: MethodRuns[Any]) -> list[Measure]:
    if results.graded:
        return [REWARD, SUCCESS, RECOVERY, RECOVERY_REWARD]
    return [SUCCESS, RECOVERY]


def _outcome_sections(results: MethodRuns[Any]) -> list[Section]:
    return [outcome_section(results, measure) for measure in _outcomes(results)]


def _between_sections(results: MethodRuns[Any]) -> list[Section]:
    return [between_section(results, _outcomes(results))]


def _behaviour_sections(results: MethodRuns[Any]) -> list[Section]:
    return [behaviour_section(results), behaviour_change_section(results)]


def outcome_section(results: MethodRuns[Any], measure: Measure) -> Section:
    """One measure by method and round, with its difference from the base."""
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    base = results.value(measure, BASE, 0)
    if base is not None:
        rows.append([results.label(BASE), len(base.seeds), base.n])
        rows[-1] += [value_cell(measure, base), interval_cell(measure, base)]
        rows[-1] += [None, None, None, None]
    start = results.value(measure, IMITATION, START)
    if start is not None:
        rows.append([results.label(IMITATION), len(start.seeds), start.n])
        rows[-1] += [value_cell(measure, start), interval_cell(measure, start)]
        rows[-1] += _difference(measure, results.versus_base(measure, IMITATION, START))
    for method in results.methods:
        last = results.last_round(method)
        for number in range(1, last + 1):
            value = results.value(measure, method, number)
            if value is None:
                continue
            difference = results.versus_base(measure, method, number)
            rows.append(
                [
                    f"{results.label(method)}, {round_name(number)}",
                    len(value.seeds),
                    value.n,
                    value_cell(measure, value),
                    interval_cell(measure, value),
                    *_difference(measure, difference),
                ]
            )
            if number == last and difference:
                name, than = results.label(method), results.versus_name(measure, method)
                notes.append(difference_sentence(name, measure, difference, than=than))
    if any(results.versus_name(measure, method) != BASE for method in results.methods):
        notes.append(
            "Methods that start from imitation begin in its failures, not in the base's, and are"
            " compared with it."
        )
    columns = ["", "seeds", "n", measure.column, "95 % interval"]
    columns += ["vs base", "95 % interval", "p", "by seed"]
    if len(rows) <= 1 and not results.methods:
        notes.append("Nothing has been trained yet.")
    return Section(measure.title, columns, rows, notes)


def between_section(results: MethodRuns[Any], measures: Sequence[Measure]) -> Section:
    """Every two methods in the last round that both have, where anything can be compared."""
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    for method, other in itertools.combinations(results.methods, 2):
        number = results.last_round(method, other)
        differences = [results.between(measure, method, other, number) for measure in measures]
        if all(difference is None for difference in differences):
            # They share no seed: nothing can be paired.
            continue
        row: list[Cell] = [f"{results.label(method)} − {results.label(other)}", number]
        for measure, difference in zip(measures, differences, strict=True):
            row += [
                difference_cell(measure, difference),
                difference_interval(measure, difference),
                p_value(difference.p) if difference else None,
            ]
            if difference and measure in (results.main, results.recovery):
                name, than = results.label(method), results.label(other)
                notes.append(difference_sentence(name, measure, difference, than=than))
        rows.append(row)
    columns = ["", "round"]
    for measure in measures:
        columns += [measure.column, "95 % interval", "p"]
    return Section("Between the methods", columns, rows, notes)


def behaviour_section(results: MethodRuns[Any]) -> Section:
    """How the agent acted, by method and round."""
    rows: list[list[Cell]] = []
    for label, method, number in _method_rounds(results):
        row: list[Cell] = [label]
        for measure in BEHAVIOUR:
            value = results.value(measure, method, number)
            row += [value_cell(measure, value), interval_cell(measure, value)]
        rows.append(row)
    columns = [""]
    for measure in BEHAVIOUR:
        columns += [measure.column, "95 % interval"]
    notes = [
        "Greedy episodes. Repeated actions: share of all steps that repeat the run of steps"
        " directly before them and get the same observations. Revision length: mean number of"
        " invalid or repeated steps directly before a reflection, where there are any. Valid"
        " actions: share of all actions. Reflections and steps: means per episode."
    ]
    return Section("Behaviour", columns, rows, notes)


def behaviour_change_section(results: MethodRuns[Any]) -> Section:
    """The behaviour of each method and round as differences from the base."""
    measures = (REPEATED, LENGTH, VALID)
    rows: list[list[Cell]] = []
    for label, method, number in _method_rounds(results):
        if method == BASE:
            continue
        row: list[Cell] = [label]
        for measure in measures:
            difference = results.versus_base(measure, method, number)
            row += [
                difference_cell(measure, difference),
                difference_interval(measure, difference),
                p_value(difference.p) if difference else None,
            ]
        rows.append(row)
    columns = [""]
    for measure in measures:
        columns += [measure.column, "95 % interval", "p"]
    notes = ["Differences of percentages are in points, those of revision length in steps."]
    return Section("Behaviour against the base", columns, rows, notes)


def seed_section(results: MethodRuns[Any]) -> Section:
    """Each run on its own, and the interval that the spread between seeds alone would give."""
    measure, recovery = results.main, results.recovery
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    for method in results.methods:
        gains = []
        for run in results.of(method):
            last = run.last_round
            if not last:
                continue
            runs = {run.seed: run.rounds}
            difference = difference_of(measure, runs, last, runs, run.reference_round(measure))
            failures = difference_of(recovery, runs, last, runs, run.reference_round(recovery))
            rows.append(
                [
                    f"{results.label(method)}, seed {run.seed}",
                    last,
                    difference_cell(measure, difference),
                    difference_interval(measure, difference),
                    difference_cell(recovery, failures),
                    difference_interval(recovery, failures),
                    format_duration(sum(row.wall_s for row in run.stages)),
                    count(sum(row.output_tokens for row in run.stages)),
                    run.run.id if run.run.status == "finished" else f"{run.run.id} (not finished)",
                ]
            )
            gains += [difference.value] if difference else []
        if len(gains) > 1:
            spread = mean_interval(gains)
            notes.append(
                f"{results.label(method)}: mean gain {difference_cell(measure, spread)}; judged by"
                f" the spread of its {spread.n} seeds alone, the 95 % interval (Student) is"
                f" {span(spread, signs=True, unit=measure.unit)}."
            )
    columns = ["", "round", f"{measure.column} vs base", "95 % interval"]
    columns += [f"{recovery.column} vs base", "95 % interval", "wall", "generated", "run"]
    return Section("Seed by seed", columns, rows, notes)


def training_section(results: MethodRuns[Any]) -> Section:
    """What each method's adapters were trained on."""
    rows: list[list[Cell]] = []
    trained = [row.summary for run in results.runs for row in run.stages if row.stage == "train"]
    with_pairs = any("preference" in summary for summary in trained)
    counted = [
        key for key in _TRAINED if key not in _RARE or any(key in summary for summary in trained)
    ]
    for method in results.methods:
        for number in range(1, results.last_round(method) + 1):
            summaries = [
                row.summary
                for run in results.of(method)
                for row in run.stages
                if (row.stage, row.round) == ("train", number) and row.finished
            ]
            if not summaries:
                continue
            cells: list[Cell] = [f"{results.label(method)}, {round_name(number)}", len(summaries)]
            for key in counted:
                values = [summary.get(key) or 0 for summary in summaries]
                cells.append(count(round(sum(values) / len(values))))
            rows.append(cells)
    columns = ["", "runs", *(_TRAINED[key] for key in counted)]
    notes = [
        "Means per run. Revisions, good, general: numbers of examples. Held out: examples that were"
        " kept for the validation loss. Too long: examples that exceed train.max_length and were"
        " left out. All methods have the same budget, but a method that finds fewer examples takes"
        " fewer steps."
    ]
    if with_pairs:
        notes.append("Pairs: of a better and a worse continuation, for a preference objective.")
    return Section("What was trained on", columns, rows, notes)


def cost_section(results: MethodRuns[Any]) -> Section:
    """What a run of each method costs, by stage."""
    rows: list[list[Cell]] = []
    for method in [BASE, IMITATION, *results.methods]:
        runs = results.of(method)
        if not runs:
            continue
        for stage in ("imitate", "eval", "search", "splice", "train"):
            lines = [[r for r in run.stages if r.stage == stage and r.finished] for run in runs]
            times = sum(len(stages) for stages in lines)
            if not times:
                continue
            flat = [row for stages in lines for row in stages]
            rows.append(
                [
                    f"{results.label(method)}, {stage}",
                    len(runs),
                    f"{times / len(runs):.3g}",
                    format_duration(sum(row.wall_s for row in flat) / len(runs)),
                    _mean([row.output_tokens for row in flat], len(runs)),
                    _mean([row.prompt_tokens for row in flat], len(runs)),
                    _mean([row.decoded_prompt_tokens for row in flat], len(runs)),
                ]
            )
    columns = ["", "runs", "times", "wall", "generated", "prompt", "decoded"]
    notes = [
        "Means per run, over all its rounds. Times: how often the stage ran. Generated, prompt and"
        " decoded: tokens. Stages that runs share, such as the base's evaluation in a study, ran"
        " only once; each row shows what its method would have taken alone."
    ]
    return Section("Cost", columns, rows, notes)


def _mean(values: Sequence[int], runs: int) -> str | None:
    return count(round(sum(values) / runs)) if sum(values) else None


def _method_rounds(results: MethodRuns[Any]) -> list[tuple[str, str, int]]:
    """(label, method, round) of every row."""
    base = [(results.label(BASE), BASE, 0)] if results.seeds(BASE) else []
    if results.seeds(IMITATION):
        base.append((results.label(IMITATION), IMITATION, START))
    return base + [
        (f"{results.label(method)}, {round_name(number)}", method, number)
        for method in results.methods
        for number in range(1, results.last_round(method) + 1)
    ]


def _difference(measure: Measure, difference: Difference | None) -> list[Cell]:
    if difference is None:
        return [None, None, None, None]
    return [
        difference_cell(measure, difference),
        difference_interval(measure, difference),
        p_value(difference.p),
        ", ".join(signed(value, measure.unit) for value in difference.by_seed),
    ]
