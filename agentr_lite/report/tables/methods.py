"""Methods side by side as sections of plain tables, with what they mean in words."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentr_lite.console.outcomes import round_name
from agentr_lite.console.text import Styled, format_duration
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
    difference_of,
)
from agentr_lite.metrics.methods import BASE, MethodRuns
from agentr_lite.report.tables.run import Section
from agentr_lite.report.words import Cell, count, interval, p_value, percent, points_of, verdict

_VERBS = {"success": "solves", "recovery": "recovers", "reward": "earns"}
_TRAINED = ("revision", "good", "general", "valid_examples", "dropped", "steps", "tokens")
"""Counts of a training's summary, in the order of the table's columns."""


def shown(measure: Measure, value: float | None) -> str | None:
    """A value in the measure's unit."""
    if value is None:
        return None
    if measure.unit == "percent":
        return percent(value)
    return f"{value:.3f}" if measure.unit == "decimal" else f"{value:.2f}"


def span(measure: Measure, estimate: Mapping[str, Any] | None, *, signs: bool = False) -> Cell:
    """Its interval."""
    if estimate is None or estimate["low"] is None:
        return None
    return interval(estimate, signs=signs, unit=measure.unit)


def change(measure: Measure, difference: Mapping[str, Any] | None) -> Cell:
    """A signed difference, coloured by whether its interval leaves 0 out."""
    return points_of(difference, unit=measure.unit, better=measure.better)


def method_sections(results: MethodRuns[Any]) -> list[Section]:
    """All tables of runs, in reading order; empty ones are left out.

    Of several environments, each kind of table comes once an environment, then over all of them.
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
        rows.append([results.label(BASE), *_size(base), *_value(measure, base)])
        rows[-1] += [None, None, None, None]
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
                    *_size(value),
                    *_value(measure, value),
                    *_difference(measure, difference),
                ]
            )
            if number == last and difference:
                notes.append(told_difference(results.label(method), measure, difference))
    columns = ["", "seeds", "n", measure.column, "95 % interval"]
    columns += ["vs base", "95 % interval", "p", "by seed"]
    if len(rows) <= 1 and not results.methods:
        notes.append("Nothing has been trained yet.")
    return Section(measure.title, columns, rows, notes)


def told_difference(
    name: str, measure: Measure, difference: Mapping[str, Any], *, than: str = "base"
) -> Styled:
    """One honest sentence."""
    if difference["low"] == difference["high"] == 0:
        # Nothing to resample: an interval of no width would claim certainty.
        return Styled(f"{name}: no difference from {than} in {measure.column} in any task.")
    unit = "percent" if measure.unit == "percent" else "decimal"
    key = "reward" if measure.key.endswith("reward") else measure.key
    told = verdict(name, _VERBS[key], difference, unit=unit, than=than)
    if measure.key == "recovery_reward":
        return Styled(told.text.replace(" reward", f" {measure.column}", 1), fg=told.fg)
    return told


def told_change(measure: Measure, difference: Mapping[str, Any], than: str = "") -> str:
    """A difference in half a sentence: ``+7.8 points on the base (95 % interval +3.1 to +12.8)``.

    Args:
        measure: of what.
        difference: see ``difference_of``.
        than: what is put after the amount.
    """
    if difference["low"] == difference["high"] == 0:
        return "no difference in any task"
    points = " points" if measure.unit == "percent" else ""
    noise = "" if difference["low"] > 0 or difference["high"] < 0 else ", inside the noise"
    return (
        f"{change(measure, difference)}{points}{f' {than}' if than else ''}"
        f" (95 % interval {span(measure, difference, signs=True)}){noise}"
    )


def between_section(results: MethodRuns[Any], measures: Sequence[Measure]) -> Section:
    """Every two methods in the last round that both have."""
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    for one, other in itertools.combinations(results.methods, 2):
        number = results.last_round(one, other)
        row: list[Cell] = [f"{results.label(one)} − {results.label(other)}", number]
        for measure in measures:
            difference = results.between(measure, one, other, number)
            row += [
                change(measure, difference),
                span(measure, difference, signs=True),
                p_value(difference["p"]) if difference else None,
            ]
            if difference and measure in (results.main, results.recovery):
                name, than = results.label(one), results.label(other)
                notes.append(told_difference(name, measure, difference, than=than))
        rows.append(row)
    columns = ["", "round"]
    for measure in measures:
        columns += [measure.column, "95 % interval", "p"]
    return Section("Between the methods", columns, rows, notes)


def behaviour_section(results: MethodRuns[Any]) -> Section:
    """How episodes look, by method and round."""
    rows: list[list[Cell]] = []
    for label, method, number in _method_rounds(results):
        row: list[Cell] = [label]
        for measure in BEHAVIOUR:
            value = results.value(measure, method, number)
            row += [shown(measure, value["value"]) if value else None, span(measure, value)]
        rows.append(row)
    columns = [""]
    for measure in BEHAVIOUR:
        columns += [measure.column, "95 % interval"]
    notes = [
        "Greedy episodes. Repeated: share of the steps that repeat the run of steps just before"
        " with the same observations; revision length: invalid or repeated steps directly before a"
        " reflection, where any; valid: share of the actions; reflections and steps: an episode."
    ]
    return Section("Behaviour", columns, rows, notes)


def behaviour_change_section(results: MethodRuns[Any]) -> Section:
    """The same as differences from the base."""
    measures = (REPEATED, LENGTH, VALID)
    rows: list[list[Cell]] = []
    for label, method, number in _method_rounds(results):
        if number == 0:
            continue
        row: list[Cell] = [label]
        for measure in measures:
            difference = results.versus_base(measure, method, number)
            row += [
                change(measure, difference),
                span(measure, difference, signs=True),
                p_value(difference["p"]) if difference else None,
            ]
        rows.append(row)
    columns = [""]
    for measure in measures:
        columns += [measure.column, "95 % interval", "p"]
    notes = ["Percentages as points; revision length in steps."]
    return Section("Behaviour against the base", columns, rows, notes)


def seed_section(results: MethodRuns[Any]) -> Section:
    """Each run by itself, and what the spread between seeds alone would say."""
    measure, recovery = results.main, results.recovery
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    for method in results.methods:
        gains = []
        for one in results.of(method):
            last = one.last_round
            if not last:
                continue
            runs = {one.seed: one.rounds}
            difference = difference_of(measure, runs, last, runs, 0)
            failures = difference_of(recovery, runs, last, runs, 0)
            rows.append(
                [
                    f"{results.label(method)}, seed {one.seed}",
                    last,
                    change(measure, difference),
                    span(measure, difference, signs=True),
                    change(recovery, failures),
                    span(recovery, failures, signs=True),
                    format_duration(sum(row.wall_s for row in one.stages)),
                    count(sum(row.output_tokens for row in one.stages)),
                    one.run.id if one.run.status == "finished" else f"{one.run.id} (not through)",
                ]
            )
            gains += [difference["value"]] if difference else []
        if len(gains) > 1:
            spread = mean_interval(gains)
            of = {"value": spread.value, "low": spread.low, "high": spread.high}
            notes.append(
                f"{results.label(method)}: mean gain {change(measure, of)} by the spread of"
                f" {spread.n} seeds alone (Student) {span(measure, of, signs=True)}."
            )
    columns = ["", "round", f"{measure.column} vs base", "95 % interval"]
    columns += [f"{recovery.column} vs base", "95 % interval", "wall", "generated", "run"]
    return Section("Seed by seed", columns, rows, notes)


def training_section(results: MethodRuns[Any]) -> Section:
    """What each method's adapters were trained on."""
    rows: list[list[Cell]] = []
    for method in results.methods:
        for number in range(1, results.last_round(method) + 1):
            found = [
                row.summary
                for one in results.of(method)
                for row in one.stages
                if (row.stage, row.round) == ("train", number) and row.finished
            ]
            if not found:
                continue
            cells: list[Cell] = [f"{results.label(method)}, {round_name(number)}", len(found)]
            for key in _TRAINED:
                values = [summary.get(key) or 0 for summary in found]
                cells.append(count(round(sum(values) / len(values))))
            rows.append(cells)
    columns = [
        "",
        "runs",
        "revisions",
        "good",
        "general",
        "held out",
        "too long",
        "steps",
        "tokens",
    ]
    notes = [
        "Means a run. Revisions, good, general: examples; held out, too long: how many of them were"
        " kept for the validation loss, and how many were not trained on since they exceed"
        " train.max_length. Methods that find fewer examples take fewer steps: the budget is the"
        " same, what there is to spend it on is not."
    ]
    return Section("What was trained on", columns, rows, notes)


