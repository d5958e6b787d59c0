"""Several environments in one recipe: what each has of its own, and the recipe that holds for it.

``env`` is a name, a list of names, or a mapping of names to settings. A recipe for several is used
as one recipe for each (``parts``): the shared settings, its own ones on top, and its share of the
tasks. Parts come in the order of their names, since a stored recipe keeps no other.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentr_lite.core.errors import RecipeError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.recipe.values import build, convert, type_name

if TYPE_CHECKING:
    from agentr_lite.recipe.settings import Recipe

OWN_KEYS: dict[str, tuple[str, ...]] = {
    "agent": ("brief", "max_tokens", "grammar"),
    "search": (
        *("tasks", "simulations", "width", "depth", "c", "temperature", "top_p", "top_k", "min_p"),
        *("descent", "merge", "wave"),
    ),
    "splice": ("alpha", "beta", "unseen", "recovery_attempts", "pairs_per_task"),
    "eval": ("tasks", "max_steps", "recovery_prefix", "recovery_steps"),
}
"""Group to its keys that may differ from environment to environment."""

_SHARED_OUT = ("search", "eval")
"""Groups whose ``tasks`` are divided among the environments."""


@dataclass(frozen=True)
class EnvSettings:
    """One environment of several: what differs for it from the rest of the recipe."""

    share: float = 1.0
    """Its part of ``search.tasks`` and ``eval.tasks``, in proportion to the other environments'."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the environment: what ``env_options`` is to a single one."""
    agent: Mapping[str, Any] = field(default_factory=dict)
    """Of its own: ``brief``, ``max_tokens``, ``grammar``."""
    search: Mapping[str, Any] = field(default_factory=dict)
    """Of its own: any key of ``search``; ``tasks`` takes the place of its share."""
    splice: Mapping[str, Any] = field(default_factory=dict)
    """Of its own: ``alpha``, ``beta``, ``unseen``, ``recovery_attempts``, ``pairs_per_task``."""
    eval: Mapping[str, Any] = field(default_factory=dict)
    """Of its own: ``tasks`` (in place of its share), ``max_steps``, ``recovery_prefix``,
    ``recovery_steps``."""


Env = str | Mapping[str, EnvSettings]
"""What ``Recipe.env`` holds: one environment's name, or several with their settings by name."""


def read_env(value: Any) -> Env:
    """``env`` as a recipe may give it.

    Args:
        value: a name, a list of names, or a mapping of names to settings (None: none of its own).

    Raises:
        RecipeError: anything else, no name at all, or a wrong setting.
    """
    if isinstance(value, str):
        return value
    named = env_mapping(value)
    if named is None:
        raise RecipeError(
            f"env: needs a name, a list of names or a mapping of names to settings,"
            f" not {type_name(value)}"
        )
    if not named:
        raise RecipeError("env: needs at least one environment")
    wrong = next((name for name in named if not isinstance(name, str) or not name), None)
    if wrong is not None:
        raise RecipeError(f"env: an environment's name is text, not {wrong!r}")
    if isinstance(value, list | tuple) and len(named) == 1:
        return str(next(iter(named)))
    found = {name: build(EnvSettings, own or {}, f"env.{name}.") for name, own in named.items()}
    for name, own in found.items():
        convert(float, own.share, f"env.{name}.share", bounds="env.share")
    return found


