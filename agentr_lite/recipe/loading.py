"""Recipes: YAML to dataclasses, validated, with ``--set key=value`` on top."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from agentr_lite.core.errors import RecipeError
from agentr_lite.core.gbnf import with_grammar_texts
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.recipe.environments import env_mapping, read_env
from agentr_lite.recipe.settings import Recipe
from agentr_lite.recipe.values import RANGES as RANGES
from agentr_lite.recipe.values import assign, build, one_line, type_name

RECIPE_PACKAGE = "agentr_lite_recipes"
STUDY_PREFIX = "study-"
"""What a bundled study's name begins with."""


def recipe_names() -> list[str]:
    """Names of the bundled recipes, sorted."""
    return [name for name in _bundled() if not name.startswith(STUDY_PREFIX)]


def study_names() -> list[str]:
    """Names of the bundled studies, sorted: recipes of many runs (``agentr_lite.study``)."""
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
        name_or_path: one of ``names``, or a file.
        names: of the bundled files of this kind.
        kind: what to call it.
        hint: what else to try.

    Raises:
        RecipeError: neither a bundled name nor a readable file.
    """
    if name_or_path in names:
        return resources.files(RECIPE_PACKAGE).joinpath(f"{name_or_path}.yaml").read_text("utf-8")
    path = Path(name_or_path)
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
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
    import yaml

    text = recipe_text(name_or_path)
    try:
        data = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {name_or_path} is not valid YAML: {one_line(error)}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"recipe {name_or_path} must be a mapping, not {type_name(data)}")
    data.setdefault("name", Path(name_or_path).stem)
    apply_overrides(data, overrides)
    return recipe_from_dict(data)


def with_overrides(stored: Mapping[str, Any], overrides: Sequence[str]) -> Recipe:
    """A stored recipe with some keys changed; ``stored`` stays as it is.

    Raises:
        RecipeError: see ``load_recipe``.
    """
    data = copy.deepcopy(dict(stored))
    apply_overrides(data, overrides)
    return recipe_from_dict(data)


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set keys of a recipe that is still plain data.

    Args:
        data: changed in place.
        overrides: ``"search.width=2"`` and the like; values are YAML.

    Raises:
        RecipeError: not of the form ``key=value``, not YAML, or a group where a key was meant.
    """
    import yaml

    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise RecipeError(f"--set {override}: needs the form key=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {key}: {one_line(error)}") from error
        key = key.strip()
        if key.startswith("env.") and (several := env_mapping(data.get("env"))) is not None:
            data["env"] = several
        assign(data, key, parsed)


def recipe_from_dict(data: Mapping[str, Any]) -> Recipe:
    """Validate a plain mapping.

    Raises:
        RecipeError: see ``load_recipe``.
    """
    data = with_grammar_texts(data)
    env = read_env(data.get("env", Recipe.env))
    recipe = build(Recipe, {key: value for key, value in data.items() if key != "env"})
    recipe = dataclasses.replace(recipe, env=env)
    if not recipe.splice.alpha:
        raise RecipeError("splice.alpha: needs at least one value")
    # What the environments have of their own is checked here, too.
    recipe.parts()
    return recipe
