"""A new run in the database, from its recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentr_lite.envs.names import env_slug
from agentr_lite.recipe.settings import Recipe
from agentr_lite.store.database import Store
from agentr_lite.store.runs import add_run


def create_run(
    store: Store,
    recipe: Recipe,
    *,
    model: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
) -> str:
    """Begin a run, with status ``running``.

    Args:
        store: the database.
        recipe: the resolved recipe; stored whole.
        model: the actor's ``description``.
        versions: package name to version.

    Returns:
        The run's id: environments, date and time of day, e.g. ``textcraft-20261122-ar1k``.
    """
    return add_run(
        store,
        name="-".join(env_slug(env) for env in recipe.env_names),
        env=recipe.env_label,
        seed=recipe.seed,
        recipe=recipe.to_dict(),
        model=model,
        versions=versions,
    )
