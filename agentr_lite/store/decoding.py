"""Stored rows and JSON values become typed records here; what does not fit is damage.

The tables are STRICT and have checks, but a flipped bit on a disk, or a tool that switches the
checks off, leaves values that no statement of ours wrote. They are found at this edge, so that code
above the store can rely on the types of its records.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from math import isfinite
from typing import (
    Any,
    Literal,
    NotRequired,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from agentr_lite.core.errors import StoreError
from agentr_lite.core.steps import Step, step_from_json

T = TypeVar("T")
Check = Callable[[Any], bool]

DAMAGE_HINT = (
    "`agentr-lite doctor` with the same -d says what is damaged, and `agentr-lite runs export"
    " --to NEW.db` saves the sound runs."
)

_KEYS = ("id", "run_id", "tree_id", "idx", "round", "stage", "mode", "task_id", "sample", "name")
"""Columns that tell a reader which row it is."""


class DamagedError(StoreError):
    """The file holds something that this program did not write."""

    def __init__(self, message: str, *, hint: str = DAMAGE_HINT) -> None:
        super().__init__(message, hint=hint)


def record(
    kind: type[T],
    values: Mapping[str, Any],
    table: str,
    *,
    decoded: Iterable[str] = (),
    finite: bool = True,
) -> T:
    """A row as its dataclass.

    Args:
        kind: the dataclass; its annotations say what fits.
        values: field name to what the row has.
        table: where the row is from, for the message.
        decoded: fields that the row has as JSON; NULL stays None.
        finite: whether infinity fits no field.

    Raises:
        DamagedError: a value does not fit its annotation, or is no JSON.
    """
    fields = dict(values)
    for name in decoded:
        if fields[name] is not None:
            fields[name] = from_json(fields[name], f"{name} of {_label(table, values)}")
    for name, fits in _field_checks(cast(Hashable, kind)):
        if name not in fields:
            continue
        value = fields[name]
        if not fits(value) or (finite and type(value) is float and not isfinite(value)):
            raise DamagedError(
                f"{name} of {_label(table, values)} is damaged: {_shown(fields[name])}"
            )
    return kind(**fields)


def from_json(text: Any, what: str, shape: Any = Any) -> Any:
    """A stored JSON value.

    Args:
        text: as the column has it.
        what: its name in the message.
        shape: the type that the value must have, as an annotation.

    Raises:
        DamagedError: it is no JSON, or has another shape.
    """
    try:
        value = json.loads(text)
    # A flipped byte can make a text of brackets, or a number of thousands of digits.
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedError(f"{what} is damaged: it is no valid JSON") from error
    if not check_of(shape)(value):
        raise DamagedError(f"{what} is damaged: {_shown(value)}")
    return value


def stored_steps(text: Any, what: str) -> list[tuple[Step, Mapping[str, Any]]]:
    """A column of steps: each with the JSON object that it was read from.

    Args:
        text: as the column has it.
        what: its name in the message.

    Raises:
        DamagedError: it is no JSON, or no list of steps.
    """
    values = from_json(text, what, list[Mapping[str, Any]])
    try:
        steps = [(step_from_json(each), each) for each in values]
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{what} is damaged: a step is not whole") from error
    for step, _ in steps:
        for name, fits in _field_checks(Step):
            if not fits(getattr(step, name)):
                raise DamagedError(f"{what} is damaged: {name} {_shown(getattr(step, name))}")
    return steps


def _label(table: str, values: Mapping[str, Any]) -> str:
    keys = [f"{key} {_shown(values[key])}" for key in _KEYS if values.get(key) is not None]
    return f"a row of {table}" + (f" ({', '.join(keys)})" if keys else "")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


@cache
def _field_checks(kind: Any) -> tuple[tuple[str, Check], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (field.name, check_of(hints[field.name]))
        for field in dataclasses.fields(kind)
        if hints[field.name] is not Any
    )


@cache
def check_of(hint: Any) -> Check:
    """A function that says whether a value fits a type annotation.

    Known are the built-in types, None, Literal, unions, Mapping, Sequence, list and tuple of any
    length, dataclasses and TypedDicts; ``Any`` fits everything. An int fits float.
    """
    simple = _simple_types(hint)
    if simple is not None:
        return lambda value: type(value) in simple
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: True
    if origin is Literal:
        return lambda value: type(value) is str and value in arguments
    if origin in (Union, types.UnionType):
        options = tuple(map(check_of, arguments))
        return lambda value: any(option(value) for option in options)
    if origin is NotRequired:
        return check_of(arguments[0])
    if is_typeddict(hint):
        return _typed_dict_check(hint)
    if origin in (dict, Mapping):
        key, item = (check_of(argument) for argument in arguments or (Any, Any))
        return lambda value: (
            isinstance(value, Mapping) and all(key(k) and item(v) for k, v in value.items())
        )
    if origin in (list, tuple, Sequence):
        element = check_of(arguments[0])
        return lambda value: isinstance(value, list | tuple) and all(map(element, value))
    return lambda value: isinstance(value, hint)


def _simple_types(hint: Any) -> frozenset[type] | None:
    """The exact types that fit; None where that is not all there is to it."""
    if hint is float:
        return frozenset((float, int))
    if hint in (int, str, bool, bytes, type(None)):
        return frozenset((hint,))
    if get_origin(hint) in (Union, types.UnionType):
        parts = [_simple_types(argument) for argument in get_args(hint)]
        if all(part is not None for part in parts):
            return frozenset().union(*filter(None, parts))
    return None


def _typed_dict_check(hint: Any) -> Check:
    hints = get_type_hints(hint, include_extras=True)
    # Not __required_keys__: it takes a NotRequired in an annotation that is text for required.
    required = {name for name, of in hints.items() if get_origin(of) is not NotRequired}
    checks = {name: check_of(of) for name, of in hints.items()}
    return lambda value: (
        isinstance(value, dict)
        and required <= value.keys()
        and all(name not in checks or checks[name](item) for name, item in value.items())
    )
