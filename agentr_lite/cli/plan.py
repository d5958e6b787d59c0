"""What a run would do, and whether it could: ``run --plan`` and the first lines of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agentr_lite.console.streams import emit, emit_json
from agentr_lite.console.text import clean

if TYPE_CHECKING:
    from agentr_lite.core.errors import AgentrError
    from agentr_lite.recipe.settings import Recipe
    from agentr_lite.runs.checks.checklist import Finding
    from agentr_lite.runs.checks.environments import TaskCounts
    from agentr_lite.runs.checks.run import CheckedRun


def show_plan(checked: CheckedRun, as_json: bool) -> None:
    """Print the plan, what was checked for it, and the verdict."""
    if as_json:
        emit_json(
            {
                "plan": checked.recipe.to_dict(),
                "tasks": {name: asdict(counts) for name, counts in checked.tasks.items()},
                **verdict_json(checked.findings, checked.refusal),
            }
        )
        return
    lines = [*plan_lines(checked), "checked:", *finding_lines(checked.findings)]
    lines.append(verdict_line(checked.refusal, "run"))
    for line in lines:
        emit(clean(line, keep=""))


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
