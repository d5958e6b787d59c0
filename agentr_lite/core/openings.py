"""What an agent has seen before its first turn: instructions, examples, the first observation."""

from __future__ import annotations

import itertools
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

    @property
    def before_task(self) -> str:
        """The instructions, and the examples that are shown between them and the task."""
        parts = [self.instructions]
        for number, example in enumerate(self.examples, 1):
            parts.append(f"[example {number}: {example.task}]\n{example.observation}")
            parts += [step.text for step in example.steps[:1]]
            for before, step in itertools.pairwise(example.steps):
                parts += [before.observation, step.text]
        return "\n\n".join(parts)
