"""An environment's results as sections of plain tables, with what they mean in words."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.output import Styled, format_duration
from agentr_lite.report.tables import Section
from agentr_lite.report.words import (
    Cell,
    count,
    interval,
    p_value,
    percent,
    round_name,
    verdict,
)
from agentr_lite.stats import mean_interval
from agentr_lite.study.measures import (
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
from agentr_lite.study.methods import BASE
from agentr_lite.study.results import EnvResults

_VERBS = {"success": "solves", "recovery": "recovers", "reward": "earns"}
_MINUS = "−"
_TRAINED = ("revision", "good", "general", "valid_examples", "dropped", "steps", "tokens")
"""Counts of a training's summary, in the order of the table's columns."""


def shown(measure: Measure, value: float | None) -> str | None:
    """A value in the measure's unit."""
    if value is None:
        return None
    if measure.unit == "percent":
        return percent(value)
    return f"{value:.3f}" if measure.unit == "decimal" else f"{value:.2f}"


def span(measure: Measure, estimate: Mapping[str, Any] | None, *, signed: bool = False) -> Cell:
    """Its interval."""
    if estimate is None or estimate["low"] is None:
        return None
    if measure.unit == "percent":
        return interval(estimate, signed=signed)
    if measure.unit == "decimal":
        return interval(estimate, signed=signed, unit="decimal")
    ends = [estimate["low"], estimate["high"]]
    return " to ".join(_signed(f"{abs(v):.2f}", v) if signed else f"{v:.2f}" for v in ends)


def change(measure: Measure, difference: Mapping[str, Any] | None) -> Cell:
    """A signed difference, coloured by whether its interval leaves 0 out."""
    if difference is None:
        return None
    value = difference["value"]
    text = {"percent": f"{100 * abs(value):.1f}", "decimal": f"{abs(value):.3f}"}.get(
        measure.unit, f"{abs(value):.2f}"
    )
    told = _signed(text, value)
    good = "green" if measure.better == "more" else "red"
    bad = "red" if measure.better == "more" else "green"
    if difference["low"] > 0:
        return Styled(told, fg=good, bold=True)
    return Styled(told, fg=bad, bold=True) if difference["high"] < 0 else Styled(told, fg="yellow")


def _signed(text: str, value: float) -> str:
    if float(text) == 0:
        return text
    return ("+" if value > 0 else _MINUS) + text


def env_sections(results: EnvResults) -> list[Section]:
    """One environment's tables, in reading order; empty ones are left out."""
    outcomes = [REWARD, SUCCESS] if results.graded else [SUCCESS]
    outcomes += [RECOVERY, *([RECOVERY_REWARD] if results.graded else [])]
    sections = [outcome_section(results, measure) for measure in outcomes]
    sections += [between_section(results, outcomes)]
    sections += [behaviour_section(results), behaviour_change_section(results)]
    sections += [seed_section(results), training_section(results), cost_section(results)]
    return [section for section in sections if section.rows]


def main_measure(results: EnvResults) -> Measure:
    """What the environment is about: reward where it is graded, success elsewhere."""
    return REWARD if results.graded else SUCCESS


def recovery_measure(results: EnvResults) -> Measure:
    """What is told of going on from the base's failures; the counterpart of ``main_measure``."""
    return RECOVERY_REWARD if results.graded else RECOVERY


def outcome_section(results: EnvResults, measure: Measure) -> Section:
    """One measure by method and round, with its difference from the base."""
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    base = results.value(measure, BASE, 0)
    if base is not None:
        rows.append([results.labels.get(BASE, BASE), *_size(base), *_value(measure, base)])
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
                    f"{results.labels[method]}, {round_name(number)}",
                    *_size(value),
                    *_value(measure, value),
                    *_difference(measure, difference),
                ]
            )
            if number == last and difference:
                notes.append(told_difference(results.labels[method], measure, difference))
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
        f" (95 % interval {span(measure, difference, signed=True)}){noise}"
    )


def between_section(results: EnvResults, measures: Sequence[Measure]) -> Section:
    """Every two methods in the last round that both have."""
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    for one, other in itertools.combinations(results.methods, 2):
        number = results.last_round(one, other)
        row: list[Cell] = [f"{results.labels[one]} − {results.labels[other]}", number]
        for measure in measures:
            difference = results.between(measure, one, other, number)
            row += [
                change(measure, difference),
                span(measure, difference, signed=True),
                p_value(difference["p"]) if difference else None,
            ]
            if difference and measure in (main_measure(results), recovery_measure(results)):
                name, than = results.labels[one], results.labels[other]
                notes.append(told_difference(name, measure, difference, than=than))
        rows.append(row)
    columns = ["", "round"]
    for measure in measures:
        columns += [measure.column, "95 % interval", "p"]
    return Section("Between the methods", columns, rows, notes)


def behaviour_section(results: EnvResults) -> Section:
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


def behaviour_change_section(results: EnvResults) -> Section:
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
                span(measure, difference, signed=True),
                p_value(difference["p"]) if difference else None,
            ]
        rows.append(row)
    columns = [""]
    for measure in measures:
        columns += [measure.column, "95 % interval", "p"]
    notes = ["Percentages as points; revision length in steps."]
    return Section("Behaviour against the base", columns, rows, notes)


def seed_section(results: EnvResults) -> Section:
    """Each run by itself, and what the spread between seeds alone would say."""
    measure, recovery = main_measure(results), recovery_measure(results)
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    for method in results.methods:
        gains = []
        for one in results.of(method):
            last = one.last_round
            if not last:
                continue
            runs = {one.cell.seed: one.rounds}
            difference = difference_of(measure, runs, last, runs, 0)
            failures = difference_of(recovery, runs, last, runs, 0)
            rows.append(
                [
                    f"{results.labels[method]}, seed {one.cell.seed}",
                    last,
                    change(measure, difference),
                    span(measure, difference, signed=True),
                    change(recovery, failures),
                    span(recovery, failures, signed=True),
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
                f"{results.labels[method]}: mean gain {change(measure, of)} by the spread of"
                f" {spread.n} seeds alone (Student) {span(measure, of, signed=True)}."
            )
    columns = ["", "round", f"{measure.column} vs base", "95 % interval"]
    columns += [f"{recovery.column} vs base", "95 % interval", "wall", "generated", "run"]
    return Section("Seed by seed", columns, rows, notes)


def training_section(results: EnvResults) -> Section:
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
            cells: list[Cell] = [f"{results.labels[method]}, {round_name(number)}", len(found)]
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


def cost_section(results: EnvResults) -> Section:
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
                    f"{results.labels[method]}, {stage}",
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
        " decoded: tokens. The base's evaluation and, of one seed, the first round's search were"
        " played once and are shared; each row shows what its method took, or had taken alone."
    ]
    return Section("Cost", columns, rows, notes)


def _mean(values: Sequence[int], runs: int) -> str | None:
    return count(round(sum(values) / runs)) if sum(values) else None


def _method_rounds(results: EnvResults) -> list[tuple[str, str, int]]:
    """(label, method, round) of every row."""
    found = [(results.labels.get(BASE, BASE), BASE, 0)] if results.seeds(BASE) else []
    return found + [
        (f"{results.labels[method]}, {round_name(number)}", method, number)
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
        span(measure, difference, signed=True),
        p_value(difference["p"]),
        ", ".join(each),
    ]
