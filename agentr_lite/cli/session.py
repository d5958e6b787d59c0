"""What the single-stage verbs share: the run they work on and the actor of one of its rounds."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentr_lite.errors import ModelError, UsageError

if TYPE_CHECKING:
    from agentr_lite.actors.base import Actor
    from agentr_lite.recipe import Recipe
    from agentr_lite.store import Store
    from agentr_lite.store.records import RunRow

_RECORDED = ("agentr-lite", "llama-cpp-python", "mlx", "mlx-lm", "numpy", "sqlite-utils")


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
    store: Store, target: str, *, recipe: str | None = None, overrides: tuple[str, ...] = ()
) -> Target:
    """An existing run, or a new one from a recipe or for an environment.

    Args:
        store: the database.
        target: a recipe's name or file, an environment's name, or an existing run.
        recipe: use this recipe, whatever ``target`` is called.
        overrides: ``key=value`` for a new run.

    Raises:
        UsageError: nothing of that name, or overrides for an existing run.
        RecipeError: the recipe is wrong.
    """
    from agentr_lite.envs.registry import env_names
    from agentr_lite.recipe import apply_overrides, load_recipe, recipe_from_dict, recipe_names
    from agentr_lite.store.runs import create_run, get_run

    if recipe is not None or target in recipe_names() or target.endswith((".yaml", ".yml")):
        resolved = load_recipe(recipe or target, overrides)
    elif target in env_names():
        # An environment without a recipe of its own: the defaults.
        data = {"env": target, "name": target}
        apply_overrides(data, overrides)
        resolved = recipe_from_dict(data)
    else:
        run = get_run(store, target)
        if overrides:
            raise UsageError(
                f"the settings of the existing run {run.id} are fixed",
                hint="Name a recipe or an environment instead, and a new run begins with them.",
            )
        return Target(run, recipe_from_dict(run.recipe), False)
    run_id = create_run(store, resolved, versions=package_versions())
    return Target(get_run(store, run_id), resolved, True)


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
    from agentr_lite.store.runs import set_run_model
    from agentr_lite.store.splices import get_adapter

    digest = str(actor.description.get("sha256") or "")
    if not run.model_sha256:
        set_run_model(store, run.id, actor.description)
    elif digest != run.model_sha256:
        raise ModelError(
            f"the model is not the one that run {run.id} was made with"
            f" (SHA-256 {digest[:12]} instead of {run.model_sha256[:12]})",
            hint=f"Put the old file back at {run.model_path}, or begin a new run.",
        )
    if not adapter_round:
        return
    adapter = get_adapter(store, run.id, adapter_round)
    if adapter is None:
        raise UsageError(
            f"run {run.id} has no adapter of round {adapter_round}",
            hint=f"`agentr-lite train {run.id} --round {adapter_round}` makes it.",
        )
    actor.use_adapter(Path(adapter.gguf_path))


def resume_command(verb: str, target: str, run_id: str) -> str:
    """This process's command line with the run in place of what it began with."""
    arguments = sys.argv[2:]
    if target in arguments:
        arguments[arguments.index(target)] = run_id
    kept = list(_without_result_options(arguments))
    return shlex.join(["agentr-lite", verb, *kept])


def _without_result_options(arguments: list[str]) -> list[str]:
    """Leave out what an existing run does not take again."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("--recipe", "--set", "--model", "--seed"):
            skip = True
        elif not argument.startswith(("--recipe=", "--set=", "--model=", "--seed=")):
            kept.append(argument)
    return kept
