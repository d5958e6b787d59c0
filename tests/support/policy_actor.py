"""An actor for tests: a Python function in place of a model, with a log of what it was asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from agentr_lite.actors.base import (
    Actor,
    Capabilities,
    Completion,
    FinishReason,
    GenerateRequest,
    GenerateResult,
)
from agentr_lite.core.messages import Message
from agentr_lite.core.usage import Usage

Policy = Callable[[Sequence[Message], int], str]
"""(conversation, seed) to an assistant turn."""


def wanderer(*actions: str) -> Policy:
    """A policy that draws one of ``actions`` by the seed alone."""

    def policy(messages: Sequence[Message], seed: int) -> str:
        action = random.Random(seed).choice(actions)
        return f"Thought: turn {len(messages) // 2}\nAction: {action}"

    return policy


class PolicyActor(Actor):
    """Answers with ``policy``; tokens are words.

    Attributes:
        batches: one list of requests a ``generate`` call.
        resets: how often the cache was cleared.
        fail_at: raise ``failure`` instead of answering the batch with this number (from 0).
        overflow_at: conversations of at least so many messages do not fit.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        fail_at: int | None = None,
        failure: Callable[[], BaseException] = KeyboardInterrupt,
        overflow_at: int = 10**9,
    ) -> None:
        self.capabilities = Capabilities()
        self.usage = Usage()
        self.policy = policy
        self.batches: list[list[GenerateRequest]] = []
        self.resets = 0
        self.fail_at = fail_at
        self.failure = failure
        self.overflow_at = overflow_at

    @property
    def description(self) -> dict[str, Any]:
        return {"back_end": "policy"}

    def reset_cache(self) -> None:
        self.resets += 1

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        if self.fail_at == len(self.batches):
            raise self.failure()
        self.batches.append(list(requests))
        return [self._answer(request) for request in requests]

    def _answer(self, request: GenerateRequest) -> GenerateResult:
        overflow = len(request.messages) >= self.overflow_at
        reason: FinishReason = "overflow" if overflow else "stop"
        texts = ["" if overflow else self.policy(request.messages, s) for s in request.seeds]
        prompt = sum(len(message["content"].split()) for message in request.messages)
        completions = tuple(Completion(text, len(text.split()), reason) for text in texts)
        self.usage.calls += 1
        self.usage.prompt_tokens += prompt
        self.usage.decoded_prompt_tokens += prompt
        self.usage.output_tokens += sum(one.output_tokens for one in completions)
        return GenerateResult(completions, prompt, 0)
