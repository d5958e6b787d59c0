"""An answer as it grows: tokens, text, and where it ends."""

from __future__ import annotations

from collections.abc import Sequence

from agentr_lite.actors.base import Completion, FinishReason


class Answer:
    """One continuation on its way, whatever draws its tokens."""

    __slots__ = ("_longest_stop", "finish_reason", "max_tokens", "stop", "text", "tokens")

    def __init__(self, max_tokens: int, stop: Sequence[bytes] = ()) -> None:
        self.max_tokens = max_tokens
        self.stop = tuple(stop)
        self._longest_stop = max(map(len, stop), default=0)
        self.tokens: list[int] = []
        """All tokens drawn, the end-of-turn token included."""
        self.text = bytearray()
        self.finish_reason: FinishReason | None = None

    def accept(self, token: int, piece: bytes, ends: bool) -> bool:
        """Take in a drawn token; returns whether the answer goes on.

        Args:
            token: its id.
            piece: its text.
            ends: whether it is an end-of-generation token.
        """
        self.tokens.append(token)
        if ends:
            self.finish_reason = "stop"
            return False
        seen = len(self.text)
        self.text += piece
        if self.stop:
            found = [
                at
                for stop in self.stop
                if (at := self.text.find(stop, max(0, seen - self._longest_stop + 1))) >= 0
            ]
            if found:
                del self.text[min(found) :]
                self.finish_reason = "stop"
                return False
        if len(self.tokens) >= self.max_tokens:
            self.finish_reason = "length"
            return False
        return True

    def completion(self) -> Completion:
        """The answer as the actor protocol gives it."""
        return Completion(
            self.text.decode("utf-8", "replace"),
            len(self.tokens),
            self.finish_reason or "length",
            tuple(self.tokens),
        )
