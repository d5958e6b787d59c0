"""What the targets of a command name: environments, recipes, or a run that exists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from agentr_lite.console.streams import warn
from agentr_lite.core.errors import RecipeError, StoreError, UsageError
from agentr_lite.runs.choice import Chosen

if TYPE_CHECKING:
    from agentr_lite.recipe.settings import Recipe
    from agentr_lite.store import Store
    from agentr_lite.store.records import RunRow


def recipe_for(targets: Sequence[str], chosen: Chosen) -> Recipe | None:
    """The recipe of a new run of the targets; None where they can only name a run.

    Several environments without ``--recipe`` each keep what their own recipe says of search,
    splicing and evaluation, the number of tasks included. The first recipe gives the rest.

    Args:
        targets: a recipe's name or file, or an environment's name; several make one run on all of
            them. Empty: the recipe in ``chosen`` alone.
        chosen: with a recipe, the targets are the environments to run it on.

    Raises:
        UsageError: one of several targets is neither an environment nor a recipe.
        RecipeError: a recipe is wrong, or two are for the same environment.
    """
    import json

    from agentr_lite.recipe.environments import combined
    from agentr_lite.recipe.loading import load_recipe, recipe_from_dict
    from agentr_lite.recipe.overrides import apply_overrides

    if len(targets) < 2:
        return new_recipe(targets[0] if targets else str(chosen.recipe), chosen)
    if chosen.recipe is not None:
        names = json.dumps([_environment(target) for target in targets], ensure_ascii=False)
        return load_recipe(chosen.recipe, (f"env={names}", *chosen.overrides))
    for_whole_run = tuple(
        override for override in chosen.overrides if override.startswith(("env.", "env_options."))
    )
    for_each = tuple(override for override in chosen.overrides if override not in for_whole_run)
    recipes = [
        new_recipe(target, Chosen(None, for_each)) or unknown_target(target) for target in targets
    ]
    # A number of tasks on the command line is for all environments together.
    given = {_key(override) for override in for_each}
    data = combined(
        recipes,
        keep_tasks=[group for group in ("search", "eval") if f"{group}.tasks" not in given],
    )
    apply_overrides(data, for_whole_run)
    return recipe_from_dict(data)


def new_recipe(target: str, chosen: Chosen) -> Recipe | None:
    """The recipe of a new run of one target; None where it names no recipe and no environment.

    Args:
        target: as in ``recipe_for``.
        chosen: as in ``recipe_for``.

    Raises:
        UsageError: with a recipe in ``chosen``, ``target`` is not an environment.
        RecipeError: the recipe is wrong.
    """
    import json

    from agentr_lite.envs.names import absolute_env_name, env_slug
    from agentr_lite.envs.registry import is_env_name
    from agentr_lite.recipe.loading import (
        load_recipe,
        recipe_from_dict,
        recipe_names,
        study_names,
    )
    from agentr_lite.recipe.overrides import apply_overrides

    recipe, overrides = chosen.recipe, chosen.overrides
    # Absolute: a run can be resumed from another directory.
    env = absolute_env_name(target) if is_env_name(target) else None
    if recipe is not None and target != recipe:
        if env is not None:
            overrides = (f"env={json.dumps(env, ensure_ascii=False)}", *overrides)
        resolved = load_recipe(recipe, overrides)
        if env is None:
            _environment(target)
        return resolved
    known = [*recipe_names(), *study_names()]
    if target in known or target.endswith((".yaml", ".yml")):
        return load_recipe(target, overrides)
    if env is not None:
        # An environment without its own recipe has the defaults.
        data = {"env": env, "name": env_slug(env)}
        apply_overrides(data, overrides)
        return recipe_from_dict(data)
    return load_recipe(recipe, overrides) if recipe is not None else None


def usual_recipe(target: str, own_name: str) -> tuple[Recipe, str]:
    """The recipe that an environment is usually run with.

    That is the bundled recipe of its name, or the ``recipe.yaml`` beside its file, as ``envs new``
    writes it, or else the defaults.

    Args:
        target: the environment, as on the command line.
        own_name: what it calls itself.

    Returns:
        The recipe for this environment alone, and which one it is, in words.
    """
    from agentr_lite.envs.names import absolute_env_name
    from agentr_lite.recipe.loading import load_recipe, recipe_names
    from agentr_lite.recipe.settings import Recipe

    if target in recipe_names():
        return load_recipe(target), f"the recipe {target}"
    names = {target, absolute_env_name(target), own_name}
    for path in _recipes_beside(target):
        try:
            recipes = load_recipe(str(path)).by_environment()
        except RecipeError as error:
            # Any file may be called so; a run with it says what is wrong.
            warn(f"{path} is not used: {error.message}")
            continue
        for recipe in recipes:
            if names & {recipe.environment.name, absolute_env_name(recipe.environment.name)}:
                return recipe, str(path)
    return Recipe(), "the default recipe"


def _recipes_beside(target: str) -> Iterator[Path]:
    """``recipe.yaml`` in the folder of an environment's file and above, up to its package's."""
    from agentr_lite.envs.names import parse_env_name

    path = parse_env_name(target).path
    if path is None:
        return
    for folder in list(path.expanduser().resolve().parents)[:3]:
        if (folder / "recipe.yaml").is_file():
            yield folder / "recipe.yaml"
        if (folder / "pyproject.toml").is_file():
            return


def _environment(target: str) -> str:
    """An environment's name, made absolute where it is a path."""
    from agentr_lite.core.suggestions import did_you_mean
    from agentr_lite.envs.names import absolute_env_name
    from agentr_lite.envs.registry import env_names, is_env_name

    if not is_env_name(target):
        raise UsageError(
            f"no environment '{target}'{did_you_mean(target, env_names())}",
            hint="With --recipe, name environments to run it on; `agentr-lite envs` lists them.",
        )
    return absolute_env_name(target)


