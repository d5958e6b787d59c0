"""One run's figures as tables."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.console.text import Styled, format_duration
from agentr_lite.core.rounds import START, round_name
from agentr_lite.core.verdicts import VERDICTS
from agentr_lite.metrics.evaluation import EvalFigures
from agentr_lite.report.model.run import EvalLine, RunReport, SpliceLine, StageLine
from agentr_lite.report.tables.preferences import preference_section
from agentr_lite.report.tables.section import Section
from agentr_lite.report.words import (
    Cell,
    comparison_sentence,
    count,
    decimal,
    decimal_of,
    interval,
    p_value,
    percent,
    percent_of,
    points_of,
)


def run_sections(report: RunReport) -> list[Section]:
    """A run's tables, in reading order; those without rows are left out."""
    sections: list[Section] = []
    splits = dict.fromkeys(line.split for line in report.evals)
    for split in splits:
        for mode in ("greedy", "sampled"):
            lines = with_envs(report.evals_of(mode, split))
            if lines:
                sections.append(outcome_section(lines, mode=mode, split=split))
                sections.append(behaviour_section(lines, mode=mode, split=split))
                for env in dict.fromkeys(line.env for line in lines):
                    mine = [line for line in lines if line.env == env]
                    sections.append(level_section(mine, mode=mode, split=split))
        lines = with_envs(report.evals_of("recovery", split))
        if lines:
            sections.append(recovery_section(lines, split=split))
    sections += [splice_section(report), preference_section(report.preferences)]
    sections += [dead_end_section(report), training_section(report)]
    sections.append(cost_section(report))
    return [section for section in sections if section.rows]


def with_envs(lines: Sequence[EvalLine]) -> list[EvalLine]:
    """Lines by environment, then the means over them; of one environment, as they are."""
    parts = [part for line in lines for part in line.by_env()]
    return [*sorted(parts, key=lambda line: line.env), *lines]


def line_name(line: EvalLine | SpliceLine) -> str:
    """``round 2``; ``webshop, round 2`` or ``mean, round 2`` where there are several."""
    name = line.name if isinstance(line, EvalLine) else round_name(line.round)
    if line.env:
        return f"{line.env}, {name}"
    if isinstance(line, EvalLine) and line.figures.by_env is not None:
        return f"mean, {name}"
    return name


def _splice_name(line: SpliceLine, *, several: bool) -> str:
    return f"all, {round_name(line.round)}" if several and not line.env else line_name(line)


def outcome_section(lines: Sequence[EvalLine], *, mode: str, split: str) -> Section:
    """Success and reward by round, each with its difference from the base."""
    dense = any(line.graded for line in lines)
    columns = ["", "success", "95 % interval", _versus(lines), "95 % interval", "p"]
    columns += _reward_columns(lines) if dense else []
    rows = []
    for line in lines:
        figures, versus = line.figures, line.figures.versus_base
        difference = versus.success if versus else None
        row: list[Cell] = [
            line_name(line),
            percent_of(figures.success),
            interval(figures.success),
            points_of(difference),
            interval(difference, signs=True),
            p_value(versus.mcnemar_p if versus else None),
        ]
        rows.append([*row, *(_reward_cells(line) if dense else [])])
    whole = [line for line in lines if not line.env]
    success = whole[0].figures.success
    kind = "Training" if split == "train" else f"Held-out {split}"
    title = f"{kind} tasks ({success.n if success else 0}), {mode}"
    return Section(title, columns, rows, outcome_notes(lines, dense=dense))


