"""``--set key=value`` on a recipe that is still plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.core.errors import RecipeError
from agentr_lite.core.yaml_values import MAX_DEPTH, YamlError, load_yaml
from agentr_lite.recipe.environments import named_settings


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set keys of a recipe that is still plain data.

    Args:
        data: changed in place.
        overrides: ``"search.width=2"`` and the like; values are YAML.

    Raises:
        RecipeError: not of the form ``key=value``, not YAML, or a group where a key was meant.
    """
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise RecipeError(f"--set {override}: needs the form key=value")
        try:
            parsed = load_yaml(value)
        except YamlError as error:
            raise RecipeError(f"--set {key}: {error}") from error
        key = key.strip()
        if key.startswith("env.") and data.get("env") is not None:
            data["env"] = named_settings(data["env"])
        if key.partition(".")[0] == "env_options":
            _lift_options(data)
        assign(data, key, parsed)


def _lift_options(data: dict[str, Any]) -> None:
    """Move a single environment's own options to ``env_options``, so that these can be changed."""
    named = {} if data.get("env") is None else named_settings(data["env"])
    if len(named) != 1:
        return
    [(name, own)] = named.items()
    if isinstance(own, Mapping) and isinstance(own.get("options"), Mapping):
        data["env"] = {name: {key: value for key, value in own.items() if key != "options"}}
        data["env_options"] = {**own["options"], **(data.get("env_options") or {})}


def assign(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a key of a group in plain data; groups that are missing are made.

    Raises:
        RecipeError: a key where a group was meant, or more groups than any key has.
    """
    *parents, last = _keys(data, dotted)
    if len(parents) > MAX_DEPTH:
        raise RecipeError(f"--set {dotted[:40]}…: more than {MAX_DEPTH} groups within each other")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise RecipeError(f"--set {dotted}: '{parent}' is not a group of keys")
    data[last] = value


def _keys(data: Mapping[str, Any], dotted: str) -> list[str]:
    """The parts of a dotted key; an environment's name may hold dots (a file, an address)."""
    group, _, rest = dotted.partition(".")
    envs = data.get(group) if group == "env" else None
    names = [name for name in envs if rest.startswith(f"{name}.")] if isinstance(envs, dict) else []
    if not names:
        return dotted.split(".")
    name = max(names, key=len)
    return [group, name, *rest[len(name) + 1 :].split(".")]
