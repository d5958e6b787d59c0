"""Creating a run, or opening the existing one that a command is to work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from agentr_lite.core.errors import UsageError
from agentr_lite.runs.choice import Chosen
from agentr_lite.runs.targets import (
    changed_recipe,
    existing_run,
    recipe_for,
    refuse_unknown_name,
    unknown_target,
)

if TYPE_CHECKING:
    from agentr_lite.recipe.settings import Recipe
    from agentr_lite.runs.checks.run import CheckedRun, Work
    from agentr_lite.store import Store
    from agentr_lite.store.records import RunRow

_RECORDED = (
    "agentr-lite",
    "llama-cpp-python",
    "mlx",
    "mlx-lm",
    "numpy",
    "scienceworld",
    "sqlite-utils",
)


@dataclass(frozen=True, slots=True)
class Target:
    """The run that a command works on."""

    run: RunRow
    recipe: Recipe
    is_new: bool
    """Whether this command created it."""


def checked_target(
    targets: Sequence[str],
    chosen: Chosen,
    database: Path,
    *,
    work: Work,
    adapter: Path | None = None,
) -> CheckedRun | None:
    """The checks of a new run of the targets; nothing is written.

    Args:
        targets: as in ``recipe_for``.
        chosen: as in ``recipe_for``.
        database: where the run is to be stored.
        work: what is to be done.
        adapter: one that was trained elsewhere and is to be evaluated.

    Returns:
        None where the targets can only name an existing run.

    Raises:
        RecipeError: the recipe is wrong.
        UsageError: they can only name a run, and there is no database.
    """
    from agentr_lite.runs.checks.run import check_run

    recipe = recipe_for(targets, chosen)
    if recipe is None:
        # The whole loop is never begun on a run: `--resume` names it.
        if work != "loop" and not database.exists():
            refuse_unknown_name(targets[0], database)
        return None
    if adapter is not None:
        # An adapter from elsewhere is evaluated; nothing is trained.
        recipe = replace(recipe, rounds=0)
    return check_run(recipe, database, work=work, adapter=adapter)


def target_run(
    store: Store,
    targets: Sequence[str],
    checked: CheckedRun | None,
    overrides: Sequence[str],
    *,
    changeable: Sequence[str] = (),
    mark: str = "",
) -> Target:
    """A new run, or an existing one.

    Args:
        store: the database.
        targets: the run, where ``checked`` is None.
        checked: of a new run, permitted; None: ``targets`` names an existing run.
        overrides: ``key=value`` for an existing run.
        changeable: settings that may differ from an existing run's; see ``changed_recipe``.
        mark: a part of a new run's id; see ``create_run``.

    Raises:
        UsageError: nothing of that name, or a setting of an existing run that is fixed.
        RecipeError: the recipe is wrong.
    """
    if checked is not None:
        return begin_run(store, checked.recipe, mark=mark)
    run = existing_run(store, targets[0])
    return Target(run, changed_recipe(run, overrides, changeable), False)


def not_a_recipe(database: Path, name: str) -> NoReturn:
    """Refuse a name that is no recipe and no environment where a new run is to begin.

    Args:
        database: it may have a run of that name.
        name: what was to be run.

    Raises:
        UsageError: ``name`` is an existing run, or nothing.
    """
    from agentr_lite.store import Store
    from agentr_lite.store.files import database_exists
    from agentr_lite.store.runs import list_runs

    if database_exists(database):
        with Store.open_to_read(database) as store:
            runs = list_runs(store)
        if runs and (name == "latest" or any(run.id.startswith(name) for run in runs)):
            raise UsageError(
                f"'{name}' is an existing run", hint=f"`agentr-lite run --resume {name}` goes on."
            )
    unknown_target(name)


def resumed_run(store: Store, name: str) -> Target:
    """A run to go on with.

    Raises:
        UsageError: there is no such run, or several ids begin like this.
    """
    from agentr_lite.recipe.loading import stored_recipe
    from agentr_lite.store.runs import get_run

    run = get_run(store, name)
    return Target(run, stored_recipe(run.recipe), False)


def begin_run(store: Store, recipe: Recipe, *, mark: str = "") -> Target:
    """Create a run.

    Args:
        store: the database.
        recipe: permitted by ``CheckedRun``.
        mark: a part of its id; see ``create_run``.
    """
    from agentr_lite.store.runs import get_run

    run_id = create_run(store, recipe, versions=package_versions(), mark=mark)
    return Target(get_run(store, run_id), recipe, True)


def create_run(
    store: Store,
    recipe: Recipe,
    *,
    model: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    mark: str = "",
) -> str:
    """Create a run with status ``running``.

    Args:
        store: the database.
        recipe: the resolved recipe; stored whole.
        model: the actor's ``description``.
        versions: package name to version.
        mark: a part of the id, for runs that are begun on several machines in the same moment.

    Returns:
        The run's id: environments, date and time of day, e.g. ``textcraft-20261122-ar1k``.
    """
    from agentr_lite.envs.names import env_slug
    from agentr_lite.store.runs import add_run

    return add_run(
        store,
        name=_marked("-".join(env_slug(env) for env in recipe.env_names), mark),
        env=recipe.env_label,
        seed=recipe.seed,
        recipe=recipe.to_dict(),
        model=model,
        versions=versions,
    )


def _marked(name: str, mark: str) -> str:
    """What an id begins with; the mark comes last, and is not what is left out of a long name."""
    from agentr_lite.store.runs import LONGEST_NAME

    return f"{name[: LONGEST_NAME - len(mark) - 1].rstrip('-')}-{mark}" if mark else name


def package_versions() -> dict[str, str]:
    """Versions of what a result depends on; packages that are not installed are left out."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": platform.python_version()}
    for package in _RECORDED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            # A plain checkout, or a back end that this machine does not have.
            continue
    return versions