def outcome_notes(lines: Sequence[EvalLine], *, dense: bool) -> list[str | Styled]:
    """Whether differences are more than noise, and what was left out of the figures."""
    notes: list[str | Styled] = []
    for line in lines:
        versus = line.figures.versus_base
        if versus:
            name, than = line_name(line), line.reference
            notes.append(comparison_sentence(name, "solves", versus.success, than=than))
            if dense:
                notes.append(
                    comparison_sentence(name, "earns", versus.reward, unit="decimal", than=than)
                )
    for line in lines:
        name, figures = line_name(line), line.figures
        if line.partial:
            notes.append(f"{name}: unfinished, {figures.episodes} episodes so far.")
        if figures.faulty:
            notes.append(
                f"{name}: the environment broke in {figures.faulty} episodes; they are left out."
            )
        if figures.overflowed:
            notes.append(f"{name}: {figures.overflowed} episodes outgrew the model's context.")
    if any(line.env for line in lines):
        notes.append("Mean: over the environments; each counts alike, however many tasks it has.")
    if len({line.round for line in lines}) > 1:
        notes.append(
            "Differences are paired by task (bootstrap). p is from McNemar's exact test; it is"
            " not adjusted for several rounds."
        )
    if any(line.imitates for line in lines):
        notes.append("Start: imitation is compared with the base, rounds with imitation.")
    return notes


def _versus(lines: Sequence[EvalLine]) -> str:
    """The heading of the differences."""
    return "vs start" if any(line.imitates for line in lines) else "vs base"


def _reward_columns(lines: Sequence[EvalLine]) -> list[str]:
    return ["reward", "95 % interval", _versus(lines), "95 % interval"]


def behaviour_section(lines: Sequence[EvalLine], *, mode: str, split: str) -> Section:
    """How the agent acted: validity, loops, reflections."""
    lengths = sorted({n for line in lines for n in line.figures.repeated_runs})
    columns = ["", "valid", "steps", "repeated", f"loops {'/'.join(map(str, lengths))}"]
    columns += ["reflections", "revision length"]
    rows = [
        [
            line_name(line),
            percent(line.figures.valid_actions),
            decimal(line.figures.steps, 1),
            percent(line.figures.repeated_share),
            "/".join(str(line.figures.repeated_runs.get(n, 0)) for n in lengths),
            decimal(line.figures.reflections, 2),
            decimal(line.figures.revision_length, 1),
        ]
        for line in lines
    ]
    notes = [
        "Valid: share of all actions. Steps and reflections: means per episode. Repeated: share of"
        " all steps that repeat the run of steps directly before them and get the same"
        " observations. Loops: how often that happened, by the length of the run. Some repetition"
        " is right, such as fetching two of a thing one by one."
    ]
    if any(line.figures.revision_lengths for line in lines):
        notes.append(
            "Revision length: mean number of invalid or repeated steps directly before a"
            " reflection, where there are any."
        )
    notes += ending_notes(lines)
    return Section(f"Behaviour on {split}, {mode}", columns, rows, notes)


def level_section(lines: Sequence[EvalLine], *, mode: str, split: str) -> Section:
    """Success, or reward where it is graded, by difficulty; no rows where there is one level."""
    levels = sorted({n for line in lines for n in line.figures.by_level})
    if len(levels) < 2:
        return Section("", [], [])
    sizes = {n: _size(lines, n) for n in levels}
    dense = any(line.graded for line in lines)
    return Section(
        f"{'Mean reward' if dense else 'Success'} on {split} by level, {mode}"
        + (f", {lines[0].env}" if lines[0].env else ""),
        ["", *(f"level {n} ({sizes[n]})" for n in levels)],
        [
            [line_name(line), *(_level_cell(line.figures, n, dense=dense) for n in levels)]
            for line in lines
        ],
    )


def _level_cell(figures: EvalFigures, level: int, *, dense: bool) -> str | None:
    outcome = figures.by_level.get(level)
    if outcome is None:
        return None
    return decimal_of(outcome.reward) if dense else percent_of(outcome.success)


