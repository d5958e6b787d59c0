"""All checks of a run: the same ones before a run begins and for its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentr_lite.console.streams import warn
from agentr_lite.core.errors import AgentrError
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.checks.checklist import Checklist, Finding
from agentr_lite.runs.checks.disk import check_database, check_disk
from agentr_lite.runs.checks.environments import TaskCounts, check_environments
from agentr_lite.runs.checks.general import check_general
from agentr_lite.runs.checks.memory import check_memory
from agentr_lite.runs.checks.model import check_adopted, check_learner, check_player

Work = Literal["loop", "imitation", "search", "eval"]


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """A recipe and what was found out about it."""

    recipe: Recipe
    """With absolute paths, and as its model can carry it out."""
    findings: Sequence[Finding]
    tasks: Mapping[str, TaskCounts]
    """By the environment's name in the recipe; without those that cannot be used."""

    @property
    def refusal(self) -> AgentrError | None:
        """What a run of the recipe ends with before any work; None: it can begin."""
        return next((finding.error for finding in self.findings if finding.error), None)

    def permitted(self) -> Recipe:
        """Warn of what the user should know.

        Returns:
            The recipe.

        Raises:
            AgentrError: the run is refused.
        """
        if self.refusal is not None:
            raise self.refusal
        for finding in self.findings:
            if finding.outcome == "warning":
                warn(finding.message, hint=finding.hint)
        return self.recipe


def check_run(
    recipe: Recipe,
    database: Path,
    *,
    work: Work = "loop",
    adapter: Path | None = None,
    runs: int = 1,
) -> CheckedRun:
    """Check all that a new run needs; nothing is written.

    Args:
        recipe: resolved.
        database: where the run is to be stored.
        work: the whole loop, or one stage.
        adapter: one that was trained elsewhere and is to be evaluated.
        runs: how many runs of about this recipe are to be stored, for the space that they take.
    """
    from agentr_lite.runs.places import absolute_places

    checks = Checklist()
    with checks.refusals("environment"):
        recipe = absolute_places(recipe)
    learns = recipe.rounds > 0 or recipe.imitates
    trains = work == "imitation" or (work == "loop" and learns)
    tasks: Mapping[str, TaskCounts] = {}
    grammars: list[str] = []
    if not checks.findings:
        tasks, grammars = check_environments(
            checks,
            recipe,
            searches=trains or work == "search",
            evaluates=work not in ("search", "imitation"),
        )
    recipe = check_player(checks, recipe, grammars)
    if adapter is not None:
        check_adopted(checks, recipe, adapter)
    if trains:
        check_learner(checks, recipe)
        if not checks.is_refused("training weights"):
            check_general(checks, recipe)
    if not checks.is_refused("model") and not checks.is_refused("training weights"):
        check_memory(checks, recipe, trains=trains, searches=work != "eval" and learns)
    check_database(checks, database)
    check_disk(checks, recipe, database, trains=trains, runs=runs)
    return CheckedRun(recipe, checks.findings, tasks)
