"""What a run would do, and whether it could: ``run --plan`` and the first lines of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agentr_lite.console.streams import emit_json, emit_lines
from agentr_lite.core.rounds import BEFORE_IMITATION, START

if TYPE_CHECKING:
    from agentr_lite.core.errors import AgentrError
    from agentr_lite.recipe.settings import Recipe
    from agentr_lite.runs.checks.checklist import Finding
    from agentr_lite.runs.checks.environments import TaskCounts
    from agentr_lite.runs.checks.run import CheckedRun
    from agentr_lite.runs.estimate.stages import Estimate, Seconds
    from agentr_lite.study.jobs.estimate import StudyEstimate


def show_plan(checked: CheckedRun, as_json: bool, estimate: Estimate | None = None) -> None:
    """Print the plan, what was checked for it, how long it would take, and the verdict.

    Args:
        checked: the recipe and what was found.
        as_json: print JSON; ``estimate`` in it is null where there is none.
        estimate: None: nothing was measured.
    """
    if as_json:
        emit_json(
            {
                "plan": checked.recipe.to_dict(),
                "tasks": {name: asdict(counts) for name, counts in checked.tasks.items()},
                "estimate": None if estimate is None else estimate.to_json(),
                **verdict_json(checked.findings, checked.refusal),
            }
        )
        return
    lines = [*plan_lines(checked), "checked:", *finding_lines(checked.findings)]
    lines += estimate_lines(estimate) if estimate is not None else []
    lines.append(verdict_line(checked.refusal, "run"))
    emit_lines(lines)


def verdict_line(refusal: AgentrError | None, work: str) -> str:
    """Whether the work would begin.

    Args:
        refusal: what the work would end with.
        work: ``run`` or ``study``.
    """
    if refusal is None:
        return f"the {work} can begin"
    return f"the {work} would be refused, with exit code {refusal.exit_code}"


def verdict_json(findings: Iterable[Finding], refusal: AgentrError | None) -> dict[str, Any]:
    """``checks``, the ``exit_code`` that the work would end with before it begins, and ``error``.

    Args:
        findings: of the checks.
        refusal: what the work would end with; None: it would begin, and the code is 0.
    """
    verdict: dict[str, Any] = {
        "checks": [finding.to_json() for finding in findings],
        "exit_code": 0 if refusal is None else refusal.exit_code,
    }
    if refusal is not None:
        verdict["error"] = {
            "kind": refusal.kind,
            "message": refusal.message,
            "hint": refusal.hint,
        }
    return verdict


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Findings as text; a hint has its own line."""
    lines = []
    for finding in findings:
        lines.append(f"  {finding.outcome:<8} {finding.subject}: {finding.message}")
        lines += [f"{'':11}{finding.hint}"] if finding.hint else []
    return lines


def estimate_lines(estimate: Estimate) -> list[str]:
    """A line for each stage, one for all of them, and what was measured."""
    several = len(estimate.speeds.games) > 1
    imitates = any(stage.round == BEFORE_IMITATION for stage in estimate.stages)
    lines = ["time on this machine, as busy as it is now:"]
    for stage in estimate.stages:
        where = _ROUNDS.get(stage.round, f"round {stage.round}")
        if stage.round == START and not imitates:
            where = "base"
        of_env = f" of {stage.env}" if several and stage.env else ""
        lines.append(f"  {where:<8} {stage.stage}{of_env}: {range_words(stage.seconds)}")
    lines.append(f"  in all   {range_words(estimate.total)}")
    speeds = estimate.speeds
    lines.append(
        f"measured: the model was loaded in {_duration(speeds.load_s)} and played for"
        f" {_duration(speeds.play_s)}; upper ends are for episodes of full length"
    )
    for name, game in speeds.games.items():
        for kind, speed in (("evaluation", game.eval), ("search", game.search)):
            lines.append(
                f"  {name}, {kind}: {speed.prompt_tokens_s:,.0f} prompt tokens/s and"
                f" {speed.answer_tokens_s:,.0f} answer tokens/s, {speed.width} answers at a time,"
                f" {speed.answer_tokens:.0f} tokens each"
            )
    if speeds.training is not None:
        lines.append(
            f"  training: {speeds.training.tokens_s:,.0f} tokens/s, by {speeds.training.source}"
        )
    if estimate.lacks_training:
        lines.append("  training: not measured, and not in the sum")
    return lines


