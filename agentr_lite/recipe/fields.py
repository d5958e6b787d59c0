"""A setting of a recipe: its default, its range and its meaning stand together on the field."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")

_KEY = "setting"
"""Where a field's metadata holds its ``Setting``."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field says of itself besides its type and its default."""

    meaning: str
    """For the documentation; single backticks mark code."""
    low: float | None = None
    """Smallest value of a number, or of each number of a list; None: no limit."""
    high: float | None = None
    """Largest value."""
    per_env: bool = False
    """Whether an environment of several may have its own value."""

    def allows(self, number: float) -> bool:
        """Whether a number is within the range; NaN is in none."""
        low = float("-inf") if self.low is None else self.low
        high = float("inf") if self.high is None else self.high
        return low <= number <= high

    @property
    def span(self) -> str:
        """The range in words, e.g. ``1 to 4,096``; empty where there is none."""
        return "" if self.low is None or self.high is None else f"{self.low:,} to {self.high:,}"


def setting(
    default: T,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    per_env: bool = False,
) -> T:
    """A dataclass field that knows its range and its meaning.

    Args:
        default: the value of a key that is left out.
        meaning: see ``Setting``, as are the others.
        low: smallest value.
        high: largest value.
        per_env: whether an environment of several may have its own value.

    Returns:
        The field. Its type is given as the default's, as ``dataclasses.field`` does it.
    """
    metadata = {_KEY: Setting(meaning, low, high, per_env)}
    if isinstance(default, Mapping):
        # Each instance gets its own mapping.
        return cast(T, dataclasses.field(default_factory=lambda: dict(default), metadata=metadata))
    return dataclasses.field(default=default, metadata=metadata)


def settings_of(kind: type) -> dict[str, Setting]:
    """Key to setting, for the fields of a dataclass that were declared with ``setting``."""
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)
    return {field.name: field.metadata[_KEY] for field in fields if _KEY in field.metadata}


def per_env_keys(kind: type) -> tuple[str, ...]:
    """Keys of a group of which an environment of several may have its own value."""
    return tuple(key for key, declared in settings_of(kind).items() if declared.per_env)
