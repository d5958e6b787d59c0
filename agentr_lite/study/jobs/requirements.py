"""Checks of all that a study's cells need, before hours are spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentr_lite.console.streams import warn
from agentr_lite.core.errors import AgentrError
from agentr_lite.runs.checks.checklist import Finding
from agentr_lite.runs.checks.run import CheckedRun, check_run
from agentr_lite.study.jobs.cells import Cell


@dataclass(frozen=True, slots=True)
class CheckedStudy:
    """What was found out about a study's cells."""

    findings: Sequence[Finding]
    """Each names its environment."""
    runs: Mapping[str, CheckedRun] = field(default_factory=dict)
    """By environment, the check of the cell that needs the most."""
    without: Mapping[str, str] = field(default_factory=dict)
    """By environment, how to leave it out."""

    def with_run(self, env: str, run: CheckedRun) -> CheckedStudy:
        """The same after a further look at one environment, with what that has found besides."""
        known = len(self.runs[env].findings)
        more = [_of(env, finding, self.without[env]) for finding in run.findings[known:]]
        return replace(self, findings=[*self.findings, *more], runs={**self.runs, env: run})

    @property
    def refusal(self) -> AgentrError | None:
        """What the study ends with before any work; None: it can begin."""
        return next((finding.error for finding in self.findings if finding.error), None)

    def permit(self) -> None:
        """Warn of what the user should know.

        Raises:
            AgentrError: the study is refused.
        """
        if self.refusal is not None:
            raise self.refusal
        for finding in self.findings:
            if finding.outcome == "warning":
                warn(f"{finding.subject}: {finding.message}", hint=finding.hint)


def check_study(cells: Sequence[Cell], database: Path) -> CheckedStudy:
    """Check each environment's cells, by the one that needs the most; nothing is written.

    Args:
        cells: those that are to be run.
        database: where their runs are to be stored.
    """
    findings: list[Finding] = []
    checks: dict[str, CheckedRun] = {}
    hints: dict[str, str] = {}
    envs = list(dict.fromkeys(cell.env for cell in cells))
    for env in envs:
        recipes = [cell.recipe for cell in cells if cell.env == env]
        # A recipe that trains needs the most.
        recipe = next((each for each in recipes if each.rounds), recipes[0])
        others = " ".join(f"--only {other}" for other in envs if other != env)
        without = f"Without it: {others}." if others else ""
        checked = check_run(recipe, database, runs=len(recipes))
        checks[env], hints[env] = checked, without
        findings += [_of(env, finding, without) for finding in checked.findings]
    return CheckedStudy(findings, checks, hints)


def _of(env: str, finding: Finding, without: str) -> Finding:
    """A finding with the name of the study's environment."""
    subject = f"{env} {finding.subject}"
    error = finding.error
    if error is None:
        return replace(finding, subject=subject)
    error.message = f"{env}: {error.message}"
    error.hint = f"{error.hint} {without}".strip()
    return replace(finding, subject=subject, hint=error.hint)
