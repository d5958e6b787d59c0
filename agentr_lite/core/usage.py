"""What a model's work costs: in all, and for one call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Usage:
    """Running totals since the actor was made."""

    calls: int = 0
    prompt_tokens: int = 0
    """Prompt tokens as the requests count them."""
    decoded_prompt_tokens: int = 0
    """Prompt tokens really decoded, prefix reuse taken off."""
    output_tokens: int = 0
    model_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One conversation that a model was asked to continue or to judge, and what it cost."""

    node_idx: int
    """The tree's node whose children were asked for, or whose step was judged."""
    seeds: tuple[int, ...]
    """One a sample; empty where nothing was sampled."""
    prompt_tokens: int
    cached_tokens: int
    """Prompt tokens that were not decoded again."""
    output_tokens: int
    """Of all samples."""
    dropped_turns: int = 0
    """Whole turns left out to fit the context."""
    batch_ms: float | None = None
    """Milliseconds of the batch that the call was part of; None where it was not measured."""
    batch_size: int | None = None
    """Calls in that batch."""
