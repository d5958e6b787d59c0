"""What the single-stage verbs share: the run they work on and the actor of one of its rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from agentr_lite.core.errors import ModelError, UsageError
from agentr_lite.runs.choice import Chosen

if TYPE_CHECKING:
    from agentr_lite.actors.base import Actor
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
    """The run that a verb works on."""

    run: RunRow
    recipe: Recipe
    is_new: bool
    """It was made by this command."""


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


def target_run(
    store: Store,
    targets: Sequence[str],
    chosen: Chosen,
    *,
    changeable: tuple[str, ...] = (),
) -> Target:
    """An existing run, or a new one from a recipe or for an environment.

    Args:
        store: the database.
        targets: a recipe's name or file, an environment's name, or an existing run; several
            recipes or environments make one run on all of them.
        chosen: with a recipe, the targets are the environments to run it on.
        changeable: groups of settings that may differ from an existing run's own.

    Raises:
        UsageError: nothing of that name, or a setting of an existing run that is fixed.
        RecipeError: the recipe is wrong.
    """
    resolved = recipe_for(targets, chosen)
    if resolved is not None:
        return begin_run(store, resolved)
    run = existing_run(store, targets[0])
    return Target(run, changed_recipe(run, chosen.overrides, changeable), False)


def changed_recipe(run: RunRow, overrides: Sequence[str], changeable: tuple[str, ...]) -> Recipe:
    """An existing run's recipe, with the settings that a verb may change.

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
        key = override.partition("=")[0].strip()
        if not any(key.startswith(one) if one.endswith(".") else key == one for one in changeable):
            known = [f"{one}*" if one.endswith(".") else one for one in changeable]
            listed = " and ".join(filter(None, [", ".join(known[:-1]), *known[-1:]]))
            raise UsageError(
                f"{key} cannot be changed for the existing run {run.id}"
                if changeable
                else f"the settings of the existing run {run.id} are fixed",
                hint=(f"Only {listed} can; " if known else "")
                + "name a recipe or an environment instead, and a new run begins.",
            )
    return with_overrides(run.recipe, overrides)


def recipe_for(targets: Sequence[str], chosen: Chosen) -> Recipe | None:
    """What a new run of one or several targets would be; None where it can only be a run's name.

    Several environments without ``--recipe`` keep what their own recipes say of search, splicing
    and evaluation, the number of tasks included; the first one's says the rest.

    Args:
        targets: as in ``target_run``; empty: the recipe in ``chosen`` alone.
        chosen: as in ``target_run``.

    Raises:
        UsageError: of several targets, one is no environment and no recipe.
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
    later = tuple(one for one in chosen.overrides if one.startswith(("env.", "env_options.")))
    for_each = [one for one in chosen.overrides if one not in later]
    recipes = [
        new_recipe(target, Chosen(None, tuple(for_each))) or unknown_target(target)
        for target in targets
    ]
    # A number of tasks that is given here is for all together.
    given = {one.partition("=")[0].strip() for one in for_each}
    data = combined(
        recipes, keep_tasks=[g for g in ("search", "eval") if f"{g}.tasks" not in given]
    )
    apply_overrides(data, later)
    return recipe_from_dict(data)


def _environment(target: str) -> str:
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


def new_recipe(target: str, chosen: Chosen) -> Recipe | None:
    """What a new run of ``target`` would be; None where it names no recipe and no environment.

    Args:
        target: one of ``target_run``'s.
        chosen: as in ``target_run``.

    Raises:
        UsageError: with a recipe in ``chosen``, ``target`` is no environment.
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
    # A run is resumed from wherever the user is then.
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
        # An environment without a recipe of its own: the defaults.
        data = {"env": env, "name": env_slug(env)}
        apply_overrides(data, overrides)
        return recipe_from_dict(data)
    return load_recipe(recipe, overrides) if recipe is not None else None


