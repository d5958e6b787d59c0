"""A run's figures as sections of plain tables; terminal and Markdown draw the same sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agentr_lite.console.outcomes import round_name
from agentr_lite.console.tables import Align
from agentr_lite.console.text import Styled, format_duration
from agentr_lite.core.verdicts import VERDICTS
from agentr_lite.report.model.run import EvalLine, RunReport, SpliceLine
from agentr_lite.report.words import (
    Cell,
    count,
    decimal,
    decimal_of,
    interval,
    p_value,
    percent,
    percent_of,
    points_of,
    verdict,
)

_REWARD_COLUMNS = ("reward", "95 % interval", "vs base", "95 % interval")


@dataclass(frozen=True, slots=True)
class Section:
    """One table with a title and, below it, what it means in words."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str | Styled] = field(default_factory=tuple)

    @property
    def align(self) -> list[Align]:
        """First column left, figures right."""
        return ["left", *(["right"] * (len(self.columns) - 1))]  # type: ignore[list-item]


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
    sections += [splice_section(report), training_section(report), cost_section(report)]
    return [section for section in sections if section.rows]


def with_envs(lines: Sequence[EvalLine]) -> list[EvalLine]:
    """Lines by environment, then the means over them; of one environment, as they are."""
    parts = [part for line in lines for part in line.by_env()]
    return [*sorted(parts, key=lambda line: line.env), *lines]


def line_name(line: EvalLine | SpliceLine) -> str:
    """``round 2``; ``webshop, round 2`` or ``mean, round 2`` where there are several."""
    name = round_name(line.round)
    if line.env:
        return f"{line.env}, {name}"
    if isinstance(line, EvalLine) and "by_env" in line.figures:
        return f"mean, {name}"
    return name


def _splice_name(line: SpliceLine, *, several: bool) -> str:
    return f"all, {round_name(line.round)}" if several and not line.env else line_name(line)


def outcome_section(lines: Sequence[EvalLine], *, mode: str, split: str) -> Section:
    """Success and reward by round, each with its difference from the base."""
    dense = any(line.graded for line in lines)
    columns = ["", "success", "95 % interval", "vs base", "95 % interval", "p"]
    columns += _REWARD_COLUMNS if dense else ()
    rows = []
    for line in lines:
        figures, versus = line.figures, line.figures.get("versus_base") or {}
        success = versus.get("success")
        row: list[Cell] = [
            line_name(line),
            percent_of(figures["success"]),
            interval(figures["success"]),
            points_of(success),
            interval(success, signs=True),
            p_value(versus.get("mcnemar_p")),
        ]
        rows.append([*row, *(_reward_cells(line) if dense else [])])
    whole = [line for line in lines if not line.env]
    tasks = (whole[0].figures["success"] or {}).get("n", 0)
    kind = "Training" if split == "train" else f"Held-out {split}"
    title = f"{kind} tasks ({tasks}), {mode}"
    return Section(title, columns, rows, outcome_notes(lines, dense=dense))


def outcome_notes(lines: Sequence[EvalLine], *, dense: bool) -> list[str | Styled]:
    """What the differences amount to, and what was left out of the figures."""
    notes: list[str | Styled] = []
    for line in lines:
        versus = line.figures.get("versus_base")
        if versus:
            notes.append(verdict(line_name(line), "solves", versus["success"]))
            if dense:
                notes.append(verdict(line_name(line), "earns", versus["reward"], unit="decimal"))
    for line in lines:
        name, figures = line_name(line), line.figures
        if line.partial:
            notes.append(f"{name}: unfinished, {figures['episodes']} episodes so far.")
        if figures["faulty"]:
            notes.append(
                f"{name}: the environment broke in {figures['faulty']} episodes; they are left out."
            )
        if figures["overflowed"]:
            notes.append(f"{name}: {figures['overflowed']} episodes outgrew the model's context.")
    if any(line.env for line in lines):
        notes.append("Mean: over the environments, each counting alike, however many its tasks.")
    if len({line.round for line in lines}) > 1:
        notes.append(
            "Differences are paired by task (bootstrap); p is McNemar's exact test,"
            " not adjusted for several rounds."
        )
    return notes


def behaviour_section(lines: Sequence[EvalLine], *, mode: str, split: str) -> Section:
    """How the agent acted: validity, loops, reflections."""
    lengths = sorted({n for line in lines for n in line.figures["repeated_runs"]}, key=int)
    columns = ["", "valid", "steps", "repeated", f"loops {'/'.join(lengths)}"]
    columns += ["reflections", "revision length"]
    rows = [
        [
            line_name(line),
            percent(line.figures["valid_actions"]),
            decimal(line.figures["steps"], 1),
            percent(line.figures["repeated_share"]),
            "/".join(str(line.figures["repeated_runs"].get(n, 0)) for n in lengths),
            decimal(line.figures["reflections"], 2),
            decimal(line.figures["revision_length"], 1),
        ]
        for line in lines
    ]
    notes = [
        "Valid: share of actions; steps and reflections: means an episode; repeated: share of"
        " steps that repeat the run of steps just before with the same observations; loops: how"
        " often, by the run's length. Some repetition is right: fetching two of a thing one by one."
    ]
    if any(line.figures["revision_lengths"] for line in lines):
        notes.append(
            "Revision length: invalid or repeated steps directly before a reflection, where any."
        )
    return Section(f"Behaviour on {split}, {mode}", columns, rows, notes)


