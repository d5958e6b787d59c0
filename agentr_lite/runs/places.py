"""Makes the paths in a recipe absolute.

A run keeps its recipe, and may be resumed, evaluated or looked at from another directory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentr_lite.recipe.settings import Recipe


def absolute_places(recipe: Recipe) -> Recipe:
    """The recipe with absolute paths.

    A text stays as it is where nothing exists at it as a path: a model's name, ``starter``, an
    environment's name.

    Args:
        recipe: resolved.
    """
    from agentr_lite.envs.names import absolute_env_name
    from agentr_lite.envs.registry import path_options

    env = tuple(
        dataclasses.replace(
            each,
            name=absolute_env_name(each.name),
            options=_absolute_options(
                each.options, path_options(each.name) if each.options else ()
            ),
        )
        for each in recipe.env
    )
    return dataclasses.replace(
        recipe,
        env=env,
        model=_model(recipe.model),
        train_model=_absolute(recipe.train_model),
        agent=dataclasses.replace(
            recipe.agent, chat_template=_absolute(recipe.agent.chat_template)
        ),
        train=dataclasses.replace(
            recipe.train,
            general=_general(recipe.train.general),
            hosts=_absolute(recipe.train.hosts),
        ),
    )


def _absolute(text: str) -> str:
    path = Path(text).expanduser()
    return str(path.absolute()) if text and path.exists() else text


def _absolute_options(options: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """Options of an environment, those named in ``paths`` made absolute."""
    return {
        key: _absolute(value) if key in paths and isinstance(value, str) else value
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
