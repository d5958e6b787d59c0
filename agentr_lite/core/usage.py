"""What a model's work has cost so far."""

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
