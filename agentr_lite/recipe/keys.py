"""Full names of recipe keys, such as ``search.width``, and what a mistyped key may mean."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Sequence

from agentr_lite.core.suggestions import closest, did_you_mean_one_of

_VERY_SIMILAR = 0.85
"""A full name that is typed with a slip or two; see ``core.suggestions.closest``."""


def dotted_keys(kind: type, prefix: str = "") -> list[str]:
    """Full names of the keys of a dataclass of settings, and of its groups and their keys.

    Args:
        kind: the dataclass.
        prefix: what its keys begin with, e.g. ``env.textcraft.``.

    Returns:
        In the order of the fields; a group stands before its keys.
    """
    keys: list[str] = []
    for name, hint in typing.get_type_hints(kind).items():
        keys.append(f"{prefix}{name}")
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            keys += dotted_keys(hint, f"{prefix}{name}.")
    return keys


def key_values(kind: type, prefix: str = "") -> dict[str, tuple[str, ...]]:
    """The keys of a dataclass of settings that hold a value, each with the values that it may have.

    Args:
        kind: see ``dotted_keys``.
        prefix: see ``dotted_keys``.

    Returns:
        Full names to values; no values where any number or text is allowed.
    """
    values: dict[str, tuple[str, ...]] = {}
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            values |= key_values(hint, f"{prefix}{name}.")
        elif typing.get_origin(hint) is typing.Literal:
            values[f"{prefix}{name}"] = tuple(map(str, typing.get_args(hint)))
        else:
            values[f"{prefix}{name}"] = ("true", "false") if hint is bool else ()
    return values


def key_suggestion(key: str, known: Iterable[str]) -> str:
    """`` (did you mean 'search.tasks' or 'eval.tasks'?)``, with full names, or nothing.

    A key that is right but for its group comes first, then a full name with a slip, a similar key
    of the same group, one of any group, and at last a full name that is only similar.

    Args:
        key: an unknown key's full name.
        known: the full names of all keys.
    """
    group, _, last = key.rpartition(".")
    by_last: dict[str, list[str]] = {}
    siblings: dict[str, str] = {}
    for name in known:
        its_group, _, its_last = name.rpartition(".")
        by_last.setdefault(its_last, []).append(name)
        if its_group == group:
            siblings[its_last] = name
    return did_you_mean_one_of(_meant(key, last, siblings, by_last))


def _meant(
    key: str, last: str, siblings: dict[str, str], by_last: dict[str, list[str]]
) -> Sequence[str]:
    if last in by_last:
        # `searh.tasks` is one of several keys `tasks`.
        near = closest(key, by_last[last], cutoff=_VERY_SIMILAR)
        return by_last[last] if near is None else [near]
    names = [name for group in by_last.values() for name in group]
    if (name := closest(key, names, cutoff=_VERY_SIMILAR)) is not None:
        return [name]
    if (name := closest(last, list(siblings))) is not None:
        return [siblings[name]]
    if (name := closest(last, list(by_last))) is not None:
        return by_last[name]
    whole = closest(key, names)
    return [] if whole is None else [whole]