def study_estimate_lines(estimate: StudyEstimate) -> list[str]:
    """A line for each environment and method, and one for all cells."""
    lines = ["time on this machine, as busy as it is now:"]
    for name, cells, seconds in estimate.by_method():
        words = f"{cells} cell{'' if cells == 1 else 's'}"
        lines.append(f"  {name}, {words}: {range_words(seconds)}")
    jobs = f" with {estimate.jobs} processes" if estimate.jobs > 1 else ""
    lines.append(f"  in all: {range_words(estimate.total)}{jobs}")
    lines.append("  a stage that cells share counts in the first of them")
    if estimate.lacks_training:
        lines.append("  training: not measured, and not in the sum")
    return lines


_ROUNDS = {BEFORE_IMITATION: "base", START: "imitated"}


def range_words(seconds: Seconds) -> str:
    """``about 12 to 30 minutes``; ``up to 20 s`` where it may be nothing."""
    size, unit = next(
        ((size, unit) for size, unit in _UNITS if seconds.high >= 2 * size), _UNITS[-1]
    )
    # Towards the outside, so that the range still holds what it held.
    low, high = math.floor(seconds.low / size), math.ceil(seconds.high / size)
    if high == 0:
        return "no time"
    if low == 0:
        small = "" if seconds.low == 0 else f"{_duration(seconds.low)} to "
        return f"about {small}{high} {unit}" if small else f"up to {high} {unit}"
    return f"about {low} {unit}" if low == high else f"about {low} to {high} {unit}"


_UNITS = ((86_400, "days"), (3600, "hours"), (60, "minutes"), (1, "s"))


def _duration(seconds: float) -> str:
    if seconds >= 120:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def plan_lines(checked: CheckedRun) -> list[str]:
    """The stages of a run, with the numbers of tasks that the environments have."""
    recipe = checked.recipe
    by_environment = recipe.by_environment()
    several = len(by_environment) > 1
    lines = [
        f"plan: {recipe.name} · {recipe.env_label} · model {recipe.model} · seed {recipe.seed}"
    ]
    for each in by_environment:
        counts = checked.tasks.get(each.environment.name)
        tasks = _tasks(each.eval.tasks, None if counts is None else counts.eval, each.eval.split)
        where = f" of {each.env_label}" if several else ""
        lines.append(f"  base     evaluate on {tasks}{where}")
    for each in by_environment if recipe.imitates else ():
        where = f"{each.env_label}: " if several else ""
        lines.append(f"  imitate  {where}{_imitation(each, checked)}")
    for number in range(1, recipe.rounds + 1):
        for each in by_environment:
            where = f"{each.env_label}: " if several else ""
            counts = checked.tasks.get(each.environment.name)
            lines.append(f"  round {number}  {where}{_round(each, counts, number)}")
    return lines


def _imitation(recipe: Recipe, checked: CheckedRun) -> str:
    counts = checked.tasks.get(recipe.environment.name)
    imitation = recipe.imitation
    available = None if counts is None else counts.available
    played = None if available is None else min(imitation.tasks, available)
    source = "" if imitation.source == "any" else f" of the source {imitation.source}"
    return (
        f"demonstrations of {_tasks(imitation.tasks, played, '')}{source}"
        f" → train LoRA r={recipe.train.rank} → evaluate"
    )


def _round(recipe: Recipe, counts: TaskCounts | None, number: int) -> str:
    if not recipe.searches:
        examples = recipe.imitation.further[number - 1]
        return f"{examples} further demonstrations → train LoRA r={recipe.train.rank} → evaluate"
    search = recipe.search
    tasks = _tasks(search.tasks, None if counts is None else counts.search, "")
    return (
        f"search {tasks} (k={search.simulations}, width {search.width}, depth {search.depth})"
        f" → splice (alpha {recipe.alpha(number):g}, critic {recipe.splice.critic},"
        f" verify {recipe.splice.verify}) → train LoRA r={recipe.train.rank} → evaluate"
    )


def _tasks(asked: int, played: int | None, kind: str) -> str:
    """``60 test tasks``, ``all 172 test tasks``, ``all 6 tasks (100 asked for)``.

    Args:
        asked: as the recipe has it; 0 = all.
        played: how many the environment has of these; None: it cannot be used.
        kind: what tasks they are.
    """
    tasks = f"{kind} tasks".strip()
    if played is None:
        return f"{asked} {tasks}" if asked else f"all {tasks}"
    if asked > played:
        return f"all {played} {tasks} ({asked} asked for)"
    return f"{asked} {tasks}" if asked else f"all {played} {tasks}"