def level_section(lines: Sequence[EvalLine], *, mode: str, split: str) -> Section:
    """Success, or reward where it is graded, by difficulty; no rows where there is one level."""
    levels = sorted({n for line in lines for n in line.figures["by_level"]}, key=int)
    if len(levels) < 2:
        return Section("", [], [])
    sizes = {n: _size(lines, n) for n in levels}
    dense = any(line.graded for line in lines)
    name, key, told = (
        ("Mean reward", "reward", decimal_of) if dense else ("Success", "success", percent_of)
    )
    return Section(
        f"{name} on {split} by level, {mode}" + (f", {lines[0].env}" if lines[0].env else ""),
        ["", *(f"level {n} ({sizes[n]})" for n in levels)],
        [
            [
                line_name(line),
                *(told((line.figures["by_level"].get(n) or {}).get(key)) for n in levels),
            ]
            for line in lines
        ],
    )


def recovery_section(lines: Sequence[EvalLine], *, split: str) -> Section:
    """Success, and reward where it is graded, from the base model's failed prefixes."""
    dense = any(line.graded for line in lines)
    rows = []
    for line in lines:
        figures, versus = line.figures, line.figures.get("versus_base") or {}
        row: list[Cell] = [
            line_name(line),
            percent_of(figures["success"]),
            interval(figures["success"]),
            points_of(versus.get("success")),
            interval(versus.get("success"), signs=True),
        ]
        rows.append(
            [*row, *(_reward_cells(line) if dense else []), decimal(figures["reflections"], 2)]
        )
    prefixes = max(line.figures["episodes"] for line in lines if not line.env)
    columns = ["", "recovered", "95 % interval", "vs base", "95 % interval"]
    return Section(
        f"Recovery on {split}: from the beginnings of the base's {prefixes} failures, greedy",
        [*columns, *(_REWARD_COLUMNS if dense else []), "reflections"],
        rows,
        [
            "The base failed from every one of these beginnings; its own row is a second try from"
            " there with more steps."
        ],
    )


def _reward_cells(line: EvalLine) -> list[Cell]:
    reward = (line.figures.get("versus_base") or {}).get("reward")
    return [
        decimal_of(line.figures["reward"]),
        interval(line.figures["reward"], unit="decimal"),
        points_of(reward, unit="decimal"),
        interval(reward, signs=True, unit="decimal"),
    ]


def splice_section(report: RunReport) -> Section:
    """Pairs, the naive splices that fail, what was recovered, what the critic said."""
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
        if line.naive:
            notes.append(f"{name}: {line.naive} splices were accepted unverified.")
        if line.reasons:
            reasons = ", ".join(f"{reason} {count}" for reason, count in line.reasons.items())
            notes.append(f"{name}: rejected: {reasons}.")
    columns = ["", "good", "bad", "pairs", "naive failed", "kept", "recovered", "rejected"]
    columns += ["length"]
    if rows:
        notes.append(
            "Good and bad: trajectories. Kept: splices whose replay earns the reward; recovered:"
            " those whose end had to be searched anew. Length: mean bad steps before the"
            " reflection."
        )
    return Section("Revision data", columns, rows, notes)


def training_section(report: RunReport) -> Section:
    """What each round trained on."""
    kinds = ("revision", "good", "general")
    rows: list[list[Cell]] = []
    for line in report.training:
        adapter = line.adapter or {}
        first, best = adapter.get("valid_loss_first"), adapter.get("valid_loss")
        rows.append(
            [
                round_name(line.round),
                *(line.examples.get(kind, 0) for kind in kinds),
                line.validation,
                count(adapter.get("steps")),
                count(adapter.get("tokens")),
                None if first is None or best is None else f"{first:.3f} to {best:.3f}",
            ]
        )
    columns = ["", *kinds, "held out", "steps", "tokens", "validation loss"]
    notes = ["Examples by kind; held out: of these, for the validation loss (first to best)."]
    return Section("Training", columns, rows, notes)


def cost_section(report: RunReport) -> Section:
    """Wall time, tokens and nodes by stage."""
    rows: list[list[Cell]] = [
        [
            f"{round_name(line.round)} {line.stage}" + ("" if line.finished else " (open)"),
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
        "Model: share of the wall time. Generated, prompt and decoded: tokens; decoded: what is"
        " left of the prompts after prefix reuse."
    ]
    return Section("Cost by stage", columns, rows, notes)


def _size(lines: Sequence[EvalLine], level: str) -> int:
    return max(
        ((line.figures["by_level"].get(level) or {}).get("success") or {"n": 0})["n"]
        for line in lines
    )
