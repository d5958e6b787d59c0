"""Recipes: from a YAML file, a bundled name or a stored mapping to validated settings."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from agentr_lite.core.errors import RecipeError, StoreError, UsageError
from agentr_lite.core.preferences import PREFERENCE_KINDS
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.core.yaml_values import YamlError, load_yaml, read_limited
from agentr_lite.recipe.environments import SHORT_KEYS, read_environments
from agentr_lite.recipe.grammars import with_grammar_text
from agentr_lite.recipe.overrides import apply_overrides
from agentr_lite.recipe.settings import EnvironmentSettings, Recipe
from agentr_lite.recipe.values import build, described

RECIPE_PACKAGE = "agentr_lite_recipes"
STUDY_PREFIX = "study-"
"""The names of bundled studies begin with this."""


def recipe_names() -> list[str]:
    """Names of the bundled recipes, sorted."""
    return [name for name in _bundled() if not name.startswith(STUDY_PREFIX)]


def study_names() -> list[str]:
    """Names of the bundled studies, sorted. A study is a recipe of many runs."""
    return [name for name in _bundled() if name.startswith(STUDY_PREFIX)]


def _bundled() -> list[str]:
    files = resources.files(RECIPE_PACKAGE).iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def recipe_text(name_or_path: str) -> str:
    """The YAML of a bundled recipe or of a file.

    Raises:
        RecipeError: neither a bundled name nor a readable file.
    """
    names = recipe_names()
    if name_or_path in study_names():
        raise RecipeError(
            f"'{name_or_path}' is a study, not a run's recipe",
            hint=f"`agentr-lite study {name_or_path}` runs it, with --plan shows it.",
        )
    return yaml_text(
        name_or_path,
        names,
        kind="recipe",
        hint="`agentr-lite recipes` lists the bundled ones; a path to a YAML file works too.",
    )


def yaml_text(name_or_path: str, names: Sequence[str], *, kind: str, hint: str) -> str:
    """The text of a bundled YAML file, or of any.

    Args:
        name_or_path: one of ``names``, or the path of a file.
        names: the bundled files of this kind.
        kind: what messages call such a file.
        hint: what else the user may try.

    Raises:
        RecipeError: neither a bundled name nor a readable file.
    """
    if name_or_path in names:
        return resources.files(RECIPE_PACKAGE).joinpath(f"{name_or_path}.yaml").read_text("utf-8")
    path = Path(name_or_path)
    try:
        return read_limited(path)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"no {kind} '{name_or_path}'{did_you_mean(name_or_path, names)}"
            if isinstance(error, FileNotFoundError)
            else f"cannot read {kind} {path}: {error}",
            hint=hint,
        ) from error


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``--set key=value`` overrides.

    Args:
        name_or_path: bundled name or path of a YAML file.
        overrides: ``"search.width=2"`` and the like; values are YAML.

    Raises:
        RecipeError: unreadable, not a mapping, unknown key, wrong type, out of range.
    """
    data = recipe_data(name_or_path)
    apply_overrides(data, overrides)
    return recipe_from_dict(data)


def recipe_data(name_or_path: str) -> dict[str, Any]:
    """A recipe's plain data as its file has it, with a name.

    Raises:
        RecipeError: unreadable, or not a mapping.
    """
    text = recipe_text(name_or_path)
    try:
        data = load_yaml(text) or {}
    except YamlError as error:
        raise RecipeError(f"recipe {name_or_path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"recipe {name_or_path} must be a mapping, not {described(data)}")
    data.setdefault("name", Path(name_or_path).stem)
    return data


def with_overrides(stored: Mapping[str, Any], overrides: Sequence[str]) -> Recipe:
    """A stored recipe with some keys changed; ``stored`` stays as it is.

    Raises:
        RecipeError: see ``load_recipe``.
        StoreError: see ``stored_recipe``.
    """
    stored_recipe(stored)
    data = copy.deepcopy(dict(stored))
    apply_overrides(data, overrides)
    return recipe_from_dict(data)


def stored_recipe(stored: Mapping[str, Any]) -> Recipe:
    """The recipe that a run keeps.

    Raises:
        StoreError: it is none: the database is damaged, or another version wrote it.
    """
    try:
        return recipe_from_dict(stored)
    except UsageError as error:
        raise StoreError(
            f"the recipe of a run in the database cannot be read: {error.message}",
            hint="If the run is of another version of agentr-lite, use that one. Otherwise,"
            " `agentr-lite doctor` with the same -d says what is damaged.",
        ) from error


def recipe_from_dict(data: Mapping[str, Any]) -> Recipe:
    """A recipe from plain data, validated; keys that are left out have their defaults.

    Raises:
        RecipeError: see ``load_recipe``.
    """
    environments = read_environments(
        data.get("env", EnvironmentSettings.name), data.get("env_options", {})
    )
    others = {key: value for key, value in data.items() if key not in ("env", *SHORT_KEYS)}
    recipe = build(Recipe, with_grammar_text(others), more_keys=list(SHORT_KEYS))
    if not recipe.splice.alpha:
        raise RecipeError("splice.alpha: needs at least one value")
    further = recipe.imitation.further
    if further and len(further) != recipe.rounds:
        raise RecipeError(
            f"imitation.further: has {len(further)} numbers, but the recipe has"
            f" {recipe.rounds} rounds",
            hint="Give one number for each round, or leave it out.",
        )
    _check_preferences(recipe)
    recipe = dataclasses.replace(recipe, env=environments)
    # This checks what the environments have of their own, too. Where there is only one, its own
    # settings are simply the recipe's.
    alone = recipe.by_environment()
    return alone[0] if len(alone) == 1 else recipe


def _check_preferences(recipe: Recipe) -> None:
    """Refuse a preference objective that would never see a pair.

    Raises:
        RecipeError: it has no kind of pairs to learn from, or one twice.
    """
    kinds = recipe.splice.preferences
    repeated = [kind for index, kind in enumerate(kinds) if kind in kinds[:index]]
    if repeated:
        raise RecipeError(f"splice.preferences: {repeated[0]} occurs twice")
    if recipe.train.objective != "sft" and not kinds:
        raise RecipeError(
            f"train.objective={recipe.train.objective} learns from pairs, but splice.preferences"
            " is empty",
            hint=f"Name the kinds of pairs, e.g. --set splice.preferences=[step]; there are"
            f" {', '.join(PREFERENCE_KINDS)} (docs/preferences.md).",
        )
