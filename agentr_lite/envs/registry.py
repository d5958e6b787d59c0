"""Finds environments by name: built-in ones, those of installed packages, adapters and files.

``agentr_lite.envs.names`` defines the names. A package registers an environment with the entry
point group ``agentr_lite.envs``::

    [project.entry-points."agentr_lite.envs"]
    mygame = "mypackage.mygame:MyGame"

The named object is an ``Environment`` class or a function that makes an environment. A recipe's
``env_options`` are its keyword arguments. An adapter (``gymnasium:ID``) gets the address as its
first argument.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from agentr_lite.core.errors import EnvironmentFault, UsageError
from agentr_lite.core.suggestions import did_you_mean
from agentr_lite.core.tasks import SPLITS, Task
from agentr_lite.envs.base import Environment
from agentr_lite.envs.faults import raised_at
from agentr_lite.envs.files import load_from_file
from agentr_lite.envs.foreign import foreign_code
from agentr_lite.envs.isolated import IsolatedEnvironment
from agentr_lite.envs.names import EnvName, parse_env_name
from agentr_lite.envs.wrappers import ReplayEnvironment

ENTRY_POINT_GROUP = "agentr_lite.envs"
TIME_LIMIT = "time_limit_s"
ISOLATE = "isolate"
"""Options that every environment has; its constructor does not get them."""
_LONGEST_NAME = 200

_BUILT_IN: dict[str, str] = {
    "alfworld": "agentr_lite.envs.alfworld:AlfWorld",
    "sciworld": "agentr_lite.envs.sciworld:SciWorld",
    "textcraft": "agentr_lite.envs.textcraft:TextCraft",
    "textworld": "agentr_lite.envs.textworld:TextWorld",
    "webshop": "agentr_lite.envs.webshop:WebShop",
}
"""Built-in environments; they are known without installed metadata, as in a plain checkout."""


class Adapter(NamedTuple):
    """Makes environments of something else, by its address."""

    target: str
    """``module:class``; called with the address and the options."""
    form: str
    """The form of the name, for people."""
    meaning: str


ADAPTERS: dict[str, Adapter] = {
    "gymnasium": Adapter(
        "agentr_lite.envs.gymnasium:GymnasiumText",
        "gymnasium:ID",
        "a Gymnasium environment whose observations are text",
    ),
    "agentgym": Adapter(
        "agentr_lite.envs.agentgym:AgentGym",
        "agentgym+http://HOST:PORT[/KIND]",
        "an AgentGym server",
    ),
    "openenv": Adapter(
        "agentr_lite.envs.openenv:OpenEnv",
        "openenv+http://HOST:PORT",
        "an OpenEnv server",
    ),
}
"""By scheme: the part of a name before the colon or the plus sign."""


def env_names() -> list[str]:
    """The plain names of all environments, sorted."""
    return sorted({*_BUILT_IN, *_plugins()})


def is_env_name(text: str) -> bool:
    """Whether ``text`` names an environment, even one that cannot be loaded."""
    name = parse_env_name(text)
    return name.path is not None or name.scheme in ADAPTERS or text in env_names()


def env_origin(name: str) -> str:
    """The origin of an environment: ``built in``, its file, or its package and version."""
    path = parse_env_name(name).path
    if path is not None:
        return str(path)
    plugin = _plugins().get(name)
    if name in _BUILT_IN or plugin is None:
        return "built in"
    return f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else plugin.value


def make_env(name: str, options: Mapping[str, Any] | None = None) -> Environment:
    """Make an environment with the given settings.

    If it cannot save its state, it is wrapped in ``ReplayEnvironment``, so that snapshots work.

    Args:
        name: as in ``env_names``, or an address or a file (``agentr_lite.envs.names``).
        options: keyword arguments of its constructor; a recipe's ``env_options``. All environments
            have ``time_limit_s`` and ``isolate`` (``Environment.time_limit_s`` and ``isolate``),
            which the constructor does not get.

    Raises:
        UsageError: there is no such environment, or it has no such option.
        EnvironmentFault: a plugin cannot be loaded, or its constructor raised an error.
    """
    parsed = parse_env_name(name)
    own = dict(options or {})
    limit = _time_limit(name, own.pop(TIME_LIMIT, None))
    isolate = own.pop(ISOLATE, None)
    if isolate not in (None, True, False):
        raise UsageError(f"{name}: {ISOLATE} needs true or false, not {isolate!r}")
    # With the option, not even its import runs in this process.
    if isolate or (isolate is None and getattr(_factory(parsed, limit), ISOLATE, False) is True):
        return IsolatedEnvironment(name, own, limit)
    factory = _factory(parsed, limit)
    arguments = [parsed.address] if parsed.scheme else []
    _check_options(name, factory, own, given=len(arguments))
    making = Environment.time_limit_s if limit is None else limit
    with foreign_code(
        name,
        "making it",
        making,
        failed="cannot be made",
        hint=_whose(name),
        raised_at=lambda error: raised_at(error, factory),
    ):
        env = factory(*arguments, **own)
        own_name, own_limit = getattr(env, "name", None), getattr(env, TIME_LIMIT, None)
        _time_limit(name, own_limit)
    if not isinstance(env, Environment):
        raise EnvironmentFault(
            name,
            f"made a {type(env).__name__}, which is not an environment",
            hint="It must be a subclass of agentr_lite.envs.base.Environment.",
        )
    if problem := _name_problem(own_name):
        raise EnvironmentFault(name, f"its name is {problem}", hint=_whose(name))
    made = env if _saves_state(env) else ReplayEnvironment(env)
    if limit is not None:
        made.time_limit_s = limit
    return made


def _name_problem(own_name: Any) -> str:
    """Why an environment cannot have this name; empty: it can.

    The name stands in messages, in the database and in the names of folders.
    """
    # No subclass: its methods are a plugin's code, and may do anything.
    if type(own_name) is not str:
        return f"a {type(own_name).__name__}; needed: a text"
    if not own_name.strip() or len(own_name) > _LONGEST_NAME or not own_name.isprintable():
        return (
            f"{own_name[:_LONGEST_NAME]!r}; needed: 1 to {_LONGEST_NAME} printable characters,"
            " and not only blanks"
        )
    return ""


def replays_quickly(name: str) -> bool:
    """Whether an environment's class says that it replays quickly.

    See ``Environment.replays_quickly``. No environment is made. Code from a file or an address is
    not loaded; it counts as slow.
    """
    parsed = parse_env_name(name)
    if parsed.path is not None or parsed.scheme:
        return False
    return bool(getattr(_factory(parsed), "replays_quickly", False))


def path_options(name: str) -> tuple[str, ...]:
    """The options of an environment that name files (``Environment.path_options``).

    No environment is made. Code from a file or an address is not loaded; it has the default.

    Raises:
        UsageError: there is no such environment.
        EnvironmentFault: a plugin cannot be loaded.
    """
    parsed = parse_env_name(name)
    if parsed.path is not None or parsed.scheme:
        return Environment.path_options
    return tuple(getattr(_factory(parsed), "path_options", Environment.path_options))


def find_task(
    env: Environment,
    name: str,
    split: str | None = None,
    *,
    listing: Callable[[Environment, str], Sequence[Task]] | None = None,
) -> Task:
    """A task by name.

    Args:
        env: the environment that has the task.
        name: the task's name.
        split: the only split to look in; default: all.
        listing: lists a split's tasks; default: ``Environment.tasks``.

    Raises:
        UsageError: there is no such task.
    """
    known: list[str] = []
    for where in SPLITS if split is None else (split,):
        for task in listing(env, where) if listing else env.tasks(where):
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


def _factory(name: EnvName, limit_s: float | None = None) -> Callable[..., Any]:
    """The class or function that makes the environment.

    Args:
        name: its name.
        limit_s: the longest time that its import may take; None: the usual limit.

    Raises:
        UsageError: there is no such environment, adapter or file.
        EnvironmentFault: it cannot be loaded.
    """
    text = name.text
    plugin = None
    # A package cannot replace a built-in environment by taking its name.
    target = _BUILT_IN.get(text)
    if name.path is not None:
        target = text
    elif name.scheme:
        adapter = ADAPTERS.get(name.scheme)
        target = adapter.target if adapter else None
    elif target is None:
        plugin = _plugins().get(text)
        target = plugin.value if plugin else None
    if target is None:
        forms = [adapter.form for adapter in ADAPTERS.values()]
        raise UsageError(
            f"no environment '{text}'{did_you_mean(text, [*env_names(), *forms])}",
            hint="`agentr-lite envs` lists them.",
        )
    limit = Environment.time_limit_s if limit_s is None else limit_s
    # The limit is for foreign code; ours may be slow on a busy machine, but returns.
    limit = 0.0 if text in _BUILT_IN or name.scheme else limit
    with foreign_code(
        text, f"loading {target}", limit, failed=f"cannot load {target}", hint=_whose(text)
    ):
        if name.path is not None:
            loaded = load_from_file(name.path, name.attribute)
        elif plugin is not None:
            loaded = plugin.load()
        else:
            module, _, attribute = target.partition(":")
            loaded = getattr(importlib.import_module(module), attribute)
    if not callable(loaded):
        raise EnvironmentFault(text, f"{target} is not a class or function", hint=_whose(text))
    factory: Callable[..., Any] = loaded
    return factory


def _check_options(
    name: str, factory: Callable[..., Any], options: Mapping[str, Any], *, given: int
) -> None:
    """Refuse options that ``factory`` does not have after its first ``given`` arguments."""
    try:
        parameters = list(inspect.signature(factory).parameters.values())[given:]
    except (ValueError, TypeError):
        # A class of machine code: it refuses what it does not know.
        return
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind is not inspect.Parameter.POSITIONAL_ONLY]
    known += [TIME_LIMIT, ISOLATE]
    for option in options:
        if option not in known:
            raise UsageError(
                f"{name} has no option '{option}'{did_you_mean(str(option), known)}",
                hint=f"Options: {', '.join(known)}.",
            )


def _time_limit(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise UsageError(f"{name}: {TIME_LIMIT} needs a number of seconds >= 0, not {value!r}")
    return float(value)


def _saves_state(env: Environment) -> bool:
    return type(env).snapshot is not Environment.snapshot


def _whose(name: str) -> str:
    origin = env_origin(name)
    return "" if origin == "built in" else f"It comes from {origin}."
