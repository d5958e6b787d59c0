"""Environments by name: those that come along and those that packages register.

A package offers its own through the entry point group ``agentr_lite.envs``::

    [project.entry-points."agentr_lite.envs"]
    mygame = "mypackage.mygame:MyGame"

The object named is an ``Environment`` class or a function that makes one; a recipe's
``env_options`` are its keyword arguments.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from agentr_lite.envs.base import SPLITS, Environment, Task
from agentr_lite.envs.wrappers import ReplayEnvironment
from agentr_lite.errors import AgentrError, EnvironmentFault, UsageError
from agentr_lite.recipe import did_you_mean

ENTRY_POINT_GROUP = "agentr_lite.envs"

_BUILT_IN: dict[str, str] = {"textcraft": "agentr_lite.envs.textcraft:TextCraft"}
"""Known without installed metadata, e.g. from a plain checkout."""


def env_names() -> list[str]:
    """All environments that can be asked for, sorted."""
    return sorted({*_BUILT_IN, *_plugins()})


def env_origin(name: str) -> str:
    """Where an environment comes from: ``built in`` or its package's name and version."""
    plugin = _plugins().get(name)
    if name in _BUILT_IN or plugin is None:
        return "built in"
    return f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else plugin.value


def make_env(name: str, options: Mapping[str, Any] | None = None) -> Environment:
    """An environment with the given settings.

    One that does not save its state is wrapped so that snapshots work (``ReplayEnvironment``).

    Args:
        name: as in ``env_names``.
        options: keyword arguments of its constructor; a recipe's ``env_options``.

    Raises:
        UsageError: no such environment, or an option that it does not have.
        EnvironmentFault: a plugin cannot be loaded, or its constructor raised.
    """
    factory = _factory(name)
    _check_options(name, factory, options or {})
    try:
        env = factory(**(options or {}))
    except AgentrError:
        raise
    except Exception as error:
        raise EnvironmentFault(
            name, f"cannot be made: {type(error).__name__}: {error}", hint=_whose(name)
        ) from error
    if not isinstance(env, Environment):
        raise EnvironmentFault(
            name,
            f"its entry point made a {type(env).__name__}",
            hint="It must be a subclass of agentr_lite.envs.base.Environment.",
        )
    return env if _saves_state(env) else ReplayEnvironment(env)


def find_task(env: Environment, name: str, split: str | None = None) -> Task:
    """A task by name.

    Args:
        env: where to look.
        name: the task's name.
        split: look there only; default: in all.

    Raises:
        UsageError: no such task.
    """
    known: list[str] = []
    for where in SPLITS if split is None else (split,):
        for task in env.tasks(where):
            if task.name == name:
                return task
            known.append(task.name)
    place = f" in its {split} split" if split else ""
    raise UsageError(
        f"{env.name} has no task '{name}'{place}{did_you_mean(name, known)}",
        hint=f"`agentr-lite envs show {env.name} --tasks` lists them.",
    )


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _factory(name: str) -> Callable[..., Any]:
    plugin = _plugins().get(name)
    # What comes along cannot be replaced by a package that takes its name.
    target = _BUILT_IN.get(name) or (plugin.value if plugin else None)
    if target is None:
        raise UsageError(
            f"no environment '{name}'{did_you_mean(name, env_names())}",
            hint="`agentr-lite envs` lists them.",
        )
    try:
        if plugin is not None and name not in _BUILT_IN:
            loaded = plugin.load()
        else:
            module, _, attribute = target.partition(":")
            loaded = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise EnvironmentFault(
            name, f"cannot load {target}: {type(error).__name__}: {error}", hint=_whose(name)
        ) from error
    if not callable(loaded):
        raise EnvironmentFault(name, f"{target} is not a class or function", hint=_whose(name))
    factory: Callable[..., Any] = loaded
    return factory


def _check_options(name: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind is not inspect.Parameter.POSITIONAL_ONLY]
    for option in options:
        if option not in known:
            raise UsageError(
                f"{name} has no option '{option}'{did_you_mean(str(option), known)}",
                hint=f"Options: {', '.join(known) or 'none'}.",
            )


def _saves_state(env: Environment) -> bool:
    return type(env).snapshot is not Environment.snapshot


def _whose(name: str) -> str:
    return f"It comes from {env_origin(name)}." if name not in _BUILT_IN else ""
