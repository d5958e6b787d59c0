"""A task of an environment, and the splits that tasks come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Task:
    """One frozen, named task."""

    name: str
    """Unique within the environment and stable across versions, e.g. ``stick``."""
    split: str
    goal: str
    """One line for people: what is to be achieved."""
    level: int = 0
    """Difficulty class as the environment counts it (TextCraft: crafting depth)."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """Whatever the environment needs to set the task up."""
