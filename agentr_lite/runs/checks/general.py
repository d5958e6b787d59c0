"""Checks the general data that a run trains on: all of it, before any work."""

from __future__ import annotations

from agentr_lite.recipe.groups import STARTER_GENERAL
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.checks.checklist import Checklist
from agentr_lite.runs.weights import has_bundled_template

SUBJECT = "general data"


def check_general(checks: Checklist, recipe: Recipe) -> None:
    """Read each line and render each chat as training would."""
    if not recipe.train.general:
        return
    if recipe.train.general == STARTER_GENERAL and has_bundled_template(recipe):
        checks.passed(SUBJECT, "bundled")
        return
    from agentr_lite.runs.general import usable_general

    with checks.refusals(SUBJECT):
        data = usable_general(recipe)
        if data.refused:
            total = len(data.refused) + len(data.examples)
            checks.warned(
                SUBJECT,
                f"the chat template refuses {len(data.refused)} of {total} chats in {data.path};"
                " they are left out",
                data.first_refused,
            )
        else:
            checks.passed(SUBJECT, f"{data.path}: {len(data.examples)} chats")
