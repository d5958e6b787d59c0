"""Loads a run's model: in this process, or where an executor has its workers."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.actors.base import LoadedModel
from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs import actors
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.runs.stages.waves import Executor


def opened_model(
    recipe: Recipe,
    environments: Sequence[RunEnvironment],
    executor: Executor | None,
    *,
    searches: bool | None = None,
) -> LoadedModel:
    """A recipe's model, loaded where its waves are to be done.

    Args:
        recipe: the run's.
        environments: the run's, open in this process.
        executor: has the workers; None: the model is loaded in this process.
        searches: see ``runs.actors.actor_settings``.

    Raises:
        AgentrError: the model cannot be opened.
    """
    if executor is None:
        return actors.open_actor(recipe, searches=searches)
    return executor.open(recipe, environments, searches=searches)