def begin_run(store: Store, recipe: Recipe) -> Target:
    """A new run; one whose environment or model is out of the question leaves no trace.

    Raises:
        UsageError: no such environment, or it has no such option.
        EnvironmentFault: its code raised.
        ModelError: the model's file is missing or damaged, or its server refuses.
    """
    from agentr_lite.actors.registry import check_grammars, check_model
    from agentr_lite.agent.grammar import turn_grammar
    from agentr_lite.runs.create import create_run
    from agentr_lite.runs.environments import open_environments, parts_of
    from agentr_lite.runs.places import absolute_places
    from agentr_lite.store.runs import get_run

    recipe = absolute_places(recipe)
    with open_environments(recipe) as env:
        grammars = [
            turn_grammar(part.recipe.agent.grammar, part.env) for part in parts_of(recipe, env)
        ]
    check_model(recipe.model)
    check_grammars(recipe.model, grammars)
    recipe = _suited(recipe)
    run_id = create_run(store, recipe, versions=package_versions())
    return Target(get_run(store, run_id), recipe, True)


def _suited(recipe: Recipe) -> Recipe:
    """The recipe as its model can carry it out: without likelihoods, the critic reasons."""
    from agentr_lite.actors.openai.spec import is_server
    from agentr_lite.actors.registry import expand
    from agentr_lite.console.output import warn
    from agentr_lite.runs.actors import open_actor

    # Of a server only an answer tells; a file's back end is known to score.
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


def existing_run(store: Store, target: str) -> RunRow:
    """A run, where a recipe or an environment could have been named as well.

    Raises:
        UsageError: no such run, or several begin so.
    """
    from agentr_lite.core.suggestions import did_you_mean
    from agentr_lite.envs.registry import env_names
    from agentr_lite.recipe.loading import recipe_names
    from agentr_lite.store.runs import get_run

    try:
        return get_run(store, target)
    except UsageError as error:
        close = did_you_mean(target, sorted({*env_names(), *recipe_names()}))
        if not close:
            raise
        message = f"there is no run, environment or recipe '{target}'{close}"
        raise UsageError(message, hint=error.hint) from error


def equip(store: Store, run: RunRow, actor: Actor, adapter_round: int) -> None:
    """Check that the model is the run's, and put a round's adapter on.

    Args:
        store: the database.
        run: the run; its model is recorded if it had none.
        actor: the loaded model.
        adapter_round: whose adapter; 0 = the base model.

    Raises:
        ModelError: another model than the run's, or an unusable adapter.
        UsageError: that round has not been trained.
    """
    check_same_model(store, run, actor)
    if adapter_round:
        actor.use_adapter(adapter_path(store, run, actor, adapter_round))


def check_same_model(store: Store, run: RunRow, actor: Actor) -> None:
    """Check that the model is the run's; it is recorded if the run had none.

    Raises:
        ModelError: another model than the run's.
    """
    from agentr_lite.store.runs import set_run_model

    digest = str(actor.description.get("sha256") or "")
    earlier, now = run.model_description.get("identity"), actor.description.get("identity")
    if earlier and earlier != now:
        raise ModelError(
            f"the server's model is not the one that run {run.id} was made with:"
            f" {_facts(now)} instead of {_facts(earlier)}",
            hint=f"Serve the old one at {run.model_path}, or begin a new run.",
        )
    _warn_of_tuning(run, actor)
    if not run.model_sha256:
        set_run_model(store, run.id, actor.description)
    elif digest != run.model_sha256:
        raise ModelError(
            f"the model is not the one that run {run.id} was made with"
            f" (SHA-256 {digest[:12]} instead of {run.model_sha256[:12]})",
            hint=f"Put the old file back at {run.model_path}, or begin a new run.",
        )


def adapter_path(store: Store, run: RunRow, actor: Actor, round_index: int) -> Path:
    """Where a round's adapter is, in the actor's format.

    Raises:
        UsageError: that round has not been trained.
    """
    from agentr_lite.store.splices import get_adapter

    adapter = get_adapter(store, run.id, round_index)
    if adapter is None:
        raise UsageError(
            f"run {run.id} has no adapter of round {round_index}",
            hint=f"`agentr-lite train {run.id} --round {round_index}` makes it.",
        )
    mlx = actor.capabilities.adapter_format == "mlx"
    return Path(adapter.mlx_dir if mlx else adapter.gguf_path)


def _facts(identity: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in (identity or {}).items()) or "another"


def _warn_of_tuning(run: RunRow, actor: Actor) -> None:
    from agentr_lite.console.output import warn

    earlier, now = run.model_description, actor.description
    if earlier and earlier.get("tuning") != now.get("tuning"):
        warn(
            "the engine has been tuned differently since this run began",
            hint="Sums are rounded in another way, which can decide near ties. To go on exactly as"
            " before: `agentr-lite doctor --untune`, or --tune as it was.",
        )
