"""An answer as it grows: tokens, text, and where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agentr_lite.actors.base import Completion, FinishReason, GenerateRequest, GenerateResult
from agentr_lite.actors.chat.encoder import ChatEncoder, Prompt


class Answer:
    """One continuation that grows token by token, whatever draws its tokens."""

    __slots__ = ("_longest_stop", "ended", "finish_reason", "max_tokens", "stop", "text", "tokens")

    def __init__(self, max_tokens: int, stop: Sequence[bytes] = ()) -> None:
        self.max_tokens = max_tokens
        self.stop = tuple(stop)
        self._longest_stop = max(map(len, stop), default=0)
        self.tokens: list[int] = []
        """All tokens drawn, the end-of-turn token included."""
        self.text = bytearray()
        self.finish_reason: FinishReason | None = None
        self.ended = False
        """Whether the last token is an end-of-generation token."""

    def accept(self, token: int, piece: bytes, ends: bool) -> bool:
        """Add a drawn token.

        Args:
            token: its id.
            piece: its text.
            ends: whether it is an end-of-generation token.

        Returns:
            Whether the answer continues.
        """
        self.tokens.append(token)
        if ends:
            self.ended = True
            self.finish_reason = "stop"
            return False
        seen = len(self.text)
        self.text += piece
        if self.stop:
            positions = [
                position
                for stop in self.stop
                if (position := self.text.find(stop, max(0, seen - self._longest_stop + 1))) >= 0
            ]
            if positions:
                del self.text[min(positions) :]
                self.finish_reason = "stop"
                return False
        if len(self.tokens) >= self.max_tokens:
            self.finish_reason = "length"
            return False
        return True

    def completion(self, encoder: ChatEncoder) -> Completion:
        """The answer in the actor protocol's form.

        Args:
            encoder: decides how the conversation will hold the answer.
        """
        text = encoder.answer_text(bytes(self.text))
        return Completion(
            text,
            len(self.tokens),
            self.finish_reason or "length",
            tuple(self.tokens),
            encoder.drawn(text, self.tokens[:-1] if self.ended else self.tokens),
        )


class Answered(Protocol):
    """A prompt with its answers, whatever back end gave them."""

    @property
    def prompt(self) -> Sequence[int]:
        """Its tokens."""

    @property
    def samples(self) -> Sequence[Answer]:
        """Its answers, in the order of the request's seeds."""

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were not decoded again."""


def generated(
    request: GenerateRequest, prompt: Prompt, job: Answered | None, encoder: ChatEncoder
) -> GenerateResult:
    """A request's answers in the actor protocol's form.

    Args:
        request: the request.
        prompt: the request's conversation as tokens.
        job: the prompt with its answers; None if the prompt did not fit the context.
        encoder: the model's.
    """
    if job is None:
        nothing = Completion("", 0, "overflow")
        return GenerateResult(tuple(nothing for _ in request.seeds), 0, 0)
    completions = tuple(sample.completion(encoder) for sample in job.samples)
    return GenerateResult(completions, len(job.prompt), job.cached_tokens, prompt.dropped_turns)
