"""What an evaluation's episodes depend on, stored with them and compared before they are reused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.recipe.settings import Recipe
from agentr_lite.runs.environments import RunEnvironment
from agentr_lite.store.records import EvalMode


def eval_modes(recipe: Recipe) -> list[EvalMode]:
    """The kinds of episodes that a recipe asks for, in the order in which they are played."""
    modes: list[EvalMode] = ["greedy"]
    if recipe.eval.samples:
        modes.append("sampled")
    if recipe.eval.recovery:
        modes.append("recovery")
    return modes


def eval_settings(
    environments: Sequence[RunEnvironment], mode: EvalMode, *, several: bool
) -> dict[str, Any]:
    """All that one mode's episodes depend on besides the actor and the environments' code.

    Args:
        environments: of the run.
        mode: how the episodes are played.
        several: whether each key begins with its environment's name and a dot.
    """
    by_env = {each.name: _settings(each.recipe, mode) for each in environments}
    if not several:
        return by_env[environments[0].name]
    return {
        f"{name}.{key}": value
        for name, settings in by_env.items()
        for key, value in settings.items()
    }


def _settings(recipe: Recipe, mode: EvalMode) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "tasks": recipe.eval.tasks,
        "batch": recipe.eval.batch,
        "seed": recipe.seed,
        "max_steps": recipe.eval.max_steps,
        "max_tokens": recipe.agent.max_tokens,
        "brief": recipe.agent.brief,
    }
    # Only where it is not the default: evaluations from before the setting stay comparable.
    if recipe.agent.action != "first":
        settings["action"] = recipe.agent.action
    if recipe.agent.grammar:
        settings["grammar"] = recipe.agent.grammar
    if mode == "sampled":
        settings["samples"] = recipe.eval.samples
        settings["temperature"] = recipe.eval.temperature
    if mode == "recovery":
        settings["prefix"] = recipe.eval.recovery_prefix
        settings["steps"] = recipe.eval.recovery_steps
    return settings


def changed_settings(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """``key=stored value`` of what differs; a key that only one of the two has differs, too."""
    return [
        f"{key}={str(stored.get(key))[:40]}"
        for key in {**wanted, **stored}
        if stored.get(key) != wanted.get(key)
    ]
