"""What the Tab key offers for the words that are ours: runs, environments, recipes, keys, models.

Nothing heavy is imported here, and no error is shown: a shell that completes a word has no place
for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from agentr_lite.core.errors import AgentrError

if TYPE_CHECKING:
    from collections.abc import Callable

    Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_FILES = CompletionItem("", type="file")
"""The shell's own completion of paths."""


def complete_runs(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Ids of the runs in the command's database, and ``latest``."""
    from agentr_lite.store.run_ids import stored_run_ids

    other, colon, prefix = incomplete.rpartition(":")
    path = Path(other) if other else _database(context)
    runs = stored_run_ids(path, prefix)
    items = [CompletionItem(f"{other}{colon}{run}", help=status) for run, status in runs]
    if (runs and not prefix) or (prefix and "latest".startswith(prefix)):
        items.append(CompletionItem(f"{other}{colon}latest", help="the newest run"))
    return items


def complete_environments(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Installed environments, and files: an environment may be one."""
    from agentr_lite.envs.registry import env_names

    return _matching(env_names(), incomplete, "environment") + _paths(incomplete)


def complete_recipes(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Bundled recipes, and files."""
    from agentr_lite.recipe.loading import recipe_names

    return _matching(recipe_names(), incomplete, "recipe") + _paths(incomplete)


def complete_studies(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Bundled studies, and files."""
    from agentr_lite.recipe.loading import study_names

    return _matching(study_names(), incomplete, "study") + _paths(incomplete)


def complete_new(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What a new run may be of: environments and recipes."""
    from agentr_lite.envs.registry import env_names
    from agentr_lite.recipe.loading import recipe_names

    envs = env_names()
    recipes = [name for name in recipe_names() if name not in envs]
    return (
        _matching(envs, incomplete, "environment")
        + _matching(recipes, incomplete, "recipe")
        + _paths(incomplete)
    )


def complete_targets(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Environments, recipes and runs: a command begins a run of the first two."""
    new = complete_new(context, parameter, incomplete)
    return complete_runs(context, parameter, incomplete) + new


def complete_keys(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Recipe keys as ``search.width=``; after the sign, the values of a key that has a few."""
    from agentr_lite.recipe.keys import key_values
    from agentr_lite.recipe.settings import Recipe

    # `train.KEY=VALUE` where a command takes keys of one group only.
    group = parameter.make_metavar(context).partition("KEY")[0]
    keys = {key: of for key, of in key_values(Recipe).items() if key.startswith(group)}
    key, equals, value = incomplete.partition("=")
    if equals:
        return [
            CompletionItem(f"{key}={known}")
            for known in keys.get(key, ())
            if known.startswith(value)
        ]
    return [CompletionItem(f"{name}=") for name in keys if name.startswith(incomplete)]


def complete_models(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The bundled model, models with a name, and files."""
    return _matching(_models(), incomplete, "model") + _paths(incomplete)


def complete_known_models(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Models that `agentr-lite models pull` knows."""
    from agentr_lite.actors.download.catalog import CATALOG

    return _matching([item.name for item in CATALOG], incomplete, "to pull")


def complete_named_models(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Models that the user has named or pulled."""
    return _matching([name for name in _models() if name != "starter"], incomplete, "model")


def _models() -> list[str]:
    from agentr_lite.actors import named_models

    try:
        return ["starter", *named_models.entries()]
    except AgentrError:
        # The list is damaged: the command itself says so.
        return ["starter"]


def _matching(names: Iterable[str], incomplete: str, kind: str) -> list[CompletionItem]:
    return [CompletionItem(name, help=kind) for name in names if name.startswith(incomplete)]


def _paths(incomplete: str) -> list[CompletionItem]:
    """The shell's own files, once a path has begun."""
    return [_FILES] if incomplete and ("/" in incomplete or incomplete[0] in ".~") else []


def _database(context: click.Context) -> Path:
    """The database that the command would read."""
    from agentr_lite.core.config import default_database

    current: click.Context | None = context
    while current is not None:
        chosen = current.params.get("db")
        if chosen is not None:
            return Path(chosen).expanduser()
        current = current.parent
    return default_database()
