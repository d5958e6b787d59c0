"""Reasoning models: a block of thoughts first, within a budget, and the answer after it.

An answer is drawn in two parts. The first ends at ``</think>`` or when the budget is used; then the
block is closed, and the second part is the answer. The thoughts are kept beside the answer, so that
nobody searches them for an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentr_lite.actors.base import (
    Actor,
    Capabilities,
    Completion,
    GenerateRequest,
    GenerateResult,
    ScoreRequest,
    ScoreResult,
)
from agentr_lite.actors.chat.encoder import ChatEncoder
from agentr_lite.actors.chat.template import THOUGHT_CLOSE, ChatTemplate
from agentr_lite.core.errors import ModelError
from agentr_lite.core.usage import Usage

_SECOND_PART = 0x5F3759DF
"""Mixed into a sample's seed, so that its two parts use different random numbers."""


def check_thinks(speaker: ChatTemplate | ChatEncoder) -> None:
    """Refuse a model that was asked for thoughts and has none.

    Raises:
        ModelError: the model's template knows no thoughts.
    """
    if not speaker.thinks:
        raise ModelError(
            "agent.thinking is set, but the model's chat template has no block of thoughts",
            hint="Use a reasoning model, or leave agent.thinking at 0.",
        )


class ThinkingActor(Actor):
    """An actor that thinks before each answer."""

    def __init__(self, inner: Actor, encoder: ChatEncoder, *, budget: int) -> None:
        """
        Args:
            inner: a local actor whose template was asked for thoughts; closed with this one.
            encoder: the inner actor's.
            budget: most tokens of thoughts, > 0.

        Raises:
            ModelError: the model's template knows no thoughts.
        """
        check_thinks(encoder)
        self._inner = inner
        self._encoder = encoder
        self._budget = budget

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        """The inner actor's."""
        return self._inner.capabilities

    @property
    def usage(self) -> Usage:  # type: ignore[override]
        """The inner actor's: thoughts are output tokens, too."""
        return self._inner.usage

    @property
    def description(self) -> dict[str, Any]:
        """The inner actor's, with the budget."""
        return {**self._inner.description, "thinking": self._budget}

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        """See ``Actor``. ``Completion.thinking`` holds the thoughts."""
        thoughts = self._inner.generate([self._think(request) for request in requests])
        second: list[GenerateRequest] = []
        for request, result in zip(requests, thoughts, strict=True):
            for seed, thought in zip(request.seeds, result.completions, strict=True):
                if thought.finish_reason != "overflow":
                    second.append(self._answer(request, seed, thought))
        answers = iter(self._inner.generate(second) if second else [])
        results = []
        for result in thoughts:
            completions = []
            for thought in result.completions:
                if thought.finish_reason == "overflow":
                    completions.append(thought)
                else:
                    [answer] = next(answers).completions
                    completions.append(_joined(thought, answer))
            results.append(replace(result, completions=tuple(completions)))
        return results

    def _think(self, request: GenerateRequest) -> GenerateRequest:
        sampling = replace(
            request.sampling, max_tokens=self._budget, stop=(THOUGHT_CLOSE,), grammar=""
        )
        return replace(request, sampling=sampling)

    def _answer(self, request: GenerateRequest, seed: int, thought: Completion) -> GenerateRequest:
        start = self._encoder.thoughts(thought.text)
        seeds = ((seed ^ _SECOND_PART) % (2**31 - 1) + 1,)
        return replace(request, seeds=seeds, answer_start=tuple(start))

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """See ``Actor``. A continuation is scored after an empty block of thoughts."""
        start = tuple(self._encoder.thoughts(""))
        return self._inner.score([replace(request, answer_start=start) for request in requests])

    def use_adapter(self, path: Path | None) -> None:
        """See ``Actor``."""
        self._inner.use_adapter(path)

    def beside(self, adapter: Path | None) -> ThinkingActor:
        """See ``Actor``."""
        return ThinkingActor(self._inner.beside(adapter), self._encoder, budget=self._budget)

    def reset_cache(self) -> None:
        """See ``Actor``."""
        self._inner.reset_cache()

    def close(self) -> None:
        """See ``Actor``."""
        self._inner.close()


def _joined(thought: Completion, answer: Completion) -> Completion:
    return replace(
        answer,
        output_tokens=thought.output_tokens + answer.output_tokens,
        token_ids=thought.token_ids + answer.token_ids,
        thinking=thought.text,
    )
