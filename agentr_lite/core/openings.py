"""What an agent has seen before its first turn: instructions, examples, the first observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agentr_lite.core.steps import Step


@dataclass(frozen=True, slots=True)
class Example:
    """A solved training task that is shown in the prompt."""

    task: str
    """Its name."""
    observation: str
    """Its first observation."""
    steps: tuple[Step, ...]
    """The turns that solve it; at least one."""


class Opening(NamedTuple):
    """The beginning of an episode."""

    instructions: str
    """The system prompt."""
    observation: str
    """The first observation, which states the task."""
    examples: tuple[Example, ...] = ()
    """Shown before the task, the same ones in every episode of a run."""