def recovery_section(lines: Sequence[EvalLine], *, split: str) -> Section:
    """Success, and reward where it is graded, from the base model's failed prefixes."""
    dense = any(line.graded for line in lines)
    rows = []
    for line in lines:
        figures, versus = line.figures, line.figures.versus_base
        difference = versus.success if versus else None
        row: list[Cell] = [
            line_name(line),
            percent_of(figures.success),
            interval(figures.success),
            points_of(difference),
            interval(difference, signs=True),
        ]
        row += _reward_cells(line) if dense else []
        rows.append([*row, decimal(figures.reflections, 2)])
    prefixes = max(line.figures.episodes for line in lines if not line.env)
    columns = ["", "recovered", "95 % interval", _versus(lines), "95 % interval"]
    start = round_name(START, imitates=any(line.imitates for line in lines))
    whose, who = (
        (f"the {start}'s", f"The {start}") if start == "base" else (f"{start}'s", "Round 0")
    )
    return Section(
        f"Recovery on {split}: from the beginnings of {whose} {prefixes} failures, greedy",
        [*columns, *(_reward_columns(lines) if dense else []), "reflections"],
        rows,
        [
            f"{who} failed after every one of these beginnings; its own row is a second try from"
            " there with more steps.",
            *ending_notes(lines),
        ],
    )


def ending_notes(lines: Sequence[EvalLine]) -> list[str]:
    """How many episodes were cut and how many ended in a disaster, by round.

    Each comes only where there are any: databases of earlier versions do not mark such episodes.
    """
    # Counts have no mean over environments.
    lines = [line for line in lines if line.env] or lines
    cut = [(line_name(line), line.endings.cut) for line in lines]
    disasters = [(line_name(line), line.endings.disasters) for line in lines]
    notes = []
    for what, counts in (("were cut at a step limit", cut), ("ended in a disaster", disasters)):
        if any(count for _, count in counts):
            by_round = ", ".join(f"{count} ({name})" for name, count in counts)
            notes.append(f"Episodes that {what}: {by_round}.")
    return notes


def _reward_cells(line: EvalLine) -> list[Cell]:
    reward, versus = line.figures.reward, line.figures.versus_base
    difference = versus.reward if versus else None
    return [
        decimal_of(reward),
        interval(reward, unit="decimal"),
        points_of(difference, unit="decimal"),
        interval(difference, signs=True, unit="decimal"),
    ]


def splice_section(report: RunReport) -> Section:
    """Pairs of trajectories, what became of their splices, and what the critic judged."""
    rows: list[list[Cell]] = []
    notes: list[str | Styled] = []
    lines = [*report.splices_by_env, *report.splices]
    for line in lines:
        name = _splice_name(line, several=bool(report.splices_by_env))
        rows.append(
            [
                name,
                line.good,
                line.bad,
                line.pairs,
                percent_of(line.naive_failure_share),
                line.replayed + line.naive,
                line.recovered,
                line.rejected,
                decimal(line.revision_length, 1),
            ]
        )
        if line.naive_failure_share:
            notes.append(
                f"{name}: {line.naive_failures} of {line.checked} naive splices"
                f" ({interval(line.naive_failure_share)}) failed when they were replayed."
            )
        if line.verdicts:
            said = ", ".join(f"{line.verdicts.get(v, 0)} {v}" for v in VERDICTS)
            notes.append(f"{name}: the critic judged steps: {said}.")
        if line.late:
            kept = line.replayed + line.naive + line.recovered
            notes.append(f"{name}: {line.late} of {kept} revisions come after the first error.")
        if line.naive:
            notes.append(f"{name}: {line.naive} splices were accepted unverified.")
        if line.reasons:
            reasons = ", ".join(f"{reason} {count}" for reason, count in line.reasons.items())
            notes.append(f"{name}: rejected: {reasons}.")
    columns = ["", "good", "bad", "pairs", "naive failed", "kept", "recovered", "rejected"]
    columns += ["length"]
    for learnt in report.learning if rows else ():
        notes += [f"{round_name(learnt.round)}: {note}." for note in learnt.notes]
    if rows:
        notes.append(
            "Good and bad: numbers of trajectories. Kept: splices whose replay earns the reward."
            " Recovered: splices that failed their replay and got another ending by search."
            " Length: mean number of bad steps before the reflection."
        )
    return Section("Revision data", columns, rows, notes)


