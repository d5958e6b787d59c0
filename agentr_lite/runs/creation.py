"""Creating a run, or opening the existing one that a command is to work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agentr_lite.core.errors import UsageError
from agentr_lite.runs.choice import Chosen
from agentr_lite.runs.targets import changed_recipe, existing_run, recipe_for, unknown_target

if TYPE_CHECKING:
    from agentr_lite.recipe.settings import Recipe
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


def target_run(
    store: Store,
    targets: Sequence[str],
    chosen: Chosen,
    *,
    changeable: Sequence[str] = (),
) -> Target:
    """An existing run, or a new one from a recipe or for an environment.

    Args:
        store: the database.
        targets: as in ``recipe_for``, or an existing run.
        chosen: as in ``recipe_for``.
        changeable: settings that may differ from an existing run's; see ``changed_recipe``.

    Raises:
        UsageError: nothing of that name, or a setting of an existing run that is fixed.
        RecipeError: the recipe is wrong.
    """
    recipe = recipe_for(targets, chosen)
    if recipe is not None:
        return begin_run(store, recipe)
    run = existing_run(store, targets[0])
    return Target(run, changed_recipe(run, chosen.overrides, changeable), False)


def loop_run(store: Store, recipe: Recipe | None, name: str) -> Target:
    """A new run of the whole loop.

    Args:
        store: the database.
        recipe: as ``recipe_for`` gave it.
        name: of what was to be run, for messages.

    Raises:
        UsageError: there is no recipe; ``name`` is an existing run, or nothing.
        ModelError: the model cannot be trained; nothing is left in the database.
    """
    from agentr_lite.runs.weights import training_weights
    from agentr_lite.store.runs import list_runs

    if recipe is None:
        if any(name == "latest" or run.id.startswith(name) for run in list_runs(store)):
            raise UsageError(
                f"'{name}' is an existing run", hint=f"`agentr-lite run --resume {name}` goes on."
            )
        unknown_target(name)
    if recipe.rounds:
        training_weights(recipe)
    return begin_run(store, recipe)


def resumed_run(store: Store, name: str) -> Target:
    """A run to go on with.

    Raises:
        UsageError: there is no such run, or several ids begin like this.
    """
    from agentr_lite.recipe.loading import recipe_from_dict
    from agentr_lite.store.runs import get_run

    run = get_run(store, name)
    return Target(run, recipe_from_dict(run.recipe), False)


def begin_run(store: Store, recipe: Recipe) -> Target:
    """Create a run; where its environment or model is unusable, nothing is left in the database.

    Raises:
        UsageError: no such environment, or it has no such option.
        EnvironmentFault: its code raised.
        ModelError: the model's file is missing or damaged, or its server refuses.
    """
    from agentr_lite.actors.registry import check_grammars, check_model
    from agentr_lite.agent.grammar import turn_grammar
    from agentr_lite.runs.environments import open_environments
    from agentr_lite.runs.places import absolute_places
    from agentr_lite.store.runs import get_run

    recipe = absolute_places(recipe)
    with open_environments(recipe) as environments:
        grammars = [turn_grammar(each.recipe.agent.grammar, each.env) for each in environments]
    check_model(recipe.model)
    check_grammars(recipe.model, grammars)
    recipe = _suited_to_model(recipe)
    run_id = create_run(store, recipe, versions=package_versions())
    return Target(get_run(store, run_id), recipe, True)


def create_run(
    store: Store,
    recipe: Recipe,
    *,
    model: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
) -> str:
    """Create a run with status ``running``.

    Args:
        store: the database.
        recipe: the resolved recipe; stored whole.
        model: the actor's ``description``.
        versions: package name to version.

    Returns:
        The run's id: environments, date and time of day, e.g. ``textcraft-20261122-ar1k``.
    """
    from agentr_lite.envs.names import env_slug
    from agentr_lite.store.runs import add_run

    return add_run(
        store,
        name="-".join(env_slug(env) for env in recipe.env_names),
        env=recipe.env_label,
        seed=recipe.seed,
        recipe=recipe.to_dict(),
        model=model,
        versions=versions,
    )


def _suited_to_model(recipe: Recipe) -> Recipe:
    """The recipe as its model can carry it out: without likelihoods, the critic reasons."""
    from agentr_lite.actors.openai.spec import is_server
    from agentr_lite.actors.registry import expand
    from agentr_lite.console.streams import warn
    from agentr_lite.runs.actors import open_actor

    # A file's back end is known to score; a server has to be asked.
    if recipe.splice.critic != "score" or not is_server(expand(recipe.model)):
        return recipe
    with closing(open_actor(recipe)) as actor:
        if actor.capabilities.scoring:
            return recipe
        why = str(actor.description.get("no_scoring", ""))
    warn(
        f"the critic of this run will reason instead of scoring: {why}",
        hint="The run is recorded with splice.critic=reason.",
    )
    return replace(recipe, splice=replace(recipe.splice, critic="reason"))


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