def env_mapping(value: Any) -> dict[Any, Any] | None:
    """Names to plain settings of an ``env`` that is a list or a mapping; None of any other.

    Raises:
        RecipeError: a name stands twice in the list.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, list | tuple) or any(isinstance(name, list | dict) for name in value):
        return None
    twice = [name for index, name in enumerate(value) if name in value[:index]]
    if twice:
        raise RecipeError(f"env: '{twice[0]}' stands there twice")
    return {name: {} for name in value}


def parts(recipe: Recipe) -> list[Recipe]:
    """One recipe for each environment, by name; a recipe for a single one is its own only part.

    Raises:
        RecipeError: a wrong setting of one environment's own.
    """
    if isinstance(recipe.env, str):
        return [recipe]
    if recipe.env_options:
        key = next(iter(recipe.env_options))
        raise RecipeError(
            f"env_options.{key}: which environment is meant?",
            hint=f"With several, set env.NAME.options.{key} (of {', '.join(sorted(recipe.env))}).",
        )
    shares = {name: recipe.env[name].share for name in sorted(recipe.env)}
    tasks = {group: divide(getattr(recipe, group).tasks, shares) for group in _SHARED_OUT}
    return [
        _part(recipe, name, {group: tasks[group][name] for group in _SHARED_OUT}) for name in shares
    ]


def divide(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in proportion to ``shares`` that add up to ``total``, each at least 1.

    Largest remainders; where there are fewer than one each, they add up to more. 0 (all) stays 0.
    """
    if total == 0:
        return dict.fromkeys(shares, 0)
    whole = sum(shares.values())
    exact = {name: total * share / whole for name, share in shares.items()}
    found = {name: int(part) for name, part in exact.items()}
    by_remainder = sorted(shares, key=lambda name: found[name] - exact[name])
    for name in by_remainder[: total - sum(found.values())]:
        found[name] += 1
    return {name: max(1, part) for name, part in found.items()}


def _part(recipe: Recipe, name: str, tasks: Mapping[str, int]) -> Recipe:
    assert not isinstance(recipe.env, str)
    own = recipe.env[name]
    groups: dict[str, Any] = {}
    for group in OWN_KEYS:
        settings = getattr(recipe, group)
        if group in tasks:
            settings = dataclasses.replace(settings, tasks=tasks[group])
        changed = own_values(type(settings), getattr(own, group), group, f"env.{name}.{group}.")
        groups[group] = dataclasses.replace(settings, **changed)
    return dataclasses.replace(recipe, env=name, env_options=dict(own.options), **groups)


def own_values(kind: type, data: Mapping[str, Any], group: str, prefix: str) -> dict[str, Any]:
    """Settings of one group that an environment has of its own, checked.

    Args:
        kind: the group's dataclass.
        data: plain values.
        group: the group's name.
        prefix: what its keys are called in messages.

    Raises:
        RecipeError: an unknown key, one that all environments share, or a wrong value.
    """
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in OWN_KEYS[group]:
            raise RecipeError(
                f"{prefix}{key}: all environments share {group}.{key}"
                if key in hints
                else f"unknown key '{prefix}{key}'{did_you_mean(str(key), OWN_KEYS[group])}",
                hint=f"An environment of several may have its own {', '.join(OWN_KEYS[group])}.",
            )
        values[key] = convert(hints[key], value, f"{prefix}{key}", bounds=f"{group}.{key}")
        if values[key] == ():
            raise RecipeError(f"{prefix}{key}: needs at least one value")
    return values


def combined(recipes: Sequence[Recipe], *, keep_tasks: Sequence[str] = _SHARED_OUT) -> dict:
    """One recipe for several environments from a recipe for each, as plain data.

    What may differ from environment to environment stays each one's own; the rest is the first's,
    except that a conversation may be as long as the most generous of them allows.

    Args:
        recipes: of one environment each; the first one leads.
        keep_tasks: groups (``search``, ``eval``) whose number of tasks is each one's own; in the
            others the first one's number is divided.

    Raises:
        RecipeError: one is for several environments already, or two are for the same.
    """
    data = recipes[0].to_dict()
    env: dict[str, Any] = {}
    for recipe in recipes:
        if not isinstance(recipe.env, str):
            raise RecipeError(
                f"recipe {recipe.name} is for several environments itself",
                hint="Name single ones, or list all of them under `env` in one recipe.",
            )
        if recipe.env in env:
            raise RecipeError(f"environment '{recipe.env}' is named twice")
        own: dict[str, Any] = {"options": dict(recipe.env_options)} if recipe.env_options else {}
        mine = recipe.to_dict()
        for group, keys in OWN_KEYS.items():
            differing = {
                key: mine[group][key]
                for key in keys
                if (group in keep_tasks if key == "tasks" else mine[group][key] != data[group][key])
            }
            own |= {group: differing} if differing else {}
        env[recipe.env] = own
    data |= {"env": env, "env_options": {}, "name": "+".join(recipe.name for recipe in recipes)}
    data["agent"]["context_tokens"] = max(r.agent.context_tokens for r in recipes)
    data["train"]["max_length"] = max(r.train.max_length for r in recipes)
    return data
