"""The estimate of a plan: nothing is measured for a run that would be refused."""

from __future__ import annotations

import sys
from dataclasses import replace

from agentr_lite.console.streams import say
from agentr_lite.core.errors import AgentrError, ModelError
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.checks.checklist import Finding
from agentr_lite.runs.checks.run import CheckedRun
from agentr_lite.runs.estimate.speeds import Speeds
from agentr_lite.runs.estimate.stages import Estimate, estimate_run


def measure_speeds(recipe: Recipe, *, trains: bool) -> Speeds:
    """See ``probe.measure``, which imports what plays; a plan without an estimate does not."""
    from agentr_lite.runs.estimate.probe import measure

    return measure(recipe, trains=trains)


def estimated(checked: CheckedRun) -> tuple[CheckedRun, Estimate | None]:
    """Measure how fast a permitted run would be.

    Args:
        checked: the recipe and what was found.

    Returns:
        The same, with what the probe has found, and the estimate. A model that cannot be loaded,
        or that fails, refuses the run, as it would end it. A broken episode costs only its task in
        a run, so here it is a warning, and there is no estimate.
    """
    if checked.refusal is not None:
        return checked, None
    recipe = checked.recipe
    if sys.stderr.isatty():
        # As with progress: only where someone waits for it.
        say("measuring how fast the model plays here, for ten seconds; --no-probe leaves this out")
    try:
        speeds = measure_speeds(recipe, trains=recipe.rounds > 0 or recipe.imitates)
    except ModelError as error:
        refused = Finding("model", "refused", error.message, error.hint, error)
        return replace(checked, findings=[*checked.findings, refused]), None
    except AgentrError as error:
        warning = Finding("time", "warning", f"not estimated: {error.message}", error.hint)
        return replace(checked, findings=[*checked.findings, warning]), None
    return checked, estimate_run(recipe, checked.tasks, speeds)