def dead_end_section(report: RunReport) -> Section:
    """Rounds that gave nothing to train on: why, and what to try."""
    dead_ends = [(line.round, line.diagnosis) for line in report.learning if line.diagnosis]
    rows: list[list[Cell]] = [[round_name(number), each.cause] for number, each in dead_ends]
    notes = []
    for number, each in dead_ends:
        notes.append(f"{round_name(number).capitalize()}: {each.finding}.")
        notes += [advice for advice in each.advice if advice not in notes]
    return Section("Nothing to learn from", ["", "cause"], rows, notes)


def training_section(report: RunReport) -> Section:
    """What each round trained on."""
    kinds = ["revision", "good", "general"]
    if any(line.examples.get("demonstration") for line in report.training):
        kinds.insert(0, "demonstration")
    if any(line.examples.get("preference") for line in report.training):
        kinds.insert(-1, "preference")
    has_refused = any("refused" in line.examples for line in report.training)
    kinds += ["refused"] if has_refused else []
    rows: list[list[Cell]] = []
    for line in report.training:
        adapter = line.adapter or {}
        first, best = adapter.get("valid_loss_first"), adapter.get("valid_loss")
        rows.append(
            [
                # The base is never trained.
                round_name(line.round, imitates=True),
                *(line.examples.get(kind, 0) for kind in kinds),
                line.validation,
                count(adapter.get("steps")),
                count(adapter.get("tokens")),
                None if first is None or best is None else f"{first:.3f} to {best:.3f}",
            ]
        )
    columns = ["", *kinds, "held out", "steps", "tokens", "validation loss"]
    notes = [
        "Examples by kind. Held out: how many of them are kept for the validation loss, which is"
        " shown before the training and of the adapter that was kept."
    ]
    if "preference" in kinds:
        notes.append("Preference: pairs of a better and a worse continuation.")
    if has_refused:
        notes.append(
            "Refused: chats of the general data that were left out because the model's chat"
            " template refuses them."
        )
    return Section("Training", columns, rows, notes)


def stage_name(line: StageLine, *, imitates: bool) -> str:
    """``round 2 search``; ``imitation`` for the stage of this name."""
    if line.stage == "imitate":
        return "imitation"
    return f"{round_name(line.round, imitates=imitates)} {line.stage}"


def cost_section(report: RunReport) -> Section:
    """Wall time, tokens and nodes by stage."""
    rows: list[list[Cell]] = [
        [
            stage_name(line, imitates=report.run.imitates) + ("" if line.finished else " (open)"),
            format_duration(line.wall_s),
            percent(line.model_share),
            count(line.output_tokens),
            count(line.prompt_tokens),
            count(line.decoded_prompt_tokens),
            count(line.trees),
            count(line.nodes),
        ]
        for line in report.stages
    ]
    if len(rows) > 1:
        lines = report.stages
        wall, model = sum(x.wall_s for x in lines), sum(x.model_s for x in lines)
        rows.append(
            [
                "total",
                format_duration(wall),
                percent(model / wall if wall and model else None),
                count(sum(x.output_tokens for x in lines)),
                count(sum(x.prompt_tokens for x in lines)),
                count(sum(x.decoded_prompt_tokens for x in lines)),
                count(sum(x.trees or 0 for x in lines)),
                count(sum(x.nodes or 0 for x in lines)),
            ]
        )
    columns = ["", "wall", "model", "generated", "prompt", "decoded", "trees", "nodes"]
    notes = [
        "Model: its share of the wall time. Generated, prompt and decoded: tokens. Decoded: prompt"
        " tokens that prefix reuse did not spare."
    ]
    return Section("Cost by stage", columns, rows, notes)


def _size(lines: Sequence[EvalLine], level: int) -> int:
    """How many tasks of a level were evaluated."""
    outcomes = [line.figures.by_level.get(level) for line in lines]
    return max((of.success.n for of in outcomes if of and of.success), default=0)
