"""The environments of a recipe: the ways a file may name them, and one recipe made of several.

A recipe holds a list of environments, even of one. A file may be shorter:

    env: textcraft                                  one, with env_options for its options
    env: [textcraft, webshop]                       several that differ in nothing
    env: {textcraft: {share: 2}, webshop: {}}       several with their own settings
    env: [{name: textcraft, share: 2}, webshop]     the list itself, as runs store it
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.core.errors import RecipeError
from agentr_lite.recipe.fields import Setting
from agentr_lite.recipe.grammars import with_grammar_text
from agentr_lite.recipe.settings import DIVIDED, EnvironmentSettings, Recipe, own_keys
from agentr_lite.recipe.values import build, convert, described

SHORT_KEYS: Mapping[str, Setting] = {
    "env_options": Setting(
        "Options of the environment, e.g. `{recipes_dir: /path}` for TextCraft. For several"
        " environments: `env.NAME.options`."
    )
}
"""Keys that a file may have though a recipe holds what they say elsewhere."""


def read_environments(env: Any, options: Any) -> tuple[EnvironmentSettings, ...]:
    """The environments that ``env`` and ``env_options`` name.

    Args:
        env: see the module's text.
        options: options of the environment where there is only one; else empty.

    Raises:
        RecipeError: another form, no name at all, a wrong setting, or options without a word on
            which environment they are for.
    """
    named = named_settings(env)
    options = convert(Mapping[str, Any], options, "env_options")
    if options and len(named) > 1:
        key = next(iter(options))
        raise RecipeError(
            f"env_options.{key}: which environment is meant?",
            hint=f"With several, set env.NAME.options.{key} (of {', '.join(sorted(named))}).",
        )
    return tuple(_read(name, own, options) for name, own in named.items())


def _read(name: str, own: Any, options: Mapping[str, Any]) -> EnvironmentSettings:
    if not isinstance(own, Mapping):
        raise RecipeError(f"env.{name}: needs a mapping, not {described(own)}")
    if "name" in own:
        raise RecipeError(f"env.{name}.name: the key `{name}` is the environment's name already")
    settings = build(EnvironmentSettings, {**with_grammar_text(own), "name": name}, f"env.{name}.")
    return dataclasses.replace(settings, options={**settings.options, **options})


def named_settings(env: Any) -> dict[str, Any]:
    """Name to what each environment has of its own, from any form of ``env``.

    Args:
        env: see the module's text.

    Returns:
        The values are not checked yet; an environment without any has an empty mapping.

    Raises:
        RecipeError: another form, a name that is no text or stands twice, or no name at all.
    """
    if isinstance(env, str):
        _refuse_login(env)
        return {env: {}}
    if isinstance(env, Mapping):
        entries = list(env.items())
    elif isinstance(env, list | tuple):
        entries = [_entry(item) for item in env]
    else:
        raise RecipeError(_WRONG_FORM.format(described(env)))
    if not entries:
        raise RecipeError("env: needs at least one environment")
    named: dict[str, Any] = {}
    for name, own in entries:
        if not isinstance(name, str) or not name:
            raise RecipeError(f"env: an environment's name is text, not {name!r}")
        _refuse_login(name)
        if name in named:
            raise RecipeError(f"env: '{name}' is named twice")
        named[name] = {} if own is None else own
    return named


def _refuse_login(name: str) -> None:
    if _LOGIN.search(name):
        # The message does not repeat the name, which holds the password.
        raise RecipeError(
            "env: an address must not hold a user name or a password: it is stored with the run",
            hint="Put them into AGENTR_LITE_AGENTGYM_LOGIN, as USER:PASSWORD.",
        )


_LOGIN = re.compile(r"://[^/?#]*@")
_WRONG_FORM = "env: needs a name, a list of names or a mapping of names to settings, not {}"


def _entry(item: Any) -> tuple[Any, Any]:
    """(name, its own settings) of one item of a list."""
    if isinstance(item, Mapping):
        if "name" not in item:
            raise RecipeError("env: an environment of the list has no `name`")
        return item["name"], {key: value for key, value in item.items() if key != "name"}
    if isinstance(item, list | tuple):
        raise RecipeError(_WRONG_FORM.format("a list in a list"))
    return item, {}


def combined(recipes: Sequence[Recipe], *, keep_tasks: Sequence[str] = DIVIDED) -> dict[str, Any]:
    """One recipe for several environments from a recipe for each, as plain data.

    Each environment keeps its own values of the keys that may differ. All other settings come from
    the first recipe, except that a conversation may be as long as the longest of the recipes
    allows.

    Args:
        recipes: of one environment each; the first one leads.
        keep_tasks: groups (of ``DIVIDED``) in which each environment keeps its own number of
            tasks; in the others the first recipe's number is divided.

    Raises:
        RecipeError: a recipe is for several environments already, or two are for the same.
    """
    data = recipes[0].to_dict()
    kept = {group: group in keep_tasks for group in DIVIDED}
    # Without any imitation, there are no tasks to keep.
    kept["imitation"] &= any(recipe.imitation.tasks for recipe in recipes)
    env: dict[str, Any] = {}
    for recipe in recipes:
        if len(recipe.env) > 1:
            raise RecipeError(
                f"recipe {recipe.name} is for several environments itself",
                hint="Name single ones, or list all of them under `env` in one recipe.",
            )
        name, options = recipe.environment.name, recipe.environment.options
        if name in env:
            raise RecipeError(f"environment '{name}' is named twice")
        own: dict[str, Any] = {"options": dict(options)} if options else {}
        mine = recipe.to_dict()
        for group, keys in own_keys().items():
            differing = {
                key: mine[group][key]
                for key in keys
                if (kept[group] if key == "tasks" else mine[group][key] != data[group][key])
            }
            own |= {group: differing} if differing else {}
        env[name] = own
    data |= {"env": env, "name": "+".join(recipe.name for recipe in recipes)}
    data["agent"]["context_tokens"] = max(r.agent.context_tokens for r in recipes)
    data["train"]["max_length"] = max(r.train.max_length for r in recipes)
    return data