def unknown_target(target: str) -> NoReturn:
    """Refuse what names neither an environment nor a recipe.

    Raises:
        UsageError: always.
    """
    from agentr_lite.core.suggestions import did_you_mean
    from agentr_lite.envs.registry import env_names
    from agentr_lite.recipe.loading import recipe_names

    known = sorted({*env_names(), *recipe_names()})
    raise UsageError(
        f"no environment or recipe '{target}'{did_you_mean(target, known)}",
        hint="`agentr-lite envs` and `agentr-lite recipes` list them; a YAML file works too.",
    )


def refuse_unknown_name(target: str, database: Path) -> NoReturn:
    """Refuse what could only name a run, where there is no database yet.

    Raises:
        StoreError: the newest run is meant.
        UsageError: otherwise.
    """
    if target == "latest":
        raise StoreError(
            f"there is no database at {database}",
            hint="`agentr-lite run` makes one; -d names another file.",
        )
    close = _close_names(target)
    raise UsageError(
        f"there is no run, environment or recipe '{target}'{close}"
        + ("" if close else f": there is no database at {database}"),
        hint="`agentr-lite envs` and `agentr-lite recipes` list names; -d names another database.",
    )


def _close_names(target: str) -> str:
    from agentr_lite.core.suggestions import did_you_mean
    from agentr_lite.envs.registry import env_names
    from agentr_lite.recipe.loading import recipe_names

    return did_you_mean(target, sorted({*env_names(), *recipe_names()}))


def existing_run(store: Store, target: str) -> RunRow:
    """A run, where a recipe or an environment could have been named as well.

    Raises:
        UsageError: there is no such run, or several ids begin like this.
    """
    from agentr_lite.store.runs import get_run

    try:
        return get_run(store, target)
    except UsageError as error:
        close = _close_names(target)
        if not close:
            raise
        message = f"there is no run, environment or recipe '{target}'{close}"
        raise UsageError(message, hint=error.hint) from error


def changed_recipe(run: RunRow, overrides: Sequence[str], changeable: Sequence[str]) -> Recipe:
    """An existing run's recipe, with the settings that a command may change.

    Args:
        run: the run.
        overrides: ``key=value``.
        changeable: keys, or groups of keys with a dot at the end, e.g. ``("eval.",)``.

    Raises:
        UsageError: another setting than these.
        RecipeError: a wrong value, or no such key.
    """
    from agentr_lite.recipe.loading import with_overrides

    for override in overrides:
        key = _key(override)
        if not any(_is_covered(key, allowed) for allowed in changeable):
            known = [f"{allowed}*" if allowed.endswith(".") else allowed for allowed in changeable]
            listed = " and ".join(filter(None, [", ".join(known[:-1]), *known[-1:]]))
            raise UsageError(
                f"{key} cannot be changed for the existing run {run.id}"
                if changeable
                else f"the settings of the existing run {run.id} are fixed",
                hint=(f"Only {listed} can; " if known else "")
                + "name a recipe or an environment instead, and a new run begins.",
            )
    return with_overrides(run.recipe, overrides)


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def _is_covered(key: str, allowed: str) -> bool:
    return key.startswith(allowed) if allowed.endswith(".") else key == allowed
