"""A scripted actor for tests: it has no model and no randomness, and records every request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
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
from agentr_lite.core.errors import ModelError
from agentr_lite.core.messages import Message
from agentr_lite.core.usage import Usage

Script = Callable[[Sequence[Message], int], str]
"""(messages, seed) -> the assistant's text."""
Scorer = Callable[[Sequence[Message], str], float]
"""(messages, continuation) -> log-likelihood."""


class MockActor(Actor):
    """Takes its answers from a queue or a function.

    Attributes:
        requests: every ``GenerateRequest`` in order.
        score_requests: every ``ScoreRequest`` in order.
        batches: how many requests each ``generate`` call held.
        adapters: every ``use_adapter`` argument in order.
        resets: how often ``reset_cache`` was called.
        others: every actor that ``beside`` made, in order.
        closed: whether ``close`` was called.
    """

    capabilities = Capabilities(adapters=True, scoring=True, side_by_side=True)

    def __init__(
        self, script: Iterable[str] | Script = (), *, scorer: Scorer | None = None
    ) -> None:
        """
        Args:
            script: replies in the order in which samples are requested, or a function; an empty
                queue raises ``ModelError``.
            scorer: for ``score``; default: 0 for the first continuation, -1 for the second, ...
        """
        self._script: Script | None = script if callable(script) else None
        self._queue: deque[str] = deque(() if callable(script) else script)
        self._scorer = scorer
        self.usage = Usage()
        self.requests: list[GenerateRequest] = []
        self.score_requests: list[ScoreRequest] = []
        self.batches: list[int] = []
        self.adapters: list[Path | None] = []
        self.others: list[MockActor] = []
        self.resets = 0
        self.closed = False

    @property
    def description(self) -> dict[str, Any]:
        """See ``Actor``."""
        return {"backend": "mock", "path": "", "sha256": "", "name": "mock"}

    @property
    def adapter(self) -> Path | None:
        """The adapter in use."""
        return self.adapters[-1] if self.adapters else None

    @property
    def remaining(self) -> int:
        """Replies still in the queue."""
        return len(self._queue)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[GenerateResult]:
        """Reply to every sample; a word is a token. Stop strings and ``max_tokens`` cut a reply.

        Raises:
            ModelError: the queue is empty, or a grammar is asked for.
        """
        if any(request.sampling.grammar for request in requests):
            raise ModelError("the scripted actor cannot make answers follow a grammar")
        self.batches.append(len(requests))
        self.requests.extend(requests)
        self.usage.calls += 1
        results = []
        for request in requests:
            prompt = sum(len(message["content"].split()) for message in request.messages)
            completions = tuple(self._complete(request, seed) for seed in request.seeds)
            self.usage.prompt_tokens += prompt
            self.usage.decoded_prompt_tokens += prompt
            self.usage.output_tokens += sum(c.output_tokens for c in completions)
            results.append(GenerateResult(completions, prompt, 0))
        return results

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """See ``Actor``."""
        self.score_requests.extend(requests)
        self.usage.calls += 1
        results = []
        for request in requests:
            prompt = sum(len(message["content"].split()) for message in request.messages)
            self.usage.prompt_tokens += prompt
            self.usage.decoded_prompt_tokens += prompt
            scores = tuple(
                self._scorer(request.messages, text) if self._scorer else -float(index)
                for index, text in enumerate(request.continuations)
            )
            results.append(ScoreResult(scores, prompt, 0))
        return results

    def use_adapter(self, path: Path | None) -> None:
        """See ``Actor``; any path is accepted."""
        self.adapters.append(path)

    def beside(self, adapter: Path | None) -> MockActor:
        """See ``Actor``; both answer from the same queue, or with the same function."""
        other = MockActor(self._script or (), scorer=self._scorer)
        other._queue = self._queue
        other.use_adapter(adapter)
        self.others.append(other)
        return other

    def reset_cache(self) -> None:
        """See ``Actor``."""
        self.resets += 1

    def close(self) -> None:
        """See ``Actor``."""
        self.closed = True

    def _complete(self, request: GenerateRequest, seed: int) -> Completion:
        if self._script is not None:
            text = self._script(request.messages, seed)
        elif self._queue:
            text = self._queue.popleft()
        else:
            raise ModelError("the mock actor's script has run out of replies")
        for stop in request.sampling.stop:
            text = text.partition(stop)[0] if stop else text
        words = text.split()
        limit = request.sampling.max_tokens
        if len(words) > limit:
            return Completion(" ".join(words[:limit]), limit, "length")
        return Completion(text, len(words), "stop")
