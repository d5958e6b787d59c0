"""Paths in a recipe, made to hold from any working directory.

A run keeps its recipe, and is resumed, evaluated and looked at from wherever the user is then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentr_lite.cli.env_options import DATA_FLAGS

if TYPE_CHECKING:
    from agentr_lite.recipe.settings import Recipe

_DATA_OPTIONS = (*(flag.option for flag in DATA_FLAGS), "games_dir")
"""Options of environments that name files."""


def absolute_places(recipe: Recipe) -> Recipe:
    """A recipe whose relative paths are absolute, as far as there is something at them.

    Args:
        recipe: resolved; its names (a model's, ``starter``, an environment's) stay names.
    """
    from agentr_lite.envs.names import absolute_env_name

    env = tuple(
        dataclasses.replace(own, name=absolute_env_name(own.name), options=_options(own.options))
        for own in recipe.env
    )
    return dataclasses.replace(
        recipe,
        env=env,
        model=_model(recipe.model),
        train_model=_absolute(recipe.train_model),
        agent=dataclasses.replace(
            recipe.agent, chat_template=_absolute(recipe.agent.chat_template)
        ),
        train=dataclasses.replace(recipe.train, general=_general(recipe.train.general)),
    )


def _absolute(text: str) -> str:
    path = Path(text).expanduser()
    return str(path.absolute()) if text and path.exists() else text


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _absolute(value) if key in _DATA_OPTIONS and isinstance(value, str) else value
        for key, value in options.items()
    }


def _model(spec: str) -> str:
    from agentr_lite.actors.mlx.spec import PREFIX, is_mlx
    from agentr_lite.actors.registry import STARTER, expand

    if spec == STARTER or expand(spec) != spec:
        return spec
    if is_mlx(spec):
        return PREFIX + _absolute(spec.removeprefix(PREFIX))
    return _absolute(spec)


def _general(spec: str) -> str:
    return spec if spec == "starter" else _absolute(spec)
