"""Recipe values: from plain data to typed settings, with messages that name the key."""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from agentr_lite.core.errors import RecipeError
from agentr_lite.core.suggestions import did_you_mean

T = TypeVar("T")

RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31 - 1),
    "rounds": (0, 100),
    "env.share": (0.001, 1000),
    "agent.max_tokens": (1, 65_536),
    "agent.context_tokens": (64, 1 << 20),
    "search.tasks": (0, 10**9),
    "search.simulations": (1, 10**6),
    "search.width": (1, 64),
    "search.depth": (1, 10_000),
    "search.c": (0, 10**6),
    "search.temperature": (0, 100),
    "search.top_p": (0, 1),
    "search.top_k": (0, 10**6),
    "search.min_p": (0, 1),
    "search.wave": (1, 4096),
    "splice.alpha": (0, 1),
    "splice.beta": (0, 1),
    "splice.recovery_attempts": (0, 64),
    "splice.pairs_per_task": (0, 10**6),
    "splice.good_per_task": (0, 10**6),
    "train.eta": (0.01, 1),
    "train.epochs": (0, 1000),
    "train.learning_rate": (0, 1),
    "train.rank": (1, 1024),
    "train.scale": (0, 1000),
    "train.layers": (-1, 10_000),
    "train.batch_size": (1, 4096),
    "train.max_length": (1, 1 << 20),
    "train.warmup": (0, 1),
    "train.validation": (0, 0.5),
    "train.patience": (0, 10**6),
    "train.max_examples": (0, 10**9),
    "eval.tasks": (0, 10**9),
    "eval.max_steps": (1, 10_000),
    "eval.samples": (0, 1000),
    "eval.temperature": (0, 100),
    "eval.recovery_prefix": (0, 1),
    "eval.recovery_steps": (1, 10_000),
    "eval.batch": (1, 4096),
}
"""Least and greatest value of every key that holds a number (of each value, where it is a list)."""


def build(cls: type[T], data: Any, prefix: str = "") -> T:
    """A dataclass of settings from plain data.

    Args:
        cls: the dataclass; groups within it are dataclasses, too.
        data: a mapping of keys to values.
        prefix: what the keys are called in messages, e.g. ``search.``.

    Raises:
        RecipeError: not a mapping, an unknown key, a wrong type or a value out of range.
    """
    if not isinstance(data, Mapping):
        raise RecipeError(f"{prefix.rstrip('.')}: needs a mapping, not {type_name(data)}")
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in hints:
            raise RecipeError(
                f"unknown key '{prefix}{key}'{did_you_mean(str(key), list(hints))}",
                hint="`agentr-lite recipes show textcraft` prints a recipe with its keys.",
            )
        values[key] = convert(hints[key], value, f"{prefix}{key}")
    return cls(**values)


def convert(hint: Any, value: Any, key: str, *, bounds: str | None = None) -> Any:
    """A value as its key's type wants it.

    Args:
        hint: the type.
        value: plain data.
        key: what it is called in messages.
        bounds: whose range holds; default: the key's own.

    Raises:
        RecipeError: see ``build``.
    """
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, f"{key}.")
    if origin is Literal:
        allowed = typing.get_args(hint)
        # YAML reads a bare `off` as False.
        value = "off" if value is False and "off" in allowed else value
        if value not in allowed:
            raise RecipeError(f"{key}: {value!r} is not one of {', '.join(map(str, allowed))}")
        return value
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(convert(typing.get_args(hint)[0], item, key, bounds=bounds) for item in items)
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
        if not isinstance(value, Mapping):
            raise RecipeError(f"{key}: needs a mapping, not {type_name(value)}")
        return dict(value)
    if isinstance(hint, types.UnionType):  # pragma: no cover - no such key today
        raise TypeError(f"unsupported recipe type {hint}")
    return _scalar(hint, value, key, bounds or key)


def _scalar(hint: type, value: Any, key: str, bounds: str) -> Any:
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads `1e-4` as a string.
        with contextlib.suppress(ValueError):
            value = float(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise RecipeError(f"{key}: needs {hint.__name__}, not {type_name(value)} ({value!r})")
    low, high = RANGES.get(bounds, (float("-inf"), float("inf")))
    # NaN is in no range.
    if isinstance(value, int | float) and not low <= value <= high:
        raise RecipeError(f"{key}: {value} is outside {low:,} to {high:,}")
    return value


def assign(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a key of a group in plain data; groups that are missing are made.

    Raises:
        RecipeError: a key where a group was meant.
    """
    *parents, last = _keys(data, dotted)
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise RecipeError(f"--set {dotted}: '{parent}' is not a group of keys")
    data[last] = value


def _keys(data: Mapping[str, Any], dotted: str) -> list[str]:
    """A dotted key taken apart; an environment's name may hold dots itself (a file, an address)."""
    group, _, rest = dotted.partition(".")
    envs = data.get(group) if group == "env" else None
    names = [name for name in envs if rest.startswith(f"{name}.")] if isinstance(envs, dict) else []
    if not names:
        return dotted.split(".")
    name = max(names, key=len)
    return [group, name, *rest[len(name) + 1 :].split(".")]


def plain(value: Any) -> Any:
    """JSON types: tuples become lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def type_name(value: Any) -> str:
    """What a value is, for messages."""
    return "nothing" if value is None else type(value).__name__


def one_line(error: Exception) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())