def cost_section(results: MethodRuns[Any]) -> Section:
    """What a run of each method costs, by stage."""
    rows: list[list[Cell]] = []
    for method in [BASE, *results.methods]:
        runs = results.of(method)
        if not runs:
            continue
        for stage in ("eval", "search", "splice", "train"):
            lines = [[r for r in one.stages if r.stage == stage and r.finished] for one in runs]
            times = sum(len(of) for of in lines)
            if not times:
                continue
            flat = [row for of in lines for row in of]
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
        "Means a run over all its rounds; times: how often the stage came. Generated, prompt,"
        " decoded: tokens. Stages that runs share, as a study's runs share the base's evaluation,"
        " were played once; each row shows what its method took, or had taken alone."
    ]
    return Section("Cost", columns, rows, notes)


def _mean(values: Sequence[int], runs: int) -> str | None:
    return count(round(sum(values) / runs)) if sum(values) else None


def _method_rounds(results: MethodRuns[Any]) -> list[tuple[str, str, int]]:
    """(label, method, round) of every row."""
    found = [(results.label(BASE), BASE, 0)] if results.seeds(BASE) else []
    return found + [
        (f"{results.label(method)}, {round_name(number)}", method, number)
        for method in results.methods
        for number in range(1, results.last_round(method) + 1)
    ]


def _size(value: Mapping[str, Any]) -> list[Cell]:
    return [len(value["seeds"]), value["n"]]


def _value(measure: Measure, value: Mapping[str, Any]) -> list[Cell]:
    return [shown(measure, value["value"]), span(measure, value)]


def _difference(measure: Measure, difference: Mapping[str, Any] | None) -> list[Cell]:
    if difference is None:
        return [None, None, None, None]
    each = [
        str(change(measure, {"value": value, "low": 0.0, "high": 0.0}))
        for value in difference["by_seed"]
    ]
    return [
        change(measure, difference),
        span(measure, difference, signs=True),
        p_value(difference["p"]),
        ", ".join(each),
    ]
