"""Recipe values: from plain data to typed settings, with messages that name the key."""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from agentr_lite.core.errors import RecipeError
from agentr_lite.recipe.fields import Setting, per_env_keys, settings_of
from agentr_lite.recipe.keys import dotted_keys, key_suggestion

T = TypeVar("T")
_SHOWN_CHARACTERS = 200
_NEEDED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def build(
    cls: type[T],
    data: Any,
    prefix: str = "",
    *,
    more_keys: Sequence[str] = (),
    known: Callable[[], list[str]] | None = None,
) -> T:
    """A dataclass of settings from plain data.

    Args:
        cls: the dataclass; groups within it are dataclasses, too.
        data: a mapping of keys to values.
        prefix: what the keys are called in messages, e.g. ``search.``.
        more_keys: keys that the caller reads itself; a message may suggest them.
        known: gives the full names of the keys that a message may suggest, for a group within
            other settings. Default: those of ``cls``.

    Raises:
        RecipeError: not a mapping, an unknown key, a wrong type or a value out of range.
    """
    if not isinstance(data, Mapping):
        raise RecipeError(f"{prefix.rstrip('.')}: needs a mapping, not {described(data)}")
    hints = typing.get_type_hints(cls)
    declared = settings_of(cls)
    known = known or partial(dotted_keys, cls, prefix)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in hints:
            names = [*known(), *(f"{prefix}{name}" for name in more_keys)]
            raise RecipeError(
                _unknown_key(f"{prefix}{key}", value, names),
                hint="`agentr-lite recipes show textcraft` prints a recipe with its keys.",
            )
        values[key] = convert(hints[key], value, f"{prefix}{key}", declared.get(key), known=known)
    return cls(**values)


def _unknown_key(key: str, value: Any, names: Sequence[str]) -> str:
    """The message about an unknown key; of an unknown group with one key, it names that key."""
    if isinstance(value, Mapping) and len(value) == 1:
        whole = f"{key}.{next(iter(value))}"
        if suggestion := key_suggestion(whole, names):
            return f"unknown key '{whole}'{suggestion}"
    return f"unknown key '{key}'{key_suggestion(key, names)}"


def own_values(kind: type, data: Mapping[str, Any], group: str, prefix: str) -> dict[str, Any]:
    """One environment's own settings of one group, checked.

    Args:
        kind: the group's dataclass.
        data: plain values.
        group: the group's name.
        prefix: what its keys are called in messages, e.g. ``env.textcraft.search.``.

    Raises:
        RecipeError: an unknown key, a key that all environments share, or a wrong value.
    """
    hints, declared, allowed = typing.get_type_hints(kind), settings_of(kind), per_env_keys(kind)
    names = [f"{prefix}{key}" for key in allowed]
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in allowed:
            raise RecipeError(
                f"{prefix}{key}: all environments share {group}.{key}"
                if key in hints
                else f"unknown key '{prefix}{key}'{key_suggestion(f'{prefix}{key}', names)}",
                hint=f"An environment of several may have its own {', '.join(allowed)}.",
            )
        values[key] = convert(hints[key], value, f"{prefix}{key}", declared[key])
        if values[key] == ():
            raise RecipeError(f"{prefix}{key}: needs at least one value")
    return values


def convert(
    hint: Any,
    value: Any,
    key: str,
    declared: Setting | None = None,
    *,
    known: Callable[[], list[str]] | None = None,
) -> Any:
    """A value as its key's type wants it.

    Args:
        hint: the type.
        value: plain data.
        key: what it is called in messages.
        declared: the key's setting; its range is checked.
        known: see ``build``.

    Raises:
        RecipeError: see ``build``.
    """
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, f"{key}.", known=known)
    if origin is Literal:
        allowed = typing.get_args(hint)
        # YAML reads a bare `off` as False.
        value = "off" if value is False and "off" in allowed else value
        if value not in allowed:
            raise RecipeError(
                f"{key}: {_shown(value)} is not one of {', '.join(map(str, allowed))}"
            )
        return value
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(convert(typing.get_args(hint)[0], item, key, declared) for item in items)
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
        if not isinstance(value, Mapping):
            raise RecipeError(f"{key}: needs a mapping, not {described(value)}")
        return dict(value)
    if isinstance(hint, types.UnionType):  # pragma: no cover - no such key today
        raise TypeError(f"unsupported recipe type {hint}")
    return _scalar(hint, value, key, declared)


def _scalar(hint: type, value: Any, key: str, declared: Setting | None) -> Any:
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads `1e-4` as a string.
        with contextlib.suppress(ValueError):
            value = float(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise RecipeError(f"{key}: needs {_NEEDED[hint]}, not {described(value)}")
    if declared and isinstance(value, int | float) and not declared.allows(value):
        raise RecipeError(f"{key}: {value} is outside {declared.span}")
    return value


def plain(value: Any) -> Any:
    """JSON types: tuples become lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def described(value: Any) -> str:
    """What a value is, in the words of a recipe and not of Python, for messages."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {_shown(value)}"
    if isinstance(value, int | float):
        return _shown(value)
    return "a mapping" if isinstance(value, Mapping) else "a list"


def _shown(value: Any) -> str:
    """A value in a message; a long one is cut."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
