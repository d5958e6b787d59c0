"""Checks for the environments and models of a study, before hours of computing are spent."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.actors.registry import check_model
from agentr_lite.core.errors import AgentrError
from agentr_lite.runs.environments import open_environments
from agentr_lite.runs.weights import training_weights
from agentr_lite.study.jobs.cells import Cell


def check_requirements(cells: Sequence[Cell]) -> None:
    """Open each environment once, and look for its model and training weights.

    Raises:
        AgentrError: something is missing; the hint says how to run the study without it.
    """
    envs = list(dict.fromkeys(cell.env for cell in cells))
    for env in envs:
        recipes = [cell.recipe for cell in cells if cell.env == env]
        # A recipe that trains needs the most.
        recipe = next((recipe for recipe in recipes if recipe.rounds), recipes[0])
        try:
            check_model(recipe.model)
            if recipe.rounds:
                training_weights(recipe)
            with open_environments(recipe):
                pass
        except AgentrError as error:
            others = " ".join(f"--only {other}" for other in envs if other != env)
            without = f" Without it: {others}." if others else ""
            error.message = f"{env}: {error.message}"
            error.hint = f"{error.hint}{without}".strip()
            raise
