"""One turn of the agent and its result: the record that every stage shares, and its JSON form.

Search, store, splicing, evaluation, reports and the inspector all hold a turn as a ``Step``. A
column of steps is written by ``step_to_json`` and read by ``step_from_json``, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

StepKind = Literal["act", "reflect", "none"]
"""``act``: an action for the environment; ``reflect``: a revision turn; ``none``: no action."""


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of the agent and what came of it."""

    text: str
    """The whole assistant turn, thought and action."""
    action: str | None
    """What was done; None where the turn holds no action."""
    observation: str
    reward: float = 0.0
    """In [0, 1], as the environment gave it for this step."""
    terminated: bool = False
    """The episode ended here."""
    truncated: bool = False
    """The episode was cut here: by the environment, a step limit or the model's context."""
    invalid: bool = False
    """The action was missing, not understood or not possible."""
    kind: StepKind = "act"
    disaster: bool = False
    """The environment calls the action a fatal mistake."""
    token_ids: tuple[int, ...] = ()
    """The turn's tokens as the model drew them; see ``Message.token_ids``."""
    thinking: str = ""
    """What a reasoning model thought before the turn. It is shown and learnt, but never searched
    for an action, and it is part of the history only where the model's template keeps it."""

    @property
    def ended(self) -> bool:
        """Whether the episode is over after this step."""
        return self.terminated or self.truncated


def turn_text(thought: str, action: str) -> str:
    """An assistant turn in the form that every environment's instructions ask for."""
    return f"Thought: {thought}\nAction: {action}"


_ALWAYS = frozenset({"text", "action", "observation", "reward", "kind", "invalid"})
"""Fields that are written even where they have their default, as every stored episode has them."""


def step_to_json(step: Step) -> dict[str, Any]:
    """A step as plain JSON types; the inverse of ``step_from_json``.

    What is rarely set (``terminated``, ``truncated``, ``disaster``, ``token_ids``, ``thinking``)
    is left out where it is not, which keeps stored episodes small.
    """
    values = {field.name: getattr(step, field.name) for field in fields(Step)}
    defaults = {field.name: field.default for field in fields(Step)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if name in _ALWAYS or value != defaults[name]
    }


def step_from_json(values: Mapping[str, Any]) -> Step:
    """A step from what ``step_to_json`` wrote; keys that are no field of a step are ignored.

    Args:
        values: JSON types. Fields with a default may be missing.

    Raises:
        KeyError: a field without a default is missing.
    """
    chosen = {
        field.name: values[field.name]
        for field in fields(Step)
        if field.name in values or field.default is MISSING
    }
    if "token_ids" in chosen:
        chosen["token_ids"] = tuple(chosen["token_ids"])
    return Step(**chosen)
